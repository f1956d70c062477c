//! A node of an ONNX graph, as a file describes it.

use std::collections::BTreeMap;

use crate::{Array, ConfigError};

/// What the numbers of a tensor stand for.
///
/// ```
/// use ifco_model::onnx::Kind;
/// assert_eq!(Kind::of_onnx(7), Some(Kind::Int)); // INT64
/// assert_eq!(Kind::of_onnx(8), None); // STRING
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any floating-point type.
    Float,
    /// Any integer type.
    Int,
    /// 0 and 1.
    Bool,
}

impl Kind {
    /// The kind of ONNX's `TensorProto.DataType`; `None` for strings and complex numbers.
    pub fn of_onnx(data_type: i64) -> Option<Self> {
        match data_type {
            1 | 10 | 11 | 16 => Some(Kind::Float),
            2..=7 | 12 | 13 => Some(Kind::Int),
            9 => Some(Kind::Bool),
            _ => None,
        }
    }
}

/// An array that is known when a graph is read: an initializer, or what follows from some.
///
/// ```
/// use ifco_model::onnx::{Constant, Kind};
/// let axes = Constant { kind: Kind::Int, data: ndarray::array![-1.0].into_dyn().into() };
/// assert_eq!(axes.data.shape(), [1]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// What its numbers stand for.
    pub kind: Kind,
    /// Its numbers.
    pub data: Array,
}

/// One of a node's inputs.
///
/// ```
/// use ifco_model::onnx::{Kind, Operand};
/// let x = Operand::Input(Kind::Float);
/// assert_ne!(x, Operand::Absent);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Left out: an empty name in the file.
    Absent,
    /// Computed when the graph runs: the next one of the layer's inputs.
    Input(Kind),
    /// Known; with a name if it is a weight.
    Constant(Option<String>, Constant),
}

/// One of a node's attributes.
///
/// ```
/// use ifco_model::onnx::Attribute;
/// assert_eq!(Attribute::Int(1), Attribute::Int(1));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// `FLOAT`
    Float(f32),
    /// `INT`
    Int(i64),
    /// `STRING`
    String(String),
    /// `TENSOR`
    Tensor(Constant),
    /// `FLOATS`
    Floats(Vec<f32>),
    /// `INTS`
    Ints(Vec<i64>),
    /// `STRINGS`
    Strings(Vec<String>),
}

/// A node of an ONNX graph.
///
/// ```
/// use ifco_model::onnx::{Attribute, Kind, Node, Operand};
///
/// let node = Node {
///     name: "swap".into(),
///     op: "Transpose".into(),
///     opset: 17,
///     attributes: [("perm".into(), Attribute::Ints(vec![1, 0, 2]))].into(),
///     operands: vec![Operand::Input(Kind::Float)],
///     outputs: 1,
/// };
/// assert_eq!(node.operands.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, for errors.
    pub name: String,
    /// The operator: `LSTM`.
    pub op: String,
    /// The version of ONNX's own operators that the file is written in.
    pub opset: i64,
    /// Its attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Its inputs, in order.
    pub operands: Vec<Operand>,
    /// How many outputs it has.
    pub outputs: usize,
}

impl Node {
    /// The error that this node asks for what ifco does not have.
    pub(super) fn unsupported(&self, what: impl Into<String>, remedy: &str) -> ConfigError {
        ConfigError::Unsupported {
            layer: self.name.clone(),
            class: self.op.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn invalid(
        &self,
        key: &str,
        found: impl Into<String>,
        expected: &str,
    ) -> ConfigError {
        ConfigError::Invalid {
            layer: format!("node {:?} ({})", self.name, self.op),
            key: key.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn wrong_type(&self, key: &str, expected: &str) -> ConfigError {
        self.invalid(key, "of another type", expected)
    }

    /// An attribute that is an integer.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn int(&self, key: &str) -> Result<Option<i64>, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong_type(key, "an integer")),
        }
    }

    /// The same, or what ONNX says it is where it is absent.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn int_or(&self, key: &str, default: i64) -> Result<i64, ConfigError> {
        Ok(self.int(key)?.unwrap_or(default))
    }

    /// An attribute that is a number.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn float(&self, key: &str) -> Result<Option<f32>, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong_type(key, "a number")),
        }
    }

    /// The same, or what ONNX says it is where it is absent.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn float_or(&self, key: &str, default: f32) -> Result<f32, ConfigError> {
        Ok(self.float(key)?.unwrap_or(default))
    }

    /// An attribute that is a string, or what ONNX says it is where it is absent.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn string_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(default),
            Some(Attribute::String(value)) => Ok(value),
            Some(_) => Err(self.wrong_type(key, "a string")),
        }
    }

    /// An attribute that is a list of integers.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn ints(&self, key: &str) -> Result<Option<Vec<i64>>, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values.clone())),
            Some(_) => Err(self.wrong_type(key, "integers")),
        }
    }

    /// An attribute that is a list of numbers; empty where it is absent.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn floats(&self, key: &str) -> Result<Vec<f32>, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(Vec::new()),
            Some(Attribute::Floats(values)) => Ok(values.clone()),
            Some(_) => Err(self.wrong_type(key, "numbers")),
        }
    }

    /// An attribute that is a list of strings.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        match self.attributes.get(key) {
            None => Ok(None),
            Some(Attribute::Strings(values)) => Ok(Some(values.clone())),
            Some(_) => Err(self.wrong_type(key, "strings")),
        }
    }

    /// One of its inputs; absent where it has not so many.
    pub fn operand(&self, index: usize) -> &Operand {
        self.operands.get(index).unwrap_or(&Operand::Absent)
    }

    /// What the numbers of an input stand for.
    pub(super) fn kind(&self, index: usize) -> Kind {
        match self.operand(index) {
            Operand::Input(kind) => *kind,
            Operand::Constant(_, constant) => constant.kind,
            Operand::Absent => Kind::Float,
        }
    }
}
