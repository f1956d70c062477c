//! Layers that only do something in training, where they draw random numbers or, by the module
//! `activity`, add to the loss: at inference their output is their input, with its mask.

use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

use super::support::{channels_first, one, single, wrong_input};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients,
    NotStreamable, Random, Shape, StepShape, Streamed, Tensor, Training,
};

/// Dropout and its kin.
#[derive(Debug)]
pub struct Identity {
    class: String,
    /// The only rank it takes, if Keras insists on one.
    rank: Option<usize>,
    passes_mask: bool,
    noise: Noise,
}

/// What it does in training.
#[derive(Debug)]
enum Noise {
    None,
    /// Drops values and scales the others up. `shape` is Keras's `noise_shape`: along an axis of
    /// size 1 all are dropped or none, and `None` is the input's own size.
    Drop {
        rate: f32,
        shape: Option<Vec<Option<usize>>>,
    },
    /// Drops whole channels, which are the last axis or the one behind the batch.
    DropChannels {
        rate: f32,
        channels_first: bool,
    },
    /// As [`Noise::Drop`], so that a selu network keeps its mean and variance.
    AlphaDrop {
        rate: f32,
        shape: Option<Vec<Option<usize>>>,
    },
    /// Adds noise of this deviation.
    Add(f32),
    /// Multiplies by noise around 1, of the deviation that this rate stands for.
    Multiply(f32),
}

impl Noise {
    fn read(class: &str, config: &Config<'_>) -> Result<Self, ConfigError> {
        let rate = || match config.f32_or("rate", 0.0)? {
            rate if (0.0..=1.0).contains(&rate) => Ok(rate),
            _ => Err(config.invalid("rate", "a number from 0 to 1")),
        };
        let shape = || noise_shape(config);
        Ok(match class {
            "Dropout" => Self::Drop {
                rate: rate()?,
                shape: shape()?,
            },
            "AlphaDropout" => Self::AlphaDrop {
                rate: rate()?,
                shape: shape()?,
            },
            "SpatialDropout1D" | "SpatialDropout2D" => Self::DropChannels {
                rate: rate()?,
                channels_first: class.ends_with("2D") && channels_first(config)?,
            },
            "GaussianNoise" => Self::Add(config.f32_or("stddev", 0.0)?),
            "GaussianDropout" => Self::Multiply(rate()?),
            _ => Self::None,
        })
    }

    /// `x·factor + summand` is what it makes of inputs of this shape, each as an array that
    /// broadcasts to it; `None` where it changes nothing.
    fn draw(&self, shape: &[usize], random: &mut Random) -> Result<Option<Affine>, LayerError> {
        Ok(match self {
            Self::None => None,
            Self::Drop { rate, .. } | Self::DropChannels { rate, .. } if *rate == 0.0 => None,
            Self::AlphaDrop { rate, .. } | Self::Multiply(rate) if *rate == 0.0 => None,
            Self::Drop { rate, shape: own } => {
                let sizes = concrete(own.as_deref(), shape)?;
                Some(dropped(&sizes, *rate, random))
            }
            Self::DropChannels {
                rate,
                channels_first,
            } => {
                let mut sizes = vec![1; shape.len()];
                let channels = if *channels_first { 1 } else { shape.len() - 1 };
                sizes[0] = shape[0];
                sizes[channels] = shape[channels];
                Some(dropped(&sizes, *rate, random))
            }
            Self::AlphaDrop { rate, shape: own } => {
                // −α·scale of selu: where a dropped value goes.
                const ALPHA_P: f32 = -1.758_099_3;
                let sizes = concrete(own.as_deref(), shape)?;
                let a = ((1.0 - rate) * (1.0 + rate * ALPHA_P * ALPHA_P)).powf(-0.5);
                let b = -a * ALPHA_P * rate;
                let draw = || f32::from(u8::from(random.uniform_f32() >= *rate));
                let kept = ArrayD::from_shape_simple_fn(IxDyn(&sizes), draw);
                let summand = kept.mapv(|kept| a * ALPHA_P * (1.0 - kept) + b);
                Some((kept * a, Some(summand)))
            }
            Self::Add(deviation) => {
                let noise = || deviation * random.normal() as f32;
                let noise = ArrayD::from_shape_simple_fn(IxDyn(shape), noise);
                Some((ArrayD::ones(IxDyn(&[])), Some(noise)))
            }
            Self::Multiply(rate) => {
                let deviation = (rate / (1.0 - rate)).sqrt();
                let noise = || 1.0 + deviation * random.normal() as f32;
                Some((ArrayD::from_shape_simple_fn(IxDyn(shape), noise), None))
            }
        })
    }
}

/// A factor and perhaps a summand.
type Affine = (ArrayD<f32>, Option<ArrayD<f32>>);

/// `noise_shape`: sizes, of which `null` is the input's own.
fn noise_shape(config: &Config<'_>) -> Result<Option<Vec<Option<usize>>>, ConfigError> {
    let Some(value) = config.get("noise_shape") else {
        return Ok(None);
    };
    let size = |value: &Value| match value.as_u64() {
        Some(size) if size > 0 => usize::try_from(size).ok().map(Some),
        None if value.is_null() => Some(None),
        _ => None,
    };
    let sizes = value
        .as_array()
        .map(|sizes| sizes.iter().map(size).collect());
    match sizes {
        Some(Some(sizes)) => Ok(Some(sizes)),
        _ => Err(config.invalid("noise_shape", "sizes, with null for the input's own")),
    }
}

/// The shape that is drawn for an input of this shape.
fn concrete(own: Option<&[Option<usize>]>, shape: &[usize]) -> Result<Vec<usize>, LayerError> {
    let Some(own) = own else {
        return Ok(shape.to_vec());
    };
    let sizes = own.iter().zip(shape);
    let sizes: Vec<usize> = sizes.map(|(own, size)| own.unwrap_or(*size)).collect();
    let fits = own.len() == shape.len()
        && sizes
            .iter()
            .zip(shape)
            .all(|(own, size)| own == size || *own == 1);
    match fits {
        true => Ok(sizes),
        false => Err(wrong_input(
            0,
            &super::support::known(shape),
            format!("a shape to which the noise_shape {sizes:?} broadcasts"),
        )),
    }
}

/// 0 for what is dropped, and for the rest what makes up for it.
fn dropped(sizes: &[usize], rate: f32, random: &mut Random) -> Affine {
    let mut kept = random.kept(rate);
    let draw = || kept.next().unwrap_or_default();
    (ArrayD::from_shape_simple_fn(IxDyn(sizes), draw), None)
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Identity {
        class: class.into(),
        rank: match class {
            "SpatialDropout1D" => Some(3),
            "SpatialDropout2D" => Some(4),
            _ => None,
        },
        // Keras 2's Identity returns a copy, and does not say that it supports masking.
        passes_mask: class != "Identity" || config.generation == Generation::Keras3,
        noise: Noise::read(class, config)?,
    }))
}

impl Layer for Identity {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single(&self.class, inputs)?;
        match self.rank {
            Some(rank) if rank != shape.len() => {
                Err(wrong_input(0, shape, format!("a shape of {rank} sizes")))
            }
            _ => Ok(vec![shape.clone()]),
        }
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        super::support::output_shape(self, inputs)?;
        let masked = |input: &Tensor| input.mask.clone().filter(|_| self.passes_mask);
        Ok(inputs
            .iter()
            .map(|input| input.clone().with_mask(masked(input)))
            .collect())
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let mut output = self.call(inputs, call)?.remove(0);
        let input = output.data.clone();
        let drawn = match training.is_training() {
            true => self.noise.draw(input.shape(), training.random())?,
            false => None,
        };
        if let Some((factor, summand)) = &drawn {
            let mut changed = &input * factor;
            if let Some(summand) = summand {
                changed += summand;
            }
            output.data = changed.into_shared();
        }
        Ok(Forward::new(output, move |gradient: crate::Array| {
            Ok(LayerGradients::of_input(match &drawn {
                Some((factor, _)) => (&gradient * factor).into_shared(),
                None => gradient,
            }))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?.through(self)?;
        let output = input.with_masked(input.masked && self.passes_mask);
        Ok(Streamed::in_place(output, |_| {}))
    }
}
