//! A run of the model in stretches of steps, each going on where one before ended.

use ifco_cell::Passage;
use ndarray::{ArrayD, ArrayViewD};

use super::Tap;
use crate::session::SessionError;
use crate::{Model, ModelError, NotStreamable, Tensor, Time};

/// What [`Model::pass`] returns: what the recurrent cells did, without their gates, which follow
/// from it ([`Passage::gates`]).
///
/// See the example there.
#[derive(Debug, Clone)]
pub struct ModelPassage {
    /// By the paths of the cells, in the order of [`Model::cells`], those that ran. Of a layer that
    /// the model calls several times, `lstm` is the first call, `lstm#1` the second.
    pub passages: Vec<(String, Passage)>,
    /// What the model predicts: one array per output.
    pub outputs: Vec<ArrayD<f32>>,
}

impl Model {
    /// Runs the model on one array per input, all rows as one batch, and keeps what its recurrent
    /// cells did. `after` is the passage that this one goes on from: the recurrent layers begin
    /// with the states that it ended with.
    ///
    /// Only a model that can go on ([`goes_on`](Self::goes_on)) computes in stretches what it
    /// computes at once, and only as long as no step is masked. The inputs may have fewer steps
    /// than the model was built for: [`fit_inputs`](Self::fit_inputs) tells of a whole sequence.
    ///
    /// # Errors
    /// When the inputs do not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::{Array, Axis, concatenate, s};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "sum", "units": 1, "activation": "linear", "use_bias": false,
    ///         "return_sequences": true,
    ///     }},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let one = || Array::ones((1, 1)).into_dyn();
    /// model.set_weights(vec![one(), one()])?; // h' = x + h
    /// assert_eq!(model.goes_on()?, [true]);
    ///
    /// let x = Array::ones((1, 5, 1)).into_dyn();
    /// let stretch = |from, to| x.slice(s![.., from..to, ..]).into_dyn();
    /// let begin = model.pass(&[stretch(0, 3)], None)?;
    /// let end = model.pass(&[stretch(3, 5)], Some(&begin))?;
    /// let parts = [begin.outputs[0].view(), end.outputs[0].view()];
    /// assert_eq!(concatenate(Axis(1), &parts).unwrap(), model.predict(&x)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pass(
        &self,
        inputs: &[ArrayViewD<'_, f32>],
        after: Option<&ModelPassage>,
    ) -> Result<ModelPassage, ModelError> {
        let inputs = self.fit_stretches(inputs)?;
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|input| Tensor::new(input.to_owned()))
            .collect();
        let paths = self.cells().into_iter().map(|(path, _)| path).collect();
        let states = after.into_iter().flat_map(|after| &after.passages);
        let states = states.map(|(path, passage)| (path.clone(), passage.last_states().to_vec()));
        let tap = Tap::new(paths, states.collect());
        let outputs = self.run_traced(&inputs, Some(&tap))?;
        Ok(ModelPassage {
            passages: tap.passages(),
            outputs: outputs.into_iter().map(Tensor::into_owned).collect(),
        })
    }

    /// Whether the model can run in stretches of steps ([`pass`](Self::pass)): for each output,
    /// whether it has the time axis, so that the outputs of the stretches are parts of the whole
    /// one. Of the others that of the last stretch is the model's.
    ///
    /// # Errors
    /// When it cannot, with the reason: a layer looks ahead, or remembers what is no state of a
    /// recurrent cell; the model has several inputs; a layer is stateful, or called several times.
    ///
    /// See [`pass`](Self::pass) for an example.
    pub fn goes_on(&self) -> Result<Vec<bool>, SessionError> {
        let refuse = |why: String| {
            let help = "run whole sequences";
            SessionError::Model(NotStreamable::new(why).help(help))
        };
        let states: Vec<String> = self
            .cells()
            .iter()
            .flat_map(|(path, cell)| {
                let states = cell.kind().states().iter().chain(&["output"]);
                states.map(move |state| format!("{path}/{state}"))
            })
            .collect();
        if let Some(entry) = self.layers.iter().find(|entry| entry.layer.is_stateful()) {
            return Err(refuse(format!("layer {:?} is stateful", entry.name)));
        }
        let outputs = self.outputs().iter().map(|port| {
            let session = self.session_for(&port.name)?;
            let unknown = session.states().into_iter();
            let mut unknown = unknown.filter(|(name, _)| !states.contains(name));
            match unknown.next() {
                Some((name, _)) => Err(refuse(format!("{name:?} is no state of a recurrent cell"))),
                None => Ok(session.output_shape().time != Time::Gone),
            }
        });
        outputs.collect()
    }
}
