//! JSON out of files, bounded, and lists of names in errors.

use std::path::Path;

use serde_json::Value;

use crate::bytes::Bytes;
use crate::{FileError, Limits};

/// Words for numbers that JSON does not have, but Python's `json` writes all the same, as for
/// `Masking(mask_value=float("inf"))`.
const BARE_WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Parses `text`. How deep it may nest is bounded by `serde_json` (128).
///
/// [`BARE_WORDS`] become strings of the same letters, which `ifco_model::Config` reads as numbers.
pub(crate) fn parse(text: &[u8], path: &Path, part: &str) -> Result<Value, FileError> {
    let strict = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some(quoted) = quote_bare_words(text) else {
        return Err(FileError::json(path, part, &strict));
    };
    serde_json::from_slice(&quoted.text).map_err(|error| {
        let mut told = FileError::json(path, part, &error);
        if let FileError::Json { line, column, .. } = &mut told {
            *column -= quoted.added_before(*line, *column);
        }
        told
    })
}

/// A text in which bare words have become strings.
struct Quoted {
    text: Vec<u8>,
    /// Line and column, both from 1, at which each of them ends.
    ends: Vec<(usize, usize)>,
}

impl Quoted {
    /// How many columns further right the quotes have moved what stands here.
    fn added_before(&self, line: usize, column: usize) -> usize {
        let is_before = |end: &&(usize, usize)| end.0 == line && end.1 < column;
        2 * self.ends.iter().filter(is_before).count()
    }
}

/// Puts quotes around bare words; `None` where there are none.
fn quote_bare_words(text: &[u8]) -> Option<Quoted> {
    let mut quoted = Quoted {
        text: Vec::with_capacity(text.len() + 64),
        ends: Vec::new(),
    };
    let mut is_inside_string = false;
    let (mut line, mut line_start) = (1, 0);
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        let word = BARE_WORDS.iter().find(|word| rest.starts_with(word));
        let taken = match word {
            Some(word) if !is_inside_string => {
                quoted.text.push(b'"');
                quoted.text.extend_from_slice(word);
                quoted.text.push(b'"');
                quoted.ends.push((line, quoted.text.len() - line_start));
                word.len()
            }
            _ => {
                // What follows a backslash neither ends the string nor begins another escape.
                let taken = match byte {
                    b'\\' if is_inside_string => rest.len().min(2),
                    _ => 1,
                };
                quoted.text.extend_from_slice(&rest[..taken]);
                taken
            }
        };
        match byte {
            b'"' => is_inside_string = !is_inside_string,
            b'\n' => {
                line += 1;
                line_start = quoted.text.len();
            }
            _ => {}
        }
        rest = &rest[taken..];
    }
    (!quoted.ends.is_empty()).then_some(quoted)
}

/// Writes `json` as Python's `json` reads it: the strings that [`parse`] made of bare words are
/// bare words again, but for names.
pub(super) fn write(json: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write_into(json, "", &mut text);
    text
}

fn write_into(json: &Value, key: &str, text: &mut Vec<u8>) {
    let separated = |first: &mut bool, text: &mut Vec<u8>| {
        if !std::mem::take(first) {
            text.extend_from_slice(b", ");
        }
    };
    let mut first = true;
    match json {
        Value::String(word) if BARE_WORDS.contains(&word.as_bytes()) && !key.ends_with("name") => {
            text.extend_from_slice(word.as_bytes());
        }
        Value::Array(items) => {
            text.push(b'[');
            // The first item of a reference to a layer's output is a name.
            let key = if key == "keras_history" { "name" } else { "" };
            for item in items {
                separated(&mut first, text);
                write_into(item, key, text);
            }
            text.push(b']');
        }
        Value::Object(object) => {
            text.push(b'{');
            for (key, value) in object {
                separated(&mut first, text);
                text.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                text.extend_from_slice(b": ");
                write_into(value, key, text);
            }
            text.push(b'}');
        }
        other => text.extend_from_slice(other.to_string().as_bytes()),
    }
}

/// Reads and parses a whole file.
pub(super) fn read(
    bytes: &Bytes,
    path: &Path,
    part: &str,
    limits: &Limits,
) -> Result<Value, FileError> {
    check(bytes.len(), path, part, limits)?;
    let text = bytes
        .head(usize::try_from(bytes.len()).unwrap_or(usize::MAX))
        .map_err(|error| FileError::io(path, error))?;
    parse(&text, path, part)
}

/// Refuses a text that is too long.
pub(crate) fn check(len: u64, path: &Path, part: &str, limits: &Limits) -> Result<(), FileError> {
    if len <= limits.json {
        return Ok(());
    }
    Err(FileError::Limit {
        path: path.into(),
        what: part.into(),
        found: len,
        limit: limits.json,
        field: "json",
    })
}

/// The first few names, for an error.
pub(crate) fn some_of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const SHOWN: usize = 8;
    let mut names = names.into_iter();
    let mut text = String::new();
    for name in names.by_ref().take(SHOWN) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        // A hostile name may be a megabyte long.
        text.extend(name.as_ref().chars().take(80));
    }
    match names.count() {
        0 if text.is_empty() => "nothing".into(),
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(text: &str) -> Result<Value, FileError> {
        parse(text.as_bytes(), Path::new("x"), "config.json")
    }

    #[test]
    fn numbers_that_only_python_writes() {
        let text = r#"{"a": NaN, "b": [Infinity,-Infinity], "c": "NaN \" Infinity \\", "d": -1}"#;
        let expected = json!({
            "a": "NaN", "b": ["Infinity", "-Infinity"], "c": "NaN \" Infinity \\", "d": -1
        });
        assert_eq!(parsed(text).expect("it is read"), expected);
    }

    #[test]
    fn what_is_wrong_besides_is_still_told_at_its_place() {
        let place = |text: &str| match parsed(text) {
            Err(FileError::Json { line, column, .. }) => (line, column),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            place("{\"a\": 1, \"b\": tru}"),
            place("{\"a\": 0, \"b\": tru}")
        );
        assert_eq!(place("[NaN, tru]"), place("[123, tru]"));
        assert_eq!(
            place("[NaN,\n Infinity, NaN, tru]"),
            place("[123,\n 12345678, 123, tru]")
        );
        for text in [
            "NaNo",
            "Infinit",
            "1NaN",
            "--Infinity",
            "[NaN",
            "\"NaN",
            "\"\\",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
