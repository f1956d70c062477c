//! Looking on while a model is trained: what is told, kept and saved, and when it ends.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ifco::train::callback::{CsvLog, EarlyStopping, Logs, ReduceOnPlateau};
use ifco::train::{FitError, StepMade, Trainer, Watch};
use ifco::view::plot::History;
use indicatif::HumanDuration;
use ndarray::ArrayD;
use serde_json::{Map, Value, json};

use super::board::Board;
use super::{Args, remembered, save};
use crate::failure::Failure;
use crate::output::{json_number, print, short};
use crate::progress::Progress;

pub struct Watcher<'a> {
    pub args: &'a Args,
    /// What the model is saved with.
    pub config: Value,
    /// What says which epoch is the best: `val_loss`, or `loss`.
    pub watched: &'static str,
    pub stopping: Option<EarlyStopping>,
    pub plateau: Option<ReduceOnPlateau>,
    pub log: Option<Log>,
    /// Whether Ctrl-C was pressed.
    pub stop: &'static AtomicBool,
    /// The epoch with the least of what is watched.
    pub best: Option<(usize, f64)>,
    /// The weights after it, where they will be gone back to.
    pub best_weights: Option<Vec<ArrayD<f32>>>,
    pub progress: Option<Progress>,
    /// When it all began, and how many steps were made since.
    pub begun: Instant,
    pub steps: u32,
    /// What was logged so far.
    pub history: History,
    pub board: Option<Board>,
    /// Of the epoch.
    pub start: Instant,
    /// The epoch and the step after which Ctrl-C ended it.
    pub stopped: Option<(usize, usize)>,
    /// Whether the loss is no number any more.
    pub is_lost: bool,
    /// What went wrong in telling or saving.
    pub failure: Option<Failure>,
}

impl Watch for Watcher<'_> {
    fn step(&mut self, trainer: &Trainer, made: &StepMade) -> bool {
        if !made.loss.is_finite() {
            self.is_lost = true;
            return false;
        }
        let steps = made.steps as u64;
        self.steps += 1;
        let (epochs, begun, done) = (self.args.epochs, self.begun, self.steps);
        let progress = self.progress.get_or_insert_with(|| {
            let name = format!("epoch {}/{epochs}", made.epoch + 1);
            Progress::new(steps, "steps").named(name)
        });
        progress.tell(made.step as u64 + 1, || {
            let logs = trainer.logs();
            let mut words: Vec<String> = logs
                .iter()
                .map(|(name, value)| format!("{name} {}", short(*value)))
                .collect();
            let left = (epochs - made.epoch) * made.steps - made.step - 1;
            if made.epoch + 1 < epochs {
                let each = begun.elapsed() / done.max(1);
                let left = each.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
                words.push(format!("({} for all epochs)", HumanDuration(left)));
            }
            words.join("  ")
        });
        if self.stop.load(Ordering::Relaxed) {
            self.stopped = Some((made.epoch, made.step));
            return false;
        }
        true
    }

    fn epoch(
        &mut self,
        trainer: &mut Trainer,
        epoch: usize,
        logs: &Logs<'_>,
    ) -> Result<bool, FitError> {
        self.progress = None;
        match self.after(trainer, epoch, logs) {
            Ok(goes_on) => {
                self.start = Instant::now();
                Ok(goes_on)
            }
            Err(failure) => {
                self.failure = Some(failure);
                Ok(false)
            }
        }
    }
}

impl Watcher<'_> {
    fn after(
        &mut self,
        trainer: &mut Trainer,
        epoch: usize,
        logs: &Logs<'_>,
    ) -> Result<bool, Failure> {
        self.tell(epoch, logs)?;
        if let Some(log) = &mut self.log {
            log.epoch(epoch, logs)?;
        }
        if let Some(board) = &mut self.board {
            board.epoch(epoch, logs)?;
        }
        self.keep(epoch, logs);
        let watched = logs.iter().find(|(name, _)| *name == self.watched);
        if let Some((_, value)) = watched
            && self.best.is_none_or(|(_, best)| *value < best)
        {
            self.best = Some((epoch, *value));
        }
        if let Some(plateau) = &mut self.plateau {
            let rate = trainer.optimizer().learning_rate();
            if let Some(rate) = plateau.epoch(logs, rate) {
                trainer.optimizer().set_learning_rate(rate)?;
            }
        }
        let mut goes_on = true;
        if let Some(stopping) = &mut self.stopping {
            let answer = stopping.epoch(logs);
            if answer.keep_weights {
                self.best_weights = trainer.model()?.weights();
            }
            goes_on = !answer.stop;
        }
        let is_due = |every: std::num::NonZeroUsize| (epoch + 1).is_multiple_of(every.get());
        if goes_on && self.args.checkpoint_every.is_some_and(is_due) {
            let optimizer = remembered(trainer);
            let config = self.config.clone();
            save(trainer.model()?, config, optimizer, &self.args.output)?;
        }
        Ok(goes_on)
    }

    /// For the picture of the curves.
    fn keep(&mut self, epoch: usize, logs: &Logs<'_>) {
        let history = &mut self.history;
        if history.logs.is_empty() {
            history.first_epoch = epoch + 1;
            let names = logs
                .iter()
                .map(|(name, _)| ((*name).to_string(), Vec::new()));
            history.logs = names.collect();
        }
        // Every epoch logs the same.
        for ((_, values), (_, value)) in history.logs.iter_mut().zip(logs) {
            values.push(*value);
        }
    }

    /// A line for the epoch.
    fn tell(&self, epoch: usize, logs: &Logs<'_>) -> Result<(), Failure> {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.args.json {
            let logs = logs
                .iter()
                .map(|(name, value)| ((*name).into(), json_number(*value)));
            let line = json!({
                "epoch": epoch + 1,
                "epochs": self.args.epochs,
                "seconds": seconds,
                "logs": logs.collect::<Map<_, _>>(),
            });
            return print(&format!("{line}\n"));
        }
        let logs = logs
            .iter()
            .map(|(name, value)| format!("{name} {}", short(*value)));
        let logs: Vec<String> = logs.collect();
        print(&format!(
            "epoch {}/{}  {}  {seconds:.1} s\n",
            epoch + 1,
            self.args.epochs,
            logs.join("  ")
        ))
    }
}

/// Keras's `CSVLogger`, and its file.
pub struct Log {
    lines: CsvLog,
    file: File,
}

impl Log {
    /// A new file, or one that goes on.
    pub fn begin(path: Option<&Path>, goes_on: bool) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let appends = goes_on && path.exists();
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        options.append(appends).truncate(!appends);
        let file = options
            .open(path)
            .map_err(|error| Failure::new(error).at_file(path))?;
        Ok(Some(Self {
            lines: match appends {
                true => CsvLog::appending(','),
                false => CsvLog::new(','),
            },
            file,
        }))
    }

    fn epoch(&mut self, epoch: usize, logs: &Logs<'_>) -> Result<(), Failure> {
        let written = self.lines.epoch(epoch, logs, &mut self.file);
        written.map_err(|error| Failure::new(format_args!("the log cannot be written: {error}")))
    }
}
