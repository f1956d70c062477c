//! Runs of the model: what its cells did, in stretches of steps that runs share.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ifco_cell::{Cell, Passage};
use ifco_model::ModelPassage;
use ndarray::{Array3, ArrayD, ArrayView2, ArrayView3, Axis, s};

use super::PageError;
use super::flow::{Choice, MOST_KEPT, RunFlow};

/// A run on one row.
#[derive(Debug)]
pub(super) struct Run {
    pub id: u64,
    /// The row of the page's inputs; `None` for an input that was edited.
    pub row: Option<usize>,
    /// `(1, ...)` each.
    pub inputs: Vec<ArrayD<f32>>,
    progress: Mutex<Progress>,
    /// The ways back that somebody asked for, the last one last.
    flows: Mutex<Vec<Arc<RunFlow>>>,
}

/// How far a run has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// From the first step on.
    pub stretches: Vec<Arc<Stretch>>,
    /// The steps of each stretch but the last; of a run that is done in one, no less than all.
    pub size: usize,
    /// All steps that there are to do.
    pub steps: usize,
    /// The steps that were taken over from another run.
    pub kept: usize,
    /// The first step that differs from the run before.
    pub changed: usize,
    /// The stretches of the run before, which the page goes on showing where this one is not done.
    pub before: Vec<Arc<Stretch>>,
    /// How long it took so far.
    pub seconds: f64,
    /// Whether there is no more to do.
    pub is_done: bool,
}

/// Some steps of a run, which other runs may share.
#[derive(Debug)]
pub(super) struct Stretch {
    /// By the cell's path; a further call of the same layer is `path#1`.
    pub passage: ModelPassage,
    /// Of each passage, once somebody has asked.
    gates: Vec<OnceLock<Vec<Array3<f32>>>>,
    /// The same: of each array, how far its numbers go.
    extents: Vec<OnceLock<Vec<Extent>>>,
}

/// From where to where some numbers go; those that are not finite do not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    /// Infinite, as `high`, where there is no number.
    pub low: f32,
    pub high: f32,
}

impl Extent {
    const NOTHING: Self = Self {
        low: f32::INFINITY,
        high: f32::NEG_INFINITY,
    };

    pub fn of<'a>(values: impl IntoIterator<Item = &'a f32>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        finite.fold(Self::NOTHING, |own, &value| Self {
            low: own.low.min(value),
            high: own.high.max(value),
        })
    }

    fn with(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

impl Stretch {
    pub fn new(passage: ModelPassage) -> Self {
        Self {
            gates: passage.passages.iter().map(|_| OnceLock::new()).collect(),
            extents: passage.passages.iter().map(|_| OnceLock::new()).collect(),
            passage,
        }
    }

    /// What one of its cells computed besides h.
    fn gates(&self, trace: usize) -> &[Array3<f32>] {
        self.gates[trace].get_or_init(|| self.passage.passages[trace].1.gates())
    }

    /// An array of one of its cells by its index among the names, and after them what it read:
    /// `(time, columns)`. Of a layer that ran on several sequences, the first.
    fn array(&self, trace: usize, index: usize) -> Option<ArrayView2<'_, f32>> {
        let passage = &self.passage.passages.get(trace)?.1;
        let names = passage.cell().kind().trace_names().len();
        let array = if index == names {
            passage.inputs()
        } else if index + 1 == names {
            passage.h()
        } else {
            self.gates(trace).get(index)?.view()
        };
        (array.dim().0 > 0).then(|| array.index_axis_move(Axis(0), 0))
    }

    /// How far the numbers of each array go.
    fn extents(&self, trace: usize) -> &[Extent] {
        self.extents[trace].get_or_init(|| {
            let passage = self.passage.passages.get(trace);
            let names = passage.map_or(0, |(_, own)| own.cell().kind().trace_names().len());
            let array = |index| self.array(trace, index);
            let extent = |index| array(index).map_or(Extent::NOTHING, Extent::of);
            (0..=names).map(extent).collect()
        })
    }
}

impl Progress {
    /// Nothing done yet.
    pub fn new(steps: usize, size: usize) -> Self {
        Self {
            stretches: Vec::new(),
            size,
            steps,
            kept: 0,
            changed: 0,
            before: Vec::new(),
            seconds: 0.0,
            is_done: false,
        }
    }

    /// How many steps are done.
    pub fn done(&self) -> usize {
        match self.is_done {
            true => self.steps,
            false => (self.stretches.len().saturating_mul(self.size)).min(self.steps),
        }
    }

    /// Of every trace, its name and the passage of its first stretch.
    pub fn traces(&self) -> &[(String, Passage)] {
        let first = self.stretches.first();
        first.map_or(&[], |stretch| &stretch.passage.passages)
    }

    /// The parts of one trace.
    fn parts(&self, trace: usize) -> impl Iterator<Item = &Passage> {
        let passages = self.stretches.iter().map(|stretch| &stretch.passage);
        passages.filter_map(move |passage| Some(&passage.passages.get(trace)?.1))
    }

    /// The steps of a trace that are done.
    pub fn time(&self, trace: usize) -> usize {
        self.parts(trace).map(|part| part.h().dim().1).sum()
    }

    /// The steps that a trace will have.
    pub fn all_time(&self, trace: usize) -> usize {
        match self.is_done {
            true => self.time(trace),
            // What is done in stretches has the steps of the input.
            false => self.steps,
        }
    }

    /// What the page draws of one trace, by name: the arrays of the cell, and x, what it read.
    pub fn array(&self, trace: usize, index: usize) -> Option<(&'static str, Steps<'_>)> {
        let kind = self.traces().get(trace)?.1.cell().kind();
        let names = kind.trace_names();
        let name = match index == names.len() {
            true => "x",
            false => names.get(index)?,
        };
        let stretches = self.stretches.iter();
        let parts = stretches.filter_map(|stretch| stretch.array(trace, index));
        let parts: Vec<ArrayView2<'_, f32>> = parts.collect();
        let columns = parts.first()?.ncols();
        Some((
            name,
            Steps {
                parts,
                size: self.size.max(1),
                columns,
            },
        ))
    }

    /// How far the numbers of an array go that the page shows: where this run is not done, those of
    /// the run before.
    pub fn extent(&self, trace: usize, index: usize) -> Extent {
        let before = self.before.iter().skip(self.stretches.len());
        let before = before.filter(|stretch| trace < stretch.extents.len());
        let shown = self.stretches.iter().chain(before);
        let extents = shown.filter_map(|stretch| stretch.extents(trace).get(index));
        extents.fold(Extent::NOTHING, |all, own| all.with(*own))
    }

    /// Everything about one step of a trace, as f32: what it read (features), the states it read
    /// and then each array (units); of a projected LSTM also o∘φ(c), what is projected.
    pub fn step(&self, trace: usize, step: usize) -> Option<Vec<f32>> {
        let (stretch, within) = (step / self.size.max(1), step % self.size.max(1));
        let stretch = self.stretches.get(stretch)?;
        let passage = &stretch.passage.passages.get(trace)?.1;
        let (batch, time, _) = passage.h().dim();
        if batch == 0 || within >= time {
            return None;
        }
        let gates = stretch.gates(trace);
        let before = match passage.reads_backward() {
            false => within.checked_sub(1),
            true => Some(within + 1).filter(|step| *step < time),
        };
        let at = |array: ArrayView3<'_, f32>, step: usize| array.slice(s![0, step, ..]).to_vec();
        let mut numbers = at(passage.inputs(), within);
        for (index, state) in passage.cell().kind().states().iter().enumerate() {
            numbers.extend(match before {
                None => passage.initial_state()[index].row(0).to_vec(),
                Some(before) if *state == "h" => at(passage.h(), before),
                // c is the last of what is computed besides h.
                Some(before) => at(gates.last()?.view(), before),
            });
        }
        for array in gates {
            numbers.extend(at(array.view(), within));
        }
        numbers.extend(at(passage.h(), within));
        if let Cell::Lstm(cell) = passage.cell()
            && cell.weights().projection().is_some()
            && let [_, _, _, o, c] = gates
        {
            let mut shown = at(c.view(), within);
            cell.output_activation().apply(&mut shown);
            let o = at(o.view(), within);
            numbers.extend(shown.iter().zip(o).map(|(shown, o)| shown * o));
        }
        Some(numbers)
    }

    /// Computes all gates, and how far they go.
    pub fn fill(&self) {
        for trace in 0..self.traces().len() {
            self.stretches.iter().for_each(|stretch| {
                stretch.extents(trace);
            });
        }
    }

    /// The steps of a trace that are masked.
    pub fn skipped(&self, trace: usize) -> Vec<usize> {
        let masks = self.parts(trace).map(|part| {
            let mask = part.mask().filter(|mask| mask.nrows() > 0);
            let row = mask.map(|mask| mask.row(0).to_vec());
            row.unwrap_or_else(|| vec![true; part.h().dim().1])
        });
        let counts: Vec<bool> = masks.flatten().collect();
        let steps = counts.iter().enumerate();
        let skipped = steps.filter(|(_, counts)| !**counts);
        skipped.map(|(step, _)| step).collect()
    }
}

/// An array `(time, columns)` in parts, one for each stretch of a run.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    parts: Vec<ArrayView2<'a, f32>>,
    size: usize,
    pub columns: usize,
}

impl<'a> Steps<'a> {
    /// An array that is whole.
    pub fn of(array: ArrayView2<'a, f32>) -> Self {
        Self {
            size: array.nrows().max(1),
            columns: array.ncols(),
            parts: vec![array],
        }
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.nrows()).sum()
    }

    /// The values of a step that is there.
    pub fn row(&self, step: usize) -> &[f32] {
        let part = self.parts.get(step / self.size);
        let part = part.and_then(|part| part.to_slice());
        let first = (step % self.size) * self.columns;
        part.and_then(|part| part.get(first..first + self.columns))
            .unwrap_or_default()
    }

    /// All values, step after step.
    pub fn iter(&self) -> impl Iterator<Item = &f32> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

impl Run {
    pub fn new(row: Option<usize>, inputs: Vec<ArrayD<f32>>, progress: Progress) -> Self {
        Self {
            id: 0,
            row,
            inputs,
            progress: Mutex::new(progress),
            flows: Mutex::default(),
        }
    }

    /// A way back that is kept.
    pub fn flow(&self, choice: Choice) -> Option<Arc<RunFlow>> {
        let flows = self.lock_flows();
        flows.iter().find(|flow| flow.choice == choice).cloned()
    }

    /// Keeps a way back.
    pub fn keep_flow(&self, flow: RunFlow) -> Arc<RunFlow> {
        let flow = Arc::new(flow);
        let mut flows = self.lock_flows();
        if flows.len() == MOST_KEPT {
            flows.remove(0);
        }
        flows.push(Arc::clone(&flow));
        flow
    }

    fn lock_flows(&self) -> MutexGuard<'_, Vec<Arc<RunFlow>>> {
        // They are put in whole.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it has come, as of now.
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        // Stretches are put in whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it takes once all of its gates are computed, with the ways back that are kept.
    fn size(&self) -> usize {
        let progress = self.lock();
        let sizes = (0..progress.traces().len()).map(|trace| {
            let passage = &progress.traces()[trace].1;
            let (batch, _, units) = passage.h().dim();
            let (_, _, features) = passage.inputs().dim();
            let arrays = passage.cell().kind().trace_names().len();
            batch * progress.all_time(trace) * (units * arrays + features)
        });
        let flows = self.lock_flows();
        let flows: usize = flows.iter().map(|flow| flow.size()).sum();
        sizes.sum::<usize>() * size_of::<f32>() + flows
    }
}

/// The last runs, as many as the memory set aside holds.
#[derive(Debug, Default)]
pub(super) struct Runs {
    next: u64,
    kept: Vec<Arc<Run>>,
}

/// What the traces of the runs that are kept may take.
pub(super) const MOST_MEMORY: usize = 2 << 30;

/// That so many steps, each of so many values, are no more than [`MOST_MEMORY`].
pub(super) fn check_size(steps: usize, per_step: usize) -> Result<(), PageError> {
    let size = per_step
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

impl Runs {
    pub fn get(&self, id: u64) -> Option<Arc<Run>> {
        self.kept.iter().find(|run| run.id == id).cloned()
    }

    pub fn first(&self) -> Option<Arc<Run>> {
        self.kept.first().cloned()
    }

    pub fn put(&mut self, mut run: Run) -> Arc<Run> {
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
