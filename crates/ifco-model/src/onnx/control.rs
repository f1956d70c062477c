//! Loop, Scan and If: operators that run graphs of their own, by an interpreter that goes through
//! the nodes again and again.
//!
//! ```text
//! Loop(M, cond, v…):  for i in 0..M while cond { cond, v…, s… = body(i, cond, v…) }   v…, stacked s…
//! Scan(v…, x…):       for each step of x…      { v…, s…       = body(v…, x…)      }   v…, stacked s…
//! If(cond):           then_branch() or else_branch()
//! ```

use std::cell::Cell;

use ndarray::{Axis, stack};

use super::node::{Kind, Node, Operand};
use super::{Operator, Recurrent};
use crate::{Array, Call, Layer, LayerError, Shape, Tensor};

/// How many nodes one call may run, all rounds together: a file can ask for rounds without end.
const MOST_NODES: usize = 50_000_000;
/// How many numbers one array in it may have: a round can double what it is given.
const MOST_ELEMENTS: usize = 1 << 29;

/// A graph inside of a node. Its values are numbered: first what it is given, then what it takes
/// from around the node, then what its nodes make.
///
/// See [`Control`] for an example.
#[derive(Debug, Default)]
pub struct Body {
    /// How many values it is given.
    pub inputs: usize,
    /// How many values it takes from around the node.
    pub captured: usize,
    /// Its nodes, in an order in which they can run.
    pub steps: Vec<BodyStep>,
    /// What it gives.
    pub outputs: Vec<BodyOutput>,
}

/// A node of a [`Body`].
#[derive(Debug)]
pub struct BodyStep {
    /// What computes it: an [`Operator`], a [`Recurrent`] or a [`Control`].
    pub layer: BodyLayer,
    /// The values that it takes, without its constants.
    pub takes: Vec<usize>,
    /// How many it makes.
    pub makes: usize,
}

/// What a node of a [`Body`] is.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyLayer {
    /// Any plain operator.
    Operator(Operator),
    /// LSTM, GRU or RNN.
    Recurrent(Box<Recurrent>),
    /// One that has a graph itself.
    Control(Box<Control>),
}

/// An output of a [`Body`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BodyOutput {
    /// A value, and what its numbers stand for.
    Value(usize, Kind),
    /// An array that is always the same.
    Constant(super::Constant),
}

impl BodyOutput {
    /// What its numbers stand for.
    pub fn kind(&self) -> Kind {
        match self {
            BodyOutput::Value(_, kind) => *kind,
            BodyOutput::Constant(constant) => constant.kind,
        }
    }
}

/// What runs may still cost.
struct Budget {
    nodes: Cell<usize>,
}

impl Budget {
    fn take(&self) -> Result<(), LayerError> {
        let left = self.nodes.get().checked_sub(1).ok_or_else(|| {
            LayerError::Other(format!(
                "it runs more than {MOST_NODES} nodes: its loop may have no end"
            ))
        })?;
        self.nodes.set(left);
        Ok(())
    }
}

impl Body {
    fn run(
        &self,
        given: Vec<Array>,
        captured: &[Array],
        budget: &Budget,
    ) -> Result<Vec<Array>, LayerError> {
        if (given.len(), captured.len()) != (self.inputs, self.captured) {
            return Err(LayerError::Other(format!(
                "its graph takes {} values, and is given {}",
                self.inputs,
                given.len()
            )));
        }
        let mut values = given;
        values.extend(captured.iter().cloned());
        let missing = || LayerError::Other("its graph takes a value that nothing makes".into());
        for step in &self.steps {
            budget.take()?;
            let takes = step.takes.iter().map(|index| values.get(*index).cloned());
            let takes = takes.collect::<Option<Vec<_>>>().ok_or_else(missing)?;
            let mut made = match &step.layer {
                BodyLayer::Operator(operator) => operator.evaluate_within(&takes, MOST_ELEMENTS)?,
                BodyLayer::Control(control) => control.run(&takes, budget)?,
                BodyLayer::Recurrent(layer) => {
                    let takes: Vec<Tensor> = takes.into_iter().map(Tensor::new).collect();
                    let made = layer.call(&takes, &Call::default())?;
                    made.into_iter().map(|tensor| tensor.data).collect()
                }
            };
            if made.len() < step.makes {
                return Err(missing());
            }
            made.truncate(step.makes);
            values.extend(made);
        }
        let outputs = self.outputs.iter().map(|output| match output {
            BodyOutput::Value(index, _) => values.get(*index).cloned(),
            BodyOutput::Constant(constant) => Some(constant.data.clone()),
        });
        outputs.collect::<Option<Vec<_>>>().ok_or_else(missing)
    }
}

/// ONNX's `Loop`, `Scan` or `If`.
///
/// ```
/// use ifco_model::onnx::{Body, BodyLayer, BodyOutput, BodyStep, Constant, Control, Kind, Node, Operand, Operator};
/// use ifco_model::{Call, Layer, Tensor};
/// use ndarray::{arr0, array};
///
/// let node = |op: &str, operands| Node {
///     name: op.into(), op: op.into(), opset: 17, attributes: Default::default(), operands, outputs: 1,
/// };
/// // x = x + x, three times
/// let double = Operator::new(node("Add", vec![Operand::Input(Kind::Float); 2])).0;
/// let body = Body {
///     inputs: 3, // the round, the condition and x
///     captured: 0,
///     steps: vec![BodyStep { layer: BodyLayer::Operator(double), takes: vec![2, 2], makes: 1 }],
///     outputs: vec![BodyOutput::Value(1, Kind::Bool), BodyOutput::Value(3, Kind::Float)],
/// };
/// let three = Constant { kind: Kind::Int, data: arr0(3.0).into_dyn().into() };
/// let operands = vec![Operand::Constant(None, three), Operand::Absent, Operand::Input(Kind::Float)];
/// let looped = Control::new(node("Loop", operands), vec![body], vec![])?;
/// let x = Tensor::new(array![1.0, 10.0].into_dyn());
/// assert_eq!(looped.call(&[x], &Call::default())?[0].view(), array![8.0, 80.0].into_dyn());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Control {
    node: Node,
    bodies: Vec<Body>,
    /// For each body, which of the values from around the node it takes.
    captured: Vec<Vec<usize>>,
}

impl Control {
    /// The node with its graphs: one, or of an `If` what is done and what is done else. `captured`
    /// says for each graph which of the node's inputs, counted without constants, it takes from
    /// around the node.
    ///
    /// # Errors
    /// When the node is another one, or its graphs do not fit it.
    pub fn new(
        node: Node,
        bodies: Vec<Body>,
        captured: Vec<Vec<usize>>,
    ) -> Result<Self, crate::ConfigError> {
        let expected = if node.op == "If" { 2 } else { 1 };
        let is_known = matches!(node.op.as_str(), "Loop" | "Scan" | "If");
        if !is_known || bodies.len() != expected {
            let found = format!("{} of a {}", bodies.len(), node.op);
            return Err(node.invalid("graphs", found, "one of a Loop or Scan, two of an If"));
        }
        let mut captured = captured;
        captured.resize(expected, Vec::new());
        if captured
            .iter()
            .zip(&bodies)
            .any(|(taken, body)| taken.len() != body.captured)
        {
            return Err(node.invalid("graphs", "others", "as many values as they take"));
        }
        Ok(Self {
            node,
            bodies,
            captured,
        })
    }

    /// What the numbers of an output stand for.
    pub fn output_kind(&self, output: usize) -> Kind {
        let skipped = usize::from(self.node.op == "Loop");
        let body = self.bodies.first();
        let output = body.and_then(|body| body.outputs.get(output + skipped));
        output.map_or(Kind::Float, BodyOutput::kind)
    }

    fn run(&self, inputs: &[Array], budget: &Budget) -> Result<Vec<Array>, LayerError> {
        let missing = || LayerError::Other("one of its inputs is missing".into());
        let captured = self.captured.iter().map(|taken| {
            let taken = taken.iter().map(|index| inputs.get(*index).cloned());
            taken.collect::<Option<Vec<_>>>().ok_or_else(missing)
        });
        let captured = captured.collect::<Result<Vec<_>, _>>()?;
        let mut given = inputs.iter();
        let mut operands: Vec<Option<Array>> = Vec::with_capacity(self.node.operands.len());
        for operand in &self.node.operands {
            operands.push(match operand {
                Operand::Absent => None,
                Operand::Constant(_, constant) => Some(constant.data.clone()),
                Operand::Input(_) => Some(given.next().cloned().ok_or_else(missing)?),
            });
        }
        match self.node.op.as_str() {
            "If" => {
                let holds = truth(operands.first())?.ok_or_else(missing)?;
                let branch = usize::from(!holds);
                self.bodies[branch].run(Vec::new(), &captured[branch], budget)
            }
            "Loop" => self.rounds(operands, &captured[0], budget),
            _ => self.scan(operands, &captured[0], budget),
        }
    }

    fn rounds(
        &self,
        operands: Vec<Option<Array>>,
        captured: &[Array],
        budget: &Budget,
    ) -> Result<Vec<Array>, LayerError> {
        let body = &self.bodies[0];
        let mut operands = operands.into_iter();
        let most = operands.next().flatten();
        let most = most.map(|most| number(&most)).transpose()?;
        let mut goes_on = truth(Some(&operands.next().flatten()))?.unwrap_or(true);
        let mut carried = operands
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| LayerError::Other("a value that goes round is missing".into()))?;
        let kept = carried.len();
        let mut stacks = Stacks::new(body.outputs.len().saturating_sub(kept + 1));
        let mut round = 0.0;
        while goes_on && most.is_none_or(|most| round < most) {
            budget.take()?;
            let condition = scalar(1.0);
            let mut given = vec![scalar(round), condition];
            given.append(&mut carried);
            let mut made = body.run(given, captured, budget)?.into_iter();
            goes_on = truth(Some(&made.next()))?.unwrap_or(true);
            carried = made.by_ref().take(kept).collect();
            stacks.push(made)?;
            round += 1.0;
        }
        carried.extend(stacks.finish(|_| 0)?);
        Ok(carried)
    }

    fn scan(
        &self,
        operands: Vec<Option<Array>>,
        captured: &[Array],
        budget: &Budget,
    ) -> Result<Vec<Array>, LayerError> {
        let node = &self.node;
        let body = &self.bodies[0];
        let all = operands.into_iter().collect::<Option<Vec<_>>>();
        let mut carried = all.ok_or_else(|| LayerError::Other("an input is missing".into()))?;
        let count = usize::try_from(node.int_or("num_scan_inputs", 1)?).unwrap_or(0);
        let kept = carried.len().checked_sub(count).filter(|_| count > 0);
        let kept = kept.ok_or_else(|| LayerError::Other("it has nothing to go through".into()))?;
        let scanned = carried.split_off(kept);
        let listed = |key: &str, index: usize| -> Result<i64, LayerError> {
            Ok(node
                .ints(key)?
                .and_then(|all| all.get(index).copied())
                .unwrap_or(0))
        };
        let mut steps = None;
        let mut axes = Vec::new();
        for (index, array) in scanned.iter().enumerate() {
            let axis = crate::layers::resolve_axis(listed("scan_input_axes", index)?, array.ndim());
            let axis = axis.ok_or_else(|| LayerError::Other("it has no such axis".into()))?;
            let length = array.len_of(Axis(axis));
            if *steps.get_or_insert(length) != length {
                let what = "what it goes through has different lengths";
                return Err(LayerError::Other(what.into()));
            }
            axes.push((axis, listed("scan_input_directions", index)? != 0));
        }
        let steps = steps.unwrap_or(0);
        let mut stacks = Stacks::new(body.outputs.len().saturating_sub(kept));
        for step in 0..steps {
            budget.take()?;
            let mut given = std::mem::take(&mut carried);
            for (array, (axis, is_back)) in scanned.iter().zip(&axes) {
                let at = if *is_back { steps - 1 - step } else { step };
                given.push(array.index_axis(Axis(*axis), at).to_owned().into_shared());
            }
            let mut made = body.run(given, captured, budget)?.into_iter();
            carried = made.by_ref().take(kept).collect();
            stacks.push(made)?;
        }
        for (index, stack) in stacks.all.iter_mut().enumerate() {
            if listed("scan_output_directions", index)? != 0 {
                stack.reverse();
            }
        }
        let places = node.ints("scan_output_axes")?.unwrap_or_default();
        carried.extend(stacks.finish(|index| places.get(index).copied().unwrap_or(0))?);
        Ok(carried)
    }
}

/// What each round adds to the outputs that are stacked.
struct Stacks {
    all: Vec<Vec<Array>>,
    elements: usize,
}

impl Stacks {
    fn new(count: usize) -> Self {
        Self {
            all: vec![Vec::new(); count],
            elements: 0,
        }
    }

    fn push(&mut self, made: impl Iterator<Item = Array>) -> Result<(), LayerError> {
        for (stack, array) in self.all.iter_mut().zip(made) {
            self.elements = self.elements.saturating_add(array.len().max(1));
            if self.elements > MOST_ELEMENTS {
                let what = format!("its rounds make more than {MOST_ELEMENTS} numbers");
                return Err(LayerError::Other(what));
            }
            stack.push(array);
        }
        Ok(())
    }

    fn finish(self, axis: impl Fn(usize) -> i64) -> Result<Vec<Array>, LayerError> {
        let each = self.all.into_iter().enumerate().map(|(index, arrays)| {
            let Some(first) = arrays.first() else {
                let what = "it goes no round, and what it would have made has no shape";
                return Err(LayerError::Other(what.into()));
            };
            let axis = crate::layers::resolve_axis(axis(index), first.ndim() + 1);
            let axis = axis.ok_or_else(|| LayerError::Other("it has no such axis".into()))?;
            let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
            let stacked = stack(Axis(axis), &views);
            let stacked = stacked.map_err(|error| LayerError::Other(error.to_string()))?;
            Ok(stacked.into_shared())
        });
        each.collect()
    }
}

fn scalar(value: f32) -> Array {
    ndarray::arr0(value).into_dyn().into_shared()
}

fn number(array: &Array) -> Result<f32, LayerError> {
    let one = array.iter().next().filter(|_| array.len() == 1);
    one.copied()
        .ok_or_else(|| LayerError::Other("the number of its rounds is no single number".into()))
}

fn truth(operand: Option<&Option<Array>>) -> Result<Option<bool>, LayerError> {
    match operand {
        Some(Some(array)) if array.len() == 1 => Ok(array.iter().next().map(|value| *value != 0.0)),
        Some(Some(_)) => Err(LayerError::Other("its condition is no single value".into())),
        _ => Ok(None),
    }
}

impl Layer for Control {
    fn class_name(&self) -> &str {
        &self.node.op
    }

    fn output_shapes(&self, _inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Err(LayerError::Other(
            "its shape depends on what its graph computes".into(),
        ))
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let inputs: Vec<Array> = inputs.iter().map(|input| input.data.clone()).collect();
        let budget = Budget {
            nodes: Cell::new(MOST_NODES),
        };
        let mut made = self.run(&inputs, &budget)?;
        if made.len() < self.node.outputs {
            return Err(LayerError::Other(format!(
                "its graph makes {} of its {} outputs",
                made.len(),
                self.node.outputs
            )));
        }
        made.truncate(self.node.outputs.max(1));
        Ok(made.into_iter().map(Tensor::new).collect())
    }

    fn is_operation(&self) -> bool {
        true
    }

    fn as_node(&self) -> Option<&Node> {
        Some(&self.node)
    }
}
