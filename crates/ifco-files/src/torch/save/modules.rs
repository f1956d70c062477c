//! The layers of a stack as PyTorch's modules.

use ndarray::{Array1, ArrayD};
use serde_json::{Value, json};

use super::recurrent::Recurrent;
use super::{Module, Tensor};
use crate::stack::{REMEDY, Stage};
use crate::weights::ACTIVATIONS;
use crate::{SaveError, SaveOptions};

/// What the layers built so far give.
struct Builder<'a> {
    modules: Vec<Module>,
    options: &'a SaveOptions,
    is_sequence: bool,
    /// Of a ZeroPadding1D before a convolution.
    padding: usize,
    /// Whether something follows the last module that a choice of steps must not cross.
    is_closed: bool,
}

/// The modules of the stack.
pub(super) fn of(stages: &[Stage<'_>], options: &SaveOptions) -> Result<Vec<Module>, SaveError> {
    let has_time = |stage: &Stage<'_>| {
        matches!(
            stage.class,
            "LSTM" | "GRU" | "SimpleRNN" | "RNN" | "Bidirectional" | "Conv1D" | "Embedding"
        )
    };
    let mut builder = Builder {
        modules: Vec::new(),
        options,
        is_sequence: stages.iter().any(has_time),
        padding: 0,
        is_closed: false,
    };
    let mut stages = stages.iter().peekable();
    while let Some(stage) = stages.next() {
        if let Some(mut recurrent) = Recurrent::of(stage)? {
            // As ifco opens them: `lstm/l0`; in Keras 3, which has no `/` in names, `lstm_l0`.
            let base = stage.name.strip_suffix("l0");
            let base = base.filter(|base| base.ends_with(['/', '_']) && base.len() > 1);
            let mut name = stage.name;
            while let (Some(base), Some(next)) = (base, stages.peek()) {
                if next.name != format!("{base}l{}", recurrent.layers.len()) {
                    break;
                }
                let Some(next) = Recurrent::of(next)?.filter(|next| recurrent.takes(next)) else {
                    break;
                };
                recurrent.push(next);
                stages.next();
                name = &base[..base.len() - 1];
            }
            builder.recurrent(name, &recurrent)?;
        } else {
            builder.add(stage)?;
        }
    }
    if builder.modules.is_empty() {
        return Err(SaveError::Model {
            reason: "no layer of the model has weights".into(),
            remedy: REMEDY.into(),
        });
    }
    for module in &mut builder.modules {
        // Else it would be assumed, and said.
        let may_have = ["nn.Linear", "nn.Conv1d"]
            .iter()
            .any(|kind| module.made.starts_with(kind));
        if may_have && !module.tells("activation") {
            module.tell("activation", "\"none\"");
        }
    }
    Ok(builder.modules)
}

impl Builder<'_> {
    /// The name in PyTorch: the user's, or Keras's with what Python cannot say as `_`.
    fn name(&self, layer: &str) -> String {
        let told = self.options.renamed(layer);
        let mut name: String = match told {
            Some(told) => told.into(),
            None => layer.replace('.', "_"),
        };
        let is_odd = |letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter));
        name = name.replace(is_odd, "_");
        // Names that Python or nn.Module itself has.
        const TAKEN: [&str; 16] = [
            "train", "eval", "type", "float", "double", "half", "forward", "to", "cpu", "cuda",
            "apply", "lambda", "class", "import", "return", "modules",
        ];
        if name.starts_with(|letter: char| letter.is_ascii_digit()) || TAKEN.contains(&&*name) {
            name.insert(0, '_');
        }
        while self.modules.iter().any(|module| module.name == name) {
            name.push('_');
        }
        name
    }

    fn push(&mut self, module: Module) {
        self.modules.push(module);
        self.is_closed = false;
    }

    fn recurrent(&mut self, name: &str, recurrent: &Recurrent<'_>) -> Result<(), SaveError> {
        let mut module = recurrent.module(self.name(name))?;
        recurrent.tell(&mut module);
        self.push(module);
        self.is_sequence = recurrent.returns_sequences;
        Ok(())
    }

    /// A module called on the features of each step.
    fn simple(&mut self, stage: &Stage<'_>, made: String, arrays: Vec<(&str, ArrayD<f32>)>) {
        let name = self.name(stage.name);
        let called = vec![format!("x = {}(x)", super::place(&name))];
        let tensors = arrays.into_iter();
        let tensors = tensors.map(|(name, array)| (name.to_owned(), Tensor::Floats(array)));
        self.push(Module {
            name,
            made,
            called,
            tensors: tensors.collect(),
            spec: Vec::new(),
        });
    }

    /// The last module, for what is told of it.
    fn last(&mut self, stage: &Stage<'_>) -> Result<&mut Module, SaveError> {
        let none = stage.refuse("no module with weights comes before it", REMEDY);
        self.modules.last_mut().ok_or(none)
    }

    fn tell(&mut self, key: &'static str, value: impl Into<String>) {
        if let Some(last) = self.modules.last_mut() {
            last.tell(key, value);
        }
    }

    fn add(&mut self, stage: &Stage<'_>) -> Result<(), SaveError> {
        let missing = || stage.refuse("it has no weights yet", "open it together with its weights");
        let mut weights = stage.layer.weights().ok_or_else(missing)?.into_iter();
        let mut next = || weights.next().ok_or_else(missing);
        match stage.class {
            "Embedding" => {
                let weight = next()?;
                let (rows, columns) = (weight.shape()[0], weight.shape()[1]);
                let made = format!("nn.Embedding({rows}, {columns})");
                self.simple(stage, made, vec![("weight", weight)]);
                self.tell("kind", "\"Embedding\"");
            }
            "Dense" => {
                let kernel = next()?;
                let (inputs, units) = (kernel.shape()[0], kernel.shape()[1]);
                let bias = next().ok();
                let more = if bias.is_some() { "" } else { ", bias=False" };
                let made = format!("nn.Linear({inputs}, {units}{more})");
                let arrays = [("weight", transposed(&kernel))].into_iter();
                let arrays = arrays.chain(bias.map(|bias| ("bias", bias)));
                self.simple(stage, made, arrays.collect());
                self.tell("kind", "\"Linear\"");
                self.activation(stage, stage.activation())?;
            }
            "Conv1D" => self.convolution(stage, next()?, next().ok())?,
            "ZeroPadding1D" => {
                let padding = &stage.config["padding"];
                let sides = match padding {
                    Value::Array(sides) => sides.iter().map(Value::as_u64).collect(),
                    one => vec![one.as_u64()],
                };
                match sides.as_slice() {
                    [Some(one)] => self.padding = *one as usize,
                    [Some(one), Some(other)] if one == other => self.padding = *one as usize,
                    _ => return Err(stage.refuse("Conv1d pads both sides alike", REMEDY)),
                }
                return Ok(());
            }
            "LayerNormalization" | "BatchNormalization" => {
                self.norm(stage, weights.collect())?;
            }
            "Activation" => self.activation(stage, stage.activation())?,
            "ReLU" | "LeakyReLU" | "Softmax" | "ELU" => {
                let name = activation_layer(stage);
                self.activation(stage, name)?;
            }
            "GlobalAveragePooling1D" | "GlobalMaxPooling1D" | "GetItem" | "Mean" | "Max" => {
                self.take(stage)?;
            }
            _ => return Err(stage.refuse("PyTorch's stack has no such module", REMEDY)),
        }
        if self.padding > 0 {
            return Err(stage.refuse("a ZeroPadding1D before it pads no convolution", REMEDY));
        }
        Ok(())
    }

    fn convolution(
        &mut self,
        stage: &Stage<'_>,
        kernel: ArrayD<f32>,
        bias: Option<ArrayD<f32>>,
    ) -> Result<(), SaveError> {
        let [size, inputs, filters] = *kernel.shape() else {
            return Err(stage.refuse("its kernel has not three axes", REMEDY));
        };
        let stride = stage.size("strides");
        let dilation = stage.size("dilation_rate");
        let groups = stage.config["groups"].as_u64().unwrap_or(1) as usize;
        let reach = dilation * (size - 1);
        let mut padding = std::mem::take(&mut self.padding);
        match stage.config["padding"].as_str() {
            None | Some("valid") => {}
            Some("same") if stride == 1 && reach.is_multiple_of(2) && padding == 0 => {
                padding = reach / 2;
            }
            Some(other) => {
                let reason =
                    format!("Conv1d pads both sides alike, and this one has padding {other:?}");
                return Err(stage.refuse(reason, REMEDY));
            }
        }
        let more = if bias.is_some() { "" } else { ", bias=False" };
        let made = format!(
            "nn.Conv1d({}, {filters}, {size}, stride={stride}, padding={padding}, \
             dilation={dilation}, groups={groups}{more})",
            inputs * groups
        );
        // (positions, channels, filters) becomes (filters, channels, positions).
        let arrays = [("weight", transposed(&kernel))].into_iter();
        let arrays = arrays.chain(bias.map(|bias| ("bias", bias))).collect();
        self.simple(stage, made, arrays);
        self.over_channels();
        for (key, value) in [
            ("stride", stride),
            ("padding", padding),
            ("dilation", dilation),
            ("groups", groups),
        ] {
            self.tell(key, value.to_string());
        }
        self.activation(stage, stage.activation())
    }

    fn norm(&mut self, stage: &Stage<'_>, weights: Vec<ArrayD<f32>>) -> Result<(), SaveError> {
        let is_batch = stage.class == "BatchNormalization";
        let axis = match &stage.config["axis"] {
            Value::Array(axes) if axes.len() == 1 => axes[0].clone(),
            Value::Null => json!(-1),
            axis => axis.clone(),
        };
        let last = if self.is_sequence { 2 } else { 1 };
        if axis != -1 && axis != last {
            return Err(stage.refuse(format!("it counts over axis {axis}, not the last"), REMEDY));
        }
        if stage.flag("rms_scaling", false) {
            return Err(stage.refuse("it scales by the mean square", REMEDY));
        }
        let Some(size) = weights.first().map(ArrayD::len) else {
            return Err(stage.refuse("it has no weights", REMEDY));
        };
        let mut weights = weights.into_iter();
        let mut affine = |key: &str, value: f32| match stage.flag(key, true) {
            true => weights.next(),
            false => Some(Array1::from_elem(size, value).into_dyn()),
        };
        let (weight, bias) = (affine("scale", 1.0), affine("center", 0.0));
        let (Some(weight), Some(bias)) = (weight, bias) else {
            return Err(stage.refuse("it lacks a weight", REMEDY));
        };
        let mut arrays = vec![("weight", weight), ("bias", bias)];
        if is_batch {
            let (Some(mean), Some(variance)) = (weights.next(), weights.next()) else {
                return Err(stage.refuse("it lacks its mean and variance", REMEDY));
            };
            arrays.extend([("running_mean", mean), ("running_var", variance)]);
        }
        let eps = stage.number("epsilon", 1e-3);
        let class = if is_batch { "BatchNorm1d" } else { "LayerNorm" };
        self.simple(stage, format!("nn.{class}({size}, eps={eps})"), arrays);
        if is_batch {
            if let Some(module) = self.modules.last_mut() {
                module
                    .tensors
                    .push(("num_batches_tracked".into(), Tensor::Count(0)));
            }
            if self.is_sequence {
                self.over_channels();
            }
        }
        self.tell("kind", format!("\"{class}\""));
        self.tell("eps", json!(eps).to_string());
        Ok(())
    }

    /// PyTorch has the channels of such modules before the time.
    fn over_channels(&mut self) {
        if let Some(module) = self.modules.last_mut() {
            let place = super::place(&module.name);
            module.called = vec![format!("x = {place}(x.transpose(1, 2)).transpose(1, 2)")];
        }
    }

    /// An activation by Keras's name.
    fn activation(&mut self, stage: &Stage<'_>, name: Option<&str>) -> Result<(), SaveError> {
        let found = name.and_then(|name| {
            let name = if name == "swish" { "silu" } else { name };
            ACTIVATIONS.iter().find(|(_, keras)| *keras == name)
        });
        let is_other = match name {
            // Those of the same name are other functions, or have another slope.
            Some("hard_sigmoid") => self.options.hard_sigmoid_differs,
            Some("leaky_relu") => stage.class != "LeakyReLU",
            _ => false,
        };
        let Some((torch, _)) = found.filter(|_| !is_other) else {
            let name = name.unwrap_or("of its own");
            return Err(stage.refuse(
                format!("PyTorch has no activation that is Keras's {name}"),
                REMEDY,
            ));
        };
        if *torch == "none" {
            return Ok(());
        }
        let last = self.last(stage)?;
        if last.tells("activation") {
            return Err(stage.refuse("two activations in a row", REMEDY));
        }
        last.tell("activation", format!("{torch:?}"));
        last.called.push(match *torch {
            "softmax" | "log_softmax" => format!("x = F.{torch}(x, -1)"),
            "sigmoid" | "tanh" => format!("x = torch.{torch}(x)"),
            _ => format!("x = F.{torch}(x)"),
        });
        self.is_closed = true;
        Ok(())
    }

    /// A choice of the steps of a sequence.
    fn take(&mut self, stage: &Stage<'_>) -> Result<(), SaveError> {
        let over_time = stage.config["axis"] == 1 || stage.config["axis"] == json!([1]);
        let keeps = stage.flag("keepdims", false);
        let (name, line) = match stage.class {
            "GlobalAveragePooling1D" if !keeps => ("mean", "x = x.mean(1)"),
            "GlobalMaxPooling1D" if !keeps => ("max", "x = x.amax(1)"),
            "Mean" if over_time && !keeps => ("mean", "x = x.mean(1)"),
            "Max" if over_time && !keeps => ("max", "x = x.amax(1)"),
            "GetItem" if is_last(stage.node) => ("last", "x = x[:, -1]"),
            _ => return Err(stage.refuse("it is no choice of steps that the spec has", REMEDY)),
        };
        // An activation at every step does not mind which step is chosen first.
        if !self.is_sequence || self.is_closed && name != "last" {
            return Err(stage.refuse("it chooses steps behind an activation", REMEDY));
        }
        self.is_sequence = false;
        let last = self.last(stage)?;
        last.spec.retain(|(key, _)| *key != "take");
        last.tell("take", format!("{name:?}"));
        last.called.push(line.into());
        Ok(())
    }
}

/// Whether the key of `x[…]` is `[:, -1]`, with or without the features.
fn is_last(node: &Value) -> bool {
    let key = &node["args"][1];
    let is_all = |item: &Value| {
        let config = &item["config"];
        item["class_name"] == "__slice__"
            && config["start"].is_null()
            && config["stop"].is_null()
            && config["step"].is_null()
    };
    match key.as_array().map(Vec::as_slice) {
        Some([batch, time]) => is_all(batch) && *time == -1,
        Some([batch, time, features]) => is_all(batch) && *time == -1 && is_all(features),
        _ => false,
    }
}

/// The function that a layer of its own is.
fn activation_layer<'a>(stage: &Stage<'a>) -> Option<&'a str> {
    let plain = |key: &str, value: f64| {
        let found = &stage.config[key];
        found.is_null() || found.as_f64() == Some(value)
    };
    match stage.class {
        "ReLU" if plain("negative_slope", 0.0) && plain("threshold", 0.0) => {
            match stage.config["max_value"].as_f64() {
                None => Some("relu"),
                Some(6.0) => Some("relu6"),
                Some(_) => None,
            }
        }
        "LeakyReLU" => {
            let slope = &stage.config["negative_slope"];
            let slope = slope.as_f64().or(stage.config["alpha"].as_f64());
            slope
                .filter(|slope| (slope - 0.01).abs() < 1e-9)
                .map(|_| "leaky_relu")
        }
        "Softmax" if plain("axis", -1.0) => Some("softmax"),
        "ELU" if plain("alpha", 1.0) => Some("elu"),
        _ => None,
    }
}

fn transposed(array: &ArrayD<f32>) -> ArrayD<f32> {
    array.t().as_standard_layout().into_owned()
}
