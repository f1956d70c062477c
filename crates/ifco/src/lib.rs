//! Open any Keras LSTM model, see its gates by name, run it with exactly the numbers of Keras.
//!
//! ```no_run
//! use ifco::Gate;
//!
//! let model = ifco::open("model.keras")?;
//!
//! // Which part of the fused `kernel` is the forget gate? This one, (features, units):
//! let lstm = model.lstm("lstm")?;
//! let w_f = lstm.weights().kernel(Gate::Forget); // kernel[:, u:2u]
//! let u_f = lstm.weights().recurrent_kernel(Gate::Forget);
//! let b_f = lstm.weights().bias(Gate::Forget);
//!
//! // What does it say of my data? As model.predict(x) in Keras:
//! let x = ifco::arrays::npy::read("x.npy")?; // (batch, time, features)
//! let y = model.predict(&x)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The name
//!
//! Keras packs the four gates of an LSTM side by side into one matrix, in the order **i**nput,
//! **f**orget, **c**ell, **o**utput. With u units, `kernel[:, :u]` is the input gate's,
//! `kernel[:, u:2u]` the forget gate's, and so on; `recurrent_kernel` and `bias` alike. Every
//! array in ifco stands in that order, whatever file it came from:
//!
//! ```
//! use ifco::{Gate, LstmWeights};
//! use ndarray::{Array1, Array2, s};
//!
//! let (features, units) = (3, 2);
//! let kernel = Array2::from_shape_fn((features, 4 * units), |(_, column)| column as f32);
//! let recurrent_kernel = Array2::zeros((units, 4 * units));
//! let bias = Array1::zeros(4 * units);
//! let weights = LstmWeights::new(kernel.clone(), recurrent_kernel, Some(bias))?;
//!
//! // A view: nothing is copied.
//! assert_eq!(weights.kernel(Gate::Forget), kernel.slice(s![.., 2..4]));
//! # Ok::<(), ifco::WeightsError>(())
//! ```
//!
//! # Finding the recurrent layers
//!
//! [`Model::cells`] lists every cell by its path: `lstm`, `bidirectional/forward` and
//! `bidirectional/backward`, `rnn/0` and `rnn/1` for stacked cells, `encoder/lstm` inside a
//! nested model. [`Model::lstm`], [`Model::gru`] and [`Model::simple_rnn`] take such a path.
//!
//! # Files
//!
//! - [`open`]: `.keras`, and whole models in `.h5` or `.hdf5` from Keras 1, 2 and 3.
//! - [`open_with_architecture`]: weights alone, with the JSON of `model.to_json()` beside them.
//! - [`open_any`]: also weights alone, whose gates can be seen but which cannot predict.
//! - [`arrays`]: NumPy's `.npy` and `.npz`, CSV, safetensors.
//!
//! # Errors
//!
//! Nothing that a file or a caller gives makes ifco panic. Errors say what was found, where, and
//! what to do: [`FileError`] for files, [`ModelError`] for models and their inputs,
//! [`arrays::ArrayFileError`] for arrays.
//!
//! A model with a layer that ifco does not run still opens and shows its gates; only `predict`
//! is refused, naming the layer.

pub use ifco_cell::{
    Activation, Cell, ForwardError, Gate, GruCell, GruGate, GruWeights, LstmCell, LstmWeights,
    RecurrentLayer, Sequence, SequenceOptions, SequenceOutput, SimpleRnnCell, SimpleRnnWeights,
    WeightsError, packing, reference,
};
pub use ifco_files::{
    FileError, Limits, OpenOptions, Opened, WeightsFile, WeightsGroup, arrays, open, open_any,
    open_bytes, open_with_architecture,
};
pub use ifco_model::{
    ConfigError, Generation, Layer, LayerEntry, LayerError, Model, ModelError, Port, Shape, Tensor,
    display_shape, layers,
};
