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
    epoch: usize,
    wait: usize,
    best: Option<f64>,
    best_epoch: usize,
    kept: bool,
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
            epoch: 0,
            wait: 0,
            best: None,
            best_epoch: 0,
            kept: false,
        }
    }

    /// The epoch whose weights are the best, the first being 0.
    pub fn best_epoch(&self) -> usize {
        self.best_epoch
    }

    /// The end of an epoch. One whose logs lack the watched value is passed over.
    pub fn epoch(&mut self, logs: &Logs<'_>) -> AfterEpoch {
        let epoch = self.epoch;
        self.epoch += 1;
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
        if !self.kept {
            // Something must be there to restore.
            (self.kept, self.best_epoch, answer.keep_weights) = (true, epoch, true);
        }
        self.wait += 1;
        if self.monitor.improves(current, self.best) {
            (self.best, self.best_epoch, answer.keep_weights) = (Some(current), epoch, true);
            if self.baseline.is_none() || self.monitor.improves(current, self.baseline) {
                self.wait = 0;
            }
            return answer;
        }
        answer.stop = self.wait >= self.patience && epoch > 0;
        answer
    }
}
