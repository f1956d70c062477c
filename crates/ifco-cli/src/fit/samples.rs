//! The samples of a classifier in a table: texts, series side by side, or recordings.

use ifco::records::Table;
use ifco::tasks::classify::{Labelled, NO_STEP, Told, recordings};
use ndarray::{Array2, Axis};

use super::forecast::{column_of, numbers};
use crate::failure::Failure;

/// The rows of each sample: one, or those of a recording in the order of its steps.
pub fn rows(
    table: &Table,
    id: Option<&str>,
    time: Option<&str>,
) -> Result<Vec<Vec<usize>>, Failure> {
    let all = 0..table.rows();
    let Some(id) = id else {
        return Ok(all.map(|row| vec![row]).collect());
    };
    let id = column_of(table, id)?;
    let time = time.map(|name| column_of(table, name)).transpose()?;
    let texts = |column: usize| all.clone().map(move |row| table.text(row, column));
    let times: Option<Vec<&str>> = time.map(|column| texts(column).collect());
    Ok(recordings(texts(id), times.as_deref()))
}

/// The samples of a table that a model is to label.
pub fn rows_of(table: &Table, told: &Told) -> Result<Vec<Vec<usize>>, Failure> {
    match told {
        Told::Recordings { id, time, .. } => rows(table, Some(id), time.as_deref()),
        Told::Text { .. } | Told::Series { .. } => rows(table, None, None),
    }
}

/// Samples, each of these rows, as the model is told them.
pub fn labelled(
    told: &Told,
    table: &Table,
    samples: &[Vec<usize>],
    labels: Vec<usize>,
) -> Result<Labelled, Failure> {
    let Told::Text { column, .. } = told else {
        return Ok(Labelled::series(series(told, table, samples)?, labels));
    };
    let column = column_of(table, column)?;
    let rows = samples.iter().flatten();
    let numbers = rows.map(|row| told.numbers(table.text(*row, column)));
    Ok(Labelled::texts(numbers.collect(), labels))
}

/// What is told of each sample, `(steps, channels)`; of texts nothing.
pub fn series(
    told: &Told,
    table: &Table,
    samples: &[Vec<usize>],
) -> Result<Vec<Array2<f32>>, Failure> {
    match told {
        Told::Text { .. } => Ok(Vec::new()),
        Told::Series { channels } => {
            let all = channels.iter().map(|steps| finite(table, steps));
            let all: Vec<Array2<f32>> = all.collect::<Result<_, _>>()?;
            let steps = all.first().map_or(0, |channel| channel.ncols());
            let sample = |row: &usize| {
                let value = |(step, channel): (usize, usize)| all[channel][[*row, step]];
                Array2::from_shape_fn((steps, all.len()), value)
            };
            Ok(samples.iter().flatten().map(sample).collect())
        }
        Told::Recordings { channels, .. } => {
            let all = finite(table, channels)?;
            let is_none = |row: ndarray::ArrayView1<'_, f32>| row.iter().all(|x| *x == NO_STEP);
            if let Some(row) = all.outer_iter().position(is_none) {
                let what = format!("row {} has {NO_STEP} in all channels", row + 1);
                return Err(Failure::new(what).help("that stands for no step: leave the row out"));
            }
            let sample = |rows: &Vec<usize>| all.select(Axis(0), rows);
            Ok(samples.iter().map(sample).collect())
        }
    }
}

/// These columns as numbers, `(rows, columns)`, which all must be finite.
fn finite(table: &Table, columns: &[String]) -> Result<Array2<f32>, Failure> {
    let all = numbers(table, columns)?;
    match all.indexed_iter().find(|(_, x)| !x.is_finite()) {
        None => Ok(all),
        Some(((row, column), x)) => {
            let what = format!("column {:?} has {x} in row {}", columns[column], row + 1);
            Err(Failure::new(what).help("fill it in, or leave the row out"))
        }
    }
}
