//! One run of the graph, node after node.

use std::time::{Duration, Instant};

use crate::graph::{Input, Source};
use crate::{Call, LayerEntry, LayerError, Model, ModelError, Tap, Tensor};

/// What is told of a layer's call: the layer, the tensors it took, and how long it ran.
type Observer<'a> = &'a mut dyn FnMut(&LayerEntry, &[Tensor], Duration);

/// Runs one call: of the node of this number, of this layer, with these inputs.
type Run<'a, 'f> =
    &'f mut dyn FnMut(usize, &'a LayerEntry, &[Tensor], &Call) -> Result<Vec<Tensor>, LayerError>;

impl Model {
    /// Runs the graph once on one tensor per input.
    pub(crate) fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        self.run_observed(inputs, None, None)
    }

    /// The same, where recurrent layers leave their traces.
    pub(crate) fn run_traced(
        &self,
        inputs: &[Tensor],
        tap: Option<&Tap>,
    ) -> Result<Vec<Tensor>, ModelError> {
        self.run_observed(inputs, None, tap)
    }

    /// Runs the model once on one tensor per input, all rows as one batch, and tells after each
    /// layer's call what it took and how long it ran. A layer that the graph calls twice is told
    /// twice; of a model inside this one (`entry.layer.as_model()`) only the whole is, and
    /// `observe` on it with the same tensors tells the parts.
    ///
    /// # Errors
    /// When the inputs do not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model, Tensor};
    /// use ndarray::Array3;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 6, 1]}},
    ///     {"class_name": "MaxPooling1D", "config": {"name": "pool", "pool_size": 2}},
    ///     {"class_name": "Flatten", "config": {"name": "flat"}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// let x = Tensor::new(Array3::zeros((5, 6, 1)).into_dyn());
    /// let mut told = Vec::new();
    /// model.observe(&[x], &mut |entry, inputs, _took| {
    ///     told.push((entry.name.clone(), inputs[0].shape().to_vec()));
    /// })?;
    /// assert_eq!(told[0], ("pool".into(), vec![5, 6, 1]));
    /// assert_eq!(told[1], ("flat".into(), vec![5, 3, 1]));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn observe(
        &self,
        inputs: &[Tensor],
        observer: &mut dyn FnMut(&LayerEntry, &[Tensor], Duration),
    ) -> Result<Vec<Tensor>, ModelError> {
        self.run_observed(inputs, Some(observer), None)
    }

    fn run_observed(
        &self,
        inputs: &[Tensor],
        mut observer: Option<Observer<'_>>,
        tap: Option<&Tap>,
    ) -> Result<Vec<Tensor>, ModelError> {
        self.run_calls(inputs, tap, &mut |_, entry, taken, call| {
            // Only who asks for it pays for the clock.
            let start = observer.is_some().then(Instant::now);
            let outputs = entry.layer.call(taken, call)?;
            if let (Some(observer), Some(start)) = (&mut observer, start) {
                observer(entry, taken, start.elapsed());
            }
            Ok(outputs)
        })
    }

    /// Goes through the graph: `run` is told a node's number, its layer and what that takes, and
    /// gives the outputs.
    pub(crate) fn run_calls<'a>(
        &'a self,
        inputs: &[Tensor],
        tap: Option<&Tap>,
        run: Run<'a, '_>,
    ) -> Result<Vec<Tensor>, ModelError> {
        if inputs.len() != self.input_sources.len() {
            return Err(ModelError::Inputs(format!(
                "the model takes {} inputs ({}), got {}",
                self.inputs.len(),
                self.input_names().join(", "),
                inputs.len()
            )));
        }
        // How many uses of each node's outputs are left: at 0 they are dropped.
        let mut uses = vec![0usize; self.nodes.len()];
        for &index in &self.order {
            self.nodes[index]
                .sources()
                .for_each(|source| uses[source.node] += 1);
        }
        self.output_sources
            .iter()
            .for_each(|source| uses[source.node] += 1);

        let mut values: Vec<Option<Vec<Tensor>>> = vec![None; self.nodes.len()];
        for &index in &self.order {
            let node = &self.nodes[index];
            if let Some(position) = self.input_of(index) {
                values[index] = Some(vec![inputs[position].clone()]);
                continue;
            }
            let entry = &self.layers[node.layer];
            let take = |source: &Source| self.take(&values, source);
            let mut taken = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                taken.push(match input {
                    Input::Number(number) => Tensor::number(*number),
                    Input::Tensor(source) => take(source)?,
                });
            }
            let mut call = Call {
                positional: node.positional.clone(),
                values: node.values.clone(),
                tap: tap.map(|tap| tap.below(&entry.name)),
                ..Call::default()
            };
            for (name, sources) in &node.tensors {
                let tensors = sources.iter().map(take).collect::<Result<_, _>>()?;
                call.tensors.insert(name.clone(), tensors);
            }
            call.apply_mask(&mut taken);
            for source in node.sources() {
                uses[source.node] -= 1;
                if uses[source.node] == 0 {
                    values[source.node] = None;
                } else if entry.layer.takes_masks_away()
                    && let Some(outputs) = &mut values[source.node]
                {
                    outputs[source.tensor].mask = None;
                }
            }
            let outputs = run(index, entry, &taken, &call).map_err(|source| entry.error(source))?;
            values[index] = Some(outputs);
        }
        self.output_sources
            .iter()
            .map(|source| self.take(&values, source))
            .collect()
    }

    /// Which of the model's inputs this node is.
    pub(crate) fn input_of(&self, node: usize) -> Option<usize> {
        self.input_sources
            .iter()
            .position(|source| source.node == node)
    }

    /// An output of a node that has run.
    fn take(&self, values: &[Option<Vec<Tensor>>], source: &Source) -> Result<Tensor, ModelError> {
        let outputs = values[source.node].as_ref();
        let tensor = outputs.and_then(|outputs| outputs.get(source.tensor));
        tensor.cloned().ok_or_else(|| {
            self.layers[self.nodes[source.node].layer].error(LayerError::Other(format!(
                "the model uses its output {}, which it does not have",
                source.tensor
            )))
        })
    }
}
