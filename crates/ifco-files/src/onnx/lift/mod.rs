//! An ONNX graph as a model of Keras's layers, so that every format that holds those can hold it.
//!
//! [`follow`](Lift::follow) goes through the nodes in order. What only moves axes, such as
//! Transpose, Squeeze and Reshape, becomes a [`View`] of a tensor and no layer, and what computes
//! shapes a list of [`Size`](sizes::Size)s. The rest becomes [`Stage`]s, of which [`fuse`] then
//! makes one where Keras has one layer, such as MatMul, Add and Relu; [`write`] makes the model.

mod dense;
mod functions;
mod fuse;
mod join;
mod layout;
mod norm;
mod operators;
mod part;
mod recurrent;
mod reduce;
mod sizes;
mod spelled;
mod view;
mod windows;
mod write;

use ifco_model::onnx::{self, Constant, Kind, Node};
use ifco_model::{Argument, Model, ModelCall};
use ndarray::ArrayD;
use serde_json::{Value as Json, json};

use crate::SaveError;
use norm::{Found, Part};
use sizes::Size;
use view::{Atom, Atoms, BATCH, Group, View};

/// A model that came from an ONNX file, in Keras's layers.
pub(crate) struct Lifted {
    pub model: Model,
    /// What is not as in the file, a sentence each.
    pub notes: Vec<String>,
}

/// Whether the model came from an ONNX file.
pub(crate) fn is_graph(model: &Model) -> bool {
    let mut layers = model.layers().iter();
    model.config().is_null() && layers.any(|entry| entry.layer.as_node().is_some())
}

/// The model in Keras's layers.
///
/// # Errors
/// What of it Keras has no layer for.
pub(crate) fn lift(model: &Model) -> Result<Lifted, SaveError> {
    let (calls, outputs) = model.calls();
    let mut lift = Lift {
        model,
        made: Vec::with_capacity(calls.len()),
        parts: Vec::with_capacity(calls.len()),
        spelled: Vec::with_capacity(calls.len()),
        atoms: Atoms::default(),
        stages: Vec::new(),
        inputs: Vec::new(),
        tensors: Vec::new(),
        notes: Vec::new(),
    };
    let int_inputs = int_inputs(&calls);
    for (index, call) in calls.iter().enumerate() {
        let (made, part) = match call.input {
            Some(input) => {
                let input = lift.input(input, int_inputs.contains(&index))?;
                (vec![input], None)
            }
            None => lift.follow(call)?,
        };
        lift.made.push(made);
        lift.parts.push(part);
        // A node that tells none is a function of nothing.
        lift.spelled.resize(index + 1, Vec::new());
    }
    lift.finish(&outputs)
}

/// The calls of inputs that are whole numbers.
fn int_inputs(calls: &[ModelCall<'_>]) -> Vec<usize> {
    let mut found = Vec::new();
    for call in calls {
        let Some(node) = call.layer.layer.as_node() else {
            continue;
        };
        let computed = node.operands.iter().filter_map(|operand| match operand {
            onnx::Operand::Input(kind) => Some(*kind),
            _ => None,
        });
        for (kind, argument) in computed.zip(&call.inputs) {
            if let (Kind::Int, Argument::Tensor { call, .. }) = (kind, argument) {
                found.push(*call);
            }
        }
    }
    found
}

/// What an output of a node is.
#[derive(Debug, Clone)]
enum Value {
    View(View),
    /// Integers that say how large something is, and whether they are one without axes.
    Sizes(Vec<Size>, bool),
    /// As many copies of an integer.
    Repeated(Size),
    /// Zeros, as many as the batch asks for.
    Zeros,
    /// Something that Keras has no layer for: why.
    Other(String),
}

/// What a node takes.
#[derive(Debug, Clone)]
enum Operand {
    Absent,
    Constant(Constant),
    Value(Value),
}

/// What of a recurrent layer a tensor is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Slot {
    /// All that another layer gives.
    Out,
    /// The outputs of all steps.
    Steps(Way),
    /// The hidden state at the end.
    Last(Way),
    /// The cell state at the end.
    Cell(Way),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// The only one, or one of two.
    One(usize),
    /// Both, joined by Keras's `merge_mode`.
    Both(&'static str),
}

/// One tensor of Keras's model.
#[derive(Debug)]
struct Tensor {
    stage: usize,
    slot: Slot,
    axes: Vec<Group>,
}

/// One layer of Keras's model.
#[derive(Debug)]
struct Stage {
    name: String,
    module: &'static str,
    class: &'static str,
    config: Json,
    weights: Vec<ArrayD<f32>>,
    inputs: Vec<usize>,
    /// Whether it takes them as one list.
    takes_list: bool,
    /// A positional argument behind the tensors.
    more: Option<Json>,
    initial_state: Vec<usize>,
    /// Of a recurrent layer, how many directions it has.
    ways: usize,
    /// Not for itself any more: part of another.
    is_gone: bool,
}

/// What to do with a graph that is more than Keras's layers.
const REMEDY: &str = "ifco saves Keras's layers: docs/formats.md tells which nodes become one; the \
                      ONNX file itself runs as it is";

const LAYERS: &str = "keras.layers";
const OPERATIONS: &str = "keras.src.ops.numpy";

struct Lift<'m> {
    model: &'m Model,
    /// By call and output.
    made: Vec<Vec<Value>>,
    /// By call, what of a normalization its output is.
    parts: Vec<Option<Part>>,
    /// By call, what its output is of tensors before it.
    spelled: Vec<Vec<spelled::Function>>,
    atoms: Atoms,
    stages: Vec<Stage>,
    /// Which input of the file each InputLayer is: its number, and that of the stage.
    inputs: Vec<(usize, usize)>,
    tensors: Vec<Tensor>,
    notes: Vec<String>,
}

/// The error that Keras, or this reader, has nothing for a node.
fn refuse(node: &Node, reason: impl Into<String>) -> SaveError {
    SaveError::Layer {
        layer: node.name.clone(),
        class: node.op.clone(),
        reason: reason.into(),
        remedy: REMEDY.into(),
    }
}

impl Lift<'_> {
    fn input(&mut self, index: usize, is_int: bool) -> Result<Value, SaveError> {
        let port = &self.model.inputs()[index];
        let name = port.name.clone();
        let Some(shape) = &port.shape else {
            return Err(SaveError::Model {
                reason: format!("the file does not tell the shape of the input {name:?}"),
                remedy: "export the model again, with its inputs' shapes".into(),
            });
        };
        // Where it could not be told, the first: it is refused below if rows meet each other.
        let batch = port.batch_axis.unwrap_or(0);
        let mut axes = Vec::new();
        let mut sizes = Vec::new();
        for (axis, size) in shape.iter().enumerate() {
            axes.push(match (axis == batch, *size) {
                (true, _) => vec![BATCH],
                // Of states (1, batch, units).
                (false, Some(1)) if axis < batch => vec![],
                (false, size) => {
                    sizes.push(size);
                    vec![self.atoms.add(size)]
                }
            });
        }
        if batch > 0 {
            self.notes.push(format!(
                "input {name:?}: the batch comes first, axis {batch} in the ONNX file"
            ));
        }
        let shape: Vec<Json> = std::iter::once(Json::Null)
            .chain(sizes.iter().map(|size| json!(size)))
            .collect();
        let mut config = json!({"batch_shape": shape});
        if is_int {
            config["dtype"] = json!("int32");
        }
        let stage = self.push(&name, LAYERS, "InputLayer", config, vec![]);
        self.inputs.push((index, stage));
        let mut own: Vec<Group> = axes
            .iter()
            .filter(|group| !group.is_empty())
            .cloned()
            .collect();
        let at = own.iter().position(|group| *group == [BATCH]).unwrap_or(0);
        own[..=at].rotate_right(1);
        let tensor = self.tensor(stage, Slot::Out, own);
        Ok(Value::View(View::of(tensor, axes)))
    }

    /// What a node makes, and what of a normalization that is.
    fn follow(&mut self, call: &ModelCall<'_>) -> Result<(Vec<Value>, Option<Part>), SaveError> {
        let Some(node) = call.layer.layer.as_node() else {
            return Err(SaveError::Layer {
                layer: call.layer.name.clone(),
                class: call.layer.layer.class_name().into(),
                reason: "it is no node of an ONNX graph".into(),
                remedy: String::new(),
            });
        };
        let mut given = call.inputs.iter();
        let operands = node.operands.iter().map(|operand| match operand {
            onnx::Operand::Absent => Operand::Absent,
            onnx::Operand::Constant(_, constant) => Operand::Constant(constant.clone()),
            onnx::Operand::Input(_) => match given.next() {
                Some(Argument::Tensor { call, output }) => {
                    let value = self.made.get(*call).and_then(|made| made.get(*output));
                    value.map_or(Operand::Absent, |value| Operand::Value(value.clone()))
                }
                _ => Operand::Absent,
            },
        });
        let operands: Vec<Operand> = operands.collect();
        if matches!(node.op.as_str(), "LSTM" | "GRU" | "RNN") {
            return Ok((self.recurrent(call, node, &operands)?, None));
        }
        if let Some(sizes) = self.sizes(node, &operands) {
            return Ok((vec![sizes; node.outputs.max(1)], None));
        }
        let part = match self.normalization(node, call, &operands) {
            Some(Found::Layer(view)) => return Ok((vec![Value::View(view)], None)),
            Some(Found::Part(part)) => Some(*part),
            None => None,
        };
        let functions = self.functions(call, node, &operands);
        let whole = self.spelled_out(node, &functions);
        self.spelled.push(functions);
        if let Some(view) = whole {
            return Ok((vec![Value::View(view)], part));
        }
        // The first cause is the one to tell.
        let cause = operands.iter().find_map(|operand| match operand {
            Operand::Value(Value::Other(why)) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = cause {
            return Ok((vec![Value::Other(why); node.outputs.max(1)], part));
        }
        // Nothing may come of it that anybody needs, such as a branch for the shapes alone.
        match self.operator(node, &operands) {
            Ok(values) => Ok((values, part)),
            Err(SaveError::Layer {
                layer,
                class,
                reason,
                ..
            }) => {
                let why = Value::Other(format!("node {layer:?} ({class}): {reason}"));
                Ok((vec![why; node.outputs.max(1)], part))
            }
            Err(error) => Err(error),
        }
    }

    fn push(
        &mut self,
        name: &str,
        module: &'static str,
        class: &'static str,
        config: Json,
        inputs: Vec<usize>,
    ) -> usize {
        self.stages.push(Stage {
            name: name.to_owned(),
            module,
            class,
            config,
            weights: Vec::new(),
            inputs,
            takes_list: false,
            more: None,
            initial_state: Vec::new(),
            ways: 0,
            is_gone: false,
        });
        self.stages.len() - 1
    }

    fn tensor(&mut self, stage: usize, slot: Slot, axes: Vec<Group>) -> usize {
        self.tensors.push(Tensor { stage, slot, axes });
        self.tensors.len() - 1
    }

    /// A layer of one tensor: what it gives, of these axes.
    fn layer(
        &mut self,
        name: &str,
        class: &'static str,
        config: Json,
        from: usize,
        axes: Vec<Group>,
    ) -> usize {
        let stage = self.push(name, LAYERS, class, config, vec![from]);
        self.tensor(stage, Slot::Out, axes)
    }

    fn axes_of(&self, tensor: usize) -> &[Group] {
        &self.tensors[tensor].axes
    }

    /// The last axis of the tensor that this is a view of.
    fn features(&self, view: &View) -> Group {
        let last = self.tensors[view.tensor].axes.last();
        last.cloned().unwrap_or_default()
    }

    /// A tensor whose axes are these of the view, the batch first: the view's own, or one that
    /// is arranged so.
    fn arranged(&mut self, node: &Node, view: &View, order: &[Group]) -> Result<usize, SaveError> {
        if view.flipped.is_some() {
            let reason = "it needs steps in reverse order, which no layer of Keras gives it";
            return Err(refuse(node, reason));
        }
        if self.axes_of(view.tensor) == order {
            return Ok(view.tensor);
        }
        if order.first().map(Vec::as_slice) != Some(&[BATCH]) {
            let reason = "it mixes the rows of the batch with other axes";
            return Err(refuse(node, reason));
        }
        let mut tensor = view.tensor;
        let mut own: Vec<Group> = self.axes_of(tensor).to_vec();
        let atoms = |axes: &[Group]| axes.iter().flatten().copied().collect::<Vec<Atom>>();
        let name = node.name.clone();
        if atoms(&own) != atoms(order) {
            let is_axis = |atom: &Atom| own.contains(&vec![*atom]);
            let wanted: Vec<Group> = match order.iter().all(|group| own.contains(group)) {
                true => order.to_vec(),
                false if atoms(order).iter().all(is_axis) => {
                    atoms(order).into_iter().map(|atom| vec![atom]).collect()
                }
                false => {
                    let apart: Vec<Group> =
                        atoms(&own).into_iter().map(|atom| vec![atom]).collect();
                    tensor = self.reshaped(node, tensor, &apart)?;
                    own = apart;
                    atoms(order).into_iter().map(|atom| vec![atom]).collect()
                }
            };
            let places = wanted[1..]
                .iter()
                .map(|group| own.iter().position(|own| own == group));
            let places: Option<Vec<usize>> = places.collect();
            let places = places.filter(|places| places.len() + 1 == own.len());
            let places = places.ok_or_else(|| refuse(node, "its axes are of another tensor"))?;
            let config = json!({"dims": places});
            tensor = self.layer(
                &format!("{name}/permute"),
                "Permute",
                config,
                tensor,
                wanted.clone(),
            );
            own = wanted;
        }
        match own == order {
            true => Ok(tensor),
            false => self.reshaped(node, tensor, order),
        }
    }

    /// The same numbers in the same order over other axes.
    fn reshaped(
        &mut self,
        node: &Node,
        tensor: usize,
        order: &[Group],
    ) -> Result<usize, SaveError> {
        let name = &node.name;
        if order.len() == 2 {
            let config = json!({});
            return Ok(self.layer(
                &format!("{name}/flatten"),
                "Flatten",
                config,
                tensor,
                order.to_vec(),
            ));
        }
        let sizes = order[1..].iter().map(|group| self.atoms.product(group));
        let sizes: Vec<Option<usize>> = sizes.collect();
        if sizes.iter().filter(|size| size.is_none()).count() > 1 {
            let reason = "it joins or takes apart axes of which more than one is open";
            return Err(refuse(node, reason));
        }
        let shape: Vec<Json> = sizes
            .iter()
            .map(|size| size.map_or(json!(-1), |size| json!(size)))
            .collect();
        let config = json!({"target_shape": shape});
        Ok(self.layer(
            &format!("{name}/reshape"),
            "Reshape",
            config,
            tensor,
            order.to_vec(),
        ))
    }

    /// A tensor as the view is, the batch first, without the axes of size 1 before the batch.
    fn whole(&mut self, node: &Node, view: &View) -> Result<(usize, Vec<Group>), SaveError> {
        let batch = view.axes.iter().position(|group| *group == [BATCH]);
        let Some(batch) = batch else {
            let reason = "it mixes the rows of the batch with other axes";
            return Err(refuse(node, reason));
        };
        let mut order = vec![vec![BATCH]];
        for (axis, group) in view.axes.iter().enumerate() {
            if axis != batch && !(axis < batch && group.is_empty()) {
                order.push(group.clone());
            }
        }
        Ok((self.arranged(node, view, &order)?, order))
    }
}
