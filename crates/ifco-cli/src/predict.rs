//! `ifco predict`: what `model.predict(x)` gives in Keras.

pub mod inputs;
mod outputs;
mod raw;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ifco::Model;
use ndarray::ArrayD;

use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::output::count;
use crate::precision::{Difference, PrecisionArgs, note, note_without_effect};
use crate::progress::Progress;
use crate::threads::ThreadsArgs;
use inputs::InputArgs;

const AFTER_HELP: &str = "\
INPUT is one file with all inputs of the model, or one file for each, in order:
  .npy  one array, the batch first: (batch, time, features)
  .npz  arrays by the names of the model's input layers, or as many arrays in order
        (numpy.savez(\"x.npz\", first, second))
  .csv  numbers, under an optional header line. For a model that takes
          (batch, features)                  a line is a row of the batch
          (batch, time, features), known     a line is one sequence, flattened: the features
                                             of its first step, of its second, ...
          (batch, any time, 1)               a line is one sequence, a column a step
          (batch, any time, features)        the file is one sequence, a line a step
        A file with a step per line and `time` lines is one sequence too.

OUT, by its name:
  .npy  the one output of the model
  .npz  every output, by name
  .csv  a line for each row of the batch, flattened; several outputs side by side, under a
        header line. Without -o this goes to stdout.

A model of `ifco fit` takes raw data of the kind that it was made of, and answers in its words:
  a forecaster   a CSV with its columns: the steps behind the last row
  a classifier   a CSV with its columns: a label and its chance for each line
  a tagger       .conllu, or any other text with a sentence a line and spaces between words; - is
                 stdin
Arrays in .npy and .npz stay what they are for any model.

`ifco show MODEL` tells the inputs' names and shapes.

Examples:
  ifco predict model.keras x.npy -o y.npy
  ifco predict model.keras series.csv                       CSV in, CSV out
  ifco predict encoder_decoder.keras x.npz -o y.npz         several inputs and outputs
  ifco predict encoder_decoder.keras x.npy start.npy        the same, a file each
  ifco predict w.weights.h5 x.npy --architecture m.json     weights and architecture apart
  ifco predict weights.pt x.npy                             PyTorch's: says what it assumes
  ifco predict weights.pt x.npy --spec weights.toml         and lets you correct it
  ifco predict model.keras x.npy -o y.npy --precision int8  faster, and how far from f32
  ifco predict ETTh1.keras ETTh1.csv                        a forecast, of what `ifco fit` made";

/// Run a model on arrays, with the numbers of Keras
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, mut_arg("inputs", |arg| arg.required(true)))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    input: InputArgs,

    /// Save to a .npy, .npz or .csv file instead of printing CSV
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Rows to run at a time; matters to the numbers only for stateful models [default: 32, or
    /// what the model fixes]
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,

    #[command(flatten)]
    threads: ThreadsArgs,

    #[command(flatten)]
    precision: PrecisionArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(recipe) = raw::recipe(args)? {
        return raw::run(args, &recipe);
    }
    let destination = outputs::Destination::of(args.output.as_deref())?;
    args.threads.apply()?;
    let mut model = args.model.open_model()?;
    destination
        .check(&model)
        .map_err(|failure| failure.at_file(&args.model.model))?;
    let inputs = args.input.read(model.inputs())?;
    let at_files = |failure: Failure| {
        let files = args.input.names();
        failure.at(format_args!("{} on {files}", args.model.model.display()))
    };
    let batch_size = args
        .batch_size
        .map(NonZeroUsize::get)
        .or_else(|| model.static_batch_size())
        .unwrap_or(Model::DEFAULT_BATCH_SIZE);
    let Some(precision) = args.precision.reduced() else {
        let outputs = run_batches(&model, &inputs, batch_size).map_err(at_files)?;
        return destination.write(&model, &outputs);
    };
    note_without_effect(&model, precision);
    let first = first_rows(&model, &inputs, batch_size);
    let exact = run_batches(&model, &first, batch_size).map_err(at_files)?;
    model.reset_states();
    model.set_precision(precision);
    let outputs = run_batches(&model, &inputs, batch_size).map_err(at_files)?;
    destination.write(&model, &outputs)?;
    let rows = model.rows(&first);
    if rows > 0 {
        let difference = Difference::of(precision, &outputs, &exact);
        let rows = count(rows, "row");
        note(format_args!(
            "{precision}: on the first {rows}, {difference}"
        ));
    }
    Ok(())
}

/// At most so many rows of each input.
fn first_rows(model: &Model, inputs: &[ArrayD<f32>], count: usize) -> Vec<ArrayD<f32>> {
    let inputs = inputs.iter().zip(model.inputs());
    let first = inputs.map(|(input, port)| port.take_rows(input.view(), 0..count).to_owned());
    first.collect()
}

fn run_batches(
    model: &Model,
    inputs: &[ArrayD<f32>],
    batch_size: usize,
) -> Result<Vec<ArrayD<f32>>, Failure> {
    let mut progress = Progress::new(model.rows(inputs) as u64, "rows");
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    Ok(model.predict_all(&views, batch_size, &mut |done| progress.show(done as u64))?)
}
