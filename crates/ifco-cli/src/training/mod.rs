//! Training while somebody looks on: what `ifco train` and `ifco fit` do alike.

mod board;

mod records;
mod watch;

use std::path::Path;

use ifco::train::{FitError, StateValue, TrainError, Trainer};
use ifco::view::plot::History;
use ifco::{Begun, Model, SaveOptions};

use crate::failure::Failure;
use crate::interrupt;

pub use records::Records;
pub use watch::{Plan, Watcher};

/// What a training has come to.
pub struct Finished {
    /// The model as it is saved.
    pub model: Model,
    /// Steps of the optimizer, those before this training included.
    pub steps: i64,
    /// Epochs made to their end.
    pub epochs: usize,
    /// The epoch with the least of what was watched, from 0, and that.
    pub best: Option<(usize, f64)>,
    /// The epoch and the step after which Ctrl-C ended it, from 0.
    pub stopped: Option<(usize, usize)>,
    /// What was logged of each epoch.
    pub history: History,
}

/// Saves the trained model, with the best weights where early stopping kept them.
/// `best_if_stopped` says whether also after Ctrl-C: who wants to go on needs the last.
pub fn finish(
    mut trainer: Trainer,
    mut watcher: Watcher<'_>,
    best_if_stopped: bool,
) -> Result<Finished, Failure> {
    watcher.progress = None;
    if let Some(failure) = watcher.failure.take() {
        return Err(failure);
    }
    if watcher.is_lost {
        let kept = match watcher.plan.output.exists() {
            true => "; OUT is as it was saved last",
            false => "; nothing was saved",
        };
        let what = format!("the loss is no number any more{kept}");
        return Err(Failure::new(what).help("a smaller --learning-rate, or look at the data"));
    }
    let steps = trainer.optimizer().iterations();
    let optimizer = remembered(&mut trainer);
    let stopped = watcher.stopped;
    let restores = stopped.is_none() || best_if_stopped;
    // Whoever goes on goes on from the last weights.
    let are_last = !restores || watcher.best_weights.is_none() || watcher.best_is_last;
    let left = match are_last && !best_if_stopped {
        true => watcher.left(
            watcher
                .within_epoch()
                .then(|| trainer.running_loss().clone()),
        ),
        false => None,
    };
    let mut model = trainer.into_model()?;
    if let Some(weights) = watcher.best_weights.take().filter(|_| restores) {
        model.set_weights(weights)?;
    }
    let saving = going_on(watcher.plan.saving, left);
    save(&model, saving, optimizer, watcher.plan.output)?;
    Ok(Finished {
        model,
        steps,
        epochs: watcher.made,
        best: watcher.best,
        stopped,
        history: watcher.history,
    })
}

/// What the optimizer remembers, as it is saved.
fn remembered(trainer: &mut Trainer) -> Vec<StateValue> {
    let variables = trainer.optimizer().variables().into_iter();
    variables.map(|variable| variable.value).collect()
}

/// With what a training has seen that goes on later.
fn going_on(saving: SaveOptions, left: Option<Begun>) -> SaveOptions {
    match left {
        Some((progress, best_weights)) => saving.progress(progress, best_weights),
        None => saving,
    }
}

/// Saves a trained model with all that training needs to go on. The file is there whole or not at
/// all.
fn save(
    model: &Model,
    saving: SaveOptions,
    optimizer: Vec<StateValue>,
    path: &Path,
) -> Result<(), Failure> {
    let saved = saving.optimizer(optimizer).to_bytes(model, path)?;
    interrupt::write_whole(|| saved.write(path))?;
    Ok(())
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Failure::new(error)
    }
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Model(error) => error.into(),
            error => Failure::new(error),
        }
    }
}
