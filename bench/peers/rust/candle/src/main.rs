//! candle-nn: its `LSTM` and `GRU`, whose weights are packed as PyTorch's.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::rnn::{GRU, LSTM, LSTMState};
use candle_nn::{Embedding, Linear, Module, RNN, VarBuilder};
use worker::{Case, Kind, Result, Run, What, columns, serve, skip, transposed};

enum Layer {
    Lstm(LSTM),
    Gru(GRU),
}

struct Candle {
    case: Case,
    layers: Vec<Layer>,
    /// The input; of a step, the one of each step.
    inputs: Vec<Tensor>,
    embedding: Option<Embedding>,
    dense: Option<Linear>,
    state: Option<LSTMState>,
    at: usize,
}

/// One direction's weights: `weight_ih_l0` `(gates · units, features)` and so on. The order of
/// an LSTM's gates is Keras's own; of a GRU's, r z n.
fn layer(case: &Case, prefix: &str) -> Result<Layer> {
    let (features, units, device) = (case.features, case.units, &Device::Cpu);
    let order: &[usize] = if case.kind == Kind::Gru {
        &[1, 0, 2]
    } else {
        &[0, 1, 2, 3]
    };
    let rows = order.len() * units;
    let packed = |matrix: &[f32], depth: usize| -> Vec<f32> {
        let gate = |&gate: &usize| transposed(&columns(matrix, depth, units, gate), depth);
        order.iter().flat_map(gate).collect()
    };
    let kernel = packed(&case.array(&format!("{prefix}kernel"))?, features);
    let recurrent = packed(&case.array(&format!("{prefix}recurrent_kernel"))?, units);
    let bias = case.array(&format!("{prefix}bias"))?;
    let (input_bias, recurrent_bias) = match case.kind {
        Kind::Lstm => (bias, vec![0.0; rows]),
        Kind::Gru => (packed(&bias[..rows], 1), packed(&bias[rows..], 1)),
    };
    let tensors = HashMap::from([
        (
            "weight_ih_l0".to_string(),
            Tensor::from_vec(kernel, (rows, features), device)?,
        ),
        (
            "weight_hh_l0".to_string(),
            Tensor::from_vec(recurrent, (rows, units), device)?,
        ),
        (
            "bias_ih_l0".to_string(),
            Tensor::from_vec(input_bias, rows, device)?,
        ),
        (
            "bias_hh_l0".to_string(),
            Tensor::from_vec(recurrent_bias, rows, device)?,
        ),
    ]);
    let weights = VarBuilder::from_tensors(tensors, DType::F32, device);
    Ok(match case.kind {
        Kind::Lstm => Layer::Lstm(candle_nn::lstm(
            features,
            units,
            Default::default(),
            weights,
        )?),
        Kind::Gru => Layer::Gru(candle_nn::gru(
            features,
            units,
            Default::default(),
            weights,
        )?),
    })
}

fn load(case: &Case) -> Result<Box<dyn Run>> {
    let device = &Device::Cpu;
    let directions = case.directions().iter();
    let layers = directions
        .map(|prefix| layer(case, prefix))
        .collect::<Result<_>>()?;
    let (mut embedding, mut dense) = (None, None);
    if case.what != What::Sequence {
        let kernel = Tensor::from_vec(case.array("dense_kernel")?, (1, case.units), device)?;
        let bias = Tensor::from_vec(case.array("dense_bias")?, 1, device)?;
        dense = Some(Linear::new(kernel, Some(bias)));
    }
    let inputs = match case.what {
        What::Sequence => {
            let shape = (case.batch, case.time, case.features);
            vec![Tensor::from_vec(case.array("input")?, shape, device)?]
        }
        What::Step => {
            let step = |x: f32| Tensor::from_vec(vec![x], (1, 1), device);
            case.array("input")?
                .into_iter()
                .map(step)
                .collect::<candle_core::Result<_>>()?
        }
        What::Train | What::TrainModel => return skip("it is not among those that train"),
        What::Model => {
            let table = case.array("embedding")?;
            let shape = (table.len() / case.features, case.features);
            let table = Tensor::from_vec(table, shape, device)?;
            embedding = Some(Embedding::new(table, case.features));
            let tokens: Vec<u32> = case
                .tokens()?
                .into_iter()
                .map(|token| token as u32)
                .collect();
            vec![Tensor::from_vec(tokens, (1, case.time), device)?]
        }
    };
    let case = case.clone();
    Ok(Box::new(Candle {
        case,
        layers,
        inputs,
        embedding,
        dense,
        state: None,
        at: 0,
    }))
}

impl Candle {
    fn sequence(&self, input: &Tensor) -> Result<Tensor> {
        let mut outputs = vec![];
        for (direction, layer) in self.layers.iter().enumerate() {
            // candle's `Direction::Backward` chooses names of weights, it does not reverse.
            let input = if direction == 1 {
                input.flip(&[1])?
            } else {
                input.clone()
            };
            let output = match layer {
                Layer::Lstm(lstm) => lstm.states_to_tensor(&lstm.seq(&input)?)?,
                // Its own states_to_tensor concatenates along the units.
                Layer::Gru(gru) => {
                    let states = gru.seq(&input)?;
                    let h: Vec<&Tensor> = states.iter().map(|state| state.h()).collect();
                    Tensor::stack(&h, 1)?
                }
            };
            outputs.push(if direction == 1 {
                output.flip(&[1])?
            } else {
                output
            });
        }
        Ok(if outputs.len() == 1 {
            outputs.remove(0)
        } else {
            Tensor::cat(&outputs, 2)?
        })
    }

    fn run(&mut self) -> Result<Tensor> {
        let input = &self.inputs[self.at];
        if self.case.what == What::Sequence {
            return self.sequence(input);
        }
        let (Layer::Lstm(lstm), Some(dense)) = (&self.layers[0], &self.dense) else {
            return Err("this case is an LSTM's".into());
        };
        let state = match &self.embedding {
            Some(embedding) => {
                let mut states = lstm.seq(&embedding.forward(input)?)?;
                states.pop().ok_or("the sequence has no step")?
            }
            None => match &self.state {
                Some(state) => lstm.step(input, state)?,
                None => lstm.step(input, &lstm.zero_state(1)?)?,
            },
        };
        let output = dense.forward(state.h())?;
        self.state = Some(state);
        self.at = (self.at + 1) % self.inputs.len();
        Ok(output)
    }
}

impl Run for Candle {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        (self.at, self.state) = (0, None);
        let mut output = vec![];
        for _ in 0..self.inputs.len() {
            output.extend(self.run()?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(output)
    }
}

fn main() {
    serve(load);
}
