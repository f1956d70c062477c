//! The bytes under `hdf5-pure`, counted as they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_pure::{FormatError, Source};

use crate::bytes::Bytes;

/// A read of a few bytes costs a call; the meter counts it as this many.
const LEAST_PER_READ: u64 = 64;

/// Counts what is read: per call, which bounds memory, and in all, which bounds time.
#[derive(Debug)]
pub(super) struct Meter {
    pub call: AtomicU64,
    pub total: AtomicU64,
}

impl Meter {
    /// A call may now read this much.
    pub fn allow(&self, bytes: u64) {
        self.call.store(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: u64) -> Result<(), FormatError> {
        let bytes = bytes.max(LEAST_PER_READ);
        for counter in [&self.call, &self.total] {
            let left = counter.load(Ordering::Relaxed);
            let Some(left) = left.checked_sub(bytes) else {
                return Err(FormatError::Source(
                    "the file makes its reader fetch far more than it holds; it is damaged, or \
                     made to exhaust memory"
                        .into(),
                ));
            };
            counter.store(left, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The bytes under `hdf5-pure`, counted.
pub(super) struct Metered {
    pub bytes: Bytes,
    pub meter: Arc<Meter>,
}

impl Metered {
    fn check(&self, offset: u64, len: usize) -> Result<(), FormatError> {
        let available = self.bytes.len();
        let end = offset.checked_add(len as u64);
        if end.is_some_and(|end| end <= available) {
            return Ok(());
        }
        let fit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Err(FormatError::UnexpectedEof {
            expected: fit(end.unwrap_or(u64::MAX)),
            available: fit(available),
        })
    }
}

impl Source for Metered {
    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        self.meter.take(buffer.len() as u64)?;
        self.check(offset, buffer.len())?;
        self.bytes
            .read_exact_at(offset, buffer)
            .map_err(|error| FormatError::Source(error.to_string()))
    }

    fn read_exact_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, FormatError> {
        // Before the buffer is reserved, not after.
        self.check(offset, len)?;
        self.meter.take(len as u64)?;
        let mut buffer = vec![0; len];
        self.bytes
            .read_exact_at(offset, &mut buffer)
            .map_err(|error| FormatError::Source(error.to_string()))?;
        Ok(buffer)
    }
}
