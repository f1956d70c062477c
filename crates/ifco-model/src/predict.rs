//! `predict`: a model over many rows, batch by batch, as Keras does it.

use std::ops::Range;

use ndarray::{Array, ArrayBase, ArrayD, ArrayViewD, Axis, IxDyn, RawData, Slice};

use crate::from_config::describe;
use crate::{Model, ModelError, Shape, Tensor};

impl Model {
    /// Keras's default for `predict(batch_size=None)`.
    pub const DEFAULT_BATCH_SIZE: usize = 32;

    /// Runs the model with one input and one output: `model.predict(x)` in Keras.
    ///
    /// `input` is `(rows, ...)`; rows are run in batches of 32, or of the size that the model
    /// fixes. Stateful layers keep their states from batch to batch, and from one call to the
    /// next until [`Model::reset_states`].
    ///
    /// # Errors
    /// When the model has several inputs or outputs (see [`Model::predict_all`]), the input
    /// does not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    ///     {"class_name": "GlobalAveragePooling1D", "config": {"name": "last"}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// let x = array![[[1.0], [2.0], [6.0]]].into_dyn(); // (batch, time, features)
    /// assert_eq!(model.predict(&x)?, array![[3.0]].into_dyn());
    ///
    /// let error = model.predict(&array![[1.0, 2.0]].into_dyn()).unwrap_err();
    /// assert!(error.to_string().starts_with("input \"x\" has shape [1, 2], expected (None, 3, 1)"));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn predict(&self, input: &ArrayD<f32>) -> Result<ArrayD<f32>, ModelError> {
        let [_] = self.outputs() else {
            return Err(ModelError::Inputs(format!(
                "the model has {} outputs: use predict_all",
                self.outputs().len()
            )));
        };
        let size = self.static_batch_size().unwrap_or(Self::DEFAULT_BATCH_SIZE);
        let mut outputs = self.predict_all(&[input.view()], size, &mut |_| {})?;
        Ok(outputs.swap_remove(0))
    }

    /// Runs the model on one array per input, in order, `batch_size` rows at a time; calls
    /// `progress` with the number of rows done. Returns one array per output.
    ///
    /// # Errors
    /// When the inputs do not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::Array3;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    ///     {"class_name": "GlobalMaxPooling1D", "config": {"name": "last"}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// let x = Array3::zeros((5, 3, 1)).into_dyn();
    /// let mut done = Vec::new();
    /// let outputs = model.predict_all(&[x.view()], 2, &mut |rows| done.push(rows))?;
    /// assert_eq!(outputs[0].shape(), [5, 1]);
    /// assert_eq!(done, [2, 4, 5]);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn predict_all(
        &self,
        inputs: &[ArrayViewD<'_, f32>],
        batch_size: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<ArrayD<f32>>, ModelError> {
        let mut outputs: Vec<ArrayD<f32>> = Vec::new();
        self.run_batches(inputs, batch_size, |rows, batch, of| {
            let results = self.run(batch)?;
            for (index, result) in results.into_iter().enumerate() {
                let port = &self.outputs()[index];
                if port.rows(result.shape()) != rows.len() {
                    return Err(ModelError::Inputs(format!(
                        "output {:?} has shape {:?} for a batch of {} rows: its axis {} is not \
                         the batch",
                        port.name,
                        result.shape(),
                        rows.len(),
                        port.batch_axis.unwrap_or(0),
                    )));
                }
                if rows.len() == of {
                    outputs.push(result.into_owned());
                    continue;
                }
                let axis = port.batch_axis.unwrap_or(0);
                if rows.start == 0 {
                    let mut shape = result.shape().to_vec();
                    shape[axis] = of;
                    outputs.push(Array::zeros(IxDyn(&shape)));
                }
                outputs[index]
                    .slice_axis_mut(Axis(axis), Slice::from(rows.clone()))
                    .assign(&result.view());
            }
            progress(rows.end);
            Ok(())
        })?;
        Ok(outputs)
    }

    /// Calls `run` with each batch of `batch_size` rows, the last one smaller: with the rows, one
    /// tensor per input, and the number of all rows.
    pub(crate) fn run_batches(
        &self,
        inputs: &[ArrayViewD<'_, f32>],
        batch_size: usize,
        mut run: impl FnMut(Range<usize>, &[Tensor], usize) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        if batch_size == 0 {
            return Err(ModelError::Inputs(
                "the batch size is 0, expected at least 1".into(),
            ));
        }
        let inputs = self.fit_inputs(inputs)?;
        let all = self.rows(&inputs);
        let mut start = 0;
        while start < all {
            let end = all.min(start.saturating_add(batch_size));
            let batch = inputs.iter().zip(self.inputs()).map(|(input, port)| {
                Tensor::new(port.take_rows(input.view(), start..end).to_owned())
            });
            let batch: Vec<Tensor> = batch.collect();
            run(start..end, &batch, all)?;
            start = end;
        }
        Ok(())
    }

    /// How many rows these arrays have, one for each input.
    ///
    /// ```
    /// # use ifco_model::{Generation, Model};
    /// # use ndarray::Array;
    /// # let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    /// #     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    /// #     {"class_name": "Flatten", "config": {"name": "flat"}},
    /// # ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?; // of (None, 3, 1)
    /// let x = Array::<f32, _>::zeros((5, 3, 1)).into_dyn();
    /// assert_eq!(model.rows(&[x]), 5);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn rows<S: RawData>(&self, inputs: &[ArrayBase<S, IxDyn>]) -> usize {
        let rows = inputs
            .iter()
            .zip(self.inputs())
            .map(|(input, port)| port.rows(input.shape()));
        rows.min().unwrap_or(0)
    }

    /// Whether the model runs on all that it is given at once, whatever the batch size, because
    /// it cannot be told where the rows of a batch lie: see [`Port::batch_axis`](crate::Port).
    /// False of every model of Keras.
    ///
    /// ```
    /// use ifco_model::{ModelBuilder, Port};
    ///
    /// let mut builder = ModelBuilder::new("Graph", "m");
    /// let x = builder.input("x", Some(vec![None, None, Some(3)]));
    /// builder.set_batch_axis(x, None);
    /// let y = Port { name: "y".into(), shape: None, batch_axis: None };
    /// assert!(builder.build(vec![(y, x)])?.runs_whole());
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn runs_whole(&self) -> bool {
        self.inputs().iter().any(|port| port.batch_axis.is_none())
    }

    /// The batch size that the model fixes, as stateful models do: the size of the batch's axis
    /// in an input's shape.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [4, 10, 3]}},
    ///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8, "stateful": true}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// assert_eq!(model.static_batch_size(), Some(4));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn static_batch_size(&self) -> Option<usize> {
        self.inputs().iter().find_map(|port| {
            port.shape
                .as_ref()?
                .get(port.batch_axis?)
                .copied()
                .flatten()
        })
    }

    /// The inputs as [`predict_all`](Self::predict_all) takes them: one for each of the model's, in
    /// the rank that it was built for (an axis of 1 is added or dropped at the end), all with as
    /// many rows. Nothing is copied.
    ///
    /// # Errors
    /// When they do not fit.
    ///
    /// ```
    /// # use ifco_model::{Generation, Model};
    /// # use ndarray::Array;
    /// # let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    /// #     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    /// #     {"class_name": "Flatten", "config": {"name": "flat"}},
    /// # ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?; // of (None, 3, 1)
    /// let x = Array::zeros((5, 3)).into_dyn();
    /// assert_eq!(model.fit_inputs(&[x.view()])?[0].shape(), [5, 3, 1]);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn fit_inputs<'a>(
        &self,
        inputs: &[ArrayViewD<'a, f32>],
    ) -> Result<Vec<ArrayViewD<'a, f32>>, ModelError> {
        self.fit(inputs, false)
    }

    /// The same, where an input may be a stretch of the steps that the model was built for.
    pub(crate) fn fit_stretches<'a>(
        &self,
        inputs: &[ArrayViewD<'a, f32>],
    ) -> Result<Vec<ArrayViewD<'a, f32>>, ModelError> {
        self.fit(inputs, true)
    }

    fn fit<'a>(
        &self,
        inputs: &[ArrayViewD<'a, f32>],
        any_time: bool,
    ) -> Result<Vec<ArrayViewD<'a, f32>>, ModelError> {
        if inputs.len() != self.inputs().len() {
            return Err(ModelError::Inputs(format!(
                "the model takes {} inputs ({}), got {}",
                self.inputs().len(),
                self.input_names().join(", "),
                inputs.len()
            )));
        }
        let mut fitted = Vec::with_capacity(inputs.len());
        for (input, port) in inputs.iter().zip(self.inputs()) {
            let found = input.shape().to_vec();
            let input = match &port.shape {
                None => Some(input.clone()),
                Some(shape) => {
                    let mut shape = shape.clone();
                    if let Some(time) = shape.get_mut(1).filter(|_| any_time) {
                        *time = None;
                    }
                    fit_rank(input.clone(), &shape)
                        .filter(|x| fits(x.shape(), &shape, port.batch_axis))
                }
            };
            let input = input.filter(|input| input.ndim() > 0).ok_or_else(|| {
                ModelError::Inputs(format!(
                    "input {:?} has shape {found:?}, expected {}",
                    port.name,
                    describe(port.shape.as_ref())
                ))
            })?;
            fitted.push(input);
        }
        let rows = self.inputs()[0].rows(fitted[0].shape());
        for (input, port) in fitted.iter().zip(self.inputs()) {
            let own = port.rows(input.shape());
            if own != rows {
                return Err(ModelError::Inputs(format!(
                    "input {:?} has {own} rows, but {:?} has {rows}: all inputs need as many",
                    port.name,
                    self.inputs()[0].name
                )));
            }
        }
        if rows == 0 {
            return Err(ModelError::Inputs("the inputs have no rows".into()));
        }
        Ok(fitted)
    }
}

/// Keras adds or drops a last axis of 1 where only that is missing or too much.
fn fit_rank<'a>(input: ArrayViewD<'a, f32>, shape: &Shape) -> Option<ArrayViewD<'a, f32>> {
    let (have, want) = (input.ndim(), shape.len());
    if have == want {
        Some(input)
    } else if have == want + 1 && input.shape().last() == Some(&1) {
        Some(input.index_axis_move(Axis(have - 1), 0))
    } else if have + 1 == want && shape.last() == Some(&Some(1)) {
        Some(input.insert_axis(Axis(have)))
    } else {
        None
    }
}

/// Whether every known size but the batch's agrees. (A last batch may be smaller.)
fn fits(found: &[usize], shape: &Shape, batch_axis: Option<usize>) -> bool {
    let mut sizes = found.iter().zip(shape).enumerate();
    found.len() == shape.len()
        && sizes.all(|(axis, (size, want))| {
            Some(axis) == batch_axis || want.is_none_or(|want| want == *size)
        })
}
