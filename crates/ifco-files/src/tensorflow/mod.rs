//! TensorFlow's checkpoints and SavedModels: files that only make sense together.
//!
//! | what | module |
//! |---|---|
//! | the files beside each other | [`folder`] |
//! | a checkpoint: `PREFIX.index` and `PREFIX.data-00000-of-00001` | [`bundle`], its index a [`table`], checked by [`crc32c`] |
//! | who holds which variable, in a checkpoint of TensorFlow 2 | [`objects`] |
//! | the variables by names | [`variables`] |
//! | what Keras 2 tells beside a SavedModel | [`metadata`] |
//!
//! A SavedModel is a folder: `saved_model.pb`, a graph of operations that ifco never runs, a
//! checkpoint `variables/variables`, and, from Keras 2, `keras_metadata.pb`. What these mean to Keras
//! is told in `keras/saved_model.rs`.

mod bundle;
mod crc32c;
mod folder;
mod metadata;
mod objects;
mod table;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use bundle::Bundle;
pub(crate) use folder::Folder;
pub(crate) use objects::Objects;

use crate::bytes::Bytes;
use crate::wire::{Message, WireError};
use crate::zipped::Zipped;
use crate::{FileError, Limits, Opened, WeightsFile, keras};

const SAVED_MODEL: &str = "saved_model.pb";
const METADATA: &str = "keras_metadata.pb";
/// The checkpoint of a SavedModel.
const VARIABLES: &str = "variables/variables";
/// Which of a folder's checkpoints is the latest: a text.
const CHECKPOINT: &str = "checkpoint";

/// Where something of TensorFlow lies.
#[derive(Debug)]
pub(crate) enum Place {
    /// The checkpoint of this prefix in the folder.
    Checkpoint(Folder, String),
    /// A SavedModel.
    SavedModel(Folder),
}

/// What of TensorFlow lies at `path`, which may be a folder, any of the files, or what their names
/// begin with; `None` when it is something else.
pub(crate) fn find(path: &Path) -> Result<Option<Place>, FileError> {
    if path.is_dir() {
        return in_folder(Folder::Disk(path.into()));
    }
    let (Some(name), folder) = (
        path.file_name().and_then(|name| name.to_str()),
        path.parent(),
    ) else {
        return Ok(None);
    };
    let folder = Folder::Disk(folder.map_or_else(PathBuf::new, Path::to_path_buf));
    if !path.is_file() {
        let is_prefix = !name.is_empty() && folder.has(&format!("{name}.index"));
        return Ok(is_prefix.then(|| Place::Checkpoint(folder, name.into())));
    }
    if [SAVED_MODEL, METADATA].contains(&name) {
        return Ok(folder.has(SAVED_MODEL).then_some(Place::SavedModel(folder)));
    }
    if name == CHECKPOINT {
        return in_folder(folder);
    }
    let is_data = |rest: &str| rest.len() == 14 && &rest[5..9] == "-of-";
    if let Some((prefix, rest)) = name.rsplit_once(".data-")
        && rest.is_ascii()
        && is_data(rest)
    {
        return Ok(Some(Place::Checkpoint(folder, prefix.into())));
    }
    if let Some(prefix) = name.strip_suffix(".meta")
        && folder.has(&format!("{prefix}.index"))
    {
        return Ok(Some(Place::Checkpoint(folder, prefix.into())));
    }
    let end = folder.open(name)?.and_then(|bytes| {
        let start = bytes.len().checked_sub(8)?;
        bytes.slice(start, 8)?.head(8).ok()
    });
    if !end.is_some_and(|end| table::is_table(&end)) {
        return Ok(None);
    }
    match name.strip_suffix(".index") {
        Some(prefix) => Ok(Some(Place::Checkpoint(folder, prefix.into()))),
        None => Err(FileError::Unsupported {
            path: path.into(),
            what: "this looks like a checkpoint of before TensorFlow 0.12, or an index without \
                   its ending .index"
                .into(),
            remedy: "restore and save it again with tf.compat.v1.train.Saver, or give the file \
                     its name PREFIX.index"
                .into(),
        }),
    }
}

/// A SavedModel, the latest of several checkpoints, or the only one.
pub(crate) fn in_folder(folder: Folder) -> Result<Option<Place>, FileError> {
    if folder.has(SAVED_MODEL) {
        return Ok(Some(Place::SavedModel(folder)));
    }
    if let Some(bytes) = folder.open(CHECKPOINT)? {
        let text = bytes.head(1 << 16);
        let text = text.map_err(|error| FileError::io(&folder.path(CHECKPOINT), error))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some(prefix) = latest(&text) {
            if folder.has(&format!("{prefix}.index")) {
                return Ok(Some(Place::Checkpoint(folder, prefix)));
            }
            return Err(FileError::Missing {
                path: folder.path(&format!("{prefix}.index")),
                part: "such file, which `checkpoint` tells to be the latest checkpoint".into(),
                remedy: match folder.prefixes().as_slice() {
                    [] => "the files of a checkpoint belong together: copy them all".into(),
                    there => format!("open another one: {}", keras::some_of(there)),
                },
            });
        }
    }
    let mut prefixes = folder.prefixes();
    match prefixes.len() {
        0 => Ok(None),
        1 => Ok(prefixes
            .pop()
            .map(|prefix| Place::Checkpoint(folder, prefix))),
        _ => Err(FileError::Unknown {
            path: folder.path(""),
            found: "a folder of several checkpoints, none of which is said to be the latest".into(),
            remedy: format!("open one of them: {}", keras::some_of(&prefixes)),
        }),
    }
}

/// The prefix that a `checkpoint` tells to be the latest. Folders move, so that it is looked for
/// beside that file, whatever folder it was saved in.
fn latest(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("model_checkpoint_path:"))?;
    let path = line.trim().trim_matches('"');
    let name = path.rsplit(['/', '\\']).next()?;
    (!name.is_empty() && name != "..").then(|| name.to_owned())
}

/// Opens what lies there: a model where Keras 2 tells its architecture, else weights by names.
pub(crate) fn open(place: Place, path: &Path, limits: &Limits) -> Result<Opened, FileError> {
    match place {
        Place::Checkpoint(folder, prefix) => {
            let checkpoint = Checkpoint::open(&folder, &prefix, limits)?;
            Ok(Opened::Weights(checkpoint.weights(path, Vec::new())?))
        }
        Place::SavedModel(folder) => {
            let metadata = metadata(&folder, limits)?;
            let mut checkpoint = variables_of(&folder, path, limits)?;
            let notes = match metadata {
                Some(metadata) if keras::tells_architecture(&metadata) => {
                    let model = keras::open_saved_model(metadata, &mut checkpoint, path)?;
                    return Ok(Opened::Model(Box::new(model)));
                }
                Some(metadata) => vec![format!(
                    "the SavedModel is of the class {}, whose architecture is code in Python: only \
                     its weights are read",
                    metadata["class_name"].as_str().unwrap_or("Model")
                )],
                None => vec![
                    "the SavedModel tells its graph of operations, which ifco does not run, and no \
                     Keras layers: only its weights are read"
                        .into(),
                ],
            };
            Ok(Opened::Weights(checkpoint.weights(path, notes)?))
        }
    }
}

/// The checkpoint of a SavedModel.
fn variables_of(folder: &Folder, path: &Path, limits: &Limits) -> Result<Checkpoint, FileError> {
    if !folder.has(&format!("{VARIABLES}.index")) {
        return Err(FileError::Missing {
            path: path.into(),
            part: format!("{VARIABLES}.index in the SavedModel: it has no weights of its own"),
            remedy: "its variables may be frozen into its graph: open the model that it was made \
                     of; if the folder was copied, copy all of it"
                .into(),
        });
    }
    Checkpoint::open(folder, VARIABLES, limits)
}

/// The weights at a place, to go with an architecture that is told elsewhere.
pub(crate) fn checkpoint(
    place: Place,
    path: &Path,
    limits: &Limits,
) -> Result<Checkpoint, FileError> {
    match place {
        Place::Checkpoint(folder, prefix) => Checkpoint::open(&folder, &prefix, limits),
        Place::SavedModel(folder) => variables_of(&folder, path, limits),
    }
}

/// A checkpoint and, if TensorFlow 2 saved it, the objects that its variables belong to.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub bundle: Bundle,
    pub objects: Option<Objects>,
}

impl Checkpoint {
    fn open(folder: &Folder, prefix: &str, limits: &Limits) -> Result<Self, FileError> {
        let bundle = Bundle::open(folder, prefix, limits)?;
        let objects = Objects::of(&bundle, limits)?;
        Ok(Self { bundle, objects })
    }

    fn weights(self, path: &Path, notes: Vec<String>) -> Result<WeightsFile, FileError> {
        variables::weights(self, path, notes)
    }
}

/// What Keras 2 tells of the whole model; `None` where it tells nothing.
fn metadata(folder: &Folder, limits: &Limits) -> Result<Option<Value>, FileError> {
    let of = |name: &str, read: Reader| -> Result<Option<Value>, FileError> {
        let Some(bytes) = folder.open(name)? else {
            return Ok(None);
        };
        let path = folder.path(name);
        let file = folder::whole(&bytes, &path)?;
        let message = Message {
            bytes: &file,
            offset: 0,
        };
        let json = read(message).map_err(|error| FileError::Damaged {
            path: path.clone(),
            part: format!("byte {}", error.offset),
            reason: error.reason.into(),
        })?;
        let Some(json) = json else {
            return Ok(None);
        };
        const PART: &str = "the model's metadata";
        keras::check_json(json.bytes.len() as u64, &path, PART, limits)?;
        keras::parse_json(json.bytes, &path, PART).map(Some)
    };
    match of(METADATA, metadata::of_metadata)? {
        Some(found) => Ok(Some(found)),
        None => of(SAVED_MODEL, metadata::of_saved_model),
    }
}

type Reader = fn(Message<'_>) -> Result<Option<Message<'_>>, WireError>;

/// The SavedModel that lies in a zip, perhaps in a folder there; `None` when it is another zip.
pub(crate) fn zipped(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<Place>, FileError> {
    let mut zip = Zipped::open(bytes, path, limits)?;
    let names = zip.names();
    let root = names.iter().find_map(|name| {
        let root = name.strip_suffix(SAVED_MODEL)?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    let Some(root) = root.filter(|_| !zip.has("config.json")) else {
        return Ok(None);
    };
    let mut files = BTreeMap::new();
    let mut unpacked = 0u64;
    for name in &names {
        let inner = name.strip_prefix(root).unwrap_or_default();
        let is_part = [SAVED_MODEL, METADATA].contains(&inner) || inner.starts_with(VARIABLES);
        if let Some(index) = zip.index(name).filter(|_| is_part) {
            unpacked = unpacked.saturating_add(zip.entry_size(index, name)?);
            let limit = limits.unpacked(bytes.len());
            if unpacked > limit {
                return Err(FileError::Limit {
                    path: path.into(),
                    what: "what the zip unpacks to".into(),
                    found: unpacked,
                    limit,
                    field: "floor",
                });
            }
            files.insert(inner.to_owned(), zip.content(index, name)?);
        }
    }
    Ok(Some(Place::SavedModel(Folder::Memory(path.into(), files))))
}

/// A folder in memory.
pub(crate) fn in_memory(files: Vec<(String, Vec<u8>)>, path: &Path) -> Folder {
    let files = files.into_iter();
    let files = files.map(|(name, bytes)| (name, Bytes::from_vec(bytes)));
    Folder::Memory(path.into(), files.collect())
}
