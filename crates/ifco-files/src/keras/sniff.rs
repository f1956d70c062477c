//! What a file is, by its first bytes.

use std::path::Path;

use crate::FileError;
use crate::bytes::Bytes;
use crate::hdf5::SIGNATURE;

/// A kind of file that Keras writes.
pub(super) enum Kind {
    Zip,
    Hdf5,
    Json,
}

/// What `bytes` are.
///
/// # Errors
/// [`FileError::Unknown`] with what they look like instead.
pub(super) fn kind(bytes: &Bytes, path: &Path) -> Result<Kind, FileError> {
    let head = bytes
        .head(512)
        .map_err(|error| FileError::io(path, error))?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Kind::Zip);
    }
    if is_hdf5(bytes, &head) {
        return Ok(Kind::Hdf5);
    }
    if matches!(first_printed(&head), Some(b'{' | b'[')) {
        return Ok(Kind::Json);
    }
    let (found, remedy) = describe(&head);
    Err(FileError::Unknown {
        path: path.into(),
        found: found.into(),
        remedy: remedy.into(),
    })
}

/// The error for a directory in which TensorFlow has saved nothing.
pub(crate) fn directory(path: &Path) -> FileError {
    let (found, remedy) =
        if path.join("config.json").exists() && path.join("metadata.json").exists() {
            (
                "the unpacked directory of a .keras file",
                "zip its files into one archive",
            )
        } else {
            ("a directory", "")
        };
    FileError::Unknown {
        path: path.into(),
        found: found.into(),
        remedy: remedy.into(),
    }
}

/// HDF5 allows a block of the user's own in front: 512 bytes, or a power of two times that.
fn is_hdf5(bytes: &Bytes, head: &[u8]) -> bool {
    if head.starts_with(SIGNATURE) {
        return true;
    }
    let mut found = [0; 8];
    (9..20)
        .map(|power| 1u64 << power)
        .any(|at| bytes.read_exact_at(at, &mut found).is_ok() && found == *SIGNATURE)
}

fn first_printed(head: &[u8]) -> Option<u8> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// What these first bytes are, and what to do about it.
fn describe(head: &[u8]) -> (&'static str, &'static str) {
    let at = |offset: usize, magic: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if head.is_empty() {
        ("an empty file", "save the model again")
    } else if at(0, b"version https://git-lfs") {
        (
            "the pointer that Git LFS keeps instead of a large file",
            "fetch the file itself with `git lfs pull`",
        )
    } else if first_printed(head) == Some(b'<') {
        (
            "a web page or XML",
            "the download may have fetched a page about the model instead of the model",
        )
    } else if at(4, b"TFL3") {
        (
            "a TensorFlow Lite model",
            "open the Keras model that it was converted from",
        )
    } else if at(0, b"\x93NUMPY") {
        ("a NumPy array", "")
    } else if at(0, b"\x1f\x8b") {
        ("gzip-compressed", "unpack it first")
    } else if at(0, b"\x80") {
        (
            "a Python pickle",
            "save a model of Keras with model.save(\"model.keras\"), PyTorch's weights with \
             torch.save(model.state_dict(), \"weights.pt\")",
        )
    } else if at(8, b"{\"") {
        ("a safetensors file", "")
    } else if at(0, b"\x08") {
        ("perhaps a protobuf, such as a TensorFlow graph", "")
    } else if head.iter().all(|byte| *byte == 0) {
        (
            "a file that begins with zeros",
            "it may have been cut off while it was copied",
        )
    } else {
        ("a file of unknown kind", "")
    }
}
