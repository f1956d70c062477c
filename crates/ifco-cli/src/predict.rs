//! `ifco predict`: what `model.predict(x)` gives in Keras.

mod inputs;
mod outputs;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ifco::Model;
use ndarray::ArrayD;

use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::progress::Progress;

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

`ifco show MODEL` tells the inputs' names and shapes.

Examples:
  ifco predict model.keras x.npy -o y.npy
  ifco predict model.keras series.csv                       CSV in, CSV out
  ifco predict encoder_decoder.keras x.npz -o y.npz         several inputs and outputs
  ifco predict encoder_decoder.keras x.npy start.npy        the same, a file each
  ifco predict w.weights.h5 x.npy --architecture m.json     weights and architecture apart";

/// Run a model on arrays, with the numbers of Keras
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The model's inputs: .npy, .npz or .csv
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,

    /// Save to a .npy, .npz or .csv file instead of printing CSV
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Rows to run at a time; matters to the numbers only for stateful models [default: 32, or
    /// what the model fixes]
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let destination = outputs::Destination::of(args.output.as_deref())?;
    let model = args.model.open_model()?;
    destination
        .check(&model)
        .map_err(|failure| failure.at_file(&args.model.model))?;
    let inputs = inputs::read(&args.inputs, model.inputs())?;
    let outputs = run_batches(&model, &inputs, args.batch_size).map_err(|failure| {
        let files: Vec<String> = args
            .inputs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        failure.at(format_args!(
            "{} on {}",
            args.model.model.display(),
            files.join(", ")
        ))
    })?;
    destination.write(&model, &outputs)
}

fn run_batches(
    model: &Model,
    inputs: &[ArrayD<f32>],
    batch_size: Option<NonZeroUsize>,
) -> Result<Vec<ArrayD<f32>>, Failure> {
    let batch_size = batch_size
        .map(NonZeroUsize::get)
        .or_else(|| model.static_batch_size())
        .unwrap_or(Model::DEFAULT_BATCH_SIZE);
    let rows = inputs
        .first()
        .and_then(|input| input.shape().first())
        .copied()
        .unwrap_or(0);
    let mut progress = Progress::new(rows as u64, "rows");
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    Ok(model.predict_all(&views, batch_size, &mut |done| progress.show(done as u64))?)
}
