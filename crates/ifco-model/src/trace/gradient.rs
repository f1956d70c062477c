//! A run and the way back, keeping the gradient by every state of the recurrent cells.

use ifco_cell::{GradientTrace, TraceOptions};
use ndarray::{ArrayD, ArrayViewD};

use super::Tap;
use crate::{Array, Model, ModelError, Tensor, Training};

/// What [`Model::trace_gradient`] returns.
///
/// See the example there.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelGradientTrace {
    /// The traces with their gradients, by the paths of the cells, in the order of
    /// [`Model::cells`]. Of a layer that the model calls several times, `lstm` is the first call,
    /// `lstm#1` the second.
    pub traces: Vec<(String, GradientTrace)>,
    /// What the model predicts: one array per output.
    pub outputs: Vec<ArrayD<f32>>,
}

impl ModelGradientTrace {
    /// The trace of the cell at this path.
    pub fn get(&self, path: &str) -> Option<&GradientTrace> {
        let named = self.traces.iter().find(|(name, _)| name == path)?;
        Some(&named.1)
    }
}

impl Model {
    /// Runs the model on one array per input, all rows as one batch, and goes back from a loss:
    /// keeps ∂L/∂h_t and ∂L/∂c_t for every step of the cells at `paths`, beside what they computed;
    /// of all cells where `paths` is empty. The model runs as it predicts, without dropout.
    ///
    /// `loss` is told the outputs, with their masks, and tells the gradient of the loss by each of
    /// them, in its shape: `None` where the loss does not depend on it. [`Target`](crate::Target)
    /// makes them of what the model puts out itself, `Loss` of `ifco-train` of what it should.
    ///
    /// A layer that the outputs do not need does not run, and has no trace. A stateful layer goes
    /// on from the states that it keeps, and keeps the new ones, as with [`Model::predict`].
    ///
    /// # Errors
    /// When there is no such cell, the inputs do not fit, a gradient has not its output's shape, or
    /// a layer between the cells and the outputs cannot be run or trained.
    ///
    /// ```
    /// use ifco_model::{Generation, Model, Target};
    /// use ndarray::{Array, array};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "rnn", "units": 1, "activation": "linear", "use_bias": false,
    ///     }},
    ///     {"class_name": "Dense", "config": {"name": "out", "units": 1, "use_bias": false}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let weights = [1.0, 0.5, 3.0].map(|weight| array![[weight]].into_dyn());
    /// model.set_weights(weights.to_vec())?; // h' = x + h/2, y = 3h
    ///
    /// let x = Array::ones((1, 4, 1)).into_dyn(); // (batch, time, features)
    /// let found = model.trace_gradient(&["rnn"], &[x.view()], &Default::default(), |outputs| {
    ///     Target::default().gradients(outputs)
    /// })?;
    /// let rnn = found.get("rnn").unwrap();
    /// assert_eq!(rnn.dh().as_slice().unwrap(), [0.375, 0.75, 1.5, 3.0]);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn trace_gradient(
        &self,
        paths: &[&str],
        inputs: &[ArrayViewD<'_, f32>],
        options: &TraceOptions,
        loss: impl FnOnce(&[Tensor]) -> Result<Vec<Option<Array>>, ModelError>,
    ) -> Result<ModelGradientTrace, ModelError> {
        let tap = Tap::new(self.paths_of(paths)?, Vec::new()).with_gradients();
        let inputs = self.fit_inputs(inputs)?;
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|input| Tensor::new(input.to_owned()))
            .collect();
        let mut training = Training::inference().with_inputs(false).with_weights(false);
        let (outputs, tape) = self.run_for_training(&inputs, Some(&tap), &mut training)?;
        tape.backward(loss(&outputs)?)?;
        let traces = tap.finish().into_iter().map(|found| {
            let (path, passage) = (found.path, found.passage);
            // Without a way to the loss there is no gradient.
            let states = found.gradients.unwrap_or_else(|| passage.zero_states());
            let trace = GradientTrace::new(passage.into_trace(options), states);
            let trace = trace.ok_or_else(|| {
                ModelError::Inputs(format!("the gradients of {path:?} have not its shapes"))
            })?;
            Ok((path, trace))
        });
        Ok(ModelGradientTrace {
            traces: traces.collect::<Result<_, ModelError>>()?,
            outputs: outputs.into_iter().map(Tensor::into_owned).collect(),
        })
    }
}
