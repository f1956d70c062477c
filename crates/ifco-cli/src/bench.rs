//! `ifco bench`: what a model does on this machine, and what holds it up.

pub mod inputs;
mod json;
mod latency;
mod layers;
mod size;
mod stop;
mod text;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use ifco::machine::Limits;
use ifco::{Model, Precision};
use indicatif::ProgressBar;
use ndarray::ArrayD;

use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::output;
use crate::precision::{Difference, PrecisionArgs, note_without_effect};
use crate::threads::ThreadsArgs;
use inputs::Inputs;
use latency::Latency;
use layers::LayerTime;
use size::LayerSize;
use stop::Stop;

const AFTER_HELP: &str = "\
The model predicts random inputs of the right shape, again and again: each prediction is a whole
call of the library, from the arrays that go in to the arrays that come out.

  latency      of a prediction of the whole batch: the fastest, half of them (p50), nine of ten
               (p90), 99 of 100 (p99), the slowest
  sequences/s  rows of the batch predicted per second, at the median latency
  steps/s      the same in time steps of the longest recurrent layer

For each recurrent layer:
  of the time  its share of the time that all layers take
  GFLOP/s      multiplications and additions of its matrix products, 10⁹ per second
  possible     what this CPU could do at most with a layer of this shape, measured in the same
               run: many sequences are limited by arithmetic, a single one by how fast its
               recurrent weights come from the cache that holds them, each step; a cache is the
               slower, the more of it they take up, and that is measured too
  reached      the one as a share of the other. The fewer units, the more weighs what is not
               counted: activations, and the call itself. With --precision, `possible` is still
               what f32 could do: more than 100 % is well possible

--machine measures what is possible alone: multiply-adds, and how fast each thread reads so many
bytes again and again, from half of the nearest cache to main memory. --layer tells what that
allows a layer of any size. Of --machine --json,

  fma_gflops         are multiply-adds in registers, 10⁹ operations per second
  bandwidth_gbs      has one figure for each level of the memory, 10⁹ bytes per second
  bandwidth_by_size  is the whole curve: bytes_per_thread, gbs of all threads together, and the
                     level that holds so many bytes; take values between by the logarithm of bytes
  layers             are those of --layer: limit_gflops, and limited_by, which is \"arithmetic\" or
                     the level that the recurrent weights come from

Without --batch it measures 1, 8, 32 and 128 sequences at a time, or what the model fixes, and
leaves larger batches out once a single prediction takes longer than --seconds. Ctrl-C ends it
and prints what was measured until then.

Examples:
  ifco bench model.keras
  ifco bench model.keras --batch 1 --threads 1        the latency of one sequence on one core
  ifco bench model.keras --time 1000                  for a model that takes any number of steps
  ifco bench model.keras --precision bf16             faster? and how far from the outputs of f32
  ifco bench model.keras --json | jq '.batches[].latency_seconds.p50'
  ifco bench --machine                                what the machine can do, without a model
  ifco bench --machine --threads 1 --json
  ifco bench --machine --layer lstm:1x100x64x256      and an LSTM of 256 units, one sequence";

/// Measure how fast a model runs on this machine, and what holds it up
#[derive(clap::Args)]
#[command(
    after_help = AFTER_HELP,
    mut_arg("model", |model| model.required(false).required_unless_present("machine")),
)]
pub struct Args {
    #[command(flatten)]
    model: Option<ModelArgs>,

    /// Sequences to predict at a time [default: 1, 8, 32 and 128, each on its own]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,

    /// Steps of each sequence, where the model leaves them open [default: 100]
    #[arg(long, value_name = "N")]
    time: Option<NonZeroUsize>,

    #[command(flatten)]
    threads: ThreadsArgs,

    /// How long to measure each batch size
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: Duration,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Where the random inputs start from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Only measure what the machine can do
    #[arg(long, conflicts_with_all = ["model", "architecture", "batch", "time", "seconds", "seed", "precision"])]
    machine: bool,

    /// A layer to tell the limit of: lstm, gru or simple_rnn, its batch, time, features and units
    /// (may be given several times)
    #[arg(
        long,
        value_name = "KIND:BxTxFxU",
        requires = "machine",
        conflicts_with = "model"
    )]
    layer: Vec<LayerSize>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is shown.
struct Report<'a> {
    file: String,
    model: &'a Model,
    /// Of the inputs, with 0 for the batch: `(0, time, features)`.
    shapes: Vec<Vec<usize>>,
    limits: Limits,
    /// How far the outputs are from those of f32, where they are.
    difference: Option<Difference>,
    batches: Vec<BatchReport>,
    is_interrupted: bool,
}

/// One batch size.
struct BatchReport {
    batch: usize,
    latency: Latency,
    layers: Vec<LayerTime>,
}

impl BatchReport {
    /// Rows per second at the median latency.
    fn sequences_per_second(&self) -> f64 {
        self.batch as f64 / self.latency.p50
    }

    /// Steps of the longest recurrent layer; none in a model without one.
    fn time(&self) -> Option<usize> {
        let recurrent = self
            .layers
            .iter()
            .filter_map(|layer| layer.recurrent.as_ref());
        recurrent.map(|recurrent| recurrent.time).max()
    }

    fn steps_per_second(&self) -> Option<f64> {
        let time = self.time()?;
        Some(self.sequences_per_second() * time as f64)
    }

    fn seconds_of_all_layers(&self) -> f64 {
        self.layers.iter().map(|layer| layer.seconds).sum()
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let threads = args.threads.apply()?;
    let print = |text: String, json: serde_json::Value| match args.json {
        true => output::print(&format!("{json:#}\n")),
        false => output::print(&text),
    };
    let Some(model_args) = &args.model else {
        let progress = progress("measuring the machine");
        let limits = Limits::measure(threads);
        progress.finish_and_clear();
        return print(
            text::machine(&limits, &args.layer),
            json::machine_alone(&limits, &args.layer),
        );
    };
    let mut model = model_args.open_model()?;
    let at_file = |failure: Failure| failure.at_file(&model_args.model);
    let mut inputs = Inputs::new(&model, args.time, args.seed).map_err(at_file)?;
    let batches = batches(&model, args.batch).map_err(at_file)?;
    // A model that cannot run says so before anything takes time.
    inputs.try_out(&model, batches[0]).map_err(at_file)?;
    let difference = match args.precision.reduced() {
        Some(precision) => {
            let arrays = inputs.make(batches[0]).map_err(at_file)?;
            Some(reduce(&mut model, precision, &arrays, batches[0]).map_err(at_file)?)
        }
        None => None,
    };

    let stop = Stop::on_ctrl_c();
    let progress = progress("measuring the machine");
    let limits = Limits::measure(threads);
    let mut report = Report {
        file: model_args.model.display().to_string(),
        model: &model,
        shapes: inputs.shapes(0),
        limits,
        difference,
        batches: Vec::new(),
        is_interrupted: false,
    };
    for &batch in &batches {
        if stop.is_asked_for() {
            break;
        }
        progress.set_message(format!("measuring batches of {batch}"));
        progress.tick();
        let arrays = inputs.make(batch).map_err(at_file)?;
        let latency = latency::measure(&model, &arrays, batch, args.seconds, &stop)?;
        let layers = layers::measure(&model, &report.limits, arrays, args.seconds / 4, &stop)?;
        let is_slow = latency.p50 > args.seconds.as_secs_f64();
        report.batches.push(BatchReport {
            batch,
            latency,
            layers,
        });
        if is_slow {
            break;
        }
    }
    progress.finish_and_clear();
    report.is_interrupted = stop.is_asked_for();
    if report.batches.is_empty() {
        return Err(Failure::new("interrupted before anything was measured"));
    }
    print(text::report(&report), json::report(&report))
}

/// Sets the precision, and tells how far that takes the outputs.
fn reduce(
    model: &mut Model,
    precision: Precision,
    arrays: &[ArrayD<f32>],
    batch: usize,
) -> Result<Difference, Failure> {
    note_without_effect(model, precision);
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    model.reset_states();
    let exact = model.predict_all(&views, batch, &mut |_| {})?;
    model.set_precision(precision);
    model.reset_states();
    let outputs = model.predict_all(&views, batch, &mut |_| {})?;
    Ok(Difference::of(precision, &outputs, &exact))
}

/// The batch sizes to measure: at least one.
fn batches(model: &Model, asked_for: Option<NonZeroUsize>) -> Result<Vec<usize>, Failure> {
    let asked_for = asked_for.map(NonZeroUsize::get);
    match (model.static_batch_size(), asked_for) {
        (Some(fixed), Some(batch)) if fixed != batch => Err(Failure::usage(format_args!(
            "--batch is {batch}, but the model fixes batches of {fixed}"
        ))
        .help("leave --batch away")),
        (Some(0), _) => Err(Failure::new("the model fixes batches of 0")),
        (Some(fixed), _) => Ok(vec![fixed]),
        (None, Some(batch)) => Ok(vec![batch]),
        (None, None) => Ok(vec![1, 8, 32, 128]),
    }
}

/// Says on stderr what is being done, in a terminal only. Nothing moves by itself: that would
/// take a thread, which the measurement would feel.
fn progress(message: &'static str) -> ProgressBar {
    let progress = ProgressBar::new_spinner().with_message(message);
    progress.tick();
    progress
}

/// A time to measure for.
fn seconds(text: &str) -> Result<Duration, String> {
    const MOST: f64 = 3600.0;
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= MOST => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, more than 0 and at most {MOST}")),
    }
}

/// Whether it is time to stop measuring: at least once, and not for ever.
fn is_over(start: Instant, time: Duration, count: usize, stop: &Stop) -> bool {
    /// More would tell nothing new, and take memory.
    const MOST: usize = 1_000_000;
    count > 0 && (start.elapsed() >= time || count >= MOST || stop.is_asked_for())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_time() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "two", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
