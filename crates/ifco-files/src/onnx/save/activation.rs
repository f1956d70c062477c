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
        Activation::HardSigmoid => hard_sigmoid(graph, name, x, 1.0 / 6.0),
        Activation::HardSigmoidKeras2 => hard_sigmoid(graph, name, x, 0.2),
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
        _ => return None,
    })
}

fn clip(graph: &mut Graph, name: &str, x: &str, low: f32, high: f32) -> String {
    let bounds = [low, high].map(|bound| graph.number(name, bound));
    graph.one("Clip", name, &[x, &bounds[0], &bounds[1]], &[])
}

fn hard_sigmoid(graph: &mut Graph, name: &str, x: &str, alpha: f32) -> String {
    let attributes = [
        ("alpha", Attribute::Float(alpha)),
        ("beta", Attribute::Float(0.5)),
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
