//! The arrays of an ONNX file, as `f32`.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use ifco_model::onnx::{Constant, Kind};
use ndarray::{ArrayD, IxDyn};

use super::Source;
use super::proto::TensorProto;
use crate::FileError;
use crate::bytes::Bytes;
use crate::hdf5::{bf16_to_f32, f16_to_f32};

/// How many bytes arrays may still take.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
    limit: u64,
    /// The files beside the model that were counted in.
    files: HashSet<PathBuf>,
}

impl Budget {
    pub fn new(source: &Source<'_>) -> Self {
        let limit = source.limits.unpacked(source.size);
        Self {
            left: limit,
            limit,
            files: HashSet::new(),
        }
    }

    /// Arrays in a file beside the model may take what it is large, once.
    fn grow(&mut self, path: PathBuf, bytes: u64) {
        if self.files.insert(path) {
            self.left = self.left.saturating_add(bytes);
            self.limit = self.limit.saturating_add(bytes);
        }
    }

    /// How many more numbers there is room for.
    pub fn elements(&self) -> usize {
        usize::try_from(self.left / size_of::<f32>() as u64).unwrap_or(usize::MAX)
    }

    /// Takes room for so many numbers.
    pub fn take(
        &mut self,
        source: &Source<'_>,
        what: &str,
        elements: usize,
    ) -> Result<(), FileError> {
        let bytes = (elements as u64).saturating_mul(size_of::<f32>() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(FileError::Limit {
                path: source.path.into(),
                what: what.into(),
                found: bytes.saturating_add(self.limit - self.left),
                limit: self.limit,
                field: "expansion",
            }),
        }
    }
}

/// The array of a tensor.
pub(super) fn read(
    source: &Source<'_>,
    tensor: &TensorProto<'_>,
    budget: &mut Budget,
) -> Result<Constant, FileError> {
    let object = format!("tensor {:?}", tensor.name);
    let wrong = |reason: String| source.invalid(object.clone(), reason);
    let kind = Kind::of_onnx(tensor.data_type).ok_or_else(|| {
        let what = format!(
            "{object} holds no numbers, but ONNX's type {}",
            tensor.data_type
        );
        source.unsupported(what, "ifco reads floats, integers and booleans")
    })?;
    let mut shape = Vec::with_capacity(tensor.dims.len().min(64));
    for size in &tensor.dims {
        shape.push(usize::try_from(*size).map_err(|_| wrong(format!("it has a size of {size}")))?);
    }
    if shape.len() > 64 {
        return Err(wrong(format!("it has {} axes", shape.len())));
    }
    let sizes = shape.iter().filter(|size| **size > 0);
    let product = sizes
        .into_iter()
        .try_fold(1usize, |all, size| all.checked_mul(*size));
    let elements = match product.filter(|all| *all <= isize::MAX as usize / 8) {
        Some(_) if shape.contains(&0) => 0,
        Some(elements) => elements,
        None => {
            return Err(wrong(format!(
                "{shape:?} are more numbers than there can be"
            )));
        }
    };
    let width = width(tensor.data_type);
    let outside = match tensor.is_external {
        true => Some(external(source, tensor, &object, budget)?),
        false => None,
    };
    let bytes = match &outside {
        Some(part) => Some(part.len()),
        None => tensor.raw.map(|raw| raw.bytes.len() as u64),
    };
    let (found, expected) = match bytes {
        Some(bytes) => (bytes, (elements as u64).saturating_mul(width)),
        None => {
            let numbers = tensor.floats.len() + tensor.ints.len() + tensor.doubles.len();
            (numbers as u64, elements as u64)
        }
    };
    if found != expected {
        let unit = if bytes.is_some() { "bytes" } else { "numbers" };
        return Err(wrong(format!(
            "its shape {shape:?} means {expected} {unit}, but there are {found}"
        )));
    }
    budget.take(source, &object, elements)?;
    let read;
    let raw = match outside {
        Some(part) => {
            let length = usize::try_from(part.len()).unwrap_or(usize::MAX);
            let content = part.head(length);
            read = content.map_err(|error| FileError::io(source.path, error))?;
            Some(read.as_slice())
        }
        None => tensor.raw.map(|raw| raw.bytes),
    };
    let values = match raw {
        Some(raw) => from_raw(tensor.data_type, raw),
        None if !tensor.floats.is_empty() => tensor.floats.clone(),
        None if !tensor.doubles.is_empty() => tensor.doubles.iter().map(|v| *v as f32).collect(),
        // 16-bit floats stand in int32_data by their bits.
        None => tensor
            .ints
            .iter()
            .map(|value| match tensor.data_type {
                10 => f16_to_f32(*value as u16),
                16 => bf16_to_f32(*value as u16),
                _ => *value as f32,
            })
            .collect(),
    };
    let data = ArrayD::from_shape_vec(IxDyn(&shape), values);
    let data = data.map_err(|error| wrong(error.to_string()))?;
    Ok(Constant {
        kind,
        data: data.into(),
    })
}

/// Bytes of one number.
fn width(data_type: i64) -> u64 {
    match data_type {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        7 | 11 | 13 => 8,
        _ => 4,
    }
}

/// Little-endian numbers.
fn from_raw(data_type: i64, raw: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        raw.as_chunks::<N>()
            .0
            .iter()
            .map(|chunk| read(*chunk))
            .collect()
    }
    match data_type {
        2 | 9 => each(raw, |[byte]| f32::from(byte)),
        3 => each(raw, |byte| f32::from(i8::from_le_bytes(byte))),
        4 => each(raw, |bytes| f32::from(u16::from_le_bytes(bytes))),
        5 => each(raw, |bytes| f32::from(i16::from_le_bytes(bytes))),
        6 => each(raw, |bytes| i32::from_le_bytes(bytes) as f32),
        7 => each(raw, |bytes| i64::from_le_bytes(bytes) as f32),
        10 => each(raw, |bytes| f16_to_f32(u16::from_le_bytes(bytes))),
        11 => each(raw, |bytes| f64::from_le_bytes(bytes) as f32),
        12 => each(raw, |bytes| u32::from_le_bytes(bytes) as f32),
        13 => each(raw, |bytes| u64::from_le_bytes(bytes) as f32),
        16 => each(raw, |bytes| bf16_to_f32(u16::from_le_bytes(bytes))),
        _ => each(raw, f32::from_le_bytes),
    }
}

/// The bytes of a tensor that lie in a file of their own, in the model's folder or below it.
fn external(
    source: &Source<'_>,
    tensor: &TensorProto<'_>,
    object: &str,
    budget: &mut Budget,
) -> Result<Bytes, FileError> {
    let get = |key: &str| {
        let entry = tensor.external.iter().find(|(name, _)| *name == key);
        entry.map(|(_, value)| *value)
    };
    let location = get("location")
        .filter(|location| !location.is_empty())
        .ok_or_else(|| source.invalid(object, "it does not say in which file it lies"))?;
    if !source.has_folder {
        let what = format!("{object} lies in another file, {location:?}");
        return Err(source.unsupported(what, "open the model by its path"));
    }
    let outside = || {
        source.unsupported(
            format!("{object} lies in {location:?}, which is not in the model's folder"),
            "put the file of weights beside the model and save it so in Python: \
             onnx.save_model(model, path, save_as_external_data=True)",
        )
    };
    let relative = Path::new(location);
    let is_below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(is_below) {
        return Err(outside());
    }
    let folder = match source.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let path = folder.join(relative);
    // A link could lead out of it.
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| FileError::io(path, error))
    };
    let (real_folder, real_path) = (real(folder)?, real(&path)?);
    if !real_path.starts_with(&real_folder) {
        return Err(outside());
    }
    let file = Bytes::open(&real_path).map_err(|error| FileError::io(&path, error))?;
    let number = |key: &str| {
        get(key)
            .map(|text| {
                let reason = format!("its {key} is {text:?}, expected a number");
                text.parse().map_err(|_| source.invalid(object, reason))
            })
            .transpose()
    };
    let offset: u64 = number("offset")?.unwrap_or(0);
    let rest = file.len().saturating_sub(offset);
    let length: u64 = number("length")?.unwrap_or(rest);
    budget.grow(real_path, file.len());
    file.slice(offset, length).ok_or_else(|| {
        let reason = format!(
            "it is said to be bytes {offset} to {} of {location:?}, which has {}",
            offset.saturating_add(length),
            file.len()
        );
        source.invalid(object, reason)
    })
}
