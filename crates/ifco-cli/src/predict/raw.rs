//! A model of `ifco fit` on raw data.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use ifco::arrays::write_file;
use ifco::records::{Table, conllu};
use ifco::tasks::Recipe;
use ifco::tasks::classify::{Classify, Told};
use ifco::tasks::forecast::Forecast;
use ifco::tasks::predictions;
use ifco::tasks::tag::{Tag, steps};
use ifco::{Model, Port};
use ndarray::{ArrayD, ArrayViewD, Axis, s};

use super::Args;
use crate::failure::Failure;
use crate::fit::{column_of, numbers, samples};
use crate::interrupt;
use crate::output::print;
use crate::progress::Progress;

/// What the model was made for, if it is to be used on raw data.
pub fn recipe(args: &Args) -> Result<Option<Recipe>, Failure> {
    let [input] = &args.input.inputs[..] else {
        return Ok(None);
    };
    let extension = input.extension().map(|ext| ext.to_ascii_lowercase());
    match extension.as_deref().and_then(|ext| ext.to_str()) {
        Some("npy" | "npz") => Ok(None),
        _ => Ok(ifco::open_recipe(&args.model.model)?),
    }
}

pub fn run(args: &Args, recipe: &Recipe) -> Result<(), Failure> {
    args.threads.apply()?;
    let mut model = args.model.open_model()?;
    if let Some(precision) = args.precision.reduced() {
        model.set_precision(precision);
    }
    check(&model, recipe).map_err(|failure| failure.at_file(&args.model.model))?;
    let [input] = &args.input.inputs[..] else {
        return Ok(()); // `recipe` has seen to it that there is one
    };
    let batch = args
        .batch_size
        .map_or(Model::DEFAULT_BATCH_SIZE, |size| size.get());
    let text = match recipe {
        Recipe::Forecast(task) => forecast(task, &model, input),
        Recipe::Classify(task) => classify(task, &model, input, batch),
        Recipe::Tag(task) => tag(task, &model, input, batch),
        Recipe::Generate(_) => {
            let what = "the model writes text, and predicts nothing of a file";
            let help = format!("ifco generate {}", args.model.model.display());
            Err(Failure::usage(what).at_file(&args.model.model).help(help))
        }
    }
    .map_err(|failure| failure.at_file(input))?;
    match &args.output {
        None => print(&text),
        Some(path) => Ok(interrupt::write_whole(|| {
            write_file(path, |file| Ok(file.write_all(text.as_bytes())?))
        })?),
    }
}

/// Whether the recipe is this model's: files are not trusted.
fn check(model: &Model, recipe: &Recipe) -> Result<(), Failure> {
    let last = |port: Option<&Port>| port?.shape.as_ref()?.last().copied().flatten();
    let (inputs, output) = (model.inputs(), last(model.outputs().first()));
    let told = last(inputs.first());
    let fits = match recipe {
        Recipe::Forecast(task) => {
            let window = inputs
                .first()
                .and_then(|port| port.shape.as_ref()?.get(1).copied());
            told == Some(task.columns.len())
                && window == Some(Some(task.window))
                && output == Some(task.horizon)
        }
        Recipe::Classify(task) => {
            let channels = match &task.told {
                Told::Text { .. } => None,
                Told::Series { channels } => Some(channels.len()),
                Told::Recordings { channels, .. } => Some(channels.len()),
            };
            output == Some(task.labels.len()) && (channels.is_none() || channels == told)
        }
        Recipe::Tag(task) => inputs.len() == 3 && output == Some(task.tags.size()),
        Recipe::Generate(task) => output == Some(task.vocabulary.size()),
    };
    match fits {
        true => Ok(()),
        false => {
            let what = "the ifco.json in the file is that of another model: their sizes differ";
            Err(Failure::new(what).help("make the model again with `ifco fit`"))
        }
    }
}

/// The steps behind the last row.
fn forecast(task: &Forecast, model: &Model, input: &Path) -> Result<String, Failure> {
    let table = Table::read(input)?;
    let numbers = numbers(&table, &task.columns)?;
    let Some(start) = numbers.nrows().checked_sub(task.window) else {
        let what = format!(
            "there are {} rows, and the model is told {} steps",
            numbers.nrows(),
            task.window
        );
        return Err(Failure::new(what).help("give the rows before these too"));
    };
    let window = numbers.slice(s![start.., ..]);
    if window.iter().any(|x| !x.is_finite()) {
        return Err(Failure::new(
            "one of the last rows has something else than a number",
        ));
    }
    let window = window.to_owned().into_dyn().insert_axis(Axis(0));
    let answer = model.predict(&window)?;
    let name = task.columns.get(task.target).map_or("", String::as_str);
    let mut text = format!("step,{}\n", field(name));
    for (step, value) in (1..).zip(&answer) {
        text.push_str(&format!("{step},{value}\n"));
    }
    Ok(text)
}

/// A label and its chance for each row, or each recording.
fn classify(task: &Classify, model: &Model, input: &Path, batch: usize) -> Result<String, Failure> {
    let table = Table::read(input)?;
    let rows = samples::rows_of(&table, &task.told)?;
    let labels = vec![0; rows.len()]; // not looked at
    let all = samples::labelled(&task.told, &table, &rows, labels)?;
    let id = match &task.told {
        Told::Recordings { id, .. } => Some(column_of(&table, id)?),
        Told::Text { .. } | Told::Series { .. } => None,
    };
    let named = |first: usize| id.map(|id| field(table.text(first, id)) + ",");
    let mut names = rows.iter().map(|rows| named(rows.first().copied()?));
    let mut text = id.map_or(String::new(), |id| field(&table.header()[id]) + ",");
    text.push_str(&format!("{},chance\n", field(&task.label)));
    let mut progress = Progress::new(rows.len() as u64, "rows");
    predictions(
        model,
        &all,
        batch,
        &mut |_, answer| {
            for chances in answer.outer_iter() {
                let chances: Vec<f32> = chances.iter().copied().collect();
                let name = names.next().flatten().unwrap_or_default();
                if let Some((label, chance)) = task.answer(&chances) {
                    text.push_str(&name);
                    text.push_str(&format!("{},{chance:.4}\n", field(label)));
                }
            }
        },
        &mut |done| progress.show(done as u64),
    )?;
    Ok(text)
}

/// The same text with a label for each word: in column 4 of CoNLL-U, else a line for each word.
fn tag(task: &Tag, model: &Model, input: &Path, batch: usize) -> Result<String, Failure> {
    let text = match input == Path::new("-") {
        true => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        false => fs::read_to_string(input),
    };
    let text = text.map_err(|error| Failure::new(format_args!("it cannot be read: {error}")))?;
    let is_conllu = input.extension().is_some_and(|ext| ext == "conllu");
    if is_conllu {
        let words = conllu::parse(&text)?;
        let sentences: Vec<Vec<String>> = words
            .iter()
            .map(|words| words.iter().map(|word| word.form.to_owned()).collect())
            .collect();
        let tags = label(task, model, &sentences, batch)?;
        let lines = words.iter().flatten().map(|word| word.line);
        let of_line: std::collections::HashMap<usize, &str> = lines
            .zip(tags.iter().flatten().map(String::as_str))
            .collect();
        return Ok(conllu::with_upos(&text, &|line| {
            of_line.get(&line).copied()
        }));
    }
    let sentence = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let sentences: Vec<Vec<String>> = text.lines().map(sentence).collect();
    let sentences: Vec<Vec<String>> = sentences.into_iter().filter(|s| !s.is_empty()).collect();
    let tags = label(task, model, &sentences, batch)?;
    let mut told = String::new();
    for (words, tags) in sentences.iter().zip(&tags) {
        for (word, tag) in words.iter().zip(tags) {
            told.push_str(&format!("{word}\t{tag}\n"));
        }
        told.push('\n');
    }
    Ok(told)
}

/// The labels of the words of sentences.
fn label(
    task: &Tag,
    model: &Model,
    sentences: &[Vec<String>],
    batch: usize,
) -> Result<Vec<Vec<String>>, Failure> {
    let mut progress = Progress::new(sentences.len() as u64, "sentences");
    let mut all = Vec::with_capacity(sentences.len());
    for some in sentences.chunks(batch) {
        let words: Vec<&[String]> = some.iter().map(Vec::as_slice).collect();
        let inputs = task.inputs(&words);
        let views: Vec<ArrayViewD<'_, f32>> = inputs.iter().map(|x| x.view()).collect();
        let mut outputs: Vec<ArrayD<f32>> = model.predict_all(&views, batch, &mut |_| {})?;
        let Some(answer) = outputs.pop() else { break };
        for (row, words) in words.iter().enumerate() {
            let tags = words.iter().zip(steps(&answer, row));
            let tags = tags.map(|(_, chances)| task.answer(&chances).unwrap_or("_").to_owned());
            all.push(tags.collect());
        }
        progress.show(all.len() as u64);
    }
    Ok(all)
}

/// A field of a CSV, in quotes where it needs them.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
