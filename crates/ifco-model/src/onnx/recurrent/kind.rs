//! What one direction of a recurrent operator computes, and its weights in Keras's layout.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmOptions, LstmWeights, SimpleRnnCell,
    SimpleRnnWeights, packing,
};
use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, stack};

use crate::onnx::{Node, activations};
use crate::{ConfigError, LayerError};

/// An LSTM's, GRU's or RNN's activations and options.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Lstm {
        recurrent: Activation,
        activation: Activation,
        options: LstmOptions,
    },
    Gru {
        recurrent: Activation,
        activation: Activation,
        reset_after: bool,
        clip: Option<f32>,
    },
    Rnn {
        activation: Activation,
        clip: Option<f32>,
    },
}

/// Of each direction.
pub(super) fn kinds(node: &Node, directions: usize) -> Result<Vec<Kind>, ConfigError> {
    let defaults: &[&str] = match node.op.as_str() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    let each = defaults.len();
    let names = match node.strings("activations")? {
        Some(names) if names.len() == each * directions => names,
        Some(names) => {
            let expected = format!("{each} for each of {directions} directions");
            return Err(node.invalid("activations", format!("{names:?}"), &expected));
        }
        None => defaults
            .repeat(directions)
            .into_iter()
            .map(String::from)
            .collect(),
    };
    let mut alpha = node.floats("activation_alpha")?.into_iter();
    let mut beta = node.floats("activation_beta")?.into_iter();
    let reset_after = node.int_or("linear_before_reset", 0)? != 0;
    let clip = node.float("clip")?.filter(|clip| *clip != 0.0);
    if let Some(clip) = clip.filter(|clip| clip.is_nan() || *clip < 0.0) {
        return Err(node.invalid("clip", clip.to_string(), "0 (none) or more"));
    }
    let mut kinds = Vec::new();
    for names in names.chunks_exact(each) {
        let mut functions = Vec::new();
        for name in names {
            functions.push(activations::named(node, name, &mut alpha, &mut beta)?);
        }
        kinds.push(match functions[..] {
            [recurrent, activation, output] => {
                let options = LstmOptions {
                    input_forget: node.int_or("input_forget", 0)? != 0,
                    clip,
                    output_activation: (output != activation).then_some(output),
                    ..LstmOptions::default()
                };
                Kind::Lstm {
                    recurrent,
                    activation,
                    options,
                }
            }
            [recurrent, activation] => Kind::Gru {
                recurrent,
                activation,
                reset_after,
                clip,
            },
            [activation, ..] => Kind::Rnn { activation, clip },
            [] => return Err(node.invalid("activations", "empty", "one or more")),
        });
    }
    Ok(kinds)
}

/// One direction's P `(3·units)` as the cell takes it.
pub(super) fn peepholes_to_keras(p: ArrayD<f32>) -> Result<ArrayD<f32>, String> {
    let p = p.into_dimensionality::<Ix1>();
    let p = p.map_err(|error| error.to_string())?;
    let packing = packing::find("onnx").ok_or("the packing is not known")?;
    let keras = packing.peepholes_to_keras(p.view());
    Ok(keras.map_err(|error| error.to_string())?.into_dyn())
}

impl Kind {
    /// One direction's W `(gates·units, features)`, R and B `(2·gates·units)` as Keras's
    /// kernel, recurrent kernel and bias.
    pub(super) fn to_keras(
        self,
        w: ArrayD<f32>,
        r: ArrayD<f32>,
        b: Option<ArrayD<f32>>,
    ) -> Result<Vec<ArrayD<f32>>, String> {
        let error = |error: ndarray::ShapeError| error.to_string();
        let w = w.into_dimensionality::<Ix2>().map_err(error)?;
        let r = r.into_dimensionality::<Ix2>().map_err(error)?;
        let b = b.map(|b| b.into_dimensionality::<Ix1>().map_err(error));
        let halves = b.transpose()?.map(|b| {
            let (input, recurrent) = b.view().split_at(Axis(0), b.len() / 2);
            (input.to_owned(), recurrent.to_owned())
        });
        let (kernel, recurrent, bias) = match self {
            Kind::Lstm { .. } => {
                let text = |error: packing::PackingError| error.to_string();
                let packing = packing::find("onnx").ok_or("the packing is not known")?;
                let bias = halves
                    .map(|(input, recurrent)| {
                        packing.bias_to_keras(&[input.view(), recurrent.view()], None)
                    })
                    .transpose()
                    .map_err(text)?;
                (
                    packing.matrix_to_keras(w.view()).map_err(text)?,
                    packing.matrix_to_keras(r.view()).map_err(text)?,
                    bias.map(|bias| bias.into_dyn()),
                )
            }
            Kind::Gru {
                reset_after: true, ..
            } => {
                let rows = |(input, recurrent): (Array1<f32>, Array1<f32>)| {
                    stack(Axis(0), &[input.view(), recurrent.view()])
                };
                let bias = halves.map(rows).transpose().map_err(error)?;
                (
                    w.reversed_axes(),
                    r.reversed_axes(),
                    bias.map(|bias| bias.into_dyn()),
                )
            }
            Kind::Gru { .. } | Kind::Rnn { .. } => (
                w.reversed_axes(),
                r.reversed_axes(),
                halves.map(|(mut input, recurrent)| {
                    // 0 is not added: it would make 0 of −0.
                    input.zip_mut_with(&recurrent, |own, more| {
                        *own = if *more == 0.0 { *own } else { *own + more };
                    });
                    input.into_dyn()
                }),
            ),
        };
        let own = |array: Array2<f32>| array.as_standard_layout().into_owned().into_dyn();
        let mut weights = vec![own(kernel), own(recurrent)];
        weights.extend(bias);
        Ok(weights)
    }

    /// The cell on weights in Keras's layout.
    pub(super) fn cell(
        self,
        weights: &mut impl Iterator<Item = ArrayD<f32>>,
        has_bias: bool,
        has_peepholes: bool,
    ) -> Result<Cell, LayerError> {
        let matrix = |name: &str, array: Option<ArrayD<f32>>| {
            let array = array.ok_or(LayerError::NoWeights)?;
            let found = array.shape().to_vec();
            array
                .into_dimensionality::<Ix2>()
                .map_err(|_| LayerError::Weight {
                    name: name.into(),
                    found,
                    expected: "two axes".into(),
                })
        };
        let (kernel, recurrent_kernel) = (
            matrix("kernel", weights.next())?,
            matrix("recurrent_kernel", weights.next())?,
        );
        let bias = match has_bias {
            true => Some(weights.next().ok_or(LayerError::NoWeights)?),
            false => None,
        };
        let peepholes = match has_peepholes {
            true => Some(matrix("peepholes", weights.next())?),
            false => None,
        };
        let vector = |bias: ArrayD<f32>| {
            let found = bias.shape().to_vec();
            bias.into_dimensionality::<Ix1>()
                .map_err(|_| LayerError::Weight {
                    name: "bias".into(),
                    found,
                    expected: "one axis".into(),
                })
        };
        Ok(match self {
            Kind::Lstm {
                recurrent,
                activation,
                options,
            } => {
                let bias = bias.map(vector).transpose()?;
                let mut weights = LstmWeights::new(kernel, recurrent_kernel, bias)?;
                if let Some(peepholes) = peepholes {
                    weights = weights.with_peepholes(peepholes)?;
                }
                LstmCell::new(weights, activation, recurrent)
                    .with_options(options)
                    .map_err(|error| LayerError::Other(error.to_string()))?
                    .into()
            }
            Kind::Gru {
                recurrent,
                activation,
                reset_after,
                clip,
            } => {
                let bias = match bias {
                    Some(bias) if reset_after => {
                        let found = bias.shape().to_vec();
                        Some(
                            bias.into_dimensionality::<Ix2>()
                                .map_err(|_| LayerError::Weight {
                                    name: "bias".into(),
                                    found,
                                    expected: "two axes".into(),
                                })?,
                        )
                    }
                    Some(bias) => Some(vector(bias)?.insert_axis(Axis(0))),
                    None => None,
                };
                let weights = GruWeights::new(kernel, recurrent_kernel, bias)?;
                GruCell::new(weights, activation, recurrent, reset_after)?
                    .with_clip(clip)
                    .map_err(|error| LayerError::Other(error.to_string()))?
                    .into()
            }
            Kind::Rnn { activation, clip } => {
                let bias = bias.map(vector).transpose()?;
                let weights = SimpleRnnWeights::new(kernel, recurrent_kernel, bias)?;
                SimpleRnnCell::new(weights, activation)
                    .with_clip(clip)
                    .map_err(|error| LayerError::Other(error.to_string()))?
                    .into()
            }
        })
    }
}
