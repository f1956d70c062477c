//! What the page is told of a run.

use ndarray::ArrayD;
use serde_json::{Value, json};

use super::run::{Progress, Run};
use super::text::{Writing, text_from_numbers, text_from_tokens, token_labels};
use super::{Page, Subject, facts};

/// More numbers than this are no text to edit.
const MOST_EDITED: usize = 100_000;

/// More rows of an output are not shown, of one over a vocabulary more than that, and not more
/// numbers: a table that nobody can see whole takes the browser as long.
const MOST_ROWS: usize = 60;
const MOST_TOKENS: usize = 200;
const MOST_SHOWN: usize = 20_000;

impl Page {
    /// Everything about a run.
    pub(super) fn run_facts(&self, run: &Run) -> Value {
        let Subject::Model(model) = &self.subject else {
            return Value::Null;
        };
        let vocabulary = self.vocabulary.as_ref();
        let writings = self.writings();
        let labels_of = |index: usize| -> Option<Vec<String>> {
            let input = run.inputs.get(index)?;
            let is_text = matches!(writings[index], Writing::Tokens { .. });
            // Who wrote another text has read it.
            let given = match run.row {
                None if is_text => None,
                row => {
                    let steps = model.inputs()[index].steps(input.shape());
                    self.labels.of(row.unwrap_or(self.row), steps)
                }
            };
            given.or_else(|| is_text.then(|| token_labels(input.view(), vocabulary)))
        };
        let inputs = model.inputs().iter().zip(&run.inputs).enumerate();
        let inputs: Vec<Value> = inputs
            .map(|(index, (port, input))| {
                let mut facts = json!({ "name": port.name, "shape": input.shape() });
                // Who wrote the input has its text.
                if run.row.is_some() {
                    facts["text"] = json!((input.len() <= MOST_EDITED).then(|| {
                        match writings[index] {
                            Writing::Numbers => text_from_numbers(input.view()),
                            Writing::Tokens { .. } => text_from_tokens(input.view(), vocabulary).0,
                        }
                    }));
                }
                facts
            })
            .collect();
        let progress = run.progress();
        let traces = progress.traces().iter().enumerate();
        let traces: Vec<Value> = traces
            .map(|(index, (name, passage))| {
                let path = name
                    .rsplit_once('#')
                    .map_or(name.as_str(), |(path, _)| path);
                let steps = progress.all_time(index);
                let labels = facts::source(model, path).and_then(labels_of);
                json!({
                    "name": name,
                    "cell": self.cells().iter().position(|(known, _)| known == path),
                    "steps": steps,
                    "sequences": passage.h().dim().0,
                    "labels": labels.filter(|labels| labels.len() == steps),
                    "skipped": progress.skipped(index),
                    "backward": passage.reads_backward(),
                    "arrays": passage.cell().kind().trace_names(),
                })
            })
            .collect();
        let mut facts = self.progress_facts(run);
        facts["row"] = json!(run.row);
        facts["inputs"] = json!(inputs);
        facts["traces"] = json!(traces);
        facts
    }

    /// What changes while a run goes on: how far it is, and what it predicts so far.
    pub(super) fn progress_facts(&self, run: &Run) -> Value {
        let Subject::Model(model) = &self.subject else {
            return Value::Null;
        };
        let progress = run.progress();
        let vocabulary = self.vocabulary.is_some();
        let goes_on = self.goes_on(model).unwrap_or_default();
        let outputs = model.outputs().iter().enumerate();
        let outputs: Vec<Value> = outputs
            .map(|(index, port)| {
                let in_parts = goes_on.get(index).copied().unwrap_or(false);
                let rows = match vocabulary {
                    true => MOST_TOKENS,
                    false => MOST_ROWS,
                };
                let (shape, first, values) = output(&progress, index, in_parts, rows);
                json!({ "name": port.name, "shape": shape, "first": first, "values": values })
            })
            .collect();
        json!({
            "run": run.id,
            "outputs": outputs,
            "seconds": progress.seconds,
            "kept": progress.kept,
            "changed": progress.changed,
            "steps": progress.steps,
            "done": progress.done(),
        })
    }
}

/// The shape of an output, the first of the rows that are shown, and their numbers; none where it is
/// known at the end alone.
fn output(
    progress: &Progress,
    index: usize,
    in_parts: bool,
    most_rows: usize,
) -> (Vec<usize>, usize, Option<Vec<Value>>) {
    let parts = progress.stretches.iter();
    let parts: Vec<&ArrayD<f32>> = parts
        .filter_map(|stretch| stretch.passage.outputs.get(index))
        .collect();
    let Some(last) = parts.last() else {
        return (Vec::new(), 0, None);
    };
    let mut shape = last.shape().to_vec();
    let row = shape.last().copied().unwrap_or(1);
    let most = row.saturating_mul(most_rows).clamp(1, MOST_SHOWN);
    if in_parts && let Some(time) = shape.get_mut(1) {
        *time = progress.done();
        // What has changed is to be seen, with a little of what it follows.
        let first = match shape.len() {
            3 => {
                (progress.changed.saturating_sub(10)).min(progress.steps.saturating_sub(most_rows))
            }
            _ => 0,
        };
        let numbers = parts.iter().flat_map(|part| part.iter());
        let shown = numbers.skip(first.saturating_mul(row)).take(most);
        return (shape, first, Some(shown.map(number).collect()));
    }
    let shown = || last.iter().take(most).map(number).collect();
    (shape, 0, progress.is_done.then(shown))
}

/// A number for JSON; what is not finite as a word.
fn number(value: &f32) -> Value {
    match value.is_finite() {
        true => f64::from(*value).into(),
        false => value.to_string().into(),
    }
}
