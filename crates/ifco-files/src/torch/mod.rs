//! PyTorch's files, and safetensors: weights by name.
//!
//! | kind | what it is | module |
//! |---|---|---|
//! | `.pt`, `.pth` | a zip of a pickle and storages, or the legacy stream of pickles | [`container`] |
//! | TorchScript `.pt` | the same zip with code, which is never read | [`container`] |
//! | `.safetensors` | a header in JSON and the numbers behind it | [`safetensors`] |
//!
//! The pickle is read by [`pickle`], which runs nothing; [`state_dict`] finds the tensors in what
//! it made. They become a [`WeightsFile`], a group per module, by PyTorch's names and in its
//! shapes. [`crate::weights`] makes a model of them, as far as names, shapes and a spec tell.

mod container;
mod modules;
mod pickle;
mod recurrent;
mod safetensors;
mod save;
mod state_dict;

use std::path::Path;

use crate::bytes::Bytes;
use crate::weights::{self, Tensors};
use crate::zipped::Zipped;
use crate::{FileError, Limits, WeightsFile, WeightsGroup, WeightsSource};
use container::Saved;

pub(crate) use modules::module;
pub(crate) use save::{save_pt, save_safetensors};
pub(crate) use state_dict::decode;

/// How weights are saved so that they can be read anywhere.
const SAVE: &str = "torch.save(model.state_dict(), \"weights.pt\")";
const RESAVE: &str = "save the weights again: torch.save(model.state_dict(), \"weights.pt\")";

/// Opens a file of PyTorch or a `.safetensors`; `None` when it is neither.
///
/// `state_dict` is the key of the weights in a checkpoint, where the user told it.
pub(crate) fn open(
    bytes: &Bytes,
    path: &Path,
    state_dict: Option<&str>,
    limits: &Limits,
) -> Result<Option<WeightsFile>, FileError> {
    let head = bytes.head(64).map_err(|error| FileError::io(path, error))?;
    let saved = if head.starts_with(b"PK\x03\x04") {
        let zip = Zipped::open(bytes, path, limits)?;
        let is_pickle = |name: &&String| {
            name.as_str() == "data.pkl"
                || name
                    .strip_suffix("/data.pkl")
                    .is_some_and(|folder| !folder.contains('/'))
        };
        let Some(pickle) = zip.names().iter().find(is_pickle).cloned() else {
            return Ok(None);
        };
        Saved::zip(zip, &pickle, path, bytes.len(), limits)?
    } else if container::is_legacy(&head) {
        Saved::legacy(bytes, path, limits)?
    } else if safetensors::is_safetensors(&head, bytes.len()) {
        let tensors = safetensors::read(bytes, path, limits)?;
        if !weights::is_torch(&tensors) {
            return Ok(Some(weights::file(tensors, false, Vec::new())));
        }
        let source = WeightsSource::Safetensors;
        return Ok(Some(file(tensors, source, Vec::new())));
    } else {
        return Ok(None);
    };
    let found = state_dict::read(saved, state_dict, bytes.len(), limits)?;
    Ok(Some(file(found.tensors, WeightsSource::Torch, found.notes)))
}

/// Prefixes that wrappers put in front of every name: `DataParallel`, `torch.compile`, Lightning.
pub(crate) const WRAPPERS: [&str; 6] = [
    "module",
    "_orig_mod",
    "_forward_module",
    "model",
    "net",
    "network",
];

/// Weights by PyTorch's names, in the order of another file.
pub(crate) fn named(tensors: Tensors) -> WeightsFile {
    file(tensors, WeightsSource::Torch, Vec::new())
}

/// A group for each module.
fn file(mut tensors: Tensors, source: WeightsSource, notes: Vec<String>) -> WeightsFile {
    while let Some(prefix) = WRAPPERS
        .iter()
        .map(|wrapper| format!("{wrapper}."))
        .find(|prefix| {
            let inside = |name: &String| name.strip_prefix(prefix).is_some_and(|n| n.contains('.'));
            !tensors.is_empty() && tensors.iter().all(|(name, _)| inside(name))
        })
    {
        for (name, _) in &mut tensors {
            name.drain(..prefix.len());
        }
    }
    let mut groups: Vec<WeightsGroup> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, array) in tensors {
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", &name));
        let place = *places.entry(module.to_owned()).or_insert_with(|| {
            groups.push(WeightsGroup {
                path: module.to_owned(),
                name: None,
                arrays: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].arrays.push((leaf.to_owned(), array));
    }
    WeightsFile {
        groups,
        source,
        notes,
    }
}
