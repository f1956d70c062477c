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
//! input itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::{ArrayD, ArrayViewD, Axis};

use crate::graph::Input;
use crate::{Array, LayerEntry, Model, ModelError, Target, Tensor, Training};

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

/// Where the input begins to be numbers: layers that read an input of the model, whose outputs are
/// scaled in its stead.
pub(crate) struct Entries {
    /// How much of the input there is, from 0 to 1.
    share: f32,
    /// What each of them put out, by its node, before it was scaled.
    found: Mutex<Vec<(usize, Array)>>,
}

impl Entries {
    fn new(share: f32) -> Self {
        Self {
            share,
            found: Mutex::default(),
        }
    }

    /// Scales what a layer put out, and keeps it.
    pub(crate) fn scale(&self, node: usize, outputs: &mut [Tensor]) {
        if let Some(output) = outputs.first_mut() {
            self.lock().push((node, output.data.clone()));
            output.data *= self.share;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Array)>> {
        // They are pushed whole.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
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
        let entered: Vec<bool> = self
            .input_sources
            .iter()
            .map(|source| (0..self.nodes.len()).any(|node| self.enters(node) == Some(source.node)))
            .collect();
        let given = inputs.iter().zip(&entered);
        let given: Vec<Tensor> = given
            .map(|(input, entered)| match entered {
                true => Tensor::new(input.clone()),
                false => Tensor::new((input * share).into_shared()),
            })
            .collect();
        let entries = Entries::new(share);
        let mut training = Training::inference().with_weights(false);
        let (outputs, tape) = self.run_with_entries(&given, &entries, &mut training)?;
        let by_outputs = by_outputs(&outputs)?;
        let (gradients, by_nodes) = tape.backward_to_nodes(by_outputs.clone())?;
        let mut contributions: Vec<ArrayD<f32>> = inputs
            .iter()
            .zip(&entered)
            .zip(gradients.inputs)
            .map(|((input, entered), gradient)| match gradient {
                Some(gradient) if !entered => input * &gradient,
                _ => ArrayD::zeros(input.raw_dim()),
            })
            .collect();
        for (node, values) in entries.lock().drain(..) {
            let Some(Some(gradient)) = by_nodes.get(node) else {
                continue;
            };
            let position = self.enters(node);
            let position = position.and_then(|source| self.input_of(source));
            let Some(sum) = position.and_then(|position| contributions.get_mut(position)) else {
                continue;
            };
            let product = &values * gradient;
            *sum += &match product.ndim() == sum.ndim() + 1 {
                true => product.sum_axis(Axis(sum.ndim())),
                false => product,
            };
        }
        Ok((
            outputs,
            Contributions {
                inputs: contributions,
                by_outputs,
            },
        ))
    }

    /// The node of the model's input that this node reads, where it is one that scaling begins at.
    pub(crate) fn enters(&self, node: usize) -> Option<usize> {
        let own = &self.nodes[node];
        let is_entry =
            |entry: &LayerEntry| matches!(entry.layer.class_name(), "Embedding" | "Masking");
        match own.inputs.as_slice() {
            [Input::Tensor(source)]
                if is_entry(&self.layers[own.layer]) && self.input_of(source.node).is_some() =>
            {
                Some(source.node)
            }
            _ => None,
        }
    }
}

struct Contributions {
    inputs: Vec<ArrayD<f32>>,
    by_outputs: Vec<Option<Array>>,
}
