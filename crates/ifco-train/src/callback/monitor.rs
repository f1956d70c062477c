//! One value that is watched, and whether it got better.

use crate::{Direction, TrainError};

/// Which way a watched value gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The loss gets better downwards, a metric as it says itself.
    #[default]
    Auto,
    /// Less is better.
    Min,
    /// More is better.
    Max,
}

/// One value that is watched.
///
/// ```
/// use ifco_train::callback::{Mode, Monitor};
///
/// let mut monitor = Monitor::new("val_loss", Mode::Auto, 0.1, &[])?;
/// assert!(monitor.improves(1.0, None)); // nothing to compare with yet
/// assert!(!monitor.improves(0.95, Some(1.0))); // not by 0.1
/// assert!(monitor.improves(0.85, Some(1.0)));
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// The name in the logs.
    pub name: String,
    direction: Direction,
    /// By how much a value must be better.
    min_delta: f64,
}

impl Monitor {
    /// Watches `name`. `directions` are those of the model's metrics by their names, without
    /// `val_`.
    ///
    /// # Errors
    /// When the mode is `Auto` and no metric of that name knows which way is better.
    pub fn new(
        name: &str,
        mode: Mode,
        min_delta: f64,
        directions: &[(&str, Direction)],
    ) -> Result<Self, TrainError> {
        let plain = name.strip_prefix("val_").unwrap_or(name);
        let known = directions.iter().find(|(metric, _)| *metric == plain);
        let direction = match (mode, known) {
            (Mode::Min, _) => Direction::Down,
            (Mode::Max, _) => Direction::Up,
            (Mode::Auto, Some((_, direction))) => *direction,
            (Mode::Auto, None) if plain == "loss" => Direction::Down,
            (Mode::Auto, None) => {
                return Err(TrainError::Parameters(format!(
                    "has no metric {name:?} that says which way is better: give the mode min or max"
                )));
            }
        };
        Ok(Self {
            name: name.into(),
            direction,
            min_delta: min_delta.abs(),
        })
    }

    /// Whether `value` is better than `reference` by the least difference; anything is better
    /// than nothing. Compared in f32, as Keras does.
    pub fn improves(&self, value: f64, reference: Option<f64>) -> bool {
        let Some(reference) = reference else {
            return true;
        };
        match self.direction {
            Direction::Down => ((value + self.min_delta) as f32) < reference as f32,
            Direction::Up => (value - self.min_delta) as f32 > reference as f32,
        }
    }
}
