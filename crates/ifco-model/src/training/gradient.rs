//! The gradient of one weight.

use ndarray::{Array2, ArrayD, Axis, Ix2};

use crate::LayerError;

/// The gradient of one weight: an array of its shape, or of a table from which a few rows were
/// read, those rows.
///
/// ```
/// use ifco_model::Gradient;
/// use ndarray::array;
///
/// // Of an embedding of 4 rows, of which the rows 1 and 3 were read.
/// let gradient = Gradient::Rows { rows: vec![1, 3], values: array![[1.0, 2.0], [3.0, 4.0]], of: 4 };
/// assert_eq!(gradient.squares(), 1.0 + 4.0 + 9.0 + 16.0);
/// let dense = gradient.into_dense();
/// assert_eq!(dense, array![[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, 4.0]].into_dyn());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Gradient {
    /// One value for each of the weight's.
    Dense(ArrayD<f32>),
    /// Zero but for a few rows.
    Rows {
        /// Which rows, ascending and each once.
        rows: Vec<usize>,
        /// Their gradients, `(rows, columns)`.
        values: Array2<f32>,
        /// How many rows the weight has.
        of: usize,
    },
}

impl Gradient {
    /// The shape of the weight.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Dense(values) => values.shape().to_vec(),
            Self::Rows { values, of, .. } => vec![*of, values.ncols()],
        }
    }

    /// All values, zeros included.
    pub fn into_dense(self) -> ArrayD<f32> {
        match self {
            Self::Dense(values) => values,
            Self::Rows { rows, values, of } => {
                let mut dense = Array2::zeros((of, values.ncols()));
                for (row, values) in rows.iter().zip(values.rows()) {
                    dense.row_mut(*row).assign(&values);
                }
                dense.into_dyn()
            }
        }
    }

    /// Adds another gradient of the same weight.
    ///
    /// # Errors
    /// When it is one of another shape.
    pub fn add(&mut self, other: Gradient) -> Result<(), LayerError> {
        if self.shape() != other.shape() {
            return Err(LayerError::Other(format!(
                "gradients of one weight have the shapes {:?} and {:?}",
                self.shape(),
                other.shape()
            )));
        }
        match (&mut *self, other) {
            (Self::Dense(sum), Self::Dense(values)) => *sum += &values,
            (Self::Dense(sum), Self::Rows { rows, values, .. }) => {
                if let Ok(mut sum) = sum.view_mut().into_dimensionality::<Ix2>() {
                    for (row, values) in rows.iter().zip(values.rows()) {
                        let mut sum = sum.row_mut(*row);
                        sum += &values;
                    }
                }
            }
            (Self::Rows { .. }, mut dense @ Self::Dense(_)) => {
                std::mem::swap(self, &mut dense);
                self.add(dense)?;
            }
            (
                Self::Rows { rows, values, of },
                Self::Rows {
                    rows: more,
                    values: other,
                    ..
                },
            ) => {
                let all: Vec<usize> = rows.iter().chain(&more).copied().collect();
                let both = ndarray::concatenate(Axis(0), &[values.view(), other.view()]);
                let both = both.map_err(|error| LayerError::Other(error.to_string()))?;
                *self = Self::of_rows(&all, both, *of);
            }
        }
        Ok(())
    }

    /// The gradient of a table of `of` rows, of which `values` has one for each of `rows`, in any
    /// order and any number of times.
    pub(crate) fn of_rows(rows: &[usize], values: Array2<f32>, of: usize) -> Self {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Stable: what is added up is added in the order in which it was read.
        order.sort_by_key(|position| rows[*position]);
        let mut unique: Vec<usize> = order.iter().map(|position| rows[*position]).collect();
        unique.dedup();
        let mut sums = Array2::zeros((unique.len(), values.ncols()));
        let mut at = 0;
        for position in order {
            if unique[at] != rows[position] {
                at += 1;
            }
            let mut sum = sums.row_mut(at);
            sum += &values.row(position);
        }
        Self::Rows {
            rows: unique,
            values: sums,
            of,
        }
    }

    /// Multiplies all by a number.
    pub fn scale(&mut self, factor: f32) {
        self.map(|value| value * factor);
    }

    /// Changes each value that may be other than zero.
    pub fn map(&mut self, with: impl Fn(f32) -> f32) {
        match self {
            Self::Dense(values) => values.mapv_inplace(with),
            Self::Rows { values, .. } => values.mapv_inplace(with),
        }
    }

    /// The sum of the squares of all values.
    pub fn squares(&self) -> f64 {
        let sum = |values: &mut dyn Iterator<Item = &f32>| {
            values.map(|value| f64::from(*value).powi(2)).sum()
        };
        match self {
            Self::Dense(values) => sum(&mut values.iter()),
            Self::Rows { values, .. } => sum(&mut values.iter()),
        }
    }
}

impl From<ArrayD<f32>> for Gradient {
    fn from(values: ArrayD<f32>) -> Self {
        Self::Dense(values)
    }
}
