//! Matrix products of row-major `f32`, for the many-row and the few-row case.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use std::ops::Range;

/// A run of columns of a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// The whole matrix.
    matrix: ArrayView2<'a, f32>,
    values: &'a [f32],
    first: usize,
    count: usize,
}

impl<'a> Columns<'a> {
    /// All columns of a matrix. The weights keep theirs row-major.
    pub(crate) fn all(matrix: ArrayView2<'a, f32>) -> Self {
        let count = matrix.ncols();
        Self::some(matrix, 0..count)
    }

    /// Some of them.
    pub(crate) fn some(matrix: ArrayView2<'a, f32>, columns: Range<usize>) -> Self {
        Self {
            matrix,
            values: matrix
                .to_slice()
                .expect("weights are kept in row-major order"),
            first: columns.start,
            count: columns.len(),
        }
    }

    fn rows(&self) -> usize {
        self.matrix.nrows()
    }

    fn row(&self, k: usize) -> &'a [f32] {
        let start = k * self.matrix.ncols() + self.first;
        &self.values[start..start + self.count]
    }

    fn view(&self) -> ArrayView2<'a, f32> {
        let Self { first, count, .. } = *self;
        self.matrix.slice_move(s![.., first..first + count])
    }
}

/// Up to this many rows a matrix product is one vector product a row: packing the weights, as a
/// matrix product does on every call, would cost more than it saves.
const FEW_ROWS: usize = 4;

/// z += x·w, where `x` has rows of `w.rows()` and `z` rows of as many columns as `w`.
pub(crate) fn add_product(x: &[f32], w: Columns<'_>, z: &mut [f32]) {
    let (inner, columns) = (w.rows(), w.count);
    if inner == 0 || columns == 0 {
        return;
    }
    let rows = z.len() / columns;
    if rows <= FEW_ROWS {
        for (x, z) in x.chunks_exact(inner).zip(z.chunks_exact_mut(columns)) {
            add_vector_product(x, w, z);
        }
        return;
    }
    let x = ArrayView2::from_shape((rows, inner), x);
    let z = ArrayViewMut2::from_shape((rows, columns), z);
    if let (Ok(x), Ok(mut z)) = (x, z) {
        general_mat_mul(1.0, &x, &w.view(), 1.0, &mut z);
    } else {
        unreachable!("scratch is a whole number of rows");
    }
}

/// z += x·w for one row: a sum of w's rows, eight at a time so that z is read and written an
/// eighth as often.
fn add_vector_product(x: &[f32], w: Columns<'_>, z: &mut [f32]) {
    let columns = z.len();
    let mut octets = x.chunks_exact(8);
    let mut k = 0;
    for factors in octets.by_ref() {
        // Slices of one length that the compiler can see: no bounds checks in the loop.
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(|j| &w.row(k + j)[..columns]);
        for (column, z) in z.iter_mut().enumerate() {
            let low = factors[0] * a[column]
                + factors[1] * b[column]
                + factors[2] * c[column]
                + factors[3] * d[column];
            let high = factors[4] * e[column]
                + factors[5] * f[column]
                + factors[6] * g[column]
                + factors[7] * h[column];
            *z += low + high;
        }
        k += 8;
    }
    for factor in octets.remainder() {
        for (z, w) in z.iter_mut().zip(w.row(k)) {
            *z += factor * w;
        }
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_are_the_matrix_product(
            rows in 0usize..12, inner in 0usize..20, columns in 1usize..20, skip in 0usize..3,
        ) {
            let x = Array2::from_shape_fn((rows, inner), |(r, k)| (r * 7 + k * 3) as f32 % 5.0 - 2.0);
            let w = Array2::from_shape_fn((inner, columns + skip), |(k, c)| (k * 5 + c) as f32 % 7.0 - 3.0);
            let mut z = Array2::from_elem((rows, columns), 1.0);
            let used = Columns::some(w.view(), skip..skip + columns);
            add_product(x.as_slice().unwrap(), used, z.as_slice_mut().unwrap());
            // Small whole numbers: exact in any order.
            prop_assert_eq!(z, x.dot(&w.slice(s![.., skip..])) + 1.0);
        }
    }
}
