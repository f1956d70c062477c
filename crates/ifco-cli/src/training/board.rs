//! `--tensorboard`: what Keras's `TensorBoard` callback writes of each epoch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ifco::train::callback::{EventLog, Logs};

use crate::failure::Failure;

/// A folder with `train` and, once something is validated, `validation`.
pub struct Board {
    folder: PathBuf,
    train: EventLog<File>,
    validation: Option<EventLog<File>>,
}

impl Board {
    pub fn begin(folder: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(folder) = folder else {
            return Ok(None);
        };
        Ok(Some(Self {
            folder: folder.into(),
            train: start(folder, "train")?,
            validation: None,
        }))
    }

    pub fn epoch(&mut self, epoch: usize, logs: &Logs<'_>) -> Result<(), Failure> {
        let (validation, train): (Vec<_>, Vec<_>) =
            logs.iter().partition(|(name, _)| name.starts_with("val_"));
        let failed = |error| Failure::new(error).at_file(&self.folder);
        let epoch = epoch as u64;
        self.train.epoch(epoch, &train, now()).map_err(failed)?;
        if validation.is_empty() {
            return Ok(());
        }
        let log = match &mut self.validation {
            Some(log) => log,
            none => none.insert(start(&self.folder, "validation")?),
        };
        log.epoch(epoch, &validation, now()).map_err(failed)
    }
}

/// A file of events of its own, so that one that goes on adds to those before.
fn start(folder: &Path, part: &str) -> Result<EventLog<File>, Failure> {
    let folder = folder.join(part);
    let failed = |error| Failure::new(error).at_file(&folder);
    fs::create_dir_all(&folder).map_err(failed)?;
    let now = now();
    // TensorBoard reads them in the order of their names.
    let name = format!(
        "events.out.tfevents.{now:.3}.ifco.{}.v2",
        std::process::id()
    );
    let file = File::create_new(folder.join(name)).map_err(failed)?;
    EventLog::start(file, now).map_err(failed)
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
