//! RTNeural's JSON, with what AIDA-X adds: `in_gain` and `out_gain` in decibels, and `in_skip`.
//!
//! Layers stand in order, each with its type, the activation behind it, its output's shape, and
//! the arrays that Keras's `get_weights()` gives. RTNeural answers each step at once, whatever the
//! shapes say of batch and time.

use ifco_model::{About, Model};
use ndarray::{Array1, ArrayD, Axis, Ix1};
use serde_json::{Value, json};

use super::facts::{facts, sample_rate};
use super::item::Item;
use super::network::{MOST_LAYERS, Network, Tensor};
use super::packing;
use crate::FileError;

/// The activations that RTNeural makes of a name.
const ACTIVATIONS: [&str; 5] = ["tanh", "relu", "sigmoid", "softmax", "elu"];

pub(super) fn open(root: &Item<'_>) -> Result<Model, FileError> {
    let in_shape = root.need("in_shape")?;
    if in_shape.items()?.len() > 3 {
        return Err(in_shape.unsupported(
            "the input has four axes, for conv2d layers",
            "ifco opens RTNeural models over (batch, time, features)",
        ));
    }
    let features = in_shape.last()?.whole(1)?;
    let list = root.need("layers")?;
    let layers = list.items()?;
    if layers.is_empty() || layers.len() > MOST_LAYERS {
        return Err(list.wrong(format!("a list of 1 to {MOST_LAYERS} layers")));
    }

    let (mut network, input) = Network::new(root.file(), features);
    let mut builder = Builder {
        network: &mut network,
        last: input,
        time: time(&in_shape),
        assumed: Vec::new(),
    };
    let skip = match root.get("in_skip") {
        None => 0,
        Some(skip) => match skip.whole(0)? {
            skip @ (0 | 1) => skip,
            _ => return Err(skip.wrong("0 or 1, as AIDA-X knows it")),
        },
    };
    builder.gain(root.get("in_gain"), 1)?;
    let played = builder.last;
    let end = end_of_time(&layers);
    for (index, layer) in layers.iter().enumerate() {
        builder.layer(layer, index >= end)?;
    }
    if skip == 1 {
        builder.skip(played, root)?;
    }
    builder.gain(root.get("out_gain"), usize::MAX)?;
    let assumed = builder.assumed;
    let metadata = root.get("metadata");
    let rate = [metadata.as_ref(), Some(root)]
        .into_iter()
        .flatten()
        .find_map(|item| item.get("samplerate").or_else(|| item.get("sample_rate")));
    let mut told = metadata.map_or(Vec::new(), |metadata| {
        facts(metadata.value(), &["samplerate", "sample_rate"])
    });
    told.extend(facts(
        root.value(),
        &[
            "in_gain",
            "out_gain",
            "in_skip",
            "samplerate",
            "sample_rate",
        ],
    ));
    network.finish(About {
        format: Some("RTNeural JSON".into()),
        sample_rate: rate.map(|rate| sample_rate(&rate)).transpose()?,
        facts: told,
        assumed,
    })
}

/// The first layer from which on shapes are but `(batch, features)`: if a recurrent one stands
/// there, time ends in it, as with Keras's `return_sequences=False`.
fn end_of_time(layers: &[Item<'_>]) -> usize {
    let rank = |layer: &Item<'_>| Some(layer.get("shape")?.value().as_array()?.len());
    let is_flat = |layer: &&Item<'_>| rank(layer) == Some(2);
    layers.len() - layers.iter().rev().take_while(is_flat).count()
}

/// The time of a shape `(batch, time, features)`, where it is a number.
fn time(shape: &Item<'_>) -> Option<u64> {
    match &shape.value().as_array()?[..] {
        [_, time, _] => time.as_u64(),
        _ => None,
    }
}

struct Builder<'n, 'a> {
    network: &'n mut Network<'a>,
    last: Tensor,
    /// How many steps the file says that a sequence has, if it does.
    time: Option<u64>,
    assumed: Vec<String>,
}

impl Builder<'_, '_> {
    fn add(
        &mut self,
        class: &'static str,
        config: Value,
        features: usize,
        weights: Vec<ArrayD<f32>>,
    ) {
        self.last = self
            .network
            .add(class, config, &[self.last], features, weights);
    }

    fn assume(&mut self, text: &str) {
        if !self.assumed.iter().any(|assumed| assumed == text) {
            self.assumed.push(text.into());
        }
    }

    /// A gain in decibels over the first `channels` features, the others being knobs.
    fn gain(&mut self, gain: Option<Item<'_>>, channels: usize) -> Result<(), FileError> {
        let Some(gain) = gain else { return Ok(()) };
        let decibels = f64::from(gain.number()?);
        let factor = match decibels {
            quiet if quiet <= -90.0 => 0.0,
            decibels => 10f64.powf(decibels / 20.0) as f32,
        };
        if !factor.is_finite() {
            return Err(gain.wrong("decibels, 700 at most"));
        }
        if factor != 1.0 {
            let features = self.network.features(self.last);
            let scale: Vec<f32> = (0..features)
                .map(|feature| if feature < channels { factor } else { 1.0 })
                .collect();
            let scale = match features {
                1 => json!(factor),
                _ => json!(scale),
            };
            self.add("Rescaling", json!({ "scale": scale }), features, Vec::new());
        }
        Ok(())
    }

    /// Adds the sound that went in, behind the gain, to what came out.
    fn skip(&mut self, played: Tensor, root: &Item<'_>) -> Result<(), FileError> {
        let features = self.network.features(self.last);
        if features != 1 {
            let skip = root.need("in_skip")?;
            return Err(skip.wrong(format!("0 where there are {features} outputs")));
        }
        let sound = self.network.first_features(played, 1);
        let both = [self.last, sound];
        self.last = self.network.add("Add", json!({}), &both, 1, Vec::new());
        Ok(())
    }

    fn layer(&mut self, layer: &Item<'_>, last_only: bool) -> Result<(), FileError> {
        let kind = layer.need("type")?;
        let features = layer.need("shape")?.last()?.whole(1)?;
        let inputs = self.network.features(self.last);
        let weights = layer.need("weights")?;
        let reader = Weights {
            item: &weights,
            inputs,
            features,
        };
        let is_recurrent = matches!(kind.text()?, "lstm" | "gru");
        let keeps = matches!(kind.text()?, "prelu" | "batchnorm" | "activation");
        if keeps && features != inputs {
            let shape = layer.need("shape")?;
            return Err(shape.wrong(format!("{inputs} features, as its input has")));
        }
        match kind.text()? {
            "dense" | "time-distributed-dense" => {
                let arrays = reader.take(1..=2, &[&[inputs, features], &[features]])?;
                let options = json!({ "units": features, "use_bias": arrays.len() == 2 });
                self.add("Dense", options, features, arrays);
            }
            "conv1d" => self.conv1d(layer, &reader)?,
            "lstm" => {
                let gates = packing("rtneural", layer.file())?;
                let shapes: [&[usize]; 3] = [
                    &[inputs, reader.gates(4)],
                    &[features, reader.gates(4)],
                    &[reader.gates(4)],
                ];
                let mut arrays = reader.take(3..=3, &shapes)?;
                let wrong =
                    |error: ifco_cell::packing::PackingError| weights.wrong(error.to_string());
                if let Some(bias) = arrays.pop() {
                    for array in &mut arrays {
                        let matrix = array.view().into_dimensionality();
                        let matrix = matrix.map_err(|_| weights.wrong("matrices"))?;
                        *array = gates.matrix_to_keras(matrix).map_err(wrong)?.into_dyn();
                    }
                    let bias = bias.into_dimensionality::<Ix1>();
                    let bias = bias.map_err(|_| weights.wrong("a bias of one axis"))?;
                    let bias = gates.bias_to_keras(&[bias.view()], None).map_err(wrong)?;
                    arrays.push(bias.into_dyn());
                }
                let options = json!({ "units": features, "return_sequences": !last_only });
                self.add("LSTM", options, features, arrays);
            }
            "gru" => {
                let shapes: [&[usize]; 3] = [
                    &[inputs, reader.gates(3)],
                    &[features, reader.gates(3)],
                    &[2, reader.gates(3)],
                ];
                let arrays = reader.take(3..=3, &shapes)?;
                let options = json!({
                    "units": features, "return_sequences": !last_only, "reset_after": true,
                });
                self.add("GRU", options, features, arrays);
            }
            "prelu" => self.prelu(&weights, features)?,
            "batchnorm" => {
                let one: &[usize] = &[features];
                let arrays = reader.take(2..=4, &[one; 4])?;
                if arrays.len() == 3 {
                    return Err(weights.wrong("2 or 4 arrays"));
                }
                let is_affine = arrays.len() == 4;
                let options = json!({
                    "epsilon": layer.need("epsilon")?.number()?,
                    "scale": is_affine,
                    "center": is_affine,
                });
                self.add("BatchNormalization", options, features, arrays);
            }
            "activation" => {}
            other => {
                let name: String = other.chars().take(40).collect();
                return Err(kind.unsupported(
                    format_args!("ifco does not open RTNeural layers of type {name:?}"),
                    "it opens dense, time-distributed-dense, lstm, gru, conv1d, prelu, batchnorm \
                     and activation",
                ));
            }
        }
        self.activation(layer, is_recurrent)
    }

    /// The activation behind a layer. Of recurrent layers it is the one inside, which in RTNeural
    /// is tanh.
    fn activation(&mut self, layer: &Item<'_>, is_recurrent: bool) -> Result<(), FileError> {
        let Some(activation) = layer.get("activation") else {
            return Ok(());
        };
        match (activation.text()?, is_recurrent) {
            ("", _) => {}
            ("tanh", true) => {}
            (_, true) => {
                return Err(activation.unsupported(
                    "RTNeural runs every lstm and gru with tanh, whatever stands here",
                    "train the layer with tanh, or open the model that it was exported from",
                ));
            }
            (name, false) if ACTIVATIONS.contains(&name) => {
                let features = self.network.features(self.last);
                let options = json!({ "activation": name });
                self.add("Activation", options, features, Vec::new());
            }
            (_, false) => {
                let names = ACTIVATIONS.join(", ");
                return Err(activation.wrong(format!("nothing, or one of {names}")));
            }
        }
        if is_recurrent {
            self.assume("lstm and gru layers use tanh and sigmoid, as RTNeural runs them");
        }
        Ok(())
    }

    fn conv1d(&mut self, layer: &Item<'_>, reader: &Weights<'_, '_>) -> Result<(), FileError> {
        let Weights {
            inputs, features, ..
        } = *reader;
        let shape = layer.need("shape")?;
        if let (Some(before), Some(after)) = (self.time, time(&shape))
            && before != after
        {
            return Err(shape.unsupported(
                format_args!("{before} steps become {after}: this conv1d is not causal"),
                "train it with padding=\"causal\" and strides=1, which is what RTNeural runs",
            ));
        }
        let size = layer.need("kernel_size")?.last()?.whole(1)?;
        let dilation = layer.need("dilation")?.last()?.whole(1)?;
        let groups = match layer.get("groups") {
            Some(item) => {
                let groups = item.whole(1)?;
                if inputs % groups != 0 || features % groups != 0 {
                    let both = format!("a divisor of {inputs} inputs and {features} outputs");
                    return Err(item.wrong(both));
                }
                groups
            }
            None => 1,
        };
        let shapes: [&[usize]; 2] = [&[size, inputs / groups, features], &[features]];
        let arrays = reader.take(2..=2, &shapes)?;
        let options = json!({
            "filters": features, "kernel_size": [size], "dilation_rate": [dilation],
            "groups": groups, "padding": "causal",
        });
        self.assume("conv1d layers are causal, as RTNeural runs them");
        self.add("Conv1D", options, features, arrays);
        Ok(())
    }

    /// `[[α…]]`, one for each feature or one for all.
    fn prelu(&mut self, weights: &Item<'_>, features: usize) -> Result<(), FileError> {
        let [alpha] = &weights.items()?[..] else {
            return Err(weights.wrong("a list of one array"));
        };
        let values = alpha.matrix()?.remove_axis(Axis(0));
        let values: Array1<f32> = match values.len() {
            1 => Array1::from_elem(features, values[0]),
            count if count == features => values,
            count => {
                let found = format!("a list of {count} numbers");
                return Err(alpha.wrong_as(found, format!("1 or {features}")));
            }
        };
        let alpha = values.insert_axis(Axis(0)).into_dyn();
        self.add(
            "PReLU",
            json!({ "shared_axes": [1] }),
            features,
            vec![alpha],
        );
        Ok(())
    }
}

/// The arrays of a layer.
struct Weights<'a, 'b> {
    item: &'b Item<'a>,
    inputs: usize,
    features: usize,
}

impl Weights<'_, '_> {
    /// The columns of so many gates.
    fn gates(&self, count: usize) -> usize {
        self.features.saturating_mul(count)
    }

    /// As many arrays as there are, of these shapes.
    fn take(
        &self,
        counts: std::ops::RangeInclusive<usize>,
        shapes: &[&[usize]],
    ) -> Result<Vec<ArrayD<f32>>, FileError> {
        let items = self.item.items()?;
        if !counts.contains(&items.len()) {
            let (least, most) = counts.into_inner();
            return Err(self.item.wrong(match least == most {
                true => format!("a list of {least} arrays"),
                false => format!("a list of {least} to {most} arrays"),
            }));
        }
        let take = |(item, shape): (&Item<'_>, &&[usize])| {
            let array = item.array(shape.len())?;
            match array.shape() == *shape {
                true => Ok(array),
                false => Err(item.wrong_as(
                    format!("an array of shape {:?}", array.shape()),
                    format!("{shape:?}"),
                )),
            }
        };
        items.iter().zip(shapes).map(take).collect()
    }
}
