//! Layers that move values without changing them: `Flatten`, `Reshape`, `Permute`,
//! `RepeatVector`. None of them passes a mask on.

use ndarray::Axis;

use super::support::{
    channels_first, elements, into_values, one, output_shape, permuted, positive, restored, single,
    single_of_rank, tensor, values, wrong_input,
};
use super::window::channels_last;
use crate::{
    Array, Call, Config, ConfigError, Forward, Layer, LayerError, LayerGradients, NotStreamable,
    Shape, StepShape, Streamed, Tensor, Time, Training, display_shape,
};

#[derive(Debug)]
enum Move {
    Flatten {
        channels_first: bool,
    },
    /// Without the batch; one size may be −1.
    Reshape {
        target: Vec<i64>,
    },
    /// Which axis of the input each axis of the output is; the batch stays axis 0.
    Permute {
        order: Vec<usize>,
    },
    Repeat {
        n: usize,
    },
}

/// One of the layers that move values.
#[derive(Debug)]
pub struct Rearrange {
    class: String,
    to: Move,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let to = match class {
        "Flatten" => Move::Flatten {
            channels_first: channels_first(config)?,
        },
        "Reshape" => Move::Reshape {
            target: target_shape(config)?,
        },
        "Permute" => Move::Permute {
            order: order(config)?,
        },
        _ => Move::Repeat {
            n: positive(config, "n", None)?,
        },
    };
    Ok(Box::new(Rearrange {
        class: class.into(),
        to,
    }))
}

fn target_shape(config: &Config<'_>) -> Result<Vec<i64>, ConfigError> {
    let target = config.integers("target_shape")?;
    let unknown = target.iter().filter(|size| **size == -1).count();
    if unknown > 1 || target.iter().any(|size| *size < -1) {
        let expected = "sizes of at least 0, of which one may be -1";
        return Err(config.invalid("target_shape", expected));
    }
    Ok(target)
}

fn order(config: &Config<'_>) -> Result<Vec<usize>, ConfigError> {
    let dims = config.integers("dims")?;
    let mut sorted = dims.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(1..=dims.len() as i64) {
        return Err(config.invalid("dims", "each axis from 1 once"));
    }
    Ok(std::iter::once(0)
        .chain(dims.iter().map(|axis| *axis as usize))
        .collect())
}

/// `target` with its −1 replaced by what is left of the input's elements; the input's first
/// axis, the batch, is not among them.
pub(super) fn resolve(
    target: &[i64],
    input: &[Option<usize>],
) -> Result<Vec<Option<usize>>, LayerError> {
    let misfit = || {
        let expected = format!("a shape that can become (batch, {target:?})");
        wrong_input(0, input, expected)
    };
    let sizes: Vec<Option<usize>> = target
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect();
    let given: Vec<usize> = sizes.iter().copied().flatten().collect();
    let product = elements(&given)?;
    let Some(total) = input[1..].iter().copied().collect::<Option<Vec<usize>>>() else {
        return Ok(sizes);
    };
    let total = elements(&total)?;
    let rest = match given.len() == sizes.len() {
        true if product == total => None,
        false if product != 0 && total % product == 0 => Some(total / product),
        _ => return Err(misfit()),
    };
    Ok(sizes.into_iter().map(|size| size.or(rest)).collect())
}

impl Layer for Rearrange {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single(&self.class, inputs)?;
        if shape.is_empty() {
            return Err(wrong_input(0, shape, "(batch, …)"));
        }
        Ok(vec![match &self.to {
            Move::Flatten { .. } => {
                let sizes: Option<Vec<usize>> = shape[1..].iter().copied().collect();
                vec![shape[0], sizes.map(|sizes| elements(&sizes)).transpose()?]
            }
            Move::Reshape { target } => {
                let mut output = vec![shape[0]];
                output.extend(resolve(target, shape)?);
                output
            }
            Move::Permute { order } => {
                if order.len() != shape.len() {
                    let expected = format!("a shape of {} sizes", order.len());
                    return Err(wrong_input(0, shape, expected));
                }
                order.iter().map(|axis| shape[*axis]).collect()
            }
            Move::Repeat { n } => {
                let shape = single_of_rank(&self.class, inputs, 2, "(batch, features)")?;
                vec![shape[0], Some(*n), shape[1]]
            }
        }])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single(&self.class, inputs)?;
        let shape = output_shape(self, inputs)?;
        let output = match &self.to {
            Move::Flatten { channels_first } if *channels_first && input.data.ndim() > 2 => {
                permuted(input.view(), &channels_last(input.data.ndim()))
            }
            Move::Flatten { .. } | Move::Reshape { .. } => values(input).into_owned(),
            Move::Permute { order } => permuted(input.view(), order),
            Move::Repeat { n } => {
                let mut output = Vec::with_capacity(elements(&shape)?);
                let input = input.data.as_standard_layout();
                for sample in input.axis_iter(Axis(0)) {
                    for _ in 0..*n {
                        output.extend(sample.iter());
                    }
                }
                output
            }
        };
        if elements(&shape)? != output.len() {
            // A batch of 0 leaves nothing to tell a −1 from; anything else fits by now.
            return Err(LayerError::Other(format!(
                "{} values cannot have the shape {}",
                output.len(),
                display_shape(&super::support::known(&shape))
            )));
        }
        Ok(vec![tensor(&shape, output)?])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let shape = single(&self.class, inputs)?.shape().to_vec();
        Ok(Forward::new(output, move |gradient| {
            let gradient: Array = match &self.to {
                Move::Flatten { channels_first } if *channels_first && shape.len() > 2 => {
                    let values = into_values(gradient);
                    restored(values, &shape, &channels_last(shape.len()))?.into()
                }
                Move::Flatten { .. } | Move::Reshape { .. } => {
                    tensor(&shape, into_values(gradient))?.data
                }
                Move::Permute { order } => restored(into_values(gradient), &shape, order)?.into(),
                Move::Repeat { .. } => gradient.sum_axis(Axis(1)).into(),
            };
            Ok(LayerGradients::of_input(gradient))
        }))
    }

    /// Only where each step keeps its values as they are.
    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?.with_masked(false);
        let refuse =
            |reason: &str| Err(NotStreamable::new(reason).help("run whole sequences with predict"));
        let sizes = match (&self.to, input.time) {
            (Move::Repeat { .. }, _) => {
                return refuse("it makes a new sequence of what comes at the end of one");
            }
            (Move::Permute { order }, _) if !order.iter().copied().eq(0..order.len()) => {
                return refuse("it moves axes, of which the time may be one");
            }
            (Move::Permute { .. }, _) => input.through(self)?.sizes,
            (Move::Flatten { .. }, Time::Steps(_)) => {
                return refuse("it makes one row of all steps");
            }
            (Move::Flatten { channels_first }, Time::Gone)
                if *channels_first && input.sizes.len() > 1 =>
            {
                return refuse("it moves the channels to the end");
            }
            (Move::Flatten { .. }, Time::Gone) => vec![input.len()],
            (Move::Reshape { .. }, Time::Gone) => input.through(self)?.sizes,
            (Move::Reshape { target }, Time::Steps(time)) => {
                let resolved = resolve(target, &input.shape())?;
                let sizes = resolved.get(1..).unwrap_or_default();
                let sizes: Option<Vec<usize>> = sizes.iter().copied().collect();
                let keeps_time = resolved.first() == Some(&time);
                match sizes.filter(|sizes| elements(sizes).is_ok_and(|n| n == input.len())) {
                    Some(sizes) if keeps_time => sizes,
                    _ => return refuse("it moves values from one step to another"),
                }
            }
        };
        Ok(Streamed::in_place(input.with_sizes(sizes), |_| {}))
    }
}
