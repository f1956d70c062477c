//! `ifco trace`: every gate of a recurrent layer at every step.

mod flow;
pub mod gradient;
mod json;
mod passes;
mod save;
mod text;

use std::path::PathBuf;

use ifco::{
    Digest, DigestBuilder, FlowDigest, FlowDigestBuilder, Model, Opened, Trace, TraceOptions,
};
use ndarray::{Array3, ArrayD};

use crate::failure::Failure;
use crate::opening::{self, ModelArgs};
use crate::output::{self, count};
use crate::predict::inputs::InputArgs;
use crate::threads::ThreadsArgs;

const AFTER_HELP: &str = "\
INPUT is what `ifco predict` takes: .npy, .npz or .csv, one file or one for each input of the model.

The arrays, (batch, time, units) each, index t of the time being step t of the input whichever way
the layer reads:
  LSTM       i f c_tilde o c h
  GRU        z r h_tilde h
  SimpleRNN  h
and z (batch, time, gates*units): what the activations are applied to, in the columns of Keras's
kernel; of a GRU, whose z is its update gate, it is called pre_activations. Where steps are masked,
mask (batch, time) is true where a step counts; a masked step's gates are 0, and its h and c are
carried over. A mask that --arrays names is there in any case.

In FILE.npz the arrays have these names; of several cells, the cell's before it: lstm/f,
both/backward/f, encoder/lstm/f.

With --gradient there are besides, (batch, time, units) each:
  dh, dc          dL/dh and dL/dc after each step (dc of an LSTM alone), L being the loss of the row
                  (--y), or what the model puts out (--target)
  forget_product  the product of the forget gates of all steps read later: what the cell state
                  alone lets through of the gradient (a GRU: update_product)

Without -o what they say is printed. A gate below 0.1 is all but shut, above 0.9 all but open. A
unit's memory is 1/(1 - f) with the mean of its forget gate (a GRU's update gate): after so many
steps a third of what is only kept is left.

Examples:
  ifco trace model.keras x.npy                             how open the gates are, what is remembered
  ifco trace model.keras x.npy --layer lstm --row 3        of the fourth sequence alone
  ifco trace model.keras x.npy --layer lstm -o t.npz       numpy.load(\"t.npz\")[\"f\"]
  ifco trace model.keras x.npy --arrays f,c -o t.npz       the forget gates and cell states of all
  ifco trace model.keras x.npy --json | jq '.cells[].memory.median'
  ifco trace model.keras x.npy --gradient                  does the gradient reach the first step?
  ifco trace model.keras x.npy --gradient --y y.npy        of the loss, instead of the output
  ifco trace model.keras x.npy --gradient --target 3 -o t.npz    numpy.load(\"t.npz\")[\"dc\"]

A long sequence is traced bit by bit, in memory that does not grow with it, where the layers allow
it. docs/trace.md in ifco's repository says when they do, and has the JSON's schema.";

/// Trace every gate and state of the recurrent layers over an input
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, mut_arg("inputs", |arg| arg.required(true)))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    input: InputArgs,

    /// Only these recurrent layers, or cells such as bidirectional/forward [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    layer: Vec<String>,

    /// Save the arrays to a .npz file
    #[arg(short, long, value_name = "FILE.npz")]
    output: Option<PathBuf>,

    /// Save only these arrays, such as f,c [default: all]
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        requires = "output"
    )]
    arrays: Vec<String>,

    /// Save also z, what the activations are applied to
    #[arg(long, requires = "output")]
    pre_activations: bool,

    /// Only this row of the input, counted from 0
    #[arg(long, value_name = "N")]
    row: Option<usize>,

    /// Print the digest as JSON with a stable schema
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    gradient: gradient::GradientArgs,

    #[command(flatten)]
    threads: ThreadsArgs,
}

/// One cell that is traced, and what was seen of it so far.
struct Cell {
    path: String,
    digest: DigestBuilder,
    /// Of its gradients, where they are traced too.
    flow: Option<FlowDigestBuilder>,
    /// How many sequences are done.
    sequences: usize,
    time: usize,
    reads_backward: bool,
}

/// What is printed of a cell.
struct Report {
    path: String,
    digest: Digest,
    flow: Option<FlowDigest>,
    sequences: usize,
    time: usize,
    reads_backward: bool,
}

/// All that takes the traces as they come.
struct Sink {
    cells: Vec<Cell>,
    save: Option<save::Save>,
    /// What the first row of the input is called.
    first_row: usize,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.output {
        save::check_name(path)?;
    }
    args.gradient.check()?;
    args.threads.apply()?;
    let opened = match args.gradient.gradient {
        true => Opened::Model(args.model.open_layers()?),
        false => args.model.open_to_run()?,
    };
    let paths: Vec<String> = {
        let mut cells = opening::cells(&opened);
        if cells.is_empty() {
            return Err(opening::no_cells(&opened).at_file(&args.model.model));
        }
        if !args.layer.is_empty() {
            let mut meant = Vec::new();
            for name in &args.layer {
                let found = opening::select(&opened, cells.clone(), name)
                    .map_err(|failure| failure.at_file(&args.model.model))?;
                meant.extend(found.into_iter().map(|(path, _)| path));
            }
            cells.retain(|(path, _)| meant.contains(path));
        }
        save::check_arrays(&cells, args)?;
        cells.into_iter().map(|(path, _)| path).collect()
    };
    let model = args.model.whole(&opened)?;
    let inputs = args.input.read(model.inputs())?;
    let mut of = match args.gradient.gradient {
        true => Some(args.gradient.of.of(model, args.row)?),
        false => None,
    };
    let inputs = match args.row {
        Some(row) => {
            one_row(model, inputs, row).map_err(|failure| failure.at(args.input.names()))?
        }
        None => inputs,
    };
    let mut sink = Sink {
        cells: Vec::new(),
        save: args
            .output
            .as_deref()
            .map(|path| save::Save::new(path, args, paths.len()))
            .transpose()?,
        first_row: args.row.unwrap_or(0),
    };
    let options = TraceOptions {
        pre_activations: sink.save.as_ref().is_some_and(save::Save::wants_sums),
    };
    let ran = match &mut of {
        None => passes::run(model, &inputs, &paths, &options, &mut sink),
        Some(of) => {
            let chosen = (&args.gradient.of, of);
            gradient::run(model, &inputs, &paths, &options, chosen, &mut sink)
        }
    };
    ran.map_err(|failure| {
        let files = args.input.names();
        failure.at_unknown(format_args!("{} on {files}", args.model.model.display()))
    })?;
    let of = of.map(|of| of.words(model)).unwrap_or_default();
    let is_saved = sink.save.is_some();
    let reports = sink.finish()?;
    if args.json {
        let file = args.model.model.display().to_string();
        return output::print(&format!("{:#}\n", json::report(&file, &reports, &of)));
    }
    match is_saved {
        true => Ok(()),
        false => output::print(&text::report(&reports, &of)),
    }
}

/// One row of each input.
fn one_row(
    model: &Model,
    inputs: Vec<ArrayD<f32>>,
    row: usize,
) -> Result<Vec<ArrayD<f32>>, Failure> {
    if model.runs_whole() {
        let what = "the model's file does not let ifco tell which axis of the inputs is the batch";
        return Err(Failure::new(what)
            .help("leave --row out, and give an input that holds the one sequence"));
    }
    let rows = model.rows(&inputs);
    if row >= rows {
        return Err(Failure::usage(format_args!(
            "there is no row {row}: the input has {}",
            count(rows, "row")
        ))
        .help("rows are counted from 0"));
    }
    let inputs = inputs.iter().zip(model.inputs());
    let one = inputs.map(|(input, port)| port.take_rows(input.view(), row..row + 1).to_owned());
    Ok(one.collect())
}

impl Sink {
    /// Takes the trace of the sequences that follow, whole ones or (`first_step`) a part of one,
    /// with what is known of its gradients.
    fn take(
        &mut self,
        path: &str,
        trace: &Trace,
        gradients: &[(&'static str, Array3<f32>)],
        part: Part,
    ) -> Result<(), Failure> {
        let known = self.cells.iter().position(|cell| cell.path == path);
        let index = known.unwrap_or_else(|| {
            self.cells.push(Cell {
                path: path.into(),
                digest: DigestBuilder::new(trace.kind(), trace.units()),
                flow: None,
                sequences: 0,
                time: 0,
                reads_backward: trace.reads_backward,
            });
            self.cells.len() - 1
        });
        let cell = &mut self.cells[index];
        let sequence = self.first_row + cell.sequences;
        cell.digest.add(trace, sequence, part.first_step);
        cell.time = cell.time.max(part.first_step + trace.time());
        if part.is_last {
            cell.sequences += trace.batch();
        }
        match &mut self.save {
            Some(save) => save.append(path, trace, gradients),
            None => Ok(()),
        }
    }

    /// Writes the file, if there is one, and gives what is to be said.
    fn finish(self) -> Result<Vec<Report>, Failure> {
        if let Some(save) = self.save {
            save.finish(&self.cells)?;
        }
        let reports = self.cells.into_iter().map(|cell| Report {
            path: cell.path,
            digest: cell.digest.finish(),
            flow: cell.flow.map(FlowDigestBuilder::finish),
            sequences: cell.sequences,
            time: cell.time,
            reads_backward: cell.reads_backward,
        });
        Ok(reports.collect())
    }
}

/// Which part of its sequences a trace is.
#[derive(Clone, Copy)]
struct Part {
    first_step: usize,
    is_last: bool,
}

impl Part {
    const WHOLE: Part = Part {
        first_step: 0,
        is_last: true,
    };
}
