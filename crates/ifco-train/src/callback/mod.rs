//! Callbacks as state machines: told what an epoch gave, they answer what to do.

mod checkpoint;
mod csv_log;
mod early_stopping;
mod monitor;
mod plateau;
mod progress;
mod tensorboard;

pub use checkpoint::{Checkpoint, SaveFrequency};
pub use csv_log::CsvLog;
pub use early_stopping::{AfterEpoch, EarlyStopping, StoppingState};
pub use monitor::{Mode, Monitor};
pub use plateau::{PlateauState, ReduceOnPlateau};
pub use progress::{BestWeights, Progress};
pub use tensorboard::EventLog;

/// What an epoch or a batch gave: names such as `loss` and `val_accuracy`, and their values.
pub type Logs<'a> = [(&'a str, f64)];

/// The value of this name.
pub(crate) fn logged(logs: &Logs<'_>, name: &str) -> Option<f64> {
    let found = logs.iter().find(|(own, _)| *own == name);
    found.map(|(_, value)| *value)
}

/// Whether training must end because the loss is no number any more, as Keras's `TerminateOnNaN`
/// asks after each batch.
///
/// ```
/// assert!(ifco_train::callback::is_lost(&[("loss", f64::NAN)]));
/// assert!(!ifco_train::callback::is_lost(&[("loss", 0.5)]));
/// ```
pub fn is_lost(logs: &Logs<'_>) -> bool {
    logged(logs, "loss").is_some_and(|loss| !loss.is_finite())
}
