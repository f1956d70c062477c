//! NumPy's `.npz`: a zip archive of `.npy` files, each an array by name.
//!
//! Stored (`numpy.savez`) or deflated (`numpy.savez_compressed`). What an archive unpacks to is
//! bounded by [`MAX_EXPANSION`] and [`EXPANSION_FLOOR`], counted while unpacking: what the
//! archive says of its sizes is not believed. (An array of bytes takes four times as much once
//! its numbers are `f32`.)

use std::io::{self, Cursor, Read, Seek, Write};
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

pub use super::npz_growing::Growing;
use super::{ArrayFileError, ArrayProblem, npy, write_file};

/// An archive may unpack to this many times its own size: padded sequences of small numbers
/// compress well, but not this well.
pub const MAX_EXPANSION: u64 = 200;

/// An archive of any size may unpack to this many bytes.
///
/// ```
/// use ifco_files::arrays::npz::{EXPANSION_FLOOR, MAX_EXPANSION};
/// let limit = |size: u64| EXPANSION_FLOOR.max(size * MAX_EXPANSION);
/// assert_eq!(limit(1_000), 64 << 20); // small archives: 64 MiB
/// assert_eq!(limit(1_000_000), 200_000_000);
/// ```
pub const EXPANSION_FLOOR: u64 = 64 << 20;

/// Reads all arrays of a file, as `f32`, in the archive's order: for `numpy.savez(path, x0, x1)`
/// they are `arr_0` and `arr_1`.
///
/// # Errors
/// When the file cannot be read, is not a zip archive, holds something that is not an array of
/// numbers, or unpacks to more than it may.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let arrays = ifco_files::arrays::npz::read("translate_x.npz")?;
/// let names: Vec<_> = arrays.iter().map(|(name, _)| name.as_str()).collect();
/// assert_eq!(names, ["target", "source"]);
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Vec<(String, ArrayD<f32>)>, ArrayFileError> {
    let path = path.as_ref();
    std::fs::read(path)
        .map_err(ArrayFileError::from)
        .and_then(|bytes| from_bytes(&bytes))
        .map_err(|error| error.at(path))
}

/// All arrays in the bytes of an `.npz` file.
///
/// # Errors
/// As for [`read`].
///
/// ```
/// use ifco_files::arrays::npz;
/// use ndarray::array;
///
/// let x = array![[1.0, 2.0]].into_dyn();
/// let bytes = npz::to_bytes(&[("x".into(), x.view())])?;
/// assert_eq!(npz::from_bytes(&bytes)?, [("x".into(), x)]);
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, ArrayD<f32>)>, ArrayFileError> {
    let size = bytes.len() as u64;
    let limit = EXPANSION_FLOOR.max(size.saturating_mul(MAX_EXPANSION));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut arrays: Vec<(String, ArrayD<f32>)> = Vec::new();
    let mut left = limit;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        let file = entry.name().map_err(damaged)?.into_owned();
        let name = file.strip_suffix(".npy").ok_or_else(|| {
            ArrayProblem::Archive(format!(
                "the archive holds {file:?}, which is not an array (a .npy file)"
            ))
        })?;
        let mut unpacked = Vec::new();
        entry
            .by_ref()
            .take(left.saturating_add(1))
            .read_to_end(&mut unpacked)
            .map_err(|error| ArrayFileError::from(error).in_member(name))?;
        let too_much = || ArrayProblem::Expansion {
            limit,
            times: limit.checked_div(size).unwrap_or(limit),
        };
        left = left
            .checked_sub(unpacked.len() as u64)
            .ok_or_else(too_much)?;
        let array = npy::from_bytes(&unpacked).map_err(|error| error.in_member(name))?;
        arrays.push((name.into(), array));
    }
    if arrays.is_empty() {
        return Err(ArrayProblem::Archive("the archive holds no arrays".into()).into());
    }
    Ok(arrays)
}

/// Writes arrays by name, stored as `numpy.savez` does.
///
/// # Errors
/// When the file cannot be written, or two arrays have the same name.
///
/// ```
/// use ifco_files::arrays::npz;
/// use ndarray::array;
///
/// let path = std::env::temp_dir().join("ifco-doc-write.npz");
/// let (y, h) = (array![[0.5]].into_dyn(), array![[1.0, 2.0]].into_dyn());
/// npz::write(&path, &[("y".into(), y.view()), ("h".into(), h.view())])?;
/// assert_eq!(npz::read(&path)?[1], ("h".into(), h));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn write(
    path: impl AsRef<Path>,
    arrays: &[(String, ArrayViewD<'_, f32>)],
) -> Result<(), ArrayFileError> {
    write_file(path.as_ref(), |file| write_to(file, arrays))
}

/// The bytes of an `.npz` file.
///
/// # Errors
/// When two arrays have the same name.
///
/// ```
/// use ifco_files::arrays::npz;
/// let x = ndarray::array![1.0, 2.0].into_dyn();
/// assert!(npz::to_bytes(&[("x".into(), x.view())])?.starts_with(b"PK"));
/// assert!(npz::to_bytes(&[("x".into(), x.view()), ("x".into(), x.view())]).is_err());
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn to_bytes(arrays: &[(String, ArrayViewD<'_, f32>)]) -> Result<Vec<u8>, ArrayFileError> {
    let mut bytes = Cursor::new(Vec::new());
    write_to(&mut bytes, arrays)?;
    Ok(bytes.into_inner())
}

fn write_to(
    out: impl Write + Seek,
    arrays: &[(String, ArrayViewD<'_, f32>)],
) -> Result<(), ArrayFileError> {
    let mut archive = ZipWriter::new(out);
    for (name, array) in arrays {
        let options = entry_options(4 * array.len() as u64);
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(|error| unwritable(&error).in_member(name))?;
        npy::write_to(&mut archive, array.view())?;
    }
    archive.finish().map_err(|error| unwritable(&error))?;
    Ok(())
}

/// Of an array of so many bytes. Without a clock the same arrays give the same bytes.
pub(crate) fn entry_options(bytes: u64) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(bytes > 1 << 31)
}

pub(super) fn unwritable(error: &zip::result::ZipError) -> ArrayFileError {
    ArrayProblem::Unwritable(format!("the archive cannot be written: {error}")).into()
}

fn damaged(error: zip::result::ZipError) -> ArrayFileError {
    match error {
        zip::result::ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            error.into()
        }
        other => {
            ArrayProblem::Archive(format!("not an .npz archive that can be read: {other}")).into()
        }
    }
}
