//! Text as numbers: its pieces, and a vocabulary of them.

use std::collections::HashMap;

/// Into what a text is cut.
///
/// ```
/// use ifco_tasks::text::Level;
/// assert_eq!("word".parse(), Ok(Level::Word));
/// assert_eq!(Level::Char.name(), "char");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Characters.
    Char,
    /// Words, each with the space before it.
    Word,
}

impl Level {
    /// Both, in the order in which help lists them.
    pub const ALL: [Level; 2] = [Level::Char, Level::Word];

    /// What a recipe and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Char => "char",
            Self::Word => "word",
        }
    }

    /// The pieces of a text. Put together they are the text again.
    ///
    /// ```
    /// use ifco_tasks::text::Level;
    /// let text = "It's  time, said he.\n";
    /// let words: Vec<&str> = Level::Word.pieces(text).collect();
    /// assert_eq!(words, ["It's", " ", " time", ",", " said", " he", ".", "\n"]);
    /// assert_eq!(words.concat(), text);
    /// ```
    pub fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let length = match self {
                Self::Char => rest.chars().next()?.len_utf8(),
                Self::Word => word(rest)?,
            };
            let (piece, behind) = rest.split_at(length);
            rest = behind;
            Some(piece)
        })
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| "expected char or word".into())
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How many bytes the first word has: letters, digits and what joins them, with one space before;
/// else a single character.
fn word(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let behind_space = text.strip_prefix(' ').unwrap_or(text);
    let space = text.len() - behind_space.len();
    let joins = |c: char| matches!(c, '\'' | '’' | '-');
    let mut length = 0;
    let mut letters = behind_space.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        let goes_on = letters
            .peek()
            .is_some_and(|(_, next)| next.is_alphanumeric());
        let belongs = c.is_alphanumeric() || length > 0 && joins(c) && goes_on;
        if !belongs {
            break;
        }
        length = at + c.len_utf8();
    }
    if length > 0 {
        return Some(space + length);
    }
    match behind_space.chars().next() {
        // A mark, and the space before it.
        Some(mark) if !mark.is_whitespace() => Some(space + mark.len_utf8()),
        _ => Some(first.len_utf8()),
    }
}

/// The pieces that a model knows, each with its number.
///
/// 0 stands for nothing, as behind the end of a short sequence; 1 for every piece that is not known;
/// then come the known ones.
///
/// ```
/// use ifco_tasks::text::Vocabulary;
///
/// let words = Vocabulary::of(["to", "be", "or", "not", "to", "be"], 2, 1);
/// assert_eq!(words.entries(), ["be", "to"]); // the most frequent ones
/// assert_eq!((words.number("to"), words.number("or")), (3, Vocabulary::UNKNOWN));
/// assert_eq!(words.size(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    entries: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Vocabulary {
    /// No piece at all.
    pub const NOTHING: u32 = 0;
    /// A piece that is not known.
    pub const UNKNOWN: u32 = 1;
    /// What the known ones begin with.
    const FIRST: u32 = 2;

    /// Those of `pieces` that come at least so often, at most so many: the most frequent ones, and
    /// of those the first in their alphabet.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a str>, most: usize, at_least: usize) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for piece in pieces {
            *counts.entry(piece).or_insert(0) += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.retain(|(_, count)| *count >= at_least);
        counts.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        counts.truncate(most);
        let mut entries: Vec<String> = counts.iter().map(|(piece, _)| (*piece).into()).collect();
        entries.sort();
        Self::from_entries(entries)
    }

    /// The vocabulary of these entries, in this order; of two that are the same the first counts.
    pub fn from_entries(entries: Vec<String>) -> Self {
        let mut numbers = HashMap::with_capacity(entries.len());
        for (number, entry) in (Self::FIRST..).zip(&entries) {
            numbers.entry(entry.clone()).or_insert(number);
        }
        Self { entries, numbers }
    }

    /// The number of a piece.
    pub fn number(&self, piece: &str) -> u32 {
        let found = self.numbers.get(piece);
        found.copied().unwrap_or(Self::UNKNOWN)
    }

    /// The piece of a number; `None` for nothing, for the unknown, and beyond the last.
    pub fn piece(&self, number: usize) -> Option<&str> {
        let index = number.checked_sub(Self::FIRST as usize)?;
        self.entries.get(index).map(String::as_str)
    }

    /// The known pieces.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// How many numbers there are.
    pub fn size(&self) -> usize {
        self.entries.len() + Self::FIRST as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_again() {
        for text in [
            "",
            " ",
            "  a",
            "a-b -c d-",
            "don’t!?",
            "x\n\n y\tz",
            "é ß 東京 '",
            "' 'tis",
        ] {
            for level in Level::ALL {
                let pieces: Vec<&str> = level.pieces(text).collect();
                assert_eq!(pieces.concat(), text);
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
            }
        }
    }
}
