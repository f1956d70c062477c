//! Files in and out: between bytes and a [`Model`], and between bytes and arrays.
//!
//! All untrusted bytes enter ifco here. Whatever they say, the answer is a model, an array,
//! or an error that names the file, the place in it and what to do: no panic, and no more
//! memory than a stated multiple of the file ([`Limits`]).
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! use ifco_files::{Opened, open_any};
//!
//! match open_any("stacked.keras")? {
//!     Opened::Model(model) => println!("{} with {} layers", model.name(), model.layers().len()),
//!     Opened::Weights(weights) => {
//!         for (path, cell) in weights.cells() {
//!             println!("{path}: {} units", cell.units());
//!         }
//!     }
//! }
//! # Ok::<(), ifco_files::FileError>(())
//! ```

pub mod arrays;
mod audio;
mod bytes;
mod describe;
mod error;
mod hdf5;
mod keras;
mod limits;
mod onnx;
mod open;
mod plain;
pub mod records;
mod save;
mod stack;
mod tensorflow;
mod torch;
mod weights;
mod wire;
mod zipped;

pub use describe::{architecture_bytes, open_architecture};
pub use error::FileError;
use ifco_cell::Cell;
use ifco_model::Model;
pub use keras::{Begun, compile_config};
pub use limits::Limits;
use ndarray::ArrayD;
pub use open::{
    Assumed, OpenOptions, open, open_any, open_assuming, open_bytes, open_optimizer, open_progress,
    open_recipe, open_with_architecture, progress_bytes, recipe_bytes,
};
pub use save::{
    FORMATS, Format, SaveError, SaveOptions, Saved, architecture, in_keras_layers, save,
};

/// What a file turned out to hold.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::{Opened, open_any};
///
/// assert!(matches!(open_any("stacked.keras")?, Opened::Model(_)));
/// assert!(matches!(open_any("stacked.weights.h5")?, Opened::Weights(_)));
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug)]
pub enum Opened {
    /// A whole model: `.keras`, or an `.h5` with its architecture.
    Model(Box<Model>),
    /// Weights alone: `.weights.h5`, what `save_weights` of Keras 1 and 2 writes, a `state_dict`
    /// of PyTorch, or a `.safetensors`.
    Weights(WeightsFile),
}

/// A file of weights without the architecture.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_cell::{Cell, Gate};
/// use ifco_files::{Opened, open_any};
///
/// let Opened::Weights(weights) = open_any("stacked.weights.h5")? else { panic!() };
/// assert!(weights.groups.iter().any(|group| group.path == "lstm/cell"));
/// let cells = weights.cells();
/// let (_, cell) = cells.iter().find(|(path, _)| path == "first").unwrap();
/// let Cell::Lstm(lstm) = cell else { panic!() };
/// assert_eq!(lstm.weights().kernel(Gate::Forget).dim(), (3, 5)); // (features, units)
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WeightsFile {
    /// The groups that hold arrays, in the file's order.
    pub groups: Vec<WeightsGroup>,
    /// Whose names and shapes these are.
    pub source: WeightsSource,
    /// What is to be said of how the weights were found, such as under which key of a checkpoint.
    pub notes: Vec<String>,
}

/// Whose names and shapes the arrays of a [`WeightsFile`] have.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/torch")).unwrap();
/// use ifco_files::{Opened, WeightsSource, open_any};
///
/// let Opened::Weights(weights) = open_any("lstm.pt")? else { panic!() };
/// assert_eq!(weights.source, WeightsSource::Torch);
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightsSource {
    /// Keras: kernels `(features, gates·units)`.
    #[default]
    Keras,
    /// PyTorch: `weight_ih_l0` `(gates·units, features)`. The order of the groups is that in
    /// which the modules were made.
    Torch,
    /// PyTorch's names in a `.safetensors`, which sorts them: their order says nothing.
    Safetensors,
    /// Keras's names by path, `lstm/kernel`, in Keras's layout, in an `.npz`, a `.json` or a
    /// `.safetensors`.
    Named,
    /// Flax's parameters: `LSTMCell_0` with `ii/kernel` to `io/kernel` and `hi/kernel` to `ho/kernel`.
    Flax,
    /// Haiku's parameters: `lstm` with `linear/w` and `linear/b`.
    Haiku,
    /// The variables of a TensorFlow checkpoint.
    TensorFlow,
}

impl WeightsSource {
    /// The framework whose names these are, in words.
    ///
    /// ```
    /// use ifco_files::WeightsSource;
    /// assert_eq!(WeightsSource::Safetensors.framework(), "PyTorch");
    /// ```
    pub fn framework(self) -> &'static str {
        match self {
            Self::Keras | Self::Named => "Keras",
            Self::Torch | Self::Safetensors => "PyTorch",
            Self::Flax => "Flax",
            Self::Haiku => "Haiku",
            Self::TensorFlow => "TensorFlow",
        }
    }

    /// Whether the order of the groups may be that of the modules.
    pub(crate) fn tells_order(self) -> bool {
        matches!(self, Self::Torch | Self::Named)
    }
}

/// One group of a weights file.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// use ifco_files::{Opened, open_any};
///
/// let Opened::Weights(weights) = open_any("stacked.weights.h5")? else { panic!() };
/// let group = weights.groups.iter().find(|group| group.path == "lstm/cell").unwrap();
/// assert_eq!(group.name.as_deref(), Some("first"));
/// let (name, kernel) = &group.arrays[0];
/// assert_eq!((name.as_str(), kernel.shape()), ("0", &[3, 20][..])); // (features, 4·units)
/// # Ok::<(), ifco_files::FileError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsGroup {
    /// Its path as ifco shows it: `lstm/cell` in a Keras 3 file, the layer's name in a legacy one,
    /// the module's in one of PyTorch: `encoder.lstm`.
    pub path: String,
    /// The layer's own name where the file tells it: always in a legacy file; in a `.weights.h5`
    /// since Keras 3.6, below the names of the models around it: `encoder/lstm`.
    pub name: Option<String>,
    /// Its arrays by name, in order: `0`, `1`, … in a Keras 3 file,
    /// `lstm/lstm_cell/kernel:0` in a legacy one, `weight_ih_l0` in one of PyTorch.
    pub arrays: Vec<(String, ArrayD<f32>)>,
}

impl WeightsFile {
    /// The groups whose shapes are those of a recurrent layer, as cells with Keras's default
    /// activations (which a weights file does not tell), by the path under which
    /// [`Model::cells`] knows them: `lstm`, `bidirectional/forward`.
    ///
    /// An LSTM is a `kernel` `(features, 4·units)`, a `recurrent_kernel` `(units, 4·units)`
    /// and perhaps a `bias` `(4·units)`; a GRU has 3 columns per unit. A SimpleRNN's arrays are
    /// those of many layers, so it is only taken for one if a name in the file says so.
    ///
    /// PyTorch's are told by their names, and come in Keras's layout, the two biases of an LSTM
    /// summed: `lstm`, `lstm/l1` where there are several layers, `lstm/l1/backward`. So do Flax's,
    /// Haiku's and TensorFlow's; what the latter two add to the forget gate as a model runs is in its
    /// bias.
    pub fn cells(&self) -> Vec<(String, Cell)> {
        match self.source {
            WeightsSource::Keras => keras::cells(self),
            _ => weights::cells(self),
        }
    }
}
