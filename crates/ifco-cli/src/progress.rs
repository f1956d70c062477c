//! The bar of whatever takes longer than a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on stderr, in a terminal, once it takes longer than a second.
pub struct Progress {
    total: u64,
    /// What is counted: `rows`.
    unit: &'static str,
    start: Instant,
    is_terminal: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_secs(1);

    pub fn new(total: u64, unit: &'static str) -> Self {
        Self {
            total,
            unit,
            start: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    pub fn show(&mut self, done: u64) {
        self.tell(done, String::new);
    }

    /// The same with some words before the bar.
    pub fn tell(&mut self, done: u64, words: impl FnOnce() -> String) {
        if !self.is_terminal || self.start.elapsed() < Self::PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(self.total).with_elapsed(self.start.elapsed());
            let template = format!(
                "{{msg}}{{wide_bar}} {{pos}}/{{len}} {}, {{eta}} left",
                self.unit
            );
            match ProgressStyle::with_template(&template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let words = words();
        if !words.is_empty() {
            bar.set_message(words + " ");
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
