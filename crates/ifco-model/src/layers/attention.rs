//! `Attention` (after Luong) and `AdditiveAttention` (after Bahdanau).
//!
//! ```text
//! scores  = query · keyᵀ · scale                       dot
//!         = w · Σ tanh(scale · (query + key))          concat
//!         = Σ scale ∘ tanh(query + key)                additive
//! output  = softmax(scores) · value
//! ```

use ndarray::{ArrayD, ArrayView2, Axis, Ix3};

use super::support::{
    as_mask, check_weights, elements, flat, known, matrix, product, softmax, tensor, wrong_input,
};
use crate::{
    Call, Config, ConfigError, Forward, Layer, LayerError, Mask, Shape, Tensor, Training,
    WeightSlot,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    Dot,
    Concat,
    Additive,
}

mod backward;

/// One of the two attention layers that work on `[query, value]` or `[query, value, key]`.
#[derive(Debug)]
pub struct Attention {
    class: String,
    scores: Scores,
    use_scale: bool,
    /// Which part of the attention weights is dropped in training.
    dropout: f32,
    /// Keras 2's option; later it became an argument of the call.
    causal: bool,
    /// The scale (one number, or one for each feature), and the weight of `concat`.
    weights: Option<(Vec<f32>, f32)>,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let additive = class == "AdditiveAttention";
    let scores = match config.str_or("score_mode", "dot")? {
        _ if additive => Scores::Additive,
        "dot" => Scores::Dot,
        "concat" => Scores::Concat,
        _ => return Err(config.invalid("score_mode", "\"dot\" or \"concat\"")),
    };
    let mut layer = Attention {
        class: class.into(),
        scores,
        use_scale: config.bool_or("use_scale", additive)?,
        dropout: config.f32_or("dropout", 0.0)?.clamp(0.0, 1.0),
        causal: config.bool_or("causal", false)?,
        weights: None,
    };
    if layer.weight_slots().is_empty() {
        layer.weights = Some((Vec::new(), 1.0));
    }
    Ok(Box::new(layer))
}

/// The inputs, in Keras's order, and the masks that count for them.
struct Arguments<'a> {
    query: &'a Tensor,
    value: &'a Tensor,
    key: &'a Tensor,
    query_mask: Option<Mask>,
    value_mask: Option<Mask>,
}

impl<'a> Arguments<'a> {
    fn new(inputs: &'a [Tensor], call: &Call) -> Result<Self, LayerError> {
        let (query, value, key) = match inputs {
            [query, value] => (query, value, value),
            [query, value, key] => (query, value, key),
            _ => {
                return Err(LayerError::Other(
                    "expected query, value and perhaps key".into(),
                ));
            }
        };
        // Masks that the model passes take the place of those that the inputs carry.
        let (query_mask, value_mask) = match call.tensors.get("mask").map(Vec::as_slice) {
            Some([query, value, ..]) => (Some(as_mask(query)), Some(as_mask(value))),
            Some(_) => {
                return Err(LayerError::Other(
                    "the argument \"mask\" must be the masks of query and value".into(),
                ));
            }
            None => (query.mask.clone(), value.mask.clone()),
        };
        let fits = |mask: &Option<Mask>, input: &Tensor| {
            mask.as_ref()
                .is_none_or(|mask| mask.shape() == &input.shape()[..2])
        };
        if !fits(&query_mask, query) || !fits(&value_mask, value) {
            return Err(LayerError::Other(
                "a mask's shape is not the (batch, time) of its input".into(),
            ));
        }
        Ok(Self {
            query,
            value,
            key,
            query_mask,
            value_mask,
        })
    }
}

impl Attention {
    /// The scores of one sample, `(query steps, key steps)`.
    fn scores(
        &self,
        query: ArrayView2<'_, f32>,
        key: ArrayView2<'_, f32>,
        scale: &[f32],
        weight: f32,
    ) -> Vec<f32> {
        let uniform = scale.first().copied().unwrap_or(1.0);
        if self.scores == Scores::Dot {
            let mut scores = product(query, key.t());
            scores.iter_mut().for_each(|score| *score *= uniform);
            return scores;
        }
        let mut scores = Vec::with_capacity(query.nrows() * key.nrows());
        for query in query.rows() {
            scores.extend(key.rows().into_iter().map(|key| {
                let sums = query.iter().zip(key).map(|(q, k)| q + k);
                match self.scores {
                    Scores::Additive if self.use_scale => {
                        sums.zip(scale).map(|(sum, scale)| scale * sum.tanh()).sum()
                    }
                    Scores::Additive => sums.map(f32::tanh).sum(),
                    _ => weight * sums.map(|sum| (uniform * sum).tanh()).sum::<f32>(),
                }
            }));
        }
        scores
    }
}

impl Attention {
    /// The outputs of a call; `seen` is told each sample's attention weights, and may change them
    /// before they weigh the values.
    fn attend(
        &self,
        inputs: &[Tensor],
        call: &Call,
        mut seen: impl FnMut(&mut [f32]),
    ) -> Result<Vec<Tensor>, LayerError> {
        let (scale, weight) = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let shape = super::support::output_shape(self, inputs)?;
        let arguments = Arguments::new(inputs, call)?;
        let causal = self.causal || call.flag("use_causal_mask");
        let dims = |tensor: &Tensor| {
            let found = known(tensor.shape());
            tensor
                .data
                .clone()
                .into_dimensionality::<Ix3>()
                .map_err(|_| wrong_input(0, &found, "(batch, time, features)"))
        };
        let (query, value, key) = (
            dims(arguments.query)?,
            dims(arguments.value)?,
            dims(arguments.key)?,
        );
        let (batch, queries, keys) = (shape[0], shape[1], value.shape()[1]);
        let return_scores = call.flag("return_attention_scores");
        let mut all_scores = Vec::new();
        if return_scores {
            all_scores.reserve(elements(&[batch, queries, keys])?);
        }
        elements(&[queries, keys])?;
        let mut output = Vec::with_capacity(elements(&shape)?);
        for sample in 0..batch {
            let [query, key, value] =
                [&query, &key, &value].map(|array| array.index_axis(Axis(0), sample));
            let mut scores = self.scores(query, key, scale, *weight);
            let value_mask = arguments
                .value_mask
                .as_ref()
                .map(|mask| mask.index_axis(Axis(0), sample));
            for (t, row) in scores.chunks_exact_mut(keys.max(1)).enumerate() {
                for (s, score) in row.iter_mut().enumerate() {
                    let counts = value_mask.as_ref().is_none_or(|mask| mask[s]);
                    if !counts || (causal && s > t) {
                        *score -= 1e9;
                    }
                }
                softmax(row);
            }
            seen(&mut scores);
            let mut result = product(matrix(queries, keys, &scores)?, value);
            if let Some(mask) = &arguments.query_mask {
                let mask = mask.index_axis(Axis(0), sample);
                for (step, counts) in result.chunks_exact_mut(shape[2].max(1)).zip(&mask) {
                    if !counts {
                        step.fill(0.0);
                    }
                }
            }
            output.extend(result);
            if return_scores {
                all_scores.extend(scores);
            }
        }
        let output = tensor(&shape, output)?.with_mask(arguments.query_mask);
        if !return_scores {
            return Ok(vec![output]);
        }
        let scores = tensor(&[batch, queries, keys], all_scores)?;
        Ok(vec![output, scores])
    }
}

impl Layer for Attention {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let mut names = Vec::new();
        names.extend(self.use_scale.then_some("scale"));
        names.extend((self.scores == Scores::Concat).then_some("concat_score_weight"));
        WeightSlot::list("", &names)
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let scale: &[_] = if self.scores == Scores::Additive {
            &[None]
        } else {
            &[]
        };
        let shapes: &[&[_]] = if self.use_scale {
            &[scale, &[]]
        } else {
            &[&[]]
        };
        check_weights(&self.class, &self.weight_slots(), &weights, shapes)?;
        let mut weights = weights.into_iter();
        let mut next = |wanted: bool| if wanted { weights.next() } else { None };
        let scale = next(self.use_scale).map(|scale| scale.iter().copied().collect());
        let weight = next(true).and_then(|weight| weight.first().copied());
        self.weights = Some((scale.unwrap_or_default(), weight.unwrap_or(1.0)));
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let (scale, weight) = self.weights.as_ref()?;
        let one = |value: f32| ndarray::arr0(value).into_dyn();
        let scale = self.use_scale.then(|| match self.scores {
            Scores::Additive => flat(scale),
            Scores::Dot | Scores::Concat => one(scale.first().copied().unwrap_or(1.0)),
        });
        let weight = (self.scores == Scores::Concat).then(|| one(*weight));
        Some(scale.into_iter().chain(weight).collect())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        if !(2..=3).contains(&inputs.len()) {
            return Err(LayerError::Other(format!(
                "a {} takes 2 or 3 inputs (query, value and perhaps key), got {}",
                self.class,
                inputs.len()
            )));
        }
        for (index, shape) in inputs.iter().enumerate() {
            if shape.len() != 3 {
                return Err(wrong_input(index, shape, "(batch, time, features)"));
            }
        }
        let (query, value) = (&inputs[0], &inputs[1]);
        let key_index = inputs.len() - 1;
        let key = &inputs[key_index];
        let differ = |a: Option<usize>, b: Option<usize>| a.zip(b).is_some_and(|(a, b)| a != b);
        if differ(query[0], value[0]) {
            return Err(wrong_input(1, value, "the batch size of the query"));
        }
        // Only tanh(query + key) broadcasts, and nobody means that.
        if differ(key[0], query[0]) || differ(key[1], value[1]) || differ(key[2], query[2]) {
            let expected = "the query's features and the value's steps";
            return Err(wrong_input(key_index, key, expected));
        }
        if let (Scores::Additive, Some((scale, _)), Some(features)) =
            (self.scores, &self.weights, query[2])
            && self.use_scale
            && scale.len() != features
        {
            let expected = format!("{} features, as the scale has", scale.len());
            return Err(wrong_input(0, query, expected));
        }
        Ok(vec![vec![query[0], query[1], value[2]]])
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        self.attend(inputs, call, |_| {})
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
        let outputs = self.attend(inputs, call, |scores| {
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
        let (inputs, call) = (inputs.to_vec(), call.clone());
        Ok(Forward::of_many(outputs, move |gradients| {
            self.backward(&inputs, &call, &softmaxes, &factors, gradients)
        }))
    }
}
