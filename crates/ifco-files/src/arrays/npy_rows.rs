//! The rows of a `.npy` that is larger than memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn};

use super::npy::split;
use super::npy_header::Header;
use super::{ArrayFileError, ArrayProblem};

/// No header that NumPy writes is longer.
const LONGEST_HEADER: u64 = 1 << 16;

/// An array that stays in its file: what lies behind one index of the first axis is a row, and is
/// read when it is asked for.
///
/// Read and not mapped into memory: a file that gets shorter in the meantime is an error then, and
/// not the end of the process.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::arrays::npy;
/// use ndarray::Axis;
///
/// let x = npy::Rows::open("stacked_x.npy")?.expect("rows one after the other");
/// assert_eq!(x.shape(), [7, 4, 3]); // (batch, time, features)
/// let some = x.read(&[6, 0])?;
/// assert_eq!(some, npy::read("stacked_x.npy")?.select(Axis(0), &[6, 0]));
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
#[derive(Debug)]
pub struct Rows {
    file: File,
    path: PathBuf,
    header: Header,
    /// Where the first row begins.
    start: u64,
    /// Numbers in a row.
    row: usize,
}

impl Rows {
    /// The array in a file; `None` where its rows do not lie one after the other, as in Fortran's
    /// order, or it has no axis.
    ///
    /// # Errors
    /// As for [`read`](super::npy::read), but for numbers that `f32` cannot hold: these are errors
    /// of [`Rows::read`].
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>, ArrayFileError> {
        let path = path.as_ref();
        Self::begin(path).map_err(|error| error.at(path))
    }

    fn begin(path: &Path) -> Result<Option<Self>, ArrayFileError> {
        let file = File::open(path)?;
        let mut beginning = Vec::new();
        (&file).take(LONGEST_HEADER).read_to_end(&mut beginning)?;
        let (header, data) = split(&beginning)?;
        let start = (beginning.len() - data.len()) as u64;
        let header = Header::parse(header)?;
        let found = file.metadata()?.len().saturating_sub(start);
        header.check(usize::try_from(found).unwrap_or(usize::MAX))?;
        let Some(row) = header.shape.get(1..).filter(|_| !header.fortran_order) else {
            return Ok(None);
        };
        Ok(Some(Self {
            row: row.iter().product(),
            file,
            path: path.to_owned(),
            header,
            start,
        }))
    }

    /// The shape of the whole array.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// These rows, in this order, as `f32`.
    ///
    /// # Errors
    /// When there is no such row, the file cannot be read, or it holds a number that `f32` cannot.
    pub fn read(&self, rows: &[usize]) -> Result<ArrayD<f32>, ArrayFileError> {
        self.numbers(rows).map_err(|error| error.at(&self.path))
    }

    fn numbers(&self, rows: &[usize]) -> Result<ArrayD<f32>, ArrayFileError> {
        let count = self.header.shape[0];
        if let Some(row) = rows.iter().find(|row| **row >= count) {
            let what = format!("there is no row {row} of {count}");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what).into());
        }
        // No more than the file has, if there is a row at all.
        let size = self.row.saturating_mul(self.header.dtype.size());
        let mut bytes = vec![0; rows.len().saturating_mul(size)];
        let mut file = &self.file;
        for (row, to) in rows.iter().zip(bytes.chunks_exact_mut(size.max(1))) {
            file.seek(SeekFrom::Start(self.start + *row as u64 * size as u64))?;
            file.read_exact(to)?;
        }
        let mut shape = self.header.shape.clone();
        shape[0] = rows.len();
        let numbers = self.header.dtype.decode(&bytes)?;
        ArrayD::from_shape_vec(IxDyn(&shape), numbers)
            .map_err(|error| ArrayProblem::header(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::npy;
    use ndarray::Array;

    fn file(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ifco-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn rows_are_those_of_the_whole() {
        let x = Array::from_shape_fn((5, 2, 3), |(i, j, k)| (i * 100 + j * 10 + k) as f32);
        let mut bytes = Vec::new();
        npy::write_to(&mut bytes, x.view().into_dyn()).unwrap();
        let path = file("rows.npy", &bytes);
        let rows = Rows::open(&path).unwrap().unwrap();
        let some = rows.read(&[4, 0, 4]).unwrap();
        assert_eq!(some, x.select(ndarray::Axis(0), &[4, 0, 4]).into_dyn());
        assert_eq!(rows.read(&[]).unwrap().shape(), [0, 2, 3]);
        assert!(rows.read(&[5]).is_err());

        // The file gets shorter while it is open.
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        assert!(rows.read(&[0]).is_ok());
        let error = rows.read(&[4]).unwrap_err();
        assert_eq!(error.path(), Some(&*path));
        let cut = Rows::open(&path).unwrap_err();
        assert!(matches!(cut.problem(), ArrayProblem::Size { .. }), "{cut}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_has_no_rows() {
        let of = |order: &str, shape: &str, numbers: usize| {
            let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}}}");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(vec![0; 4 * numbers]);
            let path = file("orders.npy", &bytes);
            let rows = Rows::open(&path).unwrap().is_some();
            std::fs::remove_file(path).unwrap();
            rows
        };
        assert!(!of("True", "(2, 3)", 6));
        assert!(!of("False", "()", 1));
        assert!(of("False", "(3,)", 3));
        assert!(of("False", "(0, 3)", 0));
    }
}
