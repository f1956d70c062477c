//! `Dot`: for each sample the products of two inputs, summed over one axis of each.

use super::normalization::{scale_to_unit, unit_backward};
use super::support::{
    elements, into_values, known, matrix, output_shape, permuted, product, resolve_axis, restored,
    tensor, wrong_input,
};
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients,
    Shape, Tensor, Training,
};

/// Keras's `Dot`. It passes on no mask.
#[derive(Debug)]
pub struct Dot {
    axes: [i64; 2],
    normalize: bool,
    generation: Generation,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let axes = match config.integers("axes")?[..] {
        [axis] => [axis, axis],
        [first, second] => [first, second],
        _ => return Err(config.invalid("axes", "one or two whole numbers")),
    };
    if axes.contains(&0) {
        return Err(config.invalid("axes", "axes other than the batch axis 0"));
    }
    Ok(Box::new(Dot {
        axes,
        normalize: config.bool_or("normalize", false)?,
        generation: config.generation,
    }))
}

impl Dot {
    fn axis(&self, input: usize, shape: &[Option<usize>]) -> Result<usize, LayerError> {
        resolve_axis(self.axes[input], shape.len())
            .filter(|axis| *axis != 0)
            .ok_or_else(|| {
                let expected = format!("a shape that has axis {}", self.axes[input]);
                wrong_input(input, shape, expected)
            })
    }
}

impl Layer for Dot {
    fn class_name(&self) -> &str {
        "Dot"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let [x, y] = inputs else {
            return Err(LayerError::Other(format!(
                "a Dot takes 2 inputs, got {}",
                inputs.len()
            )));
        };
        let axes = [self.axis(0, x)?, self.axis(1, y)?];
        let differ = |a: Option<usize>, b: Option<usize>| a.zip(b).is_some_and(|(a, b)| a != b);
        if differ(x[axes[0]], y[axes[1]]) || differ(x[0], y[0]) {
            let expected = format!(
                "input 0's {} at the batch axis and at axis {}",
                crate::display_shape(&[x[0], x[axes[0]]]),
                axes[1]
            );
            return Err(wrong_input(1, y, expected));
        }
        let mut output = x.clone();
        output.remove(axes[0]);
        output.extend(
            (1..y.len())
                .filter(|axis| *axis != axes[1])
                .map(|axis| y[axis]),
        );
        if output.len() == 1 {
            output.push(Some(1));
        }
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let shape = output_shape(self, inputs)?;
        let [x, y] = inputs else {
            return Err(LayerError::Other("a Dot takes 2 inputs".into()));
        };
        let (x, x_rows, common) = self.operand(0, x)?;
        let (y, y_rows, _) = self.operand(1, y)?;
        let mut output = Vec::with_capacity(elements(&shape)?);
        for sample in 0..shape[0] {
            let of = |rows: usize| sample * rows * common..(sample + 1) * rows * common;
            let x = matrix(x_rows, common, &x[of(x_rows)])?;
            let y = matrix(y_rows, common, &y[of(y_rows)])?;
            output.extend(product(x, y.t()));
        }
        Ok(vec![tensor(&shape, output)?])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let pair: [Tensor; 2] = [inputs[0].clone(), inputs[1].clone()];
        Ok(Forward::new(output, move |gradient| {
            let (x, x_rows, common) = self.operand(0, &pair[0])?;
            let (y, y_rows, _) = self.operand(1, &pair[1])?;
            let gradient = into_values(gradient);
            let (mut of_x, mut of_y) = (Vec::new(), Vec::new());
            for sample in 0..pair[0].shape()[0] {
                let of = |rows: usize, columns: usize| {
                    sample * rows * columns..(sample + 1) * rows * columns
                };
                let dy = matrix(x_rows, y_rows, &gradient[of(x_rows, y_rows)])?;
                of_x.extend(product(dy, matrix(y_rows, common, &y[of(y_rows, common)])?));
                of_y.extend(product(
                    dy.t(),
                    matrix(x_rows, common, &x[of(x_rows, common)])?,
                ));
            }
            Ok(LayerGradients {
                inputs: vec![
                    Some(self.operand_backward(0, &pair[0], of_x)?),
                    Some(self.operand_backward(1, &pair[1], of_y)?),
                ],
                ..LayerGradients::default()
            })
        }))
    }
}

impl Dot {
    /// An input's values with the axis of the sum as its last, and of length 1 along it if asked
    /// for; how many rows a sample has, and how long they are.
    fn operand(
        &self,
        index: usize,
        input: &Tensor,
    ) -> Result<(Vec<f32>, usize, usize), LayerError> {
        let shape = input.shape();
        let order = self.order(index, shape)?;
        let (axis, other) = (order[shape.len() - 1], &order[1..shape.len() - 1]);
        let sizes: Vec<usize> = other.iter().map(|axis| shape[*axis]).collect();
        let (rows, common) = (elements(&sizes)?, shape[axis]);
        let mut values = permuted(input.view(), &order);
        if self.normalize && common > 0 {
            for row in values.chunks_exact_mut(common) {
                scale_to_unit(row, self.min_length());
            }
        }
        Ok((values, rows, common))
    }

    /// An input's gradient, of that of what [`operand`](Self::operand) made of it.
    fn operand_backward(
        &self,
        index: usize,
        input: &Tensor,
        mut gradient: Vec<f32>,
    ) -> Result<Array, LayerError> {
        let order = self.order(index, input.shape())?;
        let common = input.shape()[order[order.len() - 1]];
        if self.normalize && common > 0 {
            let values = permuted(input.view(), &order);
            let rows = values.chunks_exact(common);
            for (x, dy) in rows.zip(gradient.chunks_exact_mut(common)) {
                unit_backward(x, self.min_length(), dy);
            }
        }
        Ok(restored(gradient, input.shape(), &order)?.into())
    }

    /// The axes of an input with that of the sum as the last.
    fn order(&self, index: usize, shape: &[usize]) -> Result<Vec<usize>, LayerError> {
        let axis = self.axis(index, &known(shape))?;
        let others = (0..shape.len()).filter(|other| *other != axis);
        Ok(others.chain([axis]).collect())
    }

    /// What a row's length is taken to be at least.
    fn min_length(&self) -> f32 {
        match self.generation {
            Generation::Keras3 => 1e-7,
            _ => 1e-6,
        }
    }
}
