//! `ifco fit classify`: a label for a text or a series.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ifco::records::Table;
use ifco::tasks::classify::{Classify, Labelled, Told, majority};
use ifco::tasks::forecast::Scaling;
use ifco::tasks::tag::Right;
use ifco::tasks::text::Level;
use ifco::tasks::{Recipe, Size};
use ndarray::{Array2, Axis, Ix1, concatenate};

use super::forecast::column_of;
use super::report::{Judged, Report, Score, typed};
use super::{Defaults, New, Options, at_random, judging, samples};
use crate::failure::Failure;
use crate::output::count;

const AFTER_HELP: &str = "\
DATA is a CSV, a line for each sample, under a line that names the columns. What is told of a sample
is a text (--text), or a series with a step in each of some columns (--series a,b,c, or FIRST..LAST
for all from one to another). Of several channels each has a --series of its own, as long as the
others.

With --id a line is a step: the lines with the same ID are a recording, of any length, and each
column of --series is a channel. Its steps are in the order of the lines, or by --time. All lines
of a recording have its label.

Each channel is scaled by its mean and deviation in the part that trains. Samples are parted at random, by the seed; with --test all of DATA trains and validates. Beside the
model stands the label that most samples of the training part have.

Examples:
  ifco fit classify reviews.csv --text review --label mood
  ifco fit classify reviews.csv --text review --label mood --level char --length 400
  ifco fit classify beats.csv --series t0..t139 --label kind --test more.csv
  ifco fit classify moves.csv --series x0..x99 --series y0..y99 --series z0..z99 --label move
  ifco fit classify sensors.csv --id run --time second --series ax,ay,az --label activity
  ifco predict reviews.keras new.csv                a label and its chance for each line";

/// Label whole texts or series
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A CSV with a line for each sample
    data: PathBuf,

    /// The column of the texts
    #[arg(long, value_name = "COLUMN", required_unless_present = "series")]
    text: Option<String>,

    /// The columns of a channel's steps, FIRST..LAST or with commas; with --id those of the channels
    #[arg(long, value_name = "COLUMNS", conflicts_with = "text")]
    series: Vec<String>,

    /// The column that tells which recording a line belongs to
    #[arg(long, value_name = "COLUMN", requires = "series")]
    id: Option<String>,

    /// The column that orders the steps of a recording [default: they are in order]
    #[arg(long, value_name = "COLUMN", requires = "id")]
    time: Option<String>,

    /// The column of the labels
    #[arg(long, value_name = "COLUMN")]
    label: String,

    /// More samples, to test on
    #[arg(long, value_name = "CSV")]
    test: Option<PathBuf>,

    /// The pieces that texts are read in: word or char
    #[arg(long, default_value_t = Level::Word)]
    level: Level,

    /// Pieces of a text that are looked at
    #[arg(long, value_name = "N", default_value = "200")]
    length: NonZeroUsize,

    /// Numbers that stand for a piece
    #[arg(long, value_name = "N", default_value = "64")]
    embedding: NonZeroUsize,

    /// The most pieces that the model knows; the most frequent ones
    #[arg(long, value_name = "N", default_value = "20000")]
    vocabulary: NonZeroUsize,

    #[command(flatten)]
    options: Options,
}

const DEFAULTS: Defaults = Defaults {
    size: Size {
        units: 64,
        layers: 1,
        dropout: 0.2,
        embedding: 64,
    },
    epochs: 20,
    batch_size: 32,
    learning_rate: 1e-3,
    patience: 3,
};

pub fn run(args: &Args) -> Result<(), Failure> {
    let output = args.options.begin(&args.data)?;
    let at_data = |failure: Failure| failure.at_file(&args.data);
    let table = Table::read(&args.data)?;
    let label = column_of(&table, &args.label).map_err(at_data)?;
    let all = samples::rows(&table, args.id.as_deref(), args.time.as_deref()).map_err(at_data)?;
    let (shares, test_apart) = ([0.7, 0.15, 0.15], args.test.is_some());
    let parts = at_random(&args.options, all.len(), shares, test_apart).map_err(at_data)?;
    let parts = parts.map(|part| {
        let rows = part.iter().map(|sample| all[*sample].clone());
        rows.collect::<Vec<_>>()
    });

    let firsts = parts[0].iter().map(|rows| label_of(&table, rows, label));
    let mut labels: Vec<String> = firsts.collect::<Result<_, _>>().map_err(at_data)?;
    labels.sort();
    labels.dedup();
    if labels.len() < 2 {
        let what = format!(
            "all samples that train have the label {:?}",
            labels.concat()
        );
        return Err(at_data(
            Failure::new(what).help("is --label the right column?"),
        ));
    }
    let told = told(args, &table, &parts[0]).map_err(at_data)?;
    let task = Classify {
        told,
        label: args.label.clone(),
        labels,
    };
    let of = |rows: &[Vec<usize>]| samples_of(&task, &table, rows, &args.data);
    let [train, validation, rest] = [of(&parts[0])?, of(&parts[1])?, of(&parts[2])?];
    let test = match &args.test {
        Some(path) => {
            let table = Table::read(path)?;
            let all = samples::rows_of(&table, &task.told).map_err(|e| e.at_file(path))?;
            samples_of(&task, &table, &all, path)?
        }
        None => rest,
    };
    let size = Size {
        embedding: args.embedding.get(),
        ..args.options.size(&DEFAULTS)
    };
    let recipe = Recipe::Classify(task.clone());
    let series = samples::series(&task.told, &table, &parts[0]).map_err(at_data)?;
    let views: Vec<_> = series.iter().map(|sample| sample.view()).collect();
    let steps = match views.is_empty() {
        true => Array2::zeros((0, 0)),
        false => concatenate(Axis(0), &views).map_err(Failure::new)?,
    };
    let scaling = Scaling::of(steps.view());
    let fitted = New {
        architecture: task.architecture(&size, &scaling),
        compile: task.compile(args.options.learning_rate(&DEFAULTS)),
        recipe: recipe.clone(),
        train: &train,
        validation: &validation,
    }
    .train(&args.options, &DEFAULTS, &output)?;

    let judge = judging(&validation, &test, |part| part.labels().len());
    let mut model = Right::default();
    fitted.answers(judge, "samples", |data, answer| {
        let came = data.targets.iter().flatten();
        for (chances, came) in answer.outer_iter().zip(came) {
            let chances = chances.into_dimensionality::<Ix1>();
            let chances: Vec<f32> = chances.iter().flatten().copied().collect();
            let said = task
                .answer(&chances)
                .and_then(|(label, _)| task.number(label));
            model.add(said == Some(*came as usize));
        }
    })?;
    let most = majority(train.labels());
    let mut without = Right::default();
    judge
        .labels()
        .iter()
        .for_each(|label| without.add(Some(*label) == most));
    let accuracy = |right: Right| vec![Score::share("accuracy", "accuracy", right.share())];
    let most = most.and_then(|most| task.labels.get(most));
    let next = format!("ifco predict {} {}", typed(&output), typed(&args.data));
    let gives = match task.told {
        Told::Recordings { .. } => "gives a label and its chance for each recording",
        Told::Text { .. } | Told::Series { .. } => "gives a label and its chance for each line",
    };
    Report {
        recipe: &recipe,
        unit: "sample",
        samples: [&train, &validation, &test].map(|part| part.labels().len()),
        judged: vec![
            Judged {
                key: "model",
                name: "this model".into(),
                scores: accuracy(model),
            },
            Judged {
                key: "majority",
                name: format!("always {:?}", most.map_or("", String::as_str)),
                scores: accuracy(without),
            },
        ],
        advice: "try more --epochs, --dropout 0.5, or more samples; is the label in the data at all?",
        next: (next, gives),
    }
    .print(&args.options, &fitted, &output)
}

/// What the model is told of each sample, by those that train.
fn told(args: &Args, table: &Table, train: &[Vec<usize>]) -> Result<Told, Failure> {
    if let Some(name) = &args.text {
        let column = column_of(table, name)?;
        let texts = train.iter().flatten().map(|row| table.text(*row, column));
        let (most, length) = (args.vocabulary.get(), args.length.get());
        return Ok(Told::text(name, args.level, texts, most, length));
    }
    let channels = args.series.iter().map(|named| columns(table, named));
    let channels: Vec<Vec<String>> = channels.collect::<Result<_, _>>()?;
    let others = [
        ("label", Some(&args.label)),
        ("ID", args.id.as_ref()),
        ("time", args.time.as_ref()),
    ];
    for (what, name) in others {
        if channels.iter().flatten().any(|own| Some(own) == name) {
            let what = format!("the {what} is among the columns of the series");
            return Err(Failure::usage(what));
        }
    }
    if let Some(id) = &args.id {
        return Ok(Told::Recordings {
            id: id.clone(),
            time: args.time.clone(),
            channels: channels.concat(),
        });
    }
    let steps = channels.first().map_or(0, Vec::len);
    if let Some((named, channel)) = args
        .series
        .iter()
        .zip(&channels)
        .find(|(_, channel)| channel.len() != steps)
    {
        let what = format!(
            "the channel {named} has {} and the first one {}",
            count(channel.len(), "step"),
            count(steps, "step")
        );
        return Err(Failure::usage(what).help("give each channel as many columns"));
    }
    if steps == 1 && channels.len() > 1 {
        let help = "give the steps of a channel in one --series, as t0..t99; with --id each line is a step";
        return Err(
            Failure::usage("each --series is a channel, and these have one step").help(help),
        );
    }
    Ok(Told::Series { channels })
}

/// The columns that `a,b` and `first..last` name.
fn columns(table: &Table, named: &str) -> Result<Vec<String>, Failure> {
    let mut columns = Vec::new();
    for part in named.split(',') {
        match part.split_once("..") {
            Some((first, last)) => {
                let (first, last) = (column_of(table, first)?, column_of(table, last)?);
                let between = table.header().get(first..=last).unwrap_or_default();
                if between.is_empty() {
                    let what = format!("the columns {part} run from right to left");
                    return Err(Failure::usage(what));
                }
                columns.extend(between.iter().cloned());
            }
            None => {
                column_of(table, part)?;
                columns.push(part.to_owned());
            }
        }
    }
    Ok(columns)
}

/// The label of a sample of these rows.
fn label_of(table: &Table, rows: &[usize], column: usize) -> Result<String, Failure> {
    let mut all = rows.iter().map(|row| (*row, table.text(*row, column)));
    let (row, label) = all.next().unwrap_or_default();
    match all.find(|(_, another)| *another != label) {
        None => Ok(label.to_owned()),
        Some((other, another)) => {
            let what = format!(
                "rows {} and {} are of one recording, and have the labels {label:?} and {another:?}",
                row + 1,
                other + 1
            );
            let help = "a recording has one label: is --id the right column?";
            Err(Failure::new(what).help(help))
        }
    }
}

/// Some samples of a table, each of these rows.
fn samples_of(
    task: &Classify,
    table: &Table,
    samples: &[Vec<usize>],
    path: &Path,
) -> Result<Labelled, Failure> {
    let at = |failure: Failure| failure.at_file(path);
    let column = column_of(table, &task.label).map_err(at)?;
    let number = |rows: &Vec<usize>| {
        let label = label_of(table, rows, column).map_err(at)?;
        task.number(&label).ok_or_else(|| {
            let row = rows.first().map_or(0, |row| row + 1);
            let what = format!("row {row} has the label {label:?}");
            let help = "no sample that trains has it: give more samples, or another --seed";
            at(Failure::new(what).help(help))
        })
    };
    let labels = samples
        .iter()
        .map(number)
        .collect::<Result<Vec<usize>, _>>()?;
    samples::labelled(&task.told, table, samples, labels).map_err(at)
}
