//! The model of the layers: Keras's JSON, and each layer's weights.

use std::collections::HashSet;

use ifco_model::{Generation, Model};
use serde_json::{Value as Json, json};

use super::{LAYERS, Lift, Lifted, Slot, Stage, Value, View, Way};
use crate::SaveError;

impl Lift<'_> {
    /// The model, with these outputs of calls.
    pub(super) fn finish(mut self, outputs: &[(usize, usize)]) -> Result<Lifted, SaveError> {
        let mut ends = Vec::new();
        for (port, (call, output)) in self.model.outputs().iter().zip(outputs) {
            let value = self.made.get(*call).and_then(|made| made.get(*output));
            let cannot = |reason: String| SaveError::Model {
                reason: format!("output {:?}: {reason}", port.name),
                remedy: super::REMEDY.into(),
            };
            let view: View = match value {
                Some(Value::View(view)) => view.clone(),
                Some(Value::Other(why)) => {
                    return Err(cannot(format!("Keras has no layer for {why}")));
                }
                _ => {
                    return Err(cannot(
                        "it is no tensor of a layer, but the size of one".into(),
                    ));
                }
            };
            let end = ifco_model::onnx::Node {
                name: format!("output/{}", port.name),
                op: "output".into(),
                opset: 17,
                attributes: Default::default(),
                operands: Vec::new(),
                outputs: 1,
            };
            let (tensor, order) = self.whole(&end, &view).map_err(|error| match error {
                SaveError::Layer { reason, .. } => cannot(reason),
                error => error,
            })?;
            if view.axes != order {
                let at = view.axes.iter().position(|group| *group == [super::BATCH]);
                let is_moved = at.is_some_and(|at| at > 0);
                if is_moved {
                    self.notes.push(format!(
                        "output {:?}: the batch comes first, axis {} in the ONNX file",
                        port.name,
                        at.unwrap_or(0)
                    ));
                }
            }
            ends.push(tensor);
        }
        self.fuse(&mut ends)?;
        self.join_ways(&mut ends);
        // In the file's order, whichever was met first.
        self.inputs.sort_unstable();
        let names = self.names();
        let mut layers = Vec::new();
        let mut weights = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if stage.is_gone {
                continue;
            }
            let mut config = self.complete(index, stage, &ends);
            config["name"] = json!(names[index]);
            let nodes = match stage.class {
                "InputLayer" => json!([]),
                _ => json!([self.node(stage, &names, &ends)]),
            };
            layers.push(json!({
                "module": stage.module, "class_name": stage.class, "name": names[index],
                "config": config, "inbound_nodes": nodes,
            }));
            if !stage.weights.is_empty() {
                weights.push((names[index].clone(), stage.weights.clone()));
            }
        }
        let history = |tensor: &usize| self.history(*tensor, &names, &ends);
        let inputs = self.inputs.iter();
        let inputs: Vec<Json> = inputs
            .map(|(_, stage)| json!([names[*stage], 0, 0]))
            .collect();
        let outputs: Vec<Json> = ends.iter().map(history).collect();
        let single = |mut all: Vec<Json>| match all.len() {
            1 => all.remove(0),
            _ => Json::Array(all),
        };
        let name = clean(self.model.name());
        let json = json!({
            "module": "keras.src.models.functional", "class_name": "Functional", "config": {
                "name": name, "layers": layers,
                "input_layers": single(inputs), "output_layers": single(outputs),
            },
        });
        let broken = |error: ifco_model::ModelError| SaveError::Model {
            reason: format!("its nodes do not make layers of Keras: {error}"),
            remedy: "the file runs as it is".into(),
        };
        let mut model = Model::from_config(&json, Generation::Keras3).map_err(broken)?;
        for (layer, weights) in weights {
            model.set_layer_weights(&layer, weights).map_err(broken)?;
        }
        Ok(Lifted {
            model,
            notes: self.notes,
        })
    }

    /// A name for each layer, none twice.
    fn names(&self) -> Vec<String> {
        let mut used = HashSet::new();
        // What has weights is called as in the file.
        let mut order: Vec<usize> = (0..self.stages.len()).collect();
        order.sort_by_key(|index| {
            let stage = &self.stages[*index];
            (stage.class != "InputLayer", stage.weights.is_empty())
        });
        let mut names = vec![String::new(); self.stages.len()];
        for index in order {
            let stage = &self.stages[index];
            let wanted = match stage.class {
                "InputLayer" => stage.name.clone(),
                _ => clean(&stage.name),
            };
            let mut name = wanted.clone();
            let mut number = 1;
            while !stage.is_gone && !used.insert(name.clone()) {
                name = format!("{wanted}_{number}");
                number += 1;
            }
            names[index] = name;
        }
        names
    }

    /// Which of a recurrent layer's outputs anybody takes.
    fn slots(&self, stage: usize, ends: &[usize]) -> Vec<Slot> {
        let stages = self.stages.iter().filter(|stage| !stage.is_gone);
        let used = stages.flat_map(|stage| stage.inputs.iter().chain(&stage.initial_state));
        let used = used.chain(ends).map(|tensor| &self.tensors[*tensor]);
        used.filter(|tensor| tensor.stage == stage)
            .map(|tensor| tensor.slot)
            .collect()
    }

    /// Joins directions behind a Bidirectional that gives them apart: where somebody takes one of
    /// them, or the states as well.
    fn join_ways(&mut self, ends: &mut [usize]) {
        for stage in 0..self.stages.len() {
            if self.stages[stage].is_gone || self.stages[stage].ways != 2 {
                continue;
            }
            let how = How::of(&self.slots(stage, ends));
            for tensor in 0..self.tensors.len() {
                let own = &self.tensors[tensor];
                let (slot, Way::Both(mode)) = (match own.slot {
                    Slot::Steps(way) | Slot::Last(way) | Slot::Cell(way) => (own.slot, way),
                    Slot::Out => continue,
                }) else {
                    continue;
                };
                let is_used = own.stage == stage && self.slots(stage, ends).contains(&slot);
                if !is_used || how.merge == Some((matches!(slot, Slot::Steps(_)), mode)) {
                    continue;
                }
                let class = match mode {
                    "sum" => "Add",
                    "mul" => "Multiply",
                    "ave" => "Average",
                    _ => "Concatenate",
                };
                let axes = own.axes.clone();
                let inputs = [0, 1].map(|index| {
                    let way = Way::One(index);
                    let slot = match slot {
                        Slot::Steps(_) => Slot::Steps(way),
                        Slot::Last(_) => Slot::Last(way),
                        _ => Slot::Cell(way),
                    };
                    let mut axes = axes.clone();
                    if let Some(last) = axes.last_mut().filter(|last| last.len() > 1) {
                        last.remove(0);
                    }
                    self.known_tensor(stage, slot, axes)
                });
                let name = format!("{}/join", self.stages[stage].name);
                let config = match class {
                    "Concatenate" => json!({"axis": -1}),
                    _ => json!({}),
                };
                let joined = self.push(&name, LAYERS, class, config, inputs.to_vec());
                self.stages[joined].takes_list = true;
                let to = self.tensor(joined, Slot::Out, axes);
                for (index, other) in self.stages.iter_mut().enumerate() {
                    for used in other.inputs.iter_mut().chain(&mut other.initial_state) {
                        if *used == tensor && index != joined {
                            *used = to;
                        }
                    }
                }
                for used in ends.iter_mut().filter(|used| **used == tensor) {
                    *used = to;
                }
            }
        }
    }

    /// The configuration with what depends on who takes which output.
    fn complete(&self, index: usize, stage: &Stage, ends: &[usize]) -> Json {
        let mut config = stage.config.clone();
        if stage.ways == 0 {
            return config;
        }
        let how = How::of(&self.slots(index, ends));
        let set = |config: &mut Json| {
            config["return_sequences"] = json!(how.steps);
            config["return_state"] = json!(how.states);
        };
        if stage.ways == 1 {
            set(&mut config);
            return config;
        }
        for key in ["layer", "backward_layer"] {
            if let Some(inner) = config
                .get_mut(key)
                .and_then(|layer| layer.get_mut("config"))
            {
                set(inner);
            }
        }
        config["merge_mode"] = json!(how.merge.map(|(_, mode)| mode));
        config
    }

    /// A tensor where Keras's JSON speaks of it.
    fn history(&self, tensor: usize, names: &[String], ends: &[usize]) -> Json {
        let own = &self.tensors[tensor];
        let stage = &self.stages[own.stage];
        let mut output = 0;
        if stage.ways > 0 {
            let how = How::of(&self.slots(own.stage, ends));
            let states =
                if matches!(stage.class, "LSTM") || stage.config["layer"]["class_name"] == "LSTM" {
                    2
                } else {
                    1
                };
            let first = if stage.ways == 2 && how.merge.is_none() {
                2
            } else {
                1
            };
            let number = |way: Way| match way {
                Way::One(number) => number,
                Way::Both(_) => 0,
            };
            output = match own.slot {
                Slot::Out => 0,
                Slot::Steps(way) => number(way),
                Slot::Last(way) if !how.steps => number(way),
                Slot::Last(way) => first + number(way) * states,
                Slot::Cell(way) => first + number(way) * states + 1,
            };
        }
        json!([names[own.stage], 0, output])
    }

    fn node(&self, stage: &Stage, names: &[String], ends: &[usize]) -> Json {
        let tensor = |tensor: &usize| {
            json!({
                "class_name": "__keras_tensor__",
                "config": {"shape": [], "dtype": "float32", "keras_history": self.history(*tensor, names, ends)},
            })
        };
        let tensors: Vec<Json> = stage.inputs.iter().map(tensor).collect();
        let mut args = match stage.takes_list {
            true => vec![Json::Array(tensors)],
            false => tensors,
        };
        args.extend(stage.more.clone());
        let mut kwargs = json!({});
        if !stage.initial_state.is_empty() {
            let states: Vec<Json> = stage.initial_state.iter().map(tensor).collect();
            kwargs["initial_state"] = Json::Array(states);
        }
        json!({"args": args, "kwargs": kwargs})
    }
}

/// What a recurrent layer must return.
struct How {
    steps: bool,
    states: bool,
    /// Of two directions, whether their steps are joined by the layer itself, and how.
    merge: Option<(bool, &'static str)>,
}

impl How {
    fn of(slots: &[Slot]) -> Self {
        let steps = slots.iter().any(|slot| matches!(slot, Slot::Steps(_)));
        let last = slots.iter().any(|slot| matches!(slot, Slot::Last(_)));
        let states = slots.iter().any(|slot| matches!(slot, Slot::Cell(_))) || steps && last;
        let mut ways = slots.iter().filter_map(|slot| match (slot, steps) {
            (Slot::Steps(way), true) | (Slot::Last(way), false) => Some(*way),
            _ => None,
        });
        let first = ways.next();
        let is_one = ways.all(|way| Some(way) == first);
        let merge = match first {
            Some(Way::Both(mode)) if is_one => Some((steps, mode)),
            // Nobody takes the output: as Keras would.
            None => Some((steps, "concat")),
            _ => None,
        };
        Self {
            steps,
            states,
            merge,
        }
    }
}

/// A name that Keras takes for a layer: without slashes at its ends, and in one piece.
fn clean(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-.>/".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let name = name
        .trim_matches('/')
        .trim_start_matches(['.', '_', '-', '>'])
        .replace('/', "_");
    match name.is_empty() {
        true => "layer".into(),
        false => name,
    }
}
