//! Arrays as JSON: `{"kernel_i": [[0.1, ...], ...], ...}`.
//!
//! JSON has no number for what is not finite: those are the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`, which Python's `float()` and JavaScript's `Number()` turn back into numbers.

use std::io::{self, Write};
use std::path::Path;

use ndarray::{ArrayViewD, Axis};

use super::{ArrayFileError, write_file};

/// Writes an object of nested lists, one array a line, its numbers in the shortest digits that
/// give the same `f32` again.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: impl AsRef<Path>,
    arrays: &[(String, ArrayViewD<'_, f32>)],
) -> Result<(), ArrayFileError> {
    write_file(path.as_ref(), |file| Ok(write_to(file, arrays)?))
}

/// Writes the text of [`write`](fn@write).
///
/// # Errors
/// When `out` cannot be written to.
///
/// ```
/// let b = ndarray::array![1.0, f32::NAN].into_dyn();
/// let mut text = Vec::new();
/// ifco_files::arrays::json::write_to(&mut text, &[("bias_f".into(), b.view())])?;
/// assert_eq!(text, b"{\n  \"bias_f\": [1.0, \"NaN\"]\n}\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_to(out: &mut impl Write, arrays: &[(String, ArrayViewD<'_, f32>)]) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (name, array)) in arrays.iter().enumerate() {
        out.write_all(if index == 0 { b"\n  " } else { b",\n  " })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b": ")?;
        write_array(out, array.view())?;
    }
    out.write_all(b"\n}\n")
}

fn write_array(out: &mut impl Write, array: ArrayViewD<'_, f32>) -> io::Result<()> {
    if array.ndim() == 0 {
        return array.iter().try_for_each(|value| write_number(out, *value));
    }
    out.write_all(b"[")?;
    for (index, part) in array.axis_iter(Axis(0)).enumerate() {
        if index > 0 {
            out.write_all(b", ")?;
        }
        write_array(out, part)?;
    }
    out.write_all(b"]")
}

fn write_number(out: &mut impl Write, value: f32) -> io::Result<()> {
    match number(value) {
        Ok(finite) => Ok(serde_json::to_writer(out, &finite)?),
        Err(text) => Ok(serde_json::to_writer(out, text)?),
    }
}

/// A number as ifco writes it to JSON: itself when finite, otherwise the text that stands for it.
///
/// # Errors
/// The text, for a number that is not finite.
pub fn number(value: f32) -> Result<f32, &'static str> {
    match value {
        _ if value.is_finite() => Ok(value),
        _ if value.is_nan() => Err("NaN"),
        _ if value > 0.0 => Err("Infinity"),
        _ => Err("-Infinity"),
    }
}
