//! Regularizers: what a weight, or the output of a layer, adds to the loss, and its gradient.

use ndarray::{ArrayD, ArrayViewD, Axis, Ix2};
use serde_json::{Map, Value, json};

use crate::{Config, ConfigError, Generation};

/// What a weight or an output adds to the loss.
///
/// ```
/// use ifco_model::Regularizer;
/// use ndarray::array;
///
/// let regularizer = Regularizer::L1L2 { l1: 0.5, l2: 0.25 };
/// let (value, gradient) = regularizer.with_gradient(&array![-2.0, 1.0].into_dyn().view())?;
/// assert_eq!(value, 2.75); // 0.5 · 3 + 0.25 · 5
/// assert_eq!(gradient, array![-1.5, 1.0].into_dyn());
/// # Ok::<(), ifco_model::NotAMatrix>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Regularizer {
    /// `l1 · Σ |w| + l2 · Σ w²`
    L1L2 {
        /// The factor of the sizes.
        l1: f64,
        /// The factor of the squares.
        l2: f64,
    },
    /// How much rows or columns point the same way: `factor` times the mean over pairs of the
    /// absolute cosine.
    Orthogonal {
        /// The factor.
        factor: f64,
        /// Of columns, not of rows.
        columns: bool,
    },
}

/// An array that an orthogonal regularizer was asked of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an orthogonal regularizer is of matrices alone, and it was asked of the shape {shape:?}")]
pub struct NotAMatrix {
    /// The array's shape.
    pub shape: Vec<usize>,
}

/// What Keras's `backend.epsilon()` is.
const EPSILON: f32 = 1e-7;

impl Regularizer {
    /// Reads what a layer's configuration has under `kernel_regularizer` and the like.
    ///
    /// # Errors
    /// When it is a user's own, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, ConfigError> {
        let nothing = Value::Object(Map::new());
        // A name, or a class with its configuration, or a function's name in the place of that.
        let (name, options) = match (value, value.get("config")) {
            (Value::String(name), _) | (_, Some(Value::String(name))) => {
                (Some(name.as_str()), None)
            }
            (_, options) => (value.get("class_name").and_then(Value::as_str), options),
        };
        let options = options.filter(|options| !options.is_null());
        let object = Config::new(
            name.unwrap_or("regularizer"),
            Generation::Keras3,
            options.unwrap_or(&nothing),
        )?;
        let factor = |key, default: f64| match object.f64_or(key, default)? {
            factor if factor >= 0.0 && factor.is_finite() => Ok(factor),
            _ => Err(object.invalid(key, "a number that is 0 or more")),
        };
        let of_both = if options.is_some() { 0.0 } else { 0.01 };
        Ok(match name {
            Some("L1L2" | "l1l2" | "l1_l2") => Self::L1L2 {
                l1: factor("l1", of_both)?,
                l2: factor("l2", of_both)?,
            },
            Some("L1" | "l1") => Self::L1L2 {
                l1: factor("l1", 0.01)?,
                l2: 0.0,
            },
            Some("L2" | "l2") => Self::L1L2 {
                l1: 0.0,
                l2: factor("l2", 0.01)?,
            },
            Some("OrthogonalRegularizer" | "orthogonal_regularizer" | "orthogonal") => {
                Self::Orthogonal {
                    factor: factor("factor", 0.01)?,
                    columns: match object.str_or("mode", "rows")? {
                        "rows" => false,
                        "columns" => true,
                        _ => return Err(object.invalid("mode", "\"rows\" or \"columns\"")),
                    },
                }
            }
            _ => {
                let whole = json!({"regularizer": value});
                return Err(Config::new("training", Generation::Keras3, &whole)?.invalid(
                    "regularizer",
                    "one of l1, l2, l1_l2 and orthogonal_regularizer (a user's own cannot be run)",
                ));
            }
        })
    }

    /// The regularizer as Keras 3 writes it.
    pub fn to_keras(&self) -> Value {
        let (class, config) = match *self {
            Self::L1L2 { l1, l2: 0.0 } => ("L1", json!({"l1": l1})),
            Self::L1L2 { l1: 0.0, l2 } => ("L2", json!({"l2": l2})),
            Self::L1L2 { l1, l2 } => ("L1L2", json!({"l1": l1, "l2": l2})),
            Self::Orthogonal { factor, columns } => {
                let mode = if columns { "columns" } else { "rows" };
                (
                    "OrthogonalRegularizer",
                    json!({"factor": factor, "mode": mode}),
                )
            }
        };
        json!({
            "module": "keras.regularizers", "class_name": class, "config": config,
            "registered_name": null,
        })
    }

    /// What an array adds to the loss, and the gradient of that, in the array's shape.
    ///
    /// # Errors
    /// Orthogonality is of matrices alone.
    pub fn with_gradient(
        &self,
        weight: &ArrayViewD<'_, f32>,
    ) -> Result<(f32, ArrayD<f32>), NotAMatrix> {
        match *self {
            Self::L1L2 { l1, l2 } => {
                let (l1, l2) = (l1 as f32, l2 as f32);
                let sum =
                    |f: fn(f32) -> f32| weight.iter().map(|w| f64::from(f(*w))).sum::<f64>() as f32;
                let mut value = 0.0;
                if l1 != 0.0 {
                    value += l1 * sum(f32::abs);
                }
                if l2 != 0.0 {
                    value += l2 * sum(|w| w * w);
                }
                Ok((value, weight.mapv(|w| l1 * sign(w) + l2 * 2.0 * w)))
            }
            Self::Orthogonal { factor, columns } => {
                let matrix =
                    weight
                        .view()
                        .into_dimensionality::<Ix2>()
                        .map_err(|_| NotAMatrix {
                            shape: weight.shape().to_vec(),
                        })?;
                let matrix = if columns {
                    matrix.reversed_axes()
                } else {
                    matrix
                };
                let lengths = matrix.map_axis(Axis(1), |row| {
                    let squares: f32 = row.iter().map(|w| w * w).sum();
                    squares.sqrt().max(EPSILON)
                });
                let lengths = lengths.insert_axis(Axis(1));
                let rows = &matrix / &lengths;
                let mut cosines = rows.dot(&rows.t());
                cosines.diag_mut().fill(0.0);
                let size = rows.nrows() as f32;
                let pairs = size * (size - 1.0) / 2.0;
                if pairs == 0.0 {
                    return Ok((0.0, ArrayD::zeros(weight.raw_dim())));
                }
                let sum: f32 = cosines.iter().map(|cosine| cosine.abs()).sum();
                let factor = factor as f32 * 0.5;
                // Σ|n nᵀ| by n is 2 sign(n nᵀ) n; through the length, what lies along n falls away.
                let by_row = cosines.mapv(sign).dot(&rows) * (2.0 * factor / pairs);
                let along = (&by_row * &rows).sum_axis(Axis(1)).insert_axis(Axis(1));
                let gradient = (by_row - &rows * &along) / &lengths;
                let gradient = if columns {
                    gradient.reversed_axes()
                } else {
                    gradient
                };
                Ok((factor * sum / pairs, gradient.into_dyn()))
            }
        }
    }
}

fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
