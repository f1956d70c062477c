//! Products of row-major matrices, whole, by the kernels of the forward pass.

use std::ops::Range;

use ndarray::ArrayView2;

use super::super::arithmetic::Arithmetic;
use super::super::buffer::{Buffer, LINE};
use super::super::panels::Layout;
use super::super::pool::{join, threads};
use super::super::product::{Part, Product, Rows, Start, Sums, VECTORS};
use super::super::simd::Isa;
use super::super::traffic::{Ahead, Passing};

/// Rows of a product that go through all panels together: they stay near while the panels pass.
const ROWS_TOGETHER: usize = 96;

/// So deep a panel stays near while the rows pass. What is deeper comes in parts, of the same sums.
const DEPTH_TOGETHER: usize = 512;

/// So many multiplications, and rows, are worth a thread of their own. Few under Miri, which has no
/// time for large products, but is to see what threads do.
const WORTH_A_THREAD: usize = if cfg!(miri) { 1 << 9 } else { 1 << 19 };
const ROWS_OF_A_THREAD: usize = 6;

/// What the sums of a product start from.
#[derive(Clone, Copy)]
pub(super) enum Onto<'a> {
    /// A value for each column, in every row.
    Bias(&'a [f32]),
    /// What is there.
    Sums,
}

/// The rows that are multiplied: the k-th value of the i-th is at `i·row + k·step`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    values: &'a [f32],
    row: usize,
    step: usize,
}

impl<'a> Left<'a> {
    /// Rows so far apart.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self {
            values,
            row: stride,
            step: 1,
        }
    }

    /// The columns of rows so far apart.
    pub(super) fn columns(values: &'a [f32], stride: usize) -> Self {
        Self {
            values,
            row: 1,
            step: stride,
        }
    }

    /// Without the first rows.
    fn from(self, rows: usize) -> Self {
        Self {
            values: &self.values[(rows * self.row).min(self.values.len())..],
            ..self
        }
    }
}

/// A matrix to multiply with: packed, `(depth, columns)`.
pub(super) struct Factor {
    isa: Isa,
    layout: Layout,
    values: Buffer,
    depth: usize,
}

/// Some gates of a fused matrix whose columns are as many units for each gate.
#[derive(Clone)]
pub(super) struct Gates<'a> {
    pub(super) matrix: ArrayView2<'a, f32>,
    pub(super) gates: Range<usize>,
    pub(super) units: usize,
    /// Units in whole vectors.
    pub(super) wide: usize,
}

/// How a product is done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// From the last panel to the first: what the cache still holds from the last time is read
    /// first.
    pub(super) from_end: bool,
    /// What comes nearer meanwhile.
    pub(super) soon: Soon,
}

/// Values that are needed soon: to be read, or to be written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Soon {
    at: *const f32,
    values: usize,
}

// SAFETY: nothing is read from there or written to it.
unsafe impl Send for Soon {}
// SAFETY: as above.
unsafe impl Sync for Soon {}

/// More than so many would push the weights out of the cache.
const MOST_SOON: usize = 16 << 10;

impl Default for Soon {
    /// Nothing.
    fn default() -> Self {
        Self::new(std::ptr::null(), 0)
    }
}

impl Soon {
    /// So many values from `at` on, of which nobody promises anything: they are only asked for.
    pub(super) fn new(at: *const f32, values: usize) -> Self {
        match values <= MOST_SOON {
            true => Self { at, values },
            false => Self::default(),
        }
    }
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

    /// How many values a row of the product has.
    pub(super) fn columns(&self) -> usize {
        self.layout.panels() * self.layout.width()
    }

    /// Of some gates, each in whole vectors.
    pub(super) fn of_gates(isa: Isa, of: &Gates<'_>) -> Self {
        let mut factor = Self::empty(isa, of.gates.len() * of.wide);
        let (width, lanes) = (factor.layout.width(), factor.layout.lanes());
        factor.depth = of.matrix.nrows();
        factor.values = Buffer::zeros(factor.depth * factor.columns());
        if of.matrix.is_empty() {
            return factor;
        }
        let matrix = of.matrix.as_standard_layout();
        let (from, stride) = (matrix.as_slice().unwrap_or_default(), matrix.ncols());
        let panels = factor.values.as_mut_slice();
        for first in (0..of.gates.len() * of.wide).step_by(lanes) {
            let (gate, unit) = (of.gates.start + first / of.wide, first % of.wide);
            let count = lanes.min(of.units.saturating_sub(unit));
            if count == 0 {
                continue;
            }
            let to = &mut panels[first / width * factor.depth * width + first % width..];
            let from = from[gate * of.units + unit..].chunks(stride);
            for (to, from) in to.chunks_mut(width).zip(from) {
                to[..count].copy_from_slice(&from[..count]);
            }
        }
        factor
    }

    /// Of some gates turned, `(gates · wide, rows)`: the rows in whole vectors.
    pub(super) fn of_turned_gates(isa: Isa, of: &Gates<'_>) -> Self {
        let rows = of.matrix.nrows();
        let mut factor = Self::empty(isa, rows.next_multiple_of(Isa::best().lanes()));
        let width = factor.layout.width();
        factor.depth = of.gates.len() * of.wide;
        factor.values = Buffer::zeros(factor.depth * factor.columns());
        let matrix = of.matrix.as_standard_layout();
        let (from, stride) = (matrix.as_slice().unwrap_or_default(), matrix.ncols());
        let panel_size = (factor.depth * width).max(1);
        let panels = factor.values.as_mut_slice().chunks_exact_mut(panel_size);
        for (panel, to) in panels.enumerate() {
            let end = rows.min((panel + 1) * width);
            for (place, gate) in of.gates.clone().enumerate() {
                let to = &mut to[place * of.wide * width..];
                for first in (panel * width..end).step_by(BLOCK) {
                    let from = &from[first * stride + gate * of.units..];
                    let to = &mut to[first - panel * width..];
                    turn(
                        (from, stride),
                        (to, width),
                        BLOCK.min(end - first),
                        of.units,
                    );
                }
            }
        }
        factor
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

    /// `out = onto + left·matrix` for so many rows; those of `out` are `out_stride` apart.
    pub(super) fn multiply(
        &self,
        left: Left<'_>,
        count: usize,
        onto: Onto<'_>,
        out: (&mut [f32], usize),
    ) {
        self.multiply_as(left, count, onto, out, How::default());
    }

    /// The same, and how.
    pub(super) fn multiply_as(
        &self,
        left: Left<'_>,
        count: usize,
        onto: Onto<'_>,
        out: (&mut [f32], usize),
        how: How,
    ) {
        let terms = [Some((self, left)), None];
        self.on_threads(threads(), terms, count, onto, out, how);
    }

    /// `out = onto + left·self + other_left·other`, where `other` has as many columns.
    pub(super) fn multiply_beside(
        &self,
        left: Left<'_>,
        (other, other_left): (&Factor, Left<'_>),
        count: usize,
        onto: Onto<'_>,
        out: (&mut [f32], usize),
        how: How,
    ) {
        let terms = [Some((self, left)), Some((other, other_left))];
        self.on_threads(threads(), terms, count, onto, out, how);
    }

    /// A large product in parts, as many as there are threads to be had: of a small batch those of
    /// all steps are large. Each row is the same in any part.
    fn on_threads(
        &self,
        threads: usize,
        terms: [Option<(&Factor, Left<'_>)>; 2],
        count: usize,
        onto: Onto<'_>,
        (out, out_stride): (&mut [f32], usize),
        how: How,
    ) {
        let depth: usize = terms.iter().flatten().map(|(factor, _)| factor.depth).sum();
        let is_large = count * depth * self.columns() >= 2 * WORTH_A_THREAD;
        if threads < 2 || count < 2 * ROWS_OF_A_THREAD || !is_large {
            self.multiply_two(terms, count, onto, (out, out_stride), how);
            return;
        }
        let here = threads / 2;
        let half = count * here / threads;
        let rest = terms.map(|term| term.map(|(factor, left)| (factor, left.from(half))));
        let (out, out_rest) = out.split_at_mut(half * out_stride);
        join(
            || self.on_threads(here, terms, half, onto, (out, out_stride), how),
            || {
                let (there, count) = (threads - here, count - half);
                self.on_threads(there, rest, count, onto, (out_rest, out_stride), how);
            },
        );
    }

    fn multiply_two(
        &self,
        terms: [Option<(&Factor, Left<'_>)>; 2],
        count: usize,
        onto: Onto<'_>,
        (out, out_stride): (&mut [f32], usize),
        how: How,
    ) {
        let (width, columns) = (self.layout.width(), self.columns());
        if count == 0 || columns == 0 {
            return;
        }
        for (factor, left) in terms.iter().flatten() {
            let last = (count - 1) * left.row + factor.depth.saturating_sub(1) * left.step;
            assert!(factor.depth == 0 || left.values.len() > last, "rows");
            assert!(
                factor.columns() == columns && factor.isa == self.isa,
                "terms"
            );
        }
        assert!(out.len() >= (count - 1) * out_stride + columns, "sums");
        if let Onto::Bias(bias) = onto {
            assert!(bias.len() >= columns, "bias");
        }
        for first in (0..count).step_by(ROWS_TOGETHER) {
            let at = out[first * out_stride..].as_mut_ptr();
            let start = |onto: Onto<'_>| {
                std::array::from_fn::<_, VECTORS, _>(|vector| {
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
                })
            };
            let part = |(factor, left): (&Factor, Left<'_>)| Part {
                rows: Rows {
                    at: left.values[(first * left.row).min(left.values.len())..].as_ptr(),
                    stride: left.row,
                },
                panels: factor.values.as_slice().as_ptr(),
                panel_stride: factor.depth * width,
                depth: factor.depth,
                step: left.step,
            };
            let whole = terms.map(|term| term.map_or(Part::NONE, part));
            let product = |parts: [Part; 2], onto: Onto<'_>| {
                let product = Product {
                    start: start(onto),
                    parts,
                    sums: Sums {
                        at,
                        stride: out_stride,
                        panel_stride: width,
                    },
                    rows: ROWS_TOGETHER.min(count - first),
                    panels: self.layout.panels(),
                    vectors: self.layout.vectors(),
                    arithmetic: Arithmetic::Singles,
                    from_end: how.from_end,
                };
                // A row of the product asks for its part of them.
                let values = how
                    .soon
                    .values
                    .div_ceil(product.rows)
                    .next_multiple_of(LINE);
                let passing = Passing {
                    ahead: Ahead::new(how.soon.at, values, values as isize, product.panels),
                    ..Passing::NONE
                };
                // SAFETY: rows, sums and bias are as long as was asserted above, the panels are as
                // they were packed, and `out` is borrowed for writing.
                unsafe { product.run_beside(self.isa, &passing) };
            };
            if whole.iter().all(|part| part.depth <= DEPTH_TOGETHER) {
                product(whole, onto);
                continue;
            }
            let mut onto = onto;
            for part in whole {
                let mut rest = part;
                while rest.depth > 0 {
                    let depth = rest.depth.min(DEPTH_TOGETHER);
                    product([rest.to(depth), Part::NONE], onto);
                    onto = Onto::Sums;
                    rest = rest.from(depth, width);
                }
            }
        }
    }
}

/// Rows that are turned together.
const BLOCK: usize = 16;

/// Turns up to [`BLOCK`] rows of so many values: `to[column·to_stride + row] = from[row·stride +
/// column]`.
fn turn(
    (from, stride): (&[f32], usize),
    (to, to_stride): (&mut [f32], usize),
    rows: usize,
    columns: usize,
) {
    if rows < BLOCK {
        for row in 0..rows {
            let from = &from[row * stride..][..columns];
            for (column, value) in from.iter().enumerate() {
                to[column * to_stride + row] = *value;
            }
        }
        return;
    }
    let all: [&[f32]; BLOCK] = std::array::from_fn(|row| &from[row * stride..][..columns]);
    for (column, to) in to.chunks_mut(to_stride).take(columns).enumerate() {
        let turned: [f32; BLOCK] = std::array::from_fn(|row| all[row][column]);
        to[..BLOCK].copy_from_slice(&turned);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn numbers(rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, k)| {
            ((i * 31 + k * 17) % 23) as f32 / 8.0 - 1.0
        })
    }

    #[test]
    fn gates_are_packed_and_turned() {
        // More than one panel, one block and one part of the depth; columns that fill no vector.
        let sizes = match cfg!(miri) {
            true => [(5, 3, 0..4), (18, 9, 1..3), (520, 1, 0..1)],
            false => [(5, 3, 0..4), (70, 21, 1..3), (600, 160, 0..4)],
        };
        for (rows, units, gates) in sizes {
            let matrix = numbers(rows, 4 * units);
            let wide = units.next_multiple_of(Isa::best().lanes());
            let of = Gates {
                matrix: matrix.view(),
                gates: gates.clone(),
                units,
                wide,
            };
            let count = if cfg!(miri) { 2 } else { 7 };
            let left = numbers(count, rows);
            let factor = Factor::of_gates(Isa::best(), &of);
            let mut out = vec![9.0; count * factor.columns()];
            let (stride, bias) = (factor.columns(), vec![1.0; factor.columns()]);
            let by_rows = Left::rows(left.as_slice().unwrap_or_default(), rows);
            factor.multiply(by_rows, count, Onto::Bias(&bias), (&mut out, stride));
            let right = left.dot(&matrix) + 1.0;
            let turned = left.t().as_standard_layout().into_owned();
            let mut again = vec![1.0; count * stride];
            let by_columns = Left::columns(turned.as_slice().unwrap_or_default(), count);
            factor.multiply(by_columns, count, Onto::Sums, (&mut again, stride));
            assert_eq!(again, out);
            for i in 0..count {
                for (place, gate) in gates.clone().enumerate() {
                    for unit in 0..units {
                        let found = out[i * stride + place * wide + unit];
                        let right = right[[i, gate * units + unit]];
                        assert!((found - right).abs() <= 1e-4 * right.abs().max(1.0));
                    }
                }
            }

            let factor = Factor::of_turned_gates(Isa::best(), &of);
            let left = numbers(count, gates.len() * wide);
            let mut out = vec![0.0; count * factor.columns()];
            let (stride, by_rows) = (factor.columns(), left.as_slice().unwrap_or_default());
            let by_rows = Left::rows(by_rows, gates.len() * wide);
            factor.multiply(by_rows, count, Onto::Sums, (&mut out, stride));
            for i in 0..count {
                for row in 0..rows {
                    let terms = gates.clone().enumerate().flat_map(|(place, gate)| {
                        let left = &left;
                        let matrix = &matrix;
                        (0..units).map(move |unit| {
                            left[[i, place * wide + unit]] * matrix[[row, gate * units + unit]]
                        })
                    });
                    let right: f32 = terms.sum();
                    assert!((out[i * stride + row] - right).abs() <= 1e-3 * right.abs().max(1.0));
                }
            }
        }
    }
}
