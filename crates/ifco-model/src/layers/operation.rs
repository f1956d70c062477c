//! Keras 3's operations: nodes of a functional graph that are no layers, such as `x + y` or
//! `x[:, -1]`. Keras also writes the masks of a functional model as such nodes.
//!
//! Booleans are 0 and 1 here, as everything in a graph is `f32`.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice, concatenate, stack};
use serde_json::Value;

use crate::{
    Call, Config, ConfigError, Forward, Layer, LayerError, LayerGradients, NotStreamable, Shape,
    StepShape, Streamed, Tensor, Training,
};

mod backward;
mod stream;

/// The operations that ifco runs, in the order in which the documentation lists them.
pub const OPERATIONS: &[&str] = &[
    "Add",
    "Subtract",
    "Multiply",
    "Divide",
    "TrueDivide",
    "Power",
    "Maximum",
    "Minimum",
    "Equal",
    "NotEqual",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "LogicalXor",
    "LogicalNot",
    "ZerosLike",
    "OnesLike",
    "ConvertToTensor",
    "StopGradient",
    "Identity",
    "Cast",
    "Negative",
    "Abs",
    "Absolute",
    "Square",
    "Sqrt",
    "Exp",
    "Log",
    "Tanh",
    "Sigmoid",
    "Relu",
    "Sum",
    "Mean",
    "Max",
    "Min",
    "Prod",
    "Any",
    "All",
    "Concatenate",
    "Stack",
    "ExpandDims",
    "Squeeze",
    "Reshape",
    "Transpose",
    "GetItem",
];

/// One operation with its options.
///
/// [`Model::from_config`](crate::Model::from_config) makes them, from nodes such as
/// `{"class_name": "Add", "module": "keras.src.ops.numpy", …}`; they stand among
/// [`Model::layers`](crate::Model::layers), with [`Layer::is_operation`] true.
#[derive(Debug)]
pub struct Operation {
    class: String,
    kind: Option<Kind>,
}

#[derive(Debug, Clone)]
enum Kind {
    Unary(fn(f32) -> f32),
    Binary(fn(f32, f32) -> f32),
    /// Of a whole lane, such as a sum.
    Reduce {
        fold: fn(ndarray::ArrayView1<'_, f32>) -> f32,
        axes: Option<Vec<i64>>,
        keepdims: bool,
    },
    Concatenate {
        axis: i64,
    },
    Stack {
        axis: i64,
    },
    ExpandDims {
        axes: Vec<i64>,
    },
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Reshape {
        shape: Vec<i64>,
    },
    Transpose {
        axes: Option<Vec<i64>>,
    },
    GetItem,
}

fn truth(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

impl Operation {
    /// An operation; one that ifco does not know can be shown but not run.
    pub(crate) fn from_config(class: &str, config: &Config<'_>) -> Result<Self, ConfigError> {
        let axes = || {
            config
                .get("axis")
                .map(|_| config.integers("axis"))
                .transpose()
        };
        let axis = |default: i64| {
            Ok(axes()?
                .and_then(|axes| axes.first().copied())
                .unwrap_or(default))
        };
        let reduce = |fold: fn(ndarray::ArrayView1<'_, f32>) -> f32| {
            Ok(Kind::Reduce {
                fold,
                axes: axes()?,
                keepdims: config.bool_or("keepdims", false)?,
            })
        };
        let kind = match class {
            "Add" => Kind::Binary(|x, y| x + y),
            "Subtract" => Kind::Binary(|x, y| x - y),
            "Multiply" => Kind::Binary(|x, y| x * y),
            "Divide" | "TrueDivide" => Kind::Binary(|x, y| x / y),
            "Power" => Kind::Binary(f32::powf),
            "Maximum" => Kind::Binary(f32::max),
            "Minimum" => Kind::Binary(f32::min),
            "Equal" => Kind::Binary(|x, y| truth(x == y)),
            "NotEqual" => Kind::Binary(|x, y| truth(x != y)),
            "Greater" => Kind::Binary(|x, y| truth(x > y)),
            "GreaterEqual" => Kind::Binary(|x, y| truth(x >= y)),
            "Less" => Kind::Binary(|x, y| truth(x < y)),
            "LessEqual" => Kind::Binary(|x, y| truth(x <= y)),
            "LogicalAnd" => Kind::Binary(|x, y| truth(x != 0.0 && y != 0.0)),
            "LogicalOr" => Kind::Binary(|x, y| truth(x != 0.0 || y != 0.0)),
            "LogicalXor" => Kind::Binary(|x, y| truth((x != 0.0) != (y != 0.0))),
            "LogicalNot" => Kind::Unary(|x| truth(x == 0.0)),
            "ZerosLike" => Kind::Unary(|_| 0.0),
            "OnesLike" => Kind::Unary(|_| 1.0),
            "ConvertToTensor" | "StopGradient" | "Identity" => Kind::Unary(|x| x),
            "Cast" => match config.str_or("dtype", "float32")? {
                "bool" => Kind::Unary(|x| truth(x != 0.0)),
                dtype if dtype.starts_with("float") => Kind::Unary(|x| x),
                _ => Kind::Unary(f32::trunc),
            },
            "Negative" => Kind::Unary(|x| -x),
            "Abs" | "Absolute" => Kind::Unary(f32::abs),
            "Square" => Kind::Unary(|x| x * x),
            "Sqrt" => Kind::Unary(f32::sqrt),
            "Exp" => Kind::Unary(f32::exp),
            "Log" => Kind::Unary(f32::ln),
            "Tanh" => Kind::Unary(f32::tanh),
            "Sigmoid" => Kind::Unary(|x| 1.0 / (1.0 + (-x).exp())),
            "Relu" => Kind::Unary(|x| x.max(0.0)),
            "Sum" => reduce(|lane| lane.sum())?,
            "Mean" => reduce(|lane| lane.sum() / lane.len() as f32)?,
            "Max" => reduce(|lane| lane.fold(f32::NEG_INFINITY, |m, x| m.max(*x)))?,
            "Min" => reduce(|lane| lane.fold(f32::INFINITY, |m, x| m.min(*x)))?,
            "Prod" => reduce(|lane| lane.product())?,
            "Any" => reduce(|lane| truth(lane.iter().any(|x| *x != 0.0)))?,
            "All" => reduce(|lane| truth(lane.iter().all(|x| *x != 0.0)))?,
            "Concatenate" => Kind::Concatenate { axis: axis(-1)? },
            "Stack" => Kind::Stack { axis: axis(0)? },
            "ExpandDims" => Kind::ExpandDims {
                axes: axes()?.unwrap_or_default(),
            },
            "Squeeze" => Kind::Squeeze { axes: axes()? },
            "Reshape" => Kind::Reshape {
                shape: config.integers("newshape")?,
            },
            "Transpose" => Kind::Transpose {
                axes: config
                    .get("axes")
                    .map(|_| config.integers("axes"))
                    .transpose()?,
            },
            "GetItem" => Kind::GetItem,
            _ => {
                return Ok(Self {
                    class: class.into(),
                    kind: None,
                });
            }
        };
        Ok(Self {
            class: class.into(),
            kind: Some(kind),
        })
    }

    fn kind(&self) -> Result<&Kind, LayerError> {
        self.kind
            .as_ref()
            .ok_or_else(|| LayerError::UnsupportedOperation {
                operation: self.class.clone(),
            })
    }

    fn apply(
        &self,
        inputs: &[ArrayViewD<'_, f32>],
        call: &Call,
    ) -> Result<ArrayD<f32>, LayerError> {
        let kind = self.kind()?;
        let first = inputs
            .first()
            .ok_or_else(|| self.wrong("it takes an input"))?;
        let rank = first.ndim();
        Ok(match kind {
            Kind::Unary(f) => first.mapv(f),
            Kind::Binary(f) => {
                let [x, y] = inputs else {
                    return Err(self.wrong("it takes two inputs"));
                };
                broadcast(x, y, *f).ok_or_else(|| {
                    self.wrong(&format!(
                        "shapes {:?} and {:?} do not fit",
                        x.shape(),
                        y.shape()
                    ))
                })?
            }
            Kind::Reduce {
                fold,
                axes,
                keepdims,
            } => {
                let mut axes = match axes {
                    Some(axes) => self.axes(axes, rank)?,
                    None => (0..rank).collect(),
                };
                axes.sort_unstable();
                let mut result = first.to_owned();
                for axis in axes.into_iter().rev() {
                    if result.shape()[axis] == 0 {
                        return Err(self.wrong("an axis to reduce is empty"));
                    }
                    result = result.map_axis(Axis(axis), fold);
                    if *keepdims {
                        result = result.insert_axis(Axis(axis));
                    }
                }
                result
            }
            Kind::Concatenate { axis } => {
                let axis = self.axis(*axis, rank)?;
                concatenate(Axis(axis), inputs).map_err(|error| self.wrong(&error.to_string()))?
            }
            Kind::Stack { axis } => {
                let axis = self.axis(*axis, rank + 1)?;
                stack(Axis(axis), inputs).map_err(|error| self.wrong(&error.to_string()))?
            }
            Kind::ExpandDims { axes } => {
                let mut result = first.to_owned();
                for axis in axes {
                    let axis = self.axis(*axis, result.ndim() + 1)?;
                    result = result.insert_axis(Axis(axis));
                }
                result
            }
            Kind::Squeeze { axes } => {
                let mut axes = match axes {
                    Some(axes) => self.axes(axes, rank)?,
                    None => (0..rank).filter(|axis| first.shape()[*axis] == 1).collect(),
                };
                axes.sort_unstable();
                let mut result = first.to_owned();
                for axis in axes.into_iter().rev() {
                    if result.shape()[axis] != 1 {
                        return Err(self.wrong("only an axis of size 1 can be squeezed"));
                    }
                    result = result.index_axis_move(Axis(axis), 0);
                }
                result
            }
            Kind::Reshape { shape } => {
                // An operation reshapes the batch along with the rest: as if behind another axis.
                let mut behind = vec![Some(1)];
                behind.extend(first.shape().iter().copied().map(Some));
                let shape = super::reshape::resolve(shape, &behind)?;
                let shape: Vec<usize> = shape.into_iter().flatten().collect();
                let flat = first.as_standard_layout().into_owned();
                flat.into_shape_with_order(IxDyn(&shape))
                    .map_err(|error| self.wrong(&error.to_string()))?
            }
            Kind::Transpose { axes } => {
                let axes = match axes {
                    Some(axes) => self.axes(axes, rank)?,
                    None => (0..rank).rev().collect(),
                };
                if axes.len() != rank {
                    return Err(self.wrong(&format!("it needs {rank} axes")));
                }
                first
                    .view()
                    .permuted_axes(IxDyn(&axes))
                    .as_standard_layout()
                    .into_owned()
            }
            Kind::GetItem => {
                let key = call
                    .positional
                    .first()
                    .ok_or_else(|| self.wrong("it has no key"))?;
                self.get_item(first.view(), key)?
            }
        })
    }

    /// `x[key]` for integers, slices, `...` left out, `None` left out.
    fn get_item<A: Clone>(
        &self,
        x: ArrayViewD<'_, A>,
        key: &Value,
    ) -> Result<ArrayD<A>, LayerError> {
        let single;
        let keys = match key {
            Value::Array(keys) => keys.as_slice(),
            Value::Object(map) if map.get("class_name").is_some_and(|c| c == "__tuple__") => {
                let list = key.pointer("/config/value").and_then(Value::as_array);
                list.ok_or_else(|| self.wrong("its key cannot be read"))?
            }
            other => {
                single = [other.clone()];
                &single
            }
        };
        if keys.len() > x.ndim() {
            return Err(self.wrong(&format!("{} indices for {} axes", keys.len(), x.ndim())));
        }
        let mut result = x;
        let mut axis = 0;
        for key in keys {
            let size = result.shape()[axis] as i64;
            if let Some(index) = key.as_i64() {
                let index = if index < 0 { index + size } else { index };
                if !(0..size).contains(&index) {
                    return Err(self.wrong(&format!("index {key} in an axis of {size}")));
                }
                result = result.index_axis_move(Axis(axis), index as usize);
                continue;
            }
            if key.get("class_name").and_then(Value::as_str) != Some("__slice__") {
                return Err(self.wrong(&format!("ifco cannot index with {key}")));
            }
            let part = |name| key.pointer(name).and_then(Value::as_i64);
            let step = part("/config/step").unwrap_or(1);
            if step < 1 || isize::try_from(step).is_err() {
                return Err(self.wrong(&format!("a slice step of {step}")));
            }
            let clamp = |at: i64| {
                if at < 0 {
                    (at + size).max(0)
                } else {
                    at.min(size)
                }
            };
            let start = part("/config/start").map_or(0, clamp);
            let stop = part("/config/stop").map_or(size, clamp).max(start);
            let slice = Slice::new(start as isize, Some(stop as isize), step as isize);
            result.slice_axis_inplace(Axis(axis), slice);
            axis += 1;
        }
        Ok(result.as_standard_layout().into_owned())
    }

    fn axis(&self, axis: i64, rank: usize) -> Result<usize, LayerError> {
        let signed = rank as i64;
        let at = if axis < 0 { axis + signed } else { axis };
        match (0..signed).contains(&at) {
            true => Ok(at as usize),
            false => Err(self.wrong(&format!("axis {axis} of {rank} axes"))),
        }
    }

    /// Axes in range, none twice.
    fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, LayerError> {
        let mut seen = Vec::new();
        for axis in axes {
            let axis = self.axis(*axis, rank)?;
            if seen.contains(&axis) {
                return Err(self.wrong("an axis is named twice"));
            }
            seen.push(axis);
        }
        Ok(seen)
    }

    fn wrong(&self, what: &str) -> LayerError {
        LayerError::Other(format!("operation {}: {what}", self.class))
    }
}

fn broadcast(
    x: &ArrayViewD<'_, f32>,
    y: &ArrayViewD<'_, f32>,
    f: fn(f32, f32) -> f32,
) -> Option<ArrayD<f32>> {
    let rank = x.ndim().max(y.ndim());
    let size = |view: &ArrayViewD<'_, f32>, axis: usize| {
        (axis + view.ndim())
            .checked_sub(rank)
            .map_or(1, |axis| view.shape()[axis])
    };
    let shape: Option<Vec<usize>> = (0..rank)
        .map(|axis| match (size(x, axis), size(y, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect();
    let shape = IxDyn(&shape?);
    let y = y.broadcast(shape.clone())?;
    let mut result = x.broadcast(shape)?.to_owned();
    result.zip_mut_with(&y, |x, y| *x = f(*x, *y));
    Some(result)
}

impl Layer for Operation {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], call: &Call) -> Result<Vec<Shape>, LayerError> {
        // The arithmetic itself tells the shape: run it on zeros with two stand-ins for what is
        // unknown, and what changes between them is unknown in the result.
        let try_with = |stand_in: usize| -> Result<Vec<usize>, LayerError> {
            let arrays: Vec<ArrayD<f32>> = inputs
                .iter()
                .map(|shape| {
                    let sizes: Vec<usize> = shape.iter().map(|n| n.unwrap_or(stand_in)).collect();
                    let elements = sizes.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
                    match elements {
                        Some(elements) if elements <= 1 << 24 => Ok(ArrayD::zeros(IxDyn(&sizes))),
                        _ => Err(self.wrong("its input is too large to infer the shape")),
                    }
                })
                .collect::<Result<_, LayerError>>()?;
            let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
            Ok(self.apply(&views, call)?.shape().to_vec())
        };
        let (one, other) = (try_with(2)?, try_with(3)?);
        let sizes = one.iter().zip(&other).map(|(a, b)| (a == b).then_some(*a));
        Ok(vec![sizes.collect()])
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
        // An operation makes new tensors, which carry no mask.
        Ok(vec![Tensor::new(self.apply(&views, call)?)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let (inputs, call, y) = (inputs.to_vec(), call.clone(), output.data.clone());
        Ok(Forward::new(output, move |gradient| {
            Ok(LayerGradients {
                inputs: self.backward(&inputs, &call, &y, gradient)?,
                ..LayerGradients::default()
            })
        }))
    }

    fn stream(&self, inputs: &[StepShape], call: &Call) -> Result<Streamed, NotStreamable> {
        stream::stream(self, inputs, call)
    }

    fn can_run(&self) -> bool {
        self.kind.is_some()
    }

    fn is_operation(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generation;
    use serde_json::json;

    fn operation(class: &str) -> Operation {
        let config = json!({ "newshape": [-1] });
        let config = Config::new("x", Generation::Keras3, &config).expect("an object");
        Operation::from_config(class, &config).expect("the options are right")
    }

    #[test]
    fn what_is_listed_runs() {
        for class in OPERATIONS {
            assert!(operation(class).can_run(), "{class}");
        }
    }

    #[test]
    fn what_is_not_known_says_so() {
        let einsum = operation("Einsum");
        assert!(!einsum.can_run());
        let error = einsum.call(&[], &Call::default()).expect_err("unknown");
        assert_eq!(error.to_string(), "ifco cannot run operation \"Einsum\"");
        let help = error.help().expect("what it runs");
        assert!(help.contains("GetItem") && !help.contains("LSTM"), "{help}");
    }
}
