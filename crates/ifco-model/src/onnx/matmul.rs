//! Products of matrices.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayD, Axis, Dimension, Ix2, IxDyn};

use super::elementwise::binary;
use super::operator::{Operands, Outputs};
use crate::layers::{broadcast_shape, elements};
use crate::{Array, LayerError};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    match operands.op() {
        "MatMul" => Ok(Some(vec![matmul(operands)?])),
        "Gemm" => gemm(operands),
        _ => Ok(None),
    }
}

/// `alpha·A·B + beta·C`, A and B perhaps transposed.
fn gemm(operands: &Operands<'_>) -> Outputs {
    let node = operands.node;
    let matrix = |index: usize, key: &str| -> Result<_, LayerError> {
        let array = operands.need(index)?;
        let found = array.shape().to_vec();
        let matrix = array.clone().into_dimensionality::<Ix2>();
        let mut matrix = matrix.map_err(|_| wrong(index, &found, "a matrix"))?;
        if node.int_or(key, 0)? != 0 {
            matrix.swap_axes(0, 1);
        }
        Ok(matrix)
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if a.ncols() != b.nrows() {
        return Err(unfit(a.shape(), b.shape()));
    }
    operands.elements(&[a.nrows(), b.ncols()])?;
    operands.work(&[a.nrows(), a.ncols(), b.ncols()])?;
    let mut product = Array2::zeros((a.nrows(), b.ncols()));
    general_mat_mul(node.float_or("alpha", 1.0)?, &a, &b, 0.0, &mut product);
    let mut result: Array = product.into_dyn().into();
    if let Some(c) = operands.get(2) {
        let beta = node.float_or("beta", 1.0)?;
        let shape = result.shape().to_vec();
        result = binary(operands, &result, c, |x, c| x + beta * c)?;
        if result.shape() != shape {
            return Err(wrong(2, c.shape(), "one that broadcasts to the product's"));
        }
    }
    Ok(Some(vec![result]))
}

/// NumPy's matmul.
fn matmul(operands: &Operands<'_>) -> Result<Array, LayerError> {
    let (a, b) = (operands.need(0)?, operands.need(1)?);
    if a.ndim() == 0 || b.ndim() == 0 {
        return Err(unfit(a.shape(), b.shape()));
    }
    // A vector is a row on the left, a column on the right; that axis goes again in the end.
    let (a_is_vector, b_is_vector) = (a.ndim() == 1, b.ndim() == 1);
    let a = if a_is_vector {
        a.clone().insert_axis(Axis(0))
    } else {
        a.clone()
    };
    let b = if b_is_vector {
        b.clone().insert_axis(Axis(1))
    } else {
        b.clone()
    };
    let (a_rank, b_rank) = (a.ndim(), b.ndim());
    let (rows, inner) = (a.shape()[a_rank - 2], a.shape()[a_rank - 1]);
    let columns = b.shape()[b_rank - 1];
    if b.shape()[b_rank - 2] != inner {
        return Err(unfit(a.shape(), b.shape()));
    }
    let batch = broadcast_shape(&a.shape()[..a_rank - 2], &b.shape()[..b_rank - 2])
        .ok_or_else(|| unfit(a.shape(), b.shape()))?;
    let mut shape = batch.clone();
    shape.extend([rows, columns]);
    operands.work(&[operands.elements(&shape)?, inner])?;
    let result = if b_rank == 2 {
        // One matrix for all rows.
        let all = elements(&a.shape()[..a_rank - 1])?;
        let flat = a.as_standard_layout().into_owned();
        let flat = flat.into_shape_with_order((all, inner)).map_err(reshape)?;
        let kernel = b.view().into_dimensionality::<Ix2>().map_err(reshape)?;
        let mut product = Array2::zeros((all, columns));
        general_mat_mul(1.0, &flat, &kernel, 0.0, &mut product);
        product
            .into_shape_with_order(IxDyn(&shape))
            .map_err(reshape)?
    } else {
        let extended = |shape: &[usize]| {
            let mut extended = batch.clone();
            extended.extend(&shape[shape.len() - 2..]);
            IxDyn(&extended)
        };
        let views = (
            a.broadcast(extended(a.shape())),
            b.broadcast(extended(b.shape())),
        );
        let (Some(a), Some(b)) = views else {
            return Err(unfit(a.shape(), b.shape()));
        };
        let mut result = ArrayD::zeros(IxDyn(&shape));
        for index in ndarray::indices(batch.as_slice()) {
            let (mut a, mut b, mut to) = (a.view(), b.view(), result.view_mut());
            for at in index.as_array_view() {
                a = a.index_axis_move(Axis(0), *at);
                b = b.index_axis_move(Axis(0), *at);
                to = to.index_axis_move(Axis(0), *at);
            }
            let a = a.into_dimensionality::<Ix2>().map_err(reshape)?;
            let b = b.into_dimensionality::<Ix2>().map_err(reshape)?;
            let mut to = to.into_dimensionality::<Ix2>().map_err(reshape)?;
            general_mat_mul(1.0, &a, &b, 0.0, &mut to);
        }
        result
    };
    let mut result = result;
    if a_is_vector {
        result = result.index_axis_move(Axis(shape.len() - 2), 0);
    }
    if b_is_vector {
        let last = result.ndim() - 1;
        result = result.index_axis_move(Axis(last), 0);
    }
    Ok(result.into())
}

fn reshape(error: ndarray::ShapeError) -> LayerError {
    LayerError::Other(error.to_string())
}

fn unfit(a: &[usize], b: &[usize]) -> LayerError {
    LayerError::Other(format!("shapes {a:?} and {b:?} cannot be multiplied"))
}

fn wrong(input: usize, found: &[usize], expected: &str) -> LayerError {
    LayerError::Input {
        input,
        found: crate::layers::display_sizes(found),
        expected: expected.into(),
    }
}
