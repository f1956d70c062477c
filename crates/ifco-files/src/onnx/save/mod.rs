//! A model of Keras's layers as an ONNX graph, for ONNX Runtime and whatever else reads it.
//!
//! Arrays are as in Keras, batch first, with open sizes for batch and, where the model leaves it
//! open, time. A stateful layer's states become inputs `lstm_h`, `lstm_c` and outputs
//! `lstm_h_next`, `lstm_c_next`: who runs the graph carries them from batch to batch.

mod activation;
mod graph;
mod layers;
mod message;
mod operator;
mod recurrent;
mod step;

use ifco_model::{Argument, Generation, LayerEntry, Model, ModelCall, Port, Shape};
use serde_json::Value;

use crate::{SaveError, SaveOptions, Saved};
use graph::{Dimension, Graph};

/// ONNX's number of `FLOAT`.
const FLOAT: i64 = 1;

/// What of an LSTM beyond Keras's an ONNX graph can have: all of `LstmCell::extras`.
pub(crate) const HOLDS: &[&str] = &[
    "peepholes",
    "projection",
    "layer_norm",
    "input_forget",
    "clip",
    "cell_clip",
    "projection_clip",
    "forget_bias",
    "output_activation",
    "activation",
    "recurrent_activation",
];

/// The model as `.onnx`.
pub(crate) fn save(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    if model.config().is_null() {
        return Err(SaveError::Model {
            reason: "this is a model inside of another, whose configuration is part of that one's"
                .into(),
            remedy: "save the outer model".into(),
        });
    }
    let mut writer = Writer {
        graph: Graph::default(),
        options,
        notes: Vec::new(),
        generation: model.generation(),
        states: Vec::new(),
    };
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let kind = kind(described(model.config(), &port.name));
        let shape = dimensions(port, model.inputs().len());
        inputs.push(writer.graph.input(&port.name, kind, &shape));
    }
    // Outputs are called as in Keras; what stands before them takes other names.
    let names = model.outputs().iter().map(|port| port.name.as_str());
    let names: Vec<String> = names.map(|name| writer.graph.name(name)).collect();
    let outputs = writer.model(model, model.config(), inputs)?;
    for ((port, name), tensor) in model.outputs().iter().zip(&names).zip(&outputs) {
        writer
            .graph
            .output(tensor, name, &open(port.shape.as_ref(), name));
    }
    for (name, tensor, units) in std::mem::take(&mut writer.states) {
        let name = writer.graph.name(&name);
        let shape = [Dimension::Name("batch".into()), Dimension::Size(units)];
        writer.graph.output(&tensor, &name, &shape);
    }
    Ok(Saved::new(
        writer.graph.into_file(model.name()),
        writer.notes,
    ))
}

struct Writer<'a> {
    graph: Graph,
    options: &'a SaveOptions,
    notes: Vec<String>,
    generation: Generation,
    /// The states that come out: name, tensor and units.
    states: Vec<(String, String, usize)>,
}

/// One call of a layer, and what is said of the layer.
struct Stage<'a> {
    call: &'a ModelCall<'a>,
    entry: &'a LayerEntry,
    /// The class and its options: of a TimeDistributed over what does the same at each step
    /// anyway, those of the layer inside.
    class: &'a str,
    config: &'a Value,
    /// The tensors that it takes, each with its shape where that is known.
    inputs: Vec<(String, Option<Shape>)>,
    initial_state: Vec<String>,
}

impl Stage<'_> {
    /// The error that ONNX, or this writer, has nothing for it.
    fn refuse(&self, reason: impl Into<String>) -> SaveError {
        SaveError::Layer {
            layer: self.entry.name.clone(),
            class: self.class.into(),
            reason: reason.into(),
            remedy: "save the model as .keras, or export it with Keras itself".into(),
        }
    }

    fn name(&self) -> &str {
        &self.entry.name
    }

    fn x(&self) -> Result<&str, SaveError> {
        let first = self.inputs.first();
        let (name, _) = first.ok_or_else(|| self.refuse("it takes no tensor"))?;
        Ok(name)
    }

    fn rank(&self) -> Result<usize, SaveError> {
        let shape = self.inputs.first().and_then(|(_, shape)| shape.as_ref());
        let shape = shape.ok_or_else(|| self.refuse("the shape of its input is not known"))?;
        Ok(shape.len())
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.config[key].as_bool().unwrap_or(default)
    }
}

impl Writer<'_> {
    /// The graph of a model on these tensors: its outputs.
    fn model(
        &mut self,
        model: &Model,
        json: &Value,
        inputs: Vec<String>,
    ) -> Result<Vec<String>, SaveError> {
        let (calls, outputs) = model.calls();
        let mut made: Vec<Vec<String>> = Vec::with_capacity(calls.len());
        for call in &calls {
            if let Some(input) = call.input {
                made.push(inputs.get(input).cloned().into_iter().collect());
                continue;
            }
            let take = |argument: &Argument| match argument {
                Argument::Tensor { call, output } => {
                    let name = made.get(*call)?.get(*output)?.clone();
                    let shapes = calls[*call].layer.output_shapes.as_ref().ok();
                    Some((name, shapes.and_then(|shapes| shapes.get(*output).cloned())))
                }
                Argument::Number(_) => None,
            };
            let mut layer = described(json, &call.layer.name);
            let mut class = call.layer.layer.class_name();
            if class == "TimeDistributed"
                && let Some(inner) = layer["config"]["layer"]["class_name"].as_str()
                && layers::AT_EACH_STEP.contains(&inner)
            {
                (class, layer) = (inner, &layer["config"]["layer"]);
            }
            let states = call
                .tensors
                .iter()
                .filter(|(name, _)| *name == "initial_state");
            let states = states.flat_map(|(_, all)| all.iter().filter_map(take));
            let stage = Stage {
                call,
                entry: call.layer,
                class,
                config: &layer["config"],
                inputs: call.inputs.iter().filter_map(take).collect(),
                initial_state: states.map(|(name, _)| name).collect(),
            };
            if let Some((name, _)) = call
                .tensors
                .iter()
                .find(|(name, _)| *name != "initial_state")
            {
                return Err(stage.refuse(format!("its call takes {name:?} besides its input")));
            }
            let inner = call
                .layer
                .layer
                .as_model()
                .filter(|_| class != "TimeDistributed");
            made.push(match inner {
                Some(inner) => {
                    let inputs = stage.inputs.into_iter().map(|(name, _)| name).collect();
                    self.model(inner, layer, inputs)?
                }
                None => self.layer(&stage)?,
            });
        }
        let outputs = outputs
            .iter()
            .map(|(call, output)| made.get(*call)?.get(*output).cloned());
        outputs
            .collect::<Option<_>>()
            .ok_or_else(|| SaveError::Model {
                reason: "an output of the model is one that its layer does not have".into(),
                remedy: "save the model again with Keras".into(),
            })
    }
}

/// What the configuration says of a layer.
fn described<'a>(json: &'a Value, name: &str) -> &'a Value {
    let config = &json["config"];
    let layers = config["layers"].as_array().or(config.as_array());
    let is_meant = |layer: &&Value| layer["name"] == name || layer["config"]["name"] == name;
    let layer = layers.and_then(|layers| layers.iter().find(is_meant));
    layer.unwrap_or(&Value::Null)
}

/// ONNX's number of an input's type.
fn kind(layer: &Value) -> i64 {
    let dtype = &layer["config"]["dtype"];
    let name = dtype.as_str().or(dtype["config"]["name"].as_str());
    match name {
        Some("int32") => 6,
        Some("int64") => 7,
        Some("int16") => 5,
        Some("int8") => 3,
        Some("uint8") => 2,
        Some("bool") => 9,
        _ => FLOAT,
    }
}

/// Of an input: the batch is always open.
fn dimensions(port: &Port, inputs: usize) -> Vec<Dimension> {
    let shape = port.shape.iter().flatten().enumerate();
    let size = |(axis, size): (usize, &Option<usize>)| match (axis, size) {
        (0, _) => Dimension::Name("batch".into()),
        (_, Some(size)) => Dimension::Size(*size),
        (1, None) if inputs == 1 => Dimension::Name("time".into()),
        (axis, None) => Dimension::Name(format!("{}_{axis}", port.name)),
    };
    shape.map(size).collect()
}

/// Of an output.
fn open(shape: Option<&Shape>, name: &str) -> Vec<Dimension> {
    let shape = shape.into_iter().flatten().enumerate();
    let size = |(axis, size): (usize, &Option<usize>)| match (axis, size) {
        (0, _) => Dimension::Name("batch".into()),
        (_, Some(size)) => Dimension::Size(*size),
        (axis, None) => Dimension::Name(format!("{name}_{axis}")),
    };
    shape.map(size).collect()
}
