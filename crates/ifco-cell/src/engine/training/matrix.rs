//! Products of row-major matrices, whole, by the kernels of the forward pass.

use ndarray::ArrayView2;

use super::super::arithmetic::Arithmetic;
use super::super::buffer::Buffer;
use super::super::panels::Layout;
use super::super::product::{Part, Product, Rows, Start, Sums, VECTORS};
use super::super::simd::Isa;

/// Rows of a product that go through all panels together: they stay near while the panels pass.
const ROWS_TOGETHER: usize = 96;

/// What the sums of a product start from.
#[derive(Clone, Copy)]
pub(super) enum Onto<'a> {
    /// A value for each column, in every row.
    Bias(&'a [f32]),
    /// What is there.
    Sums,
}

/// A matrix to multiply with: packed, `(depth, columns)`.
pub(super) struct Factor {
    isa: Isa,
    layout: Layout,
    values: Buffer,
    depth: usize,
}

impl Factor {
    /// Of nothing yet; `columns` are whole vectors.
    pub(super) fn empty(isa: Isa, columns: usize) -> Self {
        debug_assert_eq!(columns % isa.lanes(), 0);
        Self {
            isa,
            layout: Layout::plain(0, columns, isa.lanes()),
            values: Buffer::default(),
            depth: 0,
        }
    }

    /// Of a matrix whose columns are whole vectors.
    pub(super) fn new(isa: Isa, matrix: ArrayView2<'_, f32>) -> Self {
        let mut factor = Self::empty(isa, matrix.ncols());
        let matrix = matrix.as_standard_layout();
        factor.pack(matrix.as_slice().unwrap_or_default(), matrix.ncols());
        factor
    }

    /// How many values a row of the product has.
    pub(super) fn columns(&self) -> usize {
        self.layout.panels() * self.layout.width()
    }

    /// Takes another matrix of as many columns, of rows `stride` apart.
    pub(super) fn pack(&mut self, rows: &[f32], stride: usize) {
        let (width, columns) = (self.layout.width(), self.columns());
        if columns == 0 {
            self.depth = 0;
            return;
        }
        let depth = (rows.len() + stride - columns) / stride.max(1);
        self.values.grow(depth * columns);
        self.depth = depth;
        let panels = self
            .values
            .as_mut_slice()
            .chunks_exact_mut((depth * width).max(1));
        for (panel, to) in panels.take(self.layout.panels()).enumerate() {
            let from = rows.chunks(stride);
            for (to, from) in to.chunks_exact_mut(width).zip(from) {
                to.copy_from_slice(&from[panel * width..][..width]);
            }
        }
    }

    /// `out = onto + rows·matrix` for so many rows, `stride` apart; those of `out` are `out_stride`
    /// apart.
    pub(super) fn multiply(
        &self,
        (rows, stride): (&[f32], usize),
        count: usize,
        onto: Onto<'_>,
        (out, out_stride): (&mut [f32], usize),
    ) {
        let (width, columns) = (self.layout.width(), self.columns());
        if count == 0 || columns == 0 {
            return;
        }
        assert!(rows.len() >= (count - 1) * stride + self.depth, "rows");
        assert!(out.len() >= (count - 1) * out_stride + columns, "sums");
        if let Onto::Bias(bias) = onto {
            assert!(bias.len() >= columns, "bias");
        }
        for first in (0..count).step_by(ROWS_TOGETHER) {
            let at = out[first * out_stride..].as_mut_ptr();
            let start = std::array::from_fn::<_, VECTORS, _>(|vector| {
                let offset = vector * self.layout.lanes();
                match onto {
                    Onto::Bias(bias) => Start {
                        at: bias.as_ptr().wrapping_add(offset),
                        stride: 0,
                        panel_stride: width,
                    },
                    Onto::Sums => Start {
                        at: at.wrapping_add(offset),
                        stride: out_stride,
                        panel_stride: width,
                    },
                }
            });
            let product = Product {
                start,
                parts: [
                    Part {
                        rows: Rows {
                            at: rows[first * stride..].as_ptr(),
                            stride,
                        },
                        panels: self.values.as_slice().as_ptr(),
                        panel_stride: self.depth * width,
                        depth: self.depth,
                    },
                    Part::NONE,
                ],
                sums: Sums {
                    at,
                    stride: out_stride,
                    panel_stride: width,
                },
                rows: ROWS_TOGETHER.min(count - first),
                panels: self.layout.panels(),
                vectors: self.layout.vectors(),
                arithmetic: Arithmetic::Singles,
                from_end: false,
            };
            // SAFETY: rows, sums and bias are as long as was asserted above, the panels are as
            // `pack` has filled them, and `out` is borrowed for writing.
            unsafe { product.run(self.isa) };
        }
    }
}

/// `(columns, rows)` of a matrix of so many rows, `stride` apart.
pub(super) fn transpose(
    from: &[f32],
    stride: usize,
    (rows, columns): (usize, usize),
    to: &mut [f32],
) {
    const BLOCK: usize = 16;
    for first_row in (0..rows).step_by(BLOCK) {
        let end_row = rows.min(first_row + BLOCK);
        for first in (0..columns).step_by(BLOCK) {
            for column in first..columns.min(first + BLOCK) {
                let to = &mut to[column * rows..][first_row..end_row];
                for (to, row) in to.iter_mut().zip(first_row..) {
                    *to = from[row * stride + column];
                }
            }
        }
    }
}
