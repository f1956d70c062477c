//! What callbacks have seen of a training that will go on, as it is saved beside the weights.
//!
//! ```json
//! {"ifco": 1, "watched": "val_loss", "best": {"epoch": 3, "value": "0.25"},
//!  "early_stopping": {"epoch": 5, "wait": 1, "best": "0.25", "best_epoch": 3, "kept": true},
//!  "best_weights": "beside",
//!  "reduce_lr": {"wait": 1, "cooling": 0, "best": "0.25"},
//!  "epoch": {"samples": 64, "batches": 2, "total": "17.5", "each": ["0.5"]}}
//! ```
//!
//! Decimal numbers are texts, which Rust writes and reads to the bit.

use ifco_model::{Config, ConfigError, Generation};
use serde_json::{Value, json};

use super::{PlateauState, StoppingState};
use crate::RunningLoss;

/// What the callbacks of a training have seen so far.
///
/// ```
/// use ifco_train::callback::{EarlyStopping, Mode, Monitor, Progress};
///
/// let watch = || Monitor::new("val_loss", Mode::Auto, 0.0, &[]).map(|it| EarlyStopping::new(it, 2));
/// let mut stopping = watch()?;
/// stopping.epoch(&[("val_loss", 1.0)]);
/// stopping.epoch(&[("val_loss", 1.5)]);
/// let progress = Progress { stopping: Some(*stopping.state()), ..Progress::new("val_loss") };
///
/// let progress = Progress::from_json(&progress.to_json())?; // in another process
/// let mut resumed = watch()?;
/// resumed.resume(progress.stopping.expect("it was saved"));
/// assert!(resumed.epoch(&[("val_loss", 1.2)]).stop); // the second epoch without a better one
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The name in the logs of what they watch.
    pub watched: String,
    /// The epoch with the least of it, from 0, and that.
    pub best: Option<(usize, f64)>,
    /// Of [`EarlyStopping`](super::EarlyStopping).
    pub stopping: Option<StoppingState>,
    /// Where the weights are that it goes back to.
    pub best_weights: BestWeights,
    /// Of [`ReduceOnPlateau`](super::ReduceOnPlateau).
    pub plateau: Option<PlateauState>,
    /// What the steps of an epoch that has not ended have given.
    pub epoch: Option<RunningLoss>,
}

/// Where the best weights of a training are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BestWeights {
    /// Nobody asks for them.
    #[default]
    Unwanted,
    /// They are those that the training has come to.
    Last,
    /// They are others, saved beside.
    Beside,
}

impl Progress {
    /// Nothing seen yet of what is watched.
    pub fn new(watched: &str) -> Self {
        Self {
            watched: watched.into(),
            best: None,
            stopping: None,
            best_weights: BestWeights::Unwanted,
            plateau: None,
            epoch: None,
        }
    }

    /// As it is saved.
    pub fn to_json(&self) -> Value {
        let text = |value: f64| Value::String(format!("{value:?}"));
        let optional = |value: Option<f64>| value.map_or(Value::Null, text);
        json!({
            "ifco": 1,
            "watched": self.watched,
            "best": self.best.map(|(epoch, value)| json!({"epoch": epoch, "value": text(value)})),
            "early_stopping": self.stopping.map(|state| json!({
                "epoch": state.epoch,
                "wait": state.wait,
                "best": optional(state.best),
                "best_epoch": state.best_epoch,
                "kept": state.kept,
            })),
            "best_weights": match self.best_weights {
                BestWeights::Unwanted => Value::Null,
                BestWeights::Last => json!("last"),
                BestWeights::Beside => json!("beside"),
            },
            "reduce_lr": self.plateau.map(|state| json!({
                "wait": state.wait, "cooling": state.cooling, "best": optional(state.best),
            })),
            "epoch": self.epoch.as_ref().map(|loss| json!({
                "samples": loss.samples,
                "batches": loss.batches,
                "total": text(loss.total),
                "each": loss.each.iter().map(|each| text(*each)).collect::<Vec<_>>(),
            })),
        })
    }

    /// Reads what [`to_json`](Self::to_json) writes. It is not trusted: no list is longer than the
    /// JSON itself.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let whole = object("training", json)?;
        if whole.usize("ifco")? != 1 {
            return Err(whole.invalid("ifco", "1, the version that this ifco knows"));
        }
        let part = |key| whole.get(key).map(|value| object(key, value)).transpose();
        Ok(Self {
            watched: match whole.require("watched")?.as_str() {
                Some(name) => name.into(),
                None => return Err(whole.invalid("watched", "a name in the logs")),
            },
            best: match part("best")? {
                None => None,
                Some(best) => Some((best.usize("epoch")?, required(&best, "value")?)),
            },
            stopping: match part("early_stopping")? {
                None => None,
                Some(state) => Some(StoppingState {
                    epoch: state.usize("epoch")?,
                    wait: state.usize("wait")?,
                    best: decimal(&state, "best")?,
                    best_epoch: state.usize("best_epoch")?,
                    kept: state.bool_or("kept", false)?,
                }),
            },
            best_weights: match whole.optional_str("best_weights")? {
                None => BestWeights::Unwanted,
                Some("last") => BestWeights::Last,
                Some("beside") => BestWeights::Beside,
                Some(_) => return Err(whole.invalid("best_weights", "\"last\" or \"beside\"")),
            },
            plateau: match part("reduce_lr")? {
                None => None,
                Some(state) => Some(PlateauState {
                    wait: state.usize("wait")?,
                    cooling: state.usize("cooling")?,
                    best: decimal(&state, "best")?,
                }),
            },
            epoch: match part("epoch")? {
                None => None,
                Some(loss) => Some(RunningLoss {
                    samples: loss.usize("samples")?,
                    batches: loss.usize("batches")?,
                    total: required(&loss, "total")?,
                    each: each(&loss)?,
                }),
            },
        })
    }
}

fn object<'a>(name: &'a str, value: &'a Value) -> Result<Config<'a>, ConfigError> {
    Config::new(name, Generation::Keras3, value)
}

/// A decimal number as a text, which may be absent.
fn decimal(config: &Config<'_>, key: &str) -> Result<Option<f64>, ConfigError> {
    let Some(value) = config.get(key) else {
        return Ok(None);
    };
    let number = read(value).ok_or_else(|| config.invalid(key, "a decimal number in a text"))?;
    Ok(Some(number))
}

fn required(config: &Config<'_>, key: &str) -> Result<f64, ConfigError> {
    decimal(config, key)?.ok_or_else(|| config.missing(key))
}

fn each(config: &Config<'_>) -> Result<Vec<f64>, ConfigError> {
    let all = config.require("each")?.as_array();
    let all: Option<Vec<f64>> = all.and_then(|all| all.iter().map(read).collect());
    all.ok_or_else(|| config.invalid("each", "decimal numbers in texts"))
}

fn read(value: &Value) -> Option<f64> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_to_the_bit() {
        let progress = Progress {
            best: Some((3, 0.1 + 0.2)),
            stopping: Some(StoppingState {
                epoch: 5,
                wait: 1,
                best: Some(f64::MIN_POSITIVE),
                best_epoch: 3,
                kept: true,
            }),
            best_weights: BestWeights::Beside,
            plateau: Some(PlateauState {
                wait: 2,
                cooling: 1,
                best: Some(f64::INFINITY),
            }),
            epoch: Some(RunningLoss {
                samples: 7,
                batches: 1,
                total: 1.0 / 3.0,
                each: vec![-0.0, 1e300],
            }),
            ..Progress::new("val_loss")
        };
        let text = progress.to_json().to_string();
        let json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(Progress::from_json(&json), Ok(progress));
        let nothing = Progress::new("loss");
        assert_eq!(Progress::from_json(&nothing.to_json()), Ok(nothing));
    }

    #[test]
    fn errors_name_the_place() {
        let good = Progress::new("loss").to_json();
        for (key, value, named) in [
            ("ifco", json!(2), "\"ifco\" is 2"),
            ("watched", json!(null), "no \"watched\""),
            (
                "best",
                json!({"epoch": -1, "value": "1"}),
                "\"epoch\" is -1",
            ),
            (
                "best",
                json!({"epoch": 1, "value": 0.5}),
                "\"value\" is 0.5",
            ),
            ("best_weights", json!("here"), "best_weights"),
            ("reduce_lr", json!([]), "reduce_lr"),
            (
                "epoch",
                json!({"samples": 1, "batches": 1, "total": "1", "each": [1]}),
                "each",
            ),
        ] {
            let mut json = good.clone();
            json[key] = value;
            let error = Progress::from_json(&json).expect_err(key).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
