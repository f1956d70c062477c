//! Operators that work number by number, broadcasting as NumPy does.

use ifco_cell::Activation;
use ndarray::{IxDyn, Zip};

use super::node::{Attribute, Kind};
use super::operator::{Operands, Outputs, cast_kind};
use crate::layers::broadcast_shape;
use crate::{Array, LayerError};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    let node = operands.node;
    let float = |key: &str, default: f32| node.float_or(key, default);
    let activation = match operands.op() {
        "Tanh" => Some(Activation::Tanh),
        "Sigmoid" => Some(Activation::Sigmoid),
        "Relu" => Some(Activation::RELU),
        "LeakyRelu" => Some(Activation::Relu {
            negative_slope: float("alpha", 0.01)?,
            max_value: None,
            threshold: 0.0,
        }),
        "Elu" => Some(Activation::Elu {
            alpha: float("alpha", 1.0)?,
        }),
        "Celu" => Some(Activation::Celu {
            alpha: float("alpha", 1.0)?,
        }),
        "HardSwish" => Some(Activation::HardSilu),
        "Softplus" => Some(Activation::Softplus),
        "Softsign" => Some(Activation::Softsign),
        "Mish" => Some(Activation::Mish),
        "Exp" => Some(Activation::Exponential),
        "Gelu" => Some(Activation::Gelu {
            approximate: node.string_or("approximate", "none")? == "tanh",
        }),
        "ThresholdedRelu" => Some(Activation::Threshold {
            threshold: float("alpha", 1.0)?,
            default_value: 0.0,
        }),
        _ => None,
    };
    if let Some(activation) = activation {
        return one(operands, |values| activation.apply(values));
    }
    match operands.op() {
        "Identity" | "Dropout" => {
            // Dropout's second output is a mask of what stays: all.
            let x = operands.need(0)?.clone();
            let mut outputs = vec![x];
            if node.outputs > 1 && operands.op() == "Dropout" {
                outputs.push(outputs[0].mapv(|_| 1.0).into());
            }
            Ok(Some(outputs))
        }
        "Cast" => cast(operands, cast_kind(node)?),
        "CastLike" => cast(operands, node.kind(1)),
        "Selu" => {
            let alpha = float("alpha", 1.673_263_2)?;
            let gamma = float("gamma", 1.050_701)?;
            map(operands, |x| {
                gamma * if x > 0.0 { x } else { alpha * x.exp_m1() }
            })
        }
        "HardSigmoid" => {
            let (alpha, beta) = (float("alpha", 0.2)?, float("beta", 0.5)?);
            map(operands, |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "Log" => map(operands, f32::ln),
        "Sqrt" => map(operands, f32::sqrt),
        "Abs" => map(operands, f32::abs),
        "Neg" => map(operands, |x| -x),
        "Sign" => map(operands, |x| if x == 0.0 { x } else { x.signum() }),
        "Reciprocal" => map(operands, f32::recip),
        "Floor" => map(operands, f32::floor),
        "Ceil" => map(operands, f32::ceil),
        "Round" => map(operands, f32::round_ties_even),
        "Sin" => map(operands, f32::sin),
        "Cos" => map(operands, f32::cos),
        "Erf" => map(operands, erf),
        "Not" => map(operands, |x| truth(x == 0.0)),
        "IsNaN" => map(operands, |x| truth(x.is_nan())),
        "Clip" => clip(operands),
        "Where" => choose(operands),
        "Add" => fold(operands, |x, y| x + y),
        "Sub" => fold(operands, |x, y| x - y),
        "Mul" => fold(operands, |x, y| x * y),
        "Div" if operands.is_int() => {
            if operands.need(1)?.iter().any(|y| *y == 0.0) {
                return Err(LayerError::Other("it divides an integer by 0".into()));
            }
            fold(operands, |x, y| {
                (f64::from(x) / f64::from(y)).trunc() as f32
            })
        }
        "Div" => fold(operands, |x, y| x / y),
        "Pow" => fold(operands, f32::powf),
        "Mod" => match node.int_or("fmod", 0)? {
            0 => fold(operands, |x, y| x - y * (x / y).floor()),
            _ => fold(operands, |x, y| x % y),
        },
        "PRelu" => fold(operands, |x, slope| if x < 0.0 { slope * x } else { x }),
        "Min" => fold(operands, least),
        "Max" => fold(operands, |x, y| -least(-x, -y)),
        "Sum" => fold(operands, |x, y| x + y),
        "Mean" => {
            let count = operands.given().count() as f32;
            let sum = fold(operands, |x, y| x + y)?;
            let mean = |sum: Array| sum.mapv(|x| x / count).into();
            Ok(sum.map(|sums| sums.into_iter().map(mean).collect()))
        }
        "Equal" => fold(operands, |x, y| truth(x == y)),
        "Greater" => fold(operands, |x, y| truth(x > y)),
        "GreaterOrEqual" => fold(operands, |x, y| truth(x >= y)),
        "Less" => fold(operands, |x, y| truth(x < y)),
        "LessOrEqual" => fold(operands, |x, y| truth(x <= y)),
        "And" => fold(operands, |x, y| truth(x != 0.0 && y != 0.0)),
        "Or" => fold(operands, |x, y| truth(x != 0.0 || y != 0.0)),
        "Xor" => fold(operands, |x, y| truth((x != 0.0) != (y != 0.0))),
        _ => Ok(None),
    }
}

fn truth(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

/// NaN where either is, as ONNX Runtime has it.
fn least(x: f32, y: f32) -> f32 {
    if x.is_nan() || x < y { x } else { y }
}

/// `2/√π ∫₀ˣ e^(−t²) dt`, by the gelu that ifco's cells have: gelu(x) = x·(1 + erf(x/√2))/2.
fn erf(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    let scaled = x * std::f32::consts::SQRT_2;
    let mut row = [scaled];
    Activation::Gelu { approximate: false }.apply(&mut row);
    2.0 * row[0] / scaled - 1.0
}

fn one(operands: &Operands<'_>, work: impl Fn(&mut [f32])) -> Outputs {
    let mut x = operands.need(0)?.as_standard_layout().into_owned();
    if let Some(values) = x.as_slice_mut() {
        work(values);
    }
    Ok(Some(vec![x.into()]))
}

fn map(operands: &Operands<'_>, f: impl Fn(f32) -> f32) -> Outputs {
    Ok(Some(vec![operands.need(0)?.mapv(f).into()]))
}

fn cast(operands: &Operands<'_>, to: Kind) -> Outputs {
    match to {
        Kind::Float => Ok(Some(vec![operands.need(0)?.clone()])),
        Kind::Int => map(operands, f32::trunc),
        Kind::Bool => map(operands, |x| truth(x != 0.0)),
    }
}

fn clip(operands: &Operands<'_>) -> Outputs {
    let bound = |key: &str, index: usize| -> Result<Option<f32>, LayerError> {
        if let Some(Attribute::Float(value)) = operands.node.attributes.get(key) {
            return Ok(Some(*value));
        }
        Ok(operands.get(index).and_then(|bound| bound.first().copied()))
    };
    let (low, high) = (bound("min", 1)?, bound("max", 2)?);
    map(operands, |x| {
        let x = low.map_or(x, |low| if x < low { low } else { x });
        high.map_or(x, |high| if x > high { high } else { x })
    })
}

fn choose(operands: &Operands<'_>) -> Outputs {
    let (condition, x, y) = (operands.need(0)?, operands.need(1)?, operands.need(2)?);
    let shape = together(condition.shape(), x.shape())?;
    let shape = together(&shape, y.shape())?;
    operands.elements(&shape)?;
    let views = (
        condition.broadcast(IxDyn(&shape)),
        x.broadcast(IxDyn(&shape)),
        y.broadcast(IxDyn(&shape)),
    );
    let (Some(condition), Some(x), Some(y)) = views else {
        return Err(unfit(condition.shape(), &shape));
    };
    let chosen = Zip::from(&condition)
        .and(&x)
        .and(&y)
        .map_collect(|condition, x, y| if *condition != 0.0 { *x } else { *y });
    Ok(Some(vec![chosen.into()]))
}

/// Two operands, or any number of them, one after the other.
fn fold(operands: &Operands<'_>, f: impl Fn(f32, f32) -> f32) -> Outputs {
    let mut given = operands.given();
    let first = given.next().cloned();
    let mut result = first.ok_or_else(|| LayerError::Other("it takes an input".into()))?;
    for other in given {
        result = binary(operands, &result, other, &f)?;
    }
    Ok(Some(vec![result]))
}

pub(super) fn binary(
    operands: &Operands<'_>,
    x: &Array,
    y: &Array,
    f: impl Fn(f32, f32) -> f32,
) -> Result<Array, LayerError> {
    let shape = together(x.shape(), y.shape())?;
    operands.elements(&shape)?;
    match (x.broadcast(IxDyn(&shape)), y.broadcast(IxDyn(&shape))) {
        (Some(x), Some(y)) => Ok(Zip::from(&x).and(&y).map_collect(|x, y| f(*x, *y)).into()),
        _ => Err(unfit(x.shape(), y.shape())),
    }
}

fn together(x: &[usize], y: &[usize]) -> Result<Vec<usize>, LayerError> {
    broadcast_shape(x, y).ok_or_else(|| unfit(x, y))
}

fn unfit(x: &[usize], y: &[usize]) -> LayerError {
    LayerError::Other(format!("shapes {x:?} and {y:?} do not fit together"))
}
