//! GuitarML's JSON: the `SimpleRNN` of Automated-GuitarAmpModelling, which NeuralPi, Proteus and
//! others play. `state_dict` is PyTorch's, as nested lists; `skip` channels of the input are added
//! to the output.

use ifco_model::{About, Model};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis, stack};
use serde_json::{Value, json};

use super::facts::{facts, sample_rate};
use super::item::Item;
use super::network::{MOST_LAYERS, Network};
use super::{gru_packing, packing};
use crate::FileError;

pub(super) fn open(root: &Item<'_>) -> Result<Model, FileError> {
    let data = root.need("model_data")?;
    let kind = data.get("model");
    if let Some(kind) = kind.filter(|kind| kind.value() != "SimpleRNN") {
        let name: String = kind.text()?.chars().take(40).collect();
        return Err(kind.unsupported(
            format_args!("a {name:?} is no SimpleRNN"),
            "ifco opens the recurrent models of GuitarML",
        ));
    }
    let mut assumed = Vec::new();
    let features = data.need("input_size")?.whole(1)?;
    let outputs = data.need("output_size")?.whole(1)?;
    let units = data.need("hidden_size")?.whole(1)?;
    let num_layers = data.need("num_layers")?;
    let layers = num_layers.whole(1)?;
    if layers > MOST_LAYERS {
        return Err(num_layers.wrong(format!("{MOST_LAYERS} layers at most")));
    }
    let skip = match data.get("skip") {
        Some(skip) => skip.whole(0)?,
        None => {
            assumed.push("the first channel is added to the output: skip is 1".into());
            1
        }
    };
    if skip > features || skip != 0 && skip != outputs {
        let expected = format!("0, or {outputs} channels of the {features} as there are outputs");
        return Err(data.get("skip").unwrap_or(data).wrong(expected));
    }

    let state = root.need("state_dict")?;
    check_names(&state, layers)?;
    let unit_type = data.need("unit_type")?;
    let (mut network, input) = Network::new(root.file(), features);
    let mut last = input;
    for layer in 0..layers {
        let inputs = network.features(last);
        let weights = State {
            state: &state,
            layer,
            inputs,
            units,
        };
        let mut options = json!({ "units": units, "return_sequences": true });
        let (class, arrays) = match unit_type.text()? {
            "LSTM" => ("LSTM", weights.lstm()?),
            "GRU" => {
                options["reset_after"] = true.into();
                ("GRU", weights.gru()?)
            }
            "RNN" => ("SimpleRNN", weights.rnn()?),
            _ => return Err(unit_type.wrong("\"LSTM\", \"GRU\" or \"RNN\"")),
        };
        last = network.add(class, options, &[last], units, arrays);
    }

    let weight = state.need("lin.weight")?;
    let kernel = weight.matrix()?;
    check(&weight, kernel.shape(), &[outputs, units])?;
    let mut head = vec![transposed(&kernel)];
    let bias = state.get("lin.bias");
    if let Some(bias) = &bias {
        let values = bias.vector()?;
        check(bias, values.shape(), &[outputs])?;
        head.push(values.into_dyn());
    }
    let options = json!({ "units": outputs, "use_bias": bias.is_some() });
    last = network.add("Dense", options, &[last], outputs, head);
    if skip > 0 {
        let added = network.first_features(input, skip);
        network.add("Add", json!({}), &[last, added], outputs, Vec::new());
    }

    let rate = [&data, root].into_iter().find_map(|item| {
        let keys = ["sample_rate", "samplerate"];
        keys.iter().find_map(|key| item.get(key))
    });
    network.finish(About {
        format: Some("GuitarML JSON".into()),
        sample_rate: rate.map(|rate| sample_rate(&rate)).transpose()?,
        facts: facts(
            data.value(),
            &[
                "model",
                "input_size",
                "output_size",
                "hidden_size",
                "num_layers",
                "unit_type",
                "bias_fl",
                "sample_rate",
                "samplerate",
            ],
        ),
        assumed,
    })
}

/// Refuses arrays that no part of the network would take.
fn check_names(state: &Item<'_>, layers: usize) -> Result<(), FileError> {
    let Value::Object(entries) = state.value() else {
        return Err(state.wrong("an object of arrays by name"));
    };
    const PARTS: [&str; 4] = ["weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l"];
    let is_known = |name: &str| {
        let recurrent = name.strip_prefix("rec.").and_then(|name| {
            let number = PARTS.iter().find_map(|part| name.strip_prefix(part))?;
            number.parse::<usize>().ok()
        });
        recurrent.is_some_and(|layer| layer < layers) || matches!(name, "lin.weight" | "lin.bias")
    };
    match entries.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let name: String = name.chars().take(80).collect();
            Err(state.unsupported(
                format_args!("the array {name:?} is no part of a SimpleRNN of {layers} layers"),
                "is num_layers right? bidirectional and projected layers are not read here",
            ))
        }
    }
}

/// One recurrent layer's arrays, as PyTorch names and lays them.
struct State<'a, 'b> {
    state: &'b Item<'a>,
    layer: usize,
    inputs: usize,
    units: usize,
}

/// Of so many gates: weight_ih, weight_hh, and both biases, zeros where there are none.
struct Packed {
    weight_ih: Array2<f32>,
    weight_hh: Array2<f32>,
    bias_ih: Array1<f32>,
    bias_hh: Array1<f32>,
}

impl State<'_, '_> {
    fn read(&self, gates: usize) -> Result<Packed, FileError> {
        let rows = gates.saturating_mul(self.units);
        let matrix = |part: &str, columns: usize| {
            let item = self.state.need(&format!("rec.{part}_l{}", self.layer))?;
            let matrix = item.matrix()?;
            check(&item, matrix.shape(), &[rows, columns])?;
            Ok(matrix)
        };
        // The matrices come first: where they fit, the sizes are no more than the file has.
        let weight_ih = matrix("weight_ih", self.inputs)?;
        let weight_hh = matrix("weight_hh", self.units)?;
        let vector = |part: &str| {
            let item = self.state.get(&format!("rec.{part}_l{}", self.layer));
            let Some(item) = item else {
                return Ok(Array1::zeros(rows));
            };
            let vector = item.vector()?;
            check(&item, vector.shape(), &[rows])?;
            Ok(vector)
        };
        Ok(Packed {
            weight_ih,
            weight_hh,
            bias_ih: vector("bias_ih")?,
            bias_hh: vector("bias_hh")?,
        })
    }

    fn lstm(&self) -> Result<Vec<ArrayD<f32>>, FileError> {
        let packed = self.read(4)?;
        let gates = packing("pytorch", self.state.file())?;
        let wrong = |error: ifco_cell::packing::PackingError| self.state.wrong(error.to_string());
        let matrix = |matrix: &Array2<f32>| gates.matrix_to_keras(matrix.view()).map_err(wrong);
        let biases = [packed.bias_ih.view(), packed.bias_hh.view()];
        Ok(vec![
            matrix(&packed.weight_ih)?.into_dyn(),
            matrix(&packed.weight_hh)?.into_dyn(),
            gates
                .bias_to_keras(&biases, None)
                .map_err(wrong)?
                .into_dyn(),
        ])
    }

    /// PyTorch's r z n become Keras's z r h; its two biases stay two, as `reset_after` has them.
    fn gru(&self) -> Result<Vec<ArrayD<f32>>, FileError> {
        let packed = self.read(3)?;
        let torch = gru_packing("pytorch", self.state.file())?;
        let to_keras = |matrix: ArrayView2<'_, f32>| {
            let packed = torch.matrix_to_keras(matrix);
            packed.ok_or_else(|| self.state.wrong("three gates"))
        };
        // Each row of the biases is packed as a kernel with one feature.
        let biases = stack(Axis(1), &[packed.bias_ih.view(), packed.bias_hh.view()])
            .map_err(|_| self.state.wrong("two biases of the same length"))?;
        Ok(vec![
            to_keras(packed.weight_ih.view())?.into_dyn(),
            to_keras(packed.weight_hh.view())?.into_dyn(),
            to_keras(biases.view())?.into_dyn(),
        ])
    }

    fn rnn(&self) -> Result<Vec<ArrayD<f32>>, FileError> {
        let packed = self.read(1)?;
        Ok(vec![
            transposed(&packed.weight_ih),
            transposed(&packed.weight_hh),
            (packed.bias_ih + packed.bias_hh).into_dyn(),
        ])
    }
}

fn transposed(matrix: &Array2<f32>) -> ArrayD<f32> {
    matrix.t().as_standard_layout().into_owned().into_dyn()
}

fn check(item: &Item<'_>, found: &[usize], expected: &[usize]) -> Result<(), FileError> {
    match found == expected {
        true => Ok(()),
        false => Err(item.wrong_as(
            format!("an array of shape {found:?}"),
            format!("{expected:?}"),
        )),
    }
}
