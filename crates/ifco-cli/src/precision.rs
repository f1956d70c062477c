//! `--precision`: recurrent weights in fewer bits, and how far that takes the outputs.

use std::fmt;
use std::io::{self, Write};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ifco::{Model, Precision};
use ndarray::ArrayD;
use serde_json::{Value, json};

use crate::output::short;

#[derive(clap::Args)]
pub struct PrecisionArgs {
    /// How the recurrent layers keep their weights while they run: bf16 and int8 are faster and
    /// less exact, and how far the outputs are from those of f32 is told
    #[arg(long, value_name = "P", default_value_t = Precision::F32, value_parser = parser())]
    precision: Precision,
}

/// Reads a precision by its name.
pub fn parser() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name))
        .try_map(|name| name.parse::<Precision>())
}

impl PrecisionArgs {
    /// Unless it is what the model has in any case.
    pub fn reduced(&self) -> Option<Precision> {
        Some(self.precision).filter(|precision| *precision != Precision::F32)
    }
}

/// Says so where a model has nothing that it changes.
pub fn note_without_effect(model: &Model, precision: Precision) {
    if model.cells().is_empty() {
        note(format_args!(
            "note: the model has no recurrent layer, --precision {precision} changes nothing"
        ));
    }
}

/// A line on stderr; where that cannot be written to, nothing.
pub fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// How far outputs are from those of f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    pub precision: Precision,
    /// Of two values.
    largest: f64,
    mean: f64,
    /// The size of the largest value in f32, beside which the others count.
    largest_output: f64,
}

impl Difference {
    /// Of outputs whose first rows are those that `exact` has.
    pub fn of(precision: Precision, outputs: &[ArrayD<f32>], exact: &[ArrayD<f32>]) -> Self {
        let (mut largest, mut sum, mut count, mut size) = (0.0, 0.0, 0usize, 0.0);
        for (output, exact) in outputs.iter().zip(exact) {
            for (found, exact) in output.iter().zip(exact) {
                let (found, exact) = (f64::from(*found), f64::from(*exact));
                // Infinities of the same sign, and NaN beside NaN, do not differ.
                let is_same = found == exact || (found.is_nan() && exact.is_nan());
                let difference = if is_same { 0.0 } else { (found - exact).abs() };
                largest = greater(largest, difference);
                size = greater(size, exact.abs());
                sum += difference;
                count += 1;
            }
        }
        Self {
            precision,
            largest,
            mean: sum / count.max(1) as f64,
            largest_output: size,
        }
    }

    /// `null` where a difference is no number.
    pub fn json(&self) -> Value {
        json!({
            "largest": self.largest,
            "mean": self.mean,
            "largest_output": self.largest_output,
        })
    }
}

/// NaN where one is, which `f64::max` would lose.
fn greater(one: f64, other: f64) -> f64 {
    if one >= other || one.is_nan() {
        one
    } else {
        other
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "outputs differ from those of f32 by at most {}, by {} on average; the largest output \
             is {}",
            short(self.largest),
            short(self.mean),
            short(self.largest_output)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn differences_over_the_rows_that_both_have() {
        let exact = [array![[1.0, -3.0], [f32::INFINITY, f32::NAN]].into_dyn()];
        let outputs = [array![[1.5, -3.25], [f32::INFINITY, f32::NAN], [9.0, 9.0]].into_dyn()];
        let found = Difference::of(Precision::Bf16, &outputs, &exact);
        assert_eq!((found.largest, found.mean), (0.5, 0.1875));
        assert!(found.largest_output.is_nan());

        let exact = [array![1.0].into_dyn()];
        let lost = Difference::of(Precision::Int8, &[array![f32::NAN].into_dyn()], &exact);
        assert!(lost.largest.is_nan());
        assert_eq!(lost.json()["largest"], Value::Null);
        assert!(lost.to_string().contains("by at most NaN"), "{lost}");
    }
}
