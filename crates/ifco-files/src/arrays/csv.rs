//! `.csv`: rows and columns of numbers.
//!
//! - Columns are separated by commas; by semicolons or tabs when the first line has no comma.
//! - A first line without a single number is a header and is skipped, as are blank lines and
//!   lines that start with `#`.
//! - `nan`, `inf` and `-inf` are numbers, in any case.
//! - Memory: the file's bytes, and 4 for each number.

use std::io::{self, Write};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Trim};
use ndarray::{Array2, ArrayView2};

use super::{ArrayFileError, ArrayProblem, write_file};

/// Reads a file into `(rows, columns)`.
///
/// # Errors
/// When the file cannot be read, a field is not a number, or lines differ in their number of
/// columns; the error names the line and the column.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let x = ifco_files::arrays::csv::read("series_x.csv")?;
/// assert_eq!(x.dim(), (6, 1)); // below a line with the column's name
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Array2<f32>, ArrayFileError> {
    let path = path.as_ref();
    std::fs::read(path)
        .map_err(ArrayFileError::from)
        .and_then(|bytes| from_bytes(&bytes))
        .map_err(|error| error.at(path))
}

/// The numbers in the bytes of a CSV file, `(rows, columns)`.
///
/// # Errors
/// As for [`read`].
///
/// ```
/// use ifco_files::arrays::csv;
/// use ndarray::array;
///
/// let x = csv::from_bytes(b"open,close\n1.5,2\n\n-3,nan\n")?;
/// assert_eq!(x.dim(), (2, 2));
/// assert_eq!(x.row(0), array![1.5, 2.0]);
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn from_bytes(bytes: &[u8]) -> Result<Array2<f32>, ArrayFileError> {
    // Excel writes a byte order mark before the first field.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.contains(&0) {
        return Err(ArrayProblem::Csv("this is not text: it holds zero bytes".into()).into());
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(Trim::All)
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut numbers = Vec::new();
    let mut columns = None;
    let mut rows = 0;
    let mut is_first = true;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(ArrayProblem::Csv(error.to_string()).into()),
        }
        if record.iter().all(<[u8]>::is_empty) && record.len() == 1 {
            continue; // a line of spaces
        }
        let line = || line_of(bytes, record.position());
        let is_header = is_first && record.iter().all(|field| parse(field).is_none());
        is_first = false;
        let expected = *columns.get_or_insert(record.len());
        if record.len() != expected {
            return Err(ArrayProblem::Ragged {
                line: line(),
                found: record.len(),
                expected,
            }
            .into());
        }
        if is_header {
            continue;
        }
        for (index, field) in record.iter().enumerate() {
            numbers.push(number(field, &line, index + 1)?);
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(ArrayProblem::Csv("there is no line of numbers".into()).into());
    }
    let shape = (rows, columns.unwrap_or(0));
    Array2::from_shape_vec(shape, numbers)
        .map_err(|error| ArrayProblem::Csv(error.to_string()).into())
}

/// The line, from 1, of the record that was read from `position` on: blank lines and comments
/// between there and the record were skipped. Only for errors, as it counts from the start.
fn line_of(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let start = position.map_or(0, csv::Position::byte);
    let start = usize::try_from(start).unwrap_or(0).min(bytes.len());
    let before = bytes[..start].iter().filter(|&&byte| byte == b'\n').count();
    let skipped = bytes[start..]
        .split(|&byte| byte == b'\n')
        .take_while(|line| matches!(line, [] | [b'\r'] | [b'#', ..]))
        .count();
    (before + skipped + 1) as u64
}

/// What separates the columns of the first line that is not blank and not a comment.
pub(crate) fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes
        .split(|&byte| byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#"))
        .unwrap_or_default();
    [b',', b';', b'\t']
        .into_iter()
        .find(|delimiter| line.contains(delimiter))
        .unwrap_or(b',')
}

fn parse(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

pub(crate) fn number(
    field: &[u8],
    line: &dyn Fn() -> u64,
    column: usize,
) -> Result<f32, ArrayProblem> {
    let found = || {
        let text = String::from_utf8_lossy(field);
        let mut short: String = text.chars().take(40).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    };
    let number = parse(field).ok_or_else(|| ArrayProblem::NotANumber {
        line: line(),
        column,
        found: found(),
    })?;
    // "inf" means infinity, but 1e300 does not.
    if number.is_infinite() && field.iter().any(u8::is_ascii_digit) {
        return Err(ArrayProblem::OutOfRange {
            line: line(),
            column,
            found: found(),
        });
    }
    Ok(number)
}

/// Writes `(rows, columns)` to a file, with a header line if there is one.
///
/// # Errors
/// When the file cannot be written.
///
/// ```
/// use ifco_files::arrays::csv;
/// use ndarray::array;
///
/// let path = std::env::temp_dir().join("ifco-doc-write.csv");
/// let y = array![[0.5, 2.0]];
/// csv::write(&path, y.view(), Some(&["low".into(), "high".into()]))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"low,high\n0.5,2\n");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
pub fn write(
    path: impl AsRef<Path>,
    array: ArrayView2<'_, f32>,
    header: Option<&[String]>,
) -> Result<(), ArrayFileError> {
    write_file(path.as_ref(), |file| Ok(write_to(file, array, header)?))
}

/// Writes the text of a CSV file: the shortest digits that give the same `f32` again.
///
/// # Errors
/// When `out` cannot be written to.
///
/// ```
/// let mut text = Vec::new();
/// ifco_files::arrays::csv::write_to(&mut text, ndarray::array![[0.1, f32::NAN]].view(), None)?;
/// assert_eq!(text, b"0.1,nan\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_to(
    out: &mut impl Write,
    array: ArrayView2<'_, f32>,
    header: Option<&[String]>,
) -> io::Result<()> {
    if let Some(header) = header {
        let mut writer = csv::Writer::from_writer(&mut *out);
        writer.write_record(header).map_err(io::Error::other)?;
        writer.flush()?;
    }
    for row in array.rows() {
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            write_number(out, *value)?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The shortest text that reads back as the same number; `nan`, `inf` and `-inf` as NumPy and
/// pandas read them.
fn write_number(out: &mut impl Write, value: f32) -> io::Result<()> {
    let magnitude = value.abs();
    if value.is_nan() {
        write!(out, "nan")
    } else if magnitude != 0.0 && !(1e-5..1e16).contains(&magnitude) && magnitude.is_finite() {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    }
}
