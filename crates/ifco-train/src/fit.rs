//! Training a model: Keras's `train_on_batch`, `fit` and `evaluate`.

use ifco_model::{Model, ModelError, Tensor, Training};
use ndarray::{ArrayD, Axis};
use serde_json::Value;

use crate::callback::Logs;
use crate::fused::{self, Last};
use crate::loss::Weighting;
use crate::{Compile, Optimizer, OutputTraining, Parameter, Shuffle, TrainError, batches};

/// Why a model cannot be trained on something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A loss, metric or optimizer.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Something in the model that training does not take account of yet.
    #[error("layer {layer:?} has a {key}, which training does not apply yet: set it to null")]
    Unsupported {
        /// The layer's name.
        layer: String,
        /// Keras's key, such as `kernel_regularizer`.
        key: String,
    },
    /// Data that do not belong together.
    #[error("{0}")]
    Data(String),
}

/// Inputs and what is wanted of them, one array for each input and output; rows are samples.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// One for each input, `(samples, …)`.
    pub inputs: Vec<ArrayD<f32>>,
    /// One for each output, `(samples, …)`.
    pub targets: Vec<ArrayD<f32>>,
    /// What each sample, or step, counts for; one for each output, or none at all.
    pub sample_weights: Vec<ArrayD<f32>>,
}

impl Data {
    /// One input, one output, no weights.
    pub fn new(input: ArrayD<f32>, target: ArrayD<f32>) -> Self {
        Self {
            inputs: vec![input],
            targets: vec![target],
            sample_weights: Vec::new(),
        }
    }

    /// How many samples there are: the same in each array.
    ///
    /// # Errors
    /// When arrays differ, or there are none.
    pub fn samples(&self) -> Result<usize, FitError> {
        let all = || {
            self.inputs
                .iter()
                .chain(&self.targets)
                .chain(&self.sample_weights)
        };
        let mut counts = all().map(|array| array.shape().first().copied().unwrap_or(0));
        let Some(first) = counts.next() else {
            return Err(FitError::Data("there are no data".into()));
        };
        match counts.find(|count| *count != first) {
            Some(other) => Err(FitError::Data(format!(
                "arrays have {first} and {other} samples, but must have the same"
            ))),
            None => Ok(first),
        }
    }

    /// These samples, in this order.
    fn rows(&self, rows: &[usize]) -> Self {
        let pick = |arrays: &[ArrayD<f32>]| {
            arrays
                .iter()
                .map(|array| array.select(Axis(0), rows))
                .collect()
        };
        Self {
            inputs: pick(&self.inputs),
            targets: pick(&self.targets),
            sample_weights: pick(&self.sample_weights),
        }
    }
}

/// How long and on which samples [`Trainer::fit`] trains.
#[derive(Debug, Clone)]
pub struct FitOptions<'a> {
    /// How many epochs.
    pub epochs: usize,
    /// The first epoch's number; what came before was trained before.
    pub initial_epoch: usize,
    /// How many samples a step sees.
    pub batch_size: usize,
    /// Orders of the samples; absent: as they are.
    pub shuffle: Option<Shuffle>,
    /// Judged after each epoch, under names with `val_`.
    pub validation: Option<&'a Data>,
    /// Where dropout draws from.
    pub seed: u64,
}

impl Default for FitOptions<'_> {
    /// Keras's: one epoch, 32 samples a step, shuffled.
    fn default() -> Self {
        Self {
            epochs: 1,
            initial_epoch: 0,
            batch_size: 32,
            shuffle: Some(Shuffle::new(0)),
            validation: None,
            seed: 0,
        }
    }
}

/// A model while it is trained.
///
/// ```
/// use ifco_model::{Generation, Model};
/// use ifco_train::{Compile, Data, FitOptions, Trainer};
/// use ndarray::array;
/// use serde_json::json;
///
/// let json = json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
///     {"class_name": "Dense", "config": {"name": "line", "units": 1}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// model.set_weights(vec![array![[0.0]].into_dyn(), array![0.0].into_dyn()])?;
/// let compile = Compile::from_keras(&json!({
///     "optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.25}}, "loss": "mse",
/// }))?;
///
/// let mut trainer = Trainer::new(model, compile)?;
/// let data = Data::new(array![[-1.0], [1.0]].into_dyn(), array![[-1.0], [3.0]].into_dyn());
/// let options = FitOptions { epochs: 50, ..FitOptions::default() };
/// trainer.fit(&data, &options, |_epoch, logs| logs[0].1 > 1e-9)?; // go on while the loss is large
/// let model = trainer.into_model()?;
/// let y = model.predict(&array![[2.0]].into_dyn())?; // 2x + 1
/// assert!((y[[0, 0]] - 5.0).abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    /// The model without the activations that losses look behind.
    runs: Option<Model>,
    compile: Compile,
    outputs: Vec<OutputTraining>,
    last: Vec<Option<Last>>,
    /// The model's weights that are trained, by their numbers.
    trained: Vec<usize>,
    values: Vec<ArrayD<f32>>,
    loss: RunningLoss,
}

/// The mean loss since the last reset, by samples; each output's by batches, since Keras does not
/// know their sizes there.
#[derive(Debug, Clone, Default)]
struct RunningLoss {
    samples: f64,
    batches: f64,
    total: f64,
    each: Vec<f64>,
}

impl Trainer {
    /// Gets a model with weights ready for training.
    ///
    /// # Errors
    /// When the configuration does not fit the model's outputs, the model has no weights, or a
    /// layer has a regularizer or constraint.
    pub fn new(model: Model, mut compile: Compile) -> Result<Self, FitError> {
        refuse_penalties(model.config())?;
        let names: Vec<&str> = model
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let mut outputs = compile.outputs(&names)?;
        let mut last = Vec::with_capacity(outputs.len());
        for (output, name) in outputs.iter_mut().zip(&names) {
            let activation = fused::last_activation(model.config(), name);
            let behind = output
                .loss
                .as_ref()
                .zip(activation)
                .and_then(|(loss, last)| {
                    let kind = match last {
                        Last::Softmax => loss.kind.before_softmax(),
                        Last::Sigmoid => loss.kind.before_sigmoid(),
                    };
                    Some((kind?, last))
                });
            if let (Some(loss), Some((kind, _))) = (&mut output.loss, behind) {
                loss.kind = kind;
            }
            last.push(behind.map(|(_, last)| last));
        }
        let looked_behind = names.iter().zip(&last).filter(|(_, last)| last.is_some());
        let looked_behind: Vec<&str> = looked_behind.map(|(name, _)| *name).collect();
        let runs = match looked_behind.as_slice() {
            [] => None,
            some => Some(fused::without(&model, some)?),
        };
        let all = model
            .weights()
            .ok_or_else(|| FitError::Data("the model has no weights yet".into()))?;
        let slots = model.weight_slots();
        let trained: Vec<usize> = (0..slots.len()).filter(|i| slots[*i].trainable).collect();
        let values: Vec<ArrayD<f32>> = trained.iter().map(|i| all[*i].clone()).collect();
        let shapes: Vec<(String, Vec<usize>)> = trained
            .iter()
            .zip(&values)
            .map(|(i, values)| {
                let path = format!("{}/{}", slots[*i].group, slots[*i].name);
                (path, values.shape().to_vec())
            })
            .collect();
        compile.optimizer.build(&shapes);
        Ok(Self {
            loss: RunningLoss {
                each: vec![0.0; outputs.len()],
                ..RunningLoss::default()
            },
            model,
            runs,
            compile,
            outputs,
            last,
            trained,
            values,
        })
    }

    /// The optimizer, to look at or save its state, and to set the learning rate.
    pub fn optimizer(&mut self) -> &mut Optimizer {
        &mut self.compile.optimizer
    }

    /// The model as it is now trained. With `use_ema`, [`finalize`](Self::finalize) comes first.
    ///
    /// # Errors
    /// When the model does not take its weights, which it gave.
    pub fn into_model(mut self) -> Result<Model, FitError> {
        self.write_back()?;
        Ok(self.model)
    }

    /// The model as it is now trained.
    ///
    /// # Errors
    /// As [`into_model`](Self::into_model).
    pub fn model(&mut self) -> Result<&Model, FitError> {
        self.write_back()?;
        Ok(&self.model)
    }

    fn write_back(&mut self) -> Result<(), FitError> {
        if let Some(weights) = self.runs.as_ref().and_then(Model::weights) {
            self.model.set_weights(weights)?;
        }
        Ok(())
    }

    /// Puts the averages that `use_ema` keeps into the weights, as Keras does at the end of `fit`.
    ///
    /// # Errors
    /// When the model does not take its weights.
    pub fn finalize(&mut self) -> Result<(), FitError> {
        let gradients: Vec<Option<ArrayD<f32>>> = vec![None; self.values.len()];
        let mut parameters = parameters(&mut self.values, &gradients);
        self.compile.optimizer.finalize(&mut parameters)?;
        self.take_up()
    }

    /// One step on these samples; `seed` is what dropout draws from. Returns the loss.
    ///
    /// # Errors
    /// When the data do not fit the model. No weight has changed then.
    pub fn train_on_batch(&mut self, batch: &Data, seed: u64) -> Result<f32, FitError> {
        let samples = batch.samples()?;
        let inputs: Vec<Tensor> = batch.inputs.iter().cloned().map(Tensor::new).collect();
        let runs = self.runs.as_ref().unwrap_or(&self.model);
        let (predictions, tape) = runs.forward_for_training(&inputs, &mut Training::new(seed))?;
        let mut judged = judge(&mut self.outputs, &self.last, &predictions, batch, true)?;
        judged.total += tape.penalty();
        let moving = tape.moving().to_vec();
        let slopes = std::mem::take(&mut judged.slopes);
        let slopes = slopes
            .into_iter()
            .map(|slope| slope.map(ArrayD::into_shared));
        let mut gradients = tape.backward(slopes.collect())?.weights;
        let scale = self.compile.optimizer.loss_scale();
        let taken = self.trained.iter().map(|i| {
            let gradient = gradients.get_mut(*i).and_then(Option::take)?;
            let mut gradient = gradient.into_dense();
            if scale != 1.0 {
                gradient *= scale;
            }
            Some(gradient)
        });
        let taken: Vec<Option<ArrayD<f32>>> = taken.collect();
        let mut parameters = parameters(&mut self.values, &taken);
        self.compile.optimizer.apply(&mut parameters)?;
        self.take_up()?;
        self.runs
            .as_mut()
            .unwrap_or(&mut self.model)
            .update_moving_averages(&moving)?;
        self.loss.add(&judged, samples);
        Ok(judged.total)
    }

    /// Judges these samples without training. Returns the loss.
    ///
    /// # Errors
    /// When the data do not fit the model.
    pub fn test_on_batch(&mut self, batch: &Data) -> Result<f32, FitError> {
        let samples = batch.samples()?;
        let inputs: Vec<Tensor> = batch.inputs.iter().cloned().map(Tensor::new).collect();
        let runs = self.runs.as_ref().unwrap_or(&self.model);
        let mut how = Training::inference().with_inputs(false).with_weights(false);
        let (predictions, tape) = runs.forward_for_training(&inputs, &mut how)?;
        let mut judged = judge(&mut self.outputs, &self.last, &predictions, batch, false)?;
        judged.total += tape.penalty();
        self.loss.add(&judged, samples);
        Ok(judged.total)
    }

    /// Puts the trained values into the model that runs.
    fn take_up(&mut self) -> Result<(), FitError> {
        let runs = self.runs.as_mut().unwrap_or(&mut self.model);
        runs.update_weights(|weight, mut values| {
            if let Ok(k) = self.trained.binary_search(&weight) {
                values.assign(&self.values[k]);
            }
        })?;
        Ok(())
    }

    /// Starts losses and metrics anew, as each epoch does.
    pub fn reset_metrics(&mut self) {
        self.loss = RunningLoss {
            each: vec![0.0; self.outputs.len()],
            ..RunningLoss::default()
        };
        for output in &mut self.outputs {
            let metrics = output
                .metrics
                .iter_mut()
                .chain(&mut output.weighted_metrics);
            metrics.for_each(|(_, metric)| metric.reset());
        }
    }

    /// The loss and all metrics since the last reset: `loss` first, then each output's where there
    /// are several, then metrics. Of one that has several numbers, their mean.
    pub fn logs(&self) -> Vec<(String, f64)> {
        let mean = |sum: f64, count: f64| if count == 0.0 { 0.0 } else { sum / count };
        let mut logs = vec![("loss".to_owned(), mean(self.loss.total, self.loss.samples))];
        if self.outputs.len() > 1 {
            let names = self.model.outputs().iter().zip(&self.loss.each);
            let trained = names
                .zip(&self.outputs)
                .filter(|(_, output)| output.loss.is_some());
            logs.extend(trained.map(|((port, sum), _)| {
                (format!("{}_loss", port.name), mean(*sum, self.loss.batches))
            }));
        }
        for output in &self.outputs {
            for (name, metric) in output.metrics.iter().chain(&output.weighted_metrics) {
                let result = metric.result();
                let sum: f64 = result.iter().map(|value| f64::from(*value)).sum();
                logs.push((name.clone(), sum / result.len().max(1) as f64));
            }
        }
        logs
    }

    /// Judges all samples, batch by batch: the loss and the metrics.
    ///
    /// # Errors
    /// When the data do not fit the model.
    pub fn evaluate(
        &mut self,
        data: &Data,
        batch_size: usize,
    ) -> Result<Vec<(String, f64)>, FitError> {
        self.reset_metrics();
        let order: Vec<usize> = (0..data.samples()?).collect();
        for rows in batches(&order, batch_size) {
            self.test_on_batch(&data.rows(rows))?;
        }
        Ok(self.logs())
    }

    /// Trains for some epochs. After each, `after` is told its number and its logs, and says
    /// whether to go on.
    ///
    /// # Errors
    /// When the data do not fit the model.
    pub fn fit(
        &mut self,
        data: &Data,
        options: &FitOptions<'_>,
        mut after: impl FnMut(usize, &Logs<'_>) -> bool,
    ) -> Result<(), FitError> {
        let samples = data.samples()?;
        for epoch in options.initial_epoch..options.epochs {
            self.reset_metrics();
            let order = match options.shuffle {
                Some(shuffle) => shuffle.order(epoch, samples),
                None => (0..samples).collect(),
            };
            for rows in batches(&order, options.batch_size) {
                let step = self.compile.optimizer.iterations() as u64;
                let seed = options
                    .seed
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    .wrapping_add(step);
                self.train_on_batch(&data.rows(rows), seed)?;
            }
            let mut logs = self.logs();
            if let Some(validation) = options.validation {
                let judged = self.evaluate(validation, options.batch_size)?;
                logs.extend(
                    judged
                        .into_iter()
                        .map(|(name, value)| (format!("val_{name}"), value)),
                );
            }
            let logs: Vec<(&str, f64)> = logs
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .collect();
            if !after(epoch, &logs) {
                break;
            }
        }
        self.finalize()
    }
}

fn parameters<'a>(
    values: &'a mut [ArrayD<f32>],
    gradients: &'a [Option<ArrayD<f32>>],
) -> Vec<Parameter<'a>> {
    let each = values.iter_mut().zip(gradients);
    each.map(|(values, gradient)| Parameter {
        values: values.view_mut(),
        gradient: gradient.as_ref().map(|gradient| gradient.view()),
        constraint: None,
    })
    .collect()
}

/// What the losses say of one batch.
#[derive(Default)]
struct Judged {
    total: f32,
    each: Vec<f32>,
    slopes: Vec<Option<ArrayD<f32>>>,
}

/// Losses, their gradients if they are asked for, and the metrics of one batch.
fn judge(
    outputs: &mut [OutputTraining],
    last: &[Option<Last>],
    predictions: &[Tensor],
    batch: &Data,
    training: bool,
) -> Result<Judged, FitError> {
    if batch.targets.len() != outputs.len() || predictions.len() != outputs.len() {
        return Err(FitError::Data(format!(
            "there are targets for {} outputs, but the model has {}",
            batch.targets.len(),
            outputs.len()
        )));
    }
    if !batch.sample_weights.is_empty() && batch.sample_weights.len() != outputs.len() {
        return Err(FitError::Data(format!(
            "there are sample weights for {} outputs, but the model has {}",
            batch.sample_weights.len(),
            outputs.len()
        )));
    }
    let mut judged = Judged::default();
    for (i, output) in outputs.iter_mut().enumerate() {
        let (prediction, y_true) = (&predictions[i], batch.targets[i].view());
        let weighting = Weighting {
            sample_weight: batch.sample_weights.get(i).map(|weights| weights.view()),
            mask: prediction.mask.as_ref().map(|mask| mask.view()),
        };
        let mut slope = None;
        let mut value = 0.0;
        if let Some(loss) = &output.loss {
            let y_pred = prediction.view();
            if training {
                let mut result = loss.with_gradient(&y_true, &y_pred, &weighting)?;
                result.gradient *= output.loss_weight;
                (value, slope) = (result.total, Some(result.gradient));
            } else {
                value = loss.value(&y_true, &y_pred, &weighting)?;
            }
        }
        judged.total += value * output.loss_weight;
        judged.each.push(value);
        judged.slopes.push(slope);
        if output.metrics.is_empty() && output.weighted_metrics.is_empty() {
            continue;
        }
        let seen = match last[i] {
            Some(last) => last.of(prediction.clone().into_owned()),
            None => prediction.clone().into_owned(),
        };
        let unweighted = Weighting {
            sample_weight: None,
            mask: weighting.mask.clone(),
        };
        for (_, metric) in &mut output.metrics {
            metric.update(&y_true, &seen.view(), &unweighted)?;
        }
        for (_, metric) in &mut output.weighted_metrics {
            metric.update(&y_true, &seen.view(), &weighting)?;
        }
    }
    Ok(judged)
}

impl RunningLoss {
    fn add(&mut self, judged: &Judged, samples: usize) {
        let samples = samples as f64;
        self.samples += samples;
        self.batches += 1.0;
        self.total += f64::from(judged.total) * samples;
        for (sum, value) in self.each.iter_mut().zip(&judged.each) {
            *sum += f64::from(*value);
        }
    }
}

/// Regularizers and constraints of layers, which would otherwise be left out in silence.
fn refuse_penalties(config: &Value) -> Result<(), FitError> {
    for entry in fused::layers(config).into_iter().flatten() {
        if let Some(key) = penalty(entry) {
            let name = entry.pointer("/config/name").and_then(Value::as_str);
            return Err(FitError::Unsupported {
                layer: name.unwrap_or_default().into(),
                key,
            });
        }
    }
    Ok(())
}

/// A key of a layer, or of one inside of it, that holds a regularizer or a constraint.
fn penalty(json: &Value) -> Option<String> {
    match json {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let is_one = key.ends_with("_regularizer") || key.ends_with("_constraint");
            if is_one && !value.is_null() {
                return Some(key.clone());
            }
            penalty(value)
        }),
        Value::Array(items) => items.iter().find_map(penalty),
        _ => None,
    }
}
