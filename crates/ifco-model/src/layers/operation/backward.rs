//! The way back through an operation.

use ndarray::{ArrayD, Axis, IxDyn};

use super::super::concatenate::split_along;
use super::super::support::{reshaped, sum_to_shape};
use super::{Kind, Operation, broadcast, truth};
use crate::{Array, Call, LayerError, Tensor};

/// The derivative at x, where the operation is y.
type Slope = fn(x: f32, y: f32) -> f32;

/// The two derivatives at (a, b), where the operation is y.
type Slopes = [fn(a: f32, b: f32, y: f32) -> f32; 2];

/// Of an operation on each value; `None` where it has steps and nothing else, or stops gradients.
fn slope(class: &str) -> Option<Slope> {
    Some(match class {
        "ConvertToTensor" | "Identity" | "Cast" => |_, _| 1.0,
        "Negative" => |_, _| -1.0,
        "Abs" | "Absolute" => |x, _| truth(x > 0.0) - truth(x < 0.0),
        "Square" => |x, _| 2.0 * x,
        "Sqrt" => |_, y| 0.5 / y,
        "Exp" => |_, y| y,
        "Log" => |x, _| 1.0 / x,
        "Tanh" => |_, y| 1.0 - y * y,
        "Sigmoid" => |_, y| y * (1.0 - y),
        "Relu" => |x, _| truth(x > 0.0),
        _ => return None,
    })
}

/// Of an operation on pairs of values; `None` where it is a truth.
fn slopes(class: &str) -> Option<Slopes> {
    Some(match class {
        "Add" => [|_, _, _| 1.0, |_, _, _| 1.0],
        "Subtract" => [|_, _, _| 1.0, |_, _, _| -1.0],
        "Multiply" => [|_, b, _| b, |a, _, _| a],
        "Divide" | "TrueDivide" => [|_, b, _| 1.0 / b, |_, b, y| -y / b],
        "Power" => [
            |a, b, _| if b == 0.0 { 0.0 } else { b * a.powf(b - 1.0) },
            // TensorFlow takes the logarithm of what is not positive for 0.
            |a, _, y| if a > 0.0 { y * a.ln() } else { 0.0 },
        ],
        "Maximum" => [|a, b, _| truth(a >= b), |a, b, _| truth(a < b)],
        "Minimum" => [|a, b, _| truth(a <= b), |a, b, _| truth(a > b)],
        _ => return None,
    })
}

impl Operation {
    /// The gradients of the inputs; `None` for those on which nothing depends smoothly.
    pub(super) fn backward(
        &self,
        inputs: &[Tensor],
        call: &Call,
        y: &Array,
        gradient: Array,
    ) -> Result<Vec<Option<Array>>, LayerError> {
        let Some(first) = inputs.first() else {
            return Ok(Vec::new());
        };
        let shape = first.shape();
        Ok(match self.kind()? {
            Kind::Unary(f) => {
                // A cast to whole numbers has steps, one to other floats changes nothing.
                let slope = slope(&self.class).filter(|_| self.class != "Cast" || f(0.5) == 0.5);
                vec![slope.map(|slope| {
                    let mut slopes = first.data.to_shared();
                    slopes.zip_mut_with(y, |x, y| *x = slope(*x, *y));
                    (&slopes * &gradient).into()
                })]
            }
            Kind::Binary(_) => match (slopes(&self.class), inputs) {
                (Some(slopes), [a, b]) => self.binary_backward(slopes, [a, b], y, &gradient)?,
                _ => Vec::new(),
            },
            Kind::Reduce { axes, keepdims, .. } => {
                let mut axes = match axes {
                    Some(axes) => self.axes(axes, shape.len())?,
                    None => (0..shape.len()).collect(),
                };
                axes.sort_unstable();
                let whole = |array: &Array| {
                    let mut array = array.view();
                    for axis in axes.iter().filter(|_| !keepdims) {
                        array = array.insert_axis(Axis(*axis));
                    }
                    let array = array.broadcast(IxDyn(shape)).map(|array| array.to_owned());
                    array.ok_or_else(|| self.wrong("its gradient has another shape"))
                };
                vec![self.reduce_backward(&first.data, whole(y)?, whole(&gradient)?, &axes)]
            }
            Kind::Concatenate { axis } => {
                let axis = Axis(self.axis(*axis, shape.len())?);
                let sizes: Vec<usize> = inputs.iter().map(|x| x.shape()[axis.0]).collect();
                split_along(&gradient, axis, &sizes)
            }
            Kind::Stack { axis } => {
                let axis = Axis(self.axis(*axis, shape.len() + 1)?);
                let parts = 0..inputs.len();
                parts
                    .map(|part| Some(gradient.index_axis(axis, part).to_shared()))
                    .collect()
            }
            Kind::ExpandDims { .. } | Kind::Squeeze { .. } | Kind::Reshape { .. } => {
                vec![Some(reshaped(gradient.into_owned(), IxDyn(shape))?.into())]
            }
            Kind::Transpose { axes } => {
                let axes = match axes {
                    Some(axes) => self.axes(axes, shape.len())?,
                    None => (0..shape.len()).rev().collect(),
                };
                let mut inverse = vec![0; axes.len()];
                for (position, axis) in axes.iter().enumerate() {
                    inverse[*axis] = position;
                }
                vec![Some(gradient.permuted_axes(IxDyn(&inverse)))]
            }
            Kind::GetItem => {
                let key = call.positional.first();
                let key = key.ok_or_else(|| self.wrong("it has no key"))?;
                let mut next = 0;
                let places = ArrayD::from_shape_simple_fn(IxDyn(shape), || {
                    next += 1;
                    next - 1
                });
                let taken = self.get_item(places.view(), key)?;
                let mut of_input = vec![0.0; first.data.len()];
                for (place, dy) in taken.iter().zip(&gradient) {
                    of_input[*place] += dy;
                }
                vec![Some(super::super::support::tensor(shape, of_input)?.data)]
            }
        })
    }

    fn binary_backward(
        &self,
        slopes: Slopes,
        [a, b]: [&Tensor; 2],
        y: &Array,
        gradient: &Array,
    ) -> Result<Vec<Option<Array>>, LayerError> {
        let whole = |tensor: &Tensor| {
            let nothing = ArrayD::zeros(y.raw_dim());
            broadcast(&tensor.view(), &nothing.view(), |x, _| x)
                .ok_or_else(|| self.wrong("its gradient has another shape"))
        };
        let (wide_a, wide_b) = (whole(a)?, whole(b)?);
        let mut gradients = Vec::with_capacity(2);
        for (slope, input) in slopes.into_iter().zip([a, b]) {
            let mut of_input = wide_a.clone();
            ndarray::Zip::from(&mut of_input)
                .and(&wide_b)
                .and(y)
                .and(gradient)
                .for_each(|a, b, y, dy| *a = slope(*a, *b, *y) * dy);
            gradients.push(Some(sum_to_shape(of_input, input.shape())?.into()));
        }
        Ok(gradients)
    }

    /// Of a reduction along axes, with its result and its gradient as wide as what it reduced.
    fn reduce_backward(
        &self,
        x: &Array,
        y: ArrayD<f32>,
        gradient: ArrayD<f32>,
        axes: &[usize],
    ) -> Option<Array> {
        let count: usize = axes.iter().map(|axis| x.shape()[*axis]).product();
        let fold = |mut array: ArrayD<f32>, with: fn(f32, f32) -> f32, start: f32| {
            let wide = array.raw_dim();
            for axis in axes {
                let folded = array.fold_axis(Axis(*axis), start, |a, b| with(*a, *b));
                array = folded.insert_axis(Axis(*axis));
            }
            array.broadcast(wide).map(|array| array.to_owned())
        };
        Some(match self.class.as_str() {
            "Sum" => gradient.into(),
            "Mean" => (gradient / count as f32).into(),
            "Max" | "Min" => {
                // What several values share, each has its part of.
                let mut chosen = x.to_owned();
                chosen.zip_mut_with(&y, |x, y| *x = truth(x == y));
                let ties = fold(chosen.clone(), |a, b| a + b, 0.0)?;
                (gradient * chosen / ties).into()
            }
            "Prod" => {
                // The product of the others: with a zero, only the zero's is not zero.
                let zeros = fold(x.mapv(|x| truth(x == 0.0)), |a, b| a + b, 0.0)?;
                let rest = x.mapv(|x| if x == 0.0 { 1.0 } else { x });
                let rest_product = fold(rest.clone(), |a, b| a * b, 1.0)?;
                let mut others = rest_product / rest;
                ndarray::Zip::from(&mut others)
                    .and(x)
                    .and(&zeros)
                    .for_each(|others, x, zeros| {
                        if *zeros - truth(*x == 0.0) > 0.0 {
                            *others = 0.0;
                        }
                    });
                (gradient * others).into()
            }
            _ => return None,
        })
    }
}
