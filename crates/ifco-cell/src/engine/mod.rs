//! The engine: the passes of the recurrent layers, down to the registers.
//!
//! - [`simd`]: the instruction sets, behind one trait; a kernel is written once.
//! - [`panels`]: weights in the order in which the kernels read them; [`cell`]: those of a cell.
//! - [`arithmetic`]: the numbers that products are made of, `f32` or narrower.
//! - [`product`]: rows times panels, where the time goes; [`gates`]: from sums to states;
//!   [`row`]: both at once, for a single row of an LSTM; [`traffic`]: what goes on beside them.
//! - [`by_rows`]: the longer way from sums to states, for any activation; [`extras`]: an LSTM's with
//!   options.
//! - [`plan`]: how a pass is divided; [`pool`]: the threads; [`block`]: some rows through the
//!   cells; [`sequence`]: what goes in and comes out;
//!   [`stepper`]: one step of a stream.
//! - [`training`]: the same keeping its gates, and the way back.
//!
//! How it is fast, and how to measure it: `docs/performance.md`.

// The kernels work on raw memory that several threads share; every block says why it may.
#![allow(unsafe_code)]

mod arithmetic;
mod block;
pub(crate) mod buffer;
mod by_rows;
mod cell;
pub(crate) mod extras;
mod gates;
mod panels;
mod plan;
pub(crate) mod pool;
mod product;
mod row;
mod sequence;
pub(crate) mod simd;
mod stepper;
#[cfg(test)]
mod tests;
mod traffic;
pub(crate) mod training;

pub(crate) use sequence::run;
pub(crate) use stepper::Stepper;

use crate::{Cell, Precision};
use arithmetic::Arithmetic;
use cell::PackedCell;
use simd::Isa;

/// The cells of a layer, packed: made once, shared by all who run the layer.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    isa: Isa,
    cells: Vec<PackedCell>,
}

impl Packed {
    pub(crate) fn new(cells: &[Cell], precision: Precision) -> Self {
        let most = cells.iter().map(Cell::units).max();
        Self::for_isa(cells, Isa::for_units(most.unwrap_or(0)), precision)
    }

    pub(crate) fn for_isa(cells: &[Cell], isa: Isa, precision: Precision) -> Self {
        Self::with(cells, isa, Arithmetic::new(precision, isa))
    }

    fn with(cells: &[Cell], isa: Isa, arithmetic: Arithmetic) -> Self {
        Self {
            isa,
            cells: cells
                .iter()
                .map(|cell| PackedCell::new(cell, isa, arithmetic))
                .collect(),
        }
    }
}
