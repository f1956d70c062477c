//! Weights in the order in which the kernels read them.
//!
//! A panel is some vectors of columns of a matrix; of an LSTM the four gates of one block of
//! units, side by side:
//!
//! ```text
//! [panel][row k][vector][lane]        vector: gate i, f, c or o;  lane: unit of the block
//! ```
//!
//! so that a kernel reads a panel from its beginning to its end, and has all that a unit needs
//! when it is through. Columns beyond the last unit are zeros. Of narrower numbers than `f32` a
//! "row" is a row of words, each with the values of two or four rows (see [`arithmetic`]).
//!
//! [`arithmetic`]: super::arithmetic

use ndarray::ArrayView2;

use super::arithmetic::Arithmetic;
use super::buffer::Buffer;
use super::product::{Part, Rows, VECTORS};
use super::simd::Isa;

/// A matrix as panels.
#[derive(Debug, Clone)]
pub(super) struct Panels {
    values: Buffer,
    arithmetic: Arithmetic,
    /// Rows of the matrix.
    depth: usize,
    /// Words of a panel.
    stride: usize,
}

/// Which columns make a panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Gates side by side in a panel, as they are in the matrix. One: the panel has several
    /// vectors of the same gate, where there are so many units.
    gates: usize,
    /// Where the first gate begins.
    first: usize,
    /// Columns of a gate.
    pub(super) units: usize,
    /// Values in a vector.
    lanes: usize,
    vectors: usize,
    /// What the columns of each gate are multiplied by.
    factors: [f32; VECTORS],
}

impl Layout {
    /// Some gates of a fused matrix, the first at column `first`: a panel for each block of units.
    pub(super) fn gates(gates: usize, first: usize, units: usize, lanes: usize) -> Self {
        Self {
            gates,
            first,
            units,
            lanes,
            vectors: gates,
            factors: [1.0; VECTORS],
        }
    }

    /// The same with the columns of each gate multiplied by its factor.
    pub(super) fn times(self, factors: impl IntoIterator<Item = f32>) -> Self {
        let mut all = self;
        for (factor, given) in all.factors.iter_mut().zip(factors) {
            *factor = given;
        }
        all
    }

    /// `units` columns from `first` on: a panel for up to four blocks.
    pub(super) fn plain(first: usize, units: usize, lanes: usize) -> Self {
        let blocks = units.div_ceil(lanes);
        // The most vectors for the least padding.
        let vectors = (1..=4)
            .min_by_key(|vectors| (blocks.next_multiple_of(*vectors), 4 - vectors))
            .unwrap_or(1);
        Self {
            gates: 1,
            first,
            units,
            lanes,
            vectors,
            factors: [1.0; VECTORS],
        }
    }

    /// How many panels.
    pub(super) fn panels(&self) -> usize {
        self.units
            .div_ceil(self.lanes)
            .div_ceil(self.vectors / self.gates)
    }

    /// Units of a panel.
    pub(super) fn panel_units(&self) -> usize {
        self.lanes * self.vectors / self.gates
    }

    /// Vectors in a panel.
    pub(super) fn vectors(&self) -> usize {
        self.vectors
    }

    /// Values in a row of a panel.
    pub(super) fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Values in a vector.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// The values of a row of sums, `stride` apart from panel to panel, as the columns of the
    /// matrix, from the first of the layout's on.
    ///
    /// # Safety
    /// There is a row of values at each `sums + panel·stride`.
    pub(super) unsafe fn unpack_row(&self, sums: *const f32, stride: usize, row: &mut [f32]) {
        for panel in 0..self.panels() {
            for vector in 0..self.vectors {
                let (unit, column, _) = self.vector(panel, vector);
                let count = self.lanes.min(self.units.saturating_sub(unit));
                if count > 0 {
                    // SAFETY: the caller's promise.
                    let from = unsafe {
                        let at = sums.add(panel * stride + vector * self.lanes);
                        std::slice::from_raw_parts(at, count)
                    };
                    row[column - self.first..][..count].copy_from_slice(from);
                }
            }
        }
    }

    /// The unit that begins a vector of a panel, the column where that vector begins, and what its
    /// columns are multiplied by.
    fn vector(&self, panel: usize, vector: usize) -> (usize, usize, f32) {
        let (block, gate) = match self.gates {
            1 => (panel * self.vectors + vector, 0),
            _ => (panel, vector),
        };
        let unit = block * self.lanes;
        let column = self.first + gate * self.units + unit;
        (unit, column, self.factors[gate])
    }

    /// A row of values in the order of the panels.
    fn pack_row(&self, row: &[f32], panel: usize, to: &mut [f32]) {
        for (vector, to) in to.chunks_exact_mut(self.lanes).enumerate() {
            let (unit, column, factor) = self.vector(panel, vector);
            let count = self.lanes.min(self.units.saturating_sub(unit));
            if count > 0 {
                let row = &row[column..column + count];
                to.iter_mut().zip(row).for_each(|(to, w)| *to = factor * w);
            }
        }
    }

    /// The bias, or zeros: `[panel][vector][lane]`.
    pub(super) fn pack_bias(&self, bias: Option<&[f32]>) -> Buffer {
        let width = self.vectors * self.lanes;
        let mut packed = Buffer::lasting_zeros(self.panels() * width);
        if let Some(bias) = bias {
            for (panel, to) in packed
                .as_mut_slice()
                .chunks_exact_mut(width)
                .take(self.panels())
                .enumerate()
            {
                self.pack_row(bias, panel, to);
            }
        }
        packed
    }

    /// The columns of a row-major matrix, `[row k][vector][lane]`, of one panel.
    fn pack_panel(&self, matrix: ArrayView2<'_, f32>, panel: usize, to: &mut [f32]) {
        for (to, row) in to.chunks_exact_mut(self.width()).zip(matrix.rows()) {
            match row.as_slice() {
                Some(row) => self.pack_row(row, panel, to),
                None => self.pack_row(&row.to_vec(), panel, to),
            }
        }
    }

    /// The columns of a row-major matrix.
    pub(super) fn pack(&self, matrix: ArrayView2<'_, f32>, arithmetic: Arithmetic) -> Panels {
        let (depth, width) = (matrix.nrows(), self.width());
        let stride = arithmetic.column(depth) * width;
        let mut values = Buffer::lasting_zeros(self.panels() * stride);
        let mut wide = Vec::new();
        for panel in 0..self.panels() {
            let to = &mut values.as_mut_slice()[panel * stride..][..stride];
            if arithmetic == Arithmetic::Singles {
                self.pack_panel(matrix, panel, to);
            } else {
                wide.clear();
                wide.resize(depth * width, 0.0);
                self.pack_panel(matrix, panel, &mut wide);
                arithmetic.encode(&wide, width, to);
            }
        }
        Panels {
            values,
            arithmetic,
            depth,
            stride,
        }
    }
}

impl Panels {
    /// The product of some rows, as [`rows`](Self::rows) gives them, with the panels from `first`
    /// on.
    pub(super) fn part(&self, first: usize, rows: Rows) -> Part {
        Part {
            rows,
            panels: self.values.as_slice()[first * self.stride..].as_ptr(),
            panel_stride: self.stride,
            depth: self.arithmetic.words(self.depth),
            step: 1,
        }
    }

    /// Rows as the products with these panels read them: as they are, or converted, at `to`.
    ///
    /// # Safety
    /// There are `count` rows of values, and place for `count` times
    /// [`row_stride`](Self::row_stride) at `to`.
    #[inline]
    pub(super) unsafe fn rows(&self, isa: Isa, rows: Rows, count: usize, to: *mut f32) -> Rows {
        // SAFETY: the caller's promise.
        unsafe { self.arithmetic.rows(isa, rows, count, self.depth, to) }
    }

    /// From one row of converted values to the next; 0 where rows are read as they are.
    pub(super) fn row_stride(&self) -> usize {
        self.arithmetic.row_stride(self.depth)
    }

    /// What the products are made of.
    pub(super) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}
