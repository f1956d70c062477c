//! `Dot`: for each sample the products of two inputs, summed over one axis of each.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayD, Axis};

use super::support::{elements, matrix, output_shape, permuted, resolve_axis, tensor, wrong_input};
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
        let (x, y) = (self.operand(0, x)?, self.operand(1, y)?);
        let batch = shape[0];
        let common = x.shape()[x.ndim() - 1];
        let rows = elements(&x.shape()[1..x.ndim() - 1])?;
        let columns = elements(&y.shape()[1..y.ndim() - 1])?;
        let mut output = vec![0.0; elements(&shape)?];
        if !output.is_empty() {
            for (sample, output) in output
                .chunks_exact_mut(rows * columns)
                .enumerate()
                .take(batch)
            {
                let (x, y) = (x.index_axis(Axis(0), sample), y.index_axis(Axis(0), sample));
                let (Some(x), Some(y)) = (x.to_slice(), y.to_slice()) else {
                    return Err(LayerError::Other(
                        "a Dot's inputs must be contiguous".into(),
                    ));
                };
                let x = matrix(rows, common, x)?;
                let y = matrix(columns, common, y)?;
                let mut output = ndarray::ArrayViewMut2::from_shape((rows, columns), output)
                    .map_err(|error| LayerError::Other(error.to_string()))?;
                general_mat_mul(1.0, &x, &y.t(), 0.0, &mut output);
            }
        }
        Ok(vec![tensor(&shape, output)?])
    }
}

impl Dot {
    /// An input with the axis of the sum as its last, and of length 1 along it if asked for.
    fn operand(&self, index: usize, input: &Tensor) -> Result<ArrayD<f32>, LayerError> {
        let shape = super::support::known(input.shape());
        let axis = self.axis(index, &shape)?;
        let mut order: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
        order.push(axis);
        let mut operand = permuted(input.view(), &order);
        if self.normalize {
            let epsilon = match self.generation {
                Generation::Keras3 => 1e-7_f32,
                _ => 1e-6,
            };
            for mut row in operand.rows_mut() {
                super::normalization::scale_to_unit(row.as_slice_mut().unwrap_or(&mut []), epsilon);
            }
        }
        Ok(operand)
    }
}
