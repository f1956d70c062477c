//! Looking on while a model is trained: what is told, kept and saved, and when it ends.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ifco::train::callback::{
    BestWeights, CsvLog, EarlyStopping, Logs, Mode, Monitor, Progress, ReduceOnPlateau,
};
use ifco::train::{FitError, RunningLoss, StepMade, Trainer, Watch};
use ifco::view::plot::History;
use ifco::{Begun, SaveOptions};
use indicatif::HumanDuration;
use ndarray::ArrayD;
use serde_json::{Map, json};

use super::board::Board;
use super::{Records, going_on, remembered, save};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{json_number, print, short};
use crate::precision::note;
use crate::progress;

/// What shall be done beside making steps.
pub struct Plan<'a> {
    /// Where the model is saved.
    pub output: &'a Path,
    /// What it is saved with.
    pub saving: SaveOptions,
    /// What says which epoch is the best: `val_loss`, or `loss`.
    pub watched: &'static str,
    pub epochs: usize,
    /// After how many epochs without a better one training ends.
    pub early_stopping: Option<usize>,
    /// After how many the learning rate is lowered.
    pub reduce_lr: Option<usize>,
    pub checkpoint_every: Option<NonZeroUsize>,
    pub records: &'a Records,
    /// Whether it goes on with what a training before it left.
    pub goes_on: bool,
    /// What that one's callbacks have seen, and its best weights.
    pub begun: Option<Begun>,
    pub json: bool,
}

pub struct Watcher<'a> {
    pub(super) plan: Plan<'a>,
    stopping: Option<EarlyStopping>,
    plateau: Option<ReduceOnPlateau>,
    log: Option<Log>,
    /// Whether Ctrl-C was pressed.
    stop: &'static AtomicBool,
    /// The epoch with the least of what is watched.
    pub(super) best: Option<(usize, f64)>,
    /// The weights after it, where they will be gone back to.
    pub(super) best_weights: Option<Vec<ArrayD<f32>>>,
    /// Whether no step has been made since.
    pub(super) best_is_last: bool,
    pub(super) progress: Option<progress::Progress>,
    /// When it all began, and how many steps were made since.
    begun: Instant,
    steps: u32,
    /// The last one's number in its epoch, from 0.
    last_step: usize,
    /// Whether its epoch has come to its end.
    ended: bool,
    /// What was logged so far.
    pub(super) history: History,
    board: Option<Board>,
    /// Of the epoch.
    start: Instant,
    /// How many epochs were made to their end.
    pub(super) made: usize,
    /// The epoch and the step after which Ctrl-C ended it.
    pub(super) stopped: Option<(usize, usize)>,
    /// Whether the loss is no number any more.
    pub(super) is_lost: bool,
    /// What went wrong in telling or saving.
    pub(super) failure: Option<Failure>,
}

impl<'a> Watcher<'a> {
    /// From here on Ctrl-C ends the training after a step.
    pub fn begin(mut plan: Plan<'a>) -> Result<Self, Failure> {
        let begun = plan.begun.take();
        let monitor = |least| Monitor::new(plan.watched, Mode::Auto, least, &[]);
        let mut watcher = Self {
            stopping: match plan.early_stopping {
                Some(patience) => Some(EarlyStopping::new(monitor(0.0)?, patience)),
                None => None,
            },
            plateau: match plan.reduce_lr {
                Some(patience) => Some(ReduceOnPlateau::new(monitor(1e-4)?, 0.1, patience)),
                None => None,
            },
            log: Log::begin(plan.records.csv_log.as_deref(), plan.goes_on)?,
            stop: interrupt::watch(),
            best: None,
            best_weights: None,
            best_is_last: false,
            progress: None,
            begun: Instant::now(),
            steps: 0,
            last_step: 0,
            ended: true,
            history: History::default(),
            board: Board::begin(plan.records.tensorboard.as_deref())?,
            start: Instant::now(),
            made: 0,
            stopped: None,
            is_lost: false,
            failure: None,
            plan,
        };
        if let Some((progress, best)) = begun {
            watcher.go_on(&progress, best);
        }
        Ok(watcher)
    }

    /// Goes on with what the callbacks have seen in the training before.
    fn go_on(&mut self, progress: &Progress, best: Option<Vec<ArrayD<f32>>>) {
        if progress.watched != self.plan.watched {
            note(format_args!(
                "note: what callbacks have seen begins anew, since they watched {} before",
                progress.watched
            ));
            return;
        }
        self.best = progress.best;
        if let (Some(plateau), Some(state)) = (&mut self.plateau, progress.plateau) {
            plateau.resume(state);
        }
        // Without the weights to go back to there is nothing to go on with.
        if let (Some(stopping), Some(state), Some(best)) =
            (&mut self.stopping, progress.stopping, best)
        {
            stopping.resume(state);
            self.best_weights = Some(best);
            self.best_is_last = progress.best_weights == BestWeights::Last;
        }
    }

    /// What a training is saved with that goes on from here, after an epoch or within one; nothing
    /// where no callback has seen anything.
    pub(super) fn left(&self, epoch: Option<RunningLoss>) -> Option<Begun> {
        let best_weights = match (&self.best_weights, self.best_is_last) {
            (None, _) => BestWeights::Unwanted,
            (Some(_), true) => BestWeights::Last,
            (Some(_), false) => BestWeights::Beside,
        };
        let progress = Progress {
            best: self.best,
            stopping: self.stopping.as_ref().map(|stopping| *stopping.state()),
            best_weights,
            plateau: self.plateau.as_ref().map(|plateau| *plateau.state()),
            epoch,
            ..Progress::new(self.plan.watched)
        };
        let has_seen = progress.stopping.is_some() || progress.plateau.is_some();
        let beside = self.best_weights.clone();
        (has_seen || progress.epoch.is_some()).then(|| {
            (
                progress,
                beside.filter(|_| best_weights == BestWeights::Beside),
            )
        })
    }

    /// Whether it was broken off before the end of an epoch.
    pub(super) fn within_epoch(&self) -> bool {
        self.stopped.is_some() && !self.ended
    }

    /// What says which epoch is the best.
    pub fn watched(&self) -> &'static str {
        self.plan.watched
    }
}

impl Watch for Watcher<'_> {
    fn step(&mut self, trainer: &Trainer, made: &StepMade) -> bool {
        if !made.loss.is_finite() {
            self.is_lost = true;
            return false;
        }
        let steps = made.steps as u64;
        self.steps += 1;
        self.best_is_last = false;
        (self.last_step, self.ended) = (made.step, false);
        let (epochs, begun, done) = (self.plan.epochs, self.begun, self.steps);
        let progress = self.progress.get_or_insert_with(|| {
            let name = format!("epoch {}/{epochs}", made.epoch + 1);
            progress::Progress::new(steps, "steps").named(name)
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
        // After the last step the epoch comes to its end first, and so do its callbacks.
        if made.step + 1 < made.steps && self.stop.load(Ordering::Relaxed) {
            self.stopped = Some((made.epoch, made.step));
            return false;
        }
        true
    }

    fn is_interrupted(&self) -> bool {
        self.stopped.is_some()
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
    /// The end of an epoch; whether to go on.
    fn after(
        &mut self,
        trainer: &mut Trainer,
        epoch: usize,
        logs: &Logs<'_>,
    ) -> Result<bool, Failure> {
        self.made += 1;
        self.ended = true;
        self.tell(epoch, logs)?;
        if let Some(log) = &mut self.log {
            log.epoch(epoch, logs)?;
        }
        if let Some(board) = &mut self.board {
            board.epoch(epoch, logs)?;
        }
        self.keep(epoch, logs);
        let watched = logs.iter().find(|(name, _)| *name == self.plan.watched);
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
                self.best_is_last = true;
            }
            goes_on = !answer.stop;
        }
        let is_due = |every: NonZeroUsize| (epoch + 1).is_multiple_of(every.get());
        if goes_on && self.plan.checkpoint_every.is_some_and(is_due) {
            let optimizer = remembered(trainer);
            let saving = going_on(self.plan.saving.clone(), self.left(None));
            save(trainer.model()?, saving, optimizer, self.plan.output)?;
        }
        if goes_on && self.stop.load(Ordering::Relaxed) {
            self.stopped = Some((epoch, self.last_step));
            goes_on = false;
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
        if self.plan.json {
            let logs = logs
                .iter()
                .map(|(name, value)| ((*name).into(), json_number(*value)));
            let line = json!({
                "epoch": epoch + 1,
                "epochs": self.plan.epochs,
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
            self.plan.epochs,
            logs.join("  ")
        ))
    }
}

/// Keras's `CSVLogger`, and its file.
struct Log {
    lines: CsvLog,
    file: File,
}

impl Log {
    /// A new file, or one that goes on.
    fn begin(path: Option<&Path>, goes_on: bool) -> Result<Option<Self>, Failure> {
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
