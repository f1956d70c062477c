//! `.safetensors`: arrays by name, as `F32`.
//!
//! Format: <https://huggingface.co/docs/safetensors>.

use std::io::Write;
use std::path::Path;

use ndarray::ArrayViewD;
use safetensors::tensor::{Dtype, TensorView};

use super::{ArrayFileError, ArrayProblem, write_file};

/// Writes arrays by name.
///
/// # Errors
/// When the file cannot be written, or two arrays have the same name.
///
/// ```
/// use ifco_files::arrays::safetensors;
/// use ndarray::array;
///
/// let path = std::env::temp_dir().join("ifco-doc-write.safetensors");
/// let kernel = array![[0.5, 2.0]].into_dyn();
/// safetensors::write(&path, &[("lstm/kernel_f".into(), kernel.view())])?;
/// assert!(std::fs::metadata(&path).unwrap().len() > 8);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn write(
    path: impl AsRef<Path>,
    arrays: &[(String, ArrayViewD<'_, f32>)],
) -> Result<(), ArrayFileError> {
    let bytes = to_bytes(arrays)?;
    write_file(path.as_ref(), |file| Ok(file.write_all(&bytes)?))
}

/// The bytes of a `.safetensors` file.
///
/// # Errors
/// When two arrays have the same name.
///
/// ```
/// use ifco_files::arrays::safetensors;
/// let x = ndarray::array![1.0, 2.0].into_dyn();
/// let bytes = safetensors::to_bytes(&[("x".into(), x.view())])?;
/// assert!(bytes.ends_with(&[0, 0, 0, 0x40])); // 2.0, the last number
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn to_bytes(arrays: &[(String, ArrayViewD<'_, f32>)]) -> Result<Vec<u8>, ArrayFileError> {
    let unwritable = |reason: String| ArrayFileError::from(ArrayProblem::Unwritable(reason));
    for (index, (name, _)) in arrays.iter().enumerate() {
        if arrays[..index].iter().any(|(other, _)| other == name) {
            return Err(unwritable("two arrays have this name".into()).in_member(name));
        }
    }
    let data: Vec<Vec<u8>> = arrays
        .iter()
        .map(|(_, array)| array.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(arrays.len());
    for ((name, array), bytes) in arrays.iter().zip(&data) {
        let view = TensorView::new(Dtype::F32, array.shape().to_vec(), bytes)
            .map_err(|error| unwritable(error.to_string()).in_member(name))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|error| unwritable(error.to_string()))
}
