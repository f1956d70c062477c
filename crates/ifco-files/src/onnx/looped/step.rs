//! Goes through the nodes of a loop's graph.

use std::rc::Rc;

use ifco_cell::Activation;
use ifco_model::Array;
use ifco_model::Layer;
use ifco_model::onnx::{Body, BodyLayer, BodyOutput, Constant, Kind, Node, Operand, Operator};

use ndarray::{ArcArray1, ArcArray2};

use super::values::{Id, Normed, Sum, Term, Value, matrix, points, vector};
use super::{Loop, computed};

/// Whether an operator works number by number.
pub(in crate::onnx) fn is_elementwise(op: &str) -> bool {
    const ELEMENTWISE: [&str; 38] = [
        "Abs",
        "Add",
        "And",
        "Celu",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Reciprocal",
        "Relu",
        "Selu",
        "Sigmoid",
        "Sign",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Tanh",
        "ThresholdedRelu",
        "Where",
    ];
    ELEMENTWISE.contains(&op)
}

/// Numbers that one step may compute of what is known.
const MOST_NUMBERS: usize = 1 << 26;

/// More limits than a cell has: of gates, state and projection.
const MOST_LIMITS: usize = 8;

/// The values of a step.
pub(super) struct Step<'l> {
    given: &'l Loop<'l>,
    pub values: Vec<Value>,
    /// The value that each of the graph is.
    numbers: Vec<Id>,
    /// What values are kept within, −limit to limit, each once.
    pub limits: Vec<f32>,
}

/// What becomes of an input of a loop's graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Becomes {
    Same,
    OneMore,
    Other,
}

/// What becomes of an input as the output of these numbers.
pub(super) fn becomes(body: &Body, input: usize, output: usize) -> Becomes {
    let mut at = match body.outputs.get(output).and_then(computed) {
        Some(at) => at,
        None => return Becomes::Other,
    };
    let mut has_added = false;
    loop {
        if at == input {
            return if has_added {
                Becomes::OneMore
            } else {
                Becomes::Same
            };
        }
        // The node that makes it.
        let mut first = body.inputs + body.captured;
        let maker = body.steps.iter().find(|step| {
            let makes = first..first + step.makes;
            first = makes.end;
            makes.contains(&at)
        });
        let Some((BodyLayer::Operator(operator), takes)) =
            maker.map(|step| (&step.layer, &step.takes))
        else {
            return Becomes::Other;
        };
        let Some((node, [from])) = operator
            .as_node()
            .zip(<&[usize; 1]>::try_from(&takes[..]).ok())
        else {
            return Becomes::Other;
        };
        let adds_one = node.op == "Add"
            && !has_added
            && node.operands.iter().any(|operand| match operand {
                Operand::Constant(_, one) => {
                    one.data.len() == 1 && one.data.iter().all(|x| *x == 1.0)
                }
                _ => false,
            });
        match node.op.as_str() {
            "Identity" => {}
            _ if adds_one => has_added = true,
            _ => return Becomes::Other,
        }
        // Values are numbered in order, so that this ends.
        if *from >= at {
            return Becomes::Other;
        }
        at = *from;
    }
}

impl<'l> Step<'l> {
    /// Goes through the graph; `None` where a part of it is a loop or a layer itself.
    pub fn run(given: &'l Loop<'l>, inputs: Vec<Value>) -> Option<Self> {
        let mut step = Self {
            given,
            numbers: (0..inputs.len()).collect(),
            values: inputs,
            limits: Vec::new(),
        };
        let operands = given.node.operands.len();
        for index in 0..given.body.captured {
            let number = operands + index;
            let name = given.names.get(number)?;
            let is_length = given.lengths.is_same(name, given.names.first()?);
            step.add(match is_length {
                true => Value::Rounds,
                false => Value::Outer(number),
            });
        }
        let mut left = MOST_NUMBERS;
        for own in &given.body.steps {
            let BodyLayer::Operator(operator) = &own.layer else {
                return None;
            };
            let taken = own
                .takes
                .iter()
                .map(|index| step.numbers.get(*index).copied());
            let taken: Vec<Id> = taken.collect::<Option<_>>()?;
            step.node(operator, &taken, own.makes, &mut left)?;
        }
        Some(step)
    }

    /// The value that an output of the graph is.
    pub fn end(&self, output: &BodyOutput) -> Option<Id> {
        self.numbers.get(computed(output)?).copied()
    }

    /// Whether an output holds exactly as long as there are rounds left.
    pub fn is_condition(&self, output: &BodyOutput) -> bool {
        match output {
            BodyOutput::Constant(constant) => constant.data.iter().all(|value| *value != 0.0),
            output => self
                .end(output)
                .is_some_and(|id| matches!(self.values[id], Value::GoesOn)),
        }
    }

    fn add(&mut self, value: Value) {
        self.numbers.push(self.values.len());
        self.values.push(value);
    }

    /// Adds what a node makes.
    fn node(
        &mut self,
        operator: &Operator,
        taken: &[Id],
        makes: usize,
        left: &mut usize,
    ) -> Option<()> {
        let node = operator.as_node()?;
        let mut rest = taken.iter();
        let mut operands = Vec::new();
        for operand in &node.operands {
            operands.push(match operand {
                Operand::Absent => None,
                Operand::Constant(_, constant) => {
                    self.values.push(Value::Constant(constant.clone()));
                    Some(self.values.len() - 1)
                }
                Operand::Input(_) => Some(*rest.next()?),
            });
        }
        let is_known = |id: &Id| matches!(self.values[*id], Value::Constant(_));
        if taken.iter().all(is_known) {
            let arrays: Vec<Array> = taken.iter().filter_map(|id| self.array(*id)).collect();
            let made = operator.evaluate_within(&arrays, *left).ok()?;
            for (index, data) in made.into_iter().enumerate().take(makes) {
                *left = left.checked_sub(data.len())?;
                let kind = operator.output_kind(index);
                self.add(Value::Constant(Constant { kind, data }));
            }
            return Some(());
        }
        if let (true, Some(first)) = (self.is_same(node), operands.first().copied().flatten()) {
            self.numbers.push(first);
            for _ in 1..makes {
                self.add(Value::Other);
            }
            return Some(());
        }
        if matches!(node.op.as_str(), "Split" | "Slice") {
            let parts = self.parts(node, &operands, makes);
            for index in 0..makes {
                let part = parts.as_ref().and_then(|parts| parts.get(index));
                self.add(part.map_or(Value::Other, |sum| Value::Sum(Rc::new(sum.clone()))));
            }
            return Some(());
        }
        if node.op == "Clip"
            && let Some(limit) = self.limit(node, &operands)
            && !self.limits.contains(&limit)
            && self.limits.len() < MOST_LIMITS
        {
            self.limits.push(limit);
        }
        let value = self.value(operator, node, &operands, taken);
        self.add(value.unwrap_or(Value::Other));
        for _ in 1..makes {
            self.add(Value::Other);
        }
        Some(())
    }

    /// Whether a node gives what it takes first.
    fn is_same(&self, node: &Node) -> bool {
        match node.op.as_str() {
            "Identity" | "Dropout" => true,
            // Floats are of one type here; integers are whatever is counted.
            "Cast" => match node.operand(0) {
                Operand::Input(Kind::Float) => matches!(node.int("to"), Ok(Some(1 | 10 | 11))),
                _ => true,
            },
            _ => false,
        }
    }

    fn value(
        &self,
        operator: &Operator,
        node: &Node,
        operands: &[Option<Id>],
        taken: &[Id],
    ) -> Option<Value> {
        let operand = |index: usize| operands.get(index).copied().flatten();
        let first = operand(0)?;
        let second = operand(1);
        match (node.op.as_str(), second) {
            ("Gather", Some(at)) => self.step_of(node, first, at),
            ("Less", Some(other)) => match (&self.values[first], &self.values[other]) {
                (Value::Round(..=1), Value::Rounds) => Some(Value::GoesOn),
                (Value::Round(..=1), Value::Constant(most)) => self.is_most(most),
                _ => None,
            },
            ("And", Some(other)) => match (&self.values[first], &self.values[other]) {
                (Value::GoesOn, Value::GoesOn) => Some(Value::GoesOn),
                _ => None,
            },
            ("MatMul", Some(by)) => Some(sum(Term::new(first, self.matrix(by)?))),
            ("Gemm", Some(by)) => self.gemm(node, first, by, operand(2)),
            ("LayerNormalization", Some(gamma)) => {
                let rank = [Some(-1), Some(1)].contains(&node.int_or("axis", -1).ok());
                let norm = Normed {
                    gamma: self.vector(gamma)?,
                    beta: match operand(2) {
                        Some(beta) => self.vector(beta)?,
                        None => ArcArray1::zeros(self.vector(gamma)?.len()),
                    },
                    epsilon: node.float_or("epsilon", 1e-5).ok()?,
                };
                match &self.values[first] {
                    _ if !rank => None,
                    Value::Sum(own) => Some(Value::Sum(Rc::new(own.normalized(norm)?))),
                    Value::Plus(..) => Some(Value::Normed {
                        of: first,
                        norm: Rc::new(norm),
                    }),
                    _ => None,
                }
            }
            ("Softmax" | "LogSoftmax", _) => {
                let axis = node.int_or("axis", -1).ok()?;
                (axis == -1 || axis == 1).then_some(Value::OfRow {
                    of: first,
                    activation: match node.op.as_str() {
                        "Softmax" => Activation::Softmax,
                        _ => Activation::LogSoftmax,
                    },
                })
            }
            ("Add", Some(other)) => self
                .counted(first, other)
                .or_else(|| self.counted(other, first))
                .or_else(|| self.plus(first, other))
                .or_else(|| self.plus(other, first))
                .or_else(|| self.function(operator, node, operands, taken))
                .or(Some(Value::Plus(first, other))),
            ("Mul", Some(other)) => self
                .function(operator, node, operands, taken)
                .or_else(|| self.times(first, other))
                .or_else(|| self.times(other, first))
                .or(Some(Value::Product(first, other))),
            _ => self.function(operator, node, operands, taken),
        }
    }

    /// A part of a sequence, by the number of the round.
    fn step_of(&self, node: &Node, from: Id, at: Id) -> Option<Value> {
        let (Value::Outer(number), Value::Round(0)) = (&self.values[from], &self.values[at]) else {
            return None;
        };
        let names = self.given.names;
        let is_whole = match self.given.node.operand(0) {
            Operand::Constant(..) => true,
            _ => self
                .given
                .lengths
                .is_first(names.first()?, names.get(*number)?),
        };
        let is_first = node.int_or("axis", 0).ok()? == 0;
        (is_first && is_whole).then_some(Value::Step(*number))
    }

    /// What is less than the number of rounds, where the file tells it.
    fn is_most(&self, most: &Constant) -> Option<Value> {
        match self.given.node.operand(0) {
            Operand::Constant(_, rounds) => {
                (rounds.data.iter().eq(most.data.iter())).then_some(Value::GoesOn)
            }
            _ => None,
        }
    }

    fn gemm(&self, node: &Node, x: Id, by: Id, bias: Option<Id>) -> Option<Value> {
        let is_one = |key| node.float_or(key, 1.0).ok() == Some(1.0);
        if node.int_or("transA", 0).ok()? != 0 || !is_one("alpha") || !is_one("beta") {
            return None;
        }
        let mut by = self.matrix(by)?;
        if node.int_or("transB", 0).ok()? != 0 {
            by = by.reversed_axes();
        }
        let own = Sum::of(Term::new(x, by));
        Some(Value::Sum(Rc::new(match bias {
            Some(bias) => own.plus_vector(self.vector(bias)?)?,
            None => own,
        })))
    }

    /// The number of a round, and some more.
    fn counted(&self, round: Id, more: Id) -> Option<Value> {
        match (&self.values[round], &self.values[more]) {
            (Value::Round(own), Value::Constant(more)) if more.data.len() == 1 => {
                let more = more.data.iter().next().copied()?;
                (more == 1.0).then_some(Value::Round(own.saturating_add(1)))
            }
            _ => None,
        }
    }

    /// A sum and something that belongs to it.
    fn plus(&self, one: Id, other: Id) -> Option<Value> {
        let Value::Sum(own) = &self.values[one] else {
            return None;
        };
        let made = match &self.values[other] {
            Value::Sum(other) => own.plus(other)?,
            Value::Constant(constant) => own.plus_vector(vector(constant)?)?,
            // Peepholes, which are added to what is normalized too.
            Value::Scaled { of, by } if by.len() == own.width() => {
                let mut made = Sum::clone(own);
                made.scaled.push((*of, by.clone()));
                made
            }
            Value::Product(p, q) => {
                let (gate, inner) = match (&self.values[*p], &self.values[*q]) {
                    (_, Value::Sum(inner)) => (*p, inner),
                    (Value::Sum(inner), _) => (*q, inner),
                    _ => return None,
                };
                if inner.width() != own.width() || own.normed.is_some() {
                    return None;
                }
                let mut made = Sum::clone(own);
                made.gated.push((gate, inner.clone()));
                made
            }
            _ => return None,
        };
        made.is_small().then(|| Value::Sum(Rc::new(made)))
    }

    /// A vector times something that is no function.
    fn times(&self, vector_: Id, of: Id) -> Option<Value> {
        let Value::Constant(constant) = &self.values[vector_] else {
            return None;
        };
        let by = vector(constant)?;
        Some(Value::Scaled { of, by })
    }

    /// The number that a Clip keeps its values within, above 0 and below.
    fn limit(&self, node: &Node, operands: &[Option<Id>]) -> Option<f32> {
        let bound = |index: usize| -> Option<f32> {
            let id = operands.get(index).copied().flatten()?;
            let Value::Constant(bound) = &self.values[id] else {
                return None;
            };
            let one = bound.data.iter().next().copied();
            one.filter(|_| bound.data.len() == 1)
        };
        let (low, high) = match operands.len() {
            1 => (node.float("min").ok()??, node.float("max").ok()??),
            _ => (bound(1)?, bound(2)?),
        };
        (low == -high && high > 0.0).then_some(high)
    }

    /// A function of one value, number by number, perhaps with numbers that are always the same.
    fn function(
        &self,
        operator: &Operator,
        node: &Node,
        operands: &[Option<Id>],
        taken: &[Id],
    ) -> Option<Value> {
        if !is_elementwise(&node.op) {
            return None;
        }
        let mut base = None;
        for id in operands.iter().flatten() {
            let own = match &self.values[*id] {
                Value::Constant(constant) => {
                    (constant.data.ndim() == 0).then_some(())?;
                    continue;
                }
                Value::Function { of, .. } => *of,
                Value::Sum(_) | Value::Normed { .. } | Value::Plus(..) | Value::State(_) => *id,
                _ => return None,
            };
            if *base.get_or_insert(own) != own {
                return None;
            }
        }
        let arrays = taken.iter().map(|id| match &self.values[*id] {
            Value::Constant(constant) => constant.data.clone(),
            Value::Function { at_points, .. } => Array::clone(at_points),
            _ => points(),
        });
        let arrays: Vec<Array> = arrays.collect();
        let made = operator.evaluate_within(&arrays, MOST_NUMBERS).ok()?;
        let at_points = made.into_iter().next()?;
        let fits = at_points.shape() == points().shape();
        Some(Value::Function {
            of: base?,
            at_points: Rc::new(at_points),
        })
        .filter(|_| fits)
    }

    /// What a Split or a Slice leaves of a sum's columns.
    fn parts(&self, node: &Node, operands: &[Option<Id>], makes: usize) -> Option<Vec<Sum>> {
        let Value::Sum(own) = &self.values[operands.first().copied().flatten()?] else {
            return None;
        };
        let width = own.width();
        let integers = |index: usize, key: &str| -> Option<Vec<i64>> {
            match operands.get(index).copied().flatten() {
                Some(id) => match &self.values[id] {
                    Value::Constant(constant) => {
                        Some(constant.data.iter().map(|value| *value as i64).collect())
                    }
                    _ => None,
                },
                None => node.ints(key).ok().flatten(),
            }
        };
        if node.op == "Split" {
            let axis = node.int_or("axis", 0).ok()?;
            if axis != 1 && axis != -1 {
                return None;
            }
            let sizes = match integers(1, "split") {
                Some(sizes) => sizes
                    .iter()
                    .map(|size| usize::try_from(*size).ok())
                    .collect(),
                None if width % makes == 0 => Some(vec![width / makes; makes]),
                None => None,
            };
            let mut first = 0usize;
            let parts = sizes?.into_iter().map(|size| {
                let range = first..first.checked_add(size)?;
                first = range.end;
                own.columns(range)
            });
            return parts.collect();
        }
        // A Slice of the columns, and of all rows.
        let (starts, ends) = (integers(1, "starts")?, integers(2, "ends")?);
        let count = starts.len();
        let axes = integers(3, "axes").unwrap_or_else(|| (0..count as i64).collect());
        if integers(4, "steps").is_some_and(|steps| steps.iter().any(|step| *step != 1)) {
            return None;
        }
        let mut range = 0..width;
        for ((axis, start), end) in axes.iter().zip(&starts).zip(&ends) {
            let at = |place: i64| {
                let place = if place < 0 {
                    place.saturating_add(width as i64)
                } else {
                    place
                };
                place.clamp(0, width as i64) as usize
            };
            match axis {
                1 | -1 => range = at(*start)..at(*end),
                // The number of rows is not known: it is less than the greatest ones.
                0 | -2 if *start == 0 && *end >= i64::from(i32::MAX) => {}
                _ => return None,
            }
        }
        (range.start < range.end).then_some(())?;
        Some(vec![own.columns(range)?])
    }

    fn array(&self, id: Id) -> Option<Array> {
        match &self.values[id] {
            Value::Constant(constant) => Some(constant.data.clone()),
            _ => None,
        }
    }

    fn vector(&self, id: Id) -> Option<ArcArray1<f32>> {
        match &self.values[id] {
            Value::Constant(constant) => vector(constant),
            _ => None,
        }
    }

    fn matrix(&self, id: Id) -> Option<ArcArray2<f32>> {
        match &self.values[id] {
            Value::Constant(constant) => matrix(constant),
            _ => None,
        }
    }
}

fn sum(term: Term) -> Value {
    Value::Sum(Rc::new(Sum::of(term)))
}
