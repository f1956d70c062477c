//! The `.npz` of weights: arrays by name, and perhaps the architecture's JSON as bytes.

use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::Value;
use zip::ZipWriter;

use super::files::CONFIG;
use super::{Tensors, named};
use crate::arrays::{npy, npz};
use crate::bytes::Bytes;
use crate::zipped::Zipped;
use crate::{FileError, Limits, SaveError, keras};

/// The arrays of the file and its architecture; `None` when it is no `.npz`.
pub(super) fn read(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<(Tensors, Option<Value>)>, FileError> {
    let head = bytes.head(4).map_err(|error| FileError::io(path, error))?;
    if head != *b"PK\x03\x04" {
        return Ok(None);
    }
    let mut zip = Zipped::open(bytes, path, limits)?;
    let names = zip.names();
    if names.is_empty() || !names.iter().all(|name| name.ends_with(".npy")) {
        return Ok(None);
    }
    // Arrays of data are no model, whatever they are.
    let is_weight = |entry: &String| {
        let name = entry.strip_suffix(".npy").unwrap_or(entry);
        name == CONFIG || named::is_weight(name)
    };
    if !names.iter().any(is_weight) {
        return Ok(None);
    }
    limits.check_tensors(names.len(), path)?;
    let mut left = limits.unpacked(bytes.len());
    let mut tensors = Tensors::new();
    let mut config = None;
    for entry in names {
        let Some(index) = zip.index(&entry) else {
            continue;
        };
        let content = zip.content(index, &entry)?;
        // As it is, and as numbers of four bytes where the file has them in one or two.
        let cost = content.len().saturating_mul(4);
        left = left.checked_sub(cost).ok_or_else(|| FileError::Limit {
            path: path.into(),
            what: format!("the arrays up to {entry:?}"),
            found: cost,
            limit: limits.unpacked(bytes.len()),
            field: "expansion",
        })?;
        let raw = content
            .head(usize::try_from(content.len()).unwrap_or(usize::MAX))
            .map_err(|error| FileError::io(path, error))?;
        let array = npy::from_bytes(&raw).map_err(|error| FileError::Unsupported {
            path: path.into(),
            what: format!("{entry}: {error}"),
            remedy: "an .npz of weights holds arrays of numbers, and the JSON model_config as \
                     uint8: np.frombuffer(model.to_json().encode(), np.uint8)"
                .into(),
        })?;
        let name = entry.strip_suffix(".npy").unwrap_or(&entry);
        if name == CONFIG {
            keras::check_json(array.len() as u64, path, CONFIG, limits)?;
            // Bytes are whole numbers, which float32 holds.
            let text: Vec<u8> = array.iter().map(|byte| *byte as u8).collect();
            config = Some(keras::parse_json(&text, path, CONFIG)?);
        } else {
            tensors.push((name.into(), array));
        }
    }
    Ok(Some((tensors, config)))
}

/// The bytes of the file, stored as `numpy.savez` does.
pub(super) fn write(tensors: &Tensors, config: &str) -> Result<Vec<u8>, SaveError> {
    let mut bytes = Cursor::new(Vec::new());
    let failed = |error: &dyn std::fmt::Display| SaveError::Encode(error.to_string());
    let mut zip = ZipWriter::new(&mut bytes);
    let text = config.as_bytes();
    zip.start_file(
        format!("{CONFIG}.npy"),
        npz::entry_options(text.len() as u64),
    )
    .map_err(|error| failed(&error))?;
    npy::write_header(&mut zip, "|u1", &[text.len()]).map_err(|error| failed(&error))?;
    zip.write_all(text).map_err(|error| failed(&error))?;
    for (name, array) in tensors {
        zip.start_file(
            format!("{name}.npy"),
            npz::entry_options(4 * array.len() as u64),
        )
        .map_err(|error| failed(&error))?;
        npy::write_to(&mut zip, array.view()).map_err(|error| failed(&error))?;
    }
    zip.finish().map_err(|error| failed(&error))?;
    Ok(bytes.into_inner())
}
