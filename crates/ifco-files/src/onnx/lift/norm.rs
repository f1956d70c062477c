//! LayerNormalization where an exporter spells it out: PyTorch before opset 17, and Keras.
//!
//! ```text
//! PyTorch   d = x − mean(x);  y = d / √(mean(d²) + ε) · γ + β
//! Keras     g = γ / √(mean((x − mean(x))²) + ε);  y = x·g + (−mean(x)·g + β)
//! ```
//!
//! Each node says of its output what part of this it is; the last one makes the layer. What the
//! nodes before it made besides is dropped where nothing else takes it.

use ifco_model::onnx::{self, Node};
use ifco_model::{Argument, Array, ModelCall};
use ndarray::ArrayD;
use serde_json::json;

use super::operators::{resolve, tidy};
use super::{Lift, Operand, Value, View};

/// What a node's output is to the normalization of `x`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    x: View,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    /// mean(x)
    Mean,
    /// −mean(x)
    NegativeMean,
    /// x − mean(x)
    Centered,
    /// (x − mean(x))²
    Squares,
    /// mean((x − mean(x))²)
    Variance,
    /// variance + ε
    Shifted(f32),
    /// √(variance + ε)
    Deviation(f32),
    /// γ / √(variance + ε)
    Factor(Scale),
    /// x · factor
    Scaled(Scale),
    /// −mean(x) · factor + β
    Offset(Scale, Option<ArrayD<f32>>),
}

/// ε, and γ if there is one.
#[derive(Debug, Clone, PartialEq)]
struct Scale {
    epsilon: f32,
    gamma: Option<ArrayD<f32>>,
}

/// What a node was found to be.
pub(super) enum Found {
    Part(Box<Part>),
    /// The whole: what the layer gives.
    Layer(View),
}

/// One operand of a node.
enum Given<'a> {
    Part(&'a Part),
    View(&'a View),
    Number(f32),
    /// One number a feature.
    Vector(ArrayD<f32>),
}

impl Lift<'_> {
    /// Whether the node is a part of a LayerNormalization, or its end.
    pub(super) fn normalization(
        &mut self,
        node: &Node,
        call: &ModelCall<'_>,
        operands: &[Operand],
    ) -> Option<Found> {
        let part = |x: &View, what| {
            let x = x.clone();
            Some(Found::Part(Box::new(Part { x, what })))
        };
        let mut calls = call.inputs.iter();
        let mut parts = node.operands.iter().map(|operand| match operand {
            onnx::Operand::Input(_) => match calls.next()? {
                Argument::Tensor { call, output: 0 } => self.parts.get(*call)?.as_ref(),
                _ => None,
            },
            _ => None,
        });
        let given: Vec<Option<Given<'_>>> = operands
            .iter()
            .map(|operand| match (parts.next().flatten(), operand) {
                (Some(part), _) => Some(Given::Part(part)),
                (None, Operand::Constant(constant)) => given(&constant.data),
                (None, Operand::Value(Value::View(view))) => Some(Given::View(view)),
                _ => None,
            })
            .collect();
        let first = given.first()?.as_ref()?;
        let second = given.get(1).and_then(Option::as_ref);
        match node.op.as_str() {
            "ReduceMean" | "GlobalAveragePool" => match first {
                Given::View(x) if self.is_of_features(node, operands, x) => part(x, What::Mean),
                Given::Part(of)
                    if of.what == What::Squares && self.is_of_features(node, operands, &of.x) =>
                {
                    part(&of.x, What::Variance)
                }
                _ => None,
            },
            "Neg" => match first {
                Given::Part(of) if of.what == What::Mean => part(&of.x, What::NegativeMean),
                _ => None,
            },
            "Sqrt" | "Reciprocal" => match (first, node.op.as_str()) {
                (Given::Part(of), op) => match (&of.what, op) {
                    (What::Shifted(epsilon), "Sqrt") => part(&of.x, What::Deviation(*epsilon)),
                    (What::Deviation(epsilon), "Reciprocal") => {
                        let (epsilon, gamma) = (*epsilon, None);
                        part(&of.x, What::Factor(Scale { epsilon, gamma }))
                    }
                    _ => None,
                },
                _ => None,
            },
            op => {
                let second = second?;
                let found = pair(op, first, second).or_else(|| match op {
                    "Add" | "Mul" => pair(op, second, first),
                    _ => None,
                })?;
                match found {
                    Pair::Part(found) => Some(Found::Part(Box::new(found))),
                    Pair::Whole(x, scale, beta) => self.whole_norm(node, &x, scale, beta),
                }
            }
        }
    }

    /// Whether a mean is that over the last axis, which stays as one of size 1.
    fn is_of_features(&self, node: &Node, operands: &[Operand], x: &View) -> bool {
        let rank = x.axes.len();
        let is_last = match node.op.as_str() {
            // Rows and channels stay.
            "GlobalAveragePool" => rank == 3,
            _ => {
                let listed = node.ints("axes").ok().flatten();
                let listed = listed.or_else(|| operands.get(1)?.integers());
                let keeps = node.int_or("keepdims", 1).unwrap_or(1) != 0;
                keeps
                    && matches!(listed.as_deref(), Some([axis])
                        if resolve(*axis, rank) == rank.checked_sub(1))
            }
        };
        let features = self.features(x);
        is_last && x.axes.last() == Some(&features) && self.axes_of(x.tensor).len() > 1
    }

    /// The layer, unless what it is scaled by is not its features.
    fn whole_norm(
        &mut self,
        node: &Node,
        x: &View,
        scale: Scale,
        beta: Option<ArrayD<f32>>,
    ) -> Option<Found> {
        let size = self.atoms.product(&self.features(x))?;
        let weights: Vec<_> = scale.gamma.into_iter().chain(beta.clone()).collect();
        if weights.iter().any(|array| array.len() != size) {
            return None;
        }
        let config = json!({
            "axis": -1, "epsilon": tidy(scale.epsilon),
            "scale": weights.len() > usize::from(beta.is_some()), "center": beta.is_some(),
        });
        let made = self.keeping(node, x, "LayerNormalization", config);
        let stage = self.tensors[made.tensor].stage;
        self.stages[stage].weights = weights;
        Some(Found::Layer(made))
    }
}

/// A constant as an operand.
fn given<'a>(data: &Array) -> Option<Given<'a>> {
    let long = data.shape().iter().filter(|size| **size != 1).count();
    match (data.len(), long) {
        (1, _) => Some(Given::Number(*data.iter().next()?)),
        // Along the last axis alone.
        (count, 1) if data.shape().last() == Some(&count) => {
            let flat: Vec<f32> = data.iter().copied().collect();
            Some(Given::Vector(
                ArrayD::from_shape_vec(vec![count], flat).ok()?,
            ))
        }
        _ => None,
    }
}

/// What a node of two operands makes.
enum Pair {
    Part(Part),
    Whole(View, Scale, Option<ArrayD<f32>>),
}

fn pair(op: &str, one: &Given<'_>, other: &Given<'_>) -> Option<Pair> {
    use What::*;
    let part = |x: &View, what| {
        let x = x.clone();
        Some(Pair::Part(Part { x, what }))
    };
    match (op, one, other) {
        ("Sub", Given::View(x), Given::Part(of)) if of.what == Mean && of.x == **x => {
            part(x, Centered)
        }
        ("Pow", Given::Part(of), Given::Number(2.0)) if of.what == Centered => part(&of.x, Squares),
        ("Mul", Given::Part(of), Given::Part(same)) if of.what == Centered && of == same => {
            part(&of.x, Squares)
        }
        ("Add", Given::Part(of), Given::Number(epsilon)) if of.what == Variance => {
            part(&of.x, Shifted(*epsilon))
        }
        ("Div", Given::Part(of), Given::Part(by)) if of.what == Centered && of.x == by.x => {
            let Deviation(epsilon) = by.what else {
                return None;
            };
            let scale = Scale {
                epsilon,
                gamma: None,
            };
            Some(Pair::Whole(of.x.clone(), scale, None))
        }
        ("Mul", Given::Part(of), Given::Vector(gamma)) => match &of.what {
            Factor(scale) if scale.gamma.is_none() => {
                let gamma = Some(gamma.clone());
                let epsilon = scale.epsilon;
                part(&of.x, Factor(Scale { epsilon, gamma }))
            }
            _ => None,
        },
        ("Mul", Given::View(x), Given::Part(by)) if by.x == **x => match &by.what {
            Factor(scale) => part(x, Scaled(scale.clone())),
            _ => None,
        },
        ("Mul", Given::Part(of), Given::Part(by)) if of.x == by.x => match (&of.what, &by.what) {
            (NegativeMean, Factor(scale)) => part(&of.x, Offset(scale.clone(), None)),
            (Centered, Factor(scale)) => Some(Pair::Whole(of.x.clone(), scale.clone(), None)),
            _ => None,
        },
        ("Add", Given::Part(of), Given::Vector(beta)) => match &of.what {
            Offset(scale, None) => part(&of.x, Offset(scale.clone(), Some(beta.clone()))),
            _ => None,
        },
        ("Add", Given::Part(of), Given::Part(with)) if of.x == with.x => {
            match (&of.what, &with.what) {
                (Scaled(one), Offset(other, beta)) if one == other => {
                    Some(Pair::Whole(of.x.clone(), one.clone(), beta.clone()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
