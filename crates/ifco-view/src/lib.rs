//! Pictures of a recurrent layer: how Keras packs its weights, and what its gates do with an input.
//!
//! [`plot`] makes SVG and PNG; [`color`] has the colours that pictures and page share.

pub mod color;
#[cfg(feature = "page")]
pub mod page;
mod parts;
pub mod plot;
pub mod words;
