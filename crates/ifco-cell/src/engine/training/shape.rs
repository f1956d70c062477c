//! A cell's sizes, its products, and its weights as they are multiplied with.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use super::super::simd::Isa;
use super::matrix::{Factor, Gates};
use super::wide;
use crate::{Activation, Cell, Dropout};

/// Gates that are one product.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) gates: Range<usize>,
    /// Where the gradients by its sums begin, in gates.
    pub(super) slot: usize,
    /// Which dropout mask is on what it reads.
    pub(super) mask: Option<usize>,
}

impl Group {
    /// The gates one by one, each with its mask, or as they are.
    fn split(self, masks: Option<usize>) -> Vec<Group> {
        match masks {
            None => vec![self],
            Some(1) => vec![Group {
                mask: Some(0),
                ..self
            }],
            Some(_) => self
                .gates
                .clone()
                .map(|gate| Group {
                    gates: gate..gate + 1,
                    slot: self.slot + gate - self.gates.start,
                    mask: Some(gate),
                })
                .collect(),
        }
    }
}

/// The sizes of a cell; rows are whole vectors long.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) isa: Isa,
    pub(super) gates: usize,
    /// Gradients by sums: as many as gates, and one more where x·W and h·U stay apart.
    pub(super) slots: usize,
    pub(super) features: usize,
    pub(super) units: usize,
    /// In whole vectors.
    pub(super) wide_features: usize,
    pub(super) wide_units: usize,
    /// Whether a kernel knows its step.
    pub(super) is_fused: bool,
    pub(super) of_x: Vec<Group>,
    pub(super) of_h: Vec<Group>,
}

impl Shape {
    pub(super) fn of(cell: &Cell, index: usize, dropout: &Dropout, isa: Isa) -> Self {
        let (features, units) = (cell.features(), cell.units());
        let gates = cell.kind().gates();
        let plain = (Activation::Tanh, Activation::Sigmoid);
        let group = |gates: Range<usize>, slot| Group {
            gates,
            slot,
            mask: None,
        };
        let (slots, is_fused, of_h) = match cell {
            Cell::Lstm(cell) => {
                let of = (cell.activation(), cell.recurrent_activation());
                (4, of == plain, vec![group(0..4, 0)])
            }
            Cell::Gru(cell) if cell.reset_after() => {
                let of = (cell.activation(), cell.recurrent_activation());
                (4, of == plain, vec![group(0..2, 0), group(2..3, 3)])
            }
            Cell::Gru(_) => (3, false, vec![group(0..2, 0), group(2..3, 2)]),
            Cell::SimpleRnn(cell) => {
                let is_fused = cell.activation() == Activation::Tanh;
                (1, is_fused, vec![group(0..1, 0)])
            }
        };
        let masks = |masks: Option<&ndarray::Array3<f32>>| masks.map(|masks| masks.dim().0);
        let of_recurrent = masks(dropout.recurrent_of(index));
        Self {
            isa,
            gates,
            slots,
            features,
            units,
            wide_features: wide(features),
            wide_units: wide(units),
            is_fused,
            of_x: group(0..gates, 0).split(masks(dropout.inputs_of(index))),
            of_h: of_h
                .into_iter()
                .flat_map(|group| group.split(of_recurrent))
                .collect(),
        }
    }

    fn gates_of<'a>(&self, matrix: ArrayView2<'a, f32>, group: &Group) -> Gates<'a> {
        Gates {
            matrix,
            gates: group.gates.clone(),
            units: self.units,
            wide: self.wide_units,
        }
    }

    /// W or U of a group, to multiply with.
    pub(super) fn factor(&self, matrix: ArrayView2<'_, f32>, group: &Group) -> Factor {
        Factor::of_gates(self.isa, &self.gates_of(matrix, group))
    }

    /// Wᵀ or Uᵀ of a group, to multiply with; its columns in whole vectors.
    pub(super) fn transposed(&self, matrix: ArrayView2<'_, f32>, group: &Group) -> Factor {
        Factor::of_turned_gates(self.isa, &self.gates_of(matrix, group))
    }

    /// Back from whole vectors: the gates side by side.
    pub(super) fn narrowed(&self, wide: &[f32], rows: usize) -> Array2<f32> {
        let mut narrow = Array2::zeros((rows, self.gates * self.units));
        let values = narrow.as_slice_mut().unwrap_or_default();
        let all = values.chunks_mut(self.units);
        for (to, from) in all.zip(wide.chunks(self.wide_units)) {
            to.copy_from_slice(&from[..self.units]);
        }
        narrow
    }

    /// A bias in whole vectors.
    pub(super) fn wide_bias(&self, bias: Option<Vec<f32>>) -> Vec<f32> {
        let mut wide = vec![0.0; self.gates * self.wide_units];
        for (to, from) in wide
            .chunks_mut(self.wide_units)
            .zip(bias.unwrap_or_default().chunks(self.units))
        {
            to[..self.units].copy_from_slice(from);
        }
        wide
    }
}

pub(super) fn recurrent_kernel(cell: &Cell) -> ArrayView2<'_, f32> {
    match cell {
        Cell::Lstm(cell) => cell.weights().fused_recurrent_kernel(),
        Cell::Gru(cell) => cell.weights().fused_recurrent_kernel(),
        Cell::SimpleRnn(cell) => cell.weights().recurrent_kernel(),
    }
}
