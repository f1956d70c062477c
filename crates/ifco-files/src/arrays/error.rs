//! What can be wrong with a file of arrays.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file of arrays that cannot be used: which one, where in it, what was found, what to do.
///
/// ```
/// use ifco_files::arrays::npy;
/// let error = npy::from_bytes(b"name,age\n").unwrap_err();
/// assert_eq!(error.to_string(), "not a .npy file: it starts with \"name,age\"");
/// assert!(error.path().is_none()); // it came from bytes
/// ```
#[derive(Debug)]
pub struct ArrayFileError {
    path: Option<PathBuf>,
    member: Option<String>,
    /// Boxed, so that a result that is no error stays small.
    problem: Box<ArrayProblem>,
}

/// What is wrong, without where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayProblem {
    /// The system would not read or write it.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The first bytes are not those of NumPy's format.
    #[error("not a .npy file: it starts with {found}")]
    NotNpy {
        /// The first bytes, as text where they are text.
        found: String,
    },
    /// The format's version is not 1, 2 or 3.
    #[error("version {major}.{minor} of the .npy format is not known; versions 1.0 to 3.0 are")]
    Version {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// The `.npy` header is not what NumPy writes.
    #[error("the header is not valid at byte {at}: {reason}")]
    Header {
        /// Where in the header's text, from 0.
        at: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The array holds something else than numbers that ifco reads.
    #[error("the array has dtype {dtype}, which is {what}")]
    Dtype {
        /// NumPy's name as the file has it: `|O`, `<c8`.
        dtype: String,
        /// What that is in words.
        what: &'static str,
    },
    /// There are more or fewer bytes than the shape needs.
    #[error(
        "the header says shape {shape}, dtype {dtype}: {expected} bytes, but there are {found}"
    )]
    Size {
        /// The shape, as Python prints it.
        shape: String,
        /// NumPy's name.
        dtype: String,
        /// Bytes that shape and dtype need; `more than can exist` when that does not fit 64 bits.
        expected: String,
        /// Bytes after the header.
        found: usize,
    },
    /// A number that `f32` cannot hold.
    #[error("element {index} is {value}, which float32 {reason}")]
    Inexact {
        /// Position in the array's own order, from 0.
        index: usize,
        /// The number.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// The zip archive of an `.npz` is damaged, or something in it is not an array.
    #[error("{0}")]
    Archive(String),
    /// The arrays would take more memory than a file of this size may.
    #[error("the archive unpacks to more than {limit} bytes, {times} times its size")]
    Expansion {
        /// The limit.
        limit: u64,
        /// The limit over the file's size.
        times: u64,
    },
    /// A field of a CSV file is not a number.
    #[error("line {line}, column {column}: {found:?} is not a number")]
    NotANumber {
        /// Line in the file, from 1.
        line: u64,
        /// Field in the line, from 1.
        column: usize,
        /// What is there, shortened.
        found: String,
    },
    /// A field of a CSV file is a number that `f32` cannot hold.
    #[error("line {line}, column {column}: {found} is beyond the range of float32")]
    OutOfRange {
        /// Line in the file, from 1.
        line: u64,
        /// Field in the line, from 1.
        column: usize,
        /// What is there, shortened.
        found: String,
    },
    /// A line of a CSV file has more or fewer fields than the lines before it.
    #[error("line {line} has {found} columns, the lines before it have {expected}")]
    Ragged {
        /// Line in the file, from 1.
        line: u64,
        /// Its fields.
        found: usize,
        /// The fields of the first line.
        expected: usize,
    },
    /// A CSV file is not text, or has no numbers.
    #[error("{0}")]
    Csv(String),
    /// Arrays that cannot be written.
    #[error("{0}")]
    Unwritable(String),
}

impl ArrayProblem {
    /// A header that makes no array.
    pub(super) fn header(error: ndarray::ShapeError) -> Self {
        ArrayProblem::Header {
            at: 0,
            reason: error.to_string(),
        }
    }

    /// What to do about it, where something can be done.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            ArrayProblem::Dtype { dtype, .. } if dtype.contains('O') => {
                "an object array needs pickle, which can run code: save it with \
                 x.astype(\"float32\"); rows of different lengths must be padded first"
            }
            ArrayProblem::Dtype { dtype, .. } if dtype.contains(['S', 'U']) => {
                "turn the text into token numbers first, as the model's training did"
            }
            ArrayProblem::Dtype { .. } => "save it with x.astype(\"float32\")",
            ArrayProblem::Size { .. } => "the file is cut short or damaged: save it again",
            ArrayProblem::Inexact { .. } | ArrayProblem::OutOfRange { .. } => {
                "scale the data, or save it with x.astype(\"float32\") if the rounding is meant"
            }
            ArrayProblem::Expansion { .. } => {
                "if the file is to be trusted, save its arrays as .npy, one file each"
            }
            ArrayProblem::NotANumber { found, .. } if found.is_empty() => {
                "write nan for a missing value"
            }
            ArrayProblem::NotANumber { .. } => {
                "only numbers, nan and inf are read, below at most one header line; columns are \
                 separated by commas, semicolons or tabs"
            }
            ArrayProblem::Ragged { .. } => {
                "every line needs the same number of columns: pad shorter rows"
            }
            ArrayProblem::NotNpy { .. } => "write one with numpy.save(\"x.npy\", x)",
            ArrayProblem::Version { .. } | ArrayProblem::Header { .. } => {
                "write it again with numpy.save(\"x.npy\", x)"
            }
            ArrayProblem::Archive(_) => "write it again with numpy.savez(\"x.npz\", x)",
            // The system's reason, or words that say what would be right.
            ArrayProblem::Io(_) | ArrayProblem::Csv(_) | ArrayProblem::Unwritable(_) => {
                return None;
            }
        })
    }
}

impl ArrayFileError {
    /// The file; `None` when the bytes did not come from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The array inside an archive, or inside what is written.
    pub fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    /// What is wrong.
    pub fn problem(&self) -> &ArrayProblem {
        &self.problem
    }

    /// What to do about it, where something can be done.
    pub fn help(&self) -> Option<&'static str> {
        self.problem.help()
    }

    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.into());
        self
    }

    pub(super) fn in_member(mut self, name: &str) -> Self {
        self.member = Some(name.into());
        self
    }
}

impl From<ArrayProblem> for ArrayFileError {
    fn from(problem: ArrayProblem) -> Self {
        Self {
            path: None,
            member: None,
            problem: Box::new(problem),
        }
    }
}

impl From<io::Error> for ArrayFileError {
    fn from(error: io::Error) -> Self {
        ArrayProblem::Io(error).into()
    }
}

impl fmt::Display for ArrayFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(member) = &self.member {
            write!(f, "array {member:?}: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for ArrayFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.problem.as_ref() {
            ArrayProblem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The first bytes of something that was expected to be another thing, for an error's text.
pub(super) fn describe_start(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(8)];
    if start.is_empty() {
        return "nothing: it is empty".into();
    }
    if start.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return format!("\"{}\"", String::from_utf8_lossy(start));
    }
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_where_and_what_to_do() {
        let text = |text: &str| text.to_string();
        let dtype = |dtype: &str, what| ArrayProblem::Dtype {
            dtype: dtype.into(),
            what,
        };
        let not_a_number = |found: &str| ArrayProblem::NotANumber {
            line: 2,
            column: 3,
            found: found.into(),
        };
        let cases: Vec<(ArrayProblem, &str, Option<&str>)> = vec![
            (
                ArrayProblem::Io(io::ErrorKind::TimedOut.into()),
                "timed out",
                None,
            ),
            (
                ArrayProblem::NotNpy {
                    found: text("\"PK\""),
                },
                "starts with \"PK\"",
                Some("numpy.save"),
            ),
            (
                ArrayProblem::Version { major: 9, minor: 1 },
                "version 9.1",
                Some("numpy.save"),
            ),
            (
                ArrayProblem::Header {
                    at: 7,
                    reason: text("no shape"),
                },
                "at byte 7: no shape",
                Some("numpy.save"),
            ),
            (
                dtype("|O", "Python objects"),
                "|O, which is Python objects",
                Some("pickle"),
            ),
            (
                dtype("<U3", "text"),
                "<U3, which is text",
                Some("token numbers"),
            ),
            (
                dtype("<c8", "complex"),
                "<c8, which is complex",
                Some("astype"),
            ),
            (
                ArrayProblem::Size {
                    shape: text("(2, 3)"),
                    dtype: text("<f4"),
                    expected: text("24"),
                    found: 20,
                },
                "shape (2, 3), dtype <f4: 24 bytes, but there are 20",
                Some("save it again"),
            ),
            (
                ArrayProblem::Inexact {
                    index: 4,
                    value: text("16777217"),
                    reason: "cannot hold exactly",
                },
                "element 4 is 16777217",
                Some("scale the data"),
            ),
            (
                ArrayProblem::Archive(text("its end is missing")),
                "its end is missing",
                Some("numpy.savez"),
            ),
            (
                ArrayProblem::Expansion {
                    limit: 400,
                    times: 200,
                },
                "more than 400 bytes, 200 times its size",
                Some("to be trusted"),
            ),
            (
                not_a_number(""),
                "line 2, column 3",
                Some("a missing value"),
            ),
            (
                not_a_number("x"),
                "line 2, column 3: \"x\"",
                Some("separated by"),
            ),
            (
                ArrayProblem::OutOfRange {
                    line: 2,
                    column: 3,
                    found: text("1e99"),
                },
                "line 2, column 3: 1e99",
                Some("scale the data"),
            ),
            (
                ArrayProblem::Ragged {
                    line: 2,
                    found: 3,
                    expected: 4,
                },
                "line 2 has 3 columns, the lines before it have 4",
                Some("pad shorter rows"),
            ),
            (ArrayProblem::Csv(text("no numbers")), "no numbers", None),
            (
                ArrayProblem::Unwritable(text("two arrays x")),
                "two arrays x",
                None,
            ),
        ];
        for (problem, what, help) in cases {
            let error = ArrayFileError::from(problem)
                .at(Path::new("x.npz"))
                .in_member("x");
            let shown = error.to_string();
            assert!(shown.starts_with("x.npz: array \"x\": "), "{shown}");
            assert!(shown.contains(what), "{shown}: {what}");
            match (help, error.help()) {
                (Some(part), Some(help)) => assert!(help.contains(part), "{help}"),
                (None, None) => {}
                (_, other) => panic!("{shown}: {other:?}"),
            }
        }
    }
}
