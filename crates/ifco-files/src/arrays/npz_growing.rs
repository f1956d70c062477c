//! An `.npz` whose arrays come bit by bit.
//!
//! A `.npy` begins with its shape, and a zip archive wants its entries one after the other: while
//! they grow, each array's values go to a temporary file of its own, which the system removes with
//! the program, however that ends. [`Growing::finish`] puts them together.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ndarray::ArrayViewD;
use zip::ZipWriter;

use super::npz::{entry_options, unwritable};
use super::{ArrayFileError, ArrayProblem, npy, write_file};

/// An `.npz` whose arrays grow: as large as the disk allows, in memory that does not grow with
/// them. The disk holds the arrays twice for a moment.
///
/// ```
/// use ifco_files::arrays::npz;
/// use ndarray::array;
///
/// let path = std::env::temp_dir().join("ifco-doc-growing.npz");
/// let mut file = npz::Growing::new(&path)?;
/// file.append("h", array![[1.0, 2.0]].into_dyn().view())?;
/// file.append("h", array![[3.0, 4.0], [5.0, 6.0]].into_dyn().view())?;
/// file.finish(&[("h".into(), vec![3, 2])], &mut |_| true)?;
///
/// let arrays = npz::read(&path)?;
/// assert_eq!(arrays[0].1, array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].into_dyn());
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    dtype: Dtype,
    values: BufWriter<File>,
    count: u64,
}

/// What can be written: NumPy's float32, little endian, and bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dtype {
    F4,
    Bool,
}

impl Dtype {
    fn descr(self) -> &'static str {
        match self {
            Dtype::F4 => "<f4",
            Dtype::Bool => "|b1",
        }
    }

    fn size(self) -> u64 {
        match self {
            Dtype::F4 => 4,
            Dtype::Bool => 1,
        }
    }
}

impl Growing {
    /// Nothing as yet of the file at `path`, in whose folder the values are kept until then.
    ///
    /// # Errors
    /// When `path` is a folder, or there is no folder for it.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, ArrayFileError> {
        let path = path.as_ref();
        let growing = Self {
            path: path.into(),
            members: Vec::new(),
        };
        let refuse = |error: io::Error| ArrayFileError::from(error).at(path);
        if path.is_dir() {
            let what = io::Error::new(io::ErrorKind::IsADirectory, "is a folder");
            return Err(refuse(what));
        }
        // Whether files can be made there is better known now than after the work.
        growing.temporary().map_err(refuse)?;
        Ok(growing)
    }

    fn temporary(&self) -> io::Result<File> {
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
    }

    fn member(&mut self, name: &str, dtype: Dtype) -> Result<&mut Member, ArrayFileError> {
        let known = self.members.iter().position(|member| member.name == name);
        let index = match known {
            Some(index) => index,
            None => {
                let values = BufWriter::with_capacity(1 << 16, self.temporary()?);
                self.members.push(Member {
                    name: name.into(),
                    dtype,
                    values,
                    count: 0,
                });
                self.members.len() - 1
            }
        };
        let member = &mut self.members[index];
        if member.dtype != dtype {
            let what = "one part of it is numbers, another truths";
            return Err(ArrayProblem::Unwritable(what.into()).into());
        }
        Ok(member)
    }

    /// Adds numbers at the end of an array, which begins with the first of them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(
        &mut self,
        name: &str,
        values: ArrayViewD<'_, f32>,
    ) -> Result<(), ArrayFileError> {
        self.extend(name, Dtype::F4, values.len(), |out| {
            npy::write_values(out, values)
        })
    }

    /// The same for an array of truths, such as a mask.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append_bools(
        &mut self,
        name: &str,
        values: ArrayViewD<'_, bool>,
    ) -> Result<(), ArrayFileError> {
        self.extend(name, Dtype::Bool, values.len(), |out| {
            let mut bytes = values.iter().map(|value| u8::from(*value));
            bytes.try_for_each(|byte| out.write_all(&[byte]))
        })
    }

    fn extend(
        &mut self,
        name: &str,
        dtype: Dtype,
        count: usize,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), ArrayFileError> {
        let path = self.path.clone();
        let here = |error: ArrayFileError| error.in_member(name).at(&path);
        let member = self.member(name, dtype).map_err(here)?;
        write(&mut member.values).map_err(|error| here(error.into()))?;
        member.count += count as u64;
        Ok(())
    }

    /// Writes the file: the arrays with their shapes, in this order. `go_on` is told how many bytes
    /// are written, and ends it by `false`; then nothing is left of it, and what was at the path
    /// before is still there.
    ///
    /// # Errors
    /// When it cannot be written or was ended, or an array is missing or has not as many values as
    /// its shape.
    pub fn finish(
        self,
        shapes: &[(String, Vec<usize>)],
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayFileError> {
        let Self { path, mut members } = self;
        let unfit = |name: &str, what: String| {
            ArrayFileError::from(ArrayProblem::Unwritable(what)).in_member(name)
        };
        write_file(&path, |file| {
            let mut archive = ZipWriter::new(file);
            let mut written = 0;
            for (name, shape) in shapes {
                let member = members.iter_mut().find(|member| member.name == *name);
                let member = member.ok_or_else(|| unfit(name, "it has no values".into()))?;
                let expected = shape
                    .iter()
                    .try_fold(1u64, |product, size| product.checked_mul(*size as u64));
                if expected != Some(member.count) {
                    let what = format!("{} values do not make the shape {shape:?}", member.count);
                    return Err(unfit(name, what));
                }
                let bytes = member.count.saturating_mul(member.dtype.size());
                archive
                    .start_file(format!("{name}.npy"), entry_options(bytes))
                    .map_err(|error| unwritable(&error).in_member(name))?;
                npy::write_header(&mut archive, member.dtype.descr(), shape)?;
                member.values.flush()?;
                let values = member.values.get_mut();
                values.seek(SeekFrom::Start(0))?;
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let count = values.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    archive.write_all(&buffer[..count])?;
                    written += count as u64;
                    if !go_on(written) {
                        return Err(ArrayProblem::Unwritable("it was interrupted".into()).into());
                    }
                }
            }
            archive.finish().map_err(|error| unwritable(&error))?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::npz;
    use ndarray::{Array, array};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ifco-npz-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn bit_by_bit_is_as_at_once() {
        let folder = folder("growing");
        let (one, other) = (folder.join("one.npz"), folder.join("other.npz"));
        let all = Array::from_shape_fn((5, 3, 2), |(a, b, c)| (100 * a + 10 * b + c) as f32);
        let mut file = Growing::new(&one).unwrap();
        for part in [0..1, 1..1, 1..4, 4..5] {
            let part = all.slice(ndarray::s![part, .., ..]);
            file.append("lstm/i", part.into_dyn()).unwrap();
        }
        let mask = array![[true, false], [false, true]];
        file.append_bools("mask", mask.view().into_dyn()).unwrap();
        let mut told = 0;
        let shapes = [
            ("lstm/i".to_string(), vec![5, 3, 2]),
            ("mask".to_string(), vec![2, 2]),
        ];
        file.finish(&shapes, &mut |bytes| {
            told = bytes;
            true
        })
        .unwrap();
        assert_eq!(told, 5 * 3 * 2 * 4 + 4);
        let read = npz::read(&one).unwrap();
        assert_eq!(read[0], ("lstm/i".into(), all.clone().into_dyn()));
        assert_eq!(read[1].1, array![[1.0, 0.0], [0.0, 1.0]].into_dyn());

        // The very bytes of what is written at once.
        let mut file = Growing::new(&one).unwrap();
        file.append("lstm/i", all.view().into_dyn()).unwrap();
        file.finish(&shapes[..1], &mut |_| true).unwrap();
        npz::write(&other, &[("lstm/i".into(), all.view().into_dyn())]).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = folder("unfinished");
        let path = folder.join("x.npz");
        let grown = || {
            let mut file = Growing::new(&path).unwrap();
            file.append("x", array![1.0, 2.0].into_dyn().view())
                .unwrap();
            file
        };
        drop(grown());
        let interrupted = grown().finish(&[("x".into(), vec![2])], &mut |_| false);
        assert!(
            interrupted
                .unwrap_err()
                .to_string()
                .ends_with("it was interrupted")
        );
        let error = grown()
            .finish(&[("x".into(), vec![3])], &mut |_| true)
            .unwrap_err();
        assert_eq!(error.member(), Some("x"));
        assert!(
            error
                .to_string()
                .contains("2 values do not make the shape [3]"),
            "{error}"
        );
        let error = grown()
            .finish(&[("y".into(), vec![2])], &mut |_| true)
            .unwrap_err();
        assert_eq!(
            (error.member(), error.path()),
            (Some("y"), Some(path.as_path()))
        );
        let error = grown()
            .append_bools("x", array![true].into_dyn().view())
            .unwrap_err();
        assert_eq!(error.member(), Some("x"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        for path in [folder.join("no/x.npz"), folder.clone()] {
            assert_eq!(
                Growing::new(&path).unwrap_err().path(),
                Some(path.as_path())
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
