//! The first layer, step and gate at which two models part.

use std::fmt;

use ifco::{Model, ModelTrace, Trace, TraceOptions};
use ndarray::{ArrayD, ArrayView3};
use serde_json::{Value, json};

use super::{Pair, value};
use crate::failure::Failure;

/// Where two models part.
pub enum Parting {
    /// In a recurrent layer.
    Gate {
        /// The layer's path in A and in B.
        layers: [String; 2],
        gate: &'static str,
        /// The number of the step.
        step: usize,
        row: usize,
        unit: usize,
        values: [f32; 2],
        /// Whether what the layer is given differs before that.
        is_given: bool,
    },
    /// Their recurrent layers are not as many, or not of one kind or size.
    Layers([String; 2]),
    /// All recurrent layers agree; the first layer whose weights differ, if one does.
    Elsewhere(Option<String>),
}

/// Runs both again, keeping every gate.
pub fn find(pair: &Pair<'_>) -> Result<Parting, Failure> {
    let trace = |model: &Model| -> Result<ModelTrace, Failure> {
        let views: Vec<_> = pair.inputs.iter().map(|input| input.view()).collect();
        model.reset_states();
        let trace = model.trace_all(&[], &views, &TraceOptions::default());
        model.reset_states();
        Ok(trace?)
    };
    let (a, b) = (trace(pair.a)?, trace(pair.b)?);
    let fits = a.traces.len() == b.traces.len()
        && a.traces
            .iter()
            .zip(&b.traces)
            .all(|((_, a), (_, b))| a.kind() == b.kind() && a.dim() == b.dim());
    if !fits {
        return Ok(Parting::Layers([describe(&a), describe(&b)]));
    }
    for ((name_a, a), (name_b, b)) in a.traces.iter().zip(&b.traces) {
        let Some(first) = first(pair, a, b) else {
            continue;
        };
        let given = differing(pair, a.inputs.view(), b.inputs.view(), first.step);
        return Ok(Parting::Gate {
            layers: [name_a.clone(), name_b.clone()],
            gate: first.gate,
            step: first.step,
            row: first.row,
            unit: first.unit,
            values: first.values,
            is_given: given.is_some(),
        });
    }
    Ok(Parting::Elsewhere(other_weights(pair)))
}

struct First {
    gate: &'static str,
    step: usize,
    row: usize,
    unit: usize,
    values: [f32; 2],
}

/// The first step that A reads at which a gate differs, and of the gates there the first that is
/// computed.
fn first(pair: &Pair<'_>, a: &Trace, b: &Trace) -> Option<First> {
    let time = a.time();
    let steps: Vec<usize> = match a.reads_backward {
        true => (0..time).rev().collect(),
        false => (0..time).collect(),
    };
    for step in steps {
        for ((gate, one), (_, other)) in a.iter().zip(b.iter()) {
            if let Some((row, unit, values)) = differing(pair, one, other, step) {
                return Some(First {
                    gate,
                    step,
                    row,
                    unit,
                    values,
                });
            }
        }
    }
    None
}

/// Where two arrays `(batch, time, units)` differ most at this step, if by more than is allowed.
fn differing(
    pair: &Pair<'_>,
    one: ArrayView3<'_, f32>,
    other: ArrayView3<'_, f32>,
    step: usize,
) -> Option<(usize, usize, [f32; 2])> {
    if one.dim() != other.dim() {
        return Some((0, 0, [f32::NAN; 2]));
    }
    let mut worst: Option<(f64, usize, usize, [f32; 2])> = None;
    let (rows, _, units) = one.dim();
    for row in 0..rows {
        for unit in 0..units {
            let values = [one[[row, step, unit]], other[[row, step, unit]]];
            let [a, b] = values.map(f64::from);
            let difference = (a - b).abs();
            let is_same = a == b || a.is_nan() && b.is_nan();
            let allowed = pair.tolerance.absolute + pair.tolerance.relative * a.abs();
            let is_worse = worst.is_none_or(|(known, ..)| difference > known);
            let is_allowed = is_same || difference.is_finite() && difference <= allowed;
            if !is_allowed && is_worse {
                worst = Some((difference, row, unit, values));
            }
        }
    }
    worst.map(|(_, row, unit, values)| (row, unit, values))
}

/// The first layer whose weights are not those of the layer with the same number.
fn other_weights(pair: &Pair<'_>) -> Option<String> {
    let weights = |model: &Model| -> Vec<(String, Vec<ArrayD<f32>>)> {
        let layers = model.layers().iter();
        layers
            .filter_map(|entry| Some((entry.name.clone(), entry.layer.weights()?)))
            .filter(|(_, weights)| !weights.is_empty())
            .collect()
    };
    let (a, b) = (weights(pair.a), weights(pair.b));
    let mut both = a.into_iter().zip(b);
    both.find(|((_, a), (_, b))| a != b)
        .map(|((name, _), _)| name)
}

fn describe(trace: &ModelTrace) -> String {
    let one = |(name, trace): &(String, Trace)| {
        let (_, time, units) = trace.dim();
        format!(
            "{name} {} of {units} units, {time} steps",
            trace.kind().name()
        )
    };
    match trace.traces.as_slice() {
        [] => "no recurrent layer".into(),
        traces => traces.iter().map(one).collect::<Vec<_>>().join("; "),
    }
}

impl Parting {
    pub fn json(&self) -> Value {
        match self {
            Self::Gate {
                layers,
                gate,
                step,
                row,
                unit,
                values,
                is_given,
            } => json!({
                "layers": layers, "gate": gate, "step": step, "row": row, "unit": unit,
                "values": values, "input_differs": is_given,
            }),
            Self::Layers(layers) => json!({"recurrent_layers": layers}),
            Self::Elsewhere(layer) => {
                json!({"recurrent_layers_agree": true, "other_weights": layer})
            }
        }
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate {
                layers: [a, b],
                gate,
                step,
                row,
                unit,
                values: [one, other],
                is_given,
            } => {
                write!(f, "in layer {a:?}")?;
                if a != b {
                    write!(f, " (in B {b:?})")?;
                }
                let (one, other) = (value(*one), value(*other));
                write!(
                    f,
                    ", step {step}, {gate}: {one} and {other} (row {row}, unit {unit})"
                )?;
                if *is_given {
                    write!(f, "; what the layer is given there differs already")?;
                }
                Ok(())
            }
            Self::Layers([a, b]) => {
                write!(f, "their recurrent layers are others\n  A: {a}\n  B: {b}")
            }
            Self::Elsewhere(layer) => {
                write!(
                    f,
                    "behind the recurrent layers, which agree at every gate and step"
                )?;
                match layer {
                    Some(layer) => write!(f, "; layer {layer:?} has other weights"),
                    None => write!(f, "; all weights are the same"),
                }
            }
        }
    }
}
