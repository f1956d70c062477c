//! Arrays in and out: `.npy`, `.npz`, `.csv`, `.safetensors` and JSON.
//!
//! | format | read | write |
//! |---|---|---|
//! | NumPy `.npy`, one array of any rank | [`npy::read`] | [`npy::write`] |
//! | NumPy `.npz`, arrays by name | [`npz::read`] | [`npz::write`] |
//! | `.csv`, rows and columns of numbers | [`csv::read`] | [`csv::write`] |
//! | `.safetensors`, arrays by name | | [`safetensors::write`] |
//! | JSON, nested lists by name | | [`json::write`] |
//!
//! Everything becomes `f32`, which is what a model computes in. What `f32` cannot hold, such as
//! the integer 16 777 217 or the number 1e300, is an error and never a silent change.
//!
//! [`npz::Growing`] writes arrays that are larger than memory, [`npy::Rows`] reads them.
//!
//! Every writer goes through [`write_file`]: the new content is complete before it takes the
//! place of the old one.
//!
//! Errors say which file, which array in it and what is wrong there, and often what helps:
//!
//! ```
//! use ifco_files::arrays::{ArrayProblem, csv};
//!
//! let error = csv::from_bytes(b"1,2\n3,many\n").unwrap_err();
//! let problem = error.problem();
//! assert!(matches!(problem, ArrayProblem::NotANumber { line: 2, column: 2, .. }));
//! assert!(error.path().is_none()); // the bytes came from no file
//! ```
//!
//! Written and read again:
//!
//! ```
//! use ifco_files::arrays::npy;
//! use ndarray::array;
//!
//! let path = std::env::temp_dir().join("ifco-arrays-example.npy");
//! let x = array![[1.0, 2.0], [3.0, 4.0]].into_dyn();
//! npy::write(&path, x.view())?;
//! assert_eq!(npy::read(&path)?, x);
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), ifco_files::arrays::ArrayFileError>(())
//! ```

pub mod csv;
pub(crate) mod dtype;
mod error;
pub mod json;
pub mod npy;
mod npy_header;
mod npy_rows;
pub mod npz;
mod npz_growing;
pub mod safetensors;
mod write;

pub use error::{ArrayFileError, ArrayProblem};
pub use write::write_file;
