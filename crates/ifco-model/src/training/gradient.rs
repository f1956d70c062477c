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
/// let values = array![[1.0, 2.0], [3.0, 4.0]];
/// let gradient = Gradient::Rows { rows: vec![1, 3], values, squares: None, of: 4 };
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
        /// Where a row was read more than once: for each value the sum of the squares of what it is
        /// the sum of. TensorFlow does not add up the gradients of a row before it squares them.
        squares: Option<Array2<f32>>,
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
            Self::Rows {
                rows, values, of, ..
            } => spread(&rows, &values, of),
        }
    }

    /// What an optimizer takes for the squares of all values, where those are others: see `squares`
    /// of [`Gradient::Rows`].
    ///
    /// ```
    /// use ifco_model::Gradient;
    /// use ndarray::array;
    ///
    /// // The row 1 of 2 was read twice: 3 + 1.
    /// let (values, squares) = (array![[4.0]], Some(array![[10.0]]));
    /// let gradient = Gradient::Rows { rows: vec![1], values, squares, of: 2 };
    /// assert_eq!(gradient.dense_squares().unwrap(), array![[0.0], [10.0]].into_dyn());
    /// ```
    pub fn dense_squares(&self) -> Option<ArrayD<f32>> {
        match self {
            Self::Dense(_) => None,
            Self::Rows {
                rows, squares, of, ..
            } => Some(spread(rows, squares.as_ref()?, *of)),
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
                Self::Rows {
                    rows,
                    values,
                    squares,
                    of,
                },
                Self::Rows {
                    rows: more,
                    values: other,
                    squares: other_squares,
                    ..
                },
            ) => {
                let all: Vec<usize> = rows.iter().chain(&more).copied().collect();
                let both = |one: &Array2<f32>, other: &Array2<f32>| {
                    let both = ndarray::concatenate(Axis(0), &[one.view(), other.view()]);
                    both.map_err(|error| LayerError::Other(error.to_string()))
                };
                let squared = |values: &Array2<f32>| values.mapv(|value| value * value);
                let of_one = squares.take().unwrap_or_else(|| squared(values));
                let of_other = other_squares.unwrap_or_else(|| squared(&other));
                let (rows, values) = sums_of_rows(&all, &both(values, &other)?);
                let (_, squares) = sums_of_rows(&all, &both(&of_one, &of_other)?);
                *self = Self::Rows {
                    rows,
                    values,
                    squares: Some(squares),
                    of: *of,
                };
            }
        }
        Ok(())
    }

    /// The gradient of a table of `of` rows, of which `values` has one for each of `rows`, in any
    /// order and any number of times.
    pub(crate) fn of_rows(rows: &[usize], values: Array2<f32>, of: usize) -> Self {
        let (unique, sums) = sums_of_rows(rows, &values);
        let squares = (unique.len() < rows.len()).then(|| {
            let squared = values.mapv_into(|value| value * value);
            sums_of_rows(rows, &squared).1
        });
        Self::Rows {
            rows: unique,
            values: sums,
            squares,
            of,
        }
    }

    /// Multiplies all by a number.
    pub fn scale(&mut self, factor: f32) {
        match self {
            Self::Dense(values) => *values *= factor,
            Self::Rows {
                values, squares, ..
            } => {
                *values *= factor;
                if let Some(squares) = squares {
                    *squares *= factor * factor;
                }
            }
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

/// Which rows there are, ascending and each once, and the sums of what belongs to each.
fn sums_of_rows(rows: &[usize], values: &Array2<f32>) -> (Vec<usize>, Array2<f32>) {
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
    (unique, sums)
}

/// All rows, those that are not there zeros.
fn spread(rows: &[usize], values: &Array2<f32>, of: usize) -> ArrayD<f32> {
    let mut dense = Array2::zeros((of, values.ncols()));
    for (row, values) in rows.iter().zip(values.rows()) {
        dense.row_mut(*row).assign(&values);
    }
    dense.into_dyn()
}

impl From<ArrayD<f32>> for Gradient {
    fn from(values: ArrayD<f32>) -> Self {
        Self::Dense(values)
    }
}
