//! Training a model: Keras's `train_on_batch`, `fit` and `evaluate`.

mod data;
mod judge;
mod penalties;

use ifco_cell::TrainingMemory;
use ifco_model::{Gradient, Model, ModelError, Tensor, Training};
use ndarray::ArrayD;

use crate::callback::Logs;
use crate::fused::{self, Behind, Last};
use crate::{Compile, Optimizer, OutputTraining, Parameter, TrainError, batches};

pub use judge::RunningLoss;

pub use data::{Data, FitOptions, Samples, same_samples};

use judge::judge;
use penalties::{Wish, regularization};

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
    #[error("layer {layer:?} has a {key}, which training cannot apply there: set it to null")]
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
    last: Vec<Option<Behind>>,
    /// The model's weights that are trained, by their numbers.
    trained: Vec<usize>,
    values: Vec<ArrayD<f32>>,
    /// What is asked of each of them.
    wishes: Vec<Wish>,
    loss: RunningLoss,
    /// What steps of the first epoch gave that were made before.
    begun: Option<RunningLoss>,
    recompute: bool,
    /// What the layers have done with is theirs again in the next step.
    _memory: TrainingMemory,
}

impl Trainer {
    /// Gets a model with weights ready for training.
    ///
    /// # Errors
    /// When the configuration does not fit the model's outputs, the model has no weights, or a
    /// layer has a regularizer or constraint that cannot be applied where it is.
    pub fn new(model: Model, mut compile: Compile) -> Result<Self, FitError> {
        let mut all_wishes = penalties::wishes(&model)?;
        let names: Vec<&str> = model
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let mut outputs = compile.outputs(&names)?;
        let mut last = Vec::with_capacity(outputs.len());
        for (output, name) in outputs.iter_mut().zip(&names) {
            let activation = fused::last_activation(&model, name);
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
            last.push(match behind {
                None => None,
                Some((_, last)) => Some(Behind {
                    last,
                    activity: fused::activity(model.config(), name).map_err(TrainError::from)?,
                }),
            });
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
        let wishes = trained
            .iter()
            .map(|i| std::mem::take(&mut all_wishes[*i]))
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
            wishes,
            trained,
            values,
            begun: None,
            recompute: false,
            _memory: TrainingMemory::keep(),
        })
    }

    /// Has recurrent layers keep less of long sequences, and run the steps again on the way back:
    /// see [`Training::with_recompute`].
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
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
        let mut parameters = parameters(&mut self.values, &gradients, &self.wishes);
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
        let mut how = Training::new(seed).with_recompute(self.recompute);
        let (predictions, tape) = runs.forward_for_training(&inputs, &mut how)?;
        let mut judged = judge(&mut self.outputs, &self.last, &predictions, batch, true)?;
        drop(predictions);
        let (weights, decays) = regularization(&self.wishes, &self.values)?;
        judged.total += tape.penalty() + weights;
        let moving = tape.moving().to_vec();
        let slopes = std::mem::take(&mut judged.slopes);
        let slopes = slopes
            .into_iter()
            .map(|slope| slope.map(ArrayD::into_shared));
        let mut gradients = tape.backward(slopes.collect())?.weights;
        let scale = self.compile.optimizer.loss_scale();
        let mut all_squares = Vec::with_capacity(self.trained.len());
        let taken = self.trained.iter().zip(decays).map(|(i, decay)| {
            let gradient = gradients.get_mut(*i).and_then(Option::take);
            // A decay makes one gradient of those of a row.
            let squares = gradient.as_ref().filter(|_| decay.is_none());
            all_squares.push(squares.and_then(Gradient::dense_squares));
            let mut gradient = match (gradient.map(|gradient| gradient.into_dense()), decay) {
                (Some(gradient), Some(decay)) => gradient + decay,
                (one, other) => one.or(other)?,
            };
            if scale != 1.0 {
                gradient *= scale;
            }
            Some(gradient)
        });
        let taken: Vec<Option<ArrayD<f32>>> = taken.collect();
        let mut parameters = parameters(&mut self.values, &taken, &self.wishes);
        for (parameter, squares) in parameters.iter_mut().zip(&all_squares) {
            parameter.squares = squares.as_ref().map(|squares| squares.view());
        }
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
        let (weights, _) = regularization(&self.wishes, &self.values)?;
        judged.total += tape.penalty() + weights;
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

    /// The loss since the last reset.
    pub fn running_loss(&self) -> &RunningLoss {
        &self.loss
    }

    /// Has the first epoch of the next [`fit`](Self::fit) go on with what its steps before
    /// [`FitOptions::initial_step`] gave. Metrics are of the steps from there on.
    ///
    /// # Errors
    /// When it is not that of a model with as many outputs.
    pub fn resume_epoch(&mut self, loss: RunningLoss) -> Result<(), FitError> {
        if loss.each.len() != self.outputs.len() {
            return Err(FitError::Data(format!(
                "the training that goes on was one of {} outputs, and the model has {}",
                loss.each.len(),
                self.outputs.len()
            )));
        }
        self.begun = Some(loss);
        Ok(())
    }

    /// The loss and all metrics since the last reset: `loss` first, then each output's where there
    /// are several, then metrics. Of one that has several numbers, their mean.
    pub fn logs(&self) -> Vec<(String, f64)> {
        let mean = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        let mut logs = vec![("loss".to_owned(), self.loss.mean())];
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
        data: &dyn Samples,
        batch_size: usize,
    ) -> Result<Vec<(String, f64)>, FitError> {
        self.reset_metrics();
        let order: Vec<usize> = (0..data.samples()?).collect();
        for rows in batches(&order, batch_size) {
            self.test_on_batch(&data.rows(rows)?)?;
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
        data: &dyn Samples,
        options: &FitOptions<'_>,
        after: impl FnMut(usize, &Logs<'_>) -> bool,
    ) -> Result<(), FitError> {
        let mut each = EachEpoch(after);
        self.fit_watched(data, options, &mut each)
    }

    /// As [`fit`](Self::fit), watched step by step.
    ///
    /// # Errors
    /// When the data do not fit the model, or whatever `watch` comes upon.
    pub fn fit_watched(
        &mut self,
        data: &dyn Samples,
        options: &FitOptions<'_>,
        watch: &mut dyn Watch,
    ) -> Result<(), FitError> {
        let samples = data.samples()?;
        let mut made = options.initial_step;
        for epoch in options.initial_epoch..options.epochs {
            self.reset_metrics();
            if let Some(loss) = self.begun.take() {
                self.loss = loss;
            }
            let order = match options.shuffle {
                Some(shuffle) => shuffle.order(epoch, samples),
                None => (0..samples).collect(),
            };
            let all = batches(&order, options.batch_size);
            let steps = all.len();
            for (step, rows) in all.enumerate().skip(std::mem::take(&mut made)) {
                let iteration = self.compile.optimizer.iterations() as u64;
                let seed = options
                    .seed
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    .wrapping_add(iteration);
                self.train_on_batch(&data.rows(rows)?, seed)?;
                let made = StepMade {
                    epoch,
                    step,
                    steps,
                    loss: self.loss.mean(),
                };
                if !watch.step(self, &made) {
                    return self.end(watch);
                }
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
            if !watch.epoch(self, epoch, &logs)? {
                break;
            }
        }
        self.end(watch)
    }

    /// The end of a training, unless it goes on later from the weights as they are.
    fn end(&mut self, watch: &dyn Watch) -> Result<(), FitError> {
        match watch.is_interrupted() {
            true => Ok(()),
            false => self.finalize(),
        }
    }
}

/// A step of [`Trainer::fit_watched`] that has been made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMade {
    /// From 0.
    pub epoch: usize,
    /// Of the epoch, from 0.
    pub step: usize,
    /// How many an epoch has.
    pub steps: usize,
    /// The mean loss of the epoch so far.
    pub loss: f64,
}

/// Who looks on while a model is trained.
pub trait Watch {
    /// After each step; whether to go on. Without, the weights are as they are after it. The trainer
    /// is there to be asked for its [`logs`](Trainer::logs) so far.
    fn step(&mut self, trainer: &Trainer, made: &StepMade) -> bool {
        let _ = (trainer, made);
        true
    }

    /// After each epoch, counted from 0; whether to go on. The trainer is there to be looked at,
    /// saved, or told another learning rate.
    ///
    /// # Errors
    /// Whatever shall end the training.
    fn epoch(
        &mut self,
        trainer: &mut Trainer,
        epoch: usize,
        logs: &Logs<'_>,
    ) -> Result<bool, FitError>;

    /// Whether training has been broken off to go on later: the averages of `use_ema` do not take
    /// the place of the weights then.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Watches epochs alone.
struct EachEpoch<F>(F);

impl<F: FnMut(usize, &Logs<'_>) -> bool> Watch for EachEpoch<F> {
    fn epoch(
        &mut self,
        _trainer: &mut Trainer,
        epoch: usize,
        logs: &Logs<'_>,
    ) -> Result<bool, FitError> {
        Ok((self.0)(epoch, logs))
    }
}

fn parameters<'a>(
    values: &'a mut [ArrayD<f32>],
    gradients: &'a [Option<ArrayD<f32>>],
    wishes: &'a [Wish],
) -> Vec<Parameter<'a>> {
    let each = values.iter_mut().zip(gradients).zip(wishes);
    each.map(|((values, gradient), wish)| Parameter {
        values: values.view_mut(),
        gradient: gradient.as_ref().map(|gradient| gradient.view()),
        squares: None,
        constraint: wish.constraint.as_ref(),
    })
    .collect()
}
