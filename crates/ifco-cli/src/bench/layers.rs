//! How long each layer of a model takes, and of the recurrent ones, what they make of it.

use std::time::{Duration, Instant};

use ifco::machine::{Bound, LayerShape, Limits};
use ifco::{LayerEntry, Model, ModelError, Tensor};
use ndarray::ArrayD;

use super::latency::percentile;
use super::{is_over, stop::Stop};
use crate::failure::Failure;

/// A layer's part in a prediction.
pub struct LayerTime {
    /// `lstm`, `encoder/lstm` inside a nested model.
    pub path: String,
    /// Keras's class name.
    pub class: String,
    /// The median over several predictions, of all its calls in one together.
    pub seconds: f64,
    /// For a recurrent layer.
    pub recurrent: Option<Recurrent>,
}

/// What a recurrent layer does in one prediction; of its cells together, if it has several.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// Of the last cell.
    pub units: usize,
    /// Steps of the longest sequence.
    pub time: usize,
    pub flops: f64,
    /// Of all cells, as f32.
    pub recurrent_bytes: usize,
    /// The least time that the machine could take.
    pub limit_seconds: f64,
    /// What takes most of that.
    pub bound: Bound,
}

impl Recurrent {
    pub fn limit_gflops(&self) -> f64 {
        self.flops / self.limit_seconds / 1e9
    }
}

impl LayerTime {
    pub fn gflops(&self) -> Option<f64> {
        Some(self.recurrent.as_ref()?.flops / self.seconds / 1e9)
    }

    /// Of what the machine could do.
    pub fn share_of_limit(&self) -> Option<f64> {
        Some(self.recurrent.as_ref()?.limit_seconds / self.seconds)
    }
}

/// One layer, prediction after prediction.
struct Samples {
    path: String,
    class: String,
    seconds: Vec<f64>,
    recurrent: Option<Recurrent>,
}

/// Predicts until the time is over, but at least once.
pub fn measure(
    model: &Model,
    limits: &Limits,
    arrays: Vec<ArrayD<f32>>,
    time: Duration,
    stop: &Stop,
) -> Result<Vec<LayerTime>, Failure> {
    let inputs: Vec<Tensor> = arrays.into_iter().map(Tensor::new).collect();
    let mut layers: Vec<Samples> = Vec::new();
    let start = Instant::now();
    let mut count = 0;
    while !is_over(start, time, count, stop) {
        let mut calls = Vec::new();
        observe(model, "", &inputs, limits, &mut calls)?;
        for call in calls {
            add(&mut layers, call, count);
        }
        count += 1;
    }
    Ok(layers
        .into_iter()
        .map(|mut layer| {
            layer.seconds.sort_unstable_by(f64::total_cmp);
            LayerTime {
                path: layer.path,
                class: layer.class,
                // The clock may be too coarse to see a layer that does next to nothing.
                seconds: percentile(&layer.seconds, 50).max(1e-9),
                recurrent: layer.recurrent,
            }
        })
        .collect())
}

/// A call of a layer in prediction `index`: one of several, if the graph uses it again.
fn add(layers: &mut Vec<Samples>, call: LayerTime, index: usize) {
    let known = layers.iter_mut().find(|layer| layer.path == call.path);
    let Some(layer) = known else {
        layers.push(Samples {
            path: call.path,
            class: call.class,
            seconds: vec![call.seconds],
            recurrent: call.recurrent,
        });
        return;
    };
    match layer.seconds.get_mut(index) {
        Some(seconds) => {
            *seconds += call.seconds;
            // The work of the first prediction stands for all.
            if index == 0
                && let (Some(all), Some(more)) = (&mut layer.recurrent, call.recurrent)
            {
                all.flops += more.flops;
                all.limit_seconds += more.limit_seconds;
                all.time = all.time.max(more.time);
            }
        }
        None => layer.seconds.push(call.seconds),
    }
}

/// One prediction, layer by layer; a model inside is run once more for its own layers.
fn observe(
    model: &Model,
    above: &str,
    inputs: &[Tensor],
    limits: &Limits,
    calls: &mut Vec<LayerTime>,
) -> Result<(), ModelError> {
    let mut inner_result = Ok(());
    model.observe(inputs, &mut |entry, inputs, taken| {
        let path = format!("{above}{}", entry.name);
        if let Some(inner) = entry.layer.as_model().filter(|inner| takes(inner, inputs)) {
            let result = observe(inner, &format!("{path}/"), inputs, limits, calls);
            inner_result = std::mem::replace(&mut inner_result, Ok(())).and(result);
            return;
        }
        calls.push(LayerTime {
            path,
            class: entry.layer.class_name().into(),
            seconds: taken.as_secs_f64(),
            recurrent: recurrent(entry, inputs, limits),
        });
    })?;
    inner_result
}

/// Whether these are a model's own inputs: a TimeDistributed around it takes one axis more.
fn takes(model: &Model, inputs: &[Tensor]) -> bool {
    let ports = model.inputs();
    let mut pairs = ports.iter().zip(inputs);
    ports.len() == inputs.len()
        && pairs.all(|(port, input)| {
            let rank = port.shape.as_ref().map(Vec::len);
            rank.is_none_or(|rank| rank == input.shape().len())
        })
}

/// The work of a recurrent layer on these inputs.
fn recurrent(entry: &LayerEntry, inputs: &[Tensor], limits: &Limits) -> Option<Recurrent> {
    // What wraps a recurrent layer into further axes is not told apart from what else it does.
    let &[first, second, _] = inputs.first()?.shape() else {
        return None;
    };
    let (batch, time) = match entry.layer.batch_axis() {
        0 => (first, second),
        _ => (second, first),
    };
    let mut all: Option<(Recurrent, f64)> = None;
    for (_, cell) in entry.layer.cells() {
        let shape = LayerShape::of(cell, batch, time);
        let limit = limits.layer(&shape);
        let limit_seconds = shape.flops() / limit.gflops / 1e9;
        let (all, longest) = all.get_or_insert_with(|| {
            let none = Recurrent {
                units: 0,
                time,
                flops: 0.0,
                recurrent_bytes: 0,
                limit_seconds: 0.0,
                bound: limit.bound,
            };
            (none, 0.0)
        });
        all.units = shape.units;
        all.flops += shape.flops();
        all.recurrent_bytes = all.recurrent_bytes.saturating_add(shape.recurrent_bytes());
        all.limit_seconds += limit_seconds;
        if limit_seconds > *longest {
            *longest = limit_seconds;
            all.bound = limit.bound;
        }
    }
    all.map(|(all, _)| all).filter(|all| all.flops > 0.0)
}
