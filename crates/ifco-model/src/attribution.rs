//! What each step of the input contributes to what the model puts out.
//!
//! ```text
//! gradient × input       x_i · ∂f/∂x_i (x)
//! integrated gradients   x_i · ∫₀¹ ∂f/∂x_i (αx) dα        Sundararajan, Taly and Yan, Axiomatic
//!                                                         Attribution for Deep Networks (2017)
//! ```
//!
//! The baseline is an input of zeros. An integral is a mean over points in the middle of equal
//! parts; that the contributions add up to f(x) − f(0) tells how well they do.
//!
//! Tokens are no numbers to multiply: an input that an `Embedding` reads is taken at the vectors
//! which that puts out, x being all numbers of a token's vector, whose contributions are added up.
//! So is one that a `Masking` reads, whose zeros would mask everything: the mask stays that of the
//! input itself. Both may lie in a model inside this one. Such a layer gives back the contributions
//! in place of the gradient that tokens have not, and whatever lies before it passes them on.

use ndarray::{ArrayD, ArrayViewD, Axis};

use crate::graph::{Input, Source};
use crate::{Array, Forward, LayerGradients, Model, ModelError, Target, Tensor, Training};

/// How contributions are computed.
///
/// ```
/// use ifco_model::AttributionMethod;
/// assert_eq!(
///     AttributionMethod::default(),
///     AttributionMethod::IntegratedGradients { points: 64 }
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributionMethod {
    /// The gradient at the input, times the input: exact where the model is linear.
    GradientTimesInput,
    /// The mean gradient between zeros and the input, times the input.
    IntegratedGradients {
        /// At how many points; at least one.
        points: usize,
    },
}

impl Default for AttributionMethod {
    fn default() -> Self {
        Self::IntegratedGradients { points: 64 }
    }
}

/// What [`Model::attribution`] returns.
///
/// See the example there.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// For each input the contributions of its numbers, in its shape.
    pub inputs: Vec<ArrayD<f32>>,
    /// f(x): what is explained, a number for each row.
    pub values: Vec<f32>,
    /// f(0): the same of the baseline.
    pub baselines: Vec<f32>,
}

impl Attribution {
    /// How far the contributions of each row are from adding up to f(x) − f(0). Of integrated
    /// gradients it is the error of the integral.
    pub fn gaps(&self) -> Vec<f32> {
        let both = self.values.iter().zip(&self.baselines).enumerate();
        both.map(|(row, (value, baseline))| {
            let inputs = self.inputs.iter();
            let own = inputs.map(|input| input.index_axis(Axis(0), row).sum());
            own.sum::<f32>() - (value - baseline)
        })
        .collect()
    }
}

/// Where inputs of the model begin to be numbers: what a layer that reads some of them as they are
/// is told in a run for [`Model::attribution`].
///
/// A layer that calls others passes it on; one that [`enters`](crate::Layer::enters) by itself
/// scales what it puts out, and gives back contributions in place of its input's gradient.
#[derive(Debug, Clone)]
pub struct Entries {
    /// How much of the input there is, from 0 to 1.
    pub(crate) share: f32,
    /// Which of the layer's inputs are the model's, as they are.
    pub(crate) inputs: Vec<bool>,
}

impl Entries {
    /// What a layer puts out where numbers begin, scaled; on the way back each number of its input,
    /// of so many axes, has what its output contributes.
    pub(crate) fn begin<'a>(&self, output: Tensor, axes: usize) -> Forward<'a> {
        let whole = output.data;
        let scaled = (&whole * self.share).into_shared();
        let scaled = Tensor::new(scaled).with_mask(output.mask);
        Forward::new(scaled, move |gradient| {
            let mut parts = (&whole * &gradient).into_shared();
            while parts.ndim() > axes {
                parts = parts.sum_axis(Axis(parts.ndim() - 1)).into_shared();
            }
            Ok(LayerGradients::of_input(parts))
        })
    }
}

impl Model {
    /// What each number of the inputs contributes to the `target`, all rows as one batch: sums over
    /// features tell it of each step. The model runs as it predicts.
    ///
    /// The unit of [`Unit::Largest`](crate::Unit::Largest) is the one that is largest at the input.
    /// What an input does besides, where an `Embedding` or a `Masking` reads it, is held as it is.
    ///
    /// # Errors
    /// When the inputs do not fit, there is no such target, or a layer cannot be run or trained.
    ///
    /// ```
    /// use ifco_model::{AttributionMethod, Generation, Model, Target};
    /// use ndarray::{Array, array};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "rnn", "units": 1, "activation": "linear", "use_bias": false,
    ///     }},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// model.set_weights([1.0, 0.5].map(|weight| array![[weight]].into_dyn()).to_vec())?;
    ///
    /// let x = array![[[8.0], [4.0], [2.0]]].into_dyn(); // (batch, time, features); h' = x + h/2
    /// let method = AttributionMethod::default();
    /// let found = model.attribution(&[x.view()], &Target::default(), method)?;
    /// assert_eq!(found.values, [6.0]);
    /// let right = [2.0, 2.0, 2.0]; // 8/4, 4/2 and 2
    /// assert!(found.inputs[0].iter().zip(right).all(|(x, right)| (x - right).abs() < 1e-5));
    /// assert!(found.gaps()[0].abs() < 1e-5);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn attribution(
        &self,
        inputs: &[ArrayViewD<'_, f32>],
        target: &Target,
        method: AttributionMethod,
    ) -> Result<Attribution, ModelError> {
        let inputs = self.fit_inputs(inputs)?;
        let inputs: Vec<Array> = inputs.iter().map(|input| input.to_shared()).collect();
        let (whole, at_input) =
            self.contributions(&inputs, 1.0, |outputs| target.gradients(outputs))?;
        let values = Target::weighed(&at_input.by_outputs, &whole);
        // Along the way it is the same number that is explained.
        let by_outputs = &at_input.by_outputs;
        let fixed = |_: &[Tensor]| Ok(by_outputs.clone());
        let (none, _) = self.contributions(&inputs, 0.0, fixed)?;
        let baselines = Target::weighed(by_outputs, &none);
        let inputs = match method {
            AttributionMethod::GradientTimesInput => at_input.inputs,
            AttributionMethod::IntegratedGradients { points } => {
                let points = points.max(1);
                let mut sums: Vec<ArrayD<f32>> = inputs
                    .iter()
                    .map(|input| ArrayD::zeros(input.raw_dim()))
                    .collect();
                for point in 0..points {
                    let share = (point as f32 + 0.5) / points as f32;
                    let (_, found) = self.contributions(&inputs, share, fixed)?;
                    for (sum, own) in sums.iter_mut().zip(&found.inputs) {
                        sum.scaled_add(1.0 / points as f32, own);
                    }
                }
                sums
            }
        };
        Ok(Attribution {
            inputs,
            values,
            baselines,
        })
    }

    /// The inputs times the gradient at so much of them; with the outputs there.
    fn contributions(
        &self,
        inputs: &[Array],
        share: f32,
        by_outputs: impl FnOnce(&[Tensor]) -> Result<Vec<Option<Array>>, ModelError>,
    ) -> Result<(Vec<Tensor>, Contributions), ModelError> {
        self.reset_states();
        let entries = Entries {
            share,
            inputs: self.entered(),
        };
        let given = inputs.iter().zip(&entries.inputs);
        let given: Vec<Tensor> = given
            .map(|(input, entered)| match entered {
                true => Tensor::new(input.clone()),
                false => Tensor::new((input * share).into_shared()),
            })
            .collect();
        let mut training = Training::inference().with_weights(false);
        let (outputs, tape) = self.run_taped(&given, None, Some(&entries), &mut training)?;
        let by_outputs = by_outputs(&outputs)?;
        let gradients = tape.backward(by_outputs.clone())?.inputs;
        let inputs = inputs.iter().zip(&entries.inputs).zip(gradients);
        let inputs = inputs.map(|((input, entered), found)| match found {
            Some(parts) if *entered => parts.into_owned(),
            Some(gradient) => input * &gradient,
            None => ArrayD::zeros(input.raw_dim()),
        });
        let inputs = inputs.collect();
        Ok((outputs, Contributions { inputs, by_outputs }))
    }

    /// Which inputs only begin to be numbers behind the layers that read them.
    pub(crate) fn entered(&self) -> Vec<bool> {
        let is_entered = |source: &Source| {
            self.order.iter().any(|node| {
                self.entries_of(*node, &|input| input == source.node)
                    .contains(&true)
            })
        };
        self.input_sources.iter().map(is_entered).collect()
    }

    /// Which inputs of a node are those inputs of the model that `is_entered`, and begin to be
    /// numbers behind it.
    pub(crate) fn entries_of(&self, node: usize, is_entered: &dyn Fn(usize) -> bool) -> Vec<bool> {
        let layer = &self.layers[self.nodes[node].layer].layer;
        let inputs = self.nodes[node].inputs.iter().enumerate();
        let enters = inputs.map(|(index, input)| match input {
            Input::Tensor(source) => is_entered(source.node) && layer.enters(index),
            Input::Number(_) => false,
        });
        enters.collect()
    }
}

struct Contributions {
    inputs: Vec<ArrayD<f32>>,
    by_outputs: Vec<Option<Array>>,
}
