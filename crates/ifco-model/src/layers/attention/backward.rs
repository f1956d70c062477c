//! The way back through an attention.

use ifco_cell::Activation;
use ndarray::{Array2, ArrayD, ArrayView2, Axis, Ix3};

use super::super::support::{into_values, matrix, product, tensor};
use super::{Arguments, Attention, Scores};
use crate::{Array, Call, Gradient, LayerError, LayerGradients, Tensor};

/// The gradients of query, key, scale and the weight of `concat`, summed over the samples.
struct Sums {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    scale: Vec<f64>,
    weight: f64,
}

impl Attention {
    /// Of the attention weights of each sample, and what they were multiplied with to drop some.
    pub(super) fn backward(
        &self,
        inputs: &[Tensor],
        call: &Call,
        softmaxes: &[Vec<f32>],
        factors: &[Vec<f32>],
        gradients: Vec<Option<Array>>,
    ) -> Result<LayerGradients, LayerError> {
        let (scale, weight) = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let arguments = Arguments::new(inputs, call)?;
        let dims = |tensor: &Tensor| {
            let array = tensor.data.clone().into_dimensionality::<Ix3>();
            array.map_err(|error| LayerError::Other(error.to_string()))
        };
        let (query, key, value) = (
            dims(arguments.query)?,
            dims(arguments.key)?,
            dims(arguments.value)?,
        );
        let (queries, keys, features) = (query.dim().1, key.dim().1, value.dim().2);
        let mut gradients = gradients.into_iter();
        let of_output = gradients.next().flatten().map(into_values);
        let of_scores = gradients.next().flatten().map(into_values);
        let mut sums = Sums {
            query: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            scale: vec![0.0; scale.len().max(1)],
            weight: 0.0,
        };
        for (sample, softmax) in softmaxes.iter().enumerate() {
            let [query, key, value] =
                [&query, &key, &value].map(|array| array.index_axis(Axis(0), sample));
            let mut of_result = match &of_output {
                Some(all) => all[sample * queries * features..][..queries * features].to_vec(),
                None => vec![0.0; queries * features],
            };
            if let Some(mask) = &arguments.query_mask {
                let mask = mask.index_axis(Axis(0), sample);
                for (step, counts) in of_result.chunks_exact_mut(features.max(1)).zip(&mask) {
                    if !counts {
                        step.fill(0.0);
                    }
                }
            }
            let of_result = matrix(queries, features, &of_result)?;
            let mut weights = softmax.clone();
            if let Some(factors) = factors.get(sample) {
                weights
                    .iter_mut()
                    .zip(factors)
                    .for_each(|(weight, kept)| *weight *= kept);
            }
            sums.value
                .extend(product(matrix(queries, keys, &weights)?.t(), of_result));
            let mut of_weights = product(of_result, value.t());
            if let Some(all) = &of_scores {
                let own = &all[sample * queries * keys..][..queries * keys];
                of_weights
                    .iter_mut()
                    .zip(own)
                    .for_each(|(sum, dy)| *sum += dy);
            }
            if let Some(factors) = factors.get(sample) {
                of_weights
                    .iter_mut()
                    .zip(factors)
                    .for_each(|(dy, kept)| *dy *= kept);
            }
            Activation::Softmax.backward_rows(softmax, softmax, &mut of_weights, keys);
            let of_scores = matrix(queries, keys, &of_weights)?;
            self.scores_backward(query, key, (scale, *weight), of_scores, &mut sums)?;
        }
        self.finish(inputs, sums)
    }

    /// Adds what the gradient of one sample's scores tells.
    fn scores_backward(
        &self,
        query: ArrayView2<'_, f32>,
        key: ArrayView2<'_, f32>,
        (scale, weight): (&[f32], f32),
        of_scores: ArrayView2<'_, f32>,
        sums: &mut Sums,
    ) -> Result<(), LayerError> {
        let uniform = scale.first().copied().unwrap_or(1.0);
        if self.scores == Scores::Dot {
            let scores = matrix(query.nrows(), key.nrows(), &product(query, key.t()))?.to_owned();
            let along = scores.iter().zip(of_scores);
            sums.scale[0] += along
                .map(|(s, d)| f64::from(*s) * f64::from(*d))
                .sum::<f64>();
            let scaled: Array2<f32> = &of_scores * uniform;
            sums.query.extend(product(scaled.view(), key));
            sums.key.extend(product(scaled.t(), query));
            return Ok(());
        }
        let mut of_query = Array2::<f32>::zeros(query.dim());
        let mut of_key = Array2::<f32>::zeros(key.dim());
        for ((t, s), dy) in of_scores.indexed_iter() {
            for feature in 0..query.ncols() {
                let sum = query[[t, feature]] + key[[s, feature]];
                let of_sum = match self.scores {
                    Scores::Additive => {
                        let y = sum.tanh();
                        let factor = if self.use_scale { scale[feature] } else { 1.0 };
                        if self.use_scale {
                            sums.scale[feature] += f64::from(dy * y);
                        }
                        dy * factor * (1.0 - y * y)
                    }
                    _ => {
                        let y = (uniform * sum).tanh();
                        let inner = dy * weight * (1.0 - y * y);
                        sums.weight += f64::from(dy * y);
                        sums.scale[0] += f64::from(inner * sum);
                        inner * uniform
                    }
                };
                of_query[[t, feature]] += of_sum;
                of_key[[s, feature]] += of_sum;
            }
        }
        sums.query.extend(of_query.iter());
        sums.key.extend(of_key.iter());
        Ok(())
    }

    fn finish(&self, inputs: &[Tensor], sums: Sums) -> Result<LayerGradients, LayerError> {
        let array =
            |input: &Tensor, values| tensor(input.shape(), values).map(|tensor| tensor.data);
        let query = array(&inputs[0], sums.query)?;
        let mut value = array(&inputs[1], sums.value)?;
        let key = array(inputs.get(2).unwrap_or(&inputs[1]), sums.key)?;
        let mut of_inputs = vec![Some(query)];
        if inputs.len() > 2 {
            of_inputs.extend([Some(value), Some(key)]);
        } else {
            value += &key;
            of_inputs.push(Some(value));
        }
        let number = |sum: f64| ndarray::arr0(sum as f32).into_dyn();
        let scale = self.use_scale.then(|| match self.scores {
            Scores::Additive => super::super::support::flat(
                &sums.scale.iter().map(|sum| *sum as f32).collect::<Vec<_>>(),
            ),
            Scores::Dot | Scores::Concat => number(sums.scale[0]),
        });
        let weight = (self.scores == Scores::Concat).then(|| number(sums.weight));
        let weights = scale.into_iter().chain(weight);
        Ok(LayerGradients {
            inputs: of_inputs,
            weights: weights
                .map(|array: ArrayD<f32>| Some(Gradient::Dense(array)))
                .collect(),
            ..LayerGradients::default()
        })
    }
}
