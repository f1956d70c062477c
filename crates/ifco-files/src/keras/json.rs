//! JSON out of files, bounded, and lists of names in errors.

use std::path::Path;

use serde_json::Value;

use crate::bytes::Bytes;
use crate::{FileError, Limits};

/// Parses `text`. How deep it may nest is bounded by `serde_json` (128).
pub(super) fn parse(text: &[u8], path: &Path, part: &str) -> Result<Value, FileError> {
    serde_json::from_slice(text).map_err(|error| FileError::json(path, part, &error))
}

/// Reads and parses a whole file.
pub(super) fn read(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Value, FileError> {
    check(bytes.len(), path, "the architecture", limits)?;
    let text = bytes
        .head(usize::try_from(bytes.len()).unwrap_or(usize::MAX))
        .map_err(|error| FileError::io(path, error))?;
    parse(&text, path, "the architecture")
}

/// Refuses a text that is too long.
pub(super) fn check(len: u64, path: &Path, part: &str, limits: &Limits) -> Result<(), FileError> {
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
pub(super) fn some_of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
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
