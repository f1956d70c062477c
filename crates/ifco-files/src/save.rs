//! The ways to save a model, and the formats there are.

use std::io::Write;
use std::path::{Path, PathBuf};

use ifco_model::{Generation, Model};
use ifco_tasks::Recipe;
use ifco_train::StateValue;
use ifco_train::callback::Progress;
use ndarray::ArrayD;

use crate::arrays::{ArrayFileError, write_file};
use crate::{audio, keras, onnx, plain, torch, weights};

/// A format of model files: a row of [`FORMATS`].
///
/// ```
/// use ifco_files::Format;
///
/// let format = Format::of("models/lstm.weights.h5").unwrap();
/// assert_eq!(format.extensions, [".weights.h5"]);
/// assert!(format.saves());
/// assert!(Format::of("lstm.docx").is_none());
/// ```
#[derive(Debug)]
pub struct Format {
    /// What users call it.
    pub name: &'static str,
    /// How the names of its files end.
    pub extensions: &'static [&'static str],
    /// Whether ifco opens it; what a file is, its first bytes say.
    pub opens: bool,
    /// Writes a model, if ifco can.
    save: Option<Save>,
    /// What of a cell beyond Keras's it has a place for: `Cell::extras`.
    pub(crate) holds: &'static [&'static str],
}

type Save = fn(&Model, &SaveOptions) -> Result<Saved, SaveError>;

/// Every format, in the order in which help and errors list them.
pub const FORMATS: &[Format] = &[
    Format {
        name: "Keras 3 model",
        extensions: &[".keras"],
        opens: true,
        save: Some(keras::save_archive),
        holds: &[],
    },
    Format {
        name: "Keras whole model, HDF5",
        extensions: &[".h5", ".hdf5"],
        opens: true,
        save: Some(keras::save_h5),
        holds: &[],
    },
    Format {
        name: "Keras weights alone",
        extensions: &[".weights.h5"],
        opens: true,
        save: Some(keras::save_weights),
        holds: &[],
    },
    Format {
        name: "PyTorch state_dict",
        extensions: &[".pt", ".pth"],
        opens: true,
        save: Some(torch::save_pt),
        holds: &["projection"],
    },
    Format {
        name: "PyTorch state_dict, safetensors",
        extensions: &[".safetensors"],
        opens: true,
        save: Some(torch::save_safetensors),
        holds: &["projection"],
    },
    Format {
        name: "NumPy weights and architecture",
        extensions: &[".npz"],
        opens: true,
        save: Some(weights::save_npz),
        holds: onnx::HOLDS,
    },
    Format {
        name: "JSON weights and architecture",
        extensions: &[".weights.json"],
        opens: true,
        save: Some(weights::save_json),
        holds: onnx::HOLDS,
    },
    Format {
        name: "RTNeural JSON",
        extensions: &[".json"],
        opens: true,
        save: Some(audio::save_rtneural),
        holds: &[],
    },
    Format {
        name: "ONNX",
        extensions: &[".onnx"],
        opens: true,
        save: Some(onnx::save),
        holds: onnx::HOLDS,
    },
];

impl Format {
    /// The format that a file's name says it has; the longest ending decides.
    pub fn of(path: impl AsRef<Path>) -> Option<&'static Format> {
        let name = path.as_ref().file_name()?.to_string_lossy().to_lowercase();
        let ending = |format: &&Format| {
            let endings = format.extensions.iter();
            let fitting = endings.filter(|ending| name.ends_with(**ending));
            fitting.map(|ending| ending.len()).max()
        };
        FORMATS
            .iter()
            .filter(|format| ending(format).is_some())
            .max_by_key(ending)
    }

    /// Whether ifco can write it.
    pub fn saves(&self) -> bool {
        self.save.is_some()
    }

    /// The endings of all formats that can be saved, for help: `.keras, .h5, .hdf5, .weights.h5`.
    ///
    /// ```
    /// assert!(ifco_files::Format::savable().contains(".keras"));
    /// ```
    pub fn savable() -> String {
        let formats = FORMATS.iter().filter(|format| format.saves());
        let endings: Vec<&str> = formats
            .flat_map(|format| format.extensions)
            .copied()
            .collect();
        endings.join(", ")
    }
}

/// Saves a model in the format that the path's ending names. The file is there whole or not at
/// all.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let model = ifco_files::open("stacked.keras")?;
/// let path = std::env::temp_dir().join("ifco-save-example.h5");
/// let saved = ifco_files::save(&model, &path)?;
/// assert!(saved.notes.is_empty()); // nothing was left out
/// assert_eq!(ifco_files::open(&path)?.weights(), model.weights());
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Whatever [`SaveError`] tells: above all what of the model the format cannot hold.
pub fn save(model: &Model, path: impl AsRef<Path>) -> Result<Saved, SaveError> {
    SaveOptions::new().save(model, path)
}

/// The architecture of a model without its weights, as `model.to_json()` of Keras writes it: what
/// goes with a `.weights.h5`.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::{OpenOptions, SaveOptions};
///
/// let model = ifco_files::open("stacked.keras")?;
/// let weights = SaveOptions::new().to_bytes(&model, "x.weights.h5")?.bytes;
/// let json = ifco_files::architecture(&model);
/// let copy = OpenOptions::new().open_bytes_with_architecture(weights, json, "x")?;
/// assert_eq!(copy.weights(), model.weights());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn architecture(model: &Model) -> String {
    match lifted(model) {
        Some(Ok(lifted)) => keras::architecture(&lifted.model),
        _ => keras::architecture(model),
    }
}

/// A model that came from an ONNX file in Keras's layers, which is what [`save`] writes of it;
/// `None` of any other model, which consists of them.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/onnx")).unwrap();
/// let graph = ifco_files::open("torch_lstm_last.onnx")?;
/// let model = ifco_files::in_keras_layers(&graph).unwrap()?;
/// let mut classes = model.layers().iter().map(|entry| entry.layer.class_name());
/// assert_eq!(classes.next(), Some("InputLayer"));
/// assert!(classes.any(|class| class == "LSTM"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where one of its nodes is part of no layer: which one.
pub fn in_keras_layers(model: &Model) -> Option<Result<Model, SaveError>> {
    lifted(model).map(|lifted| lifted.map(|lifted| lifted.model))
}

fn lifted(model: &Model) -> Option<Result<onnx::Lifted, SaveError>> {
    onnx::is_graph(model).then(|| onnx::lift(model))
}

/// How to save.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::{Opened, SaveOptions, open_bytes};
///
/// let model = ifco_files::open("stacked.keras")?;
/// let saved = SaveOptions::new().to_bytes(&model, "copy.keras")?;
/// let Opened::Model(copy) = open_bytes(saved.bytes, "copy.keras")? else { panic!() };
/// assert_eq!(copy.weights(), model.weights());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    pub(crate) lossy: bool,
    names: Vec<(String, String)>,
    pub(crate) compile_config: Option<serde_json::Value>,
    pub(crate) optimizer: Vec<StateValue>,
    pub(crate) recipe: Option<Recipe>,
    pub(crate) progress: Option<Progress>,
    pub(crate) best_weights: Option<Vec<ArrayD<f32>>>,
    /// Whether the model's hard_sigmoid is another function than PyTorch's and Keras 3's.
    pub(crate) hard_sigmoid_differs: bool,
}

impl SaveOptions {
    /// Only what the format can hold is saved; for everything else there is an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to go on, with a note, where the format has only something near to what the
    /// model has.
    #[must_use]
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// What a layer is called in a file of PyTorch, in place of its own name: `encoder.lstm` for
    /// a module inside of another. Keras's files keep the model's names.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
    /// use ifco_files::{Opened, SaveOptions, open_bytes};
    ///
    /// let model = ifco_files::open("stacked.keras")?;
    /// let saved = SaveOptions::new().name("first", "encoder.lstm").to_bytes(&model, "x.pt")?;
    /// let Opened::Weights(weights) = open_bytes(saved.bytes, "x.pt")? else { panic!() };
    /// assert_eq!(weights.groups[0].path, "encoder.lstm");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(mut self, layer: impl Into<String>, module: impl Into<String>) -> Self {
        self.names.push((layer.into(), module.into()));
        self
    }

    /// What `compile` was called with, in the words of a `.keras`, in place of what the model's
    /// file says. Only Keras's whole models hold it.
    #[must_use]
    pub fn compile_config(mut self, config: serde_json::Value) -> Self {
        self.compile_config = Some(config);
        self
    }

    /// What the optimizer remembers, in Keras's order, so that training goes on where it stopped.
    /// Only `.keras` holds it.
    #[must_use]
    pub fn optimizer(mut self, variables: Vec<StateValue>) -> Self {
        self.optimizer = variables;
        self
    }

    /// What the model was trained for, so that it can be used on raw data. Only `.keras` holds it,
    /// beside what Keras reads.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
    /// use ifco_files::SaveOptions;
    /// use ifco_tasks::{Recipe, forecast::Forecast};
    ///
    /// let model = ifco_files::open("series.keras")?;
    /// let recipe = Recipe::Forecast(Forecast {
    ///     columns: vec!["y".into()],
    ///     target: 0,
    ///     window: 6,
    ///     horizon: 1,
    /// });
    /// let path = std::env::temp_dir().join("ifco-recipe-example.keras");
    /// SaveOptions::new().recipe(Some(recipe.clone())).save(&model, &path)?;
    /// assert_eq!(ifco_files::open_recipe(&path)?, Some(recipe));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn recipe(mut self, recipe: Option<Recipe>) -> Self {
        self.recipe = recipe;
        self
    }

    /// What the callbacks of the training have seen, so that they too go on where it stopped; and
    /// the best weights, in the order of [`Model::weight_slots`], where
    /// [`Progress::best_weights`] says that they are beside. Only `.keras` holds them, beside what
    /// Keras reads.
    ///
    /// ```
    /// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
    /// use ifco_files::SaveOptions;
    /// use ifco_train::callback::Progress;
    ///
    /// let model = ifco_files::open("series.keras")?;
    /// let path = std::env::temp_dir().join("ifco-progress-example.keras");
    /// let progress = Progress::new("val_loss");
    /// SaveOptions::new().progress(progress.clone(), None).save(&model, &path)?;
    /// assert_eq!(ifco_files::open_progress(&path)?, Some((progress, None)));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn progress(mut self, progress: Progress, best_weights: Option<Vec<ArrayD<f32>>>) -> Self {
        self.progress = Some(progress);
        self.best_weights = best_weights;
        self
    }

    /// What the user calls the layer.
    pub(crate) fn renamed(&self, layer: &str) -> Option<&str> {
        let told = self.names.iter().rev().find(|(name, _)| name == layer);
        told.map(|(_, module)| module.as_str())
    }

    /// As [`save`].
    ///
    /// # Errors
    /// Whatever [`SaveError`] tells.
    pub fn save(&self, model: &Model, path: impl AsRef<Path>) -> Result<Saved, SaveError> {
        let path = path.as_ref();
        let saved = self.to_bytes(model, path)?;
        saved.write(path)?;
        Ok(saved)
    }

    /// The file that [`save`] would write at `path`, without writing it.
    ///
    /// # Errors
    /// Whatever [`SaveError`] tells.
    pub fn to_bytes(&self, model: &Model, path: impl AsRef<Path>) -> Result<Saved, SaveError> {
        let path = path.as_ref();
        let found = Format::of(path).and_then(|format| Some((format, format.save?)));
        match found {
            Some((format, save)) => {
                let lifted = lifted(model).transpose()?;
                let model = lifted.as_ref().map_or(model, |lifted| &lifted.model);
                let plain = plain::plain(model, format, self)?;
                let model = plain.as_ref().map_or(model, |(model, _)| model);
                check_cells(model, format)?;
                let mut options = self.clone();
                options.hard_sigmoid_differs = model.generation() != Generation::Keras3;
                let mut saved = save(model, &options)?;
                if let Some((_, notes)) = plain {
                    saved.notes.splice(0..0, notes);
                }
                if let Some(lifted) = lifted {
                    saved.notes.splice(0..0, lifted.notes);
                }
                Ok(saved)
            }
            None => Err(SaveError::Format { path: path.into() }),
        }
    }

    /// A difference that may be passed over: noted if lossy, else the error that it is.
    pub(crate) fn pass_over(
        &self,
        lost: SaveError,
        change: String,
        notes: &mut Vec<String>,
    ) -> Result<(), SaveError> {
        if !self.lossy {
            return Err(lost);
        }
        notes.push(change);
        Ok(())
    }
}

/// Whether the format can hold each cell, whatever it has beyond Keras's.
fn check_cells(model: &Model, format: &Format) -> Result<(), SaveError> {
    for (path, cell) in model.cells() {
        let mut extras = cell.extras();
        extras.retain(|extra| !format.holds.contains(extra));
        if extras.is_empty() {
            continue;
        }
        let are_limits = extras.iter().all(|extra| plain::LIMITS.contains(extra));
        let reason = format!("{} has no place for its {}", format.name, extras.join(", "));
        return Err(SaveError::Layer {
            layer: path,
            class: cell.kind().name().into(),
            reason,
            remedy: match extras[..] {
                ["projection"] => {
                    "save it as .onnx, .npz, .pt or .safetensors, which hold it".into()
                }
                _ if are_limits => {
                    "save it as .onnx or .npz, which hold it, or go on without (--lossy)".into()
                }
                _ => "save it as .onnx or .npz, which hold it".into(),
            },
        });
    }
    Ok(())
}

/// A model as a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Saved {
    /// The file's content.
    pub bytes: Vec<u8>,
    /// What is not in it as it was in the model, a sentence each.
    pub notes: Vec<String>,
    /// What the file does not tell and ifco needs to open it as this model again: a TOML, of weights for
    /// PyTorch.
    pub spec: Option<String>,
    /// The architecture as a Python module for PyTorch, whose `Model` takes the weights.
    pub python: Option<String>,
}

impl Saved {
    pub(crate) fn new(bytes: Vec<u8>, notes: Vec<String>) -> Self {
        Self {
            bytes,
            notes,
            spec: None,
            python: None,
        }
    }

    /// Where the spec goes so that it is found again: `weights.pt.toml`.
    pub fn spec_path(path: impl AsRef<Path>) -> PathBuf {
        let mut name = path.as_ref().as_os_str().to_owned();
        name.push(".toml");
        name.into()
    }

    /// Writes the file, whole or not at all, and before it its spec, if it has one.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        if let Some(spec) = &self.spec {
            let beside = Self::spec_path(path.as_ref());
            write_file(&beside, |file| Ok(file.write_all(spec.as_bytes())?))?;
        }
        write_file(path.as_ref(), |file| Ok(file.write_all(&self.bytes)?))?;
        Ok(())
    }
}

/// Why a model cannot be saved.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let model = ifco_files::open("stacked.keras")?;
/// let error = ifco_files::save(&model, "stacked.docx").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "stacked.docx: the name does not end as one of a format that ifco saves"
/// );
/// assert!(error.help().unwrap().contains(".keras"));
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The path's ending is that of no format that ifco saves.
    #[error("{}: the name does not end as one of a format that ifco saves", path.display())]
    Format {
        /// The path.
        path: PathBuf,
    },
    /// The model has something that the format cannot hold.
    #[error("layer {layer:?}, {}: {reason}", with_article(class))]
    Layer {
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
        /// What it has.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The model as a whole cannot be saved.
    #[error("{reason}")]
    Model {
        /// Why.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The file's format has no room for it.
    #[error("the file cannot be made: {0}")]
    Encode(String),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] ArrayFileError),
}

/// `a Dense`, `an LSTM`.
fn with_article(class: &str) -> String {
    let is_vowel =
        class.starts_with(['A', 'E', 'I', 'O']) || ["LSTM", "LSTMCell", "RNN"].contains(&class);
    format!("{} {class}", if is_vowel { "an" } else { "a" })
}

impl SaveError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Format { .. } => Some(format!("ifco saves {}", Format::savable())),
            Self::Layer { remedy, .. } | Self::Model { remedy, .. } => {
                (!remedy.is_empty()).then(|| remedy.clone())
            }
            Self::Encode(_) => None,
            Self::Write(error) => error.help().map(Into::into),
        }
    }
}
