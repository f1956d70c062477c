//! A checkpoint: `PREFIX.index`, a table of what lies where, and `PREFIX.data-00000-of-00001`, the
//! numbers one after the other.
//!
//! Source: TensorFlow's `tensor_bundle.proto` and `tensor_bundle.h`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn};

use super::crc32c::Crc32c;
use super::folder::{Folder, whole};
use super::table;
use crate::arrays::dtype::Dtype;
use crate::bytes::Bytes;
use crate::torch::decode;
use crate::wire::{Message, Value, WireError};
use crate::{FileError, Limits};

/// A checkpoint whose index was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    entries: BTreeMap<String, Entry>,
    shards: Vec<(PathBuf, Bytes)>,
    index: PathBuf,
    big_endian: bool,
    /// How many bytes its arrays may still come to.
    budget: u64,
}

/// Where a tensor lies.
#[derive(Debug, Default)]
pub(super) struct Entry {
    dtype: u64,
    shape: Vec<u64>,
    shard: u64,
    offset: u64,
    size: u64,
    crc: Option<u32>,
    /// Whether it lies in slices, below keys of their own.
    pub is_sliced: bool,
}

/// A number type of TensorFlow's `types.proto`.
pub(super) enum Type {
    Float(Dtype),
    Whole(Dtype),
    Text,
    Other,
}

impl Entry {
    pub fn kind(&self) -> Type {
        // The types of whole numbers are by NumPy's names.
        let whole = |name| Dtype::parse(name).map_or(Type::Other, Type::Whole);
        match self.dtype {
            1 => Type::Float(Dtype::F32),
            2 => Type::Float(Dtype::F64),
            14 => Type::Float(Dtype::BF16),
            19 => Type::Float(Dtype::F16),
            3 => whole("<i4"),
            4 => whole("|u1"),
            5 => whole("<i2"),
            6 => whole("|i1"),
            7 => Type::Text,
            9 => whole("<i8"),
            10 => whole("|b1"),
            17 => whole("<u2"),
            22 => whole("<u4"),
            23 => whole("<u8"),
            _ => Type::Other,
        }
    }

    pub fn is_scalar(&self) -> bool {
        self.shape.is_empty()
    }
}

impl Bundle {
    /// Opens the checkpoint of this name in the folder.
    pub fn open(folder: &Folder, prefix: &str, limits: &Limits) -> Result<Self, FileError> {
        let name = format!("{prefix}.index");
        let path = folder.path(&name);
        let file = folder.read(&name, "index of the checkpoint")?;
        let table = table::read(&file, &path, limits)?;
        let mut bundle = Self {
            entries: BTreeMap::new(),
            shards: Vec::new(),
            index: path,
            big_endian: false,
            budget: 0,
        };
        let mut shards = None;
        for (key, value) in &table {
            let value = Message {
                bytes: value,
                offset: 0,
            };
            let key = String::from_utf8_lossy(key);
            let wrong = |error: WireError| bundle.damaged(&format!("entry {key:?}"), error.reason);
            if key.is_empty() {
                let header = Header::read(value).map_err(wrong)?;
                bundle.big_endian = header.big_endian;
                shards = Some(header.shards);
            } else if !key.starts_with('\0') {
                let entry = Entry::read(value).map_err(wrong)?;
                bundle.entries.insert(key.into_owned(), entry);
            } // else a slice
        }
        let count = shards.ok_or_else(|| FileError::Missing {
            path: bundle.index.clone(),
            part: "header in the index".into(),
            remedy: "it may be a checkpoint of before TensorFlow 0.12: restore and save it again \
                     with a newer one"
                .into(),
        })?;
        let needed = bundle.entries.values().map(|entry| entry.shard + 1);
        let needed = needed.max().unwrap_or(0);
        if needed > count || count > limits.objects as u64 {
            return Err(bundle.damaged("the header", format!("it tells of {count} data files")));
        }
        let mut size = file.len() as u64;
        for shard in 0..needed {
            let name = format!("{prefix}.data-{shard:05}-of-{count:05}");
            let path = folder.path(&name);
            let Some(bytes) = folder.open(&name)? else {
                return Err(FileError::Missing {
                    path,
                    part: "such file, which the checkpoint's index tells of".into(),
                    remedy: "the files of a checkpoint belong together: copy them all".into(),
                });
            };
            size = size.saturating_add(bytes.len());
            bundle.shards.push((path, bytes));
        }
        bundle.budget = limits.unpacked(size);
        Ok(bundle)
    }

    /// The index's path, for errors.
    pub fn path(&self) -> &Path {
        &self.index
    }

    /// What there is, by name.
    pub(super) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// A tensor of numbers; `None` where there is none of this name, or one of text.
    pub fn read(&mut self, name: &str) -> Result<Option<ArrayD<f32>>, FileError> {
        let part = format!("tensor {name:?}");
        let unsupported = |what: String, remedy: &str| FileError::Unsupported {
            path: self.index.clone(),
            what: format!("{part} {what}"),
            remedy: remedy.into(),
        };
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        if entry.is_sliced {
            let what = "is kept in slices, as tf.compat.v1's partitioned variables are".into();
            return Err(unsupported(
                what,
                "save the checkpoint without a partitioner",
            ));
        }
        let (dtype, is_whole) = match entry.kind() {
            Type::Float(dtype) => (dtype, false),
            Type::Whole(dtype) => (dtype, true),
            Type::Text => return Ok(None),
            Type::Other => {
                let what = format!("is of type {}, which ifco does not read", entry.dtype);
                return Err(unsupported(what, "save it as float32, float16 or bfloat16"));
            }
        };
        let mut shape = Vec::with_capacity(entry.shape.len());
        for size in &entry.shape {
            shape.push(usize::try_from(*size).unwrap_or(usize::MAX));
        }
        let count = shape
            .iter()
            .try_fold(1usize, |n, size| n.checked_mul(*size));
        let size = count.and_then(|count| count.checked_mul(dtype.size()));
        let (Some(count), Some(size)) = (count, size) else {
            return Err(self.damaged(&part, format!("its shape is {shape:?}")));
        };
        if size as u64 != entry.size {
            let reason = format!(
                "its shape {shape:?} needs {size} bytes, and it has {}",
                entry.size
            );
            return Err(self.damaged(&part, reason));
        }
        let raw = self.raw(entry, &part)?;
        let need = 4 * count as u64;
        let whole = self.budget;
        self.budget = whole.checked_sub(need).ok_or_else(|| FileError::Limit {
            path: self.index.clone(),
            what: format!("{part}, as one of arrays that share their bytes,"),
            found: need,
            limit: whole,
            field: "floor",
        })?;
        let dtype = dtype.in_order(self.big_endian);
        let values = match dtype.decode(&raw) {
            Ok(values) => values,
            // How much data a Normalization saw: a count need not be exact.
            Err(_) if is_whole && count == 1 => vec![rounded(&raw, self.big_endian)],
            Err(_) => decode(dtype, &raw, &part, &self.index)?,
        };
        let array = ArrayD::from_shape_vec(IxDyn(&shape), values);
        let array = array.map_err(|error| self.damaged(&part, error.to_string()))?;
        Ok(Some(array))
    }

    /// A tensor that is one string; `None` where there is none of this name.
    pub fn text(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let part = format!("tensor {name:?}");
        if !matches!(entry.kind(), Type::Text) || !entry.is_scalar() || entry.is_sliced {
            return Err(self.damaged(&part, "it is not one text"));
        }
        let raw = self.bytes(entry, &part)?;
        // The lengths, the sum of the lengths, the texts. What is summed of a length are its four
        // or eight bytes.
        let mut rest = Message {
            bytes: &raw,
            offset: 0,
        };
        let text = rest.take_varint().and_then(|length| {
            let summed = match u32::try_from(length) {
                Ok(length) => Crc32c::new().and(&length.to_le_bytes()),
                Err(_) => Crc32c::new().and(&length.to_le_bytes()),
            };
            let sum = rest.take(4)?.bytes;
            let text = rest.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            match sum == summed.masked().to_le_bytes() {
                true => Ok((
                    summed.and(sum).and(text.bytes).masked(),
                    text.bytes.to_vec(),
                )),
                false => Err(text.error("the checksum of its length is wrong")),
            }
        });
        let (sum, text) = text.map_err(|error| self.damaged(&part, error.reason))?;
        match entry.crc.is_none_or(|crc| crc == sum) {
            true => Ok(Some(text)),
            false => Err(self.damaged(&part, "its checksum is not that of its bytes")),
        }
    }

    /// The bytes of a tensor of numbers.
    fn raw(&self, entry: &Entry, part: &str) -> Result<Vec<u8>, FileError> {
        let raw = self.bytes(entry, part)?;
        let sum = Crc32c::new().and(&raw).masked();
        match entry.crc.is_none_or(|crc| crc == sum) {
            true => Ok(raw),
            false => Err(self.damaged(part, "its checksum is not that of its bytes")),
        }
    }

    fn bytes(&self, entry: &Entry, part: &str) -> Result<Vec<u8>, FileError> {
        let shard = usize::try_from(entry.shard).ok();
        let shard = shard.and_then(|shard| self.shards.get(shard));
        let found =
            shard.and_then(|(path, bytes)| Some((path, bytes.slice(entry.offset, entry.size)?)));
        match found {
            Some((path, bytes)) => whole(&bytes, path),
            None => {
                let reason = format!(
                    "it claims bytes {} to {} of the data, which ends before",
                    entry.offset,
                    entry.offset.saturating_add(entry.size)
                );
                Err(self.damaged(part, reason))
            }
        }
    }

    fn damaged(&self, part: &str, reason: impl Into<String>) -> FileError {
        FileError::Damaged {
            path: self.index.clone(),
            part: part.into(),
            reason: reason.into(),
        }
    }
}

/// A whole number of up to eight bytes, of which no `f32` is.
fn rounded(raw: &[u8], big_endian: bool) -> f32 {
    let byte = |sum: f32, byte: &u8| sum * 256.0 + f32::from(*byte);
    match big_endian {
        true => raw.iter().fold(0.0, byte),
        false => raw.iter().rev().fold(0.0, byte),
    }
}

struct Header {
    shards: u64,
    big_endian: bool,
}

impl Header {
    fn read(message: Message<'_>) -> Result<Self, WireError> {
        let mut header = Self {
            shards: 0,
            big_endian: false,
        };
        for field in message.fields() {
            match field? {
                (1, Value::Varint(shards)) => header.shards = shards,
                (2, Value::Varint(order)) => header.big_endian = order == 1,
                _ => {}
            }
        }
        Ok(header)
    }
}

impl Entry {
    fn read(message: Message<'_>) -> Result<Self, WireError> {
        let mut entry = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Varint(dtype)) => entry.dtype = dtype,
                (2, Value::Bytes(shape)) => entry.shape = sizes(shape)?,
                // Beyond any number of files.
                (3, Value::Varint(shard)) => entry.shard = shard.min(u64::from(u32::MAX)),
                (4, Value::Varint(offset)) => entry.offset = offset,
                (5, Value::Varint(size)) => entry.size = size,
                (6, Value::Fixed32(crc)) => entry.crc = Some(u32::from_le_bytes(crc)),
                (7, Value::Bytes(_)) => entry.is_sliced = true,
                _ => {}
            }
        }
        Ok(entry)
    }
}

/// The sizes of a TensorShapeProto.
fn sizes(shape: Message<'_>) -> Result<Vec<u64>, WireError> {
    let mut sizes = Vec::new();
    for field in shape.fields() {
        if let (2, Value::Bytes(dim)) = field? {
            let mut size = 0;
            for field in dim.fields() {
                if let (1, Value::Varint(found)) = field? {
                    size = found;
                }
            }
            sizes.push(size);
        }
    }
    Ok(sizes)
}
