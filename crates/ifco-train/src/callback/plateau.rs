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
    state: PlateauState,
}

/// What it has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlateauState {
    /// How many epochs since it got better or the rate was lowered.
    pub wait: usize,
    /// How many epochs are still waited after lowering.
    pub cooling: usize,
    /// The best value.
    pub best: Option<f64>,
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
            state: PlateauState::default(),
        }
    }

    /// What it has seen so far, for a training that goes on later.
    pub fn state(&self) -> &PlateauState {
        &self.state
    }

    /// Goes on after what another has seen.
    pub fn resume(&mut self, state: PlateauState) {
        self.state = state;
    }

    /// The end of an epoch with this learning rate: the new one, if it changes.
    pub fn epoch(&mut self, logs: &Logs<'_>, learning_rate: f32) -> Option<f32> {
        let current = match self.monitor.name.as_str() {
            "learning_rate" => Some(f64::from(learning_rate)),
            name => logged(logs, name),
        }?;
        let state = &mut self.state;
        if state.cooling > 0 {
            state.cooling -= 1;
            state.wait = 0;
        }
        if self.monitor.improves(current, state.best) {
            (state.best, state.wait) = (Some(current), 0);
            return None;
        }
        if state.cooling > 0 {
            return None;
        }
        state.wait = state.wait.saturating_add(1);
        if state.wait < self.patience || learning_rate <= self.min_lr as f32 {
            return None;
        }
        (state.cooling, state.wait) = (self.cooldown, 0);
        Some((f64::from(learning_rate) * self.factor).max(self.min_lr) as f32)
    }
}
