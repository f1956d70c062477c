//! What is done to gradients before they are used.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::rules::norm;
use super::{Clip, Parameter};

/// One for each parameter, in row-major order; `None` where there is none.
pub(super) type Gradients<'a> = Vec<Option<Cow<'a, [f32]>>>;

/// The gradients, divided by the factor that the loss was multiplied by.
pub(super) fn scaled<'a>(parameters: &[Parameter<'a>], factor: Option<f64>) -> Gradients<'a> {
    let of = |parameter: &Parameter<'a>| {
        let gradient = parameter.gradient.clone()?;
        Some(match (factor, gradient.clone().to_slice()) {
            (Some(factor), _) => gradient.iter().map(|g| g / factor as f32).collect(),
            (None, Some(values)) => Cow::Borrowed(values),
            (None, None) => gradient.iter().copied().collect(),
        })
    };
    parameters.iter().map(of).collect()
}

/// The values of all that there are.
fn each<'g>(gradients: &'g mut Gradients<'_>) -> impl Iterator<Item = &'g mut [f32]> {
    let some = gradients.iter_mut().flatten();
    some.map(|gradient| &mut gradient.to_mut()[..])
}

/// Adds to what has come together since the last update. With `steps`, an update is due: its
/// gradients are the mean of so many, and the sums start again at 0.
pub(super) fn accumulate(
    gradients: &mut Gradients<'_>,
    sums: &mut [ArrayD<f32>],
    steps: Option<usize>,
) {
    for (gradient, sum) in gradients.iter_mut().zip(sums.iter_mut()) {
        let Some(gradient) = gradient else { continue };
        for (g, sum) in gradient.to_mut().iter_mut().zip(sum.iter_mut()) {
            match steps {
                Some(steps) => *g = (*g + *sum) / steps as f32,
                None => *sum += *g,
            }
        }
    }
    if steps.is_some() {
        sums.iter_mut().for_each(|sum| sum.fill(0.0));
    }
}

/// Where the squares are others than the gradients', they say how long these are.
pub(super) fn clip(
    gradients: &mut Gradients<'_>,
    parameters: &[Parameter<'_>],
    clip: Option<Clip>,
) {
    match clip {
        Some(Clip::Norm(limit)) if limit > 0.0 => {
            let limit = limit as f32;
            for (gradient, parameter) in gradients.iter_mut().zip(parameters) {
                let Some(gradient) = gradient else { continue };
                let length = match &parameter.squares {
                    Some(squares) => {
                        let sum: f64 = squares.iter().map(|square| f64::from(*square)).sum();
                        (sum as f32).sqrt()
                    }
                    None => norm(gradient),
                };
                let length = length.max(limit);
                gradient
                    .to_mut()
                    .iter_mut()
                    .for_each(|g| *g = *g * limit / length);
            }
        }
        Some(Clip::GlobalNorm(limit)) if limit > 0.0 => {
            let all: f64 = gradients
                .iter()
                .flatten()
                .flat_map(|gradient| gradient.iter())
                .map(|g| f64::from(*g) * f64::from(*g))
                .sum();
            let length = (all as f32).sqrt();
            let scale = limit as f32 * (1.0 / length).min((1.0 / limit) as f32);
            // Not a number as soon as the length is none.
            let scale = if length.is_finite() { scale } else { f32::NAN };
            each(gradients).flatten().for_each(|g| *g *= scale);
        }
        Some(Clip::Value(limit)) if limit > 0.0 => {
            let limit = limit as f32;
            let all = each(gradients).flatten();
            all.for_each(|g| *g = g.clamp(-limit, limit));
        }
        _ => {}
    }
}
