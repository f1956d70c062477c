//! `.msgpack` of Flax: maps in each other, whose leaves are arrays.
//!
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md> and `flax/serialization.py`: an
//! array is an extension of type 1 that holds a shape, the name of a dtype, and the bytes in C order.
//! Nothing is allocated for what a length claims before that many bytes are found there.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};

use super::{Tensors, named};
use crate::arrays::dtype::Dtype;
use crate::bytes::Bytes;
use crate::{FileError, Limits, WeightsFile};

const REMEDY: &str = "save the parameters alone: flax.serialization.to_bytes(params)";

/// Keys below which there are numbers of the training alone.
const TRAINING: [&str; 3] = ["opt_state", "optimizer", "step"];

/// Opens a file of Flax; `None` when it is something else.
pub(crate) fn open(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<WeightsFile>, FileError> {
    let io = |error| FileError::io(path, error);
    let head = bytes.head(8).map_err(io)?;
    // A map that is not empty, whose first key is a text.
    let key = match head.as_slice() {
        [0x81..=0x8f, key, ..] | [0xde, _, _, key, ..] | [0xdf, _, _, _, _, key, ..] => *key,
        _ => return Ok(None),
    };
    if !matches!(key, 0xa1..=0xbf | 0xd9..=0xdb) {
        return Ok(None);
    }
    let all = bytes.head(usize::try_from(bytes.len()).unwrap_or(usize::MAX));
    let all = all.map_err(io)?;
    let mut reader = Reader {
        all: &all,
        at: 0,
        path,
        limits,
        left: limits.unpacked(bytes.len()),
        size: bytes.len(),
    };
    let mut tensors = Tensors::new();
    reader.tree("", 0, &mut tensors)?;
    if reader.at < all.len() {
        return Err(reader.damaged("there are bytes after the end".into()));
    }
    // Of a whole state of training, the parameters.
    let below = |name: &str| name.split('/').any(|part| part == "params");
    if tensors.iter().any(|(name, _)| below(name)) {
        tensors.retain(|(name, _)| below(name) || name.split('/').any(|p| p == "batch_stats"));
        for (name, _) in &mut tensors {
            let start = ["params/", "batch_stats/"]
                .iter()
                .find_map(|key| name.find(key));
            name.drain(..start.unwrap_or(0));
        }
    }
    if tensors.is_empty() {
        return Err(FileError::Missing {
            path: path.into(),
            part: "array of floats in the file".into(),
            remedy: REMEDY.into(),
        });
    }
    Ok(Some(named::file(tensors, false, Vec::new())))
}

struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    path: &'a Path,
    limits: &'a Limits,
    left: u64,
    size: u64,
}

/// What stands at the beginning of a value.
enum Head<'a> {
    Map(usize),
    List(usize),
    Text(&'a [u8]),
    Whole(u64),
    Extension(u8, &'a [u8]),
    /// Nothing that an array has.
    Other,
}

impl<'a> Reader<'a> {
    fn damaged(&self, reason: String) -> FileError {
        FileError::Damaged {
            path: self.path.into(),
            part: "the msgpack".into(),
            reason: format!("at byte {}, {reason}", self.at),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], FileError> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.all.len());
        let end = end.ok_or_else(|| self.damaged("it ends too early".into()))?;
        let taken = &self.all[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, FileError> {
        let taken = self.take(bytes)?;
        let value = taken
            .iter()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    fn head(&mut self) -> Result<Head<'a>, FileError> {
        let first = self.take(1)?[0];
        Ok(match first {
            0x00..=0x7f => Head::Whole(u64::from(first)),
            0x80..=0x8f => Head::Map(usize::from(first & 0x0f)),
            0x90..=0x9f => Head::List(usize::from(first & 0x0f)),
            0xa0..=0xbf => Head::Text(self.take(usize::from(first & 0x1f))?),
            0xc4..=0xc6 | 0xd9..=0xdb => {
                let width = 1 << ((first - if first < 0xd0 { 0xc4 } else { 0xd9 }) as usize);
                let length = self.number(width)?;
                Head::Text(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.number(1 << (first - 0xc7))?;
                let code = self.take(1)?[0];
                Head::Extension(code, self.take(length)?)
            }
            0xd4..=0xd8 => {
                let code = self.take(1)?[0];
                Head::Extension(code, self.take(1 << (first - 0xd4))?)
            }
            0xcc..=0xcf => Head::Whole(self.number(1 << (first - 0xcc))? as u64),
            0xdc | 0xdd => Head::List(self.number(if first == 0xdc { 2 } else { 4 })?),
            0xde | 0xdf => Head::Map(self.number(if first == 0xde { 2 } else { 4 })?),
            0xc1 => return Err(self.damaged("a value of a kind that does not exist".into())),
            0xca | 0xd2 => self.other(4)?,
            0xcb | 0xd3 => self.other(8)?,
            0xd0 => self.other(1)?,
            0xd1 => self.other(2)?,
            // Nil, booleans, small negative numbers.
            0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Head::Other,
        })
    }

    fn other(&mut self, bytes: usize) -> Result<Head<'a>, FileError> {
        self.take(bytes)?;
        Ok(Head::Other)
    }

    /// Every array below here, by its path.
    fn tree(&mut self, name: &str, depth: usize, tensors: &mut Tensors) -> Result<(), FileError> {
        if depth > self.limits.depth {
            return Err(FileError::Limit {
                path: self.path.into(),
                what: "the depth of its maps".into(),
                found: depth as u64,
                limit: self.limits.depth as u64,
                field: "depth",
            });
        }
        let join = |key: &str| match name {
            "" => key.to_owned(),
            name => format!("{name}/{key}"),
        };
        match self.head()? {
            Head::Map(count) => {
                for _ in 0..count {
                    let Head::Text(key) = self.head()? else {
                        return Err(self.damaged("a key is no text".into()));
                    };
                    let key = String::from_utf8_lossy(key);
                    if key == "__msgpack_chunked_array__" {
                        return Err(FileError::Unsupported {
                            path: self.path.into(),
                            what: format!("array {name:?} is in chunks, of more than 1 GiB"),
                            remedy: "save it as .safetensors".into(),
                        });
                    }
                    // Paths of many levels with long names would be larger than the file.
                    let name = join(&key);
                    self.charge(name.len() as u64)?;
                    if TRAINING.contains(&&*key) {
                        self.tree(&name, depth + 1, &mut Tensors::new())?;
                    } else {
                        self.tree(&name, depth + 1, tensors)?;
                    }
                }
            }
            Head::List(count) => {
                for index in 0..count {
                    self.tree(&join(&index.to_string()), depth + 1, tensors)?;
                }
            }
            Head::Extension(1, content) => {
                tensors.extend(
                    self.array(name, content)?
                        .map(|array| (name.to_owned(), array)),
                );
                self.limits.check_tensors(tensors.len(), self.path)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn charge(&mut self, cost: u64) -> Result<(), FileError> {
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| FileError::Limit {
            path: self.path.into(),
            what: "what it holds".into(),
            found: cost,
            limit: self.limits.unpacked(self.size),
            field: "expansion",
        })?;
        Ok(())
    }

    /// `(shape, dtype, bytes)`; `None` for one of counters.
    fn array(&mut self, name: &str, content: &'a [u8]) -> Result<Option<ArrayD<f32>>, FileError> {
        let path = self.path;
        let part = format!("array {:?}", name.chars().take(200).collect::<String>());
        let wrong = |reason: &str| FileError::Damaged {
            path: path.into(),
            part: part.clone(),
            reason: reason.into(),
        };
        let mut inner = Reader {
            all: content,
            at: 0,
            ..*self
        };
        let (Head::List(3), Head::List(axes)) = (inner.head()?, inner.head()?) else {
            return Err(wrong("it is no shape, dtype and bytes"));
        };
        if axes > 32 {
            return Err(wrong("it has more than 32 axes"));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let Head::Whole(length) = inner.head()? else {
                return Err(wrong("its shape is no list of numbers"));
            };
            shape.push(usize::try_from(length).map_err(|_| wrong("its shape is too large"))?);
        }
        let (Head::Text(dtype), Head::Text(raw)) = (inner.head()?, inner.head()?) else {
            return Err(wrong("its dtype or its bytes are missing"));
        };
        let dtype = match dtype {
            b"float32" | b"<f4" => Dtype::F32,
            b"float64" | b"<f8" => Dtype::F64,
            b"float16" | b"<f2" => Dtype::F16,
            b"bfloat16" => Dtype::BF16,
            other
                if other.starts_with(b"int") || other.starts_with(b"uint") || other == b"bool" =>
            {
                return Ok(None);
            }
            other => {
                return Err(FileError::Unsupported {
                    path: path.into(),
                    what: format!("{part} is of type {:?}", String::from_utf8_lossy(other)),
                    remedy: "save it as float32, float16 or bfloat16".into(),
                });
            }
        };
        let count = shape
            .iter()
            .try_fold(1usize, |count, axis| count.checked_mul(*axis));
        if count.and_then(|count| count.checked_mul(dtype.size())) != Some(raw.len()) {
            return Err(wrong("its bytes are more or fewer than its shape says"));
        }
        self.charge(4 * (raw.len() / dtype.size()) as u64)?;
        let values = crate::torch::decode(dtype, raw, &part, path)?;
        let array = ArrayD::from_shape_vec(IxDyn(&shape), values);
        array.map(Some).map_err(|error| wrong(&error.to_string()))
    }
}
