//! When to save the model, and under which name.

use super::{Logs, Monitor, logged};
use crate::TrainError;

/// When a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveFrequency {
    /// At the end of each epoch.
    Epoch,
    /// After so many batches.
    Batches(usize),
}

/// Keras's `ModelCheckpoint`: it says when to save and where; saving is the caller's.
///
/// ```
/// use ifco_train::callback::{Checkpoint, Mode, Monitor};
///
/// let mut checkpoint = Checkpoint::new("at-{epoch:02d}-{val_loss:.2f}.keras");
/// checkpoint.best_only = Some(Monitor::new("val_loss", Mode::Auto, 0.0, &[])?);
/// assert_eq!(checkpoint.epoch(0, &[("val_loss", 0.5)])?, Some("at-01-0.50.keras".into()));
/// assert_eq!(checkpoint.epoch(1, &[("val_loss", 0.75)])?, None);
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The file's name, with `{epoch}`, `{batch}` and the logs' names in it as in Python.
    pub path: String,
    /// When a checkpoint is due.
    pub frequency: SaveFrequency,
    /// What must have got better for it.
    pub best_only: Option<Monitor>,
    /// The best so far, or what the first must be better than (`initial_value_threshold`).
    pub best: Option<f64>,
    seen: usize,
    last_batch: Option<usize>,
}

impl Checkpoint {
    /// After every epoch, whether better or not.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            frequency: SaveFrequency::Epoch,
            best_only: None,
            best: None,
            seen: 0,
            last_batch: None,
        }
    }

    /// The end of a batch, both counted from 0: where to save, if a checkpoint is due.
    ///
    /// # Errors
    /// When the path asks for what the logs lack.
    pub fn batch(
        &mut self,
        epoch: usize,
        batch: usize,
        logs: &Logs<'_>,
    ) -> Result<Option<String>, TrainError> {
        let SaveFrequency::Batches(every) = self.frequency else {
            return Ok(None);
        };
        self.seen += match self.last_batch {
            Some(last) if batch > last => batch - last,
            _ => batch + 1, // a new epoch
        };
        self.last_batch = Some(batch);
        if self.seen < every {
            return Ok(None);
        }
        self.seen = 0;
        self.save(epoch, Some(batch), logs)
    }

    /// The end of an epoch, counted from 0: where to save, if a checkpoint is due.
    ///
    /// # Errors
    /// When the path asks for what the logs lack.
    pub fn epoch(&mut self, epoch: usize, logs: &Logs<'_>) -> Result<Option<String>, TrainError> {
        match self.frequency {
            SaveFrequency::Epoch => self.save(epoch, None, logs),
            SaveFrequency::Batches(_) => Ok(None),
        }
    }

    fn save(
        &mut self,
        epoch: usize,
        batch: Option<usize>,
        logs: &Logs<'_>,
    ) -> Result<Option<String>, TrainError> {
        let path = self.filled(epoch, batch, logs)?;
        let Some(monitor) = &self.best_only else {
            return Ok(Some(path));
        };
        // As Keras: what cannot be compared is saved.
        let Some(current) = logged(logs, &monitor.name) else {
            return Ok(Some(path));
        };
        if !monitor.improves(current, self.best) {
            return Ok(None);
        }
        self.best = Some(current);
        Ok(Some(path))
    }

    /// The path with its fields filled in; epochs and batches count from 1 there.
    fn filled(
        &self,
        epoch: usize,
        batch: Option<usize>,
        logs: &Logs<'_>,
    ) -> Result<String, TrainError> {
        let wrong = |field: &str, why: &str| {
            TrainError::Parameters(format!(
                "cannot name a checkpoint {:?}: {{{field}}} {why}",
                self.path
            ))
        };
        let mut path = String::new();
        let mut rest = self.path.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            path.push_str(before);
            let (field, after) = after
                .split_once('}')
                .ok_or_else(|| wrong(after, "has no end"))?;
            let (name, format) = field.split_once(':').unwrap_or((field, ""));
            let whole = match name {
                "epoch" => Some(epoch + 1),
                "batch" => batch.map(|batch| batch + 1),
                _ => None,
            };
            let text = match (whole, logged(logs, name)) {
                (Some(count), _) => whole_number(count, format),
                (None, Some(value)) => decimal(value, format),
                (None, None) => return Err(wrong(field, "is not in the logs")),
            };
            path.push_str(&text.ok_or_else(|| wrong(field, "has a format other than 02d or .3f"))?);
            rest = after;
        }
        path.push_str(rest);
        Ok(path)
    }
}

/// The longest field there can be: a name of a file is not longer either.
const WIDEST: usize = 200;

/// `d`, `3d`, `03d`, or nothing.
fn whole_number(count: usize, format: &str) -> Option<String> {
    let digits = format.strip_suffix('d').unwrap_or(format);
    padded(count.to_string(), digits)
}

/// `.2f`, `08.2f`, or nothing.
fn decimal(value: f64, format: &str) -> Option<String> {
    if format.is_empty() {
        return Some(super::csv_log::python(value));
    }
    let (width, places) = format.strip_suffix('f')?.split_once('.')?;
    let places: usize = places.parse().ok().filter(|places| *places <= WIDEST)?;
    padded(format!("{value:.places$}"), width)
}

fn padded(text: String, width: &str) -> Option<String> {
    if width.is_empty() {
        return Some(text);
    }
    let zeros = width.starts_with('0');
    let width: usize = width.parse().ok().filter(|width| *width <= WIDEST)?;
    Some(if zeros {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    })
}
