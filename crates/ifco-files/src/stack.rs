//! A model as the stack of layers that most files of other frameworks can hold: one input, one
//! output, each layer on the one before.

use ifco_model::{Layer, Model};
use serde_json::Value;

use crate::{SaveError, SaveOptions};

/// Layers that do nothing when a model predicts.
pub(crate) const IDLE: [&str; 8] = [
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
    "StopGradient",
];

/// Layers that are not even there in another framework.
const NOTHING: [&str; 2] = ["InputLayer", "ConvertToTensor"];

/// What to do with a layer that is none of the format's.
pub(crate) const REMEDY: &str = "save it as .keras, .h5 or .onnx";

/// One layer of the stack.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub name: &'a str,
    /// Keras's class; of a TimeDistributed over a layer that does the same at each step, that one's.
    pub class: &'a str,
    pub config: &'a Value,
    /// The call, as the file has it.
    pub node: &'a Value,
    pub layer: &'a dyn Layer,
}

impl Stage<'_> {
    /// The error that the format has no room for it.
    pub fn refuse(&self, reason: impl Into<String>, remedy: impl Into<String>) -> SaveError {
        SaveError::Layer {
            layer: self.name.into(),
            class: self.class.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// An option that is a whole number, or a list of one.
    pub fn size(&self, key: &str) -> usize {
        let value = &self.config[key];
        let value = value.get(0).unwrap_or(value);
        value.as_u64().map_or(1, |size| size as usize)
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.config[key].as_bool().unwrap_or(default)
    }

    pub fn number(&self, key: &str, default: f64) -> f64 {
        self.config[key].as_f64().unwrap_or(default)
    }

    /// Whether a layer that is an activation is the function without options.
    pub fn plain_activation(&self) -> bool {
        let plain = |key: &str, value: f64| {
            let found = &self.config[key];
            found.is_null() || found.as_f64() == Some(value)
        };
        let is_default = plain("negative_slope", 0.0) && plain("threshold", 0.0);
        is_default
            && self.config["max_value"].is_null()
            && plain("alpha", 1.0)
            && plain("axis", -1.0)
    }

    /// Keras's name of its activation.
    pub fn activation(&self) -> Option<&str> {
        let value = &self.config["activation"];
        match value {
            Value::Null => Some("linear"),
            Value::String(name) => Some(name),
            value => value["config"].as_str(),
        }
    }
}

/// The layers of `model` from its input to its output, without those that do nothing.
pub(crate) fn of<'a>(
    model: &'a Model,
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<Stage<'a>>, SaveError> {
    let mut stages = Vec::new();
    collect(model, model.config(), &mut stages)?;
    let mut kept = Vec::new();
    for stage in stages {
        if IDLE.contains(&stage.class) || NOTHING.contains(&stage.class) {
            continue;
        }
        let masks = stage.class == "Masking" || stage.flag("mask_zero", false);
        if masks {
            let lost = stage.refuse(
                "it masks steps, and the format has no masks",
                "go on without masks (--lossy)",
            );
            let change = format!("{}: no step is masked", stage.name);
            options.pass_over(lost, change, notes)?;
            if stage.class == "Masking" {
                continue;
            }
        }
        if stage.layer.initial_states().is_some() {
            let lost = stage.refuse(
                "its sequences begin with states that the format does not hold",
                "go on with zeros (--lossy)",
            );
            let change = format!("{}: sequences begin with states of zero", stage.name);
            options.pass_over(lost, change, notes)?;
        }
        if stage.layer.is_stateful() {
            let lost = stage.refuse(
                "it keeps its states between batches, and the format does not say so",
                "go on without (--lossy)",
            );
            let change = format!("{}: every batch begins with states of zero", stage.name);
            options.pass_over(lost, change, notes)?;
        }
        kept.push(stage);
    }
    Ok(kept)
}

fn collect<'a>(
    model: &'a Model,
    json: &'a Value,
    stages: &mut Vec<Stage<'a>>,
) -> Result<(), SaveError> {
    let ([_], [output]) = (model.inputs(), model.outputs()) else {
        return Err(no_stack(format!(
            "the model has {} inputs and {} outputs",
            model.inputs().len(),
            model.outputs().len()
        )));
    };
    let mut chain = Vec::new();
    let mut name = output.name.as_str();
    while let Some(entry) = model.layers().iter().find(|entry| entry.name == name) {
        if chain.len() > model.layers().len() {
            return Err(no_stack("the model calls a layer twice".into()));
        }
        chain.push(entry);
        match entry.inbound.as_slice() {
            [] => break,
            [before] => name = before,
            several => {
                return Err(no_stack(format!(
                    "layer {:?} takes the outputs of {}",
                    entry.name,
                    several.join(" and ")
                )));
            }
        }
    }
    for entry in chain.into_iter().rev() {
        let layer = described(json, &entry.name);
        if let Some(inner) = entry.layer.as_model() {
            collect(inner, layer, stages)?;
            continue;
        }
        let node = layer["inbound_nodes"].get(0).unwrap_or(&Value::Null);
        if layer["inbound_nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.len() > 1)
        {
            return Err(no_stack(format!("layer {:?} is called twice", entry.name)));
        }
        let mut class = entry.layer.class_name();
        let mut config = &layer["config"];
        if class == "TimeDistributed"
            && let Some(inner) = config["layer"]["class_name"].as_str()
            && matches!(
                inner,
                "Dense" | "Activation" | "ReLU" | "LeakyReLU" | "Dropout"
            )
        {
            (class, config) = (inner, &config["layer"]["config"]);
        }
        stages.push(Stage {
            name: &entry.name,
            class,
            config,
            node,
            layer: &*entry.layer,
        });
    }
    Ok(())
}

/// What the configuration says of a layer.
fn described<'a>(json: &'a Value, name: &str) -> &'a Value {
    let config = &json["config"];
    let layers = config["layers"].as_array().or(config.as_array());
    let is_meant = |layer: &&Value| layer["name"] == name || layer["config"]["name"] == name;
    layers
        .and_then(|layers| layers.iter().find(is_meant))
        .unwrap_or(&Value::Null)
}

fn no_stack(reason: String) -> SaveError {
    SaveError::Model {
        reason: format!("{reason}: the format holds a stack of layers alone"),
        remedy: format!("{REMEDY}, or save a part of the model"),
    }
}
