//! Open any Keras LSTM model, see its gates by name, run it with exactly the numbers of Keras.
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! use ifco::Gate;
//!
//! let model = ifco::open("stacked.keras")?;
//!
//! // Which part of the fused `kernel` is the forget gate? This one, (features, units):
//! let lstm = model.lstm("first")?;
//! let w_f = lstm.weights().kernel(Gate::Forget); // kernel[:, u:2u]
//! let u_f = lstm.weights().recurrent_kernel(Gate::Forget); // (units, units)
//! let b_f = lstm.weights().bias(Gate::Forget); // (units), None with use_bias=False
//! assert_eq!((w_f.dim(), u_f.dim(), b_f.unwrap().len()), ((3, 5), (5, 5), 5));
//!
//! // What does it say of my data? As model.predict(x) in Keras:
//! let x = ifco::arrays::npy::read("stacked_x.npy")?; // (batch, time, features)
//! let y = model.predict(&x)?;
//!
//! let keras = ifco::arrays::npy::read("stacked_y.npy")?; // what Keras itself predicted
//! assert!(y.iter().zip(&keras).all(|(ours, theirs)| (ours - theirs).abs() < 1e-5));
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
//! [`packing`] has the same table for the other frameworks, and converts:
//!
//! ```
//! let torch = ifco::packing::find("pytorch").unwrap();
//! assert_eq!(torch.order_text(), "i f g o"); // as rows, g being Keras's c
//! ```
//!
//! # Finding the recurrent layers
//!
//! [`Model::cells`] lists every cell by its path: `lstm`, `bidirectional/forward` and
//! `bidirectional/backward`, `rnn/0` and `rnn/1` for stacked cells, `encoder/lstm` inside a
//! nested model. [`Model::lstm`], [`Model::gru`] and [`Model::simple_rnn`] take such a path.
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! use ifco::GruGate;
//!
//! let model = ifco::open("stacked.keras")?;
//! let paths: Vec<String> = model.cells().into_iter().map(|(path, _)| path).collect();
//! assert_eq!(paths, ["first", "both/forward", "both/backward"]);
//!
//! let gru = model.gru("both/backward")?;
//! assert_eq!(gru.weights().kernel(GruGate::Reset).dim(), (5, 2)); // (features, units)
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Several inputs and outputs
//!
//! [`Model::inputs`] and [`Model::outputs`] give names and shapes, in order;
//! [`Model::predict_all`] takes and returns one array for each.
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! use ifco::arrays::npy;
//!
//! let model = ifco::open("translate.keras")?;
//! let names: Vec<&str> = model.inputs().iter().map(|port| port.name.as_str()).collect();
//! assert_eq!(names, ["source", "target"]);
//!
//! let source = npy::read("translate_source.npy")?; // (3, 4, 2): (batch, time, features)
//! let target = npy::read("translate_target.npy")?; // (3, 2, 1)
//! let outputs = model.predict_all(&[source.view(), target.view()], 32, &mut |_| {})?;
//! assert_eq!(outputs[0].shape(), [3, 2, 1]); // the sequence
//! assert_eq!(outputs[1].shape(), [3, 3]); // h, (batch, units), and then c
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Every gate at every step
//!
//! [`Model::trace`] runs the model and keeps what a cell computes: the gates i, f, c̃ and o and the
//! states c and h of an LSTM ([`CellKind::trace_names`] has the others), `(batch, time, units)`
//! each, under the time axis of the input:
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! let model = ifco::open("stacked.keras")?;
//! let x = ifco::arrays::npy::read("stacked_x.npy")?; // (7, 4, 3): (batch, time, features)
//!
//! let trace = model.trace("first", &x)?;
//! let (f, c) = (trace.get("f").unwrap(), trace.get("c").unwrap());
//! assert_eq!(f.dim(), (7, 4, 5)); // (batch, time, units)
//! // Where does unit 2 forget, in the first sequence?
//! let unit = f.slice(ndarray::s![0, .., 2]);
//! assert!(unit.iter().all(|f| (0.0..=1.0).contains(f)));
//! # let _ = c;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Model::trace_all`] traces several cells in one run, for models with any number of inputs, and
//! gives the predictions along with them.
//!
//! # Streams
//!
//! [`Model::session`] runs a model step by step, for sound, sensors and whatever has no end. A
//! [`Session`] owns its states, shares the weights, and allocates nothing once it is made:
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! let model = ifco::open("series.keras")?;
//! let mut session = model.session()?;
//! for x in [0.1, 0.2, 0.3] {
//!     let y = session.step(&[x]); // &[f32], what predict gives for the sequence so far
//!     assert_eq!(y.len(), session.output_len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A single layer streams too: [`RecurrentLayer::session`].
//!
//! # Files
//!
//! - [`open`]: `.keras`, and whole models in `.h5` or `.hdf5` from Keras 1, 2 and 3.
//! - [`open_with_architecture`]: weights alone, with the JSON of `model.to_json()` beside them.
//! - [`open_any`]: also weights alone, whose gates can be seen but which cannot predict.
//! - All of these also open models of sound: RTNeural's and GuitarML's JSON, and `.nam`;
//!   [`Model::about`] has the sample rate.
//! - [`open_bytes`]: the same from memory, and [`OpenOptions`] for other [`Limits`].
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! use ifco::{Cell, Gate, Opened};
//!
//! // Weights and architecture apart:
//! let model = ifco::open_with_architecture("stacked.weights.h5", "stacked.json")?;
//! assert_eq!(model.lstm("first")?.weights().units(), 5);
//!
//! // Weights alone: the gates, by the layers' names where the file tells them.
//! let Opened::Weights(weights) = ifco::open_any("stacked.weights.h5")? else {
//!     panic!("a .weights.h5 holds no architecture");
//! };
//! for (path, cell) in weights.cells() {
//!     if let Cell::Lstm(lstm) = cell {
//!         assert_eq!(path, "first");
//!         assert_eq!(lstm.weights().bias(Gate::Forget).unwrap().len(), 5);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Arrays
//!
//! [`arrays`] reads and writes NumPy's `.npy` and `.npz` and CSV, and writes safetensors and JSON.
//! A CSV has rows and columns; the model's shape is yours to give:
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! let series = ifco::arrays::csv::read("series_x.csv")?; // (6, 1): (time, features)
//! let x = series.insert_axis(ndarray::Axis(0)); // (1, 6, 1): (batch, time, features)
//! let y = ifco::open("series.keras")?.predict(&x.into_dyn())?;
//!
//! let path = std::env::temp_dir().join("ifco-doc-forecast.npy");
//! ifco::arrays::npy::write(&path, y.view())?;
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! Nothing that a file or a caller gives makes ifco panic. Errors say what was found, where, and
//! what to do: [`FileError`] for files, [`ModelError`] for models and their inputs,
//! [`arrays::ArrayFileError`] for arrays.
//!
//! ```
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
//! let error = ifco::open("stacked.keras")?.lstm("lstm").unwrap_err();
//! assert_eq!(error.to_string(), "the model has no LSTM named \"lstm\"");
//! # Ok::<(), ifco::FileError>(())
//! ```
//!
//! A model with a layer that ifco does not run still opens and shows its gates; only `predict`
//! is refused, naming the layer.

pub use ifco_cell::{
    Activation, ArrayDigest, Cell, CellKind, Change, Digest, DigestBuilder, Flow, FlowDigest,
    FlowDigestBuilder, ForwardError, Gate, GradientTrace, GruCell, GruGate, GruWeights,
    InstructionSetError, LayerNorm, LstmCell, LstmOptions, LstmOptionsError, LstmWeights, Memory,
    Norm, NormedSums, Passage, Precision, PrecisionError, RecurrentLayer, Sequence,
    SequenceOptions, SequenceOutput, Session as LayerSession, SessionError as LayerSessionError,
    SimpleRnnCell, SimpleRnnWeights, Trace, TraceOptions, TrainingMemory, UnitDigest, WeightsError,
    instruction_set, join, machine, packing, reference, set_threads, threads,
};
pub use ifco_files::{
    Assumed, Begun, FORMATS, FileError, Format, Limits, OpenOptions, Opened, SaveError,
    SaveOptions, Saved, WeightsFile, WeightsGroup, WeightsSource, architecture, architecture_bytes,
    arrays, compile_config, in_keras_layers, open, open_any, open_architecture, open_assuming,
    open_bytes, open_optimizer, open_progress, open_recipe, open_with_architecture, progress_bytes,
    recipe_bytes, records, save,
};
pub use ifco_model::{
    About, Array, Attribution, AttributionMethod, Call, Config, ConfigError, Generation, Layer,
    LayerEntry, LayerError, Mask, Model, ModelError, ModelGradientTrace, ModelPassage, ModelTrace,
    NotStreamable, Port, Session, SessionError, Shape, Step, StepShape, Streamed, Tap, Target,
    Tensor, Time, TraceStream, Training, Unit, WeightSlot, display_shape, layers,
};
pub use ifco_tasks as tasks;
pub use ifco_train as train;
pub use ifco_view as view;
