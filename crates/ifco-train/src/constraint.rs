//! Constraints: what a weight must be after each step.

use ndarray::{ArrayViewMutD, Axis, Zip};
use serde_json::{Value, json};

use crate::keras_object::{KerasObject, written};
use crate::{EPSILON, TrainError};

/// What a weight is made to be after each step of an optimizer.
///
/// Norms are lengths along the axes that `axes` names; an LSTM's kernel `(features, 4·units)` has
/// one for each column with `[0]`, which is Keras's default.
///
/// ```
/// use ifco_train::Constraint;
/// use ndarray::array;
///
/// let constraint = Constraint::from_keras(&"non_neg".into())?;
/// let mut weight = array![-1.0, 2.0].into_dyn();
/// constraint.apply(&mut weight.view_mut());
/// assert_eq!(weight, array![0.0, 2.0].into_dyn());
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// Norms of at most `max_value`.
    MaxNorm {
        /// The largest norm.
        max_value: f64,
        /// Along which axes norms are taken.
        axes: Vec<i64>,
    },
    /// No negative elements.
    NonNeg,
    /// Norms of 1.
    UnitNorm {
        /// Along which axes norms are taken.
        axes: Vec<i64>,
    },
    /// Norms from `min_value` to `max_value`.
    MinMaxNorm {
        /// The smallest norm.
        min_value: f64,
        /// The largest norm.
        max_value: f64,
        /// How much of the way there is gone at each step.
        rate: f64,
        /// Along which axes norms are taken.
        axes: Vec<i64>,
    },
}

const KNOWN: &[&str] = &["max_norm", "non_neg", "unit_norm", "min_max_norm"];

impl Constraint {
    /// Reads what a layer's configuration has under `kernel_constraint` and the like.
    ///
    /// # Errors
    /// When it is a user's own, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("constraint", value)?;
        let axes = || -> Result<Vec<i64>, TrainError> {
            let axes = object
                .optional_numbers("axis")?
                .unwrap_or_else(|| vec![0.0]);
            Ok(axes.into_iter().map(|axis| axis as i64).collect())
        };
        Ok(match object.name {
            "MaxNorm" | "max_norm" | "maxnorm" => Self::MaxNorm {
                max_value: object.number_or("max_value", 2.0)?,
                axes: axes()?,
            },
            "NonNeg" | "non_neg" | "nonneg" => Self::NonNeg,
            "UnitNorm" | "unit_norm" | "unitnorm" => Self::UnitNorm { axes: axes()? },
            "MinMaxNorm" | "min_max_norm" => Self::MinMaxNorm {
                min_value: object.number_or("min_value", 0.0)?,
                max_value: object.number_or("max_value", 1.0)?,
                rate: object.number_or("rate", 1.0)?,
                axes: axes()?,
            },
            other => return Err(TrainError::unknown("constraint", other, KNOWN)),
        })
    }

    /// The constraint as Keras 3 writes it.
    pub fn to_keras(&self) -> Value {
        let axis = |axes: &[i64]| match axes {
            [one] => json!(one),
            more => json!(more),
        };
        let (class, config) = match self {
            Self::MaxNorm { max_value, axes } => (
                "MaxNorm",
                json!({"max_value": max_value, "axis": axis(axes)}),
            ),
            Self::NonNeg => ("NonNeg", json!({})),
            Self::UnitNorm { axes } => ("UnitNorm", json!({"axis": axis(axes)})),
            Self::MinMaxNorm {
                min_value,
                max_value,
                rate,
                axes,
            } => {
                let config = json!({
                    "min_value": min_value, "max_value": max_value, "rate": rate,
                    "axis": axis(axes),
                });
                ("MinMaxNorm", config)
            }
        };
        written("keras.constraints", class, config)
    }

    /// Makes a weight what it must be. Axes that it does not have are passed over.
    pub fn apply(&self, weight: &mut ArrayViewMutD<'_, f32>) {
        let (axes, scale): (_, Box<dyn Fn(f32) -> f32>) = match *self {
            Self::NonNeg => {
                weight.mapv_inplace(|w| w.max(0.0));
                return;
            }
            Self::MaxNorm {
                max_value,
                ref axes,
            } => {
                let most = max_value as f32;
                (
                    axes,
                    Box::new(move |norm| norm.clamp(0.0, most.max(0.0)) / (EPSILON + norm)),
                )
            }
            Self::UnitNorm { ref axes } => (axes, Box::new(|norm| 1.0 / (EPSILON + norm))),
            Self::MinMaxNorm {
                min_value,
                max_value,
                rate,
                ref axes,
            } => {
                let (least, most) = (min_value as f32, max_value as f32);
                let (rate, rest) = (rate as f32, (1.0 - rate) as f32);
                let scale = move |norm: f32| {
                    let wanted = rate * norm.max(least).min(most) + rest * norm;
                    wanted / (EPSILON + norm)
                };
                (axes, Box::new(scale))
            }
        };
        let mut squares = weight.mapv(|w| w * w);
        for axis in axes {
            let axis = if *axis < 0 {
                axis + weight.ndim() as i64
            } else {
                *axis
            };
            if (0..weight.ndim() as i64).contains(&axis) {
                let axis = Axis(axis as usize);
                squares = squares.sum_axis(axis).insert_axis(axis);
            }
        }
        let factors = squares.mapv(|square| scale(square.sqrt()));
        if let Some(factors) = factors.broadcast(weight.raw_dim()) {
            Zip::from(weight)
                .and(&factors)
                .for_each(|w, factor| *w *= factor);
        }
    }
}
