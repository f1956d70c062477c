//! Lowering the learning rate when nothing gets better any more.

use super::{Logs, Monitor, logged};

/// Keras's `ReduceLROnPlateau`; its monitor's least difference is 1e-4 unless told otherwise.
///
/// ```
/// use ifco_train::callback::{Mode, Monitor, ReduceOnPlateau};
///
/// let monitor = Monitor::new("loss", Mode::Auto, 1e-4, &[])?;
/// let mut plateau = ReduceOnPlateau::new(monitor, 0.5, 2); // factor, patience
/// let rates = [1.0, 1.0, 1.0].map(|loss| plateau.epoch(&[("loss", loss)], 0.25));
/// assert_eq!(rates, [None, None, Some(0.125)]);
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceOnPlateau {
    /// What is watched.
    pub monitor: Monitor,
    /// What the learning rate is multiplied by; less than 1.
    pub factor: f64,
    /// How many epochs may go by without getting better.
    pub patience: usize,
    /// How many epochs are waited after lowering.
    pub cooldown: usize,
    /// The lowest learning rate.
    pub min_lr: f64,
    wait: usize,
    cooling: usize,
    best: Option<f64>,
}

impl ReduceOnPlateau {
    /// Without cooldown, down to 0.
    pub fn new(monitor: Monitor, factor: f64, patience: usize) -> Self {
        Self {
            monitor,
            factor,
            patience,
            cooldown: 0,
            min_lr: 0.0,
            wait: 0,
            cooling: 0,
            best: None,
        }
    }

    /// The end of an epoch with this learning rate: the new one, if it changes.
    pub fn epoch(&mut self, logs: &Logs<'_>, learning_rate: f32) -> Option<f32> {
        let current = match self.monitor.name.as_str() {
            "learning_rate" => Some(f64::from(learning_rate)),
            name => logged(logs, name),
        }?;
        if self.cooling > 0 {
            self.cooling -= 1;
            self.wait = 0;
        }
        if self.monitor.improves(current, self.best) {
            (self.best, self.wait) = (Some(current), 0);
            return None;
        }
        if self.cooling > 0 {
            return None;
        }
        self.wait += 1;
        if self.wait < self.patience || learning_rate <= self.min_lr as f32 {
            return None;
        }
        (self.cooling, self.wait) = (self.cooldown, 0);
        Some((f64::from(learning_rate) * self.factor).max(self.min_lr) as f32)
    }
}
