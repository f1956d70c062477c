//! `ifco fit forecast`: the next values of a series.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ifco::records::Table;
use ifco::tasks::forecast::{Errors, Forecast, Naive};
use ifco::tasks::{Recipe, Size};
use ndarray::{Array2, s};

use super::report::{Judged, Report, Score, typed};
use super::{Defaults, New, Options, judging};
use crate::failure::Failure;
use crate::opening::closest;

const AFTER_HELP: &str = "\
DATA is a CSV, a line for each step in the order of time, under a line that names the columns.
Columns with anything but numbers, as dates, are passed over.

The network answers with --horizon steps of the target behind a window of the last ones. It scales
what it is told, by mean and variance of the training part, so its inputs and outputs are raw values.

The parts lie one behind the other in time. Beside the test error stand those of the last value, and
of the season: the value as many steps before as forecast the training part best (or --season).

Examples:
  ifco fit forecast ETTh1.csv --target OT --window 96 --horizon 24
  ifco fit forecast ETTh1.csv --target OT --inputs OT,HUFL --units 32 --epochs 5
  ifco fit forecast ETTh1.csv --target OT --split 8640,2880,2880      numbers of rows
  ifco predict ETTh1.keras ETTh1.csv                                  the steps behind the last row";

/// Forecast a column of a CSV
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A CSV with a line for each step
    data: PathBuf,

    /// The column to forecast [default: the last one with numbers]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,

    /// The columns that the model is told [default: all with numbers]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    inputs: Option<Vec<String>>,

    /// How many steps the model is told
    #[arg(long, value_name = "N", default_value = "48")]
    window: NonZeroUsize,

    /// How many steps it forecasts
    #[arg(long, value_name = "N", default_value = "12")]
    horizon: NonZeroUsize,

    /// After how many steps everything comes again, for the naive forecast [default: what fits the
    /// training part best]
    #[arg(long, value_name = "N")]
    season: Option<NonZeroUsize>,

    #[command(flatten)]
    options: Options,
}

const DEFAULTS: Defaults = Defaults {
    size: Size {
        units: 64,
        layers: 1,
        dropout: 0.0,
        embedding: 0,
    },
    epochs: 20,
    batch_size: 64,
    learning_rate: 1e-3,
    patience: 3,
};

pub fn run(args: &Args) -> Result<(), Failure> {
    let output = args.options.begin(&args.data)?;
    let at_data = |failure: Failure| failure.at_file(&args.data);
    let table = Table::read(&args.data)?;
    let (columns, target) = columns(args, &table).map_err(at_data)?;
    let task = Forecast {
        target,
        window: args.window.get(),
        horizon: args.horizon.get(),
        columns,
    };
    let numbers = numbers(&table, &task.columns).map_err(at_data)?;
    let split = args.options.split([0.7, 0.1, 0.2])?;
    let parts = task
        .samples(numbers.clone(), &split)
        .map_err(|error| at_data(error.into()))?;
    let size = args.options.size(&DEFAULTS);
    let rate = args.options.learning_rate(&DEFAULTS);
    let recipe = Recipe::Forecast(task.clone());
    let fitted = New {
        architecture: task.architecture(&size, &parts.scaling),
        compile: task.compile(rate, &parts.scaling),
        recipe: recipe.clone(),
        train: &parts.train,
        validation: &parts.validation,
    }
    .train(&args.options, &DEFAULTS, &output)?;

    let judge = judging(&parts.validation, &parts.test, |part| part.count());
    let mut errors = Errors::default();
    fitted.answers(judge, "windows", |data, answer| {
        let came = data.targets.iter().flatten();
        answer
            .iter()
            .zip(came)
            .for_each(|(y, came)| errors.add(&[*y], &[*came]));
    })?;
    let scores = |errors: Errors| {
        vec![
            Score::of("mae", "MAE", errors.mae()),
            Score::of("rmse", "RMSE", errors.rmse()),
        ]
    };
    let mut judged = vec![Judged {
        key: "model",
        name: "this model".into(),
        scores: scores(errors),
    }];
    let train = numbers.slice(s![parts.rows[0].clone(), target]);
    let longest = train.len() / 3;
    let season = match args.season {
        Some(season) => Some(Naive::Season(season.get())),
        None => Naive::season(train, task.horizon, longest.min(10_000)),
    };
    if let Some(Naive::Season(steps)) = season {
        judged.push(Judged {
            key: "seasonal_naive",
            name: format!("the value {steps} steps before"),
            scores: scores(Naive::Season(steps).errors(judge)),
        });
    }
    judged.push(Judged {
        key: "last_value",
        name: "the last value".into(),
        scores: scores(Naive::Last.errors(judge)),
    });
    let next = format!("ifco predict {} {}", typed(&output), typed(&args.data));
    Report {
        recipe: &recipe,
        unit: "window",
        samples: [&parts.train, &parts.validation, &parts.test].map(|part| part.count()),
        judged,
        advice: "try --inputs with the target alone, another --window, fewer --units, --dropout 0.2",
        next: (next, "forecasts the steps behind the last row"),
    }
    .print(&args.options, &fitted, &output)
}

/// The columns that the model is told, and which of them it forecasts.
fn columns(args: &Args, table: &Table) -> Result<(Vec<String>, usize), Failure> {
    let numeric = (0..table.header().len()).filter(|column| table.is_numeric(*column));
    let numeric: Vec<String> = numeric.map(|c| table.header()[c].clone()).collect();
    let Some(last) = numeric.last() else {
        let what = "no column has numbers in all of its rows";
        return Err(Failure::new(what).help("fill in what is missing, or leave such rows out"));
    };
    let target = args.target.as_ref().unwrap_or(last);
    let mut columns = args.inputs.clone().unwrap_or_else(|| numeric.clone());
    // What is forecast is told too: the forecast begins at its last value.
    if !columns.contains(target) {
        columns.push(target.clone());
    }
    let index = columns.iter().position(|own| own == target).unwrap_or(0);
    Ok((columns, index))
}

/// These columns as numbers, `(rows, columns)`.
pub fn numbers(table: &Table, columns: &[String]) -> Result<Array2<f32>, Failure> {
    let mut numbers = Array2::zeros((table.rows(), columns.len()));
    for (name, mut column) in columns.iter().zip(numbers.columns_mut()) {
        let index = column_of(table, name)?;
        column.assign(&ndarray::Array1::from(table.numbers(index)?));
    }
    Ok(numbers)
}

/// The column with this name, which must be there.
pub fn column_of(table: &Table, name: &str) -> Result<usize, Failure> {
    table.column(name).ok_or_else(|| {
        let names: Vec<&str> = table.header().iter().map(String::as_str).collect();
        let list: Vec<&str> = names.iter().copied().take(20).collect();
        let more = if names.len() > 20 { ", …" } else { "" };
        let list = format!("its columns are: {}{more}", list.join(", "));
        let failure = Failure::new(format_args!("there is no column {name:?}"));
        failure.help(match closest(name, &names) {
            Some(closest) => format!("did you mean {closest:?}? {list}"),
            None => list,
        })
    })
}
