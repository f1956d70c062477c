//! The way back on the page: how large the gradient by every state of every step is.
//!
//! One way back gives that of all layers. It is gone when somebody asks for it, once for a run and
//! a target.

use std::sync::Arc;

use ifco_cell::{FlowDigest, GradientTrace, TraceOptions};
use ifco_model::{AttributionMethod, Model, Target, Unit};
use ndarray::{Array2, ArrayViewD, Axis};
use serde_json::{Value, json};

use super::planes::Scale;
use super::run::{Extent, Run, check_size};
use super::{Page, PageError, Subject, facts};

/// The ways back that are kept of a run.
pub(super) const MOST_KEPT: usize = 2;

/// Sizes are drawn down to a ten-thousandth of the largest.
const DECADES: f32 = 4.0;

/// Points on the way from zeros to the input.
const POINTS: usize = 32;

/// The multiply-adds of a run that may go forward and back at each of the points: a second or two.
const MOST_INTEGRATED: usize = 100_000_000;

/// A step takes as long as so many of them, however small the model is.
const LEAST_OF_STEP: usize = 10_000;

/// A gradient of which less is left has vanished, as `ifco trace --gradient` says it.
const VANISHED: f64 = 0.01;

/// What the gradient is of: `None` for what fits the model's output.
pub(super) type Choice = (usize, Option<Unit>, Option<isize>);

/// What fits the model's first output.
pub(super) const FITTING: Choice = (0, None, None);

/// The gradients of one run.
#[derive(Debug)]
pub(super) struct RunFlow {
    pub choice: Choice,
    /// What was chosen, or fits.
    target: Target,
    cells: Vec<CellFlow>,
}

/// Those of one layer.
#[derive(Debug)]
struct CellFlow {
    path: String,
    digest: FlowDigest,
    /// By name, `(time, units)` each, of the first sequence.
    arrays: Vec<(&'static str, Array2<f32>)>,
}

impl RunFlow {
    /// What it takes.
    pub fn size(&self) -> usize {
        let arrays = self.cells.iter().flat_map(|cell| &cell.arrays);
        arrays
            .map(|(_, array)| array.len() * size_of::<f32>())
            .sum()
    }

    fn cell(&self, path: &str) -> Option<&CellFlow> {
        self.cells.iter().find(|cell| cell.path == path)
    }

    /// What the page is told of a layer, as JSON.
    pub fn facts(&self, path: &str) -> Option<Value> {
        let cell = self.cell(path)?;
        let arrays: Vec<Value> = cell
            .digest
            .flows
            .iter()
            .map(|flow| {
                let size = |size: f64| size.is_finite().then_some(size);
                json!({
                    "name": flow.name,
                    "first": size(flow.first),
                    "last": size(flow.last()),
                    "ratio": size(flow.ratio()),
                    "largest": flow.largest().0,
                    "vanishes": flow.vanishes(VANISHED),
                    "half_life": size(flow.median_half_life()),
                })
            })
            .collect();
        let unit = match self.target.unit {
            Unit::Sum => json!("sum"),
            Unit::Largest => json!("largest"),
            Unit::Number(unit) => json!(unit),
        };
        Some(json!({
            "unit": unit,
            "step": self.target.step,
            "steps": cell.digest.counted,
            "arrays": arrays,
        }))
    }

    /// The sizes of each array of a layer, as decimal logarithms, with their scale.
    pub fn sizes(&self, path: &str) -> Option<Vec<(Array2<f32>, Scale)>> {
        let sizes = self.cell(path)?.arrays.iter().map(|(_, array)| {
            let largest = Extent::of(&array.mapv(f32::abs)).high;
            let high = if largest > 0.0 { largest.log10() } else { 0.0 };
            let scale = Scale {
                low: high - DECADES,
                high,
            };
            (array.mapv(|value| value.abs().log10()), scale)
        });
        Some(sizes.collect())
    }

    /// The numbers of one step of a layer: of each array those of all units.
    pub fn step(&self, path: &str, step: usize) -> Option<Vec<f32>> {
        let arrays = &self.cell(path)?.arrays;
        let rows = arrays
            .iter()
            .map(|(_, array)| (step < array.nrows()).then(|| array.row(step).to_vec()));
        Some(rows.collect::<Option<Vec<_>>>()?.concat())
    }
}

impl Page {
    /// The gradients of a run that is done, as it is kept or computed now.
    pub(super) fn flow(&self, run: &Run, choice: Choice) -> Result<Arc<RunFlow>, PageError> {
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        if !run.progress().is_done {
            return Err(PageError::NotDone);
        }
        if let Some(kept) = run.flow(choice) {
            return Ok(kept);
        }
        // Who waited for the same finds it.
        let _alone = self.alone();
        if let Some(kept) = run.flow(choice) {
            return Ok(kept);
        }
        check_size(run.progress().steps, per_step(model))?;
        let inputs: Vec<ArrayViewD<'_, f32>> =
            run.inputs.iter().map(|input| input.view()).collect();
        let (output, unit, step) = choice;
        let mut target = Target::default();
        let model = self.back(model);
        model.reset_states();
        let found = model.trace_gradient(&[], &inputs, &TraceOptions::default(), |outputs| {
            let fitting = || Target::fitting(outputs.get(output..).unwrap_or_default()).unit;
            target = Target {
                output,
                unit: unit.unwrap_or_else(fitting),
                step,
            };
            target.gradients(outputs)
        })?;
        let cells = found.traces.into_iter().map(|(path, gradient)| CellFlow {
            path,
            digest: gradient.digest(),
            arrays: first_sequence(&gradient),
        });
        Ok(run.keep_flow(RunFlow {
            choice,
            target,
            cells: cells.collect(),
        }))
    }
}

impl Page {
    /// What each step of the input of a layer contributes to the target, as JSON; of a layer whose
    /// input is not known, `null`. Nobody else runs the model meanwhile, so that a large one is
    /// asked for its gradient at the input alone.
    pub(super) fn parts(&self, run: &Run, choice: Choice, path: &str) -> Result<Value, PageError> {
        let flow = self.flow(run, choice)?;
        let Subject::Model(model) = &self.subject else {
            return Err(PageError::NoModel);
        };
        let path = path.rsplit_once('#').map_or(path, |(path, _)| path);
        let Some(source) = facts::source(model, path) else {
            return Ok(Value::Null);
        };
        let weights = model.cells().into_iter().map(|(_, cell)| {
            let columns = cell.kind().gates().saturating_mul(cell.units());
            columns.saturating_mul(cell.features().saturating_add(cell.units()))
        });
        let weights = weights.fold(0, usize::saturating_add);
        let method = match weights
            .max(LEAST_OF_STEP)
            .saturating_mul(run.progress().steps)
            > MOST_INTEGRATED
        {
            true => AttributionMethod::GradientTimesInput,
            false => AttributionMethod::IntegratedGradients { points: POINTS },
        };
        let inputs: Vec<ArrayViewD<'_, f32>> =
            run.inputs.iter().map(|input| input.view()).collect();
        let found = {
            let _alone = self.alone();
            self.back(model)
                .attribution(&inputs, &flow.target, method)?
        };
        let row = found
            .inputs
            .get(source)
            .filter(|input| input.len_of(Axis(0)) > 0);
        let steps = row.map(|input| {
            let row = input.index_axis(Axis(0), 0);
            let steps = row.outer_iter().map(|step| step.sum());
            steps.collect::<Vec<f32>>()
        });
        let first = |numbers: &[f32]| numbers.first().copied();
        Ok(json!({
            "integrated": matches!(method, AttributionMethod::IntegratedGradients { .. }),
            "steps": steps,
            "value": first(&found.values),
            "baseline": first(&found.baselines),
        }))
    }
}

fn first_sequence(gradient: &GradientTrace) -> Vec<(&'static str, Array2<f32>)> {
    let arrays = gradient.arrays().into_iter();
    let arrays = arrays.filter(|(_, array)| array.dim().0 > 0);
    arrays
        .map(|(name, array)| (name, array.index_axis_move(Axis(0), 0)))
        .collect()
}

/// Values of a step of the way back: it keeps all gates of all layers, and as much again is made of
/// them.
fn per_step(model: &Model) -> usize {
    let cells = model.cells().into_iter().map(|(_, cell)| {
        let arrays = 2 * cell.kind().trace_names().len() + 2 * cell.kind().gates();
        cell.units() * arrays + 2 * cell.features()
    });
    cells.sum()
}
