//! Loops that are a recurrent layer written out: the Scan and Loop of exporters that have no
//! operator for a cell, and those that ifco itself [writes](super::save).
//!
//! [`step`] goes through the nodes of the loop's graph and tells for each what it computes of the
//! step's input and the states, as a [`Value`](values::Value); [`cell`] finds in what becomes of the
//! states the equations of an LSTM, a GRU or a SimpleRNN, and takes the weights out of them. Where
//! anything is otherwise, the loop stays one.

mod cell;
mod lengths;
mod step;
mod values;

use ifco_cell::Cell;
use ifco_model::onnx::{Body, BodyOutput, Node, Operand};

pub(super) use lengths::Lengths;
use step::Step;
pub(super) use step::is_elementwise;
use values::Value;
pub(super) use values::{activation, points};

/// More nodes than a step of a cell has.
const MOST_NODES: usize = 400;

/// What a loop was found to be.
#[derive(Debug)]
pub(super) struct Found {
    /// One above the other.
    pub cells: Vec<FoundCell>,
    /// The name of the sequence that the first reads, among the loop's operands and what its graph
    /// takes from around it.
    pub sequence: usize,
    /// What each output of the node is.
    pub outputs: Vec<Made>,
    pub reverse: bool,
    /// The number of steps, where the loop runs so many whatever the sequence's length.
    pub steps: Option<usize>,
}

#[derive(Debug)]
pub(super) struct FoundCell {
    pub cell: Cell,
    /// The operands of the node that are its first states.
    pub states: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Made {
    /// The outputs of all steps of a cell.
    Steps(usize),
    /// The last state of a cell: its number and that of the state.
    State(usize, usize),
    /// What an operand of the node is.
    Operand(usize),
}

/// A loop as the file has it. Names around it are counted: its own operands, then what its graph
/// takes.
pub(super) struct Loop<'b> {
    pub node: &'b Node,
    pub body: &'b Body,
    /// The names of the operands, then of what the graph takes.
    pub names: &'b [&'b str],
    pub lengths: &'b Lengths<'b>,
}

/// How the graph of a loop is entered and left.
struct Frame {
    /// Of each input of the graph: what it is.
    inputs: Vec<Value>,
    /// The states: operand of the node, output of the graph.
    states: Vec<(usize, usize)>,
    /// The outputs of the graph that are stacked.
    stacked: std::ops::Range<usize>,
    reverse: bool,
    steps: Option<usize>,
}

/// The recurrent cells that a loop is; `None` where it is something else.
pub(super) fn find(given: &Loop<'_>) -> Option<Found> {
    if given.body.steps.len() > MOST_NODES {
        return None;
    }
    let frame = match given.node.op.as_str() {
        "Scan" => scan(given)?,
        "Loop" => rounds(given)?,
        _ => return None,
    };
    let step = Step::run(given, frame.inputs)?;
    if given.node.op == "Loop" && !step.is_condition(given.body.outputs.first()?) {
        return None;
    }
    let ends = |output: usize| step.end(given.body.outputs.get(output)?);
    let mut states = Vec::new();
    for (operand, output) in &frame.states {
        states.push((*operand, ends(*output)?));
    }
    let found = cell::find(&step, &states)?;
    let mut outputs = Vec::new();
    // A Loop's first output is the condition, which the node does not give.
    let first = usize::from(given.node.op == "Loop");
    for output in first..given.body.outputs.len() {
        let own = frame.states.iter().position(|(_, end)| *end == output);
        outputs.push(match own {
            Some(state) => {
                let at = |(cell, own): (usize, &cell::Found)| {
                    let at = own.states.iter().position(|known| *known == state)?;
                    Some(Made::State(cell, at))
                };
                found.cells.iter().enumerate().find_map(at)?
            }
            None if frame.stacked.contains(&output) => {
                let shown = ends(output)?;
                let cell = found.cells.iter().position(|own| own.shown == shown)?;
                Made::Steps(cell)
            }
            // What goes round unchanged, or counts: of a Loop, whose operands begin with the number
            // of rounds and the condition.
            None => match step.values.get(output + 1)? {
                Value::Round(_) => Made::Operand(0),
                _ => Made::Operand(output + 1),
            },
        });
    }
    let operands = |own: &cell::Found| own.states.iter().map(|state| states[*state].0).collect();
    let cells = found.cells.into_iter().map(|own| FoundCell {
        states: operands(&own),
        cell: own.cell,
    });
    Some(Found {
        cells: cells.collect(),
        sequence: found.sequence,
        outputs,
        reverse: frame.reverse,
        steps: frame.steps,
    })
}

/// A Scan over one sequence, by its first axis.
fn scan(given: &Loop<'_>) -> Option<Frame> {
    let node = given.node;
    let states = node.operands.len().checked_sub(1)?;
    if node.int_or("num_scan_inputs", 0).ok()? != 1 || given.body.inputs != states + 1 {
        return None;
    }
    let listed = |key: &str| node.ints(key).ok().map(Option::unwrap_or_default);
    let is_zero = |key: &str| Some(listed(key)?.iter().all(|axis| *axis == 0));
    if !is_zero("scan_input_axes")? || !is_zero("scan_output_axes")? {
        return None;
    }
    let outputs = given.body.outputs.len();
    let reverse = listed("scan_input_directions")?.first() == Some(&1);
    let mut back = listed("scan_output_directions")?;
    back.resize(outputs.checked_sub(states)?, 0);
    if back.iter().any(|way| (*way == 1) != reverse) {
        return None;
    }
    let mut inputs: Vec<Value> = (0..states).map(Value::State).collect();
    inputs.push(Value::Step(states));
    Some(Frame {
        inputs,
        states: (0..states).map(|state| (state, state)).collect(),
        stacked: states..outputs,
        reverse,
        steps: None,
    })
}

/// A Loop that counts its rounds, as many as the sequence has steps.
fn rounds(given: &Loop<'_>) -> Option<Frame> {
    let (node, body) = (given.node, given.body);
    let carried = node.operands.len().checked_sub(2)?;
    if body.inputs != carried + 2 || body.outputs.len() < carried + 1 {
        return None;
    }
    let mut inputs = vec![Value::Round(0), Value::GoesOn];
    let mut states = Vec::new();
    for index in 0..carried {
        let (operand, input, output) = (index + 2, index + 2, index + 1);
        inputs.push(
            match (step::becomes(body, input, output), node.operand(operand)) {
                (step::Becomes::Same, Operand::Constant(_, constant)) => {
                    Value::Constant(constant.clone())
                }
                (step::Becomes::Same, Operand::Input(_)) => {
                    match given.lengths.is_same(given.names[operand], given.names[0]) {
                        true => Value::Rounds,
                        false => Value::Outer(operand),
                    }
                }
                (step::Becomes::OneMore, Operand::Constant(_, constant))
                    if constant.data.iter().all(|value| *value == 0.0) =>
                {
                    Value::Round(0)
                }
                (step::Becomes::Other, _) => {
                    states.push((operand, output));
                    Value::State(states.len() - 1)
                }
                _ => return None,
            },
        );
    }
    let steps = match node.operand(0) {
        Operand::Constant(_, most) => {
            let most = most
                .data
                .iter()
                .next()
                .copied()
                .filter(|most| *most >= 0.0)?;
            Some(most as usize)
        }
        Operand::Input(_) => None,
        Operand::Absent => return None,
    };
    Some(Frame {
        inputs,
        states,
        stacked: carried + 1..body.outputs.len(),
        reverse: false,
        steps,
    })
}

/// The value that an output of a graph is, if it is computed.
fn computed(output: &BodyOutput) -> Option<usize> {
    match output {
        BodyOutput::Value(index, _) => Some(*index),
        _ => None,
    }
}
