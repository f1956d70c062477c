//! What a pickle makes.

use super::globals::{Element, Global};

/// PyTorch counts storages; nothing in a file names them longer.
const LONGEST_KEY: usize = 200;
/// No layer has tensors of more.
const MOST_AXES: usize = 16;

/// Everything that a pickle makes, by number.
#[derive(Debug, Default)]
pub(in crate::torch) struct Heap(Vec<Node>);

/// A value: a small one itself, others by their number in the heap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Node(u32),
}

/// What lies in the heap.
#[derive(Debug)]
pub(in crate::torch) enum Node {
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// A module of TorchScript; its attributes are a dictionary.
    Object {
        attributes: Value,
    },
    /// Something that holds no weights and no names: bytes, a device, a large integer.
    Opaque,
}

/// Where numbers lie in the file.
#[derive(Debug, Clone)]
pub(in crate::torch) struct Storage {
    pub key: String,
    pub element: Element,
    /// How many numbers it claims; bytes, where it is untyped.
    pub len: u64,
    /// In a legacy file, it may be a part of the storage `key`: its first number.
    pub first: u64,
}

/// A view of a storage.
#[derive(Debug, Clone)]
pub(in crate::torch) struct Tensor {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<usize>,
    /// How many numbers lie between neighbours, along each axis.
    pub strides: Vec<usize>,
}

impl Heap {
    pub(super) fn add(&mut self, node: Node) -> Value {
        // Each instruction adds one node at most, and the budget ends long before 2³² of them.
        let number = self.0.len() as u32;
        self.0.push(node);
        Value::Node(number)
    }

    /// Everything in it.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    pub fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(number) => self.0.get(number as usize),
            _ => None,
        }
    }

    pub(super) fn node_mut(&mut self, value: Value) -> Option<&mut Node> {
        match value {
            Value::Node(number) => self.0.get_mut(number as usize),
            _ => None,
        }
    }

    pub fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is in a list or a tuple.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::List(values) | Node::Tuple(values) => Some(values),
            _ => None,
        }
    }

    fn sizes(&self, value: Value) -> Option<Vec<usize>> {
        let sizes = self.items(value)?;
        if sizes.len() > MOST_AXES {
            return None;
        }
        sizes
            .iter()
            .map(|size| match size {
                Value::Int(size) => usize::try_from(*size).ok(),
                _ => None,
            })
            .collect()
    }

    /// The storage that `(type, key, device, count, view)` tells of.
    pub(super) fn storage(&self, told: &[Value]) -> Result<Storage, String> {
        let wrong = || "a storage that is not (type, key, device, count)".to_owned();
        let [kind, key, _device, len, rest @ ..] = told else {
            return Err(wrong());
        };
        let (Some(Node::Global(Global::Storage(element))), Some(key)) =
            (self.node(*kind), self.text(*key))
        else {
            return Err(wrong());
        };
        if key.len() > LONGEST_KEY {
            return Err("a storage with a name of more than 200 bytes".into());
        }
        let mut storage = Storage {
            key: key.to_owned(),
            element: *element,
            len: count(*len).ok_or_else(wrong)?,
            first: 0,
        };
        // (key, first, count): a part of the storage, in files before PyTorch 1.6.
        if let Some(view) = rest.first().and_then(|view| self.items(*view)) {
            let (Some(first), Some(len)) = (
                view.get(1).and_then(|first| count(*first)),
                view.get(2).and_then(|len| count(*len)),
            ) else {
                return Err(wrong());
            };
            let end = first.checked_add(len);
            if end.is_none_or(|end| end > storage.len) {
                return Err("a part of a storage that reaches beyond its end".into());
            }
            storage.first = first;
            storage.len = len;
        }
        Ok(storage)
    }

    /// The tensor that `(storage, offset, shape, strides, …)` tells of.
    pub(super) fn tensor(&self, told: &[Value], dtype_at: Option<usize>) -> Result<Tensor, String> {
        let wrong = || "a tensor that is not (storage, offset, shape, strides)".to_owned();
        let [storage, offset, shape, strides, ..] = told else {
            return Err(wrong());
        };
        let Some(Node::Storage(storage)) = self.node(*storage) else {
            return Err(wrong());
        };
        let mut storage = (**storage).clone();
        if let Some(at) = dtype_at {
            let dtype = told.get(at).and_then(|dtype| self.node(*dtype));
            let Some(Node::Global(Global::Dtype(element))) = dtype else {
                return Err("a tensor whose type is not told".into());
            };
            if storage.element == Element::Untyped {
                let size = element.size().unwrap_or(1) as u64;
                storage.len /= size;
                storage.first /= size;
            }
            storage.element = *element;
        }
        let shape = self.sizes(*shape).ok_or_else(wrong)?;
        let strides = self.sizes(*strides).ok_or_else(wrong)?;
        if shape.len() != strides.len() {
            return Err("a tensor with more or fewer strides than axes".into());
        }
        Ok(Tensor {
            storage,
            offset: count(*offset).ok_or_else(wrong)?,
            shape,
            strides,
        })
    }
}

impl Element {
    /// Bytes of one number, where it is read.
    pub fn size(self) -> Option<usize> {
        match self {
            Element::Float(dtype) => Some(dtype.size()),
            Element::Other(size) => Some(size),
            Element::Unsupported { .. } => None,
            Element::Untyped => Some(1),
        }
    }

    /// Bytes of one number in a legacy file, which holds also what is not read.
    pub fn stored_size(self) -> usize {
        match self {
            Element::Unsupported { size, .. } => size,
            other => other.size().unwrap_or(1),
        }
    }
}

fn count(value: Value) -> Option<u64> {
    match value {
        Value::Int(count) => u64::try_from(count).ok(),
        _ => None,
    }
}
