//! `ifco fit`: a new model from raw data.

mod classify;
mod forecast;
mod generate;
mod options;
mod report;
pub mod samples;
mod tag;

use std::path::Path;
use std::time::Instant;

use ifco::tasks::{DataError, Recipe, Size, predictions, shuffled};
use ifco::train::{Compile, Data, FitOptions, Samples, Shuffle, Trainer, initialize};
use ifco::{Generation, Model, SaveOptions};
use ndarray::ArrayD;
use serde_json::Value;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::training::{self, Finished, Plan, Watcher};

pub use forecast::{column_of, numbers};
use options::Options;

const AFTER_HELP: &str = "\
Each makes a network that suits the task, trains it on a part of the data, keeps the weights of the
epoch that was best on a second part, and tells how it does on a third that it has never seen,
beside what one could say without a model.

The .keras that comes of it opens in Keras, and knows what the raw data are: `ifco predict` takes
them as they are, `ifco generate` writes on, `ifco train` goes on training.

Ctrl-C ends the training after the step that runs, and goes on with the best weights so far.

Examples:
  ifco fit forecast ETTh1.csv --target OT --window 96 --horizon 24
  ifco fit generate shakespeare.txt
  ifco fit tag en_ewt-ud-train.conllu --test en_ewt-ud-test.conllu
  ifco fit classify reviews.csv --text review --label mood";

/// Train a new model on raw data: a forecaster, a writer, a tagger, a classifier
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    Forecast(forecast::Args),
    Generate(generate::Args),
    Tag(tag::Args),
    Classify(classify::Args),
}

pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.task {
        Task::Forecast(args) => forecast::run(args),
        Task::Generate(args) => generate::run(args),
        Task::Tag(args) => tag::run(args),
        Task::Classify(args) => classify::run(args),
    }
}

/// The samples of each part, by their numbers: at random, by the seed. With a file of its own to
/// test on, what would test trains.
fn at_random(
    options: &Options,
    samples: usize,
    [train, validation, test]: [f64; 3],
    test_apart: bool,
) -> Result<[Vec<usize>; 3], Failure> {
    let split = options.split(match test_apart {
        true => [train + test, validation, 0.0],
        false => [train, validation, test],
    })?;
    let order = shuffled(samples, options.seed);
    Ok(split.parts(samples)?.map(|part| order[part].to_vec()))
}

/// The part that the finished model is judged by: what tests it, or, where nothing does, what
/// validated it.
fn judging<'a, T: ?Sized>(validation: &'a T, test: &'a T, count: impl Fn(&T) -> usize) -> &'a T {
    match count(test) {
        0 => validation,
        _ => test,
    }
}

/// A whole text.
fn read_text(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| Failure::new(format_args!("it cannot be read: {error}")).at_file(path))
}

/// What a task starts from where the command line says nothing else.
struct Defaults {
    size: Size,
    epochs: usize,
    batch_size: usize,
    learning_rate: f32,
    /// Epochs without a better one after which training ends.
    patience: usize,
}

/// A model that is to be made.
struct New<'a> {
    architecture: Value,
    compile: Value,
    recipe: Recipe,
    train: &'a dyn Samples,
    validation: &'a dyn Samples,
}

/// A model that was made.
struct Fitted {
    finished: Finished,
    seconds: f64,
    batch_size: usize,
}

impl New<'_> {
    /// Makes the model and trains it, and saves it as `output`.
    fn train(
        self,
        options: &Options,
        defaults: &Defaults,
        output: &Path,
    ) -> Result<Fitted, Failure> {
        let mut model = Model::from_config(&self.architecture, Generation::Keras3)?;
        initialize(&mut model, options.seed)?;
        let compile = Compile::from_keras(&self.compile)?;
        let config = compile.to_keras();
        let mut trainer = Trainer::new(model, compile)?;
        let batch_size = options.batch_size(defaults);
        let steps = self.train.samples()?.div_ceil(batch_size.max(1));
        let epochs = options.epochs(defaults, steps);
        let mut watcher = Watcher::begin(Plan {
            output,
            saving: SaveOptions::new()
                .compile_config(config)
                .recipe(Some(self.recipe)),
            watched: "val_loss",
            epochs,
            early_stopping: Some(options.patience(defaults, steps)),
            reduce_lr: None,
            checkpoint_every: None,
            records: &options.records,
            goes_on: false,
            begun: None,
            json: options.json,
        })?;
        let fit = FitOptions {
            epochs,
            batch_size,
            shuffle: Some(Shuffle::new(options.seed)),
            validation: Some(self.validation),
            seed: options.seed,
            ..FitOptions::default()
        };
        let start = Instant::now();
        trainer.fit_watched(self.train, &fit, &mut watcher)?;
        let seconds = start.elapsed().as_secs_f64();
        let finished = training::finish(trainer, watcher, true)?;
        options.records.draw(&finished.history, output)?;
        Ok(Fitted {
            finished,
            seconds,
            batch_size,
        })
    }
}

impl Fitted {
    fn model(&self) -> &Model {
        &self.finished.model
    }

    /// Lets the model answer to `samples`, which are `what`; `each` takes a batch and the answers.
    fn answers(
        &self,
        samples: &dyn Samples,
        what: &'static str,
        mut each: impl FnMut(&Data, &ArrayD<f32>),
    ) -> Result<(), Failure> {
        let mut progress = Progress::new(samples.samples()? as u64, what);
        let show = &mut |done| progress.show(done as u64);
        predictions(self.model(), samples, self.batch_size, &mut each, show)?;
        Ok(())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let failure = Failure::new(&error);
        match error.remedy() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}
