//! NumPy's `.npy`: one array.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, versions
//! 1.0 to 3.0. Read are bool, the integers of 1 to 8 bytes and the floats of 2 to 8, in either
//! byte order and either memory order. Memory: the file's bytes, and 4 for each number in it.

use std::io::{self, Write};
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};

use super::error::describe_start;
use super::npy_header::Header;
use super::{ArrayFileError, ArrayProblem, write_file};

pub use super::npy_rows::Rows;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the array in a file, as `f32`.
///
/// # Errors
/// When the file cannot be read, is not a `.npy`, holds something else than numbers, is not as
/// long as its shape says, or holds a number that `f32` cannot.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let x = ifco_files::arrays::npy::read("stacked_x.npy")?;
/// assert_eq!(x.shape(), [7, 4, 3]); // (batch, time, features)
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<ArrayD<f32>, ArrayFileError> {
    let path = path.as_ref();
    std::fs::read(path)
        .map_err(ArrayFileError::from)
        .and_then(|bytes| from_bytes(&bytes))
        .map_err(|error| error.at(path))
}

/// The array in the bytes of a `.npy` file.
///
/// # Errors
/// As for [`read`].
///
/// ```
/// use ifco_files::arrays::npy;
/// use ndarray::array;
///
/// let mut bytes = Vec::new();
/// npy::write_to(&mut bytes, array![1.5, -2.0].into_dyn().view())?;
/// assert_eq!(npy::from_bytes(&bytes)?, array![1.5, -2.0].into_dyn());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_bytes(bytes: &[u8]) -> Result<ArrayD<f32>, ArrayFileError> {
    let (header, data) = split(bytes)?;
    let header = Header::parse(header)?;
    header.check(data.len())?;
    let numbers = header.dtype.decode(data)?;
    let shape = IxDyn(&header.shape).set_f(header.fortran_order);
    let array = ArrayD::from_shape_vec(shape, numbers).map_err(ArrayProblem::header)?;
    Ok(if header.fortran_order {
        // The rest of ifco reads rows: one copy here spares many strided reads there.
        array.as_standard_layout().into_owned()
    } else {
        array
    })
}

/// The header's text and the data after it.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ArrayProblem> {
    let not_npy = || ArrayProblem::NotNpy {
        found: describe_start(bytes),
    };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(not_npy)?;
    let cut = |reason: &str| ArrayProblem::Header {
        at: 0,
        reason: reason.into(),
    };
    let (len, rest) = match rest {
        [1, 0, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => {
            let len = u32::from_le_bytes([*a, *b, *c, *d]);
            (usize::try_from(len).unwrap_or(usize::MAX), rest)
        }
        [1, 0, ..] | [2 | 3, 0, ..] | [] | [_] => {
            return Err(cut("the file ends before its header"));
        }
        [major, minor, ..] => {
            return Err(ArrayProblem::Version {
                major: *major,
                minor: *minor,
            });
        }
    };
    rest.split_at_checked(len).ok_or_else(|| {
        cut(&format!(
            "it is said to be {len} bytes long, but the file ends after {}",
            rest.len()
        ))
    })
}

/// Writes an array to a file, as little-endian `f32` in C order, version 1.0.
///
/// # Errors
/// When the file cannot be written.
///
/// ```
/// use ifco_files::arrays::npy;
/// use ndarray::array;
///
/// let path = std::env::temp_dir().join("ifco-doc-write.npy");
/// let y = array![[0.5], [0.25]].into_dyn();
/// npy::write(&path, y.view())?; // numpy.load(path) reads it
/// assert_eq!(npy::read(&path)?, y);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn write(path: impl AsRef<Path>, array: ArrayViewD<'_, f32>) -> Result<(), ArrayFileError> {
    write_file(path.as_ref(), |file| Ok(write_to(file, array)?))
}

/// Writes the bytes of a `.npy` file.
///
/// # Errors
/// When `out` cannot be written to.
///
/// ```
/// let mut bytes = Vec::new();
/// ifco_files::arrays::npy::write_to(&mut bytes, ndarray::array![1.5].into_dyn().view())?;
/// assert!(bytes.starts_with(b"\x93NUMPY"));
/// assert!(bytes.ends_with(&1.5f32.to_le_bytes()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_to(out: &mut impl Write, array: ArrayViewD<'_, f32>) -> io::Result<()> {
    write_header(out, "<f4", array.shape())?;
    write_values(out, array)
}

/// What stands before the values of an array of this dtype and shape.
pub(crate) fn write_header(out: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let mut text = String::new();
    for length in shape {
        text.push_str(&format!("{length}, "));
    }
    // (3,) for one axis, (3, 4) for two.
    let shape = match shape.len() {
        1 => text.trim_end(),
        _ => text.trim_end_matches(", "),
    };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data start at a multiple of 64, so that they can be mapped into memory.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let len = u16::try_from(header.len())
        .map_err(|_| io::Error::other("the array has too many dimensions for a .npy file"))?;

    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// The values in C order.
pub(super) fn write_values(out: &mut impl Write, array: ArrayViewD<'_, f32>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 14);
    for value in array {
        buffer.extend_from_slice(&value.to_le_bytes());
        if buffer.len() == 1 << 14 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}
