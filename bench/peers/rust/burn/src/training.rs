//! Steps of training: autodiff around the flex backend, and burn's Adam.
//!
//! A gate has one bias here, that of its input: Keras has one, and trained both it would move twice
//! as far.

use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use worker::{Case, Result, Run, What};

use crate::{gates, set_linear, set_lstm, tensor};

/// What is trained: an LSTM, or Embedding, two LSTM and Dense.
#[derive(Module, Debug)]
struct Network {
    table: Option<Embedding>,
    first: Lstm,
    second: Option<Lstm>,
    dense: Option<Linear>,
}

enum Batch {
    /// What goes in and what is wanted.
    Numbers(Tensor<3>, Tensor<3>),
    /// Words and classes.
    Words(Tensor<2, Int>, Tensor<1, Int>),
}

struct Training {
    case: Case,
    batch: Batch,
    /// Not there while a step is made of it.
    network: Option<Network>,
    adam: ModuleOptimizer,
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// An LSTM with the weights of this prefix.
fn lstm(case: &Case, prefix: &str, features: usize) -> Result<Lstm> {
    let mut lstm = LstmConfig::new(features, case.units, true).init(&device());
    set_lstm(case, prefix, features, &mut lstm, &device())?;
    for gate in gates(&mut lstm)? {
        gate.hidden_transform.bias = None;
    }
    Ok(lstm)
}

fn network(case: &Case) -> Result<Network> {
    let (features, units, device) = (case.features, case.units, device());
    let first = lstm(case, "", features)?;
    if case.what == What::Train {
        return Ok(Network {
            table: None,
            first,
            second: None,
            dense: None,
        });
    }
    let table = case.array("embedding")?;
    let words = table.len() / features;
    let mut lookup = EmbeddingConfig::new(words, features).init(&device);
    lookup.weight = Param::from_tensor(tensor(table, [words, features], &device));
    let bias = case.array("dense_bias")?;
    let mut dense = LinearConfig::new(units, bias.len()).init(&device);
    set_linear(&mut dense, case.array("dense_kernel")?, bias, &device);
    Ok(Network {
        table: Some(lookup),
        first,
        second: Some(lstm(case, "second_", units)?),
        dense: Some(dense),
    })
}

/// The case, ready for its first step.
pub fn load(case: &Case) -> Result<Box<dyn Run>> {
    let (batch, time, device) = (case.batch, case.time, device());
    let data = if case.what == What::Train {
        let array = |name: &str, values| -> Result<Tensor<3>> {
            Ok(tensor(case.array(name)?, [batch, time, values], &device))
        };
        Batch::Numbers(array("input", case.features)?, array("target", case.units)?)
    } else {
        let tokens = TensorData::new(case.tokens()?, [batch, time]);
        let labels = TensorData::new(case.indices("labels")?, [batch * time]);
        Batch::Words(
            Tensor::from_data(tokens, &device),
            Tensor::from_data(labels, &device),
        )
    };
    Ok(Box::new(Training {
        case: case.clone(),
        batch: data,
        network: Some(network(case)?),
        adam: adam(),
    }))
}

fn adam() -> ModuleOptimizer {
    // So small that it does not matter where it is added, which is not the same everywhere.
    AdamConfig::new().with_epsilon(1e-12).init()
}

impl Training {
    fn loss(&self, network: &Network) -> Result<Tensor<1>> {
        Ok(match &self.batch {
            Batch::Numbers(x, y) => {
                let (output, _) = network.first.forward(x.clone(), None);
                MseLoss::new().forward(output, y.clone(), Reduction::Mean)
            }
            Batch::Words(tokens, labels) => {
                let (Some(table), Some(second), Some(dense)) =
                    (&network.table, &network.second, &network.dense)
                else {
                    return Err("this case is a model's".into());
                };
                let (below, _) = network.first.forward(table.forward(tokens.clone()), None);
                let (above, _) = second.forward(below, None);
                let logits = dense.forward(above).flatten::<2>(0, 1);
                let loss = CrossEntropyLossConfig::new().init(&logits.device());
                loss.forward(logits, labels.clone())
            }
        })
    }

    /// One step: the loss, and the gradients before they are used, if they are `wanted`.
    fn step(&mut self, wanted: bool) -> Result<(f32, Vec<f32>)> {
        let network = self.network.take().ok_or("a step has failed before")?;
        let loss = self.loss(&network)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let mut told = Vec::new();
        if wanted {
            in_keras_order(&network, &gradients, &mut told)?;
        }
        self.network = Some(self.adam.step(0.001, network, gradients));
        Ok((loss.into_scalar::<f32>(), told))
    }
}

impl Run for Training {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.step(false)?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.network = Some(network(&self.case)?);
        self.adam = adam();
        let (first, gradients) = self.step(true)?;
        let mut output = vec![first];
        for _ in 0..2 {
            output.push(self.step(false)?.0);
        }
        output.extend(gradients);
        Ok(output)
    }
}

/// The gradients in the order and the layout of Keras's weights.
fn in_keras_order(network: &Network, gradients: &GradientsParams, to: &mut Vec<f32>) -> Result<()> {
    let mut tell = |array: Tensor<2>| -> Result<()> {
        let values = array.into_data().try_into_vec::<f32>();
        to.extend(values.map_err(|error| format!("{error:?}"))?);
        Ok(())
    };
    let of = |param: &Param<Tensor<2>>| gradients.get::<2>(param.id).ok_or("no gradient");
    let of_bias = |linear: &Linear| -> Result<Tensor<2>> {
        let bias = linear.bias.as_ref().ok_or("no bias")?;
        let gradient = gradients.get::<1>(bias.id).ok_or("no gradient")?;
        Ok(gradient.unsqueeze::<2>())
    };
    if let Some(table) = &network.table {
        tell(of(&table.weight)?)?;
    }
    for lstm in std::iter::once(&network.first).chain(&network.second) {
        let forget = lstm.forget_gate.as_ref().ok_or("no forget gate")?;
        let gates = [&lstm.input_gate, forget, &lstm.cell_gate, &lstm.output_gate];
        let side_by_side = |of: &dyn Fn(usize) -> Result<Tensor<2>>| -> Result<Tensor<2>> {
            Ok(Tensor::cat((0..4).map(of).collect::<Result<Vec<_>>>()?, 1))
        };
        tell(side_by_side(&|gate| {
            Ok(of(&gates[gate].input_transform.weight)?)
        })?)?;
        tell(side_by_side(&|gate| {
            Ok(of(&gates[gate].hidden_transform.weight)?)
        })?)?;
        tell(side_by_side(&|gate| of_bias(&gates[gate].input_transform))?)?;
    }
    if let Some(dense) = &network.dense {
        tell(of(&dense.weight)?)?;
        tell(of_bias(dense)?)?;
    }
    Ok(())
}
