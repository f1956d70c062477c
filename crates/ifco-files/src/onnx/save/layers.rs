//! Keras's layers as nodes, class by class.

use ifco_model::{Argument, Config, layers::activation_of};
use ndarray::ArrayD;

use super::graph::Attribute;
use super::{Stage, Writer, activation};
use crate::SaveError;
use crate::stack::IDLE;

/// Layers that do the same at each step, so that a TimeDistributed around one changes nothing.
pub(super) const AT_EACH_STEP: [&str; 7] = [
    "Dense",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Dropout",
    "Rescaling",
];

impl Writer<'_> {
    /// Adds what a layer computes: the names of its outputs.
    pub(super) fn layer(&mut self, stage: &Stage<'_>) -> Result<Vec<String>, SaveError> {
        if stage.class == "Masking" || stage.flag("mask_zero", false) {
            let lost = stage.refuse("it masks steps, which ONNX does not know");
            let change = format!("{}: no step is masked", stage.name());
            self.options.pass_over(lost, change, &mut self.notes)?;
        }
        let output = match stage.class {
            "LSTM" | "GRU" | "SimpleRNN" | "RNN" => return self.recurrent(stage),
            "Bidirectional" => return self.both_ways(stage),
            "Masking" => stage.x()?.to_owned(),
            class if IDLE.contains(&class) => stage.x()?.to_owned(),
            "Dense" => self.dense(stage)?,
            "Embedding" => self.embedding(stage)?,
            "Conv1D" => self.conv(stage)?,
            "MaxPooling1D" | "AveragePooling1D" => self.pooling(stage)?,
            "GlobalMaxPooling1D" | "GlobalAveragePooling1D" => self.global_pooling(stage)?,
            "LayerNormalization" => self.layer_normalization(stage)?,
            "BatchNormalization" => self.batch_normalization(stage)?,
            "Flatten" => {
                let x = stage.x()?;
                let shape = self.graph.integers(stage.name(), &[0, -1]);
                self.graph.one("Reshape", stage.name(), &[x, &shape], &[])
            }
            "Reshape" => {
                let sizes = integers(stage, "target_shape")?;
                let sizes: Vec<i64> = std::iter::once(0).chain(sizes).collect();
                let shape = self.graph.integers(stage.name(), &sizes);
                self.graph
                    .one("Reshape", stage.name(), &[stage.x()?, &shape], &[])
            }
            "Permute" => {
                let order = integers(stage, "dims")?;
                let order = std::iter::once(0).chain(order).collect();
                self.transpose(stage.name(), stage.x()?, order)
            }
            "RepeatVector" => {
                let times = self
                    .config(stage)?
                    .usize("n")
                    .map_err(|e| stage.refuse(e.to_string()))?;
                let axes = self.graph.integers(stage.name(), &[1]);
                let row = self
                    .graph
                    .one("Unsqueeze", stage.name(), &[stage.x()?, &axes], &[]);
                let shape = self.graph.integers(stage.name(), &[1, times as i64, 1]);
                self.graph.one("Expand", stage.name(), &[&row, &shape], &[])
            }
            "ZeroPadding1D" => {
                channels_last(stage)?;
                let padding = &stage.config["padding"];
                let side = |index: usize| padding.get(index).unwrap_or(padding).as_i64();
                let (Some(left @ 0..), Some(right @ 0..)) = (side(0), side(1)) else {
                    return Err(stage.refuse(format!("its padding is {padding}")));
                };
                let name = stage.name();
                let pads = self.graph.integers(name, &[0, left, 0, 0, right, 0]);
                self.graph.one("Pad", name, &[stage.x()?, &pads], &[])
            }
            "Rescaling" => self.rescaling(stage)?,
            "Concatenate" => {
                let axis = stage.config["axis"].as_i64().unwrap_or(-1);
                let parts: Vec<&str> = stage.inputs.iter().map(|(name, _)| name.as_str()).collect();
                self.graph.one(
                    "Concat",
                    stage.name(),
                    &parts,
                    &[("axis", Attribute::Int(axis))],
                )
            }
            "Add" | "Subtract" | "Multiply" | "Maximum" | "Minimum" | "Average" | "Divide"
            | "TrueDivide" => self.merge(stage)?,
            _ => self.activation_layer(stage)?,
        };
        Ok(vec![output])
    }

    fn config<'b>(&self, stage: &'b Stage<'_>) -> Result<Config<'b>, SaveError> {
        Config::new(stage.name(), self.generation, stage.config)
            .map_err(|error| stage.refuse(error.to_string()))
    }

    pub(super) fn transpose(&mut self, name: &str, x: &str, order: Vec<i64>) -> String {
        self.graph
            .one("Transpose", name, &[x], &[("perm", Attribute::Ints(order))])
    }

    /// What the option `activation` asks for.
    fn activate(&mut self, stage: &Stage<'_>, x: String) -> Result<String, SaveError> {
        let activation = self
            .config(stage)?
            .activation_or("activation", ifco_cell::Activation::Linear);
        let activation = activation.map_err(|error| stage.refuse(error.to_string()))?;
        activation::apply(&mut self.graph, stage.name(), &x, activation)
            .ok_or_else(|| stage.refuse(format!("its activation is {}", activation.name())))
    }

    /// A layer that is an activation, or none that is known.
    fn activation_layer(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        if stage.class == "Activation" {
            return self.activate(stage, stage.x()?.to_owned());
        }
        let unknown = || stage.refuse("ifco does not write this layer as ONNX");
        if stage.class == "Softmax" && stage.config["axis"].as_i64().is_some_and(|axis| axis != -1)
        {
            return Err(unknown());
        }
        let config = self.config(stage)?;
        let activation = activation_of(stage.class, &config).ok().flatten();
        let activation = activation.ok_or_else(unknown)?;
        activation::apply(&mut self.graph, stage.name(), stage.x()?, activation).ok_or_else(unknown)
    }

    fn dense(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        let weights = weights(stage)?;
        let name = stage.name();
        let kernel = self.graph.weight(&format!("{name}/kernel"), &weights[0]);
        let mut y = self.graph.one("MatMul", name, &[stage.x()?, &kernel], &[]);
        if let Some(bias) = weights.get(1) {
            let bias = self.graph.weight(&format!("{name}/bias"), bias);
            y = self.graph.one("Add", name, &[&y, &bias], &[]);
        }
        self.activate(stage, y)
    }

    fn embedding(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        let weights = weights(stage)?;
        let name = stage.name();
        let table = self
            .graph
            .weight(&format!("{name}/embeddings"), &weights[0]);
        let indices = self
            .graph
            .one("Cast", name, &[stage.x()?], &[("to", Attribute::Int(7))]);
        Ok(self.graph.one("Gather", name, &[&table, &indices], &[]))
    }

    /// Channels last become channels in the middle, and back.
    fn conv(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        let weights = weights(stage)?;
        let name = stage.name();
        channels_last(stage)?;
        let (size, stride, dilation) = (
            one(stage, "kernel_size")?,
            one(stage, "strides")?,
            one(stage, "dilation_rate")?,
        );
        let reach = dilation.saturating_mul(size - 1);
        let mut attributes = vec![
            ("strides", Attribute::Ints(vec![stride])),
            ("dilations", Attribute::Ints(vec![dilation])),
            (
                "group",
                Attribute::Int(stage.config["groups"].as_i64().unwrap_or(1)),
            ),
        ];
        attributes.push(match stage.config["padding"].as_str().unwrap_or("valid") {
            "causal" => ("pads", Attribute::Ints(vec![reach, 0])),
            // How much depends on the length.
            "same" if stride > 1 => ("auto_pad", Attribute::Text("SAME_UPPER")),
            "same" => ("pads", Attribute::Ints(vec![reach / 2, reach - reach / 2])),
            _ => ("pads", Attribute::Ints(vec![0, 0])),
        });
        self.notes.push(format!(
            "{name}: its kernel is written as (filters, channels, size), as ONNX has it"
        ));
        let kernel = weights[0].view().permuted_axes(vec![2, 1, 0]);
        let kernel = kernel.as_standard_layout().into_owned();
        let kernel = self.graph.weight(&format!("{name}/kernel"), &kernel);
        let bias = weights
            .get(1)
            .map(|bias| self.graph.weight(&format!("{name}/bias"), bias));
        let x = self.transpose(name, stage.x()?, vec![0, 2, 1]);
        let mut inputs = vec![x.as_str(), &kernel];
        inputs.extend(bias.as_deref());
        let y = self.graph.one("Conv", name, &inputs, &attributes);
        let y = self.transpose(name, &y, vec![0, 2, 1]);
        self.activate(stage, y)
    }

    fn pooling(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        channels_last(stage)?;
        let size = one(stage, "pool_size")?;
        let stride = match stage.config["strides"].is_null() {
            true => size,
            false => one(stage, "strides")?,
        };
        let padding = match stage.config["padding"].as_str() {
            Some("same") => "SAME_UPPER",
            _ => "VALID",
        };
        let op = match stage.class {
            "MaxPooling1D" => "MaxPool",
            _ => "AveragePool",
        };
        let x = self.transpose(stage.name(), stage.x()?, vec![0, 2, 1]);
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![size])),
            ("strides", Attribute::Ints(vec![stride])),
            ("auto_pad", Attribute::Text(padding)),
        ];
        let y = self.graph.one(op, stage.name(), &[&x], &attributes);
        Ok(self.transpose(stage.name(), &y, vec![0, 2, 1]))
    }

    fn global_pooling(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        channels_last(stage)?;
        let op = match stage.class {
            "GlobalMaxPooling1D" => "ReduceMax",
            _ => "ReduceMean",
        };
        let attributes = [
            ("axes", Attribute::Ints(vec![1])),
            (
                "keepdims",
                Attribute::Int(i64::from(stage.flag("keepdims", false))),
            ),
        ];
        Ok(self.graph.one(op, stage.name(), &[stage.x()?], &attributes))
    }

    fn layer_normalization(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        last_axis(stage)?;
        if stage.flag("rms_scaling", false) {
            return Err(stage.refuse("it scales by the root mean square"));
        }
        let mut weights = weights(stage)?.into_iter();
        let size = stage.inputs[0]
            .1
            .as_ref()
            .and_then(|shape| shape.last().copied().flatten());
        let size = size.ok_or_else(|| stage.refuse("how many features it has is not known"))?;
        let gamma = match stage.flag("scale", true) {
            true => weights.next(),
            false => None,
        };
        let gamma = gamma.unwrap_or_else(|| ArrayD::ones(vec![size]));
        let name = stage.name();
        let gamma = self.graph.weight(&format!("{name}/gamma"), &gamma);
        let beta = weights
            .next()
            .map(|beta| self.graph.weight(&format!("{name}/beta"), &beta));
        let mut inputs = vec![stage.x()?, &gamma];
        inputs.extend(beta.as_deref());
        let epsilon = stage.config["epsilon"].as_f64().unwrap_or(1e-3) as f32;
        let attributes = [
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(epsilon)),
        ];
        Ok(self
            .graph
            .one("LayerNormalization", name, &inputs, &attributes))
    }

    /// With what it learned of the data, it is a factor and a sum.
    fn batch_normalization(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        last_axis(stage)?;
        let weights = weights(stage)?;
        let (scale, center) = (stage.flag("scale", true), stage.flag("center", true));
        let mut arrays = weights.iter();
        let gamma = scale.then(|| arrays.next()).flatten();
        let beta = center.then(|| arrays.next()).flatten();
        let (Some(mean), Some(variance)) = (arrays.next(), arrays.next()) else {
            return Err(stage.refuse("its moving mean and variance are missing"));
        };
        let epsilon = stage.config["epsilon"].as_f64().unwrap_or(1e-3) as f32;
        let mut factor = variance.mapv(|variance| (variance + epsilon).sqrt().recip());
        if let Some(gamma) = gamma {
            factor *= gamma;
        }
        let mut shift = -(mean * &factor);
        if let Some(beta) = beta {
            shift += beta;
        }
        let name = stage.name();
        self.notes.push(format!(
            "{name}: its four arrays are written as one factor and one sum for each feature"
        ));
        let factor = self.graph.weight(&format!("{name}/factor"), &factor);
        let shift = self.graph.weight(&format!("{name}/shift"), &shift);
        let y = self.graph.one("Mul", name, &[stage.x()?, &factor], &[]);
        Ok(self.graph.one("Add", name, &[&y, &shift], &[]))
    }

    fn rescaling(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        let number = |key: &str, default: f64| match &stage.config[key] {
            value if value.is_null() => Ok(default),
            value => value
                .as_f64()
                .ok_or_else(|| stage.refuse(format!("its {key} is no number"))),
        };
        let (scale, offset) = (number("scale", 1.0)?, number("offset", 0.0)?);
        let scale = self.graph.number(stage.name(), scale as f32);
        let offset = self.graph.number(stage.name(), offset as f32);
        let y = self
            .graph
            .one("Mul", stage.name(), &[stage.x()?, &scale], &[]);
        Ok(self.graph.one("Add", stage.name(), &[&y, &offset], &[]))
    }

    /// Several tensors number by number; an operation of Keras 3 may have numbers among them.
    fn merge(&mut self, stage: &Stage<'_>) -> Result<String, SaveError> {
        let ranks: Vec<Option<usize>> = stage
            .inputs
            .iter()
            .map(|(_, shape)| shape.as_ref().map(Vec::len))
            .collect();
        if ranks.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(stage.refuse("its inputs have different numbers of axes"));
        }
        let mut tensors = stage.inputs.iter().map(|(name, _)| name.clone());
        let mut parts = Vec::new();
        for argument in &stage.call.inputs {
            parts.push(match argument {
                Argument::Number(number) => self.graph.number(stage.name(), *number),
                Argument::Tensor { .. } => tensors.next().unwrap_or_default(),
            });
        }
        let op = match stage.class {
            "Add" => "Add",
            "Subtract" => "Sub",
            "Multiply" => "Mul",
            "Maximum" => "Max",
            "Minimum" => "Min",
            "Average" => "Mean",
            _ => "Div",
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if ["Max", "Min", "Mean"].contains(&op) {
            return Ok(self.graph.one(op, stage.name(), &parts, &[]));
        }
        let [first, others @ ..] = parts.as_slice() else {
            return Err(stage.refuse("it takes no tensor"));
        };
        let mut all = (*first).to_owned();
        for other in others {
            all = self.graph.one(op, stage.name(), &[&all, other], &[]);
        }
        Ok(all)
    }
}

fn weights(stage: &Stage<'_>) -> Result<Vec<ArrayD<f32>>, SaveError> {
    let weights = stage.entry.layer.weights();
    weights
        .filter(|weights| !weights.is_empty() || stage.class.ends_with("Normalization"))
        .ok_or_else(|| stage.refuse("it has no weights"))
}

fn integers(stage: &Stage<'_>, key: &str) -> Result<Vec<i64>, SaveError> {
    let list = stage.config[key].as_array();
    let list = list.and_then(|list| list.iter().map(|value| value.as_i64()).collect());
    list.ok_or_else(|| stage.refuse(format!("its {key} is not a list of integers")))
}

/// A positive whole number, or a list of one.
fn one(stage: &Stage<'_>, key: &str) -> Result<i64, SaveError> {
    let value = &stage.config[key];
    let value = value.get(0).unwrap_or(value);
    match value.as_i64() {
        Some(value) if value > 0 => Ok(value),
        None if value.is_null() => Ok(1),
        _ => Err(stage.refuse(format!("its {key} is {value}"))),
    }
}

fn channels_last(stage: &Stage<'_>) -> Result<(), SaveError> {
    match stage.config["data_format"].as_str() {
        Some("channels_first") => Err(stage.refuse("its data_format is channels_first")),
        _ => Ok(()),
    }
}

/// Refuses a normalization over another axis than the last.
fn last_axis(stage: &Stage<'_>) -> Result<(), SaveError> {
    let rank = stage.rank()? as i64;
    let axis = &stage.config["axis"];
    let is_one = axis.as_array().is_none_or(|axes| axes.len() == 1);
    let axis = axis.get(0).unwrap_or(axis).as_i64().unwrap_or(-1);
    match is_one && (axis == -1 || axis == rank - 1) {
        true => Ok(()),
        false => Err(stage.refuse("it works along other axes than the last one")),
    }
}
