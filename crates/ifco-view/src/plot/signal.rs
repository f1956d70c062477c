//! What a trace holds, with names for people, and one sequence of it.

use ifco_cell::{CellKind, DigestBuilder, Trace};
use ndarray::{ArrayView2, Axis};

use super::PlotError;
use super::heat::Scale;
use crate::color::Theme;

/// One array of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    /// Its name in the trace: `f`, `c_tilde`.
    pub key: &'static str,
    /// In words.
    pub name: &'static str,
    /// A gate lets through a share, from 0 to 1; the others are candidates and states.
    pub is_gate: bool,
}

/// What a trace of such a cell holds, in the order of the equations.
pub(super) fn signals(kind: CellKind) -> Vec<Signal> {
    // A digest of nothing has the names.
    let arrays = DigestBuilder::new(kind, 0).finish().arrays;
    let signal = |array: ifco_cell::ArrayDigest| Signal {
        key: array.name,
        name: array.words,
        is_gate: array.is_gate,
    };
    arrays.into_iter().map(signal).collect()
}

/// One sequence of a trace, and what its steps are called.
///
/// ```
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights, TraceOptions,
/// };
/// use ifco_view::plot::{self, Sequence, Sort, Style};
/// use ndarray::{Array2, Array3};
///
/// let weights = SimpleRnnWeights::new(Array2::ones((3, 2)), Array2::ones((2, 2)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Tanh);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::zeros((1, 3, 3)); // (batch, time, features)
/// let trace = &layer.trace(x.view(), None, None, &TraceOptions::default())?[0];
///
/// let words = ["to", "be", "or"].map(String::from);
/// let sequence = Sequence::new(trace, 0, Some(&words))?;
/// let picture = plot::gates("rnn", &sequence, Sort::Unit, &Style::default())?;
/// assert!(picture.svg()?.contains("be"));
///
/// let error = Sequence::new(trace, 0, Some(&words[..2])).unwrap_err();
/// assert_eq!(error.to_string(), "there are 2 labels for 3 steps");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence<'a> {
    pub(super) trace: &'a Trace,
    pub(super) row: usize,
    /// The row's number in the picture.
    pub(super) number: usize,
    pub(super) labels: Option<Vec<String>>,
}

impl<'a> Sequence<'a> {
    /// The sequence `row` of a trace. `labels` has one for each step; or, where steps are masked,
    /// one for each step that is not.
    ///
    /// # Errors
    /// When there is no such row, no step, or another number of labels.
    pub fn new(trace: &'a Trace, row: usize, labels: Option<&[String]>) -> Result<Self, PlotError> {
        let (batch, time, units) = trace.dim();
        if row >= batch {
            return Err(PlotError::Nothing(format!(
                "there is no row {row}: the input has {batch}, counted from 0"
            )));
        }
        if time == 0 || units == 0 {
            return Err(PlotError::Nothing("the sequence has no steps".into()));
        }
        let counting = (0..time).filter(|&t| trace.counts(row, t)).count();
        let labels = match labels {
            None => None,
            Some(labels) if labels.len() == time => Some(labels.to_vec()),
            Some(labels) if labels.len() == counting => {
                let mut next = labels.iter();
                let label = |t| match trace.counts(row, t) {
                    true => next.next().cloned().unwrap_or_default(),
                    false => String::new(),
                };
                Some((0..time).map(label).collect())
            }
            Some(labels) => {
                return Err(PlotError::Labels {
                    found: labels.len(),
                    steps: time,
                    counting,
                });
            }
        };
        Ok(Self {
            trace,
            row,
            number: row,
            labels,
        })
    }

    /// Says which row of the whole input this is, where the trace is of a part of it.
    pub fn numbered(self, number: usize) -> Self {
        Self { number, ..self }
    }

    pub(super) fn steps(&self) -> usize {
        self.trace.time()
    }

    pub(super) fn units(&self) -> usize {
        self.trace.units()
    }

    /// The arrays, in the order of the equations.
    pub(super) fn signals(&self) -> Vec<Signal> {
        signals(self.trace.kind())
    }

    /// Whether h has other values than one for each unit.
    pub(super) fn is_projected(&self) -> bool {
        self.trace.h().dim().2 != self.units()
    }

    pub(super) fn counts(&self, step: usize) -> bool {
        self.trace.counts(self.row, step)
    }

    /// Stretches of steps that a mask skips, from and to.
    pub(super) fn masked(&self) -> Vec<(usize, usize)> {
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for step in (0..self.steps()).filter(|&step| !self.counts(step)) {
            match stretches.last_mut() {
                Some((_, end)) if *end == step => *end += 1,
                _ => stretches.push((step, step + 1)),
            }
        }
        stretches
    }

    /// An array of the trace, `(time, units)`.
    pub(super) fn values(&self, key: &str) -> Option<ArrayView2<'_, f32>> {
        let values = self.trace.get(key)?;
        Some(values.index_axis_move(Axis(0), self.row))
    }

    /// How much each unit's state changes, as [`Trace::digest`] has it: the mean of |c' − c| over
    /// the steps that count, or of |h' − h| where there is no c.
    pub(super) fn changes(&self) -> Vec<f64> {
        self.changes_of(match self.trace.get("c") {
            Some(_) => "c",
            None => "h",
        })
    }

    /// The same of one state.
    pub(super) fn changes_of(&self, state: &str) -> Vec<f64> {
        let Some(values) = self.values(state) else {
            return Vec::new();
        };
        let mut sums = vec![0.0; values.ncols()];
        for step in (0..self.steps()).filter(|&step| self.counts(step)) {
            let Some(before) = self.trace.before(state, self.row, step) else {
                continue;
            };
            let pairs = values.row(step).into_iter().zip(before);
            for (sum, (after, before)) in sums.iter_mut().zip(pairs) {
                *sum += f64::from((after - before).abs());
            }
        }
        sums
    }

    /// Mean of a unit's values over the steps that count.
    pub(super) fn mean(&self, key: &str, unit: usize) -> f64 {
        let Some(values) = self.values(key) else {
            return 0.0;
        };
        let counting = (0..self.steps()).filter(|&step| self.counts(step));
        let found: Vec<f64> = counting
            .map(|step| f64::from(values[[step, unit]]))
            .collect();
        mean(&found)
    }

    /// The colours that suit an array.
    pub(super) fn scale(&self, signal: &Signal, theme: Theme) -> Scale {
        let values = || self.values(signal.key).into_iter().flatten().copied();
        let has_sign = !signal.is_gate || values().any(|value| value < 0.0);
        let within_one = values().all(|value| value.abs() <= 1.0);
        // A gate or a candidate is to be seen against what it could be; states differ by far more
        // than a factor of ten between layers.
        let is_state = matches!(signal.key, "c" | "h");
        let (limit, is_exceeded) = match within_one && !is_state {
            true => (1.0, false),
            false => {
                let scale = Scale::of(theme, values());
                (scale.limit, scale.is_exceeded)
            }
        };
        Scale {
            theme,
            has_sign,
            limit,
            is_exceeded,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
