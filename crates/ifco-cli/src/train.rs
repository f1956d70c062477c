//! `ifco train`: Keras's `model.fit`.

pub mod data;
mod samples;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ifco::train::callback::BestWeights;
use ifco::train::{Compile, FitOptions, LearningRate, Samples, Shuffle, StateValue, Trainer};
use ifco::{Begun, Format, Model, SaveOptions};
use serde_json::{Value, json};

use crate::destination::check_place;
use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::output::{json_number, print, short, thousands};
use crate::precision::note;
use crate::threads::ThreadsArgs;
use crate::training::{self, Plan, Records, Watcher};

use data::Files;
use samples::Part;

const AFTER_HELP: &str = "\
X and Y are files as `ifco predict` takes them (.npy, .npz, .csv), several of each for a model with
several inputs or outputs. Targets of sparse_categorical_crossentropy are the classes' numbers.
--sample-weight is one more such file, (samples) or (samples, steps). A .npy of 256 MiB or more stays
in its file: each batch is read when it is its turn.

Optimizer, loss and metrics are those that the model's file was compiled with; the options override
them, by Keras's names. What the optimizer remembers is taken from a .keras and saved in one, so
training that Keras began goes on here as it would have there, and the other way round.

Each epoch is shuffled anew, by the seed. --validation-split keeps the last part of the samples, as
they are before shuffling, to judge each epoch by. --early-stopping ends training when the loss
(that of the validation, if there is one) has not become better for so many epochs, and goes back to
the best weights.

Ctrl-C ends training after the step that runs, and saves. --resume goes on with OUT, if it is there,
at the step where it stopped, up to --epochs in all: with the same data, options and threads the
weights become those of a training that never stopped: what --early-stopping and --reduce-lr have seen
is in OUT too. A training that --early-stopping has ended goes on from its best weights, and anew.

Examples:
  ifco train model.keras --x x.npy --y y.npy -o trained.keras --epochs 20
  ifco train model.keras --x x.npy --y y.npy -o out.keras --optimizer adam --learning-rate 3e-4 --loss mse
  ifco train model.keras --x x.npy --y y.npy -o out.keras --validation-split 0.2 --early-stopping 5
  ifco train model.keras --x x.npy --y y.npy -o out.keras --epochs 100 --checkpoint-every 1 --resume
  ifco train model.keras --x x.npy --y y.npy -o out.keras --validation-split 0.1 --plot curves.svg
  ifco train model.keras --x x.npy --y y.npy -o out.keras --tensorboard logs && tensorboard --logdir logs
  ifco train model.keras --x x.npz --y y.npz -o out.keras --json > log.jsonl";

/// Train a model as Keras's model.fit does
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The inputs: .npy, .npz or .csv
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    x: Vec<PathBuf>,

    /// What is wanted of them
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    y: Vec<PathBuf>,

    /// Save the trained model as this file, by its ending: .keras keeps everything
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,

    /// How many times to go through the samples, in all
    #[arg(long, value_name = "N", default_value_t = 1)]
    epochs: usize,

    /// Samples of a step
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: std::num::NonZeroUsize,

    /// sgd, rmsprop, adam, adamw, adamax, nadam, adagrad, adadelta, lion, ftrl, lamb
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,

    /// In place of the optimizer's own, or of its schedule
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,

    /// mse, mae, huber, binary_crossentropy, sparse_categorical_crossentropy, ...
    #[arg(long, value_name = "NAME")]
    loss: Option<String>,

    /// accuracy, auc, mae, ..., with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Option<Vec<String>>,

    /// The share of the samples, from the end, that validates
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["validation_x", "validation_y"])]
    validation_split: Option<f64>,

    /// Inputs to judge each epoch by
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "validation_y")]
    validation_x: Vec<PathBuf>,

    /// What is wanted of them
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "validation_x")]
    validation_y: Vec<PathBuf>,

    /// Take the samples in the order in which they are
    #[arg(long)]
    no_shuffle: bool,

    /// Of shuffling and dropout
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// What a sample counts for by its class; the others count 1
    #[arg(long, value_name = "CLASS=WEIGHT", value_delimiter = ',', value_parser = data::class_weight)]
    class_weight: Vec<(i64, f32)>,

    /// What each sample, or each step of it, counts for: a file for each of the model's outputs
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "class_weight")]
    sample_weight: Vec<PathBuf>,

    /// Stop when nothing got better for N epochs, and go back to the best weights
    #[arg(long, value_name = "N")]
    early_stopping: Option<usize>,

    /// Divide the learning rate by 10 when nothing got better for N epochs
    #[arg(long, value_name = "N")]
    reduce_lr: Option<usize>,

    /// Save OUT after every N epochs too
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<std::num::NonZeroUsize>,

    /// Go on with OUT, if it is there
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    records: Records,

    /// Take less memory for long sequences and a third more time: of recurrent layers the states of
    /// a few steps alone are kept, and the others computed again on the way back
    #[arg(long)]
    recompute: bool,

    #[command(flatten)]
    threads: ThreadsArgs,

    /// Print a JSON object for each epoch, and one at the end
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let goes_on = args.resume && args.output.exists();
    check_output(args, goes_on)?;
    args.threads.apply()?;
    let (model, source) = match goes_on {
        true => (ifco::open(&args.output)?, &args.output),
        false => (*args.model.open_layers()?, &args.model.model),
    };
    let at_source = |failure: Failure| failure.at_file(source);
    let compile = compile(&model, args).map_err(at_source)?;
    let config = compile.to_keras();
    let files = Files {
        x: &args.x,
        y: &args.y,
        sample_weight: &args.sample_weight,
    };
    let all = files.open(&model, &compile, &args.class_weight)?;
    let (data, validation) = split(all, &model, &compile, args)?;
    let mut trainer = Trainer::new(model, compile).map_err(|error| at_source(error.into()))?;
    trainer.set_recompute(args.recompute);
    take_state(&mut trainer, source, args.optimizer.is_some() && !goes_on)?;
    if let Some(rate) = args.learning_rate.filter(|_| !goes_on) {
        let told = trainer.optimizer().set_learning_rate(rate);
        told.map_err(|error| at_source(error.into()))?;
    }

    let samples = data.samples()?;
    let steps = samples.div_ceil(args.batch_size.get());
    let made = match goes_on {
        // Those of MODEL were made before this training began.
        true => trainer.optimizer().iterations() - steps_before(args)?,
        false => 0,
    };
    let made = usize::try_from(made).unwrap_or(0);
    let (epoch, step) = (made / steps.max(1), made % steps.max(1));
    if goes_on {
        let at = format!("epoch {}, step {}", epoch + 1, step + 1);
        note(format_args!(
            "going on with {} at {at}",
            args.output.display()
        ));
    }
    let begun = match goes_on {
        true => begun(&mut trainer, &args.output, step)?,
        false => None,
    };
    let mut watcher = Watcher::begin(Plan {
        output: &args.output,
        // What a model of `ifco fit` was made for, it is still.
        saving: SaveOptions::new()
            .compile_config(config)
            .recipe(ifco::open_recipe(source)?),
        watched: match validation {
            Some(_) => "val_loss",
            None => "loss",
        },
        epochs: args.epochs,
        early_stopping: args.early_stopping,
        reduce_lr: args.reduce_lr,
        checkpoint_every: args.checkpoint_every,
        records: &args.records,
        goes_on,
        begun,
        json: args.json,
    })?;
    let options = FitOptions {
        epochs: args.epochs,
        initial_epoch: epoch,
        initial_step: step,
        batch_size: args.batch_size.get(),
        shuffle: (!args.no_shuffle).then(|| Shuffle::new(args.seed)),
        validation: validation.as_ref().map(|data| data as &dyn Samples),
        seed: args.seed,
    };
    let fitted = trainer.fit_watched(&data, &options, &mut watcher);
    fitted.map_err(|error| data::at_its_file(error, args))?;
    finish(trainer, watcher, args)
}

/// Saves the trained model and tells what it has come to.
fn finish(trainer: Trainer, watcher: Watcher<'_>, args: &Args) -> Result<(), Failure> {
    let name = watcher.watched();
    let finished = training::finish(trainer, watcher, false)?;
    let (steps, stopped, best) = (finished.steps, finished.stopped, finished.best);
    args.records.draw(&finished.history, &args.output)?;
    if args.json {
        return print(&format!(
            "{}\n",
            json!({
                "schema": 1,
                "file": args.output.display().to_string(),
                "steps": steps,
                "stopped": stopped.is_some(),
                "best": best.map(|(epoch, value)| json!({
                    "epoch": epoch + 1, name: json_number(value),
                })),
            })
        ));
    }
    if let Some((epoch, step)) = stopped {
        note(format_args!(
            "stopped after step {} of epoch {}: --resume goes on",
            step + 1,
            epoch + 1
        ));
    }
    let best = best.map_or(String::new(), |(epoch, value)| {
        format!("; least {name} {} in epoch {}", short(value), epoch + 1)
    });
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    print(&format!(
        "{}: saved after {} step{}{best}\n",
        args.output.display(),
        thousands(steps),
        if steps == 1 { "" } else { "s" }
    ))
}

fn check_output(args: &Args, goes_on: bool) -> Result<(), Failure> {
    let Some(format) = Format::of(&args.output).filter(|format| format.saves()) else {
        let what = "the output's name does not end as one of a format that ifco saves";
        let help = format!("it saves {}", Format::savable());
        return Err(Failure::usage(what).at_file(&args.output).help(help));
    };
    if args.resume && format.extensions != [".keras"] {
        let what = "--resume needs what the optimizer remembers, which .keras alone holds";
        return Err(Failure::usage(what).at_file(&args.output));
    }
    check_place(&args.output, &[&args.model.model], args.force || goes_on)?;
    let taken = [&args.model.model, &args.output].map(PathBuf::as_path);
    args.records.check(&taken, args.force || goes_on)
}

/// What the model was compiled with, with what the command line says in its place.
fn compile(model: &Model, args: &Args) -> Result<Compile, Failure> {
    let mut config = ifco::compile_config(model).unwrap_or_else(|| json!({}));
    for (key, name) in [("optimizer", &args.optimizer), ("loss", &args.loss)] {
        if let Some(name) = name {
            config[key] = json!(name);
        }
    }
    if let Some(names) = &args.metrics {
        config["metrics"] = json!(names);
        config["weighted_metrics"] = Value::Null;
    }
    if config.get("loss").is_none_or(Value::is_null) {
        let what = "the model's file does not say what loss to train it with";
        return Err(Failure::usage(what)
            .help("give --loss mse, or another one, and --optimizer (rmsprop without)"));
    }
    let mut compile = Compile::from_keras(&config)?;
    if let (Some(rate), LearningRate::Schedule(_)) =
        (args.learning_rate, &compile.optimizer.options.learning_rate)
    {
        compile.optimizer.options.learning_rate = LearningRate::Constant(rate);
    }
    Ok(compile)
}

/// The samples to train on, and those to validate with.
fn split(
    all: Part,
    model: &Model,
    compile: &Compile,
    args: &Args,
) -> Result<(Part, Option<Part>), Failure> {
    if !args.validation_x.is_empty() {
        let files = Files {
            x: &args.validation_x,
            y: &args.validation_y,
            sample_weight: &[],
        };
        return Ok((all, Some(files.open(model, compile, &[])?)));
    }
    let Some(share) = args.validation_split else {
        return Ok((all, None));
    };
    let (train, validate) = ifco::train::validation_split(all.samples()?, share)?;
    let part = |rows| Part {
        of: Arc::clone(&all.of),
        rows,
    };
    Ok((part(train), Some(part(validate))))
}

/// Goes on with what the optimizer of a `.keras` remembers, unless it is another optimizer.
fn take_state(trainer: &mut Trainer, path: &Path, is_another: bool) -> Result<(), Failure> {
    if is_another {
        return Ok(());
    }
    let values = state(path)?;
    // One that has made no step has a count and a rate, which the configuration says too.
    if values.len() <= 2 && matches!(values.first(), None | Some(StateValue::Count(0))) {
        return Ok(());
    }
    if let Err(error) = trainer.optimizer().set_variables(&values) {
        note(format_args!(
            "note: the optimizer begins anew, since the file's is another one: {error}"
        ));
    }
    Ok(())
}

/// What the callbacks had seen when OUT was saved, and the best weights. The loss of an epoch in which
/// that was after this many steps goes on.
fn begun(trainer: &mut Trainer, output: &Path, step: usize) -> Result<Option<Begun>, Failure> {
    let Some((mut progress, beside)) = ifco::open_progress(output)? else {
        return Ok(None);
    };
    if let Some(loss) = progress.epoch.take().filter(|loss| loss.batches == step) {
        trainer.resume_epoch(loss)?;
    }
    let best = match progress.best_weights {
        BestWeights::Last => trainer.model()?.weights(),
        BestWeights::Beside | BestWeights::Unwanted => beside,
    };
    Ok(Some((progress, best)))
}

/// How many steps the optimizer had made in MODEL.
fn steps_before(args: &Args) -> Result<i64, Failure> {
    if args.optimizer.is_some() {
        return Ok(0);
    }
    Ok(match state(&args.model.model)?.first() {
        Some(StateValue::Count(count)) => *count,
        _ => 0,
    })
}

/// What the optimizer of a `.keras` remembers; nothing in other files.
fn state(path: &Path) -> Result<Vec<StateValue>, Failure> {
    match Format::of(path).is_some_and(|format| format.extensions == [".keras"]) {
        true => Ok(ifco::open_optimizer(path)?),
        false => Ok(Vec::new()),
    }
}
