//! ONNX's operators as layers: with ONNX's semantics, not Keras's, so that a graph runs as its
//! file says.
//!
//! [`LSTM`, `GRU` and `RNN`](Recurrent) run on ifco's own cells, whose weights stand in Keras's
//! layout as everywhere; `Loop`, `Scan` and `If` run graphs of
//! their own, a [`Control`]; every other operator is an [`Operator`]. A graph's numbers are all
//! `f32`, integers and booleans too, and each tensor's [`Kind`] says which it stands for: it
//! decides whether `7 / 2` is 3.

mod activations;
mod control;
mod elementwise;
mod infer;
mod matmul;
mod node;
mod normalize;
mod operator;
mod recurrent;
mod reduce;
mod shapes;
mod windows;

pub(crate) use infer::Integers;

pub use control::{Body, BodyLayer, BodyOutput, BodyStep, Control};
pub use node::{Attribute, Constant, Kind, Node, Operand};
pub use operator::{OPERATORS, Operator};
pub use recurrent::Recurrent;
