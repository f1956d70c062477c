//! Pictures of a recurrent layer: how Keras packs its weights, and what its gates do with an input.

pub mod color;
pub mod plot;
