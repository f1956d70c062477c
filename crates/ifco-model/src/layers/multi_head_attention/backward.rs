//! The way back through a MultiHeadAttention.

use ifco_cell::Activation;
use ndarray::{Array2, Axis, IxDyn};

use super::super::projection::Projection;
use super::super::support::{
    elements, flat, into_values, matrix, permuted, product, reshaped, restored, tensor, values,
};
use super::{Kept, MultiHeadAttention};
use crate::training::{Wants, add};
use crate::{Array, Call, Gradient, LayerError, LayerGradients, Tensor};

/// The gradients of a projection's kernel and bias.
type OfWeights = (Array2<f32>, Option<Vec<f32>>);

/// Of the projected query, key and value, in the order of the axes in which they are attended.
struct OfHeads {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl MultiHeadAttention {
    /// The gradients of a call's arguments and the weights, of those of the outputs; and of what the
    /// projections' outputs add to the loss: query, key, value and gate.
    pub(super) fn backward(
        &self,
        inputs: &[Tensor],
        call: &Call,
        kept: Kept,
        (softmaxes, factors): (&[Vec<f32>], &[Vec<f32>]),
        (gradients, slopes): (Vec<Option<Array>>, Option<Vec<Array>>),
    ) -> Result<LayerGradients, LayerError> {
        let slopes = slopes.unwrap_or_default();
        let slope = |part: usize| slopes.get(part).into_iter().flatten();
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let arguments = self.arguments(inputs, call)?;
        let query = arguments.query;
        let rank = query.data.ndim();
        let leading = &query.shape()[..rank - 1];
        let rows = elements(leading)?;
        let mut gradients = gradients.into_iter();
        let of_output = match gradients.next().flatten() {
            Some(gradient) => into_values(gradient),
            None => vec![0.0; elements(&[rows, weights.output.kernel.ncols()])?],
        };
        let of_scores = gradients.next().flatten().map(into_values);

        let both = Wants {
            inputs: true,
            weights: true,
        };
        let of_last = weights
            .output
            .backward(&kept.heads, &of_output, rows, both)?;
        let mut of_heads = of_last.input.unwrap_or_default();
        let mut of_query = None;
        let mut of_gate = None;
        if let (Some(gate), Some((heads, sums))) = (&weights.gate, &kept.gated) {
            let mut of_sums = Vec::with_capacity(sums.len());
            for ((dy, head), sum) in of_heads.iter_mut().zip(heads).zip(sums) {
                let opened = 1.0 / (1.0 + (-sum).exp());
                of_sums.push(*dy * head * opened * (1.0 - opened));
                *dy *= opened;
            }
            for ((dy, sum), slope) in of_sums.iter_mut().zip(sums).zip(slope(3)) {
                let opened = 1.0 / (1.0 + (-sum).exp());
                *dy += slope * opened * (1.0 - opened);
            }
            let mut found = gate.backward(&values(query), &of_sums, rows, both)?;
            of_query = found.input_of(query.shape())?;
            of_gate = found.weights;
        }
        let mut sizes = leading.to_vec();
        sizes.extend([self.heads, self.value_dim]);
        let of_heads = permuted(tensor(&sizes, of_heads)?.view(), &kept.order);
        let mut found = self.attention_backward(&kept, softmaxes, factors, &of_heads, of_scores)?;
        let parts = [&mut found.query, &mut found.key, &mut found.value];
        for (index, part) in parts.into_iter().enumerate() {
            part.iter_mut()
                .zip(slope(index))
                .for_each(|(dy, slope)| *dy += slope);
        }

        let (from_query, query_weights) =
            self.join(&weights.query, query, found.query, &kept.order)?;
        let (of_key, key_weights) =
            self.join(&weights.key, arguments.key, found.key, &kept.order)?;
        let (of_value, value_weights) =
            self.join(&weights.value, arguments.value, found.value, &kept.order)?;
        add(&mut of_query, from_query);
        let mut result = LayerGradients {
            inputs: vec![None; inputs.len()],
            ..LayerGradients::default()
        };
        self.hand_out(&mut result, call, [of_query, of_value, of_key]);
        let shapes = crate::Layer::weights(self).ok_or(LayerError::NoWeights)?;
        let mut shapes = shapes.iter();
        let parts = [
            query_weights,
            key_weights,
            of_gate,
            value_weights,
            of_last.weights,
        ];
        for (kernel, bias) in parts.into_iter().flatten() {
            let arrays = [Some(kernel.into_dyn()), bias.map(|bias| flat(&bias))];
            for array in arrays.into_iter().flatten() {
                let shape = shapes.next().ok_or(LayerError::NoWeights)?.shape();
                let array = reshaped(array, IxDyn(shape))?;
                result.weights.push(Some(Gradient::Dense(array)));
            }
        }
        Ok(result)
    }

    fn attention_backward(
        &self,
        kept: &Kept,
        softmaxes: &[Vec<f32>],
        factors: &[Vec<f32>],
        of_heads: &[f32],
        of_scores: Option<Vec<f32>>,
    ) -> Result<OfHeads, LayerError> {
        let scale = 1.0 / (self.key_dim as f32).sqrt();
        let (queries, steps) = (kept.query.data.dim().1, kept.key.data.dim().1);
        let (result, scores) = (queries * self.value_dim, queries * steps);
        let mut found = OfHeads {
            query: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
        };
        for (index, softmax) in softmaxes.iter().enumerate() {
            let [query, key, value] = [&kept.query, &kept.key, &kept.value]
                .map(|heads| heads.data.index_axis(Axis(0), index));
            let of_result = &of_heads[index * result..(index + 1) * result];
            let of_result = matrix(queries, self.value_dim, of_result)?;
            let mut weights = softmax.clone();
            let mut of_weights = product(of_result, value.t());
            if let Some(factors) = factors.get(index) {
                for values in [&mut weights, &mut of_weights] {
                    values
                        .iter_mut()
                        .zip(factors)
                        .for_each(|(value, kept)| *value *= kept);
                }
            }
            found
                .value
                .extend(product(matrix(queries, steps, &weights)?.t(), of_result));
            let own = index * scores..(index + 1) * scores;
            if let Some(all) = &of_scores {
                let sums = of_weights.iter_mut().zip(&all[own.clone()]);
                sums.for_each(|(sum, dy)| *sum += dy);
            }
            Activation::Softmax.backward_rows(softmax, softmax, &mut of_weights, steps);
            if let Some(counts) = &kept.counts {
                for (dy, counts) in of_weights.iter_mut().zip(&counts[own]) {
                    if !counts {
                        *dy = 0.0;
                    }
                }
            }
            of_weights.iter_mut().for_each(|dy| *dy *= scale);
            let of_scores = matrix(queries, steps, &of_weights)?;
            found.query.extend(product(of_scores, key));
            found.key.extend(product(of_scores.t(), query));
        }
        Ok(found)
    }

    /// The gradients of an input and of the projection that split it into heads.
    fn join(
        &self,
        projection: &Projection,
        input: &Tensor,
        gradient: Vec<f32>,
        order: &[usize],
    ) -> Result<(Option<Array>, Option<OfWeights>), LayerError> {
        let both = Wants {
            inputs: true,
            weights: true,
        };
        let leading = &input.shape()[..input.data.ndim() - 1];
        let mut sizes = leading.to_vec();
        sizes.extend([self.heads, projection.kernel.ncols() / self.heads]);
        let gradient = restored(gradient, &sizes, order)?.into_shared();
        let gradient = into_values(gradient);
        let rows = elements(leading)?;
        let mut found = projection.backward(&values(input), &gradient, rows, both)?;
        Ok((found.input_of(input.shape())?, found.weights))
    }

    /// Puts the gradients of query, value and key where the call has those; what has no key of its
    /// own takes the value for it.
    fn hand_out(
        &self,
        result: &mut LayerGradients,
        call: &Call,
        [query, value, key]: [Option<Array>; 3],
    ) {
        let mut put = |name: &str, gradient: Option<Array>| -> Option<Array> {
            let position = self.names().iter().position(|other| *other == name);
            match position.and_then(|position| result.inputs.get_mut(position)) {
                Some(sum) => add(sum, gradient),
                None if call.tensors.contains_key(name) => {
                    let sum = result
                        .tensors
                        .entry(name.into())
                        .or_insert_with(|| vec![None]);
                    add(&mut sum[0], gradient);
                }
                None => return gradient,
            }
            None
        };
        put("query", query);
        put("value", value);
        if let Some(key) = put("key", key) {
            put("value", Some(key));
        }
    }
}
