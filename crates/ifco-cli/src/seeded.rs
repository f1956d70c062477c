//! Models side by side on the same random input.

use std::fmt;
use std::num::NonZeroUsize;

use ifco::Model;
use ndarray::{ArrayD, Axis, Slice};
use serde_json::Value;

use crate::bench::inputs::Inputs;
use crate::failure::Failure;
use crate::output::short;

/// How many sequences.
const BATCH: usize = 3;

/// Random input for a model, of which the last steps of the last sequence are masked where the
/// model masks: values in (−1, 1), or rows of its Embedding.
pub fn inputs(model: &Model, seed: u64) -> Result<Vec<ArrayD<f32>>, Failure> {
    let batch = model.static_batch_size().unwrap_or(BATCH);
    let mut inputs = Inputs::new(model, None, seed)?;
    if let Err(failure) = inputs.try_out(model, batch) {
        // One step alone fits where the model joins sequences of several lengths.
        let Ok(short) = Inputs::new(model, Some(NonZeroUsize::MIN), seed) else {
            return Err(failure);
        };
        inputs = short;
        inputs.try_out(model, batch).map_err(|_| failure)?;
    }
    model.reset_states();
    let mut arrays = inputs.make(batch)?;
    if let Some(masked) = masked_value(model.config()) {
        for array in arrays.iter_mut().filter(|array| array.ndim() > 1) {
            let (rows, steps) = (array.len_of(Axis(0)), array.len_of(Axis(1)));
            let mut last = array.slice_axis_mut(Axis(0), Slice::from(rows.saturating_sub(1)..));
            last.slice_axis_mut(Axis(1), Slice::from(steps - steps / 3..))
                .fill(masked);
        }
    }
    Ok(arrays)
}

/// The value of a step that does not count, if the configuration has such.
fn masked_value(json: &Value) -> Option<f32> {
    match json {
        Value::Array(items) => items.iter().find_map(masked_value),
        Value::Object(object) => {
            if object.get("mask_zero") == Some(&Value::Bool(true)) {
                return Some(0.0);
            }
            let value = object.get("mask_value").and_then(Value::as_f64);
            value
                .map(|value| value as f32)
                .or_else(|| object.values().find_map(masked_value))
        }
        _ => None,
    }
}

/// Runs a model from the states it begins with.
pub fn run(model: &Model, inputs: &[ArrayD<f32>]) -> Result<Vec<ArrayD<f32>>, Failure> {
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    let batch = model.static_batch_size();
    model.reset_states();
    let outputs = model.predict_all(
        &views,
        batch.unwrap_or(Model::DEFAULT_BATCH_SIZE),
        &mut |_| {},
    );
    model.reset_states();
    Ok(outputs?)
}

/// How two arrays that should be equal differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The largest of all values' differences; infinite where only one is a number.
    pub largest: f64,
    /// Where it is.
    pub at: Vec<usize>,
    pub values: (f32, f32),
    /// Whether no difference is above what is allowed there.
    pub is_within: bool,
}

/// What two values may differ by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

impl Tolerance {
    /// What ifco and Keras may differ by.
    pub const DEFAULT: Self = Self {
        absolute: 1e-5,
        relative: 1e-4,
    };
}

impl Difference {
    /// Of two arrays; `None` where their shapes differ.
    pub fn of(one: &ArrayD<f32>, other: &ArrayD<f32>, tolerance: Tolerance) -> Option<Self> {
        if one.shape() != other.shape() {
            return None;
        }
        let mut found = Self {
            largest: 0.0,
            at: vec![0; one.ndim()],
            values: (0.0, 0.0),
            is_within: true,
        };
        for ((at, one), other) in one.indexed_iter().zip(other) {
            let (a, b) = (f64::from(*one), f64::from(*other));
            // Infinities of the same sign, and NaN beside NaN, do not differ.
            let difference = match a == b || a.is_nan() && b.is_nan() {
                true => continue,
                false if (a - b).is_nan() => f64::INFINITY,
                false => (a - b).abs(),
            };
            found.is_within &= difference.is_finite()
                && difference <= tolerance.absolute + tolerance.relative * a.abs();
            if difference > found.largest {
                found.largest = difference;
                found.at = ndarray::Dimension::slice(&at).to_vec();
                found.values = (*one, *other);
            }
        }
        Some(found)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.largest == 0.0 {
            return f.write_str("0");
        }
        let (one, other) = self.values;
        let largest = short(self.largest);
        write!(f, "{largest} at {:?}: {one} and {other}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn differences_and_what_is_allowed() {
        let of = |one: f32, other: f32| {
            Difference::of(
                &array![0.0, one].into_dyn(),
                &array![0.0, other].into_dyn(),
                Tolerance::DEFAULT,
            )
            .unwrap()
        };
        assert!(of(1000.0, 1000.05).is_within);
        assert!(!of(1.0, 1.001).is_within);
        assert_eq!(of(1.0, 1.5).largest, 0.5);
        assert_eq!(of(1.0, 1.5).at, [1]);
        assert!(of(f32::NAN, f32::NAN).is_within);
        assert_eq!(of(f32::NAN, 1.0).largest, f64::INFINITY);
        assert!(!of(f32::NAN, 1.0).is_within);
        assert!(!of(f32::INFINITY, 1.0).is_within);
        let long = array![0.0, 0.0, 0.0].into_dyn();
        assert_eq!(
            Difference::of(&array![0.0].into_dyn(), &long, Tolerance::DEFAULT),
            None
        );
    }
}
