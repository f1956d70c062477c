//! Activations as nodes.

use ifco_cell::Activation;

use super::graph::{Attribute, Graph};

/// The activation of a tensor; `None` for one that has no operators here.
pub(super) fn apply(
    graph: &mut Graph,
    name: &str,
    x: &str,
    activation: Activation,
) -> Option<String> {
    let plain = |graph: &mut Graph, op: &str| graph.one(op, name, &[x], &[]);
    let with = |graph: &mut Graph, op: &str, alpha: f32| {
        graph.one(op, name, &[x], &[("alpha", Attribute::Float(alpha))])
    };
    Some(match activation {
        Activation::Linear => x.to_owned(),
        Activation::RELU => plain(graph, "Relu"),
        Activation::Relu {
            negative_slope,
            max_value: None,
            threshold: 0.0,
        } => with(graph, "LeakyRelu", negative_slope),
        Activation::Relu {
            negative_slope: 0.0,
            max_value: Some(most),
            threshold: 0.0,
        } => clip(graph, name, x, 0.0, most),
        Activation::HardTanh => clip(graph, name, x, -1.0, 1.0),
        Activation::Sigmoid => plain(graph, "Sigmoid"),
        Activation::Tanh => plain(graph, "Tanh"),
        Activation::Softplus => plain(graph, "Softplus"),
        Activation::Softsign => plain(graph, "Softsign"),
        Activation::Selu => plain(graph, "Selu"),
        Activation::Exponential => plain(graph, "Exp"),
        Activation::HardSilu => plain(graph, "HardSwish"),
        Activation::Elu { alpha } => with(graph, "Elu", alpha),
        Activation::Celu { alpha } => with(graph, "Celu", alpha),
        Activation::HardSigmoid => hard_sigmoid(graph, name, x, 1.0 / 6.0, 0.5),
        Activation::HardSigmoidKeras2 => hard_sigmoid(graph, name, x, 0.2, 0.5),
        Activation::Softmax => graph.one("Softmax", name, &[x], &[("axis", Attribute::Int(-1))]),
        Activation::LogSoftmax => {
            graph.one("LogSoftmax", name, &[x], &[("axis", Attribute::Int(-1))])
        }
        Activation::Silu => {
            let gate = graph.one("Sigmoid", name, &[x], &[]);
            graph.one("Mul", name, &[x, &gate], &[])
        }
        Activation::Mish => {
            let soft = graph.one("Softplus", name, &[x], &[]);
            let gate = graph.one("Tanh", name, &[&soft], &[]);
            graph.one("Mul", name, &[x, &gate], &[])
        }
        Activation::Gelu { approximate: false } => {
            // x · (1 + erf(x / √2)) / 2
            let scale = graph.number(name, std::f32::consts::FRAC_1_SQRT_2);
            let scaled = graph.one("Mul", name, &[x, &scale], &[]);
            let erf = graph.one("Erf", name, &[&scaled], &[]);
            halved_by_one_plus(graph, name, x, &erf)
        }
        Activation::Gelu { approximate: true } => {
            // x · (1 + tanh(√(2/π) · (x + 0.044715·x³))) / 2
            let square = graph.one("Mul", name, &[x, x], &[]);
            let cube = graph.one("Mul", name, &[&square, x], &[]);
            let factor = graph.number(name, 0.044_715);
            let small = graph.one("Mul", name, &[&cube, &factor], &[]);
            let sum = graph.one("Add", name, &[x, &small], &[]);
            let scale = graph.number(name, (2.0 / std::f32::consts::PI).sqrt());
            let inner = graph.one("Mul", name, &[&sum, &scale], &[]);
            let tanh = graph.one("Tanh", name, &[&inner], &[]);
            halved_by_one_plus(graph, name, x, &tanh)
        }
        Activation::SparseSigmoid => hard_sigmoid(graph, name, x, 0.5, 0.5),
        Activation::HardSigmoidOf { alpha, beta } => hard_sigmoid(graph, name, x, alpha, beta),
        Activation::Affine { alpha, beta } => {
            let scaled = with_number(graph, name, "Mul", x, alpha);
            with_number(graph, name, "Add", &scaled, beta)
        }
        Activation::ScaledTanh { alpha, beta } => {
            let scaled = with_number(graph, name, "Mul", x, beta);
            let tanh = graph.one("Tanh", name, &[&scaled], &[]);
            with_number(graph, name, "Mul", &tanh, alpha)
        }
        Activation::TanhShrink => {
            let tanh = plain(graph, "Tanh");
            graph.one("Sub", name, &[x, &tanh], &[])
        }
        Activation::SoftShrink { threshold } => {
            let middle = clip(graph, name, x, -threshold, threshold);
            graph.one("Sub", name, &[x, &middle], &[])
        }
        Activation::LogSigmoid => {
            let negative = plain(graph, "Neg");
            let soft = graph.one("Softplus", name, &[&negative], &[]);
            graph.one("Neg", name, &[&soft], &[])
        }
        Activation::Squareplus { b } => {
            // (x + √(x² + b)) / 2
            let square = graph.one("Mul", name, &[x, x], &[]);
            let sum = with_number(graph, name, "Add", &square, b);
            let root = graph.one("Sqrt", name, &[&sum], &[]);
            let sum = graph.one("Add", name, &[x, &root], &[]);
            with_number(graph, name, "Mul", &sum, 0.5)
        }
        Activation::SparsePlus => {
            // (clip(x, −1, 1) + 1)² / 4 + relu(x − 1)
            let middle = clip(graph, name, x, -1.0, 1.0);
            let middle = with_number(graph, name, "Add", &middle, 1.0);
            let square = graph.one("Mul", name, &[&middle, &middle], &[]);
            let bend = with_number(graph, name, "Mul", &square, 0.25);
            let above = with_number(graph, name, "Sub", x, 1.0);
            let above = graph.one("Relu", name, &[&above], &[]);
            graph.one("Add", name, &[&bend, &above], &[])
        }
        other => with(graph, "ThresholdedRelu", thresholded(other)?),
    })
}

/// Above which value ONNX's `ThresholdedRelu` is this activation: x there, 0 elsewhere.
pub(super) fn thresholded(activation: Activation) -> Option<f32> {
    match activation {
        Activation::Threshold {
            threshold,
            default_value: 0.0,
        }
        | Activation::Relu {
            negative_slope: 0.0,
            max_value: None,
            threshold,
        } => Some(threshold),
        _ => None,
    }
}

fn with_number(graph: &mut Graph, name: &str, op: &str, x: &str, number: f32) -> String {
    let number = graph.number(name, number);
    graph.one(op, name, &[x, &number], &[])
}

pub(super) fn clip(graph: &mut Graph, name: &str, x: &str, low: f32, high: f32) -> String {
    let bounds = [low, high].map(|bound| graph.number(name, bound));
    graph.one("Clip", name, &[x, &bounds[0], &bounds[1]], &[])
}

fn hard_sigmoid(graph: &mut Graph, name: &str, x: &str, alpha: f32, beta: f32) -> String {
    let attributes = [
        ("alpha", Attribute::Float(alpha)),
        ("beta", Attribute::Float(beta)),
    ];
    graph.one("HardSigmoid", name, &[x], &attributes)
}

/// x · (1 + y) / 2
fn halved_by_one_plus(graph: &mut Graph, name: &str, x: &str, y: &str) -> String {
    let one = graph.number(name, 1.0);
    let sum = graph.one("Add", name, &[y, &one], &[]);
    let half = graph.number(name, 0.5);
    let half = graph.one("Mul", name, &[x, &half], &[]);
    graph.one("Mul", name, &[&half, &sum], &[])
}
