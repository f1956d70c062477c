//! Softmax and the normalizations.

use ifco_cell::Activation;
use ndarray::{ArrayD, Axis};

use super::elementwise::binary;
use super::operator::{Operands, Outputs};
use crate::layers::along;
use crate::{Array, LayerError};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    match operands.op() {
        "Softmax" => softmax(operands, Activation::Softmax),
        "LogSoftmax" => softmax(operands, Activation::LogSoftmax),
        "LayerNormalization" => layer(operands),
        "BatchNormalization" => batch(operands),
        _ => Ok(None),
    }
}

/// Along one axis; before opset 13, over all axes from one on.
fn softmax(operands: &Operands<'_>, activation: Activation) -> Outputs {
    let x = operands.need(0)?;
    let is_old = operands.node.opset < 13;
    let default = if is_old { 1 } else { -1 };
    let axis = operands.axis(operands.node.int_or("axis", default)?, x.ndim())?;
    let axes: Vec<usize> = match is_old {
        true => (axis..x.ndim()).collect(),
        false => vec![axis],
    };
    let result = along(x.view(), &axes, |row| activation.apply(row))?;
    Ok(Some(vec![result.into()]))
}

/// `(x − mean) / √(variance + epsilon) · scale + bias` over the axes from `axis` on.
fn layer(operands: &Operands<'_>) -> Outputs {
    let x = operands.need(0)?;
    let axis = operands.axis(operands.node.int_or("axis", -1)?, x.ndim())?;
    let epsilon = operands.node.float_or("epsilon", 1e-5)?;
    let axes: Vec<usize> = (axis..x.ndim()).collect();
    if operands.node.outputs > 1 {
        return Err(LayerError::Other("only its first output is known".into()));
    }
    let normal = along(x.view(), &axes, |row| {
        let count = row.len() as f32;
        let mean = row.iter().sum::<f32>() / count;
        let squares = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        let factor = (squares / count + epsilon).sqrt().recip();
        row.iter_mut().for_each(|x| *x = (*x - mean) * factor);
    })?;
    let mut result: Array = normal.into();
    result = binary(operands, &result, operands.need(1)?, |x, scale| x * scale)?;
    if let Some(bias) = operands.get(2) {
        result = binary(operands, &result, bias, |x, bias| x + bias)?;
    }
    if result.shape() != x.shape() {
        return Err(LayerError::Other(
            "its scale or bias is larger than its input".into(),
        ));
    }
    Ok(Some(vec![result]))
}

/// With the moving mean and variance, per channel: axis 1.
fn batch(operands: &Operands<'_>) -> Outputs {
    if operands.node.int_or("training_mode", 0)? != 0 || operands.node.outputs > 1 {
        return Err(LayerError::Other("it is in training mode".into()));
    }
    let mut result: ArrayD<f32> = operands.need(0)?.to_owned().into_owned();
    let channels = result.shape().get(1).copied().unwrap_or(1);
    let epsilon = operands.node.float_or("epsilon", 1e-5)?;
    let vector = |index: usize| {
        let vector = operands.need(index)?;
        match vector.shape() == [channels] {
            true => Ok(vector),
            false => Err(LayerError::Input {
                input: index,
                found: crate::layers::display_sizes(vector.shape()),
                expected: format!("({channels},), one for each channel of axis 1"),
            }),
        }
    };
    let (scale, bias, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let normalize = |channel: usize, x: f32| {
        let factor = scale[[channel]] / (variance[[channel]] + epsilon).sqrt();
        (x - mean[[channel]]) * factor + bias[[channel]]
    };
    if result.ndim() < 2 {
        result.mapv_inplace(|x| normalize(0, x));
    } else {
        for (channel, mut part) in result.axis_iter_mut(Axis(1)).enumerate() {
            part.mapv_inplace(|x| normalize(channel, x));
        }
    }
    Ok(Some(vec![result.into()]))
}
