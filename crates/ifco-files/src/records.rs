//! Raw data to train on and to answer about: tables with text in them, and tagged sentences.

pub mod conllu;
mod table;

pub use table::Table;
