//! What is known of a tensor while rows are followed.

use ifco_model::onnx::{Constant, Kind};

/// What a tensor has to do with the rows of the batch.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::onnx) enum Value {
    /// Left out.
    Absent,
    /// The rows lie along `axis` of `rank` axes, and no number depends on another row.
    Rows { axis: usize, rank: usize },
    /// The first of `rank` axes holds the rows one after the other, as many places for each.
    Blocks { rank: usize },
    /// Integers, some of which may be the batch's size: a vector, or one number without axes.
    Sizes { sizes: Vec<Size>, is_number: bool },
    /// The same for any batch.
    Constant {
        shape: Vec<usize>,
        /// Of few integers, what they are.
        numbers: Option<Vec<i64>>,
    },
    /// It cannot be told.
    Mixed,
}

/// One integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::onnx) enum Size {
    Known(i64),
    /// The number of rows.
    Batch,
    /// That of an axis, not the rows', of the tensor with this number.
    Axis(usize, usize),
    /// Something else that does not depend on the number of rows.
    Other,
    Mixed,
}

impl Size {
    /// Whether it is the same for any batch.
    pub fn is_free(&self) -> bool {
        !matches!(self, Size::Batch | Size::Mixed)
    }
}

/// Longer lists of integers are no shapes.
const MOST_SIZES: usize = 64;

impl Value {
    pub fn constant(constant: &Constant) -> Self {
        let is_list = constant.kind != Kind::Float && constant.data.ndim() < 2;
        let numbers = (is_list && constant.data.len() <= MOST_SIZES)
            .then(|| constant.data.iter().map(|value| *value as i64).collect());
        Value::Constant {
            shape: constant.data.shape().to_vec(),
            numbers,
        }
    }

    pub fn sizes(sizes: Vec<Size>, is_number: bool) -> Self {
        match sizes.len() <= MOST_SIZES {
            true => Value::Sizes { sizes, is_number },
            false => Value::Mixed,
        }
    }

    /// Integers, known or not, and whether they are one without axes.
    pub fn as_sizes(&self) -> Option<(Vec<Size>, bool)> {
        match self {
            Value::Sizes { sizes, is_number } => Some((sizes.clone(), *is_number)),
            Value::Constant {
                shape,
                numbers: Some(numbers),
            } => {
                let sizes = numbers.iter().map(|number| Size::Known(*number));
                Some((sizes.collect(), shape.is_empty()))
            }
            _ => None,
        }
    }

    /// Integers that are all known.
    pub fn as_integers(&self) -> Option<Vec<i64>> {
        let (sizes, _) = self.as_sizes()?;
        let known = sizes.iter().map(|size| match size {
            Size::Known(number) => Some(*number),
            _ => None,
        });
        known.collect()
    }

    /// The sizes of what does not depend on the rows.
    pub fn as_free(&self) -> Option<Vec<usize>> {
        match self {
            Value::Constant { shape, .. } => Some(shape.clone()),
            Value::Sizes { sizes, is_number } => {
                let shape = if *is_number {
                    vec![]
                } else {
                    vec![sizes.len()]
                };
                sizes.iter().all(Size::is_free).then_some(shape)
            }
            _ => None,
        }
    }
}
