//! `Dot`: for each sample the products of two inputs, summed over one axis of each.

use super::normalization::scale_to_unit;
use super::support::{
    elements, known, matrix, output_shape, permuted, product, resolve_axis, tensor, wrong_input,
};
use crate::{Call, Config, ConfigError, Generation, Layer, LayerError, Shape, Tensor};

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
        let axis = self.axis(index, &known(shape))?;
        let mut order: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
        let sizes: Vec<usize> = order[1..].iter().map(|axis| shape[*axis]).collect();
        order.push(axis);
        let (rows, common) = (elements(&sizes)?, shape[axis]);
        let mut values = permuted(input.view(), &order);
        if self.normalize && common > 0 {
            let min_length = match self.generation {
                Generation::Keras3 => 1e-7,
                _ => 1e-6,
            };
            for row in values.chunks_exact_mut(common) {
                scale_to_unit(row, min_length);
            }
        }
        Ok((values, rows, common))
    }
}
