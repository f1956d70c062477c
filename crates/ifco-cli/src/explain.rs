//! `ifco explain`: what each step of the input contributes to what the model puts out.

use std::path::PathBuf;

use clap::ValueEnum;
use ifco::{AttributionMethod, Model, Target, Tensor};
use ndarray::{ArrayD, ArrayViewD, Axis, concatenate};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::labels::{Labels, LabelsArgs};
use crate::opening::ModelArgs;
use crate::output::{self, count, json_number, short, table};
use crate::predict::inputs::InputArgs;
use crate::progress::Progress;
use crate::target::{TargetArgs, words};
use crate::threads::ThreadsArgs;

const AFTER_HELP: &str = "\
INPUT is what `ifco predict` takes: .npy, .npz or .csv, one file or one for each input of the model.

Integrated gradients follow the model's number on its way from an input of zeros to the input: each
step of the input gets what it has contributed, and the contributions add up to the difference. The
last line tells how well they do. --method gradient multiplies the input by the gradient there:
faster, and exact of a linear model alone. Tokens contribute by their vectors, with the sum of all
of their numbers.

FILE.npz has an array for each input, in its shape and by its name, and `value` and `baseline` with
a number for each row.

Examples:
  ifco explain model.keras x.npy                             of the first row
  ifco explain model.keras x.npy --row 3 --labels words.txt  of the fourth, with the steps' names
  ifco explain model.keras x.npy --target 2 -o parts.npz     of the third unit, of all rows
  ifco explain model.keras x.npy --json | jq '.rows[].inputs[].steps'";

/// Tell what each step of the input contributes to what the model puts out
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, mut_arg("inputs", |arg| arg.required(true)))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    target: TargetArgs,

    /// How it is computed
    #[arg(long, value_enum, default_value_t = Method::Integrated)]
    method: Method,

    /// At so many points on the way from zeros to the input
    #[arg(long, value_name = "N", default_value = "64")]
    points: std::num::NonZeroUsize,

    /// Only this row of the input, counted from 0 [default: the first; with -o or --json all]
    #[arg(long, value_name = "N")]
    row: Option<usize>,

    #[command(flatten)]
    labels: LabelsArgs,

    /// Save the contributions to a .npz file
    #[arg(short, long, value_name = "FILE.npz")]
    output: Option<PathBuf>,

    /// Print them as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    threads: ThreadsArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// Integrated gradients
    Integrated,
    /// The gradient times the input
    Gradient,
}

/// More steps of one input are not listed: those that contribute most are.
const MOST_LISTED: usize = 40;

/// The longest bar of the list.
const BAR: usize = 24;

/// The contributions of some rows.
struct Found {
    of: String,
    inputs: Vec<ArrayD<f32>>,
    values: Vec<f32>,
    baselines: Vec<f32>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.output
        && path
            .extension()
            .is_none_or(|ending| !ending.eq_ignore_ascii_case("npz"))
    {
        let name = path.display();
        let what = format_args!("contributions are saved as .npz, not as \"{name}\"").to_string();
        return Err(Failure::usage(what).help("end the name in .npz"));
    }
    args.threads.apply()?;
    let model = args.model.open_layers()?;
    let arrays = args.input.read(model.inputs())?;
    let views: Vec<_> = arrays.iter().map(|input| input.view()).collect();
    let fitted = model.fit_inputs(&views)?;
    let rows = model.rows(&fitted);
    let first = args.row.unwrap_or(0);
    if first >= rows {
        let what = format_args!(
            "there is no row {first}: the input has {}",
            count(rows, "row")
        )
        .to_string();
        return Err(Failure::usage(what).help("rows are counted from 0"));
    }
    let all = args.row.is_none() && (args.json || args.output.is_some());
    let chosen = if all { 0..rows } else { first..first + 1 };
    let files = args.input.names();
    let found = explain(args, &model, &fitted, chosen.clone()).map_err(|failure| {
        failure.at_unknown(format_args!("{} on {files}", args.model.model.display()))
    })?;
    if let Some(path) = &args.output {
        save(path, &model, &found)?;
    }
    let labels = args.labels.read()?;
    if args.json {
        let report = report(args, &model, &found, chosen.start);
        return output::print(&format!("{report:#}\n"));
    }
    match args.output {
        Some(_) => Ok(()),
        None => {
            let labels = match &labels {
                Some(labels) => Some(labels_of(labels, &found.inputs[0], (first, rows))?),
                None => None,
            };
            output::print(&text(&model, &found, chosen.start, labels.as_deref()))
        }
    }
}

fn explain(
    args: &Args,
    model: &Model,
    inputs: &[ArrayViewD<'_, f32>],
    rows: std::ops::Range<usize>,
) -> Result<Found, Failure> {
    let method = match args.method {
        Method::Gradient => AttributionMethod::GradientTimesInput,
        Method::Integrated => AttributionMethod::IntegratedGradients {
            points: args.points.get(),
        },
    };
    let size = model
        .static_batch_size()
        .unwrap_or(Model::DEFAULT_BATCH_SIZE);
    let mut progress = Progress::new(rows.len() as u64, "rows");
    let mut target: Option<Target> = None;
    let mut parts = Vec::new();
    for first in rows.clone().step_by(size) {
        let end = rows.end.min(first + size);
        let batch = inputs.iter().zip(model.inputs());
        let batch: Vec<_> = batch
            .map(|(input, port)| port.take_rows(input.view(), first..end))
            .collect();
        let of = match target {
            Some(target) => target,
            None => {
                model.reset_states();
                let outputs = model.predict_all(&batch, size, &mut |_| {})?;
                let outputs: Vec<Tensor> = outputs.into_iter().map(Tensor::new).collect();
                *target.insert(args.target.of(model, &outputs)?)
            }
        };
        parts.push(model.attribution(&batch, &of, method)?);
        progress.show((end - rows.start) as u64);
    }
    let together = |index: usize| {
        let views: Vec<_> = parts.iter().map(|part| part.inputs[index].view()).collect();
        concatenate(Axis(0), &views).map_err(Failure::new)
    };
    Ok(Found {
        of: words(&target.unwrap_or_default(), model),
        inputs: (0..inputs.len()).map(together).collect::<Result<_, _>>()?,
        values: parts.iter().flat_map(|part| part.values.clone()).collect(),
        baselines: parts
            .iter()
            .flat_map(|part| part.baselines.clone())
            .collect(),
    })
}

/// What the steps of the one row of `input` are called. Where there are fewer labels than steps, they
/// are those of the steps that are not masked: these contribute something.
fn labels_of(
    labels: &Labels,
    input: &ArrayD<f32>,
    row: (usize, usize),
) -> Result<Vec<String>, Failure> {
    let steps = steps(input.index_axis(Axis(0), 0));
    let counting = steps.iter().filter(|step| **step != 0.0).count();
    let given = labels.of(row, (steps.len(), counting))?;
    if given.len() == steps.len() {
        return Ok(given);
    }
    let mut given = given.into_iter();
    let place = |step: &f64| match *step == 0.0 {
        true => String::new(),
        false => given.next().unwrap_or_default(),
    };
    Ok(steps.iter().map(place).collect())
}

/// What each step of a row contributes, `(time)`: the sum over its features.
fn steps(contributions: ArrayViewD<'_, f32>) -> Vec<f64> {
    if contributions.ndim() == 0 {
        return contributions.iter().copied().map(f64::from).collect();
    }
    let sum = |step: ArrayViewD<'_, f32>| step.iter().copied().map(f64::from).sum();
    contributions.outer_iter().map(sum).collect()
}

fn save(path: &std::path::Path, model: &Model, found: &Found) -> Result<(), Failure> {
    let numbers = |values: &[f32]| ArrayD::from_shape_vec(vec![values.len()], values.to_vec());
    let values = numbers(&found.values).map_err(Failure::new)?;
    let baselines = numbers(&found.baselines).map_err(Failure::new)?;
    let names = model.inputs().iter().map(|port| port.name.clone());
    let inputs = found.inputs.iter().map(|input| input.view());
    let mut arrays: Vec<(String, ArrayViewD<'_, f32>)> = names.zip(inputs).collect();
    arrays.push(("value".into(), values.view()));
    arrays.push(("baseline".into(), baselines.view()));
    Ok(ifco::arrays::npz::write(path, &arrays)?)
}

fn report(args: &Args, model: &Model, found: &Found, first: usize) -> Value {
    let rows = (0..found.values.len()).map(|row| {
        let inputs = model.inputs().iter().zip(&found.inputs);
        let inputs = inputs.map(|(port, input)| {
            let steps = steps(input.index_axis(Axis(0), row)).into_iter();
            json!({ "name": port.name, "steps": steps.map(json_number).collect::<Vec<_>>() })
        });
        json!({
            "row": first + row,
            "value": json_number(found.values[row].into()),
            "baseline": json_number(found.baselines[row].into()),
            "inputs": inputs.collect::<Vec<_>>(),
        })
    });
    json!({
        "schema": 1,
        "file": args.model.model.display().to_string(),
        "of": found.of,
        "rows": rows.collect::<Vec<_>>(),
    })
}

/// One row, a line for each step.
fn text(model: &Model, found: &Found, row: usize, labels: Option<&[String]>) -> String {
    let (value, baseline) = (f64::from(found.values[0]), f64::from(found.baselines[0]));
    let mut text = format!(
        "row {row}: {} is {}; of zeros it is {}\n",
        found.of,
        short(value),
        short(baseline)
    );
    let mut sum = 0.0;
    for (index, (port, input)) in model.inputs().iter().zip(&found.inputs).enumerate() {
        let steps = steps(input.index_axis(Axis(0), 0));
        sum += steps.iter().sum::<f64>();
        let most = steps
            .iter()
            .fold(0.0, |most: f64, step| most.max(step.abs()));
        let mut listed: Vec<usize> = (0..steps.len()).collect();
        listed.sort_by(|one, other| steps[*other].abs().total_cmp(&steps[*one].abs()));
        listed.truncate(MOST_LISTED);
        listed.sort_unstable();
        text.push_str(&match listed.len() < steps.len() {
            true => format!(
                "\n  {}: the {MOST_LISTED} of {} that contribute most\n\n",
                port.name,
                count(steps.len(), "step")
            ),
            false => format!("\n  {}\n\n", port.name),
        });
        // Names are those of the first input's steps.
        let labels = labels.filter(|labels| index == 0 && labels.len() == steps.len());
        let lines = listed.into_iter().map(|step| {
            let label = labels.map_or(String::new(), |labels| labels[step].clone());
            let length = match most > 0.0 {
                true => (steps[step].abs() / most * BAR as f64).round() as usize,
                false => 0,
            };
            let bar = "█".repeat(length);
            let bar = match steps[step] < 0.0 {
                true => format!("{bar:>BAR$}│"),
                false => format!("{:>BAR$}│{bar}", ""),
            };
            vec![
                String::new(),
                step.to_string(),
                label,
                short(steps[step]),
                bar,
            ]
        });
        let header = ["", "step", "", "contributes", ""];
        text.push_str(&table(&header, &[1, 3], lines.collect()));
    }
    let right = value - baseline;
    text.push_str(&format!(
        "\n  they add up to {}, {} from {}\n",
        short(sum),
        short((sum - right).abs()),
        short(right),
    ));
    text
}
