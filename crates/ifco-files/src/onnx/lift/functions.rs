//! Functions of each number, and of the features of a step.

use ifco_model::onnx::Node;
use ndarray::ArrayD;
use serde_json::json;

use super::operators::{Made, one, resolve, tidy};
use super::{Lift, Operand, refuse};

impl Lift<'_> {
    pub(super) fn softmax(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let default = if node.opset < 13 { 1 } else { -1 };
        let axis = resolve(
            node.int_or("axis", default).unwrap_or(default),
            view.axes.len(),
        );
        let is_last = axis.is_some_and(|axis| view.axes[axis] == self.features(&view));
        if !is_last || node.opset < 13 && axis != Some(view.axes.len() - 1) {
            return Err(refuse(
                node,
                "it works along another axis than the features",
            ));
        }
        let name = if node.op == "Softmax" {
            "softmax"
        } else {
            "log_softmax"
        };
        one(self.keeping(node, &view, "Activation", json!({"activation": name})))
    }

    /// A function of each number.
    pub(super) fn activation(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let named = match node.op.as_str() {
            "Relu" => "relu",
            "Sigmoid" => "sigmoid",
            "Tanh" => "tanh",
            "Softplus" => "softplus",
            "Softsign" => "softsign",
            "Selu" => "selu",
            "Exp" => "exponential",
            "HardSwish" => "hard_silu",
            "Mish" => "mish",
            "Gelu"
                if node
                    .string_or("approximate", "none")
                    .is_ok_and(|how| how == "none") =>
            {
                "gelu"
            }
            _ => "",
        };
        let plain = |name: &str| ("Activation", json!({"activation": name}));
        let alpha = |default: f32| node.float_or("alpha", default).unwrap_or(default);
        let scalar = |index: usize| match operands.get(index) {
            Some(Operand::Constant(constant)) if constant.data.len() == 1 => {
                constant.data.iter().next().copied()
            }
            _ => None,
        };
        let close = |value: f32, to: f32| (value - to).abs() <= 1e-6;
        let (class, config) = match node.op.as_str() {
            _ if !named.is_empty() => plain(named),
            "LeakyRelu" => ("LeakyReLU", json!({"negative_slope": tidy(alpha(0.01))})),
            "Elu" if alpha(1.0) == 1.0 => plain("elu"),
            "Elu" => ("ELU", json!({"alpha": tidy(alpha(1.0))})),
            "Celu" if alpha(1.0) == 1.0 => plain("celu"),
            "HardSigmoid"
                if close(alpha(0.2), 1.0 / 6.0)
                    && close(node.float_or("beta", 0.5).unwrap_or(0.5), 0.5) =>
            {
                plain("hard_sigmoid")
            }
            "Clip" => match (scalar(1), scalar(2)) {
                (Some(-1.0), Some(1.0)) => plain("hard_tanh"),
                (Some(0.0), Some(most)) => ("ReLU", json!({"max_value": tidy(most)})),
                _ => {
                    return Err(refuse(
                        node,
                        "it keeps numbers between bounds that no layer of Keras has",
                    ));
                }
            },
            "PRelu" => return self.prelu(node, operands),
            _ => {
                let view = self.view(node, operands, 0);
                view?;
                return Err(refuse(
                    node,
                    "no layer of Keras does what this operator does",
                ));
            }
        };
        let view = self.view(node, operands, 0)?;
        one(self.keeping(node, &view, class, config))
    }

    pub(super) fn prelu(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let features = self.features(&view);
        let (Some(Operand::Constant(slope)), Some(size)) =
            (operands.get(1), self.atoms.product(&features))
        else {
            return Err(refuse(node, "its slopes are computed"));
        };
        let own = self.axes_of(view.tensor).to_vec();
        let at = view.axes.iter().position(|group| *group == features);
        let fits = slope.data.len() == size
            && at.is_some_and(|at| {
                let axis = (at + slope.data.ndim()).checked_sub(view.axes.len());
                axis.is_some_and(|axis| slope.data.shape().get(axis) == Some(&size))
            });
        if !fits && slope.data.len() != 1 {
            return Err(refuse(
                node,
                "it has slopes for another axis than the features",
            ));
        }
        let shared: Vec<usize> = (1..own.len() - 1).collect();
        let values: Vec<f32> = slope.data.iter().copied().cycle().take(size).collect();
        let mut shape = vec![1; own.len() - 1];
        if let Some(last) = shape.last_mut() {
            *last = size;
        }
        let values = ArrayD::from_shape_vec(shape, values)
            .map_err(|error| refuse(node, error.to_string()))?;
        let made = self.keeping(node, &view, "PReLU", json!({"shared_axes": shared}));
        let stage = self.tensors[made.tensor].stage;
        self.stages[stage].weights = vec![values];
        one(made)
    }
}
