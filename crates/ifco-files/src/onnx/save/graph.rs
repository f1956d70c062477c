//! A graph of ONNX while nodes are added to it.

use std::collections::HashSet;

use ndarray::ArrayD;

use super::message::Message;

/// Of ONNX's own operators: 17 is the first with LayerNormalization, and every runtime in use has
/// it.
const OPSET: i64 = 17;
/// Of the file format, as that opset asks for.
const IR_VERSION: i64 = 8;

const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// A size of an input or output: known, or a name for one that is open.
#[derive(Debug, Clone)]
pub(super) enum Dimension {
    Size(usize),
    Name(String),
}

/// The value of a node's attribute.
pub(super) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Text(&'a str),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<&'a str>),
    Graph(Message),
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    /// Of tensors and nodes, none twice.
    names: HashSet<String>,
}

impl Graph {
    /// This name, or one like it that is free.
    pub fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }

    /// Adds a weight and gives its name.
    pub fn weight(&mut self, name: &str, array: &ArrayD<f32>) -> String {
        let raw: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, FLOAT, array.shape(), &raw)
    }

    /// Adds integers that a node takes, such as axes: a vector.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.tensor(name, INT64, &[values.len()], &raw)
    }

    /// Adds one number without axes.
    pub fn number(&mut self, name: &str, value: f32) -> String {
        self.tensor(name, FLOAT, &[], &value.to_le_bytes())
    }

    fn tensor(&mut self, name: &str, kind: i64, shape: &[usize], raw: &[u8]) -> String {
        let name = self.name(name);
        let shape = shape.iter().fold(Message::default(), |message, size| {
            message.int(1, *size as i64)
        });
        let tensor = shape.int(2, kind).put(8, &name).put(9, raw);
        self.initializers.push(tensor);
        name
    }

    /// Adds a node with these inputs, of which an empty one is left out, and as many outputs as
    /// are named.
    pub fn node<const N: usize>(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        outputs: [&str; N],
        attributes: &[(&str, Attribute<'_>)],
    ) -> [String; N] {
        let own = self.name(name);
        let outputs = outputs.map(|output| self.name(output));
        let node = Message::default()
            .all(1, inputs)
            .all(2, &outputs)
            .put(3, own)
            .put(4, op)
            .all(
                5,
                attributes
                    .iter()
                    .map(|(name, value)| attribute(name, value)),
            );
        self.nodes.push(node);
        outputs
    }

    /// Adds a node of one output that is named as the node is.
    pub fn one(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) -> String {
        let [output] = self.node(op, &format!("{name}/{op}"), inputs, [name], attributes);
        output
    }

    /// Adds an input of one of ONNX's types, and gives its name.
    pub fn input(&mut self, name: &str, kind: i64, shape: &[Dimension]) -> String {
        let name = self.name(name);
        self.inputs.push(value_info(&name, kind, shape));
        name
    }

    /// A graph that a node holds, such as the step of a Scan: of these inputs, whose names were set
    /// aside with [`name`](Self::name), and of the nodes that `fill` adds, which gives the outputs.
    /// Its weights are those of the graph around it.
    ///
    /// # Errors
    /// What `fill` returns.
    pub fn body<E>(
        &mut self,
        name: &str,
        inputs: &[(String, Vec<Dimension>)],
        fill: impl FnOnce(&mut Self) -> Result<Vec<String>, E>,
    ) -> Result<Message, E> {
        let around = std::mem::take(&mut self.nodes);
        let filled = fill(self);
        let nodes = std::mem::replace(&mut self.nodes, around);
        let given = inputs
            .iter()
            .map(|(name, shape)| value_info(name, FLOAT, shape));
        let made = filled?.into_iter().map(|name| element_info(&name));
        let graph = Message::default().all(1, nodes).put(2, name);
        Ok(graph.all(11, given).all(12, made))
    }

    /// Makes a tensor an output of the graph by this name, which was set aside with
    /// [`name`](Self::name).
    pub fn output(&mut self, tensor: &str, name: &str, shape: &[Dimension]) {
        let own = self.name(&format!("{name}/Identity"));
        let node = Message::default().put(1, tensor).put(2, name).put(3, own);
        self.nodes.push(node.put(4, "Identity"));
        self.outputs.push(value_info(name, FLOAT, shape));
    }

    /// The file.
    pub fn into_file(self, name: &str) -> Vec<u8> {
        let graph = Message::default()
            .all(1, self.nodes)
            .put(2, name)
            .all(5, self.initializers)
            .all(11, self.inputs)
            .all(12, self.outputs);
        let opset = Message::default().put(1, "").int(2, OPSET);
        Message::default()
            .int(1, IR_VERSION)
            .put(2, "ifco")
            .put(3, env!("CARGO_PKG_VERSION"))
            .put(8, opset)
            .put(7, graph)
            .into_bytes()
    }
}

fn attribute(name: &str, value: &Attribute<'_>) -> Message {
    let message = Message::default().put(1, name);
    match value {
        Attribute::Float(value) => message.float(2, *value).int(20, 1),
        Attribute::Int(value) => message.int(3, *value).int(20, 2),
        Attribute::Text(value) => message.put(4, value).int(20, 3),
        Attribute::Floats(values) => values
            .iter()
            .fold(message, |message, value| message.float(7, *value))
            .int(20, 6),
        Attribute::Ints(values) => values
            .iter()
            .fold(message, |message, value| message.int(8, *value))
            .int(20, 7),
        Attribute::Texts(values) => message.all(9, values).int(20, 8),
        Attribute::Graph(graph) => message.put(6, graph).int(20, 5),
    }
}

/// Floats whose shape follows from the nodes.
fn element_info(name: &str) -> Message {
    let kind = Message::default().put(1, Message::default().int(1, FLOAT));
    Message::default().put(1, name).put(2, kind)
}

fn value_info(name: &str, kind: i64, shape: &[Dimension]) -> Message {
    let shape = shape.iter().map(|dimension| match dimension {
        Dimension::Size(size) => Message::default().int(1, *size as i64),
        Dimension::Name(name) => Message::default().put(2, name),
    });
    let shape = Message::default().all(1, shape);
    let tensor = Message::default().int(1, kind).put(2, shape);
    let kind = Message::default().put(1, tensor);
    Message::default().put(1, name).put(2, kind)
}
