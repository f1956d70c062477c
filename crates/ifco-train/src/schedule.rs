//! Learning rates that change with the step.

use serde_json::{Value, json};

use crate::TrainError;
use crate::keras_object::{KerasObject, written};

/// A learning rate as a function of the step, with Keras's formulas in f32.
///
/// ```
/// use ifco_train::Schedule;
///
/// let schedule = Schedule::from_keras(&serde_json::json!({
///     "class_name": "ExponentialDecay",
///     "config": {"initial_learning_rate": 0.5, "decay_steps": 2, "decay_rate": 0.25},
/// }))?;
/// assert_eq!(schedule.rate(0), 0.5);
/// assert_eq!(schedule.rate(2), 0.125); // 0.5 · 0.25^(2/2)
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// `initial_learning_rate · decay_rate^(step / decay_steps)`
    ExponentialDecay {
        /// The rate of step 0.
        initial_learning_rate: f64,
        /// How many steps one factor takes.
        decay_steps: f64,
        /// The factor.
        decay_rate: f64,
        /// Whether the exponent is rounded down.
        staircase: bool,
    },
    /// `initial_learning_rate / (1 + decay_rate · step / decay_steps)`
    InverseTimeDecay {
        /// The rate of step 0.
        initial_learning_rate: f64,
        /// How often the decay is applied.
        decay_steps: f64,
        /// How strong it is.
        decay_rate: f64,
        /// Whether `step / decay_steps` is rounded down.
        staircase: bool,
    },
    /// One value up to and with each boundary, the last after them.
    PiecewiseConstantDecay {
        /// The last step of each value but the last.
        boundaries: Vec<f64>,
        /// One more than there are boundaries.
        values: Vec<f64>,
    },
    /// `(initial − end) · (1 − step / decay_steps)^power + end`
    PolynomialDecay {
        /// The rate of step 0.
        initial_learning_rate: f64,
        /// When the end is reached.
        decay_steps: f64,
        /// The rate from then on.
        end_learning_rate: f64,
        /// 1 is a straight line.
        power: f64,
        /// Whether it starts again, each time as long as from step 0 on.
        cycle: bool,
    },
    /// Half a cosine down, after a straight line up where `warmup_target` is set.
    CosineDecay {
        /// The rate of step 0.
        initial_learning_rate: f64,
        /// How long it falls.
        decay_steps: f64,
        /// What remains, as a part of where it fell from.
        alpha: f64,
        /// Where the line up ends.
        warmup_target: Option<f64>,
        /// How long it takes.
        warmup_steps: f64,
    },
    /// Half cosines down, one after the other. (SGDR, Loshchilov and Hutter, 2016.)
    CosineDecayRestarts {
        /// The rate of step 0.
        initial_learning_rate: f64,
        /// How long the first takes.
        first_decay_steps: f64,
        /// How much longer each next one takes.
        t_mul: f64,
        /// How much higher each next one starts.
        m_mul: f64,
        /// What remains, as a part of the rate of step 0.
        alpha: f64,
    },
}

const KNOWN: &[&str] = &[
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "CosineDecay",
    "CosineDecayRestarts",
];

impl Schedule {
    /// Reads what an optimizer's configuration has under `learning_rate`, where it is no number.
    ///
    /// # Errors
    /// When it is a user's own schedule, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("learning rate schedule", value)?;
        let initial_learning_rate = || object.number("initial_learning_rate");
        let positive = |key| match object.number(key)? {
            steps if steps > 0.0 => Ok(steps),
            _ => Err(object.invalid(key, "a number greater than 0")),
        };
        Ok(match object.name {
            "ExponentialDecay" => Self::ExponentialDecay {
                initial_learning_rate: initial_learning_rate()?,
                decay_steps: positive("decay_steps")?,
                decay_rate: object.number("decay_rate")?,
                staircase: object.bool_or("staircase", false)?,
            },
            "InverseTimeDecay" => Self::InverseTimeDecay {
                initial_learning_rate: initial_learning_rate()?,
                decay_steps: positive("decay_steps")?,
                decay_rate: object.number("decay_rate")?,
                staircase: object.bool_or("staircase", false)?,
            },
            "PiecewiseConstantDecay" => {
                let list = |key| {
                    let numbers = object.optional_numbers(key)?;
                    numbers.ok_or_else(|| object.missing(key))
                };
                let (boundaries, values) = (list("boundaries")?, list("values")?);
                if values.len() != boundaries.len() + 1 || boundaries.is_empty() {
                    let expected = "one more than there are boundaries, of which there is one";
                    return Err(object.invalid("values", expected));
                }
                Self::PiecewiseConstantDecay { boundaries, values }
            }
            "PolynomialDecay" => Self::PolynomialDecay {
                initial_learning_rate: initial_learning_rate()?,
                decay_steps: positive("decay_steps")?,
                end_learning_rate: object.number_or("end_learning_rate", 1e-4)?,
                power: object.number_or("power", 1.0)?,
                cycle: object.bool_or("cycle", false)?,
            },
            // Keras 2 has `CosineDecay` too, with the same options.
            "CosineDecay" => Self::CosineDecay {
                initial_learning_rate: initial_learning_rate()?,
                decay_steps: positive("decay_steps")?,
                alpha: object.number_or("alpha", 0.0)?,
                warmup_target: object.optional_number("warmup_target")?,
                warmup_steps: object.number_or("warmup_steps", 0.0)?,
            },
            "CosineDecayRestarts" => Self::CosineDecayRestarts {
                initial_learning_rate: initial_learning_rate()?,
                first_decay_steps: positive("first_decay_steps")?,
                t_mul: object.number_or("t_mul", 2.0)?,
                m_mul: object.number_or("m_mul", 1.0)?,
                alpha: object.number_or("alpha", 0.0)?,
            },
            other => return Err(TrainError::unknown("learning rate schedule", other, KNOWN)),
        })
    }

    /// The schedule as Keras 3 writes it.
    pub fn to_keras(&self) -> Value {
        let (class, config) = match self {
            Self::ExponentialDecay {
                initial_learning_rate,
                decay_steps,
                decay_rate,
                staircase,
            }
            | Self::InverseTimeDecay {
                initial_learning_rate,
                decay_steps,
                decay_rate,
                staircase,
            } => {
                let exponential = matches!(self, Self::ExponentialDecay { .. });
                let class = KNOWN[usize::from(!exponential)];
                let config = json!({
                    "initial_learning_rate": initial_learning_rate,
                    "decay_steps": whole(*decay_steps), "decay_rate": decay_rate,
                    "staircase": staircase, "name": class,
                });
                (class, config)
            }
            Self::PiecewiseConstantDecay { boundaries, values } => {
                let boundaries: Vec<Value> = boundaries.iter().map(|b| whole(*b)).collect();
                let config = json!({
                    "boundaries": boundaries, "values": values, "name": "PiecewiseConstant",
                });
                ("PiecewiseConstantDecay", config)
            }
            Self::PolynomialDecay {
                initial_learning_rate,
                decay_steps,
                end_learning_rate,
                power,
                cycle,
            } => {
                let config = json!({
                    "initial_learning_rate": initial_learning_rate,
                    "decay_steps": whole(*decay_steps), "end_learning_rate": end_learning_rate,
                    "power": power, "cycle": cycle, "name": "PolynomialDecay",
                });
                ("PolynomialDecay", config)
            }
            Self::CosineDecay {
                initial_learning_rate,
                decay_steps,
                alpha,
                warmup_target,
                warmup_steps,
            } => {
                let config = json!({
                    "initial_learning_rate": initial_learning_rate,
                    "decay_steps": whole(*decay_steps), "alpha": alpha, "name": "CosineDecay",
                    "warmup_target": warmup_target, "warmup_steps": whole(*warmup_steps),
                });
                ("CosineDecay", config)
            }
            Self::CosineDecayRestarts {
                initial_learning_rate,
                first_decay_steps,
                t_mul,
                m_mul,
                alpha,
            } => {
                let config = json!({
                    "initial_learning_rate": initial_learning_rate,
                    "first_decay_steps": whole(*first_decay_steps), "t_mul": t_mul,
                    "m_mul": m_mul, "alpha": alpha, "name": "SGDRDecay",
                });
                ("CosineDecayRestarts", config)
            }
        };
        written("keras.optimizers.schedules", class, config)
    }

    /// The learning rate of the step with this index, the first being 0.
    pub fn rate(&self, step: i64) -> f32 {
        let t = step as f32;
        match *self {
            Self::ExponentialDecay {
                initial_learning_rate,
                decay_steps,
                decay_rate,
                staircase,
            } => {
                let p = periods(t, decay_steps, staircase);
                initial_learning_rate as f32 * (decay_rate as f32).powf(p)
            }
            Self::InverseTimeDecay {
                initial_learning_rate,
                decay_steps,
                decay_rate,
                staircase,
            } => {
                let p = periods(t, decay_steps, staircase);
                initial_learning_rate as f32 / (1.0 + decay_rate as f32 * p)
            }
            Self::PiecewiseConstantDecay {
                ref boundaries,
                ref values,
            } => {
                let after = |boundary: &&f64| step > **boundary as i64;
                let passed = boundaries.iter().take_while(after).count();
                values.get(passed).copied().unwrap_or_default() as f32
            }
            Self::PolynomialDecay {
                initial_learning_rate,
                decay_steps,
                end_learning_rate,
                power,
                cycle,
            } => {
                let (start, end) = (initial_learning_rate as f32, end_learning_rate as f32);
                let steps = decay_steps as f32;
                let p = match cycle {
                    true => {
                        let rounds = if t == 0.0 { 1.0 } else { (t / steps).ceil() };
                        t / (steps * rounds)
                    }
                    false => t.min(steps) / steps,
                };
                (start - end) * (1.0 - p).powf(power as f32) + end
            }
            Self::CosineDecay {
                initial_learning_rate,
                decay_steps,
                alpha,
                warmup_target,
                warmup_steps,
            } => {
                let steps = decay_steps as f32;
                let start = initial_learning_rate as f32;
                let Some(target) = warmup_target else {
                    return start * half_cosine(t.min(steps) / steps, 1.0, alpha);
                };
                let (target, warmup) = (target as f32, warmup_steps as f32);
                let t = t.min(steps + warmup);
                if t < warmup {
                    return (target - start) * (t / warmup) + start;
                }
                target * half_cosine((t - warmup) / steps, 1.0, alpha)
            }
            Self::CosineDecayRestarts {
                initial_learning_rate,
                first_decay_steps,
                t_mul,
                m_mul,
                alpha,
            } => {
                let longer = t_mul as f32;
                let done = t / first_decay_steps as f32;
                let (restarts, part) = if longer == 1.0 {
                    (done.floor(), done - done.floor())
                } else {
                    let restarts = ((1.0 - done * (1.0 - longer)).ln() / longer.ln()).floor();
                    let before = (1.0 - longer.powf(restarts)) / (1.0 - longer);
                    (restarts, (done - before) / longer.powf(restarts))
                };
                let height = (m_mul as f32).powf(restarts);
                initial_learning_rate as f32 * half_cosine(part, height, alpha)
            }
        }
    }
}

fn periods(t: f32, decay_steps: f64, staircase: bool) -> f32 {
    let p = t / decay_steps as f32;
    if staircase { p.floor() } else { p }
}

/// From `height` at 0 to `alpha` at 1.
fn half_cosine(part: f32, height: f32, alpha: f64) -> f32 {
    let cosine = 0.5 * height * (1.0 + (std::f32::consts::PI * part).cos());
    (1.0 - alpha) as f32 * cosine + alpha as f32
}

/// A count, which Keras writes without a decimal point.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}
