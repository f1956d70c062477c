//! CoNLL-U, the tagged sentences of Universal Dependencies: a line for each word, ten columns with
//! tabs between them, an empty line behind each sentence
//! (<https://universaldependencies.org/format.html>).

use crate::arrays::{ArrayFileError, ArrayProblem};

/// A word of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word itself, column 2.
    pub form: &'a str,
    /// Its part of speech, column 4; `_` where nobody has told it.
    pub upos: &'a str,
    /// Its line in the text, from 0.
    pub line: usize,
}

/// The sentences of a text. Comments, the words that others are made of (`3-4`) and those that are
/// not there (`3.1`) are passed over.
///
/// ```
/// use ifco_files::records::conllu;
///
/// let text = "# text = Go!\n1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n2\t!\t!\tPUNCT\t_\t_\t1\tpunct\t_\t_\n\n";
/// let sentences = conllu::parse(text)?;
/// let tags: Vec<&str> = sentences[0].iter().map(|word| word.upos).collect();
/// assert_eq!(tags, ["VERB", "PUNCT"]);
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
///
/// # Errors
/// When a line has not ten columns, with its number.
pub fn parse(text: &str) -> Result<Vec<Vec<Word<'_>>>, ArrayFileError> {
    let mut sentences = Vec::new();
    let mut sentence: Vec<Word<'_>> = Vec::new();
    for (line, content) in text.lines().enumerate() {
        if content.trim().is_empty() {
            if !sentence.is_empty() {
                sentences.push(std::mem::take(&mut sentence));
            }
            continue;
        }
        if content.starts_with('#') {
            continue;
        }
        let columns = content.split('\t').count();
        let mut fields = content.split('\t');
        let (id, form, upos) = (fields.next(), fields.next(), fields.nth(1));
        let (Some(id), Some(form), Some(upos), 10) = (id, form, upos, columns) else {
            let what = format!(
                "line {} has {columns} columns with tabs between them, and CoNLL-U has 10",
                line + 1
            );
            return Err(ArrayProblem::Csv(what).into());
        };
        if !id.contains(['-', '.']) {
            sentence.push(Word { form, upos, line });
        }
    }
    if !sentence.is_empty() {
        sentences.push(sentence);
    }
    match sentences.is_empty() {
        true => Err(ArrayProblem::Csv("there is no sentence".into()).into()),
        false => Ok(sentences),
    }
}

/// The text with other parts of speech: those that `upos` gives for the words on these lines.
///
/// ```
/// use ifco_files::records::conllu;
///
/// let text = "1\tGo\tgo\t_\t_\t_\t0\troot\t_\t_\n";
/// let told = conllu::with_upos(text, &|line| (line == 0).then_some("VERB"));
/// assert_eq!(told, "1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n");
/// ```
pub fn with_upos<'t>(text: &str, upos: &dyn Fn(usize) -> Option<&'t str>) -> String {
    let mut told = String::with_capacity(text.len());
    for (line, content) in text.lines().enumerate() {
        match upos(line) {
            Some(upos) => {
                for (column, field) in content.split('\t').enumerate() {
                    if column > 0 {
                        told.push('\t');
                    }
                    told.push_str(if column == 3 { upos } else { field });
                }
            }
            None => told.push_str(content),
        }
        told.push('\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_count() {
        let line = |id: &str, form: &str| format!("{id}\t{form}\t_\tX\t_\t_\t_\t_\t_\t_\n");
        let text = [
            "# c\n",
            &line("1-2", "im"),
            &line("1", "in"),
            &line("2", "dem"),
            &line("2.1", "y"),
            "\n\n# d\n",
            &line("1", "a"),
        ]
        .concat();
        let sentences = parse(&text).unwrap();
        let forms: Vec<Vec<&str>> = sentences
            .iter()
            .map(|sentence| sentence.iter().map(|word| word.form).collect())
            .collect();
        assert_eq!(forms, [vec!["in", "dem"], vec!["a"]]);
        assert_eq!(sentences[1][0].line, 8);
        let told = with_upos(&text, &|line| (line == 8).then_some("DET"));
        assert_eq!(told.matches("\tX\t").count(), 4);
        assert!(told.ends_with("1\ta\t_\tDET\t_\t_\t_\t_\t_\t_\n"));
    }

    #[test]
    fn other_lines_are_errors() {
        for (text, what) in [
            ("", "there is no sentence"),
            ("# c\n\n", "there is no sentence"),
            ("1\tGo\n", "line 1 has 2 columns"),
            ("\n1 Go go VERB _ _ 0 root _ _\n", "line 2 has 1 columns"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
