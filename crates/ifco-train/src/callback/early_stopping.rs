//! Ending training when nothing gets better any more.

use super::{Logs, Monitor, logged};

/// Keras's `EarlyStopping`.
///
/// ```
/// use ifco_train::callback::{EarlyStopping, Mode, Monitor};
///
/// let monitor = Monitor::new("val_loss", Mode::Auto, 0.0, &[])?;
/// let mut stopping = EarlyStopping::new(monitor, 2); // patience
/// let stops = [1.0, 0.5, 0.6, 0.7].map(|loss| stopping.epoch(&[("val_loss", loss)]).stop);
/// assert_eq!(stops, [false, false, false, true]);
/// assert_eq!(stopping.best_epoch(), 1);
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopping {
    /// What is watched.
    pub monitor: Monitor,
    /// How many epochs may go by without getting better.
    pub patience: usize,
    /// What must be passed for the patience to start anew.
    pub baseline: Option<f64>,
    /// How many epochs are not looked at.
    pub start_from_epoch: usize,
    state: StoppingState,
}

/// What it has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StoppingState {
    /// How many epochs.
    pub epoch: usize,
    /// How many of them since it got better.
    pub wait: usize,
    /// The best value.
    pub best: Option<f64>,
    /// The epoch whose weights are the best, the first being 0.
    pub best_epoch: usize,
    /// Whether it has asked for weights to be kept.
    pub kept: bool,
}

/// What to do after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterEpoch {
    /// End training.
    pub stop: bool,
    /// Keep these weights, if the best are to be restored at the end: they are the best.
    pub keep_weights: bool,
}

impl EarlyStopping {
    /// Watches from the first epoch on, without a baseline.
    pub fn new(monitor: Monitor, patience: usize) -> Self {
        Self {
            monitor,
            patience,
            baseline: None,
            start_from_epoch: 0,
            state: StoppingState::default(),
        }
    }

    /// The epoch whose weights are the best, the first being 0.
    pub fn best_epoch(&self) -> usize {
        self.state.best_epoch
    }

    /// What it has seen so far, for a training that goes on later.
    pub fn state(&self) -> &StoppingState {
        &self.state
    }

    /// Goes on after what another has seen.
    pub fn resume(&mut self, state: StoppingState) {
        self.state = state;
    }

    /// The end of an epoch. One whose logs lack the watched value is passed over.
    pub fn epoch(&mut self, logs: &Logs<'_>) -> AfterEpoch {
        let state = &mut self.state;
        let epoch = state.epoch;
        state.epoch = epoch.saturating_add(1);
        let mut answer = AfterEpoch {
            stop: false,
            keep_weights: false,
        };
        let Some(current) = logged(logs, &self.monitor.name) else {
            return answer;
        };
        if epoch < self.start_from_epoch {
            return answer;
        }
        if !state.kept {
            // Something must be there to restore.
            (state.kept, state.best_epoch, answer.keep_weights) = (true, epoch, true);
        }
        state.wait = state.wait.saturating_add(1);
        if self.monitor.improves(current, state.best) {
            (state.best, state.best_epoch, answer.keep_weights) = (Some(current), epoch, true);
            if self.baseline.is_none() || self.monitor.improves(current, self.baseline) {
                state.wait = 0;
            }
            return answer;
        }
        answer.stop = state.wait >= self.patience && epoch > 0;
        answer
    }
}
