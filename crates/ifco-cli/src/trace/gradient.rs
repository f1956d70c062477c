//! `ifco trace --gradient`: the way back through the sequences, batch by batch.

use std::path::PathBuf;

use ifco::train::{Compile, OutputTraining, Weighting};
use ifco::{
    Array, FlowDigestBuilder, Model, ModelError, ModelGradientTrace, Target, Tensor, TraceOptions,
};
use ndarray::{ArrayD, ArrayViewD, Axis, Slice};
use serde_json::{Value, json};

use super::{Part, Sink};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::target::{TargetArgs, words};
use crate::train::data;

/// So many bytes are held for the way back at a time: what is larger is done in batches of rows.
const BUDGET: usize = 256 << 20;

/// A sequence whose way back takes more is refused: it goes back through all of its steps at once.
const MOST: usize = 4 << 30;

#[derive(clap::Args)]
#[command(next_help_heading = "Gradient", mut_arg("y", |arg| arg.requires("gradient")))]
pub struct GradientArgs {
    /// Keep also the gradient by every state: dL/dh and dL/dc at each step
    #[arg(long)]
    pub gradient: bool,

    #[command(flatten)]
    pub of: OfArgs,
}

/// What a gradient is of.
#[derive(clap::Args)]
#[command(next_help_heading = "Gradient")]
pub struct OfArgs {
    /// The gradient of the loss, with what is wanted of the inputs: .npy, .npz or .csv
    #[arg(long, value_name = "FILE", num_args = 1..)]
    y: Vec<PathBuf>,

    /// By Keras's name [default: what the model's file was compiled with]
    #[arg(long, value_name = "NAME", requires = "y")]
    loss: Option<String>,

    #[command(flatten)]
    target: TargetArgs,
}

/// What the gradient is of, with all that it takes.
pub enum Of {
    /// The loss: what is wanted, one array for each output, and what each output is judged by.
    Loss {
        targets: Vec<ArrayD<f32>>,
        outputs: Vec<OutputTraining>,
    },
    /// What the model puts out; `None` as long as that is not known.
    Target(Option<Target>),
}

impl GradientArgs {
    /// What does not go together.
    pub fn check(&self) -> Result<(), Failure> {
        match self.of.target.is_given() && !self.gradient {
            true => Err(Failure::usage("--target and --at go with --gradient alone")),
            false => Ok(()),
        }
    }
}

impl OfArgs {
    /// Whether anything was said.
    pub fn is_given(&self) -> bool {
        !self.y.is_empty() || self.target.is_given()
    }

    /// Reads what there is to read: of one row of the input, or of all.
    pub fn of(&self, model: &Model, row: Option<usize>) -> Result<Of, Failure> {
        if self.y.is_empty() {
            return Ok(Of::Target(None));
        }
        if self.target.is_given() {
            let what = "the gradient is of the loss (--y), or of the output (--target, --at)";
            return Err(Failure::usage(what).help("leave one of them out"));
        }
        let mut config = ifco::compile_config(model).unwrap_or_else(|| json!({}));
        if let Some(name) = &self.loss {
            config["loss"] = json!(name);
        }
        if config.get("loss").is_none_or(Value::is_null) {
            let what = "the model's file does not say what loss it was compiled with";
            return Err(Failure::usage(what).help("give --loss mse, or another one"));
        }
        // How the model is trained is of no matter here, and may be anything.
        for key in [
            "optimizer",
            "optimizer_config",
            "metrics",
            "weighted_metrics",
        ] {
            config[key] = Value::Null;
        }
        let compile = Compile::from_keras(&config)?;
        let names: Vec<&str> = model
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let outputs = compile.outputs(&names)?;
        let mut targets = data::targets(&self.y, model, &outputs)?;
        if let Some(row) = row {
            for target in &mut targets {
                if row >= target.len_of(Axis(0)) {
                    return Err(Failure::usage(format_args!("--y has no row {row}")));
                }
                let own = Slice::from(row..row + 1);
                *target = target.slice_axis(Axis(0), own).to_owned();
            }
        }
        Ok(Of::Loss { targets, outputs })
    }
}

impl Of {
    /// Chooses what fits the outputs, where that is not known yet.
    fn settle(&mut self, args: &OfArgs, model: &Model, outputs: &[Tensor]) -> Result<(), Failure> {
        if let Of::Target(target @ None) = self {
            *target = Some(args.target.of(model, outputs)?);
        }
        Ok(())
    }

    /// In words: "the loss (mse)".
    pub fn words(&self, model: &Model) -> String {
        match self {
            Of::Loss { outputs, .. } => {
                let names = outputs.iter().filter_map(|output| output.loss.as_ref());
                let names: Vec<&str> = names.map(|loss| loss.name.as_str()).collect();
                format!("the loss ({})", names.join(" + "))
            }
            Of::Target(target) => words(&target.unwrap_or_default(), model),
        }
    }

    /// The gradient by the outputs of some rows, the first of which has this number.
    fn by_outputs(&self, outputs: &[Tensor], first: usize) -> Result<Vec<Option<Array>>, Failure> {
        match self {
            Of::Target(target) => Ok(target.unwrap_or_default().gradients(outputs)?),
            Of::Loss {
                targets,
                outputs: judges,
            } => outputs
                .iter()
                .zip(targets)
                .zip(judges)
                .map(|((output, target), judge)| by_loss(output, target.view(), judge, first))
                .collect(),
        }
    }
}

/// The gradient of the loss of each row alone, as if it were a batch of its own: so it does not
/// depend on how many rows there are.
fn by_loss(
    output: &Tensor,
    target: ArrayViewD<'_, f32>,
    judge: &OutputTraining,
    first: usize,
) -> Result<Option<Array>, Failure> {
    let Some(loss) = &judge.loss else {
        return Ok(None);
    };
    let mut gradient = Array::zeros(output.shape().to_vec());
    let rows = output.shape().first().copied().unwrap_or(0);
    for row in 0..rows {
        let own = Slice::from(row..row + 1);
        let wanted = target.slice_axis(Axis(0), Slice::from(first + row..first + row + 1));
        let mask = output.mask.as_ref();
        let weighting = Weighting {
            mask: mask.map(|mask| mask.slice_axis(Axis(0), own)),
            ..Weighting::default()
        };
        let predicted = output.data.slice_axis(Axis(0), own);
        let found = loss.with_gradient(&wanted, &predicted, &weighting)?;
        let mut to = gradient.slice_axis_mut(Axis(0), own);
        to.assign(&found.gradient);
        to *= judge.loss_weight;
    }
    Ok(Some(gradient))
}

impl Of {
    /// Traces the cells at `paths` with their gradients, on a batch whose first row has this number.
    pub fn trace(
        &mut self,
        args: &OfArgs,
        (model, paths): (&Model, &[&str]),
        batch: &[ArrayViewD<'_, f32>],
        options: &TraceOptions,
        first: usize,
    ) -> Result<ModelGradientTrace, Failure> {
        let mut failure = None;
        let traced = model.trace_gradient(paths, batch, options, |outputs| {
            let found = self.settle(args, model, outputs);
            found
                .and_then(|()| self.by_outputs(outputs, first))
                .map_err(|error| {
                    failure = Some(error);
                    ModelError::Inputs(String::new())
                })
        });
        match failure {
            Some(failure) => Err(failure),
            None => Ok(traced?),
        }
    }

    /// What is wanted must be so of as many rows as the input has.
    pub fn check_rows(&self, rows: usize) -> Result<(), Failure> {
        let Self::Loss { targets, .. } = self else {
            return Ok(());
        };
        match targets.iter().find(|target| target.len_of(Axis(0)) != rows) {
            None => Ok(()),
            Some(target) => Err(Failure::usage(format_args!(
                "--y has {} rows, and the input has {rows}",
                target.len_of(Axis(0))
            ))),
        }
    }
}

/// What the way back of a row of such inputs takes, in bytes.
pub fn bytes_of_row(model: &Model, inputs: &[ArrayViewD<'_, f32>]) -> Result<usize, Failure> {
    let steps = inputs.iter().zip(model.inputs());
    let steps = steps.map(|(input, port)| port.steps(input.shape()));
    let time = steps.max().unwrap_or(1);
    // The layers keep all of their gates, and as much again is made of them.
    let cells = model.cells();
    let row = cells
        .iter()
        .map(|(path, _)| super::passes::bytes_per_step(model, path))
        .fold(0, usize::saturating_add)
        .saturating_mul(2)
        .saturating_mul(time);
    match row > MOST {
        true => Err(Failure::new(format_args!(
            "the way back through {time} steps takes about {} GB of memory",
            row >> 30
        ))
        .help("give fewer steps: a gradient goes back through the whole sequence at once")),
        false => Ok(row),
    }
}

/// Traces the cells at `paths` with their gradients.
pub(super) fn run(
    model: &Model,
    inputs: &[ArrayD<f32>],
    paths: &[String],
    options: &TraceOptions,
    (args, of): (&OfArgs, &mut Of),
    sink: &mut Sink,
) -> Result<(), Failure> {
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    let inputs = model.fit_inputs(&views)?;
    let rows = model.rows(&inputs);
    of.check_rows(rows)?;
    let row = bytes_of_row(model, &inputs)?;
    let size = model
        .static_batch_size()
        .unwrap_or_else(|| (BUDGET / row.max(1)).clamp(1, Model::DEFAULT_BATCH_SIZE));
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut progress = Progress::new(rows as u64, "rows");
    for first in (0..rows).step_by(size) {
        let end = rows.min(first + size);
        let batch = inputs.iter().zip(model.inputs());
        let batch: Vec<_> = batch
            .map(|(input, port)| port.take_rows(input.view(), first..end))
            .collect();
        let traced = of.trace(args, (model, &paths), &batch, options, first)?;
        for (path, gradient) in &traced.traces {
            sink.take(path, &gradient.trace, &gradient.arrays(), Part::WHOLE)?;
            let cell = sink.cells.iter_mut().find(|cell| cell.path == *path);
            if let Some(cell) = cell {
                let kind = gradient.trace.kind();
                let flow = cell
                    .flow
                    .get_or_insert_with(|| FlowDigestBuilder::new(kind));
                flow.add(gradient);
            }
        }
        progress.show(end as u64);
    }
    Ok(())
}
