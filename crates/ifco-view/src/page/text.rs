//! Text to a model's numbers, and back: tokens of a vocabulary, and lines of numbers.

use std::collections::HashMap;

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use thiserror::Error;

/// The tokens that a model knows: the line, counted from 0, is the number.
///
/// Tokens of one character each make a vocabulary of characters, others one of words. A name in
/// brackets, such as `[padding]` or `<unk>`, is neither. What is not in it becomes the token of an
/// unknown one, where there is one: `[other]`, `[UNK]`, `<unk>`, `<oov>`.
///
/// ```
/// use ifco_view::page::Vocabulary;
///
/// let words = Vocabulary::parse("[padding]\n[other]\nhow\nare\nyou\n");
/// assert_eq!(words.encode("How are things?")?, [2, 3, 1]);
/// assert_eq!(words.token(4), Some("you"));
///
/// let characters = Vocabulary::parse("[padding]\n \n0\n1\n");
/// assert_eq!(characters.encode("1 0")?, [3, 1, 2]);
/// assert_eq!(
///     characters.encode("12").unwrap_err().to_string(),
///     "\"2\" is not in the vocabulary, which has no token for unknown ones",
/// );
/// # Ok::<(), ifco_view::page::TextError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<String>,
    numbers: HashMap<String, usize>,
    is_characters: bool,
    unknown: Option<usize>,
}

/// Text that does not become a model's input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextError {
    /// A token that the vocabulary lacks.
    #[error("{0:?} is not in the vocabulary, which has no token for unknown ones")]
    NotInVocabulary(String),
    /// A character whose code the model's Embedding has no row for.
    #[error("the character {character:?} has the code {code}, but the model knows {known} tokens")]
    CodeTooLarge {
        /// The character.
        character: char,
        /// Its Unicode code point.
        code: u32,
        /// The rows of the Embedding.
        known: usize,
    },
    /// What should be a token's number and is none.
    #[error("{found:?} is no token of the model: without a vocabulary it takes {expected}")]
    NotAToken {
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// More tokens than the model takes.
    #[error("the text has {found} tokens, the model takes {expected}")]
    TooLong {
        /// How many there are.
        found: usize,
        /// How many the input has.
        expected: usize,
    },
    /// No tokens.
    #[error("the text is empty")]
    Empty,
    /// What should be a number and is none.
    #[error("line {line}: {found:?} is not a number")]
    NotANumber {
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// Numbers that do not fill the input's shape.
    #[error("{found} numbers do not make an input of shape {expected}")]
    Shape {
        /// How many there are.
        found: usize,
        /// The shape.
        expected: String,
    },
}

impl Vocabulary {
    /// Reads a file's text: a token on each line, the first of them being number 0.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        // A line may be a space: only its end is taken off.
        let tokens: Vec<String> = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line).to_string())
            .collect();
        let mut numbers = HashMap::with_capacity(tokens.len());
        for (number, token) in tokens.iter().enumerate() {
            numbers.entry(token.clone()).or_insert(number);
        }
        let is_characters = tokens
            .iter()
            .filter(|token| !is_name(token))
            .all(|token| token.chars().count() <= 1);
        let unknown = tokens.iter().position(|token| {
            let plain = token.to_lowercase();
            ["[other]", "[unk]", "<unk>", "<oov>", "[oov]"].contains(&plain.as_str())
        });
        Self {
            tokens,
            numbers,
            is_characters,
            unknown,
        }
    }

    /// How many tokens it has.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token of this number.
    pub fn token(&self, number: usize) -> Option<&str> {
        self.tokens.get(number).map(String::as_str)
    }

    /// The numbers of a text's tokens.
    ///
    /// A word that is not in the vocabulary is looked up in lower case, then without the
    /// punctuation around it.
    ///
    /// # Errors
    /// When a token is unknown, and the vocabulary has none that stands for those.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>, TextError> {
        let number = |token: &str| {
            let lower = token.to_lowercase();
            let bare = lower.trim_matches(|letter: char| !letter.is_alphanumeric());
            let ways = [token, &lower, bare];
            let known = ways.iter().find_map(|way| self.numbers.get(*way).copied());
            known
                .or(self.unknown)
                .ok_or_else(|| TextError::NotInVocabulary(token.into()))
        };
        if self.is_characters {
            let mut buffer = [0; 4];
            return text
                .chars()
                .map(|letter| number(letter.encode_utf8(&mut buffer)))
                .collect();
        }
        text.split_whitespace().map(number).collect()
    }
}

/// `[padding]`, `<unk>`: a name for what is no text.
fn is_name(token: &str) -> bool {
    token.chars().count() > 1
        && (token.starts_with('[') && token.ends_with(']')
            || token.starts_with('<') && token.ends_with('>'))
}

/// How one input of a model is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Writing {
    /// Numbers, a step a line.
    Numbers,
    /// Tokens, numbers below `known`.
    Tokens { known: usize },
}

/// What shape an input must have, batch first; `None` where any size will do.
pub(super) type Sizes<'a> = &'a [Option<usize>];

/// A row of tokens `(1, time)` from text. Shorter ones are padded with 0, in front where `front`.
pub(super) fn tokens_from_text(
    text: &str,
    vocabulary: Option<&Vocabulary>,
    known: usize,
    sizes: Sizes<'_>,
    front: bool,
) -> Result<ArrayD<f32>, TextError> {
    let text = text.trim_matches(['\r', '\n']);
    let numbers = match vocabulary {
        Some(vocabulary) => vocabulary.encode(text)?,
        None => plain_tokens(text, known)?,
    };
    if numbers.is_empty() {
        return Err(TextError::Empty);
    }
    let length = sizes.get(1).copied().flatten().unwrap_or(numbers.len());
    if numbers.len() > length {
        return Err(TextError::TooLong {
            found: numbers.len(),
            expected: length,
        });
    }
    let mut row = ArrayD::zeros(IxDyn(&[1, length]));
    let first = if front { length - numbers.len() } else { 0 };
    for (place, number) in row.iter_mut().skip(first).zip(numbers) {
        *place = number as f32;
    }
    Ok(row)
}

/// Without a vocabulary: the tokens' numbers, or characters by their Unicode code points.
fn plain_tokens(text: &str, known: usize) -> Result<Vec<usize>, TextError> {
    let is_numbers = text
        .chars()
        .all(|letter| letter.is_ascii_digit() || letter.is_ascii_whitespace() || letter == ',');
    if is_numbers {
        let words = text.split(|letter: char| letter.is_ascii_whitespace() || letter == ',');
        let number = |word: &str| match word.parse::<usize>() {
            Ok(number) if number < known => Ok(number),
            _ => Err(TextError::NotAToken {
                found: word.into(),
                expected: format!("whole numbers below {known}, or characters by their codes"),
            }),
        };
        return words.filter(|word| !word.is_empty()).map(number).collect();
    }
    let code = |character: char| match u32::from(character) {
        code if (code as usize) < known => Ok(code as usize),
        code => Err(TextError::CodeTooLarge {
            character,
            code,
            known,
        }),
    };
    text.chars().map(code).collect()
}

/// Each step's token: its text where there is a vocabulary, else its number.
pub(super) fn token_labels(
    row: ArrayViewD<'_, f32>,
    vocabulary: Option<&Vocabulary>,
) -> Vec<String> {
    let label = |&value: &f32| {
        let number = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
        let token = number.and_then(|number| vocabulary?.token(number));
        token.map_or_else(|| value.to_string(), Into::into)
    };
    row.iter().map(label).collect()
}

/// The text that [`tokens_from_text`] makes this row from, and whether its padding is in front.
pub(super) fn text_from_tokens(
    row: ArrayViewD<'_, f32>,
    vocabulary: Option<&Vocabulary>,
) -> (String, bool) {
    let values: Vec<f32> = row.iter().copied().collect();
    let is_padded = |value: Option<&f32>| value == Some(&0.0);
    let front = is_padded(values.first()) && !is_padded(values.last());
    let first = values.iter().position(|value| *value != 0.0).unwrap_or(0);
    let end = values
        .iter()
        .rposition(|value| *value != 0.0)
        .map_or(0, |last| last + 1);
    let kept = if front { first..values.len() } else { 0..end };
    let text: Vec<f32> = values[kept].to_vec();
    let count = text.len();
    let array = ArrayD::from_shape_vec(IxDyn(&[count]), text).unwrap_or_default();
    let labels = token_labels(array.view(), vocabulary);
    let between = match vocabulary {
        Some(vocabulary) if vocabulary.is_characters => "",
        _ => " ",
    };
    (labels.join(between), front)
}

/// An input `(1, ...)` from lines of numbers, separated by commas, semicolons, tabs or spaces.
pub(super) fn numbers_from_text(text: &str, sizes: Sizes<'_>) -> Result<ArrayD<f32>, TextError> {
    let mut numbers = Vec::new();
    for (line, words) in text.lines().enumerate() {
        let words = words
            .split([',', ';', '\t', ' '])
            .filter(|word| !word.is_empty());
        for word in words {
            numbers.push(word.parse::<f32>().map_err(|_| TextError::NotANumber {
                line: line + 1,
                found: word.chars().take(40).collect(),
            })?);
        }
    }
    let found = numbers.len();
    let unfit = || TextError::Shape {
        found,
        expected: ifco_model::display_shape(sizes),
    };
    // One size may be open, the number of steps.
    let known = sizes.iter().skip(1).flatten();
    let known = known.copied().try_fold(1_usize, usize::checked_mul);
    let known = known.filter(|known| *known > 0).ok_or_else(unfit)?;
    let open = sizes.iter().skip(1).filter(|size| size.is_none()).count();
    if found == 0 || !found.is_multiple_of(known) || open > 1 || open == 0 && found != known {
        return Err(unfit());
    }
    let mut shape = vec![1];
    shape.extend(
        sizes
            .iter()
            .skip(1)
            .map(|size| size.unwrap_or(found / known)),
    );
    ArrayD::from_shape_vec(IxDyn(&shape), numbers).map_err(|_| unfit())
}

/// The lines that [`numbers_from_text`] makes this input `(1, ...)` from.
pub(super) fn text_from_numbers(row: ArrayViewD<'_, f32>) -> String {
    let columns = match row.ndim() {
        0..=2 => 1,
        _ => row.shape().last().copied().unwrap_or(1).max(1),
    };
    let mut text = String::with_capacity(row.len() * 8);
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            text.push_str(if index.is_multiple_of(columns) {
                "\n"
            } else {
                ", "
            });
        }
        // The shortest digits that give the same f32 again.
        text.push_str(&value.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn row(values: &[f32]) -> ArrayD<f32> {
        ArrayD::from_shape_vec(IxDyn(&[1, values.len()]), values.to_vec()).unwrap()
    }

    #[test]
    fn words_there_and_back() {
        let words = Vocabulary::parse("[padding]\r\n[other]\r\nto\r\nbe\r\n");
        let sizes = [None, Some(5)];
        let tokens = |front| tokens_from_text("to be, Sir", Some(&words), 4, &sizes, front);
        assert_eq!(tokens(false).unwrap(), row(&[2.0, 3.0, 1.0, 0.0, 0.0]));
        let padded = tokens(true).unwrap();
        assert_eq!(padded, row(&[0.0, 0.0, 2.0, 3.0, 1.0]));
        let (text, front) = text_from_tokens(padded.view(), Some(&words));
        assert_eq!((text.as_str(), front), ("to be [other]", true));
        assert_eq!(words.encode("[other]").unwrap(), [1]);
        let error = tokens_from_text("a b c d e f", Some(&words), 4, &sizes, false);
        assert!(matches!(
            error,
            Err(TextError::TooLong {
                found: 6,
                expected: 5
            })
        ));
        assert_eq!(
            tokens_from_text(" ", Some(&words), 4, &sizes, false),
            Err(TextError::Empty)
        );
    }

    #[test]
    fn without_a_vocabulary() {
        let any = [None, None];
        let tokens = |text| tokens_from_text(text, None, 128, &any, false);
        assert_eq!(tokens("3, 1 4").unwrap(), row(&[3.0, 1.0, 4.0]));
        assert_eq!(tokens("a b").unwrap(), row(&[97.0, 32.0, 98.0]));
        assert!(matches!(tokens("3 128"), Err(TextError::NotAToken { .. })));
        assert!(matches!(
            tokens("99999999999999999999"),
            Err(TextError::NotAToken { .. })
        ));
        assert!(matches!(
            tokens("ä"),
            Err(TextError::CodeTooLarge { code: 228, .. })
        ));
        assert_eq!(
            token_labels(row(&[3.0, 0.5, -1.0]).view(), None),
            ["3", "0.5", "-1"]
        );
    }

    #[test]
    fn numbers_there_and_back() {
        let steps = array![[[0.1, -2.0], [1e-7, 3e38]]].into_dyn();
        let text = text_from_numbers(steps.view());
        assert_eq!(text.lines().count(), 2);
        assert_eq!(
            numbers_from_text(&text, &[None, None, Some(2)]).unwrap(),
            steps
        );
        assert_eq!(
            numbers_from_text(&text, &[None, Some(2), Some(2)]).unwrap(),
            steps
        );
        for sizes in [
            &[None, Some(3), Some(2)][..],
            &[None, None, Some(3)],
            &[None, None, None],
        ] {
            assert!(matches!(
                numbers_from_text(&text, sizes),
                Err(TextError::Shape { .. })
            ));
        }
        let error = numbers_from_text("1\n2 x", &[None, None]).unwrap_err();
        assert_eq!(error.to_string(), "line 2: \"x\" is not a number");
        assert!(numbers_from_text("", &[None, None, Some(1)]).is_err());
        assert!(numbers_from_text("1", &[None, Some(usize::MAX), Some(2)]).is_err());
        assert!(numbers_from_text("1", &[None, None, Some(0)]).is_err());
    }
}
