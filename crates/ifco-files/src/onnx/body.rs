//! The graphs inside of Loop, Scan and If, whose nodes may take whatever is known around them.

use std::collections::{BTreeMap, HashMap};

use ifco_model::Layer;
use ifco_model::onnx::{
    Body, BodyLayer, BodyOutput, BodyStep, Constant, Control, Kind, Node, Operand, Operator,
    Recurrent,
};

use super::import::{Import, has_bodies};
use super::looped;
use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfo};
use super::tensor;
use crate::FileError;

/// Graphs in each other.
const DEEPEST: usize = 8;

/// What is known around a graph.
#[derive(Clone)]
pub(super) enum Outer {
    Constant(Constant),
    Computed(Kind),
}

/// What a node with graphs is.
pub(super) enum Made {
    Control(Box<Control>),
    /// A loop that is a recurrent layer, and the node without its graph.
    Cells(looped::Found, Box<Node>),
}

type Around<'b> = dyn Fn(&str) -> Option<Outer> + 'b;

/// A node with graphs, and the names of the computed values that it takes: its own inputs, then
/// what its graphs take from around it. Of a loop that is a layer, the names of all.
pub(super) fn control<'a>(
    import: &mut Import<'a>,
    proto: &NodeProto<'a>,
    name: String,
    depth: usize,
    outer: &Around<'_>,
) -> Result<(Made, Vec<&'a str>), FileError> {
    let object = format!("node {name:?} ({})", proto.op);
    if depth >= DEEPEST {
        return Err(FileError::Limit {
            path: import.source.path.into(),
            what: format!("graphs in each other, in {object}"),
            found: depth as u64 + 1,
            limit: DEEPEST as u64,
            field: "depth",
        });
    }
    let mut operands = Vec::new();
    let mut takes = Vec::new();
    for input in &proto.inputs {
        operands.push(match (*input, outer(input)) {
            ("", _) => Operand::Absent,
            (_, Some(Outer::Constant(constant))) => Operand::Constant(None, constant),
            (input, Some(Outer::Computed(kind))) => {
                takes.push(input);
                Operand::Input(kind)
            }
            (input, None) => {
                let reason = format!("it takes {input:?}, which nothing before it makes");
                return Err(import.source.invalid(&*object, reason));
            }
        });
    }
    // What goes round is of the kind that it begins with.
    let first = match proto.op {
        "Loop" => 2,
        _ => 0,
    };
    let mut kinds = Vec::new();
    if proto.op == "Loop" {
        kinds = vec![Kind::Int, Kind::Bool];
    }
    kinds.extend(operands.iter().skip(first).map(|operand| match operand {
        Operand::Input(kind) => *kind,
        Operand::Constant(_, constant) => constant.kind,
        Operand::Absent => Kind::Float,
    }));
    let names: &[&str] = match proto.op {
        "If" => &["then_branch", "else_branch"],
        _ => &["body"],
    };
    let mut bodies = Vec::new();
    let mut captured: Vec<Vec<usize>> = Vec::new();
    for key in names {
        let attribute = proto.attributes.iter().find(|a| a.name == *key);
        let message = attribute.and_then(|attribute| attribute.graph);
        let message = message.ok_or_else(|| {
            import
                .source
                .invalid(&*object, format!("it has no graph {key:?}"))
        })?;
        let graph = GraphProto::read(message).map_err(|error| import.source.damaged(&error))?;
        let (body, around) = body(import, &graph, &kinds, &object, depth, outer)?;
        let places = around.into_iter().map(|name| {
            let known = takes.iter().rposition(|taken| *taken == name);
            known.unwrap_or_else(|| {
                takes.push(name);
                takes.len() - 1
            })
        });
        captured.push(places.collect());
        bodies.push(body);
    }
    let mut attributes = BTreeMap::new();
    for attribute in proto.attributes.iter().filter(|a| a.graph.is_none()) {
        if let Some(value) = import.attribute(attribute, &object)? {
            attributes.insert(attribute.name.to_owned(), value);
        }
    }
    let node = Node {
        name,
        op: proto.op.to_owned(),
        opset: import.opset,
        attributes,
        operands,
        outputs: proto.outputs.len(),
    };
    if let (0, [body]) = (depth, bodies.as_slice()) {
        let taken: &[usize] = captured.first().map_or(&[], Vec::as_slice);
        let around = taken.iter().filter_map(|place| takes.get(*place).copied());
        let names: Vec<&str> = proto.inputs.iter().copied().chain(around).collect();
        let found = looped::find(&looped::Loop {
            node: &node,
            body,
            names: &names,
            lengths: &import.lengths,
        });
        if let Some(found) = found {
            return Ok((Made::Cells(found, Box::new(node)), names));
        }
    }
    let control = Control::new(node, bodies, captured);
    let control = control.map_err(|error| import.model_error(error))?;
    Ok((Made::Control(Box::new(control)), takes))
}

/// What a name inside of a graph stands for.
enum Local {
    Constant(Constant),
    /// A number until all is known, and its kind.
    Value(Place, Kind),
}

/// Where a value is: what the graph takes from around it is counted when all is known.
#[derive(Clone, Copy)]
enum Place {
    Given(usize),
    Captured(usize),
    Made(usize),
}

fn body<'a>(
    import: &mut Import<'a>,
    graph: &GraphProto<'a>,
    kinds: &[Kind],
    object: &str,
    depth: usize,
    outer: &Around<'_>,
) -> Result<(Body, Vec<&'a str>), FileError> {
    let source = import.source;
    source.count("nodes", graph.nodes.len())?;
    source.count("initializers", graph.initializers.len())?;
    let damaged = |error| source.damaged(&error);
    let mut local: HashMap<&'a str, Local> = HashMap::new();
    for message in &graph.initializers {
        let proto = TensorProto::read(*message).map_err(damaged)?;
        let constant = tensor::read(source, &proto, &mut import.budget)?;
        local.insert(proto.name, Local::Constant(constant));
    }
    let mut inputs = 0;
    for message in &graph.inputs {
        let info = ValueInfo::read(*message).map_err(damaged)?;
        if local.contains_key(info.name) {
            continue;
        }
        let declared = info.data_type.and_then(Kind::of_onnx);
        let kind = declared
            .or(kinds.get(inputs).copied())
            .unwrap_or(Kind::Float);
        local.insert(info.name, Local::Value(Place::Given(inputs), kind));
        inputs += 1;
    }
    let mut captured: Vec<&'a str> = Vec::new();
    let mut made = 0;
    let mut steps: Vec<(BodyLayer, Vec<Place>, usize)> = Vec::new();
    for message in &graph.nodes {
        let proto = NodeProto::read(*message).map_err(damaged)?;
        let name = if proto.name.is_empty() {
            proto.op
        } else {
            proto.name
        };
        let inner = format!("node {name:?} ({}) in {object}", proto.op);
        let mut places = Vec::new();
        let (layer, kinds) = if has_bodies(&proto) {
            let around = |name: &str| match local.get(name) {
                Some(Local::Constant(constant)) => Some(Outer::Constant(constant.clone())),
                Some(Local::Value(_, kind)) => Some(Outer::Computed(*kind)),
                None => outer(name),
            };
            let made = control(import, &proto, name.to_owned(), depth + 1, &around)?;
            let (Made::Control(control), takes) = made else {
                return Err(source.invalid(inner, "it is a layer inside of a graph"));
            };
            for name in takes {
                places.push(place(name, &local, &mut captured));
            }
            let kinds = (0..proto.outputs.len()).map(|index| control.output_kind(index));
            let kinds: Vec<Kind> = kinds.collect();
            (BodyLayer::Control(control), kinds)
        } else {
            let mut operands = Vec::new();
            for input in &proto.inputs {
                let known = match local.get(input) {
                    Some(Local::Constant(constant)) => Some(Outer::Constant(constant.clone())),
                    Some(Local::Value(_, kind)) => Some(Outer::Computed(*kind)),
                    None => outer(input),
                };
                operands.push(match (*input, known) {
                    ("", _) => Operand::Absent,
                    (_, Some(Outer::Constant(constant))) => Operand::Constant(None, constant),
                    (input, Some(Outer::Computed(kind))) => {
                        places.push(place(input, &local, &mut captured));
                        Operand::Input(kind)
                    }
                    (input, None) => {
                        let reason = format!("it takes {input:?}, which nothing before it makes");
                        return Err(source.invalid(inner, reason));
                    }
                });
            }
            let mut attributes = BTreeMap::new();
            for attribute in &proto.attributes {
                if let Some(value) = import.attribute(attribute, &inner)? {
                    attributes.insert(attribute.name.to_owned(), value);
                }
            }
            let is_own = proto.domain.is_empty() || proto.domain == "ai.onnx";
            let node = Node {
                name: name.to_owned(),
                op: match is_own {
                    true => proto.op.to_owned(),
                    false => format!("{}.{}", proto.domain, proto.op),
                },
                opset: import.opset,
                attributes,
                operands,
                outputs: proto.outputs.len(),
            };
            if matches!(node.op.as_str(), "LSTM" | "GRU" | "RNN") {
                let built = Recurrent::new(&node).map_err(|error| import.model_error(error))?;
                let (mut layer, weights) = built;
                layer
                    .set_weights(weights)
                    .map_err(|error| source.invalid(inner.clone(), error.to_string()))?;
                let kinds = vec![Kind::Float; proto.outputs.len()];
                (BodyLayer::Recurrent(Box::new(layer)), kinds)
            } else {
                let is_constant = node.op == "Constant";
                let kind = super::import::constant_kind(&node);
                let (operator, _) = Operator::new(node);
                let kinds = (0..proto.outputs.len()).map(|index| match is_constant {
                    true => kind,
                    false => operator.output_kind(index),
                });
                let kinds: Vec<Kind> = kinds.collect();
                (BodyLayer::Operator(operator), kinds)
            }
        };
        for (output, kind) in proto.outputs.iter().zip(&kinds) {
            if !output.is_empty() {
                local.insert(output, Local::Value(Place::Made(made), *kind));
            }
            made += 1;
        }
        steps.push((layer, places, proto.outputs.len()));
    }
    let mut ends = Vec::new();
    for message in &graph.outputs {
        let info = ValueInfo::read(*message).map_err(damaged)?;
        let known = match local.get(info.name) {
            Some(Local::Constant(constant)) => Some(Outer::Constant(constant.clone())),
            Some(Local::Value(_, kind)) => Some(Outer::Computed(*kind)),
            None => outer(info.name),
        };
        ends.push(match known {
            Some(Outer::Constant(constant)) => Err(constant),
            Some(Outer::Computed(kind)) => Ok((place(info.name, &local, &mut captured), kind)),
            None => {
                let reason = format!("no node of its graph makes {:?}", info.name);
                return Err(source.invalid(object, reason));
            }
        });
    }
    let number = |place: Place| match place {
        Place::Given(index) => index,
        Place::Captured(index) => inputs + index,
        Place::Made(index) => inputs + captured.len() + index,
    };
    let steps = steps.into_iter().map(|(layer, takes, makes)| BodyStep {
        layer,
        takes: takes.into_iter().map(number).collect(),
        makes,
    });
    let outputs = ends.into_iter().map(|end| match end {
        Ok((place, kind)) => BodyOutput::Value(number(place), kind),
        Err(constant) => BodyOutput::Constant(constant),
    });
    let body = Body {
        inputs,
        captured: captured.len(),
        steps: steps.collect(),
        outputs: outputs.collect(),
    };
    Ok((body, captured))
}

/// Where a value that is computed is, in the graph or around it.
fn place<'a>(name: &'a str, local: &HashMap<&'a str, Local>, captured: &mut Vec<&'a str>) -> Place {
    if let Some(Local::Value(place, _)) = local.get(name) {
        return *place;
    }
    let known = captured.iter().position(|known| *known == name);
    Place::Captured(known.unwrap_or_else(|| {
        captured.push(name);
        captured.len() - 1
    }))
}
