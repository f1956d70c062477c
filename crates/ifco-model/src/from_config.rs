//! From Keras's JSON to a model without weights.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Port;
use crate::activity::Activity;
use crate::graph::{FirstIndex, Graph, Input, LayerNodes, Node, Source, execution_order};
use crate::layers::{self, InputLayer, OPERATIONS, Operation};
use crate::model::{LayerEntry, Model};
use crate::{Config, ConfigError, Generation, Layer, Shape, display_shape};

/// The classes that are models themselves. `Model` is what Keras 1 and 2 call a functional one.
pub(crate) const MODEL_CLASSES: [&str; 3] = ["Sequential", "Functional", "Model"];

/// Reads `{"class_name": .., "config": ..}`, what `model.to_json()` writes.
pub(crate) fn model_from_json(json: &Value, generation: Generation) -> Result<Model, ConfigError> {
    let model = Config::new("the model", generation, json)?;
    let class = model.str_or("class_name", "Model")?;
    let config = model.require("config")?;
    if class == "Sequential" {
        let built = json.pointer("/build_config/input_shape");
        sequential(config, built, generation)
    } else if config.get("layers").is_some() {
        functional(class, config, generation)
    } else {
        Err(model.invalid(
            "class_name",
            "Sequential or Functional (a subclass of Model whose call() is Python code cannot \
             be read from a file: rebuild it with the functional API)",
        ))
    }
}

/// One layer as it stands in a list of layers.
struct Serialized<'a> {
    class: &'a str,
    name: String,
    config: &'a Value,
    trainable: bool,
    is_operation: bool,
    inbound: &'a [Value],
}

fn serialized(entry: &Value, generation: Generation) -> Result<Serialized<'_>, ConfigError> {
    let reader = Config::new("a layer", generation, entry)?;
    let class = reader.str_or("class_name", "")?;
    let class = class.rsplit('>').next().unwrap_or(class); // registered as "package>class"
    let config = reader.require("config")?;
    let inner = Config::new(class, generation, config)?;
    let name = match (reader.optional_str("name")?, inner.optional_str("name")?) {
        (Some(name), _) | (None, Some(name)) => name.to_owned(),
        (None, None) => return Err(inner.missing("name")),
    };
    Ok(Serialized {
        class,
        config,
        trainable: inner.bool_or("trainable", true)?,
        is_operation: match entry.get("module").and_then(Value::as_str) {
            Some(module) => module.starts_with("keras.src.ops") || module.starts_with("keras.ops"),
            // Keras 3 writes no modules to an .h5 file. Of the classes that are both, such as
            // Add, only the layer has this key.
            None => {
                generation == Generation::Keras3
                    && OPERATIONS.contains(&class)
                    && inner.get("trainable").is_none()
            }
        },
        inbound: match entry.get("inbound_nodes") {
            Some(Value::Array(nodes)) => nodes,
            _ => &[],
        },
        name,
    })
}

impl Serialized<'_> {
    fn build(&self, generation: Generation) -> Result<Box<dyn Layer>, ConfigError> {
        let config = Config::new(&self.name, generation, self.config)?;
        if self.is_operation {
            return Ok(Box::new(Operation::from_config(self.class, &config)?));
        }
        layers::build(self.class, &config)
    }

    fn activity(&self, generation: Generation) -> Result<Option<Activity>, ConfigError> {
        let config = Config::new(&self.name, generation, self.config)?;
        Ok(Activity::of(self.class, &config).filter(|_| !self.is_operation))
    }
}

fn layer_list<'a>(config: &Config<'a>) -> Result<&'a [Value], ConfigError> {
    match config.require("layers")? {
        Value::Array(layers) if !layers.is_empty() => Ok(layers),
        _ => Err(config.invalid("layers", "a list of at least one layer")),
    }
}

/// Layers one after the other.
fn sequential(
    config: &Value,
    built: Option<&Value>,
    generation: Generation,
) -> Result<Model, ConfigError> {
    // Keras before 2.2.3 wrote the list of layers alone.
    let wrapped;
    let config = match config {
        Value::Array(_) => {
            wrapped = serde_json::json!({ "name": "sequential", "layers": config });
            &wrapped
        }
        other => other,
    };
    let reader = Config::new("the Sequential model", generation, config)?;
    let mut entries: Vec<LayerEntry> = Vec::new();
    for entry in layer_list(&reader)? {
        let entry = serialized(entry, generation)?;
        let layer = entry.build(generation)?;
        if entries.is_empty() && entry.class != "InputLayer" {
            let shape = [
                entry.config.get("batch_input_shape"),
                entry.config.get("batch_shape"),
                reader.get("build_input_shape"),
                built,
            ];
            let shape = shape.into_iter().flatten().find_map(as_shape);
            let name = format!("{}_input", entry.name);
            entries.push(LayerEntry::new(name, Box::new(InputLayer { shape }), true));
        }
        let activity = entry.activity(generation)?;
        entries.push(LayerEntry::new(entry.name, layer, entry.trainable).with_activity(activity));
    }
    let nodes = (0..entries.len())
        .map(|layer| Node {
            layer,
            inputs: layer
                .checked_sub(1)
                .map(|node| Input::Tensor(Source { node, tensor: 0 }))
                .into_iter()
                .collect(),
            ..Node::default()
        })
        .collect();
    let output = Source {
        node: entries.len() - 1,
        tensor: 0,
    };
    let name = reader.str_or("name", "sequential")?.to_owned();
    finish(
        ("Sequential", generation),
        name,
        entries,
        nodes,
        vec![Source { node: 0, tensor: 0 }],
        vec![output],
    )
}

/// Layers and the calls between them.
fn functional(class: &str, config: &Value, generation: Generation) -> Result<Model, ConfigError> {
    let reader = Config::new("the model", generation, config)?;
    let mut entries = Vec::new();
    let serialized: Vec<Serialized<'_>> = layer_list(&reader)?
        .iter()
        .map(|entry| serialized(entry, generation))
        .collect::<Result<_, _>>()?;
    for entry in &serialized {
        let layer = entry.build(generation)?;
        let activity = entry.activity(generation)?;
        let entry = LayerEntry::new(entry.name.clone(), layer, entry.trainable);
        entries.push(entry.with_activity(activity));
    }
    let calls: Vec<LayerNodes<'_>> = serialized
        .iter()
        .map(|entry| LayerNodes {
            name: &entry.name,
            is_operation: entry.is_operation,
            first_index: match (MODEL_CLASSES.contains(&entry.class), generation) {
                (false, _) | (true, Generation::Keras3) => FirstIndex::Known(0),
                (true, _) => FirstIndex::Lowest,
            },
            first_output_index: match (entry.class, generation) {
                // Keras 3 counts from 0 between layers, and from 1 here.
                ("Functional" | "Model", Generation::Keras3) => FirstIndex::Known(1),
                (class, Generation::Keras1 | Generation::Keras2)
                    if MODEL_CLASSES.contains(&class) =>
                {
                    FirstIndex::Lowest
                }
                _ => FirstIndex::Known(0),
            },
            inbound: entry.inbound,
        })
        .collect();
    let outputs = reader.require("output_layers")?;
    let graph = Graph::parse(&calls, outputs)?;
    let inputs = graph.ports(reader.require("input_layers")?)?;
    let outputs = graph.ports(outputs)?;
    let name = reader.str_or("name", "model")?.to_owned();
    finish(
        (class, generation),
        name,
        entries,
        graph.nodes,
        inputs,
        outputs,
    )
}

/// Checks the graph, orders it and infers the shapes.
pub(crate) fn finish(
    (class, generation): (&str, Generation),
    name: String,
    mut layers: Vec<LayerEntry>,
    nodes: Vec<Node>,
    inputs: Vec<Source>,
    outputs: Vec<Source>,
) -> Result<Model, ConfigError> {
    if inputs.is_empty() || outputs.is_empty() {
        return Err(ConfigError::Graph("it has no inputs or no outputs".into()));
    }
    let order = execution_order(&nodes, &outputs)?;
    for (index, node) in nodes.iter().enumerate() {
        let takes: Vec<String> = node
            .sources()
            .map(|source| layers[nodes[source.node].layer].name.clone())
            .collect();
        let is_input = inputs.iter().any(|input| input.node == index);
        if takes.is_empty() && !is_input && order.contains(&index) {
            let name = &layers[node.layer].name;
            return Err(ConfigError::Graph(format!("layer {name:?} takes nothing")));
        }
        let inbound = &mut layers[node.layer].inbound;
        for name in takes {
            if !inbound.contains(&name) {
                inbound.push(name);
            }
        }
    }
    let mut shapes = infer_shapes(&mut layers, &nodes, &order);
    for input in &inputs {
        // One that no output needs still has a shape.
        let layer = &layers[nodes[input.node].layer].layer;
        if shapes[input.node].is_none() {
            shapes[input.node] = layer.output_shapes(&[], &crate::Call::default()).ok();
        }
    }
    let port = |source: &Source| Port {
        name: layers[nodes[source.node].layer].name.clone(),
        shape: shapes[source.node]
            .as_ref()
            .and_then(|all| all.get(source.tensor))
            .cloned(),
        batch_axis: Some(0),
    };
    let input_ports = inputs.iter().map(port).collect();
    let mut output_ports: Vec<Port> = outputs.iter().map(port).collect();
    name_apart(&mut output_ports);
    Ok(Model {
        class: class.into(),
        name,
        config: Value::Null,
        generation,
        layers,
        nodes,
        order,
        input_sources: inputs,
        output_sources: outputs,
        inputs: input_ports,
        outputs: output_ports,
        about: crate::About::default(),
    })
}

/// The output shapes of each node, and of each layer at its first call.
fn infer_shapes(
    layers: &mut [LayerEntry],
    nodes: &[Node],
    order: &[usize],
) -> Vec<Option<Vec<Shape>>> {
    let mut shapes: Vec<Option<Vec<Shape>>> = vec![None; nodes.len()];
    // Of an ONNX graph: integers that nodes compute of sizes.
    let mut integers: Vec<Option<crate::onnx::Integers>> = vec![None; nodes.len()];
    let mut seen = BTreeSet::new();
    for &index in order {
        let node = &nodes[index];
        let entry = &mut layers[node.layer];
        let mut known: Vec<Shape> = Vec::new();
        let mut sizes = Vec::new();
        let mut missing = None;
        for input in &node.inputs {
            match input {
                Input::Number(_) => {
                    known.push(Vec::new());
                    sizes.push(None);
                }
                Input::Tensor(source) => {
                    let own = integers[source.node].clone();
                    sizes.push(own.filter(|_| source.tensor == 0));
                    let all = shapes[source.node].as_ref();
                    match all.and_then(|all| all.get(source.tensor)) {
                        Some(shape) => known.push(shape.clone()),
                        None => missing = Some("the shape of its input is not known".to_owned()),
                    }
                }
            }
        }
        let result = match missing {
            Some(why) => Err(why),
            None => {
                let call = crate::Call {
                    positional: node.positional.clone(),
                    values: node.values.clone(),
                    ..crate::Call::default()
                };
                entry.layer.build(&known);
                let of_sizes = entry.layer.as_operator().map(|operator| {
                    integers[index] = operator.integers(&known, &sizes);
                    operator.shapes(&known, &sizes)
                });
                of_sizes
                    .unwrap_or_else(|| entry.layer.output_shapes(&known, &call))
                    .map_err(|error| error.to_string())
            }
        };
        shapes[index] = result.as_ref().ok().cloned();
        if seen.insert(node.layer) {
            entry.output_shapes = result;
        }
    }
    shapes
}

/// Two outputs of one layer need two names: `lstm`, `lstm_1`, as Keras 2 has it.
fn name_apart(ports: &mut [Port]) {
    let mut used = BTreeSet::new();
    for port in ports {
        let base = port.name.clone();
        let mut count = 0;
        while !used.insert(port.name.clone()) {
            count += 1;
            port.name = format!("{base}_{count}");
        }
    }
}

/// A shape in JSON: `[null, 10, 3]`. `None` if it is something else.
pub(crate) fn as_shape(value: &Value) -> Option<Shape> {
    value
        .as_array()?
        .iter()
        .map(|size| match size {
            Value::Null => Some(None),
            size => size
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .map(Some),
        })
        .collect()
}

/// What an array must look like for a port of this shape, for error messages.
pub(crate) fn describe(shape: Option<&Shape>) -> String {
    shape.map_or("of any shape".into(), |shape| display_shape(shape))
}
