//! What is done to gradients before they are used.

use ndarray::ArrayD;

use super::rules::norm;
use super::{Clip, Parameter};

/// One for each parameter, in row-major order; `None` where there is none.
pub(super) type Gradients = Vec<Option<Vec<f32>>>;

/// Copies the gradients, divided by the factor that the loss was multiplied by.
pub(super) fn scaled(parameters: &[Parameter<'_>], factor: Option<f64>) -> Gradients {
    let of = |parameter: &Parameter<'_>| {
        let gradient = parameter.gradient.as_ref()?;
        Some(match factor {
            Some(factor) => gradient.iter().map(|g| g / factor as f32).collect(),
            None => gradient.iter().copied().collect(),
        })
    };
    parameters.iter().map(of).collect()
}

/// Adds to what has come together since the last update. With `steps`, an update is due: its
/// gradients are the mean of so many, and the sums start again at 0.
pub(super) fn accumulate(
    gradients: &mut Gradients,
    sums: &mut [ArrayD<f32>],
    steps: Option<usize>,
) {
    for (gradient, sum) in gradients.iter_mut().zip(sums.iter_mut()) {
        let Some(gradient) = gradient else { continue };
        for (g, sum) in gradient.iter_mut().zip(sum.iter_mut()) {
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

pub(super) fn clip(gradients: &mut Gradients, clip: Option<Clip>) {
    match clip {
        Some(Clip::Norm(limit)) if limit > 0.0 => {
            let limit = limit as f32;
            for gradient in gradients.iter_mut().flatten() {
                let length = norm(gradient).max(limit);
                gradient.iter_mut().for_each(|g| *g = *g * limit / length);
            }
        }
        Some(Clip::GlobalNorm(limit)) if limit > 0.0 => {
            let all: f64 = gradients
                .iter()
                .flatten()
                .flatten()
                .map(|g| f64::from(*g) * f64::from(*g))
                .sum();
            let length = (all as f32).sqrt();
            let scale = limit as f32 * (1.0 / length).min((1.0 / limit) as f32);
            // Not a number as soon as the length is none.
            let scale = if length.is_finite() { scale } else { f32::NAN };
            gradients
                .iter_mut()
                .flatten()
                .flatten()
                .for_each(|g| *g *= scale);
        }
        Some(Clip::Value(limit)) if limit > 0.0 => {
            let limit = limit as f32;
            gradients
                .iter_mut()
                .flatten()
                .flatten()
                .for_each(|g| *g = g.clamp(-limit, limit));
        }
        _ => {}
    }
}
