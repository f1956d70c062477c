//! What a picture shows: a model's run over some rows of its input.

use std::ops::Range;

use ifco::{DigestBuilder, GradientTrace, Model, Trace, TraceOptions};
use ndarray::{ArrayD, ArrayViewD};

use crate::failure::Failure;
use crate::precision::note;
use crate::progress::Progress;
use crate::trace::gradient::{self, Of, OfArgs};

/// A model, what it is to run on, and the cell to be looked at.
pub struct Run<'a> {
    pub model: &'a Model,
    pub inputs: Vec<ArrayD<f32>>,
    pub path: String,
    pub files: String,
}

impl Run<'_> {
    pub fn rows(&self) -> usize {
        self.model.rows(&self.inputs)
    }

    /// Some rows of each input.
    fn take(&self, rows: Range<usize>) -> Vec<ArrayViewD<'_, f32>> {
        let inputs = self.inputs.iter().zip(self.model.inputs());
        inputs
            .map(|(input, port)| port.take_rows(input.view(), rows.clone()))
            .collect()
    }

    /// The trace of some rows of the input.
    pub fn trace(&self, rows: Range<usize>) -> Result<Trace, Failure> {
        let found = self
            .model
            .trace_all(
                &[&self.path],
                &self.take(rows.clone()),
                &TraceOptions::default(),
            )
            .map_err(|error| Failure::from(error).at(&self.files))?;
        self.first(found.traces, rows)
    }

    /// The same with the gradients.
    pub fn gradient(
        &self,
        args: &OfArgs,
        of: &mut Of,
        rows: Range<usize>,
    ) -> Result<GradientTrace, Failure> {
        let at = |failure: Failure| failure.at_unknown(&self.files);
        of.check_rows(self.rows())?;
        let batch = self.take(rows.clone());
        gradient::bytes_of_row(self.model, &batch).map_err(at)?;
        let what = (self.model, &[&self.path[..]][..]);
        let options = TraceOptions::default();
        let found = of.trace(args, what, &batch, &options, rows.start);
        self.first(found.map_err(at)?.traces, rows)
    }

    /// What was traced of the cell's first call.
    fn first<T>(&self, traces: Vec<(String, T)>, rows: Range<usize>) -> Result<T, Failure> {
        let calls = traces.len();
        let (_, trace) = traces.into_iter().next().ok_or_else(|| {
            let what = format!(
                "the model's outputs do not need {:?}: it does not run",
                self.path
            );
            Failure::new(what).at(&self.files)
        })?;
        if calls > 1 && rows.start == 0 {
            note(format_args!(
                "note: the model calls {} {calls} times; this is the first",
                self.path
            ));
        }
        Ok(trace)
    }

    /// What `trace` makes of rows, one of which is this one; and where in it that is.
    pub fn one_row<T>(
        &self,
        row: usize,
        batch: impl Fn(&T) -> usize,
        mut trace: impl FnMut(Range<usize>) -> Result<T, Failure>,
    ) -> Result<(T, usize), Failure> {
        let rows = self.rows();
        let is_alone = row < rows
            && self.model.static_batch_size().is_none()
            && !self
                .model
                .layers()
                .iter()
                .any(|entry| entry.layer.is_stateful());
        if is_alone {
            let found = trace(row..row + 1)?;
            // Inside TimeDistributed a row of the input is several sequences.
            if batch(&found) == 1 {
                return Ok((found, 0));
            }
        }
        Ok((trace(0..rows)?, row))
    }

    /// All rows, a few at a time: the gates of many need more memory than their shares.
    pub fn digest(&self, mut digest: DigestBuilder) -> Result<DigestBuilder, Failure> {
        let rows = self.rows();
        let fixed = self.model.static_batch_size();
        let batch = fixed.unwrap_or(Model::DEFAULT_BATCH_SIZE).max(1);
        let mut progress = Progress::new(rows as u64, "rows");
        for start in (0..rows).step_by(batch) {
            let end = rows.min(start + batch);
            digest.add(&self.trace(start..end)?, start, 0);
            progress.show(end as u64);
        }
        Ok(digest)
    }
}
