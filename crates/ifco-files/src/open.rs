//! The ways to open a model file.

use std::path::Path;

use ifco_model::Model;

use crate::bytes::Bytes;
use crate::{FileError, Limits, Opened, keras, onnx};

/// Opens a whole model: `.keras`, an `.h5` with its architecture, or `.onnx`.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let model = ifco_files::open("stacked.keras")?;
/// assert_eq!(model.name(), "stacked");
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
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let model = ifco_files::open_with_architecture("stacked.weights.h5", "stacked.json")?;
/// assert_eq!(model.name(), "stacked");
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

/// Opens whatever the file holds: a whole model, or weights alone.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let opened = ifco_files::open_any("stacked.weights.h5")?;
/// assert!(matches!(opened, ifco_files::Opened::Weights(_)));
/// # Ok::<(), ifco_files::FileError>(())
/// ```
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
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let bytes = std::fs::read("stacked.keras")?;
/// let opened = ifco_files::open_bytes(bytes, "stacked.keras")?;
/// assert!(matches!(opened, ifco_files::Opened::Model(_)));
///
/// let error = ifco_files::open_bytes(&b"GIF89a"[..], "cat.gif").unwrap_err();
/// assert!(error.to_string().starts_with("cat.gif: this is a file of unknown kind"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Opened, FileError> {
    OpenOptions::new().open_bytes(bytes, name)
}

/// Opens model files within other [`Limits`] than the default ones.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::{FileError, Limits, OpenOptions};
///
/// let mut limits = Limits::default();
/// limits.json = 100; // bytes: too few for any architecture
/// let options = OpenOptions::new().limits(limits);
/// let error = options.open("stacked.keras").unwrap_err();
/// assert!(matches!(error, FileError::Limit { .. }));
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
        self.open_bytes_of(file(path)?, path, true)
    }

    fn open_bytes_of(
        &self,
        bytes: Bytes,
        path: &Path,
        has_folder: bool,
    ) -> Result<Opened, FileError> {
        if onnx::is_model(&bytes) {
            let model = onnx::open(&bytes, path, has_folder, &self.limits)?;
            return Ok(Opened::Model(Box::new(model)));
        }
        keras::open_any(bytes, path, &self.limits)
    }

    /// As [`open_bytes`](crate::open_bytes()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_bytes(&self, bytes: impl Into<Vec<u8>>, name: &str) -> Result<Opened, FileError> {
        self.open_bytes_of(Bytes::from_vec(bytes.into()), Path::new(name), false)
    }

    /// As [`open_with_architecture`], from bytes; `name` stands for both paths in errors.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
    /// let (weights, json) = (std::fs::read("stacked.weights.h5")?, std::fs::read("stacked.json")?);
    /// let options = ifco_files::OpenOptions::new();
    /// let model = options.open_bytes_with_architecture(weights, json, "stacked")?;
    /// assert_eq!(model.layers().len(), 4); // with the InputLayer
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
