//! The graph of objects that a checkpoint of TensorFlow 2 is saved from: a model has layers, a layer
//! a cell, a cell a kernel, each by the name of its attribute in Python.
//!
//! Source: TensorFlow's `trackable_object_graph.proto`.

use std::collections::{BTreeSet, VecDeque};

use super::bundle::Bundle;
use crate::wire::{Message, Value, WireError};
use crate::{FileError, Limits};

/// The tensor that holds it.
pub(super) const TENSOR: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
/// The attribute of a variable that is its value.
const VALUE: &str = "VARIABLE_VALUE";

/// Every object; the first is what was saved.
#[derive(Debug)]
pub(crate) struct Objects {
    nodes: Vec<Object>,
}

/// One object.
#[derive(Debug, Default)]
struct Object {
    children: Vec<(String, usize)>,
    variable: Option<Variable>,
    /// Variables that an optimizer keeps for others.
    slots: Vec<usize>,
}

/// A variable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variable {
    /// Its tensor in the checkpoint.
    pub key: String,
    /// Its own name: `lstm/lstm_cell/kernel`.
    pub name: String,
}

impl Objects {
    /// The root.
    pub const ROOT: usize = 0;

    /// The graph of a checkpoint; `None` where it was saved by names alone.
    pub fn of(bundle: &Bundle, limits: &Limits) -> Result<Option<Self>, FileError> {
        let Some(text) = bundle.text(TENSOR)? else {
            return Ok(None);
        };
        let message = Message {
            bytes: &text,
            offset: 0,
        };
        let mut nodes = Vec::new();
        for field in message.fields() {
            let node = match field.map_err(|error| damaged(bundle, &error))? {
                (1, Value::Bytes(node)) => node,
                _ => continue,
            };
            nodes.push(Object::read(node).map_err(|error| damaged(bundle, &error))?);
            limits.check_tensors(nodes.len(), bundle.path())?;
        }
        let count = nodes.len();
        for node in &mut nodes {
            node.children.retain(|(_, child)| *child < count);
        }
        Ok((!nodes.is_empty()).then_some(Self { nodes }))
    }

    /// What the object has below this name.
    pub fn child(&self, object: usize, name: &str) -> Option<usize> {
        let children = self.children(object).iter();
        let mut found = children.filter(|(found, _)| found == name);
        found.next().map(|(_, child)| *child)
    }

    /// What the object has, by name.
    pub fn children(&self, object: usize) -> &[(String, usize)] {
        self.nodes
            .get(object)
            .map_or(&[], |object| &object.children)
    }

    /// The variable that the object is.
    pub fn variable(&self, object: usize) -> Option<&Variable> {
        self.nodes.get(object)?.variable.as_ref()
    }

    /// Whether the object is an optimizer, whose variables are no weights.
    pub fn is_optimizer(&self, object: usize) -> bool {
        ["iter", "_iterations", "iterations"]
            .iter()
            .any(|name| self.child(object, name).is_some())
    }

    /// All variables that optimizers keep for others.
    pub fn slots(&self) -> BTreeSet<usize> {
        let slots = self.nodes.iter().flat_map(|object| &object.slots);
        slots.copied().collect()
    }

    /// Every object below this one, and itself, but for optimizers.
    pub fn below(&self, object: usize) -> Vec<usize> {
        let mut seen = BTreeSet::from([object]);
        let mut next = VecDeque::from([object]);
        let mut found = Vec::new();
        while let Some(object) = next.pop_front() {
            found.push(object);
            for (_, child) in self.children(object) {
                if !self.is_optimizer(*child) && seen.insert(*child) {
                    next.push_back(*child);
                }
            }
        }
        found
    }
}

fn damaged(bundle: &Bundle, error: &WireError) -> FileError {
    FileError::Damaged {
        path: bundle.path().into(),
        part: format!("tensor {TENSOR:?}"),
        reason: format!("{} at byte {}", error.reason, error.offset),
    }
}

impl Object {
    fn read(message: Message<'_>) -> Result<Self, WireError> {
        let mut object = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(child)) => object.children.push(reference(child)?),
                (2, Value::Bytes(attribute)) => {
                    let mut variable = Variable::default();
                    let mut is_value = false;
                    for field in attribute.fields() {
                        match field? {
                            (1, Value::Bytes(name)) => is_value = name.bytes == VALUE.as_bytes(),
                            (2, Value::Bytes(name)) => variable.name = name.text()?.into(),
                            (3, Value::Bytes(key)) => variable.key = key.text()?.into(),
                            _ => {}
                        }
                    }
                    if is_value {
                        object.variable = Some(variable);
                    }
                }
                (3, Value::Bytes(slot)) => {
                    for field in slot.fields() {
                        if let (3, Value::Varint(node)) = field? {
                            object.slots.extend(usize::try_from(node));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(object)
    }
}

/// A child: its name and its number.
fn reference(message: Message<'_>) -> Result<(String, usize), WireError> {
    let (mut name, mut node) = (String::new(), 0);
    for field in message.fields() {
        match field? {
            (1, Value::Varint(number)) => node = usize::try_from(number).unwrap_or(usize::MAX),
            (2, Value::Bytes(text)) => name = text.text()?.into(),
            _ => {}
        }
    }
    Ok((name, node))
}
