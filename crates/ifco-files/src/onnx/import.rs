//! From the nodes of an ONNX graph to a model: what is known already is computed at once, the
//! rest becomes layers, in the file's order.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use ifco_model::onnx::{Attribute, Constant, Kind, Node, Operand, Operator, Recurrent};
use ifco_model::{Array, Layer, Model, ModelBuilder, ModelError, Output, Port};

use super::Source;
use super::body::{self, Outer};
use super::looped::{self, Lengths};
use super::names::Names;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo};
use super::rows::{self, Step};
use super::tensor::{self, Budget};
use crate::FileError;

/// What stands behind a name in the graph.
#[derive(Debug, Clone)]
enum Known {
    /// An array, and whether it is a weight: an initializer of floats.
    Constant(Constant, bool),
    Computed {
        output: Output,
        kind: Kind,
    },
}

pub(super) struct Import<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) opset: i64,
    builder: ModelBuilder,
    names: Names,
    known: HashMap<&'a str, Known>,
    /// The inputs by their names in the file, and how many axes they have.
    inputs: Vec<(&'a str, Output, Option<usize>)>,
    steps: Vec<Step<'a>>,
    pub(super) lengths: Lengths<'a>,
    pub(super) budget: Budget,
    /// How many more numbers may be gone through for what is computed at once.
    work: usize,
}

/// Makes a model of the graph.
pub(super) fn import(
    source: &Source<'_>,
    model: &ModelProto<'_>,
    graph: &GraphProto<'_>,
) -> Result<Model, FileError> {
    source.count("nodes", graph.nodes.len())?;
    source.count("initializers", graph.initializers.len())?;
    source.count("inputs", graph.inputs.len())?;
    source.count("outputs", graph.outputs.len())?;
    if graph.has_sparse {
        let remedy = "save its weights as dense initializers";
        return Err(source.unsupported("the model has sparse weights", remedy));
    }
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opsets.iter().find(|(domain, _)| own(domain));
    let (_, opset) = opset.ok_or_else(|| FileError::Missing {
        path: source.path.into(),
        part: "version of ONNX's operators (opset_import) in the file".into(),
        remedy: "it may be cut off: copy or download it again".into(),
    })?;
    let name = if graph.name.is_empty() {
        "onnx"
    } else {
        graph.name
    };
    let budget = Budget::new(source);
    let mut import = Import {
        source,
        opset: *opset,
        builder: ModelBuilder::new("Graph", name),
        names: Names::default(),
        known: HashMap::new(),
        inputs: Vec::new(),
        steps: Vec::new(),
        lengths: Lengths::default(),
        work: budget.elements().saturating_mul(16),
        budget,
    };
    for message in &graph.initializers {
        let tensor = TensorProto::read(*message).map_err(|error| source.damaged(&error))?;
        let constant = tensor::read(source, &tensor, &mut import.budget)?;
        let is_weight = constant.kind == Kind::Float && constant.data.ndim() > 0;
        let constant = Known::Constant(constant, is_weight);
        import.known.insert(tensor.name, constant);
    }
    for message in &graph.inputs {
        import.input(ValueInfo::read(*message).map_err(|error| source.damaged(&error))?)?;
    }
    for message in &graph.nodes {
        import.node(NodeProto::read(*message).map_err(|error| source.damaged(&error))?)?;
    }
    import.finish(graph)
}

impl<'a> Import<'a> {
    pub(super) fn model_error(&self, error: impl Into<ModelError>) -> FileError {
        FileError::model(self.source.path, error.into())
    }

    fn input(&mut self, info: ValueInfo<'a>) -> Result<(), FileError> {
        if self.known.contains_key(info.name) {
            return Ok(()); // old files list the weights as well
        }
        let kind = info.data_type.and_then(Kind::of_onnx).ok_or_else(|| {
            let what = format!("its input {:?} is no tensor of numbers", info.name);
            let remedy = "export the model with inputs of floats or integers";
            self.source.unsupported(what, remedy)
        })?;
        let name = self.names.distinct(info.name);
        let rank = info.shape.as_ref().map(Vec::len);
        let output = self.builder.input(&name, info.shape);
        self.inputs.push((info.name, output, rank));
        self.known
            .insert(info.name, Known::Computed { output, kind });
        Ok(())
    }

    fn node(&mut self, proto: NodeProto<'a>) -> Result<(), FileError> {
        let name = self.names.of_node(proto.name, proto.op);
        if has_bodies(&proto) {
            return self.control(&proto, name);
        }
        let object = || format!("node {name:?} ({})", proto.op);
        let mut operands = Vec::with_capacity(proto.inputs.len());
        let mut inputs = Vec::new();
        for input in &proto.inputs {
            if input.is_empty() {
                operands.push(Operand::Absent);
                continue;
            }
            operands.push(match self.known.get(input) {
                Some(Known::Constant(constant, is_weight)) => {
                    let name = is_weight.then(|| (*input).to_owned());
                    Operand::Constant(name, constant.clone())
                }
                Some(Known::Computed { output, kind }) => {
                    inputs.push(*output);
                    Operand::Input(*kind)
                }
                None => {
                    let reason = format!(
                        "it takes {input:?}, which nothing before it makes: its nodes are out of \
                         order, or in a cycle"
                    );
                    return Err(self.source.invalid(object(), reason));
                }
            });
        }
        let mut attributes = BTreeMap::new();
        for attribute in &proto.attributes {
            if let Some(value) = self.attribute(attribute, &object())? {
                attributes.insert(attribute.name.to_owned(), value);
            }
        }
        let is_own = proto.domain.is_empty() || proto.domain == "ai.onnx";
        let node = Node {
            name: name.clone(),
            op: match is_own {
                true => proto.op.to_owned(),
                false => format!("{}.{}", proto.domain, proto.op),
            },
            opset: self.opset,
            attributes,
            operands,
            outputs: proto.outputs.len(),
        };
        let is_recurrent = matches!(node.op.as_str(), "LSTM" | "GRU" | "RNN");
        let mut kinds = vec![Kind::Float; proto.outputs.len()];
        let (layer, weights): (Box<dyn Layer>, _) = if is_recurrent {
            let (layer, weights) = Recurrent::new(&node).map_err(|e| self.model_error(e))?;
            (Box::new(layer), weights)
        } else {
            let (operator, weights) = Operator::new(node.clone());
            if inputs.is_empty() && operator.can_run() {
                return self.fold(&operator, &node, &proto.outputs, &object());
            }
            for (index, kind) in kinds.iter_mut().enumerate() {
                *kind = operator.output_kind(index);
            }
            (Box::new(operator), weights)
        };
        let output = self
            .builder
            .add(&name, layer, &inputs, weights)
            .map_err(|error| self.model_error(error))?;
        self.lengths.follow(&node, &proto.inputs, &proto.outputs);
        let step = Step::new(&node, &proto.inputs, &proto.outputs);
        self.steps.push(step);
        for (index, (made, kind)) in proto.outputs.iter().zip(kinds).enumerate() {
            let output = output.at(index);
            self.define(made, Known::Computed { output, kind }, &object())?;
        }
        Ok(())
    }

    fn define(&mut self, name: &'a str, value: Known, object: &str) -> Result<(), FileError> {
        if !name.is_empty() && self.known.insert(name, value).is_some() {
            let reason = format!("it makes {name:?}, which is there already");
            return Err(self.source.invalid(object, reason));
        }
        Ok(())
    }

    /// Computes a node whose operands are all known.
    fn fold(
        &mut self,
        operator: &Operator,
        node: &Node,
        outputs: &[&'a str],
        object: &str,
    ) -> Result<(), FileError> {
        let limit = self.budget.elements().min(self.work);
        let result = operator.evaluate_within(&[], limit);
        let result = result.map_err(|source| {
            self.model_error(ModelError::Layer {
                layer: node.name.clone(),
                class: node.op.clone(),
                source,
            })
        })?;
        let sizes = |arrays: &[Array]| arrays.iter().map(Array::len).sum::<usize>();
        let taken = node.operands.iter().map(|operand| match operand {
            Operand::Constant(_, constant) => constant.data.len(),
            _ => 0,
        });
        let taken: usize = taken.sum();
        let cost = taken.saturating_add(sizes(&result)).saturating_add(1);
        self.work = self
            .work
            .checked_sub(cost)
            .ok_or_else(|| FileError::Limit {
                path: self.source.path.into(),
                what: format!("what {object} and others compute of the model's own numbers"),
                found: cost as u64,
                limit: self.work as u64,
                field: "expansion",
            })?;
        self.budget.take(self.source, object, sizes(&result))?;
        // A transposed weight is one still.
        let is_weight = |constant: &Constant| {
            let made_of = node.operands.iter();
            let mut made_of = made_of.filter(|o| matches!(o, Operand::Constant(Some(_), _)));
            constant.kind == Kind::Float && made_of.next().is_some()
        };
        for (index, (made, data)) in outputs.iter().zip(result).enumerate() {
            let constant = Constant {
                kind: match node.op.as_str() {
                    "Constant" => constant_kind(node),
                    _ => operator.output_kind(index),
                },
                data,
            };
            let is_weight = is_weight(&constant);
            self.define(made, Known::Constant(constant, is_weight), object)?;
        }
        Ok(())
    }

    /// `None` for what ifco's operators have no use for: graphs, which only operators that it
    /// does not know have.
    pub(super) fn attribute(
        &mut self,
        proto: &AttributeProto<'_>,
        object: &str,
    ) -> Result<Option<Attribute>, FileError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // By its type, where it has one: a field of 0 need not be written.
        Ok(Some(match proto.kind {
            1 => Attribute::Float(proto.float.unwrap_or(0.0)),
            2 => Attribute::Int(proto.int.unwrap_or(0)),
            3 => Attribute::String(proto.string.map(|s| text(s.bytes)).unwrap_or_default()),
            4 => {
                let message = proto.tensor.ok_or_else(|| {
                    let reason = format!("its attribute {:?} has no tensor", proto.name);
                    self.source.invalid(object, reason)
                })?;
                let tensor = TensorProto::read(message).map_err(|e| self.source.damaged(&e))?;
                Attribute::Tensor(tensor::read(self.source, &tensor, &mut self.budget)?)
            }
            6 => Attribute::Floats(proto.floats.clone()),
            7 => Attribute::Ints(proto.ints.clone()),
            8 => Attribute::Strings(proto.strings.iter().map(|s| text(s.bytes)).collect()),
            0 if !proto.has_graph => {
                // Before IR version 3 there were no types.
                match (proto.float, proto.int, proto.string) {
                    (Some(value), ..) => Attribute::Float(value),
                    (_, Some(value), _) => Attribute::Int(value),
                    (_, _, Some(value)) => Attribute::String(text(value.bytes)),
                    _ if !proto.floats.is_empty() => Attribute::Floats(proto.floats.clone()),
                    _ => Attribute::Ints(proto.ints.clone()),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// A Loop, Scan or If with its graphs.
    fn control(&mut self, proto: &NodeProto<'a>, name: String) -> Result<(), FileError> {
        let known = std::mem::take(&mut self.known);
        let outer = |name: &str| match known.get(name)? {
            Known::Constant(constant, _) => Some(Outer::Constant(constant.clone())),
            Known::Computed { kind, .. } => Some(Outer::Computed(*kind)),
        };
        let made = body::control(self, proto, name.clone(), 0, &outer);
        self.known = known;
        let (made, takes) = made?;
        let object = format!("node {name:?} ({})", proto.op);
        let control = match made {
            body::Made::Control(control) => *control,
            body::Made::Cells(found, node) => {
                return self.cells(proto, &node, &name, found, &takes, &object);
            }
        };
        let inputs = takes.iter().map(|name| match self.known.get(name) {
            Some(Known::Computed { output, .. }) => Some(*output),
            _ => None,
        });
        let inputs: Option<Vec<Output>> = inputs.collect();
        let inputs = inputs.ok_or_else(|| {
            self.source
                .invalid(&*object, "it takes what nothing before it makes")
        })?;
        let kinds: Vec<Kind> = (0..proto.outputs.len())
            .map(|index| control.output_kind(index))
            .collect();
        let node = control.as_node().cloned();
        let output = self
            .builder
            .add(&name, Box::new(control), &inputs, Vec::new())
            .map_err(|error| self.model_error(error))?;
        if let Some(node) = node {
            self.steps.push(Step::new(&node, &[], &proto.outputs[..]));
        }
        for (index, (made, kind)) in proto.outputs.iter().zip(kinds).enumerate() {
            let output = output.at(index);
            self.define(made, Known::Computed { output, kind }, &object)?;
        }
        Ok(())
    }

    /// A loop that is a recurrent layer, or several one above the other.
    fn cells(
        &mut self,
        proto: &NodeProto<'a>,
        around: &Node,
        name: &str,
        found: looped::Found,
        names: &[&'a str],
        object: &str,
    ) -> Result<(), FileError> {
        let missing = || {
            self.source
                .invalid(object, "it takes what nothing before it makes")
        };
        let sequence = names.get(found.sequence).ok_or_else(missing)?;
        let Some(Known::Computed { output, .. }) = self.known.get(sequence) else {
            return Err(self.source.unsupported(
                format!("{object}, which reads a sequence that is always the same"),
                "export the model with the sequence as an input",
            ));
        };
        let (mut x, mut x_name) = (*output, Cow::Borrowed(*sequence));
        let mut made = Vec::new();
        let last = found.cells.len() - 1;
        for (index, own) in found.cells.iter().enumerate() {
            let mut operands = vec![Operand::Input(Kind::Float)];
            operands.resize(5, Operand::Absent);
            let (mut inputs, mut takes) = (vec![x], vec![x_name]);
            takes.resize(5, Cow::Borrowed(""));
            for state in &own.states {
                let name = names.get(*state).copied().unwrap_or_default();
                operands.push(match (self.known.get(name), around.operand(*state)) {
                    (_, constant @ Operand::Constant(..)) => constant.clone(),
                    (Some(Known::Computed { output, kind }), _) => {
                        inputs.push(*output);
                        Operand::Input(*kind)
                    }
                    _ => return Err(missing()),
                });
                takes.push(name.into());
            }
            let node = Node {
                name: match last {
                    0 => name.to_owned(),
                    _ => self.names.distinct(&format!("{name}.{index}")),
                },
                op: match own.cell.kind().name() {
                    "SimpleRNN" => "RNN".into(),
                    kind => kind.to_owned(),
                },
                opset: self.opset,
                attributes: BTreeMap::new(),
                operands,
                outputs: 1 + own.states.len(),
            };
            let layer = Recurrent::looped(node, &own.cell, found.reverse, found.steps);
            let (layer, weights) = layer.map_err(|error| self.model_error(error))?;
            let node = layer.as_node().cloned();
            let own = node.as_ref().map_or(name, |node| &node.name).to_owned();
            let output = self
                .builder
                .add(&own, Box::new(layer), &inputs, weights)
                .map_err(|error| self.model_error(error))?;
            // Their names in the file, where they have any.
            let makes = 0..1 + found.cells[index].states.len();
            let mut makes: Vec<Cow<'a, str>> = makes
                .map(|output| format!("{own}/{output}").into())
                .collect();
            for (name, is) in proto.outputs.iter().zip(&found.outputs) {
                match is {
                    looped::Made::Steps(cell) if *cell == index => {
                        makes[0] = (*name).into();
                    }
                    looped::Made::State(cell, state) if *cell == index => {
                        makes[1 + state] = (*name).into();
                    }
                    _ => {}
                }
            }
            if let Some(node) = &node {
                self.steps.push(Step::new(node, &takes, &makes));
            }
            made.push(output);
            (x, x_name) = (output, makes.swap_remove(0));
        }
        for (name, is) in proto.outputs.iter().zip(&found.outputs) {
            let computed = |output: Output| Known::Computed {
                output,
                kind: Kind::Float,
            };
            let known = match is {
                looped::Made::Steps(cell) => Some(computed(made[*cell].at(0))),
                looped::Made::State(cell, state) => Some(computed(made[*cell].at(1 + state))),
                looped::Made::Operand(operand) => names
                    .get(*operand)
                    .and_then(|name| self.known.get(name))
                    .cloned(),
            };
            self.define(name, known.ok_or_else(missing)?, object)?;
        }
        Ok(())
    }

    fn finish(mut self, graph: &GraphProto<'_>) -> Result<Model, FileError> {
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        let mut ends = Vec::with_capacity(graph.outputs.len());
        for message in &graph.outputs {
            let info = ValueInfo::read(*message).map_err(|error| self.source.damaged(&error))?;
            match self.known.get(info.name) {
                Some(Known::Computed { output, .. }) => {
                    ends.push(info.name);
                    let port = Port {
                        name: info.name.to_owned(),
                        shape: info.shape,
                        batch_axis: None,
                    };
                    outputs.push((port, *output));
                }
                Some(Known::Constant(..)) => {
                    let what = format!("its output {:?} does not depend on an input", info.name);
                    let remedy = "export the model without this output";
                    return Err(self.source.unsupported(what, remedy));
                }
                None => {
                    let object = format!("output {:?}", info.name);
                    return Err(self.source.invalid(object, "no node makes it"));
                }
            }
        }
        let inputs = self.inputs.iter().map(|(name, _, rank)| (*name, *rank));
        let inputs: Vec<_> = inputs.collect();
        if let Some((from, to)) = rows::find(&inputs, &ends, &self.steps) {
            for ((_, input, _), axis) in self.inputs.iter().zip(from) {
                self.builder.set_batch_axis(*input, Some(axis));
            }
            for ((port, _), axis) in outputs.iter_mut().zip(to) {
                port.batch_axis = Some(axis);
            }
        } else {
            for (_, input, _) in &self.inputs {
                self.builder.set_batch_axis(*input, None);
            }
        }
        self.builder
            .build(outputs)
            .map_err(|error| FileError::model(self.source.path, error))
    }
}

/// Whether a node has graphs that ifco runs.
pub(super) fn has_bodies(proto: &NodeProto<'_>) -> bool {
    let is_own = proto.domain.is_empty() || proto.domain == "ai.onnx";
    let has_graph = proto.attributes.iter().any(|a| a.graph.is_some());
    is_own && has_graph && matches!(proto.op, "Loop" | "Scan" | "If")
}

pub(super) fn constant_kind(node: &Node) -> Kind {
    match node.attributes.values().next() {
        Some(Attribute::Tensor(constant)) => constant.kind,
        Some(Attribute::Int(_) | Attribute::Ints(_)) => Kind::Int,
        _ => Kind::Float,
    }
}
