//! Running the model on what the page asks for, a stretch of steps at a time.
//!
//! A page waits for an answer, and whoever edits an input again does not want the rest of the last
//! one. So a run is worked on while somebody asks for it, for a moment each time
//! ([`Page::go_on`]). Where the model allows ([`Model::goes_on`]), it takes over the steps before
//! the first one that was edited, and goes on from there.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ifco_model::{Model, ModelPassage, Port};
use ndarray::{ArrayD, ArrayViewD, Axis, Slice};

use super::run::{Progress, Run, Stretch, check_size};
use super::text::{Writing, numbers_from_text, text_from_tokens, tokens_from_text};
use super::{Page, PageError, Subject, TextError};

/// How long a run is worked on before it is told how far it is. A person sees no delay below
/// 100 ms, and the page has to draw as well.
const SLICE: Duration = Duration::from_millis(10);

/// The same once there is something to see: each time costs the page a picture.
const LONGER: Duration = Duration::from_millis(100);

/// The multiply-adds of a stretch: some 5 ms of them.
const STRETCH: usize = 1 << 28;

impl Page {
    /// The run that the page begins with: done, with every gate.
    pub(super) fn first_run(&mut self) -> Result<(), PageError> {
        *self.lock() = super::Runs::default();
        let row = self.row;
        let run = self.begin_row(row)?;
        self.work(&run, Duration::MAX, self.alone())?;
        run.progress().fill();
        Ok(())
    }

    /// Begins a run of the model on one row of the page's inputs.
    pub(super) fn begin_row(&self, row: usize) -> Result<Arc<Run>, PageError> {
        let Subject::Model(_) = &self.subject else {
            return Err(PageError::NoModel);
        };
        let inputs = self.inputs.as_deref().unwrap_or_default();
        let rows = self.rows();
        if row >= rows {
            return Err(PageError::Row { row, rows });
        }
        let one = |(input, port): (&ArrayD<f32>, &Port)| {
            port.take_rows(input.view(), row..row + 1).to_owned()
        };
        let one = inputs.iter().zip(self.ports()).map(one);
        self.begin(one.collect(), Some(row), None)
    }

    /// Begins a run on what somebody wrote. What is not written is padded as in the run before.
    pub(super) fn begin_texts(
        &self,
        texts: &[String],
        before: Option<&Run>,
    ) -> Result<Arc<Run>, PageError> {
        let inputs = before.map_or(&[][..], |run| &run.inputs);
        let inputs = self.inputs_from_texts(texts, inputs)?;
        self.begin(inputs, None, before)
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

    /// A run on these inputs, which has as much done as it could take over, and its first moment.
    fn begin(
        &self,
        inputs: Vec<ArrayD<f32>>,
        row: Option<usize>,
        before: Option<&Run>,
    ) -> Result<Arc<Run>, PageError> {
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        check_size(most_steps(model, &inputs), per_step(model))?;
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let inputs: Vec<ArrayD<f32>> = model
            .fit_inputs(&views)?
            .iter()
            .map(|input| input.to_owned())
            .collect();
        let steps = most_steps(model, &inputs);
        let stretched = inputs.len() == 1 && steps > 0 && self.goes_on(model).is_some();
        let mut progress = Progress::new(
            steps,
            match stretched {
                true => stretch(model),
                false => usize::MAX,
            },
        );
        if let Some(before) = before.filter(|_| stretched) {
            let old = before.progress();
            let same = same_steps(&before.inputs[0], &inputs[0]);
            progress.changed = same.min(steps);
            if old.size == progress.size {
                // A last stretch that is not full goes along only where nothing follows it.
                let whole = old.is_done && same == steps && same == old.steps;
                let count = if whole { usize::MAX } else { same / old.size };
                progress.stretches = old.stretches.iter().take(count).cloned().collect();
                progress.is_done = whole || progress.done() == steps;
                if old.steps == steps {
                    let further = old.before.into_iter().skip(old.stretches.len());
                    progress.before = old.stretches.into_iter().chain(further).collect();
                }
                progress.kept = progress.done();
            }
        }
        let run = Run::new(row, inputs, progress);
        self.waiting.fetch_add(1, SeqCst);
        let alone = self.alone();
        self.waiting.fetch_sub(1, SeqCst);
        self.work(&run, SLICE, alone)?;
        Ok(self.lock().put(run))
    }

    /// Works on a run for another moment.
    pub(super) fn go_on(&self, run: &Run) -> Result<(), PageError> {
        self.work(run, LONGER, self.alone())
    }

    /// The right to run the model.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on a run until it is done, or for about so long, but at least a stretch; not longer
    /// than that where another one waits to begin.
    fn work(
        &self,
        run: &Run,
        patience: Duration,
        _alone: MutexGuard<'_, ()>,
    ) -> Result<(), PageError> {
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        let begun = Instant::now();
        loop {
            let progress = run.progress();
            if progress.is_done {
                return Ok(());
            }
            let start = Instant::now();
            let (passage, is_whole) = next(model, &run.inputs, &progress)?;
            let mut progress = run.lock();
            if is_whole {
                progress.stretches.clear();
                progress.kept = 0;
                progress.size = usize::MAX;
            }
            progress.stretches.push(Arc::new(Stretch::new(passage)));
            progress.is_done = is_whole || progress.done() == progress.steps;
            if progress.is_done {
                progress.before.clear();
            }
            progress.seconds += start.elapsed().as_secs_f64();
            drop(progress);
            if begun.elapsed() >= patience || self.waiting.load(SeqCst) > 0 {
                return Ok(());
            }
        }
    }

    /// For each output, whether it has a part in each stretch; `None` where the model computes
    /// whole sequences alone.
    pub(super) fn goes_on(&self, model: &Model) -> Option<&[bool]> {
        let goes_on = self.goes_on.get_or_init(|| {
            // A stretch is cut out of an input (batch, time, ...).
            let batch_first = model.inputs().iter().all(|port| port.batch_axis == Some(0));
            batch_first.then(|| model.goes_on().ok()).flatten()
        });
        goes_on.as_deref()
    }
}

/// Computes the next stretch; or, where the model does not go by stretches or masks a step,
/// everything.
fn next(
    model: &Model,
    inputs: &[ArrayD<f32>],
    progress: &Progress,
) -> Result<(ModelPassage, bool), PageError> {
    if progress.size < progress.steps {
        let first = progress.done();
        let end = progress.steps.min(first + progress.size);
        let part = inputs[0].slice_axis(Axis(1), Slice::from(first..end));
        let after = progress.stretches.last().map(|stretch| &stretch.passage);
        let passage = model.pass(&[part], after)?;
        if passage.passages.iter().all(|(_, own)| own.is_unmasked()) {
            return Ok((passage, false));
        }
    }
    model.reset_states();
    let views: Vec<ArrayViewD<'_, f32>> = inputs.iter().map(|input| input.view()).collect();
    Ok((model.pass(&views, None)?, true))
}

/// How many steps of this model take a few milliseconds.
fn stretch(model: &Model) -> usize {
    let weights = model.cells().into_iter().map(|(_, cell)| {
        let columns = cell.kind().gates().saturating_mul(cell.units());
        columns.saturating_mul(cell.features().saturating_add(cell.units()))
    });
    let weights = weights.fold(0, usize::saturating_add);
    (STRETCH / weights.max(1)).clamp(16, 4096)
}

/// How many steps two inputs `(1, time, ...)` have in common from the first one on, to the bit.
fn same_steps(a: &ArrayD<f32>, b: &ArrayD<f32>) -> usize {
    if a.ndim() != b.ndim() || a.shape().get(2..) != b.shape().get(2..) {
        return 0;
    }
    let steps = a.axis_iter(Axis(1)).zip(b.axis_iter(Axis(1)));
    let same = steps.take_while(|(a, b)| {
        let mut pairs = a.iter().zip(b);
        pairs.all(|(a, b)| a.to_bits() == b.to_bits())
    });
    same.count()
}

/// The steps of the longest input.
fn most_steps(model: &Model, inputs: &[ArrayD<f32>]) -> usize {
    let steps = inputs.iter().zip(model.inputs());
    let steps = steps.map(|(input, port)| port.steps(input.shape()));
    steps.max().unwrap_or(0)
}

/// Values of a step of a run.
fn per_step(model: &Model) -> usize {
    let cells = model.cells().into_iter();
    cells
        .map(|(_, cell)| cell.units() * cell.kind().trace_names().len() + cell.features())
        .sum()
}
