//! Shapes that Keras lets differ, and how they are brought together.

use std::borrow::Cow;

use ndarray::{ArrayViewD, Axis, IxDyn};

/// Keras's rule for two arrays whose ranks differ by one: a last axis of length 1 is dropped from
/// the larger, or, where the smaller has one axis, added to it.
///
/// ```text
/// (batch,)      and (batch, 1)        become (batch, 1)    and (batch, 1)
/// (batch, time) and (batch, time, 1)  become (batch, time) and (batch, time)
/// ```
pub(crate) fn drop_or_add_last_axis<'a, 'b, A, B>(
    one: ArrayViewD<'a, A>,
    other: ArrayViewD<'b, B>,
) -> (ArrayViewD<'a, A>, ArrayViewD<'b, B>) {
    if one.ndim() == other.ndim() + 1 {
        let (one, other) = fitted(one, other);
        return (one, other);
    }
    if other.ndim() == one.ndim() + 1 {
        let (other, one) = fitted(other, one);
        return (one, other);
    }
    (one, other)
}

fn fitted<'a, 'b, A, B>(
    larger: ArrayViewD<'a, A>,
    smaller: ArrayViewD<'b, B>,
) -> (ArrayViewD<'a, A>, ArrayViewD<'b, B>) {
    if larger.shape().last() != Some(&1) {
        return (larger, smaller);
    }
    if smaller.ndim() == 1 {
        return (larger, smaller.insert_axis(Axis(1)));
    }
    let last = Axis(larger.ndim() - 1);
    (larger.index_axis_move(last, 0), smaller)
}

/// The elements in row-major order, copied only where they do not lie so.
pub(crate) fn standard<'a, A: Clone>(array: &'a ArrayViewD<'_, A>) -> Cow<'a, [A]> {
    match array.as_slice() {
        Some(elements) => Cow::Borrowed(elements),
        None => Cow::Owned(array.iter().cloned().collect()),
    }
}

/// The shape that both broadcast to, as in NumPy; `None` when there is none.
pub(crate) fn common_shape(one: &[usize], other: &[usize]) -> Option<IxDyn> {
    let rank = one.len().max(other.len());
    let at = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(own) => shape[own],
        None => 1,
    };
    let lengths: Option<Vec<usize>> = (0..rank)
        .map(|axis| match (at(one, axis), at(other, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect();
    lengths.map(|lengths| IxDyn(&lengths))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, Dimension};

    #[test]
    fn ranks_that_differ_by_one() {
        let shapes = |one: &[usize], other: &[usize]| {
            let (one, other) = (ArrayD::<f32>::zeros(one), ArrayD::<f32>::zeros(other));
            let (one, other) = drop_or_add_last_axis(one.view(), other.view());
            (one.shape().to_vec(), other.shape().to_vec())
        };
        assert_eq!(shapes(&[4], &[4, 1]), (vec![4, 1], vec![4, 1]));
        assert_eq!(shapes(&[4, 1], &[4]), (vec![4, 1], vec![4, 1]));
        assert_eq!(shapes(&[4, 3], &[4, 3, 1]), (vec![4, 3], vec![4, 3]));
        assert_eq!(shapes(&[4, 3, 1], &[4, 3]), (vec![4, 3], vec![4, 3]));
        assert_eq!(shapes(&[4], &[4, 3]), (vec![4], vec![4, 3]));
    }

    #[test]
    fn broadcasting() {
        let common = |one: &[usize], other: &[usize]| {
            common_shape(one, other).map(|shape| shape.as_array_view().to_vec())
        };
        assert_eq!(common(&[4, 1], &[3]), Some(vec![4, 3]));
        assert_eq!(common(&[], &[2]), Some(vec![2]));
        assert_eq!(common(&[4], &[3]), None);
    }
}
