//! burn on its flex backend: `Lstm`, `BiLstm` and `Gru`, whose gates have weights of their own.

mod training;

use burn::module::Param;
use burn::nn::gru::{Gru, GruConfig};
use burn::nn::{
    BiLstm, BiLstmConfig, Embedding, EmbeddingConfig, GateController, Linear, LinearConfig, Lstm,
    LstmConfig, LstmState,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use worker::{Case, Kind, Result, Run, What, columns, serve};

enum Layer {
    Lstm(Lstm),
    BiLstm(BiLstm),
    Gru(Gru),
}

struct Burn {
    case: Case,
    layer: Layer,
    /// The input; of a step, the one of each step.
    inputs: Vec<Tensor<3>>,
    tokens: Option<Tensor<2, Int>>,
    embedding: Option<Embedding>,
    dense: Option<Linear>,
    state: Option<LstmState<2>>,
    at: usize,
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn set_linear(linear: &mut Linear, kernel: Vec<f32>, bias: Vec<f32>, device: &Device) {
    let shape = [kernel.len() / bias.len(), bias.len()];
    linear.weight = Param::from_tensor(tensor(kernel, shape, device));
    let units = bias.len();
    linear.bias = Some(Param::from_tensor(tensor(bias, [units], device)));
}

/// Gives one direction's gates, which stand in Keras's order, their columns.
fn set_gates(
    case: &Case,
    prefix: &str,
    features: usize,
    gates: &mut [&mut GateController],
    device: &Device,
) -> Result<()> {
    let units = case.units;
    let kernel = case.array(&format!("{prefix}kernel"))?;
    let recurrent = case.array(&format!("{prefix}recurrent_kernel"))?;
    let mut bias = case.array(&format!("{prefix}bias"))?;
    let width = gates.len() * units;
    bias.resize(2 * width, 0.0); // an LSTM's recurrent bias is zeros
    for (index, gate) in gates.iter_mut().enumerate() {
        let part = |matrix: &[f32], rows| columns(matrix, rows, units, index);
        let (input_bias, recurrent_bias) = (part(&bias[..width], 1), part(&bias[width..], 1));
        set_linear(
            &mut gate.input_transform,
            part(&kernel, features),
            input_bias,
            device,
        );
        set_linear(
            &mut gate.hidden_transform,
            part(&recurrent, units),
            recurrent_bias,
            device,
        );
    }
    Ok(())
}

/// An LSTM's gates in Keras's order.
fn gates(lstm: &mut Lstm) -> Result<[&mut GateController; 4]> {
    let forget = lstm
        .forget_gate
        .as_mut()
        .ok_or("the LSTM has no forget gate")?;
    Ok([
        &mut lstm.input_gate,
        forget,
        &mut lstm.cell_gate,
        &mut lstm.output_gate,
    ])
}

fn set_lstm(
    case: &Case,
    prefix: &str,
    features: usize,
    lstm: &mut Lstm,
    device: &Device,
) -> Result<()> {
    set_gates(case, prefix, features, &mut gates(lstm)?, device)
}

fn load(case: &Case) -> Result<Box<dyn Run>> {
    if matches!(case.what, What::Train | What::TrainModel) {
        return training::load(case);
    }
    let (features, units, device) = (case.features, case.units, Device::flex());
    let layer = match case.kind {
        Kind::Gru => {
            let mut gru = GruConfig::new(features, units, true).init(&device);
            let gates = [&mut gru.update_gate, &mut gru.reset_gate, &mut gru.new_gate];
            set_gates(case, "", features, &mut { gates }, &device)?;
            Layer::Gru(gru)
        }
        Kind::Lstm if case.bidirectional => {
            let mut both = BiLstmConfig::new(features, units, true).init(&device);
            set_lstm(case, "", features, &mut both.forward, &device)?;
            set_lstm(case, "backward_", features, &mut both.reverse, &device)?;
            Layer::BiLstm(both)
        }
        Kind::Lstm => {
            let mut lstm = LstmConfig::new(features, units, true).init(&device);
            set_lstm(case, "", features, &mut lstm, &device)?;
            Layer::Lstm(lstm)
        }
    };
    let (mut tokens, mut embedding, mut dense, mut inputs) = (None, None, None, vec![]);
    if case.what != What::Sequence {
        let mut linear = LinearConfig::new(units, 1).init(&device);
        set_linear(
            &mut linear,
            case.array("dense_kernel")?,
            case.array("dense_bias")?,
            &device,
        );
        dense = Some(linear);
    }
    match case.what {
        What::Sequence => {
            let shape = [case.batch, case.time, features];
            inputs.push(tensor(case.array("input")?, shape, &device));
        }
        What::Step => {
            let steps = case.array("input")?.into_iter();
            inputs.extend(steps.map(|x| tensor(vec![x], [1, 1, 1], &device)));
        }
        What::Train | What::TrainModel => return Err("training is loaded elsewhere".into()),
        What::Model => {
            let table = case.array("embedding")?;
            let words = table.len() / features;
            let mut lookup = EmbeddingConfig::new(words, features).init(&device);
            lookup.weight = Param::from_tensor(tensor(table, [words, features], &device));
            embedding = Some(lookup);
            let data = TensorData::new(case.tokens()?, [1, case.time]);
            tokens = Some(Tensor::from_data(data, &device));
        }
    }
    let case = case.clone();
    Ok(Box::new(Burn {
        case,
        layer,
        inputs,
        tokens,
        embedding,
        dense,
        state: None,
        at: 0,
    }))
}

impl Burn {
    fn run(&mut self) -> Result<Vec<f32>> {
        let input = match (&self.embedding, &self.tokens) {
            (Some(embedding), Some(tokens)) => embedding.forward(tokens.clone()),
            _ => self.inputs[self.at].clone(),
        };
        let state = self.state.take();
        let (output, state) = match &self.layer {
            Layer::Lstm(lstm) => {
                let (output, state) = lstm.forward(input, state);
                (output, Some(state))
            }
            Layer::BiLstm(both) => (both.forward(input, None).0, None),
            Layer::Gru(gru) => (gru.forward(input, None), None),
        };
        if self.case.what == What::Sequence {
            // Reading the values is what makes sure that they are there; flex copies nothing.
            return Ok(output
                .into_data()
                .try_into_vec()
                .map_err(|error| format!("{error:?}"))?);
        }
        let (Some(dense), Some(state)) = (&self.dense, state) else {
            return Err("this case is an LSTM's".into());
        };
        let output = dense.forward(state.hidden.clone());
        if self.case.what == What::Step {
            self.at = (self.at + 1) % self.inputs.len();
            self.state = Some(state);
        }
        Ok(output
            .into_data()
            .try_into_vec()
            .map_err(|error| format!("{error:?}"))?)
    }
}

impl Run for Burn {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        (self.at, self.state) = (0, None);
        let mut output = vec![];
        for _ in 0..self.inputs.len().max(1) {
            output.extend(self.run()?);
        }
        Ok(output)
    }
}

fn main() {
    serve(load);
}
