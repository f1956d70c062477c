//! `ifco fit classify`: a label for a text or a series.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ifco::records::Table;
use ifco::tasks::classify::{Classify, Labelled, Told, majority};
use ifco::tasks::forecast::Scaling;
use ifco::tasks::tag::Right;
use ifco::tasks::text::Level;
use ifco::tasks::{Recipe, Size, shuffled};
use ndarray::{Axis, Ix1};

use super::forecast::{column_of, numbers};
use super::report::{Judged, Report, Score, typed};
use super::{Defaults, New, Options};
use crate::failure::Failure;

const AFTER_HELP: &str = "\
DATA is a CSV, a line for each sample, under a line that names the columns. What is told of a sample
is a text (--text), or a series with a step in each of some columns (--series a,b,c, or FIRST..LAST
for all from one to another).

Samples are parted at random, by the seed; with --test all of DATA trains and validates. Beside the
model stands the label that most samples of the training part have.

Examples:
  ifco fit classify reviews.csv --text review --label mood
  ifco fit classify reviews.csv --text review --label mood --level char --length 400
  ifco fit classify beats.csv --series t0..t139 --label kind --test more.csv
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

    /// The columns of the steps, FIRST..LAST or with commas
    #[arg(
        long,
        value_name = "COLUMNS",
        value_delimiter = ',',
        conflicts_with = "text"
    )]
    series: Vec<String>,

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
    let default = match args.test {
        Some(_) => [0.85, 0.15, 0.0],
        None => [0.7, 0.15, 0.15],
    };
    let split = args.options.split(default)?;
    let parts = split.parts(table.rows()).map_err(|e| at_data(e.into()))?;
    let order = shuffled(table.rows(), args.options.seed);
    let parts = parts.map(|part| order[part].to_vec());

    let mut labels: Vec<String> = parts[0]
        .iter()
        .map(|row| table.text(*row, label).to_owned())
        .collect();
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
    let of = |rows: &[usize]| samples(&task, &table, rows, &args.data);
    let [train, validation, rest] = [of(&parts[0])?, of(&parts[1])?, of(&parts[2])?];
    let test = match &args.test {
        Some(path) => {
            let table = Table::read(path)?;
            let all: Vec<usize> = (0..table.rows()).collect();
            samples(&task, &table, &all, path)?
        }
        None => rest,
    };
    let size = Size {
        embedding: args.embedding.get(),
        ..args.options.size(&DEFAULTS)
    };
    let recipe = Recipe::Classify(task.clone());
    let scaling = match &task.told {
        Told::Series { columns } => {
            let all = numbers(&table, columns).map_err(at_data)?;
            let rows = all.select(Axis(0), &parts[0]);
            let flat: Vec<f32> = rows.into_iter().collect();
            let count = flat.len();
            let column = ndarray::Array2::from_shape_vec((count, 1), flat);
            Scaling::of(column.map_err(Failure::new)?.view())
        }
        Told::Text { .. } => Scaling {
            mean: Vec::new(),
            deviation: Vec::new(),
        },
    };
    let fitted = New {
        architecture: task.architecture(&size, &scaling),
        compile: task.compile(args.options.learning_rate(&DEFAULTS)),
        recipe: recipe.clone(),
        train: &train,
        validation: &validation,
    }
    .train(&args.options, &DEFAULTS, &output)?;

    let judge = match test.labels().is_empty() {
        true => &validation,
        false => &test,
    };
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
        next: (next, "gives a label and its chance for each line"),
    }
    .print(&args.options, &fitted, &output)
}

/// What the model is told of each sample, by those that train.
fn told(args: &Args, table: &Table, train: &[usize]) -> Result<Told, Failure> {
    if let Some(name) = &args.text {
        let column = column_of(table, name)?;
        let texts = train.iter().map(|row| table.text(*row, column));
        let (most, length) = (args.vocabulary.get(), args.length.get());
        return Ok(Told::text(name, args.level, texts, most, length));
    }
    let mut columns = Vec::new();
    for named in &args.series {
        match named.split_once("..") {
            Some((first, last)) => {
                let (first, last) = (column_of(table, first)?, column_of(table, last)?);
                let between = table.header().get(first..=last).unwrap_or_default();
                if between.is_empty() {
                    let what = format!("the columns {named} run from right to left");
                    return Err(Failure::usage(what));
                }
                columns.extend(between.iter().cloned());
            }
            None => columns.push(named.clone()),
        }
    }
    match columns.contains(&args.label) {
        true => Err(Failure::usage(
            "the label is among the columns of the series",
        )),
        false => Ok(Told::Series { columns }),
    }
}

/// Some rows of a table as samples.
fn samples(
    task: &Classify,
    table: &Table,
    rows: &[usize],
    path: &Path,
) -> Result<Labelled, Failure> {
    let at = |failure: Failure| failure.at_file(path);
    let column = column_of(table, &task.label).map_err(at)?;
    let number = |row: &usize| {
        let label = table.text(*row, column);
        task.number(label).ok_or_else(|| {
            let what = format!("row {} has the label {label:?}", row + 1);
            let help = "no sample that trains has it: give more samples, or another --seed";
            at(Failure::new(what).help(help))
        })
    };
    let labels = rows.iter().map(number).collect::<Result<Vec<usize>, _>>()?;
    match &task.told {
        Told::Text { column, .. } => {
            let column = column_of(table, column).map_err(at)?;
            let texts = rows.iter().map(|row| table.text(*row, column));
            let texts = texts.map(|text| task.told.numbers(text)).collect();
            Ok(Labelled::texts(texts, labels))
        }
        Told::Series { columns } => {
            let all = numbers(table, columns).map_err(at)?;
            Ok(Labelled::series(all.select(Axis(0), rows), labels))
        }
    }
}
