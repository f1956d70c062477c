//! How much a file may cost to open.

use std::path::Path;

use crate::FileError;

/// Bounds on what opening a file may cost, whatever the file claims.
///
/// The defaults let every model through that Keras writes. A file that goes beyond one of
/// them is refused with [`FileError::Limit`](crate::FileError::Limit), which names the field
/// to raise:
///
/// ```
/// use ifco_files::{Limits, OpenOptions};
/// let mut limits = Limits::default();
/// limits.expansion = 1024; // a weights file that is gzipped and nearly all zeros
/// let options = OpenOptions::new().limits(limits);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes that a file of any size may unpack to: what is compressed in a zip, and all
    /// arrays together. Default 64 MiB.
    pub floor: u64,
    /// A larger file may unpack to this many times its own size. Default 16: half of it is
    /// reached by int8 weights (4 bytes each once opened) in a compressed file.
    pub expansion: u64,
    /// Bytes of one JSON text: `config.json`, `model_config`. Default 64 MiB.
    pub json: u64,
    /// Groups and datasets in one file. Default 100 000.
    pub objects: usize,
    /// How deep groups may lie in each other. Default 64.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            floor: 64 << 20,
            expansion: 16,
            json: 64 << 20,
            objects: 100_000,
            depth: 64,
        }
    }
}

impl Limits {
    /// Refuses a file of more tensors than there may be objects.
    pub(crate) fn check_tensors(&self, count: usize, path: &Path) -> Result<(), FileError> {
        if count <= self.objects {
            return Ok(());
        }
        Err(FileError::Limit {
            path: path.into(),
            what: "the number of tensors".into(),
            found: count as u64,
            limit: self.objects as u64,
            field: "objects",
        })
    }

    /// What a file of `size` bytes may unpack to.
    pub fn unpacked(&self, size: u64) -> u64 {
        self.floor.max(size.saturating_mul(self.expansion))
    }
}
