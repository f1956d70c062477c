//! What the steps of a sequence are called, from a text file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output::count;

/// `--labels` of every command that shows steps.
#[derive(clap::Args)]
pub struct LabelsArgs {
    /// What the steps are called: a label per line, or for each row of the input a line of words or
    /// characters
    #[arg(long, value_name = "LABELS")]
    pub labels: Option<PathBuf>,
}

impl LabelsArgs {
    /// Reads the file, if there is one.
    pub fn read(&self) -> Result<Option<Labels>, Failure> {
        self.labels.as_deref().map(Labels::read).transpose()
    }
}

/// A text whose lines, words or characters are labels.
#[derive(Debug)]
pub struct Labels {
    path: PathBuf,
    lines: Vec<String>,
}

impl Labels {
    /// No text of labels needs more bytes.
    const MOST_BYTES: u64 = 64 << 20;

    /// Reads the file; `-` is stdin.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| {
            Failure::new(format_args!("the labels cannot be read: {error}")).at_file(path)
        };
        let mut bytes = Vec::new();
        let most = Self::MOST_BYTES + 1;
        match path == Path::new("-") {
            true => io::stdin().lock().take(most).read_to_end(&mut bytes),
            false => File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
        }
        .map_err(unreadable)?;
        if bytes.len() as u64 > Self::MOST_BYTES {
            return Err(Failure::new("the labels are longer than 64 MiB").at_file(path));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::new(format_args!("the labels are not UTF-8 at byte {at}")).at_file(path)
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            lines: text.lines().map(String::from).collect(),
        })
    }

    /// The labels of a sequence: row `row` of `rows`, with `steps` steps, of which `counting` are
    /// not masked.
    pub fn of(
        &self,
        (row, rows): (usize, usize),
        (steps, counting): (usize, usize),
    ) -> Result<Vec<String>, Failure> {
        let fits = |labels: &[String]| labels.len() == steps || labels.len() == counting;
        // A line for each row tells more than a label for each step, if it can be read so.
        let line = match self.lines.as_slice() {
            [only] => Some(only),
            lines if lines.len() == rows => lines.get(row),
            _ => None,
        };
        let mut tried = Vec::new();
        if let Some(line) = line {
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            let letters: Vec<String> = line.chars().map(String::from).collect();
            for labels in [words, letters] {
                if fits(&labels) {
                    return Ok(labels);
                }
                tried.push(labels.len());
            }
        }
        if fits(&self.lines) {
            return Ok(self.lines.clone());
        }
        let masked = match counting == steps {
            true => String::new(),
            false => format!(", {counting} of which are not masked"),
        };
        let found = match tried[..] {
            [words, letters] => format!(
                "{}, {} of {} and {}",
                count(self.lines.len(), "line"),
                if self.lines.len() == 1 {
                    "it"
                } else {
                    "the row's one"
                },
                count(words, "word"),
                count(letters, "character"),
            ),
            _ => count(self.lines.len(), "line"),
        };
        Err(Failure::new(format_args!(
            "the labels have {found}; row {row} has {}{masked}",
            count(steps, "step")
        ))
        .at_file(&self.path)
        .help(
            "give a label per line, one for each step; or a line for each row, with a word or a \
             character for each step",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels {
            path: "labels.txt".into(),
            lines: text.lines().map(String::from).collect(),
        }
    }

    #[test]
    fn lines_words_or_characters() {
        let of = |text: &str, row, steps| labels(text).of((row, 2), (steps, steps)).ok();
        let strings = |list: &[&str]| Some(list.iter().map(|s| s.to_string()).collect());
        assert_eq!(
            of("1700\n1701\n1702\n", 0, 3),
            strings(&["1700", "1701", "1702"])
        );
        assert_eq!(of("to be or\n", 1, 3), strings(&["to", "be", "or"]));
        assert_eq!(of("3 nov\n", 0, 5), strings(&["3", " ", "n", "o", "v"]));
        // A line for each of the two rows.
        assert_eq!(of("to be\nor not\n", 1, 2), strings(&["or", "not"]));
        assert_eq!(of("to be or\nor not\n", 1, 4), None);
    }

    #[test]
    fn labels_of_the_steps_that_count() {
        let found = labels("to be or").of((0, 1), (8, 3)).unwrap();
        assert_eq!(found, ["to", "be", "or"]);
        let error = labels("to be").of((0, 1), (8, 3)).unwrap_err().to_string();
        let what = "1 line, it of 2 words and 5 characters; row 0 has 8 steps, 3 of which are not";
        assert!(error.contains(what), "{error}");
        assert!(error.contains("help: give a label per line"), "{error}");
    }
}
