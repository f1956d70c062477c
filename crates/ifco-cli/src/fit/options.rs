//! What every task of `ifco fit` can be told.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ifco::Format;
use ifco::tasks::{Size, Split};

use super::Defaults;
use crate::destination::check_place;
use crate::failure::Failure;
use crate::threads::ThreadsArgs;
use crate::training::Records;

#[derive(clap::Args)]
pub struct Options {
    /// Save the model as this file [default: the data's name with .keras, here]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Replace OUT if it is there
    #[arg(long)]
    pub force: bool,

    /// Units of each LSTM
    #[arg(long, value_name = "N")]
    units: Option<NonZeroUsize>,

    /// How many LSTMs lie on each other
    #[arg(long, value_name = "N")]
    layers: Option<NonZeroUsize>,

    /// The share of their outputs that is dropped in training
    #[arg(long, value_name = "SHARE", value_parser = share)]
    dropout: Option<f32>,

    /// How many times to go through the training part, at most [default: 10 or 20; more where the
    /// samples are few]
    #[arg(long, value_name = "N")]
    epochs: Option<NonZeroUsize>,

    /// Samples of a step
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,

    /// Of Adam
    #[arg(long, value_name = "RATE", value_parser = rate)]
    learning_rate: Option<f32>,

    /// Stop when the validation part was not done better for N epochs
    #[arg(long, value_name = "N")]
    early_stopping: Option<usize>,

    /// What trains, what validates, what tests: shares, or numbers
    #[arg(long, value_name = "A,B,C")]
    split: Option<Split>,

    /// Of the first weights, shuffling, dropout and drawn parts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    #[command(flatten)]
    pub records: Records,

    #[command(flatten)]
    pub threads: ThreadsArgs,

    /// Print a JSON object for each epoch, and one at the end
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Sets the threads, and tells where the model will be saved, before any work.
    pub fn begin(&self, data: &Path) -> Result<PathBuf, Failure> {
        self.threads.apply()?;
        let output = self.output.clone().unwrap_or_else(|| {
            let mut name = data.file_stem().unwrap_or("model".as_ref()).to_owned();
            name.push(".keras");
            PathBuf::from(name)
        });
        if Format::of(&output).is_none_or(|format| format.extensions != [".keras"]) {
            let what = "a new model is saved as .keras, which keeps what it was made for";
            let help = "end the name in .keras; `ifco convert` makes other formats of it";
            return Err(Failure::usage(what).at_file(&output).help(help));
        }
        check_place(&output, &[data], self.force)?;
        self.records.check(&[data, &output], self.force)?;
        Ok(output)
    }

    pub fn size(&self, defaults: &Defaults) -> Size {
        Size {
            units: self.units.map_or(defaults.size.units, NonZeroUsize::get),
            layers: self.layers.map_or(defaults.size.layers, NonZeroUsize::get),
            dropout: self.dropout.unwrap_or(defaults.size.dropout),
            ..defaults.size
        }
    }

    /// Of epochs that take so many steps each.
    pub fn epochs(&self, defaults: &Defaults, steps: usize) -> usize {
        let default = defaults.epochs * times(steps);
        self.epochs.map_or(default, NonZeroUsize::get)
    }

    pub fn batch_size(&self, defaults: &Defaults) -> usize {
        self.batch_size
            .map_or(defaults.batch_size, NonZeroUsize::get)
    }

    pub fn learning_rate(&self, defaults: &Defaults) -> f32 {
        self.learning_rate.unwrap_or(defaults.learning_rate)
    }

    /// For epochs that take so many steps each.
    pub fn patience(&self, defaults: &Defaults, steps: usize) -> usize {
        self.early_stopping
            .unwrap_or(defaults.patience * times(steps))
    }

    pub fn split(&self, default: [f64; 3]) -> Result<Split, Failure> {
        match self.split {
            Some(split) => Ok(split),
            None => Ok(Split::new(default)?),
        }
    }
}

/// An epoch of a few steps changes little: up to ten times as many then.
fn times(steps: usize) -> usize {
    const ENOUGH: usize = 50;
    (ENOUGH / steps.max(1)).clamp(1, 10)
}

fn share(text: &str) -> Result<f32, String> {
    let share: Option<f32> = text.parse().ok();
    let share = share.filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 up to, but not, 1".into())
}

fn rate(text: &str) -> Result<f32, String> {
    let rate: Option<f32> = text.parse().ok();
    let rate = rate.filter(|rate| *rate > 0.0 && rate.is_finite());
    rate.ok_or_else(|| "expected a number above 0".into())
}
