//! ONNX's names of the activations that a recurrent operator's gates can have.

use ifco_cell::Activation;

use super::Node;
use crate::ConfigError;

/// The activation of this name. `alpha` and `beta` hand out the attributes' values in the order
/// of the activations that take any.
pub(super) fn named(
    node: &Node,
    name: &str,
    alpha: &mut impl Iterator<Item = f32>,
    beta: &mut impl Iterator<Item = f32>,
) -> Result<Activation, ConfigError> {
    let relu = |negative_slope, threshold| Activation::Relu {
        negative_slope,
        max_value: None,
        threshold,
    };
    let close = |value: f32, to: f32| (value - to).abs() <= 1e-6;
    Ok(match name.to_ascii_lowercase().as_str() {
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "relu" => Activation::RELU,
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        "leakyrelu" => relu(alpha.next().unwrap_or(0.01), 0.0),
        "thresholdedrelu" => {
            let threshold = alpha.next().unwrap_or(1.0);
            Activation::Threshold {
                threshold,
                default_value: 0.0,
            }
        }
        "elu" => Activation::Elu {
            alpha: alpha.next().unwrap_or(1.0),
        },
        "hardsigmoid" => {
            let (alpha, beta) = (alpha.next().unwrap_or(0.2), beta.next().unwrap_or(0.5));
            match () {
                () if close(alpha, 0.2) && close(beta, 0.5) => Activation::HardSigmoidKeras2,
                () if close(alpha, 1.0 / 6.0) && close(beta, 0.5) => Activation::HardSigmoid,
                () if close(alpha, 0.5) && close(beta, 0.5) => Activation::SparseSigmoid,
                () => Activation::HardSigmoidOf { alpha, beta },
            }
        }
        "affine" => {
            let (alpha, beta) = (alpha.next().unwrap_or(1.0), beta.next().unwrap_or(0.0));
            match alpha == 1.0 && beta == 0.0 {
                true => Activation::Linear,
                false => Activation::Affine { alpha, beta },
            }
        }
        "scaledtanh" => {
            let (alpha, beta) = (alpha.next().unwrap_or(1.0), beta.next().unwrap_or(1.0));
            match alpha == 1.0 && beta == 1.0 {
                true => Activation::Tanh,
                false => Activation::ScaledTanh { alpha, beta },
            }
        }
        _ => {
            return Err(node.unsupported(
                format!("the activation {name:?}, which ONNX does not have"),
                "its weights can still be read with Python's onnx package",
            ));
        }
    })
}
