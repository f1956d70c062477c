//! The graph between layers, as Keras writes it: each call of a layer is a node.
//!
//! Keras 3 writes a node as `{"args": [...], "kwargs": {...}}` in which a tensor is
//! `{"class_name": "__keras_tensor__", "config": {"keras_history": [layer, node, tensor]}}`.
//! Keras 1 and 2 write a list of `[layer, node, tensor, kwargs]`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::ConfigError;
use crate::config::as_f64;

/// One output of one call of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Index into the graph's nodes.
    pub node: usize,
    /// Which of the call's outputs.
    pub tensor: usize,
}

/// One call of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// Index into the model's layers.
    pub layer: usize,
    /// The positional tensors, flattened.
    pub inputs: Vec<Input>,
    /// Positional arguments that are neither tensors nor numbers.
    pub positional: Vec<Value>,
    /// Keyword arguments that are tensors.
    pub tensors: BTreeMap<String, Vec<Source>>,
    /// Keyword arguments that are plain values.
    pub values: BTreeMap<String, Value>,
}

/// A positional argument of an operation: `1 - x` has a number and a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Input {
    Tensor(Source),
    Number(f32),
}

impl Node {
    /// Every tensor that the call takes.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        let positional = self.inputs.iter().filter_map(|input| match input {
            Input::Tensor(source) => Some(*source),
            Input::Number(_) => None,
        });
        positional.chain(self.tensors.values().flatten().copied())
    }
}

/// A reference to a tensor as it stands in the file: layer, node and tensor index.
type Reference<'a> = (&'a str, u64, u64);

/// What the graph's parser knows of a layer.
pub(crate) struct LayerNodes<'a> {
    pub name: &'a str,
    /// Whether constants among the positional arguments matter.
    pub is_operation: bool,
    /// What other layers count its calls from.
    pub first_index: FirstIndex,
    /// What the model's `output_layers` count them from.
    pub first_output_index: FirstIndex,
    /// The nodes as the file has them: `inbound_nodes`.
    pub inbound: &'a [Value],
}

/// Where the numbering of a layer's calls starts. It is 0 but for nested models, whose call 0 is
/// the one by which they were made; whether that one counts depends on who wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstIndex {
    Known(u64),
    /// At the lowest number that is used.
    Lowest,
}

/// The nodes of a graph, and how references in the file find them.
pub(crate) struct Graph<'a> {
    pub nodes: Vec<Node>,
    layers: HashMap<&'a str, Calls>,
}

/// The calls of one layer.
#[derive(Debug, Clone, Copy)]
struct Calls {
    /// The node of the first one; the others follow.
    first_node: usize,
    count: usize,
    /// The lowest number by which one is referred to.
    lowest: Option<u64>,
    first_index: FirstIndex,
    first_output_index: FirstIndex,
}

impl<'a> Graph<'a> {
    /// Reads the nodes of all layers, and `outputs`, the model's own references.
    pub fn parse(layers: &[LayerNodes<'a>], outputs: &'a Value) -> Result<Self, ConfigError> {
        let mut graph = Graph {
            nodes: Vec::new(),
            layers: HashMap::new(),
        };
        let mut first_node = 0;
        for layer in layers {
            let calls = Calls {
                first_node,
                // A layer without inbound nodes is an input: one node that takes nothing.
                count: layer.inbound.len().max(1),
                lowest: None,
                first_index: layer.first_index,
                first_output_index: layer.first_output_index,
            };
            first_node += calls.count;
            if graph.layers.insert(layer.name, calls).is_some() {
                return Err(error(format!("two layers are named {:?}", layer.name)));
            }
        }
        let mut note = |(layer, node, _): Reference<'a>| {
            if let Some(calls) = graph.layers.get_mut(layer) {
                calls.lowest = Some(calls.lowest.map_or(node, |lowest| lowest.min(node)));
            }
        };
        for layer in layers {
            for node in layer.inbound {
                visit_references(node, &mut note);
            }
        }
        visit_references(outputs, &mut note);

        for (index, layer) in layers.iter().enumerate() {
            for inbound in layer.inbound {
                let node = graph.parse_node(index, layer, inbound)?;
                graph.nodes.push(node);
            }
            if layer.inbound.is_empty() {
                graph.nodes.push(Node {
                    layer: index,
                    ..Node::default()
                });
            }
        }
        Ok(graph)
    }

    /// All references below `value`, in order; a dictionary's by its sorted keys, as Keras
    /// flattens them.
    fn sources(&self, value: &Value) -> Result<Vec<Source>, ConfigError> {
        self.resolve_all(value, |calls| calls.first_index)
    }

    /// The same for the model's own `input_layers` and `output_layers`.
    pub fn ports(&self, value: &Value) -> Result<Vec<Source>, ConfigError> {
        self.resolve_all(value, |calls| calls.first_output_index)
    }

    fn resolve_all(
        &self,
        value: &Value,
        first_index: impl Fn(&Calls) -> FirstIndex,
    ) -> Result<Vec<Source>, ConfigError> {
        let mut references = Vec::new();
        visit_references(value, &mut |reference| references.push(reference));
        references
            .into_iter()
            .map(|reference| self.resolve(reference, &first_index))
            .collect()
    }

    fn resolve(
        &self,
        (layer, node, tensor): Reference<'_>,
        first_index: impl Fn(&Calls) -> FirstIndex,
    ) -> Result<Source, ConfigError> {
        let Some(calls) = self.layers.get(layer) else {
            return Err(error(format!(
                "there is no layer {layer:?}, which another one takes"
            )));
        };
        let count = calls.count;
        let first = match first_index(calls) {
            FirstIndex::Known(first) => first,
            FirstIndex::Lowest => calls.lowest.unwrap_or(0).min(1),
        };
        let index = node
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        match (
            index.filter(|index| *index < count),
            usize::try_from(tensor),
        ) {
            (Some(index), Ok(tensor)) => Ok(Source {
                node: calls.first_node + index,
                tensor,
            }),
            _ => Err(error(format!(
                "layer {layer:?} is called {count} times, but call {node} (output {tensor}) is used"
            ))),
        }
    }

    fn parse_node(
        &self,
        index: usize,
        layer: &LayerNodes<'a>,
        inbound: &'a Value,
    ) -> Result<Node, ConfigError> {
        let mut node = Node {
            layer: index,
            ..Node::default()
        };
        match inbound {
            Value::Object(call) => {
                let args = call.get("args").and_then(Value::as_array);
                for argument in args.into_iter().flatten() {
                    self.parse_argument(layer, argument, &mut node)?;
                }
                let kwargs = call.get("kwargs").and_then(Value::as_object);
                for (name, value) in kwargs.into_iter().flatten() {
                    self.parse_keyword(name, value, &mut node)?;
                }
            }
            Value::Array(references) => {
                for reference in references {
                    let source = self.sources(reference)?;
                    let [source] = source.as_slice() else {
                        return Err(error(format!(
                            "layer {:?} has an inbound node that is no [layer, node, tensor]",
                            layer.name
                        )));
                    };
                    node.inputs.push(Input::Tensor(*source));
                    let kwargs = reference.get(3).and_then(Value::as_object);
                    for (name, value) in kwargs.into_iter().flatten() {
                        self.parse_keyword(name, value, &mut node)?;
                    }
                }
            }
            _ => {
                return Err(error(format!(
                    "layer {:?} has an unreadable inbound node",
                    layer.name
                )));
            }
        }
        Ok(node)
    }

    fn parse_argument(
        &self,
        layer: &LayerNodes<'a>,
        argument: &'a Value,
        node: &mut Node,
    ) -> Result<(), ConfigError> {
        let sources = self.sources(argument)?;
        if !sources.is_empty() {
            node.inputs.extend(sources.into_iter().map(Input::Tensor));
        } else if layer.is_operation {
            match (as_f64(argument), argument.as_bool()) {
                (Some(number), _) => node.inputs.push(Input::Number(number as f32)),
                (_, Some(flag)) => node.inputs.push(Input::Number(f32::from(u8::from(flag)))),
                _ => node.positional.push(argument.clone()),
            }
        }
        Ok(())
    }

    fn parse_keyword(
        &self,
        name: &str,
        value: &'a Value,
        node: &mut Node,
    ) -> Result<(), ConfigError> {
        let some_absent = value
            .as_array()
            .is_some_and(|items| items.iter().any(Value::is_null));
        if name == "mask" && some_absent {
            return Ok(()); // the inputs carry theirs along anyway
        }
        let sources = self.sources(value)?;
        if !sources.is_empty() {
            node.tensors.insert(name.into(), sources);
        } else if !value.is_null() {
            node.values.insert(name.into(), value.clone());
        }
        Ok(())
    }
}

/// The order in which Keras runs the nodes that `outputs` need: by depth, which is the longest
/// way to an output. Any order in which each node comes after those it takes from would compute
/// the same, were there not layers that leave something behind for those run later: a stateful
/// layer that is called twice, a MultiHeadAttention that takes masks off its inputs.
///
/// # Errors
/// When there is a cycle.
pub(crate) fn execution_order(
    nodes: &[Node],
    outputs: &[Source],
) -> Result<Vec<usize>, ConfigError> {
    let sorted = topological_order(nodes, outputs)?;
    // By node, and by layer: a shared layer is as deep as its deepest call so far.
    let mut depths: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut layer_depths: HashMap<usize, usize> = HashMap::new();
    let mut seen = Vec::with_capacity(sorted.len());
    for &index in sorted.iter().rev() {
        let own = depths[index].unwrap_or_else(|| {
            seen.push(index);
            0
        });
        let layer = layer_depths.entry(nodes[index].layer).or_insert(0);
        *layer = own.max(*layer);
        let depth = *layer;
        depths[index] = Some(depth);
        for source in nodes[index].sources() {
            let before = &mut depths[source.node];
            if before.is_none() {
                seen.push(source.node);
            }
            *before = Some(before.unwrap_or(0).max(depth + 1));
        }
    }
    seen.sort_by_key(|index| std::cmp::Reverse(depths[*index]));
    Ok(seen)
}

/// The nodes that `outputs` need, depth first, each after those it takes from.
fn topological_order(nodes: &[Node], outputs: &[Source]) -> Result<Vec<usize>, ConfigError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; nodes.len()];
    let mut order = Vec::new();
    // Depth first with a stack of our own: a long chain must not exhaust the thread's.
    let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
    for output in outputs {
        let mut next = Some(output.node);
        while let Some(node) = next.take().or_else(|| {
            // The next dependency of the node on top; without one, that node is done.
            while let Some((top, pending)) = stack.last_mut() {
                if let Some(dependency) = pending.pop() {
                    return Some(dependency);
                }
                marks[*top] = Mark::Done;
                order.push(*top);
                stack.pop();
            }
            None
        }) {
            match marks[node] {
                Mark::Done => {}
                Mark::Open => return Err(error("it has a cycle".into())),
                Mark::New => {
                    marks[node] = Mark::Open;
                    let mut pending: Vec<usize> = Vec::new();
                    pending.extend(nodes[node].sources().map(|source| source.node));
                    pending.reverse(); // taken from the end, and Keras takes the first one first
                    stack.push((node, pending));
                }
            }
        }
    }
    Ok(order)
}

fn visit_references<'a>(value: &'a Value, visit: &mut impl FnMut(Reference<'a>)) {
    match value {
        Value::Array(items) => {
            if let Some(reference) = as_reference(items) {
                visit(reference);
            } else {
                items.iter().for_each(|item| visit_references(item, visit));
            }
        }
        Value::Object(map) => {
            if map.get("class_name").and_then(Value::as_str) == Some("__keras_tensor__") {
                let history = value
                    .pointer("/config/keras_history")
                    .and_then(Value::as_array);
                if let Some(reference) = history.and_then(|items| as_reference(items)) {
                    visit(reference);
                }
                return;
            }
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .for_each(|key| visit_references(&map[key], visit));
        }
        _ => {}
    }
}

/// `[layer, node, tensor]`, and Keras 2's `[layer, node, tensor, kwargs]`.
fn as_reference(items: &[Value]) -> Option<Reference<'_>> {
    match items {
        [Value::String(layer), node, tensor] => Some((layer, node.as_u64()?, tensor.as_u64()?)),
        [
            Value::String(layer),
            node,
            tensor,
            Value::Object(_) | Value::Null,
        ] => Some((layer, node.as_u64()?, tensor.as_u64()?)),
        _ => None,
    }
}

fn error(what: String) -> ConfigError {
    ConfigError::Graph(what)
}
