//! The ways to open a model file.

use std::path::Path;

use ifco_model::Model;

use crate::bytes::Bytes;
use crate::{FileError, Limits, Opened, keras};

/// Opens a whole model: `.keras`, or an `.h5` with its architecture.
///
/// ```no_run
/// let model = ifco_files::open("model.keras")?;
/// println!("{}", model.name());
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells. A file of weights alone is
/// [`FileError::Missing`] its architecture: see [`open_with_architecture`] and [`open_any`].
pub fn open(path: impl AsRef<Path>) -> Result<Model, FileError> {
    OpenOptions::new().open(path)
}

/// Opens a weights file with its architecture's JSON (`model.to_json()`) beside it.
///
/// ```no_run
/// let model = ifco_files::open_with_architecture("model.weights.h5", "model.json")?;
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_with_architecture(
    weights: impl AsRef<Path>,
    json: impl AsRef<Path>,
) -> Result<Model, FileError> {
    OpenOptions::new().open_with_architecture(weights, json)
}

/// Opens whatever the file holds.
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_any(path: impl AsRef<Path>) -> Result<Opened, FileError> {
    OpenOptions::new().open_any(path)
}

/// Opens whatever these bytes hold: for a file that was downloaded, or where there is no file
/// system. `name` stands for the path in errors.
///
/// ```
/// let error = ifco_files::open_bytes(&b"GIF89a"[..], "cat.gif").unwrap_err();
/// assert!(error.to_string().starts_with("cat.gif: this is a file of unknown kind"));
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Opened, FileError> {
    OpenOptions::new().open_bytes(bytes, name)
}

/// Opens model files within other [`Limits`] than the default ones.
///
/// ```no_run
/// use ifco_files::{Limits, OpenOptions};
///
/// let mut limits = Limits::default();
/// limits.json = 1 << 30;
/// let model = OpenOptions::new().limits(limits).open("model.keras")?;
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    limits: Limits,
}

impl OpenOptions {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// As [`open`](crate::open()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Model, FileError> {
        let path = path.as_ref();
        match self.open_any(path)? {
            Opened::Model(model) => Ok(*model),
            Opened::Weights(_) => Err(FileError::Missing {
                path: path.into(),
                part: "architecture in this file, only weights".into(),
                remedy: "open it together with the JSON that model.to_json() writes".into(),
            }),
        }
    }

    /// As [`open_with_architecture`].
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_with_architecture(
        &self,
        weights: impl AsRef<Path>,
        json: impl AsRef<Path>,
    ) -> Result<Model, FileError> {
        let (weights, json) = (weights.as_ref(), json.as_ref());
        let json_bytes = file(json)?;
        keras::open_with_architecture(file(weights)?, weights, &json_bytes, json, &self.limits)
    }

    /// As [`open_any`](crate::open_any()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_any(&self, path: impl AsRef<Path>) -> Result<Opened, FileError> {
        let path = path.as_ref();
        keras::open_any(file(path)?, path, &self.limits)
    }

    /// As [`open_bytes`](crate::open_bytes()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_bytes(&self, bytes: impl Into<Vec<u8>>, name: &str) -> Result<Opened, FileError> {
        keras::open_any(Bytes::from_vec(bytes.into()), Path::new(name), &self.limits)
    }

    /// As [`open_with_architecture`], from bytes; `name` stands for both paths in errors.
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_bytes_with_architecture(
        &self,
        weights: impl Into<Vec<u8>>,
        json: impl Into<Vec<u8>>,
        name: &str,
    ) -> Result<Model, FileError> {
        let name = Path::new(name);
        let (weights, json) = (
            Bytes::from_vec(weights.into()),
            Bytes::from_vec(json.into()),
        );
        keras::open_with_architecture(weights, name, &json, name, &self.limits)
    }
}

fn file(path: &Path) -> Result<Bytes, FileError> {
    Bytes::open(path).map_err(|error| {
        if path.is_dir() {
            keras::directory(path)
        } else {
            FileError::io(path, error)
        }
    })
}
