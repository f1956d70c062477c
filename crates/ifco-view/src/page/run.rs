//! Runs of the model, with what its cells did.

use std::sync::{Arc, PoisonError};

use ifco_cell::{Trace, TraceOptions};
use ifco_model::{Model, Port};
use ndarray::{ArrayD, ArrayView2, Axis, s};
use serde_json::{Value, json};

use super::text::{
    Writing, numbers_from_text, text_from_numbers, text_from_tokens, token_labels, tokens_from_text,
};
use super::{Page, PageError, Subject, TextError, facts};

/// A run on one row, and its traces.
#[derive(Debug)]
pub(super) struct Run {
    pub id: u64,
    /// The row of the page's inputs; `None` for an input that was edited.
    row: Option<usize>,
    /// `(1, ...)` each.
    inputs: Vec<ArrayD<f32>>,
    outputs: Vec<ArrayD<f32>>,
    /// By the cell's path; a further call of the same layer is `path#1`.
    pub traces: Vec<(String, Trace)>,
    /// How long it took.
    seconds: f64,
}

impl Run {
    /// What the page draws of one trace, by name: the arrays of the cell, and x, what it read;
    /// `(time, units)`, x `(time, features)`.
    pub fn array(&self, trace: usize, index: usize) -> Option<(&'static str, ArrayView2<'_, f32>)> {
        let (_, trace) = self.traces.get(trace)?;
        let names = trace.names();
        if index == names.len() {
            return Some(("x", trace.inputs.index_axis(Axis(0), 0)));
        }
        let name = names.get(index)?;
        let values = trace.get(name)?;
        Some((name, values.index_axis_move(Axis(0), 0)))
    }

    fn size(&self) -> usize {
        let sizes = self.traces.iter().map(|(_, trace)| {
            let (batch, time, units) = trace.dim();
            batch * time * units * trace.names().len() + trace.inputs.len()
        });
        sizes.sum::<usize>() * size_of::<f32>()
    }
}

/// The last runs, as many as the memory set aside holds.
#[derive(Debug, Default)]
pub(super) struct Runs {
    next: u64,
    kept: Vec<Arc<Run>>,
}

/// What the traces of the runs that are kept may take.
const MOST_MEMORY: usize = 2 << 30;

impl Runs {
    pub fn get(&self, id: u64) -> Option<Arc<Run>> {
        self.kept.iter().find(|run| run.id == id).cloned()
    }

    pub fn first(&self) -> Option<Arc<Run>> {
        self.kept.first().cloned()
    }

    fn put(&mut self, mut run: Run) -> Arc<Run> {
        run.id = self.next;
        self.next += 1;
        let run = Arc::new(run);
        self.kept.push(Arc::clone(&run));
        let mut size: usize = self.kept.iter().map(|run| run.size()).sum();
        // Two tabs of one page do not take each other's run away, unless they are large.
        while self.kept.len() > 1 && (size > MOST_MEMORY / 2 || self.kept.len() > 8) {
            size -= self.kept.remove(0).size();
        }
        run
    }
}

/// More numbers than this are no text to edit.
const MOST_EDITED: usize = 100_000;

/// More numbers of an output are not shown.
const MOST_SHOWN: usize = 20_000;

impl Page {
    /// The run that the page begins with.
    pub(super) fn first_run(&mut self) -> Result<(), PageError> {
        *self.lock() = Runs::default();
        let row = self.row;
        self.run_row(row).map(drop)
    }

    /// Runs the model on one row of the page's inputs.
    pub(super) fn run_row(&self, row: usize) -> Result<Arc<Run>, PageError> {
        let inputs = self.inputs.as_deref().unwrap_or_default();
        let rows = self.rows();
        if row >= rows {
            return Err(PageError::Row { row, rows });
        }
        let one = |(input, port): (&ArrayD<f32>, &Port)| {
            port.take_rows(input.view(), row..row + 1).to_owned()
        };
        let one = inputs.iter().zip(self.ports()).map(one);
        self.run(one.collect(), Some(row))
    }

    /// Runs the model on what somebody wrote. What is not written is padded as in the run before.
    pub(super) fn run_texts(
        &self,
        texts: &[String],
        before: Option<&Run>,
    ) -> Result<Arc<Run>, PageError> {
        let before = before.map_or(&[][..], |run| &run.inputs);
        let inputs = self.inputs_from_texts(texts, before)?;
        self.run(inputs, None)
    }

    /// An input `(1, ...)` from each text.
    pub(super) fn inputs_from_texts(
        &self,
        texts: &[String],
        before: &[ArrayD<f32>],
    ) -> Result<Vec<ArrayD<f32>>, PageError> {
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        let ports = model.inputs();
        if texts.len() != ports.len() {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            return Err(PageError::Texts {
                found: texts.len(),
                expected: format!("{} inputs: {}", ports.len(), names.join(", ")),
            });
        }
        if model.runs_whole() {
            return Err(PageError::NoBatch);
        }
        let writings = self.writings();
        let input = |index: usize| -> Result<ArrayD<f32>, TextError> {
            let sizes = ports[index].batch_first();
            let sizes = sizes.as_deref().unwrap_or(&[None, None]);
            let array = match writings[index] {
                Writing::Numbers => numbers_from_text(&texts[index], sizes),
                Writing::Tokens { known } => {
                    let vocabulary = self.vocabulary.as_ref();
                    let front = before
                        .get(index)
                        .is_some_and(|row| text_from_tokens(row.view(), vocabulary).1);
                    tokens_from_text(&texts[index], vocabulary, known, sizes, front)
                }
            };
            Ok(ports[index].from_batch_first(array?))
        };
        (0..ports.len())
            .map(|index| {
                input(index).map_err(|source| PageError::Text {
                    input: ports[index].name.clone(),
                    source,
                })
            })
            .collect()
    }

    fn run(&self, inputs: Vec<ArrayD<f32>>, row: Option<usize>) -> Result<Arc<Run>, PageError> {
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        check_size(model, &inputs)?;
        let _alone = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        model.reset_states();
        let start = std::time::Instant::now();
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let traced = model.trace_all(&[], &views, &TraceOptions::default())?;
        let run = Run {
            id: 0,
            row,
            seconds: start.elapsed().as_secs_f64(),
            traces: traced.traces,
            outputs: traced.outputs,
            inputs,
        };
        Ok(self.lock().put(run))
    }

    /// What the page is told of a run.
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
                let text = (input.len() <= MOST_EDITED).then(|| match writings[index] {
                    Writing::Numbers => text_from_numbers(input.view()),
                    Writing::Tokens { .. } => text_from_tokens(input.view(), vocabulary).0,
                });
                json!({ "name": port.name, "shape": input.shape(), "text": text })
            })
            .collect();
        let outputs = model.outputs().iter().zip(&run.outputs);
        let outputs: Vec<Value> = outputs
            .map(|(port, output)| {
                let values: Vec<Value> = output.iter().take(MOST_SHOWN).map(number).collect();
                json!({ "name": port.name, "shape": output.shape(), "values": values })
            })
            .collect();
        let traces: Vec<Value> = run
            .traces
            .iter()
            .map(|(name, trace)| {
                let path = name
                    .rsplit_once('#')
                    .map_or(name.as_str(), |(path, _)| path);
                let source = facts::source(model, path);
                let labels = source.and_then(labels_of);
                let labels = labels.filter(|labels| labels.len() == trace.time());
                let skipped: Vec<usize> = (0..trace.time())
                    .filter(|step| !trace.counts(0, *step))
                    .collect();
                json!({
                    "name": name,
                    "cell": self.cells().iter().position(|(known, _)| known == path),
                    "steps": trace.time(),
                    "sequences": trace.batch(),
                    "labels": labels,
                    "skipped": skipped,
                    "backward": trace.reads_backward,
                    "arrays": trace.names(),
                })
            })
            .collect();
        json!({
            "run": run.id,
            "row": run.row,
            "inputs": inputs,
            "outputs": outputs,
            "traces": traces,
            "seconds": run.seconds,
        })
    }
}

/// Everything about one step of a trace, as f32: what it read (features), the states it read and
/// then each array (units).
pub(super) fn step(trace: &Trace, step: usize) -> Option<Vec<f32>> {
    if step >= trace.time() {
        return None;
    }
    let mut numbers = trace.inputs.slice(s![0, step, ..]).to_vec();
    for state in trace.kind().states() {
        numbers.extend(trace.before(state, 0, step)?);
    }
    for (_, array) in trace.iter() {
        numbers.extend(array.slice(s![0, step, ..]));
    }
    Some(numbers)
}

/// A number for JSON; what is not finite as a word.
fn number(value: &f32) -> Value {
    match value.is_finite() {
        true => f64::from(*value).into(),
        false => value.to_string().into(),
    }
}

fn check_size(model: &Model, inputs: &[ArrayD<f32>]) -> Result<(), PageError> {
    let steps = inputs.iter().zip(model.inputs());
    let steps = steps.map(|(input, port)| port.steps(input.shape()));
    let steps = steps.max().unwrap_or(0);
    let per_step = model
        .cells()
        .into_iter()
        .map(|(_, cell)| cell.units() * cell.kind().trace_names().len() + cell.features());
    let size = per_step
        .sum::<usize>()
        .saturating_mul(steps)
        .saturating_mul(size_of::<f32>());
    match size > MOST_MEMORY {
        true => Err(PageError::TooLong {
            steps,
            size: size >> 20,
            most: MOST_MEMORY >> 20,
        }),
        false => Ok(()),
    }
}
