//! The LSTM itself: its gates, the order in which each framework packs them, the
//! weights, and the forward and backward pass of the recurrent layers with exactly the
//! semantics of Keras.
//!
//! Read [`mod@reference`] first: it is the textbook, one gate a line.
//!
//! - [`Gate`] and [`packing`]: which columns of a fused matrix belong to which gate.
//! - [`LstmWeights`], [`GruWeights`], [`SimpleRnnWeights`]: the fused arrays in Keras's
//!   layout, with a view per gate that copies nothing.
//! - [`Activation`]: what a gate may apply, in its own framework's formula.
//! - [`Cell`] and [`RecurrentLayer`]: one step, and the sequence around it (masks,
//!   direction, states, what is returned).
//! - [`Trace`]: the same, keeping every gate of every step.
//! - [`RecurrentLayer::forward_for_training`] and [`Tape::backward`]: the same, and the gradients
//!   by inputs, states and weights.
//!
//! Weights stay in Keras's layout everywhere: `kernel` is `(features, 4·units)` with the
//! columns in the order **i f c o**.

// For what the tests share.
#[cfg(test)]
extern crate self as ifco_cell;

mod activation;
mod cell;
mod engine;
mod gate;
mod layer;
pub mod machine;
mod math;
pub mod packing;
mod precision;
pub mod reference;
mod session;
mod trace;
mod training;
mod weights;

pub use activation::Activation;
pub use cell::{Cell, CellKind, GruCell, LstmCell, LstmOptions, LstmOptionsError, SimpleRnnCell};
pub use engine::pool::{join, set_threads, threads};
pub use engine::simd::{InstructionSetError, instruction_set};
pub use gate::{Gate, GruGate};
pub use layer::{ForwardError, RecurrentLayer, Sequence, SequenceOptions, SequenceOutput};
pub use precision::{Precision, PrecisionError};
pub use session::{Session, SessionError};
pub use trace::{
    ArrayDigest, Change, Digest, DigestBuilder, Flow, FlowDigest, FlowDigestBuilder, GradientTrace,
    Memory, Passage, Trace, TraceOptions, UnitDigest,
};
pub use training::{
    BackwardOptions, CellGradients, Dropout, Gradients, NormGradients, SequenceGradient, Tape,
    TapeOptions, TrainingMemory,
};
pub use weights::{
    GruWeights, LayerNorm, LstmWeights, Norm, NormedSums, SimpleRnnWeights, WeightsError,
};
