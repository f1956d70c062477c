//! What a trace says in a few numbers: how open the gates are, how long the cell remembers, which
//! units changed most and where.
//!
//! ```text
//! memory    1 / (1 − mean f)           in steps, for each unit; of a GRU with z for f
//! change    |c' − c|                   of each step; of a GRU or SimpleRNN with h for c
//! ```
//!
//! Why that is a memory: a cell state that is only kept shrinks by the factor f at each step, so
//! that after 1/(1 − f) steps about a third of it (1/e) is left.

use super::Trace;
use super::gradient::keeping;
use crate::CellKind;

/// A gate below this is all but shut, one above 1 minus this all but open.
const SATURATED: f32 = 0.1;

/// What a trace says in a few numbers; masked steps are left out of all of them.
///
/// ```
/// use ifco_cell::{
///     Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, TraceOptions,
/// };
/// use ndarray::{Array2, Array3, array};
///
/// // One unit without weights: its gates are what the biases make them.
/// let bias = array![0.0, 4.0, 1.0, -4.0]; // i f c o
/// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), Some(bias))?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::zeros((2, 30, 1));
/// let traces = layer.trace(x.view(), None, None, &TraceOptions::default())?;
///
/// let digest = traces[0].digest();
/// let f = digest.array("f").unwrap();
/// assert_eq!((f.below(), f.above()), (Some(0.0), Some(1.0))); // always open
/// let memory = digest.memory.as_ref().unwrap();
/// assert_eq!(memory.steps[0].round(), 56.0); // 1 / (1 − 0.982)
/// assert_eq!(digest.changes[0].step, 0); // c grows most where it begins, from 0
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// The kind of cell.
    pub kind: CellKind,
    /// Number of units.
    pub units: usize,
    /// Number of sequences.
    pub sequences: usize,
    /// Steps that counted, of all sequences together.
    pub counted: usize,
    /// Steps that were masked.
    pub masked: usize,
    /// Of each array of the trace, in their order.
    pub arrays: Vec<ArrayDigest>,
    /// How long the cell remembers; `None` for a SimpleRNN, which has no gate for it.
    pub memory: Option<Memory>,
    /// How much each unit's state changes, those that change most first.
    pub changes: Vec<Change>,
}

/// One array of a trace in a few numbers.
///
/// See [`Digest`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayDigest {
    /// Its name in the trace: `f`.
    pub name: &'static str,
    /// Its name in words: `forget gate`.
    pub words: &'static str,
    /// Whether it is a gate, from 0 (shut) to 1 (open): i, f and o; z and r.
    pub is_gate: bool,
    /// Over all units and all steps that count; NaN where there are none.
    pub mean: f64,
    /// The least value.
    pub min: f32,
    /// The greatest value.
    pub max: f32,
    /// Of each unit alone.
    pub units: Vec<UnitDigest>,
}

/// One unit's row of an array in a few numbers.
///
/// See [`Digest`] for an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitDigest {
    /// Over all steps that count.
    pub mean: f64,
    /// The share of steps, from 0 to 1, where a gate is all but shut: below 0.1. Of what is no gate,
    /// where it is below −0.9.
    pub below: f64,
    /// The share of steps where it is above 0.9: of a gate, all but open.
    pub above: f64,
}

/// How long a cell remembers.
///
/// See [`Digest`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// The gate that says how much stays: `f`, of a GRU `z`.
    pub gate: &'static str,
    /// For each unit 1/(1 − its gate's mean), in steps: infinite where the gate is never less
    /// than 1.
    pub steps: Vec<f64>,
}

/// How much a unit's state changes from step to step.
///
/// See [`Digest`] for an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The unit, counted from 0.
    pub unit: usize,
    /// The mean of |c' − c| over all steps that count (of a GRU or SimpleRNN: |h' − h|).
    pub mean: f64,
    /// The largest one.
    pub largest: f32,
    /// The sequence where it was.
    pub sequence: usize,
    /// The input step where it was.
    pub step: usize,
}

impl Digest {
    /// Of the array of this name.
    pub fn array(&self, name: &str) -> Option<&ArrayDigest> {
        self.arrays.iter().find(|array| array.name == name)
    }

    /// The state whose changes are told: `c` of an LSTM, else `h`.
    pub fn state(&self) -> &'static str {
        changing(self.kind)
    }
}

impl ArrayDigest {
    /// The share of all steps and units where a gate is all but shut (below 0.1); `None` of what is
    /// no gate.
    pub fn below(&self) -> Option<f64> {
        self.share(|unit| unit.below)
    }

    /// The share of all steps and units where a gate is all but open (above 0.9); `None` of what
    /// is no gate.
    pub fn above(&self) -> Option<f64> {
        self.share(|unit| unit.above)
    }

    fn share(&self, of: impl Fn(&UnitDigest) -> f64) -> Option<f64> {
        // Each unit has as many steps.
        let sum: f64 = self.units.iter().map(of).sum();
        self.is_gate.then(|| sum / self.units.len() as f64)
    }
}

impl Memory {
    /// The memory that half of the units reach, in steps.
    pub fn median(&self) -> f64 {
        let mut sorted = self.steps.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => f64::NAN,
            Some(upper) if sorted.len() % 2 == 1 => *upper,
            Some(upper) => (sorted[middle - 1] + upper) / 2.0,
        }
    }

    /// The units with their steps, the longest first.
    ///
    /// ```
    /// let memory = ifco_cell::Memory { gate: "f", steps: vec![2.0, 9.0, 4.0] };
    /// assert_eq!(memory.longest(), [(1, 9.0), (2, 4.0), (0, 2.0)]);
    /// assert_eq!(memory.median(), 4.0);
    /// ```
    pub fn longest(&self) -> Vec<(usize, f64)> {
        let mut units: Vec<_> = self.steps.iter().copied().enumerate().collect();
        units.sort_by(|one, other| other.1.total_cmp(&one.1));
        units
    }
}

fn changing(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Lstm => "c",
        CellKind::Gru | CellKind::SimpleRnn => "h",
    }
}

fn words(kind: CellKind, name: &str) -> &'static str {
    match (kind, name) {
        (_, "i") => "input gate",
        (_, "f") => "forget gate",
        (_, "c_tilde" | "h_tilde") => "candidate",
        (_, "o") => "output gate",
        (_, "c") => "cell state",
        (_, "z") => "update gate",
        (_, "r") => "reset gate",
        _ => "hidden state",
    }
}

fn is_gate(name: &str) -> bool {
    ["i", "f", "o", "z", "r"].contains(&name)
}

impl Trace {
    /// The trace in a few numbers.
    ///
    /// See [`Digest`] for an example.
    pub fn digest(&self) -> Digest {
        let mut builder = DigestBuilder::new(self.kind(), self.units());
        builder.add(self, 0, 0);
        builder.finish()
    }
}

/// A [`Digest`] of traces that come in parts: of batch after batch, or of chunk after chunk of a
/// long sequence.
///
/// ```
/// # use ifco_cell::*;
/// # use ndarray::{Array3, array, s};
/// # let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
/// # let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
/// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// # let x = Array3::from_shape_fn((1, 4, 1), |(_, t, _)| t as f32);
/// let options = TraceOptions::default();
/// let whole = layer.trace(x.view(), None, None, &options)?.remove(0);
///
/// let first = layer.trace(x.slice(s![.., ..2, ..]), None, None, &options)?.remove(0);
/// let states = first.last_states();
/// let rest = x.slice(s![.., 2.., ..]);
/// let second = layer.trace(rest, None, Some(&[states[0].view()]), &options)?.remove(0);
/// let mut builder = DigestBuilder::new(whole.kind(), whole.units());
/// builder.add(&first, 0, 0);
/// builder.add(&second, 0, 2); // sequence 0, from step 2 on
/// assert_eq!(builder.finish(), whole.digest());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DigestBuilder {
    kind: CellKind,
    sequences: usize,
    counted: usize,
    masked: usize,
    /// For each array, for each unit.
    arrays: Vec<Vec<Sums>>,
    changes: Vec<Change>,
}

/// Of one unit, so far.
#[derive(Debug, Clone, Copy)]
struct Sums {
    sum: f64,
    min: f32,
    max: f32,
    below: usize,
    above: usize,
}

impl Sums {
    const NOTHING: Self = Self {
        sum: 0.0,
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
        below: 0,
        above: 0,
    };
}

impl DigestBuilder {
    /// Nothing yet of a cell of so many units.
    pub fn new(kind: CellKind, units: usize) -> Self {
        let change = |unit| Change {
            unit,
            mean: 0.0,
            largest: 0.0,
            sequence: 0,
            step: 0,
        };
        Self {
            kind,
            sequences: 0,
            counted: 0,
            masked: 0,
            arrays: vec![vec![Sums::NOTHING; units]; kind.trace_names().len()],
            changes: (0..units).map(change).collect(),
        }
    }

    /// Adds a part whose first sequence and step have these numbers. Where the cell is of another
    /// kind or has other units, what does not fit is left out.
    pub fn add(&mut self, trace: &Trace, first_sequence: usize, first_step: usize) {
        let (batch, time, _) = trace.dim();
        if self.counted + self.masked == 0
            && let Some(h) = self.arrays.last_mut()
        {
            // A projected LSTM's h has a width of its own.
            h.resize(trace.h().dim().2, Sums::NOTHING);
        }
        self.sequences = self.sequences.max(first_sequence.saturating_add(batch));
        let names = self.kind.trace_names();
        for (name, sums) in names.iter().zip(&mut self.arrays) {
            let Some(array) = trace.get(name) else {
                continue;
            };
            let low = if is_gate(name) {
                SATURATED
            } else {
                SATURATED - 1.0
            };
            let high = 1.0 - SATURATED;
            for (row, steps) in array.outer_iter().enumerate() {
                for (t, step) in steps.outer_iter().enumerate() {
                    if !trace.counts(row, t) {
                        continue;
                    }
                    for (sums, value) in sums.iter_mut().zip(step) {
                        sums.sum += f64::from(*value);
                        sums.min = sums.min.min(*value);
                        sums.max = sums.max.max(*value);
                        sums.below += usize::from(*value < low);
                        sums.above += usize::from(*value > high);
                    }
                }
            }
        }
        let state = changing(self.kind);
        for row in 0..batch {
            for t in 0..time {
                if !trace.counts(row, t) {
                    self.masked += 1;
                    continue;
                }
                self.counted += 1;
                let (Some(after), Some(before)) = (trace.get(state), trace.before(state, row, t))
                else {
                    continue;
                };
                let after = after.slice_move(ndarray::s![row, t, ..]);
                for (change, (after, before)) in
                    self.changes.iter_mut().zip(after.iter().zip(before))
                {
                    let size = (after - before).abs();
                    change.mean += f64::from(size); // the sum as yet
                    if size > change.largest {
                        change.largest = size;
                        change.sequence = first_sequence + row;
                        change.step = first_step + t;
                    }
                }
            }
        }
    }

    /// What all parts say together.
    pub fn finish(self) -> Digest {
        let counted = self.counted as f64;
        let names = self.kind.trace_names();
        let arrays: Vec<ArrayDigest> = names
            .iter()
            .zip(self.arrays)
            .map(|(name, units)| ArrayDigest {
                name,
                words: words(self.kind, name),
                is_gate: is_gate(name),
                mean: units.iter().map(|unit| unit.sum).sum::<f64>() / counted / units.len() as f64,
                min: units
                    .iter()
                    .map(|unit| unit.min)
                    .fold(f32::INFINITY, f32::min),
                max: units
                    .iter()
                    .map(|unit| unit.max)
                    .fold(f32::NEG_INFINITY, f32::max),
                units: units
                    .iter()
                    .map(|unit| UnitDigest {
                        mean: unit.sum / counted,
                        below: unit.below as f64 / counted,
                        above: unit.above as f64 / counted,
                    })
                    .collect(),
            })
            .collect();
        let memory = keeping(self.kind).and_then(|gate| {
            let array = arrays.iter().find(|array| array.name == gate)?;
            let steps = array.units.iter().map(|unit| match unit.mean < 1.0 {
                true => 1.0 / (1.0 - unit.mean),
                false if unit.mean.is_nan() => f64::NAN,
                false => f64::INFINITY,
            });
            Some(Memory {
                gate,
                steps: steps.collect(),
            })
        });
        let mut changes = self.changes;
        changes.iter_mut().for_each(|change| change.mean /= counted);
        changes.sort_by(|one, other| other.mean.total_cmp(&one.mean));
        Digest {
            kind: self.kind,
            units: changes.len(),
            sequences: self.sequences,
            counted: self.counted,
            masked: self.masked,
            arrays,
            memory,
            changes,
        }
    }
}
