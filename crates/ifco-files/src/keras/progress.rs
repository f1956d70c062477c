//! `ifco.training.json` and `ifco.best.weights.h5` in a `.keras`: what the callbacks of a training
//! have seen that goes on later, and the weights that were the best so far. Keras passes them over.

use std::path::Path;

use ifco_train::callback::{BestWeights, Progress};
use ndarray::ArrayD;

use super::archive;
use super::sniff::{self, Kind};
use crate::bytes::Bytes;
use crate::{FileError, Limits};

/// The entries' names in the archive.
pub(super) const NAME: &str = "ifco.training.json";
pub(super) const BEST: &str = "ifco.best.weights.h5";

/// Numbers of a few callbacks take no more.
const LONGEST: u64 = 1 << 20;

/// What a training that goes on begins with, and the best weights where they are not the last, in
/// the order of [`Model::weight_slots`](ifco_model::Model::weight_slots).
pub type Begun = (Progress, Option<Vec<ArrayD<f32>>>);

/// What the archive says, if it says something; nothing of files that are no archive.
pub(crate) fn progress(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<Begun>, FileError> {
    // What it is otherwise, the model's opener tells.
    if !matches!(sniff::kind(bytes, path), Ok(Kind::Zip)) {
        return Ok(None);
    }
    let short = Limits {
        json: limits.json.min(LONGEST),
        ..limits.clone()
    };
    let Some(json) = archive::optional_json(bytes, path, &short, NAME)? else {
        return Ok(None);
    };
    let progress = Progress::from_json(&json).map_err(|error| FileError::Damaged {
        path: path.into(),
        part: NAME.into(),
        reason: error.to_string(),
    })?;
    let best = match progress.best_weights {
        BestWeights::Beside => archive::open_with(bytes, path, limits, BEST)?.weights(),
        BestWeights::Unwanted | BestWeights::Last => None,
    };
    Ok(Some((progress, best)))
}
