//! `ifco.json` in a `.keras`: what the model was trained for. Keras passes it over.

use std::path::Path;

use ifco_tasks::Recipe;

use super::archive;
use super::sniff::{self, Kind};
use crate::bytes::Bytes;
use crate::{FileError, Limits};

/// The entry's name in the archive.
pub(super) const NAME: &str = "ifco.json";

/// Bytes of a vocabulary of a million words; each of them takes several times its size once read.
const LONGEST: u64 = 16 << 20;

/// What the archive says, if it says something; nothing of files that are no archive.
pub(crate) fn recipe(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<Recipe>, FileError> {
    // What it is otherwise, the model's opener tells.
    if !matches!(sniff::kind(bytes, path), Ok(Kind::Zip)) {
        return Ok(None);
    }
    let limits = Limits {
        json: limits.json.min(LONGEST),
        ..limits.clone()
    };
    let Some(json) = archive::optional_json(bytes, path, &limits, NAME)? else {
        return Ok(None);
    };
    let recipe = Recipe::from_json(&json).map_err(|error| FileError::Value {
        path: path.into(),
        place: format!("{NAME}, {}", error.place),
        found: error.found,
        expected: error.expected,
    })?;
    Ok(Some(recipe))
}
