//! The bar of whatever takes longer than a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on stderr, in a terminal, once it takes longer than a second.
///
/// `epoch 3/20 ████████░░░░ 120/400 steps, 12s left  loss 0.345`, where there are words.
pub struct Progress {
    total: u64,
    /// What is counted: `rows`.
    unit: &'static str,
    start: Instant,
    is_terminal: bool,
    /// What stands before the bar.
    name: String,
    bar: Option<ProgressBar>,
    /// When words were asked for last: to make them may take a while.
    told: Option<Instant>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Nobody reads faster.
    const BETWEEN_WORDS: Duration = Duration::from_millis(100);

    pub fn new(total: u64, unit: &'static str) -> Self {
        Self {
            total,
            unit,
            start: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            name: String::new(),
            bar: None,
            told: None,
        }
    }

    /// With a name before the bar.
    pub fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    pub fn show(&mut self, done: u64) {
        self.tell(done, String::new);
    }

    /// The same with some words after it, as many as there is room for.
    pub fn tell(&mut self, done: u64, words: impl FnOnce() -> String) {
        if !self.is_terminal || self.start.elapsed() < Self::PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(self.total).with_elapsed(self.start.elapsed());
            let template = match self.name.is_empty() {
                true => format!("{{wide_bar}} {{pos}}/{{len}} {}, {{eta}} left", self.unit),
                false => format!(
                    "{{prefix}} {{bar:20}} {{pos}}/{{len}} {}, {{eta}} left  {{wide_msg}}",
                    self.unit
                ),
            };
            match ProgressStyle::with_template(&template) {
                Ok(style) => bar.with_style(style).with_prefix(self.name.clone()),
                Err(_) => bar,
            }
        });
        if !self.name.is_empty()
            && self
                .told
                .is_none_or(|at| at.elapsed() > Self::BETWEEN_WORDS)
        {
            self.told = Some(Instant::now());
            bar.set_message(words());
        }
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
