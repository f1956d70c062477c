//! Running the model: whole rows in batches, or one long sequence in chunks.

use ifco::{Model, StepShape, TraceOptions, TraceStream};
use ndarray::{ArrayD, ArrayViewD, Axis, Slice};

use super::{Part, Sink};
use crate::failure::Failure;
use crate::progress::Progress;

/// So many bytes of traces are held at a time: what is larger is done in batches or chunks.
const BUDGET: usize = 64 << 20;

/// Traces the cells at `paths`.
pub fn run(
    model: &Model,
    inputs: &[ArrayD<f32>],
    paths: &[String],
    options: &TraceOptions,
    sink: &mut Sink,
) -> Result<(), Failure> {
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    let inputs = model.fit_inputs(&views)?;
    let rows = model.rows(&inputs);
    let steps = inputs.iter().zip(model.inputs());
    let steps = steps.map(|(input, port)| port.steps(input.shape()));
    let time = steps.max().unwrap_or(1);
    let row = |path: &String| bytes_per_step(model, path).saturating_mul(time);
    let is_stateful = model.layers().iter().any(|entry| entry.layer.is_stateful());

    // What is too long for one row, and can be done in chunks.
    let mut streams = Vec::new();
    let mut whole = Vec::new();
    for path in paths {
        let stream = match row(path) > BUDGET && !is_stateful {
            true => model.trace_stream(path, options).ok(),
            false => None,
        };
        match stream {
            Some(stream) => streams.push((path, stream)),
            None => whole.push(path),
        }
    }
    let passes = streams.len() + usize::from(!whole.is_empty());
    let mut progress = Progress::new((passes * rows) as u64 * time as u64, "steps");
    let mut done = 0;

    if !whole.is_empty() {
        let row = whole
            .iter()
            .map(|path| row(path))
            .fold(0, usize::saturating_add);
        let size = model
            .static_batch_size()
            .unwrap_or_else(|| (BUDGET / row.max(1)).clamp(1, Model::DEFAULT_BATCH_SIZE));
        let paths: Vec<&str> = whole.iter().map(|path| path.as_str()).collect();
        let mut first = 0;
        while first < rows {
            let end = rows.min(first + size);
            let batch = inputs.iter().zip(model.inputs());
            let batch: Vec<_> = batch
                .map(|(input, port)| port.take_rows(input.view(), first..end))
                .collect();
            let traced = model.trace_all(&paths, &batch, options)?;
            for (path, trace) in &traced.traces {
                sink.take(path, trace, &[], Part::WHOLE)?;
            }
            done += ((end - first) * time) as u64;
            progress.show(done);
            first = end;
        }
    }
    for (path, mut stream) in streams {
        let steps = (BUDGET / bytes_per_step(model, path).max(1)).clamp(1, 1 << 14);
        let axis = model.inputs()[stream.input()].batch_axis.unwrap_or(0);
        for row in inputs[stream.input()].axis_iter(Axis(axis)) {
            stream.reset();
            run_row(&mut stream, row, steps, path, sink, &mut |steps| {
                done += steps as u64;
                progress.show(done);
            })?;
        }
    }
    Ok(())
}

/// One sequence, `steps` at a time.
fn run_row(
    stream: &mut TraceStream<'_>,
    row: ArrayViewD<'_, f32>,
    steps: usize,
    path: &str,
    sink: &mut Sink,
    show: &mut dyn FnMut(usize),
) -> Result<(), Failure> {
    let time = row.shape().first().copied().unwrap_or(0);
    let values = StepShape::len(stream.input_shape());
    let unfit = |_| Failure::new(format_args!("a sequence is not steps of {values} values"));
    let mut first = 0;
    // A sequence without steps is one as well.
    while first < time || first == 0 {
        let end = time.min(first.saturating_add(steps));
        let chunk = row.slice_axis(Axis(0), Slice::from(first..end));
        let chunk = chunk.to_shape((end - first, values)).map_err(unfit)?;
        let trace = stream.push(chunk.view())?;
        let part = Part {
            first_step: first,
            is_last: end == time,
        };
        sink.take(path, &trace, &[], part)?;
        show(end - first);
        first = end;
        if end == time {
            break;
        }
    }
    Ok(())
}

/// What one step of a cell's trace takes of memory, with what it is computed from.
pub fn bytes_per_step(model: &Model, path: &str) -> usize {
    let Ok(cell) = model.cell(path) else { return 0 };
    let arrays = cell.kind().trace_names().len() + 2 * cell.kind().gates();
    let values = cell
        .units()
        .max(cell.outputs())
        .saturating_mul(arrays)
        .saturating_add(cell.features());
    values.saturating_mul(size_of::<f32>())
}
