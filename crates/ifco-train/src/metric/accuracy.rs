//! Accuracies: 1 where a prediction is right, 0 where it is not.

use ndarray::{ArrayD, ArrayView1, ArrayViewD, Axis};

use crate::TrainError;
use crate::arrays::drop_or_add_last_axis;

/// Element by element: `right(y, p)`.
pub(super) fn elementwise(
    y_true: &ArrayViewD<'_, f32>,
    y_pred: &ArrayViewD<'_, f32>,
    right: impl Fn(f32, f32) -> bool,
) -> Result<ArrayD<f32>, TrainError> {
    values(y_true, y_pred, |y, p| f32::from(right(y, p)))
}

/// Element by element, of two arrays of one shape.
pub(super) fn values(
    y_true: &ArrayViewD<'_, f32>,
    y_pred: &ArrayViewD<'_, f32>,
    f: impl Fn(f32, f32) -> f32,
) -> Result<ArrayD<f32>, TrainError> {
    let (y, p) = drop_or_add_last_axis(y_true.view(), y_pred.view());
    if y.shape() != p.shape() {
        let expected = format!("{:?}, the prediction's", p.shape());
        return Err(TrainError::shape("y_true", y.shape(), expected));
    }
    let mut values = y.to_owned();
    values.zip_mut_with(&p, |y, p| *y = f(*y, *p));
    Ok(values)
}

/// Position by position: whether the class is among the `k` best; with `None`, the first best.
///
/// `sparse` targets name classes, others have the largest number at theirs.
pub(super) fn of_classes(
    y_true: &ArrayViewD<'_, f32>,
    y_pred: &ArrayViewD<'_, f32>,
    sparse: bool,
    k: Option<usize>,
) -> Result<ArrayD<f32>, TrainError> {
    let Some(last) = y_pred.ndim().checked_sub(1) else {
        return Err(TrainError::shape("y_pred", &[], "at least one axis"));
    };
    let positions = &y_pred.shape()[..last];
    let classes: ArrayD<f32> = if sparse {
        let one_each = y_true.len() == positions.iter().product::<usize>();
        if !one_each {
            let expected = format!("{positions:?}, one class for each position");
            return Err(TrainError::shape("y_true", y_true.shape(), expected));
        }
        let elements = y_true.iter().copied().collect();
        ArrayD::from_shape_vec(positions, elements)
            .map_err(|_| TrainError::shape("y_true", y_true.shape(), "the positions'"))?
    } else {
        if y_true.shape() != y_pred.shape() {
            let expected = format!("{:?}, the prediction's", y_pred.shape());
            return Err(TrainError::shape("y_true", y_true.shape(), expected));
        }
        y_true.map_axis(Axis(last), |row| first_largest(&row) as f32)
    };
    let rows = y_pred.lanes(Axis(last));
    let right = classes.iter().zip(rows).map(|(class, row)| {
        f32::from(match k {
            None => first_largest(&row) as f32 == *class,
            Some(k) => is_among_best(*class, &row, k),
        })
    });
    let right: Vec<f32> = right.collect();
    let right = ArrayD::from_shape_vec(positions, right)
        .map_err(|_| TrainError::shape("y_true", y_true.shape(), "the positions'"))?;
    // As Keras, which drops a last axis of 1 from sparse accuracies.
    match right.shape() {
        [_, .., 1] if sparse && k.is_none() => Ok(right.index_axis_move(Axis(last - 1), 0)),
        _ => Ok(right),
    }
}

fn first_largest(row: &ArrayView1<'_, f32>) -> usize {
    let mut best = 0;
    for (k, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = k;
        }
    }
    best
}

/// As TensorFlow's `in_top_k`: fewer than `k` are larger, so that equal ones all count.
fn is_among_best(class: f32, row: &ArrayView1<'_, f32>, k: usize) -> bool {
    let whole = class >= 0.0 && class < row.len() as f32;
    if !whole || row.iter().any(|x| !x.is_finite()) {
        return false;
    }
    let own = row[class as usize];
    row.iter().filter(|x| **x > own).count() < k
}
