//! `MultiHeadAttention`: query, key and value are projected to a few dimensions per head, each
//! head attends on its own, and a last product brings the heads together.
//!
//! The axes that are attended over become the steps T of the query and S of key and value; all
//! other axes, the batch and the heads, only accompany: `(accompanying, T or S, dimensions)`.

use ndarray::{Array2, ArrayD, ArrayViewD, Axis, IxDyn};

use crate::activity::{Activity, Penalty};
use crate::training::add;

use super::projection::{Heads, Projection};
use super::softmax::Masking;
use super::support::{
    as_mask, check_weights, combine_masks, elements, expand_mask, flat, integers_or, known, matrix,
    positive, product, reshaped, resolve_axis, restored, softmax, tensor, values, wrong_input,
    wrong_weight,
};
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Layer, LayerError, Mask, Shape, Tensor,
    Training, WeightSlot,
};

mod backward;

/// Keras's `MultiHeadAttention`.
#[derive(Debug)]
pub struct MultiHeadAttention {
    heads: usize,
    key_dim: usize,
    value_dim: usize,
    use_bias: bool,
    use_gate: bool,
    /// Without dropout Keras 3 takes a kernel of its own for `(batch, time, features)`, which
    /// treats rows without anything to attend to in another way.
    dropout: f32,
    output_shape: Option<Vec<usize>>,
    /// `None` is all axes between batch and features.
    attention_axes: Option<Vec<i64>>,
    sliding_window: Option<usize>,
    masking: Masking,
    generation: Generation,
    /// What the output of each projection adds to the loss.
    activity: Option<Activity>,
    weights: Option<Weights>,
}

#[derive(Debug)]
struct Weights {
    query: Projection,
    key: Projection,
    gate: Option<Projection>,
    value: Projection,
    output: Projection,
    /// The sizes that take the place of the query's features.
    output_shape: Vec<usize>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let key_dim = positive(config, "key_dim", None)?;
    let output_shape = match config.get("output_shape") {
        None => None,
        Some(_) => {
            let sizes = config.integers("output_shape")?;
            let sizes: Option<Vec<usize>> = sizes
                .iter()
                .map(|size| usize::try_from(*size).ok().filter(|size| *size > 0))
                .collect();
            let expected = "whole numbers of at least 1";
            Some(sizes.ok_or_else(|| config.invalid("output_shape", expected))?)
        }
    };
    Ok(Box::new(MultiHeadAttention {
        heads: positive(config, "num_heads", None)?,
        key_dim,
        value_dim: positive(config, "value_dim", Some(key_dim))?,
        use_bias: config.bool_or("use_bias", true)?,
        use_gate: config.bool_or("use_gate", false)?,
        dropout: config.f32_or("dropout", 0.0)?,
        output_shape: output_shape.filter(|sizes| !sizes.is_empty()),
        attention_axes: match integers_or(config, "attention_axes", &[])? {
            axes if axes.is_empty() => None,
            axes => Some(axes),
        },
        sliding_window: match config.get("sliding_window") {
            Some(_) => Some(positive(config, "sliding_window", None)?),
            None => None,
        },
        masking: Masking::of(config, "softmax_robust_masking")?,
        generation: config.generation,
        activity: Activity::read(config),
        weights: None,
    }))
}

/// What a call leaves behind for the way back.
struct Kept {
    /// For each score, where a mask takes its place.
    counts: Option<Vec<bool>>,
    query: Heads,
    key: Heads,
    value: Heads,
    /// That of the axes of the projected arrays.
    order: Vec<usize>,
    /// Before the gate, and what the gate is the sigmoid of.
    gated: Option<(Vec<f32>, Vec<f32>)>,
    /// What the last product is taken of.
    heads: Vec<f32>,
}

/// The tensors of a call and the masks that count for them.
struct Arguments<'a> {
    query: &'a Tensor,
    value: &'a Tensor,
    key: &'a Tensor,
    /// Broadcasts to `(…, T, S)`.
    mask: Option<Mask>,
}

impl MultiHeadAttention {
    fn groups(&self) -> Vec<&'static str> {
        let mut groups = vec!["query_dense", "key_dense"];
        groups.extend(self.use_gate.then_some("_gate_dense"));
        groups.extend(["value_dense", "output_dense"]);
        groups
    }

    /// The arguments by position.
    fn names(&self) -> &'static [&'static str] {
        match self.generation {
            Generation::Keras3 => &[
                "query",
                "value",
                "key",
                "query_mask",
                "value_mask",
                "key_mask",
                "attention_mask",
            ],
            _ => &["query", "value", "key", "attention_mask"],
        }
    }

    /// Finds what was passed, by position or by name.
    fn arguments<'a>(
        &self,
        inputs: &'a [Tensor],
        call: &'a Call,
    ) -> Result<Arguments<'a>, LayerError> {
        let names = self.names();
        let argument = |name: &str| {
            let position = names.iter().position(|other| *other == name);
            position
                .and_then(|position| inputs.get(position))
                .or_else(|| call.tensors.get(name)?.first())
        };
        let missing = |name: &str| {
            LayerError::Other(format!("a MultiHeadAttention needs a {name}, got none"))
        };
        let query = argument("query").ok_or_else(|| missing("query"))?;
        let value = argument("value").ok_or_else(|| missing("value"))?;
        let given_key = argument("key");
        let key = given_key.unwrap_or(value);
        // Keras 3 finds no mask for a key that was not passed: the value's does the same.
        let given_mask = |name: &str, carried: Option<&Tensor>| {
            argument(name)
                .map(as_mask)
                .or_else(|| carried.and_then(|tensor| tensor.mask.clone()))
        };
        let query_mask = query.mask.clone();
        let value_mask = given_mask("value_mask", Some(value));
        let key_mask = given_mask("key_mask", given_key);

        let mut mask: Option<Mask> = argument("attention_mask").map(as_mask);
        let mut and = |other: Mask| -> Result<(), LayerError> {
            mask = Some(match mask.take() {
                Some(mask) => combine_masks(&mask, &other, |a, b| a & b)?,
                None => other,
            });
            Ok(())
        };
        if let Some(of_query) = query_mask {
            and(expand_mask(&of_query, of_query.ndim()))?;
        }
        for of_key in [value_mask, key_mask].into_iter().flatten() {
            and(expand_mask(&of_key, of_key.ndim().saturating_sub(1)))?;
        }
        let steps = [query, value].map(|tensor| tensor.shape().get(1).copied().unwrap_or(0));
        let relative = |counts: &dyn Fn(usize, usize) -> bool| -> Result<Mask, LayerError> {
            elements(&steps)?;
            let mask = Array2::from_shape_fn((steps[0], steps[1]), |(t, s)| counts(t, s));
            Ok(mask.into_dyn().insert_axis(Axis(0)).into())
        };
        if call.flag("use_causal_mask") {
            and(relative(&|t, s| t >= s)?)?;
        }
        if let Some(window) = self.sliding_window {
            and(relative(&|t, s| t.abs_diff(s) < window)?)?;
        }
        Ok(Arguments {
            query,
            value,
            key,
            mask,
        })
    }

    /// The axes attended over, in arrays of this rank.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, LayerError> {
        let Some(axes) = &self.attention_axes else {
            return Ok((1..rank - 1).collect());
        };
        let mut resolved = Vec::with_capacity(axes.len());
        for axis in axes {
            let found = resolve_axis(*axis, rank)
                .filter(|found| (1..rank - 1).contains(found) && !resolved.contains(found));
            resolved.push(found.ok_or_else(|| {
                LayerError::Other(format!(
                    "the attention axes are {axes:?}, expected different axes between batch and \
                     features of an input with {rank} axes"
                ))
            })?);
        }
        Ok(resolved)
    }

    /// Makes the scores of one query step its attention weights.
    fn attend(&self, row: &mut [f32], counts: Option<&[bool]>, fused: bool) {
        let replace = |row: &mut [f32], with: &dyn Fn(f32) -> f32| {
            for (score, counts) in row.iter_mut().zip(counts.unwrap_or(&[])) {
                if !counts {
                    *score = with(*score);
                }
            }
        };
        if fused {
            replace(row, &|_| f32::MIN * 0.7);
            return softmax(row);
        }
        replace(row, &|score| self.masking.masked(score));
        softmax(row);
        if self.masking == Masking::ReplaceAndZero {
            replace(row, &|_| 0.0);
        }
    }
}

impl MultiHeadAttention {
    /// The outputs of a call, and what the way back needs of it. `seen` is told the attention
    /// weights of each head of each sample, and may change them before they weigh the values.
    fn run(
        &self,
        inputs: &[Tensor],
        call: &Call,
        seen: &mut dyn FnMut(&mut [f32]),
    ) -> Result<(Vec<Tensor>, Kept), LayerError> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let arguments = self.arguments(inputs, call)?;
        let Arguments {
            query, value, key, ..
        } = arguments;
        let all = [query, value, key].map(|tensor| known(tensor.shape()));
        let shapes = self.output_shapes(&all, &Call::default())?;
        let shape: Vec<usize> = shapes.into_iter().flatten().flatten().collect();
        elements(&shape)?;

        let rank = query.data.ndim();
        let axes = self.axes(rank)?;
        // The projected arrays have one axis more: heads, dimensions.
        let mut order: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        order.extend(&axes);
        order.push(rank);
        let projected_query = weights.query.split(query, self.heads, &order, axes.len())?;
        let keys = weights.key.split(key, self.heads, &order, axes.len())?;
        let projected_value = weights.value.split(value, self.heads, &order, axes.len())?;
        for (index, other) in [(1, &projected_value), (2, &keys)] {
            let fits = other.accompanying == projected_query.accompanying
                && other.steps == projected_value.steps;
            if !fits {
                let index = index.min(inputs.len().saturating_sub(1));
                let expected = "the query's batch, and the same steps in key and value";
                return Err(wrong_input(index, &all[index], expected));
            }
        }

        // (accompanying, T…, S…), which is what masks broadcast to.
        let mut scores_shape = projected_query.accompanying.clone();
        scores_shape.extend(&projected_query.steps);
        scores_shape.extend(&keys.steps);
        elements(&scores_shape)?;
        let mask = match arguments.mask {
            None => None,
            Some(mut mask) => {
                let behind = axes.len() * 2;
                while mask.ndim() < scores_shape.len() && mask.ndim() >= behind {
                    let axis = mask.ndim() - behind;
                    mask = expand_mask(&mask, axis);
                }
                Some(mask)
            }
        };
        let full_mask: Option<ArrayViewD<'_, bool>> = match &mask {
            None => None,
            Some(mask) => Some(mask.broadcast(IxDyn(&scores_shape)).ok_or_else(|| {
                LayerError::Other(format!(
                    "the mask has shape {:?}, expected one that broadcasts to the scores' \
                     {scores_shape:?}",
                    mask.shape()
                ))
            })?),
        };
        let mut mask_values = full_mask.as_ref().map(|mask| mask.iter());

        let return_scores = call.flag("return_attention_scores");
        let fused = self.generation == Generation::Keras3
            && self.dropout == 0.0
            && !return_scores
            && rank == 3;
        let scale = 1.0 / (self.key_dim as f32).sqrt();
        let (accompanying, steps) = (projected_query.data.shape()[0], keys.data.shape()[1]);
        let queries = projected_query.data.shape()[1];
        let mut heads = Vec::with_capacity(elements(&[accompanying, queries, self.value_dim])?);
        let mut all_scores = Vec::new();
        for index in 0..accompanying {
            let [query, key, value] = [&projected_query, &keys, &projected_value]
                .map(|heads| heads.data.index_axis(Axis(0), index));
            let mut scores = product(query, key.t());
            for row in scores.chunks_exact_mut(steps.max(1)) {
                let counts: Option<Vec<bool>> = mask_values
                    .as_mut()
                    .map(|values| values.take(steps).copied().collect());
                row.iter_mut().for_each(|score| *score *= scale);
                self.attend(row, counts.as_deref(), fused);
            }
            if return_scores {
                all_scores.extend(&scores);
            }
            seen(&mut scores);
            let weighted = matrix(queries, steps, &scores)?;
            heads.extend(product(weighted, value));
        }

        // Back to (batch, …, heads · dimensions).
        let mut sizes = query.shape()[..rank - 1].to_vec();
        sizes.extend([self.heads, self.value_dim]);
        let heads = restored(heads, &sizes, &order)?;
        let mut heads: Vec<f32> = heads.iter().copied().collect();
        let rows = elements(&query.shape()[..rank - 1])?;
        let mut gated = None;
        if let Some(gate) = &weights.gate {
            let before = heads.clone();
            let gate = gate.apply(&values(query), rows)?;
            for (value, gate) in heads.iter_mut().zip(&gate) {
                *value /= 1.0 + (-gate).exp();
            }
            gated = Some((before, gate));
        }
        let output = weights.output.apply(&heads, rows)?;
        let masked = full_mask.filter(|_| fused || self.masking != Masking::Add);
        let kept = Kept {
            counts: masked.map(|mask| mask.iter().copied().collect()),
            query: projected_query,
            key: keys,
            value: projected_value,
            order,
            gated,
            heads,
        };
        let output = tensor(&shape, output)?.with_mask(query.mask.clone());
        if !return_scores {
            return Ok((vec![output], kept));
        }
        // The layer's inner softmax leaves the mask on what it returns.
        let scores = tensor(&scores_shape, all_scores)?.with_mask(mask.clone());
        Ok((vec![output, scores], kept))
    }
}

impl MultiHeadAttention {
    /// What the outputs of the projections add to the loss: that of the last one, and those of query,
    /// key, value and gate.
    fn penalty(
        &self,
        kept: &Kept,
        output: &Tensor,
        training: &Training,
    ) -> Result<Penalty, LayerError> {
        let Some(activity) = &self.activity else {
            return Ok(Penalty::default());
        };
        let rows = output.shape().first().copied().unwrap_or(1);
        let opened = kept.gated.as_ref().map(|(_, sums)| {
            let opened: Vec<f32> = sums.iter().map(|sum| 1.0 / (1.0 + (-sum).exp())).collect();
            flat(&opened)
        });
        let heads = [&kept.query, &kept.key, &kept.value].map(|heads| heads.data.view().into_dyn());
        let all = std::iter::once(output.view()).chain(heads);
        let all = all.chain(opened.as_ref().map(|opened| opened.view()));
        activity.penalty_of(all.map(|array| (array, rows)), training)
    }
}

impl Layer for MultiHeadAttention {
    fn class_name(&self) -> &str {
        "MultiHeadAttention"
    }

    fn takes_masks_away(&self) -> bool {
        self.generation == Generation::Keras3
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let names: &[&str] = if self.use_bias {
            &["kernel", "bias"]
        } else {
            &["kernel"]
        };
        self.groups()
            .into_iter()
            .flat_map(|group| WeightSlot::list(group, names))
            .collect()
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        // Counts them; the shapes are checked one by one below.
        check_weights("MultiHeadAttention", &slots, &weights, &[])?;
        let heads = Some(self.heads);
        let mut weights = slots.iter().zip(weights);
        let mut next = |kernel: &[Option<usize>], inputs: usize| {
            let Some((slot, array)) = weights.next() else {
                return Err(LayerError::NoWeights);
            };
            check_weights(
                "MultiHeadAttention",
                std::slice::from_ref(slot),
                std::slice::from_ref(&array),
                &[kernel],
            )?;
            if array.is_empty() {
                return Err(wrong_weight(slot, &array, "no axis of size 0"));
            }
            let sizes = array.shape()[inputs..].to_vec();
            let rows: usize = array.shape()[..inputs].iter().product();
            let columns = elements(&sizes)?;
            let kernel = reshaped(array, ndarray::Ix2(rows, columns))?;
            let mut bias = Vec::new();
            if self.use_bias
                && let Some((slot, array)) = weights.next()
            {
                let expected: Vec<Option<usize>> = known(&sizes);
                check_weights(
                    "MultiHeadAttention",
                    std::slice::from_ref(slot),
                    std::slice::from_ref(&array),
                    &[&expected],
                )?;
                bias = array.iter().copied().collect();
            }
            Ok((Projection { kernel, bias }, sizes))
        };
        let key_dims = [None, heads, Some(self.key_dim)];
        let value_dims = [None, heads, Some(self.value_dim)];
        let mut output_dims = vec![heads, Some(self.value_dim)];
        match &self.output_shape {
            Some(sizes) => output_dims.extend(known(sizes)),
            None => output_dims.push(None),
        }
        let query = next(&key_dims, 1)?.0;
        let key = next(&key_dims, 1)?.0;
        let gate = if self.use_gate {
            Some(next(&value_dims, 1)?.0)
        } else {
            None
        };
        let value = next(&value_dims, 1)?.0;
        let (output, output_shape) = next(&output_dims, 2)?;
        self.weights = Some(Weights {
            query,
            key,
            gate,
            value,
            output,
            output_shape,
        });
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let weights = self.weights.as_ref()?;
        let (keys, values) = ([self.heads, self.key_dim], [self.heads, self.value_dim]);
        let split = |projection: &Projection, sizes: &[usize; 2]| {
            (
                vec![projection.kernel.nrows()],
                sizes.to_vec(),
                projection.clone(),
            )
        };
        let mut parts = vec![split(&weights.query, &keys), split(&weights.key, &keys)];
        parts.extend(weights.gate.as_ref().map(|gate| split(gate, &values)));
        parts.push(split(&weights.value, &values));
        parts.push((
            values.to_vec(),
            weights.output_shape.clone(),
            weights.output.clone(),
        ));
        let mut all = Vec::new();
        for (inputs, outputs, projection) in parts {
            let kernel = projection.kernel.into_dyn();
            all.push(reshaped(kernel, IxDyn(&[inputs, outputs.clone()].concat())).ok()?);
            if self.use_bias {
                all.push(reshaped(flat(&projection.bias), IxDyn(&outputs)).ok()?);
            }
        }
        Some(all)
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let Some(query) = inputs.first() else {
            return Err(LayerError::Other(
                "a MultiHeadAttention needs a query".into(),
            ));
        };
        let axes = "(batch, …, features)";
        for (index, input) in inputs.iter().take(3).enumerate() {
            if input.len() < 3 || input.len() != query.len() {
                return Err(wrong_input(
                    index,
                    input,
                    format!("{axes} of the query's rank"),
                ));
            }
        }
        self.axes(query.len())?;
        if let Some(weights) = &self.weights {
            let projections = [&weights.query, &weights.value, &weights.key];
            let last = inputs.len().min(3) - 1;
            for (index, projection) in projections.into_iter().enumerate() {
                let input = index.min(last);
                let features = inputs[input].last().copied().flatten();
                if (index <= last || (index == 2 && last == 1))
                    && features.is_some_and(|features| features != projection.kernel.nrows())
                {
                    let expected = format!("{} features", projection.kernel.nrows());
                    return Err(wrong_input(input, &inputs[input], expected));
                }
            }
        }
        let mut output = query.clone();
        let sizes = self.output_shape.as_ref();
        if let Some(sizes) = sizes.or(self.weights.as_ref().map(|weights| &weights.output_shape)) {
            output.pop();
            output.extend(known(sizes));
        }
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        Ok(self.run(inputs, call, &mut |_| {})?.0)
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let rate = if training.is_training() {
            self.dropout
        } else {
            0.0
        };
        let (mut softmaxes, mut factors) = (Vec::new(), Vec::new());
        let (outputs, kept) = self.run(inputs, call, &mut |scores| {
            softmaxes.push(scores.to_vec());
            if rate > 0.0 {
                let drawn: Vec<f32> = training.random().kept(rate).take(scores.len()).collect();
                scores
                    .iter_mut()
                    .zip(&drawn)
                    .for_each(|(score, kept)| *score *= kept);
                factors.push(drawn);
            }
        })?;
        let mut penalty = self.penalty(&kept, &outputs[0], training)?;
        let value = penalty.value;
        let (inputs, call) = (inputs.to_vec(), call.clone());
        let backward = move |mut gradients: Vec<Option<Array>>| {
            let slopes = match penalty.slopes.is_empty() {
                true => None,
                false => {
                    add(&mut gradients[0], Some(penalty.slopes.remove(0)));
                    Some(penalty.slopes)
                }
            };
            let drawn = (&softmaxes[..], &factors[..]);
            self.backward(&inputs, &call, kept, drawn, (gradients, slopes))
        };
        Ok(match value {
            0.0 => Forward::of_many(outputs, backward),
            _ => Forward::with_penalty(outputs, value, backward),
        })
    }
}
