//! The ways to open a model file.

use std::path::Path;

use ifco_model::Model;
use ifco_tasks::Recipe;
use ifco_train::StateValue;

use crate::bytes::Bytes;
use crate::keras::Begun;
use crate::weights::{self, Spec};
use crate::{FileError, Limits, Opened, WeightsSource, keras, onnx, tensorflow, torch};

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

/// What the optimizer of a `.keras` remembers, in Keras's order: what
/// [`Optimizer::set_variables`](ifco_train::Optimizer::set_variables) takes. Empty where the file
/// has none: the model was not trained, or saved without.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// assert_eq!(ifco_files::open_optimizer("stacked.keras")?, []);
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells; above all that the file is no `.keras`.
pub fn open_optimizer(path: impl AsRef<Path>) -> Result<Vec<StateValue>, FileError> {
    let path = path.as_ref();
    keras::optimizer_state(&file(path)?, path, &Limits::default())
}

/// What the callbacks of a training have seen that a `.keras` goes on with, and the best weights
/// where they are beside: what [`SaveOptions::progress`](crate::SaveOptions::progress) saves. `None`
/// of a training that has come to its end, and of other files.
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_progress(path: impl AsRef<Path>) -> Result<Option<Begun>, FileError> {
    let path = path.as_ref();
    keras::progress(&file(path)?, path, &Limits::default())
}

/// The same of a file's bytes; `name` stands for the path in errors.
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn progress_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Option<Begun>, FileError> {
    let bytes = Bytes::from_vec(bytes.into());
    keras::progress(&bytes, Path::new(name), &Limits::default())
}

/// What the model of a `.keras` was trained for, where `ifco fit` made it: how raw data become its
/// inputs, and its predictions answers. `None` of other files.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// assert_eq!(ifco_files::open_recipe("stacked.keras")?, None); // Keras wrote it
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_recipe(path: impl AsRef<Path>) -> Result<Option<Recipe>, FileError> {
    let path = path.as_ref();
    // Folders and what only begins the names of a checkpoint's files are TensorFlow's.
    if !path.is_file() {
        return Ok(None);
    }
    keras::recipe(&file(path)?, path, &Limits::default())
}

/// The same of a file's bytes; `name` stands for the path in errors.
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn recipe_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Option<Recipe>, FileError> {
    keras::recipe(
        &Bytes::from_vec(bytes.into()),
        Path::new(name),
        &Limits::default(),
    )
}

/// A whole model, and what was assumed to make it one.
///
/// See [`open_assuming`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Assumed {
    /// The model.
    pub model: Box<Model>,
    /// What the file did not tell and nobody else did, a line each, for the user to check; none
    /// for a file that holds its architecture.
    pub assumptions: Vec<String>,
}

/// Opens a whole model; of PyTorch's weights alone, one in which each module takes what the one
/// before gives, as far as names and shapes tell.
///
/// What they do not tell is assumed and said: the order, which steps go on, activations.
/// `spec` is a small TOML that corrects it (docs/formats.md).
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/torch")).unwrap();
/// let assumed = ifco_files::open_assuming("classifier.pt", None::<&str>)?;
/// assert_eq!(assumed.assumptions[1], "the modules run in the order of the file: lstm → norm → fc");
///
/// let told = ifco_files::open_assuming("classifier.pt", Some("classifier.toml"))?;
/// assert_eq!(told.model.outputs()[0].shape, Some(vec![None, Some(2)])); // of the last step
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells; where the weights make no chain, what is needed.
pub fn open_assuming(
    path: impl AsRef<Path>,
    spec: Option<impl AsRef<Path>>,
) -> Result<Assumed, FileError> {
    OpenOptions::new().open_assuming(path, spec)
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
            Opened::Weights(weights) => Err(no_architecture(path, weights.source)),
        }
    }

    /// As [`open_assuming`].
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_assuming(
        &self,
        path: impl AsRef<Path>,
        spec: Option<impl AsRef<Path>>,
    ) -> Result<Assumed, FileError> {
        let path = path.as_ref();
        let spec = match spec {
            Some(spec) => {
                let spec = spec.as_ref();
                let text = file(spec)?
                    .head(usize::try_from(self.limits.json).unwrap_or(usize::MAX))
                    .map_err(|error| FileError::io(spec, error))?;
                let text = String::from_utf8_lossy(&text);
                Some(Spec::parse(&text, spec, &self.limits)?)
            }
            None => None,
        };
        let state_dict = spec.as_ref().and_then(|spec| spec.state_dict.as_deref());
        let opened = self.at(path, state_dict)?;
        assume(opened, path, spec)
    }

    /// As [`open_assuming`], from bytes and the text of the spec; `name` stands for both paths in
    /// errors.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/torch")).unwrap();
    /// let bytes = std::fs::read("classifier.pt")?;
    /// let options = ifco_files::OpenOptions::new();
    /// let spec = "[modules.lstm]\ntake = \"last\"";
    /// let told = options.open_bytes_assuming(bytes, Some(spec), "classifier.pt")?;
    /// assert_eq!(told.model.outputs()[0].shape, Some(vec![None, Some(2)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_bytes_assuming(
        &self,
        bytes: impl Into<Vec<u8>>,
        spec: Option<&str>,
        name: &str,
    ) -> Result<Assumed, FileError> {
        let path = Path::new(name);
        let spec = spec
            .map(|text| Spec::parse(text, path, &self.limits))
            .transpose()?;
        let state_dict = spec.as_ref().and_then(|spec| spec.state_dict.as_deref());
        let opened = self.any(Bytes::from_vec(bytes.into()), path, state_dict)?;
        assume(opened, path, spec)
    }

    /// Whatever lies at the path: a file, or what TensorFlow keeps in several.
    fn at(&self, path: &Path, state_dict: Option<&str>) -> Result<Opened, FileError> {
        match tensorflow::find(path)? {
            Some(place) => tensorflow::open(place, path, &self.limits),
            None => self.any(file(path)?, path, state_dict),
        }
    }

    /// Whatever the bytes hold; of a checkpoint, the weights under the key `state_dict`.
    fn any(
        &self,
        bytes: Bytes,
        path: &Path,
        state_dict: Option<&str>,
    ) -> Result<Opened, FileError> {
        if let Some(weights) = torch::open(&bytes, path, state_dict, &self.limits)? {
            return Ok(Opened::Weights(weights));
        }
        if let Some(opened) = weights::open_npz(&bytes, path, &self.limits)? {
            return Ok(opened);
        }
        if let Some(weights) = weights::open_msgpack(&bytes, path, &self.limits)? {
            return Ok(Opened::Weights(weights));
        }
        if onnx::is_model(&bytes) {
            let model = onnx::open(&bytes, path, &self.limits)?;
            return Ok(Opened::Model(Box::new(model)));
        }
        keras::open_any(bytes, path, &self.limits)
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
        if let Some(place) = tensorflow::find(weights)? {
            let checkpoint = tensorflow::checkpoint(place, weights, &self.limits)?;
            return keras::open_checkpoint(checkpoint, weights, &json_bytes, json, &self.limits);
        }
        keras::open_with_architecture(file(weights)?, weights, &json_bytes, json, &self.limits)
    }

    /// As [`open_any`](crate::open_any()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_any(&self, path: impl AsRef<Path>) -> Result<Opened, FileError> {
        let path = path.as_ref();
        self.at(path, None)
    }

    /// As [`open_bytes`](crate::open_bytes()).
    ///
    /// # Errors
    /// Whatever [`FileError`] tells.
    pub fn open_bytes(&self, bytes: impl Into<Vec<u8>>, name: &str) -> Result<Opened, FileError> {
        self.any(Bytes::from_vec(bytes.into()), Path::new(name), None)
    }

    /// Opens the files of a folder, by their names in it: a SavedModel or a checkpoint of TensorFlow
    /// that was downloaded, or where there is no file system. `name` stands for the folder's path in
    /// errors.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tensorflow")).unwrap();
    /// use ifco_files::{OpenOptions, Opened};
    ///
    /// let mut files = Vec::new();
    /// for file in ["basic.index", "basic.data-00000-of-00001"] {
    ///     files.push((file.to_owned(), std::fs::read(file)?));
    /// }
    /// let Opened::Weights(weights) = OpenOptions::new().open_folder(files, "basic")? else {
    ///     panic!("a checkpoint tells no architecture");
    /// };
    /// assert_eq!(weights.cells()[0].0, "rnn/basic_lstm_cell");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Whatever [`FileError`] tells; above all that neither lies among them.
    pub fn open_folder(
        &self,
        files: Vec<(String, Vec<u8>)>,
        name: &str,
    ) -> Result<Opened, FileError> {
        let path = Path::new(name);
        let folder = tensorflow::in_memory(files, path);
        match tensorflow::in_folder(folder)? {
            Some(place) => tensorflow::open(place, path, &self.limits),
            None => Err(keras::directory(path)),
        }
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

/// A whole model of what was opened, and what is assumed of weights alone.
fn assume(opened: Opened, path: &Path, spec: Option<Spec>) -> Result<Assumed, FileError> {
    let told = spec.is_some();
    let spec = spec.unwrap_or_default();
    match opened {
        Opened::Model(_) if told => Err(FileError::Unsupported {
            path: path.into(),
            what: "the file tells its own architecture, and needs no spec".into(),
            remedy: "leave the spec out".into(),
        }),
        Opened::Model(model) => Ok(Assumed {
            model,
            assumptions: Vec::new(),
        }),
        Opened::Weights(weights) if weights.source == WeightsSource::Keras => {
            Err(no_architecture(path, weights.source))
        }
        Opened::Weights(weights) => {
            let (model, assumptions) = weights::model(&weights, &spec, path)?;
            Ok(Assumed {
                model: Box::new(model),
                assumptions,
            })
        }
    }
}

/// The error where a whole model was asked for.
fn no_architecture(path: &Path, source: WeightsSource) -> FileError {
    FileError::Missing {
        path: path.into(),
        part: "architecture in this file, only weights".into(),
        remedy: match source {
            WeightsSource::Keras => "open it together with the JSON that model.to_json() writes",
            _ => "open_assuming makes a model of it, and tells what it assumes",
        }
        .into(),
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
