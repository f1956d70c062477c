//! `.safetensors`, read: the length of a header, the header in JSON, the numbers.
//!
//! Source: <https://huggingface.co/docs/safetensors>. The header is the format's own crate's to
//! read and to check: no tensor lies beyond the end or over another one.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use safetensors::Dtype as Kind;
use safetensors::tensor::Metadata;

use super::state_dict::decode;
use crate::arrays::dtype::Dtype;
use crate::bytes::Bytes;
use crate::weights::Tensors;
use crate::{FileError, Limits};

const HEADER: &str = "the header";

/// Whether a file of this size that begins so may be one.
pub(super) fn is_safetensors(head: &[u8], size: u64) -> bool {
    let Some((len, rest)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let len = u64::from_le_bytes(*len);
    // A file that was cut off is one too.
    rest.first() == Some(&b'{') && (2..=size.max(1 << 30)).contains(&len)
}

/// Reads every tensor of floats, in the order of the numbers.
pub(super) fn read(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Tensors, FileError> {
    let damaged = |part: &str, reason: String| FileError::Damaged {
        path: path.into(),
        part: part.into(),
        reason,
    };
    let io = |error| FileError::io(path, error);
    let mut len = [0; 8];
    bytes.read_exact_at(0, &mut len).map_err(io)?;
    let len = u64::from_le_bytes(len);
    if len > limits.json {
        return Err(FileError::Limit {
            path: path.into(),
            what: HEADER.into(),
            found: len,
            limit: limits.json,
            field: "json",
        });
    }
    let Some(header) = bytes.slice(8, len) else {
        let reason = format!("it claims {len} bytes, and the file ends before");
        return Err(damaged(HEADER, reason));
    };
    let start = 8 + len;
    let text = header
        .head(usize::try_from(len).unwrap_or(usize::MAX))
        .map_err(io)?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| FileError::json(path, HEADER, &error))?;
    let names = metadata.offset_keys();
    limits.check_tensors(names.len(), path)?;
    // Each number lies in the file once: memory is bounded by its size.
    let mut tensors = Tensors::new();
    for name in names {
        let part = format!("tensor {name:?}");
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let dtype = match info.dtype {
            Kind::F32 => Dtype::F32,
            Kind::F64 => Dtype::F64,
            Kind::F16 => Dtype::F16,
            Kind::BF16 => Dtype::BF16,
            // Counters and indices are no weights.
            Kind::BOOL
            | Kind::U8
            | Kind::I8
            | Kind::I16
            | Kind::U16
            | Kind::I32
            | Kind::U32
            | Kind::I64
            | Kind::U64 => continue,
            other => {
                return Err(FileError::Unsupported {
                    path: path.into(),
                    what: format!("{part} is of type {other:?}"),
                    remedy: "save it as float32, float16 or bfloat16".into(),
                });
            }
        };
        let (first, end) = info.data_offsets;
        let content = start
            .checked_add(first as u64)
            .and_then(|first_byte| bytes.slice(first_byte, (end.checked_sub(first)?) as u64))
            .ok_or_else(|| damaged(&part, "it reaches beyond the end of the file".into()))?;
        let raw = content.head(end - first).map_err(io)?;
        let values = decode(dtype, &raw, &part, path)?;
        let array = ArrayD::from_shape_vec(IxDyn(&info.shape), values)
            .map_err(|error| damaged(&part, error.to_string()))?;
        tensors.push((name, array));
    }
    Ok(tensors)
}
