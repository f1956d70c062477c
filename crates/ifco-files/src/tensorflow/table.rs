//! The table that a checkpoint's `.index` is: LevelDB's, of sorted keys and their values.
//!
//! ```text
//! blocks of entries   an entry: how much of the key before it shares, how long the rest of its
//!                     key is and how long its value, then both; behind the entries, where some
//!                     of them begin
//! metaindex, index    blocks too: the index has where each block of entries lies
//! 48 bytes at the end where these two lie, zeros, and a magic number
//! ```
//!
//! Behind each block stand a byte that says how it is compressed and a CRC-32C. Source: LevelDB's
//! `doc/table_format.md`, which TensorFlow's `tsl/lib/io/format.h` follows.

use std::path::Path;

use super::crc32c::Crc32c;
use crate::wire::{Message, WireError};
use crate::{FileError, Limits};

/// How a table ends.
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
/// Its end with the magic number.
const FOOTER: usize = 48;
/// Behind each block.
const TRAILER: usize = 5;

/// Whether a file that ends so is a table.
pub(crate) fn is_table(end: &[u8]) -> bool {
    end.ends_with(&MAGIC)
}

/// Keys and values, in the table's order.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads every entry.
///
/// Keys share their beginnings, and blocks may lie anywhere: what they come to together is held to
/// [`Limits::unpacked`] of the file's size, and their number to [`Limits::objects`].
pub(super) fn read(file: &[u8], path: &Path, limits: &Limits) -> Result<Entries, FileError> {
    let size = file.len() as u64;
    let file = Message {
        bytes: file,
        offset: 0,
    };
    let table = Table { file, path };
    let start = file.bytes.len().checked_sub(FOOTER);
    let Some(start) = start.filter(|_| is_table(file.bytes)) else {
        let reason = "it does not end as a checkpoint's index does: it may have been cut off";
        return Err(table.damaged("the end", reason));
    };
    let mut footer = Message {
        bytes: &file.bytes[start..],
        offset: start,
    };
    let of_footer = |error: WireError| table.wrong("the end", &error);
    handle(&mut footer).map_err(of_footer)?; // of the metaindex, which says nothing
    let index = handle(&mut footer).map_err(of_footer)?;
    let mut budget = Budget {
        left: limits.unpacked(size),
        whole: limits.unpacked(size),
    };
    let mut entries = Entries::new();
    let mut blocks = Entries::new();
    table.block(index, &mut blocks, &mut budget, limits)?;
    for (_, value) in blocks {
        let mut value = Message {
            bytes: &value,
            offset: 0,
        };
        let place = handle(&mut value).map_err(|error| table.wrong("the index", &error))?;
        table.block(place, &mut entries, &mut budget, limits)?;
    }
    Ok(entries)
}

/// Where a block lies: offset and size.
fn handle(message: &mut Message<'_>) -> Result<(u64, u64), WireError> {
    Ok((message.take_varint()?, message.take_varint()?))
}

struct Budget {
    left: u64,
    whole: u64,
}

struct Table<'a> {
    file: Message<'a>,
    path: &'a Path,
}

impl Table<'_> {
    fn damaged(&self, part: &str, reason: impl Into<String>) -> FileError {
        FileError::Damaged {
            path: self.path.into(),
            part: part.into(),
            reason: reason.into(),
        }
    }

    fn wrong(&self, part: &str, error: &WireError) -> FileError {
        self.damaged(part, format!("{} at byte {}", error.reason, error.offset))
    }

    /// Appends the entries of a block.
    fn block(
        &self,
        (offset, size): (u64, u64),
        to: &mut Entries,
        budget: &mut Budget,
        limits: &Limits,
    ) -> Result<(), FileError> {
        let part = format!("the block at byte {offset}");
        let content = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        let content = content.and_then(|(offset, size)| {
            let (block, behind) = self.file.bytes.get(offset..)?.split_at_checked(size)?;
            Some((block, behind.get(..TRAILER)?))
        });
        let Some((block, trailer)) = content else {
            let reason = format!("it claims {size} bytes, and the file ends before");
            return Err(self.damaged(&part, reason));
        };
        let (kind, sum) = trailer.split_at(1);
        if Crc32c::new().and(block).and(kind).masked().to_le_bytes() != sum {
            return Err(self.damaged(&part, "its checksum is not that of its bytes"));
        }
        if kind != [0] {
            return Err(FileError::Unsupported {
                path: self.path.into(),
                what: format!("{part} is compressed, as TensorFlow has never written it"),
                remedy: "restore and save the checkpoint again with TensorFlow".into(),
            });
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let message = Message {
            bytes: block,
            offset,
        };
        let mut rest = without_restarts(message).map_err(|error| self.wrong(&part, &error))?;
        let mut key: Vec<u8> = Vec::new();
        while !rest.bytes.is_empty() {
            let (shared, own, value) =
                entry(&mut rest).map_err(|error| self.wrong(&part, &error))?;
            if shared > key.len() {
                let reason = format!("a key shares {shared} bytes of one of {}", key.len());
                return Err(self.damaged(&part, reason));
            }
            key.truncate(shared);
            key.extend_from_slice(own);
            budget.take((key.len() + value.len()) as u64, self.path)?;
            to.push((key.clone(), value.to_vec()));
            limits.check_tensors(to.len(), self.path)?;
        }
        Ok(())
    }
}

impl Budget {
    fn take(&mut self, bytes: u64, path: &Path) -> Result<(), FileError> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                return Err(FileError::Limit {
                    path: path.into(),
                    what: "the checkpoint's index, unpacked,".into(),
                    found: self.whole.saturating_add(bytes),
                    limit: self.whole,
                    field: "floor",
                });
            }
        }
        Ok(())
    }
}

/// A block's entries: at its end stand their beginnings, four bytes each, and how many these are.
fn without_restarts(block: Message<'_>) -> Result<Message<'_>, WireError> {
    let count = block.bytes.last_chunk::<4>();
    let count = count.ok_or_else(|| block.error("the block is cut off"))?;
    let restarts = u64::from(u32::from_le_bytes(*count)) * 4 + 4;
    let end = usize::try_from(restarts)
        .ok()
        .and_then(|restarts| block.bytes.len().checked_sub(restarts));
    let end = end.ok_or_else(|| block.error("the block has no room for its restarts"))?;
    let mut block = block;
    block.take(end)
}

/// How much of the key before it shares, the rest of its key, its value.
fn entry<'a>(rest: &mut Message<'a>) -> Result<(usize, &'a [u8], &'a [u8]), WireError> {
    let mut size = || Ok(usize::try_from(rest.take_varint()?).unwrap_or(usize::MAX));
    let (shared, own, value) = (size()?, size()?, size()?);
    Ok((shared, rest.take(own)?.bytes, rest.take(value)?.bytes))
}
