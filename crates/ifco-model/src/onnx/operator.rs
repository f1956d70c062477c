//! Every operator but the recurrent ones, as a layer without Keras's semantics.

use ndarray::ArrayD;

use super::node::{Kind, Node, Operand};
use super::{elementwise, infer, matmul, normalize, reduce, shapes, windows};
use crate::layers::elements;
use crate::{Array, Call, ConfigError, Layer, LayerError, Shape, Tensor, WeightSlot};

/// The operators that ifco runs, in the order in which the documentation lists them.
///
/// ```
/// use ifco_model::onnx::OPERATORS;
/// assert!(OPERATORS.contains(&"Gemm"));
/// assert!(!OPERATORS.contains(&"Loop"));
/// ```
pub const OPERATORS: &[&str] = &[
    "LSTM",
    "GRU",
    "RNN",
    "Gemm",
    "MatMul",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "Min",
    "Max",
    "Sum",
    "Mean",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "And",
    "Or",
    "Xor",
    "Not",
    "Where",
    "Tanh",
    "Sigmoid",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "HardSigmoid",
    "HardSwish",
    "Softplus",
    "Softsign",
    "Gelu",
    "Mish",
    "ThresholdedRelu",
    "Clip",
    "Softmax",
    "LogSoftmax",
    "Exp",
    "Log",
    "Sqrt",
    "Abs",
    "Neg",
    "Sign",
    "Reciprocal",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
    "Erf",
    "IsNaN",
    "Identity",
    "Dropout",
    "Cast",
    "CastLike",
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Size",
    "Range",
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Expand",
    "Tile",
    "Pad",
    "ReverseSequence",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ArgMax",
    "ArgMin",
    "TopK",
    "Conv",
    "MaxPool",
    "AveragePool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "LayerNormalization",
    "BatchNormalization",
];

/// One node of an ONNX graph that is not recurrent.
///
/// ```
/// use ifco_model::onnx::{Attribute, Kind, Node, Operand, Operator};
/// use ifco_model::{Call, Layer, Tensor};
/// use ndarray::array;
///
/// let node = Node {
///     name: "swap".into(),
///     op: "Transpose".into(),
///     opset: 17,
///     attributes: [("perm".into(), Attribute::Ints(vec![1, 0]))].into(),
///     operands: vec![Operand::Input(Kind::Float)],
///     outputs: 1,
/// };
/// let (swap, weights) = Operator::new(node);
/// assert!(weights.is_empty());
/// let x = Tensor::new(array![[1.0, 2.0]].into_dyn());
/// assert_eq!(swap.call(&[x], &Call::default())?[0].view(), array![[1.0], [2.0]].into_dyn());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Operator {
    node: Node,
}

impl Operator {
    /// The layer that a node describes, and its weights: the constants among its operands that
    /// have names. An operator that ifco does not know can be shown but not run.
    pub fn new(node: Node) -> (Self, Vec<ArrayD<f32>>) {
        let weights = node.operands.iter().filter_map(|operand| match operand {
            Operand::Constant(Some(_), constant) => Some(constant.data.to_owned().into_owned()),
            _ => None,
        });
        let weights = weights.collect();
        (Self { node }, weights)
    }

    /// The shapes of its outputs, where integers among its inputs may be known too.
    pub(crate) fn shapes(
        &self,
        inputs: &[Shape],
        integers: &[Option<infer::Integers>],
    ) -> Result<Vec<Shape>, LayerError> {
        if !self.can_run() {
            return Err(LayerError::UnknownOperator {
                operator: self.node.op.clone(),
                opset: self.node.opset,
            });
        }
        infer::infer(&self.node, inputs, integers)
    }

    /// The integers that it makes of sizes, as far as they are known.
    pub(crate) fn integers(
        &self,
        inputs: &[Shape],
        integers: &[Option<infer::Integers>],
    ) -> Option<infer::Integers> {
        infer::integers(&self.node, inputs, integers)
    }

    /// What the numbers of an output stand for.
    pub fn output_kind(&self, output: usize) -> Kind {
        let node = &self.node;
        match node.op.as_str() {
            "TopK" if output == 1 => Kind::Int,
            "Shape" | "Size" | "ArgMax" | "ArgMin" => Kind::Int,
            "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or"
            | "Xor" | "Not" | "IsNaN" => Kind::Bool,
            "Cast" => cast_kind(node).unwrap_or(Kind::Float),
            "CastLike" | "Where" => node.kind(1),
            "ConstantOfShape" => match node.attributes.get("value") {
                Some(super::Attribute::Tensor(constant)) => constant.kind,
                _ => Kind::Float,
            },
            _ => node.kind(0),
        }
    }

    /// What the node computes from those of its operands that are not constant.
    ///
    /// # Errors
    /// When the operator is not known, or its operands do not fit.
    pub fn evaluate(&self, inputs: &[Array]) -> Result<Vec<Array>, LayerError> {
        self.evaluate_within(inputs, usize::MAX)
    }

    /// The same, where no array may have more than `limit` numbers, and no product more
    /// multiplications: for what a file wants computed before anybody asks for it.
    ///
    /// # Errors
    /// When one would have, the operator is not known, or its operands do not fit.
    pub fn evaluate_within(
        &self,
        inputs: &[Array],
        limit: usize,
    ) -> Result<Vec<Array>, LayerError> {
        let mut inputs = inputs.iter();
        let mut operands: Vec<Option<Array>> = Vec::with_capacity(self.node.operands.len());
        for operand in &self.node.operands {
            operands.push(match operand {
                Operand::Absent => None,
                Operand::Constant(_, constant) => Some(constant.data.clone()),
                Operand::Input(_) => Some(
                    inputs
                        .next()
                        .cloned()
                        .ok_or_else(|| LayerError::Other("one of its inputs is missing".into()))?,
                ),
            });
        }
        let operands = Operands {
            node: &self.node,
            all: operands,
            limit,
        };
        let families = [
            elementwise::evaluate,
            shapes::evaluate,
            matmul::evaluate,
            reduce::evaluate,
            normalize::evaluate,
            windows::evaluate,
        ];
        for family in families {
            if let Some(outputs) = family(&operands)? {
                return Ok(outputs);
            }
        }
        Err(LayerError::UnknownOperator {
            operator: self.node.op.clone(),
            opset: self.node.opset,
        })
    }
}

pub(super) fn cast_kind(node: &Node) -> Result<Kind, ConfigError> {
    let to = node.int_or("to", 1)?;
    Kind::of_onnx(to).ok_or_else(|| node.invalid("to", to.to_string(), "a type of numbers"))
}

/// What a node is given when it runs.
pub(super) struct Operands<'a> {
    pub node: &'a Node,
    all: Vec<Option<Array>>,
    limit: usize,
}

/// What a family of operators answers: `None` to an operator that is none of it.
pub(super) type Outputs = Result<Option<Vec<Array>>, LayerError>;

impl Operands<'_> {
    pub fn op(&self) -> &str {
        &self.node.op
    }

    pub fn get(&self, index: usize) -> Option<&Array> {
        self.all.get(index)?.as_ref()
    }

    pub fn need(&self, index: usize) -> Result<&Array, LayerError> {
        self.get(index)
            .ok_or_else(|| LayerError::Other(format!("it has no input {index}")))
    }

    /// Those that are there.
    pub fn given(&self) -> impl Iterator<Item = &Array> {
        self.all.iter().flatten()
    }

    /// How many numbers an array of this shape has: not more than may be.
    pub fn elements(&self, shape: &[usize]) -> Result<usize, LayerError> {
        let count = elements(shape)?;
        match count <= self.limit {
            true => Ok(count),
            false => Err(LayerError::Other(format!(
                "an array of shape {shape:?} has more elements than the limit of {}",
                self.limit
            ))),
        }
    }

    /// Refuses to multiply more often than may be.
    pub fn work(&self, sizes: &[usize]) -> Result<(), LayerError> {
        let count = sizes
            .iter()
            .try_fold(1usize, |all, size| all.checked_mul(*size));
        match count.is_some_and(|count| count <= self.limit) || self.limit == usize::MAX {
            true => Ok(()),
            false => Err(LayerError::Other(format!(
                "a product of sizes {sizes:?} is more work than the limit of {}",
                self.limit
            ))),
        }
    }

    pub fn is_int(&self) -> bool {
        self.node.kind(0) != Kind::Float
    }

    /// An operand's numbers as integers.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let array = self.get(index)?;
        Some(array.iter().map(|value| *value as i64).collect())
    }

    /// Integers that older files have as an attribute and newer ones as an operand.
    pub fn integers_of(&self, key: &str, index: usize) -> Result<Option<Vec<i64>>, LayerError> {
        match self.node.ints(key)? {
            Some(values) => Ok(Some(values)),
            None => Ok(self.integers(index)),
        }
    }

    /// Where an axis that may count from the end is.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, LayerError> {
        crate::layers::resolve_axis(axis, rank)
            .ok_or_else(|| LayerError::Other(format!("axis {axis} of {rank} axes")))
    }

    /// Axes in range, sorted, none twice.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, LayerError> {
        let axes = axes.iter().map(|axis| self.axis(*axis, rank));
        let mut axes = axes.collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }
}

impl From<ConfigError> for LayerError {
    fn from(error: ConfigError) -> Self {
        LayerError::Other(error.to_string())
    }
}

impl Layer for Operator {
    fn class_name(&self) -> &str {
        &self.node.op
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let names = self
            .node
            .operands
            .iter()
            .filter_map(|operand| match operand {
                Operand::Constant(Some(name), _) => Some(name.as_str()),
                _ => None,
            });
        WeightSlot::list("", &names.collect::<Vec<_>>())
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let mut weights = weights.into_iter();
        for operand in &mut self.node.operands {
            let Operand::Constant(Some(name), constant) = operand else {
                continue;
            };
            let weight = weights.next().ok_or(LayerError::NoWeights)?;
            if weight.shape() != constant.data.shape() {
                return Err(LayerError::Weight {
                    name: name.clone(),
                    found: weight.shape().to_vec(),
                    expected: crate::layers::display_sizes(constant.data.shape()),
                });
            }
            constant.data = weight.into();
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let weights = self
            .node
            .operands
            .iter()
            .filter_map(|operand| match operand {
                Operand::Constant(Some(_), constant) => Some(constant.data.to_owned().into_owned()),
                _ => None,
            });
        Some(weights.collect())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        self.shapes(inputs, &[])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let inputs: Vec<Array> = inputs.iter().map(|input| input.data.clone()).collect();
        let outputs = self.evaluate(&inputs)?;
        Ok(outputs.into_iter().map(Tensor::new).collect())
    }

    fn can_run(&self) -> bool {
        OPERATORS.contains(&self.node.op.as_str())
    }

    fn is_operation(&self) -> bool {
        self.weight_slots().is_empty()
    }

    fn as_node(&self) -> Option<&Node> {
        Some(&self.node)
    }

    fn as_operator(&self) -> Option<&Operator> {
        Some(self)
    }
}
