//! LSTMs with every combination of options.

use ifco_cell::{Activation, LayerNorm, LstmCell, LstmOptions, LstmWeights, Norm, NormedSums};
use ndarray::Array1;

use super::numbers::Numbers;

/// How many combinations there are.
pub const COMBINATIONS: usize = 3 << 8;

/// Takes one of so many choices out of the number of a combination.
fn choice(combination: &mut usize, choices: usize) -> usize {
    let one = *combination % choices;
    *combination /= choices;
    one
}

/// The LSTM with this combination of options, random weights, and limits that are reached.
pub fn lstm(
    mut combination: usize,
    (features, units, outputs): (usize, usize, usize),
    numbers: &mut Numbers,
) -> LstmCell {
    let norms = choice(&mut combination, 3);
    let mut coin = || choice(&mut combination, 2) == 1;
    let has_projection = coin();
    let outputs = if has_projection { outputs } else { units };
    let kernel = numbers.matrix(features, 4 * units, 1.2 / (1.0 + features as f32).sqrt());
    let recurrent = numbers.matrix(outputs, 4 * units, 1.2 / (1.0 + outputs as f32).sqrt());
    // The bias and the activation that is shown go together, to halve the combinations.
    let is_odd = coin();
    let bias = (!is_odd).then(|| numbers.vector(4 * units));
    let mut weights = if has_projection {
        let projection = numbers.matrix(units, outputs, 1.5 / (units as f32).sqrt());
        LstmWeights::projected(kernel, recurrent, bias, projection).unwrap()
    } else {
        LstmWeights::new(kernel, recurrent, bias).unwrap()
    };
    if coin() {
        let peepholes = numbers.matrix(3, units, 0.5);
        weights = weights.with_peepholes(peepholes).unwrap();
    }
    let mut norm = |size| Norm {
        gamma: Array1::from_shape_simple_fn(size, || 0.6 + 0.4 * numbers.signed()),
        beta: numbers.vector(size),
    };
    let sums = match norms {
        0 => None,
        1 => Some(NormedSums::Gates(norm(4 * units))),
        _ => Some(NormedSums::Products {
            kernel: norm(4 * units),
            recurrent: norm(4 * units),
        }),
    };
    if let Some(sums) = sums {
        let layer_norm = LayerNorm {
            sums,
            state: norm(units),
            epsilon: 1e-3,
        };
        weights = weights.with_layer_norm(layer_norm).unwrap();
    }
    let options = LstmOptions {
        input_forget: coin(),
        clip: coin().then_some(0.4),
        cell_clip: coin().then_some(0.3),
        projection_clip: coin().then_some(0.15).filter(|_| has_projection),
        forget_bias: if coin() { 1.0 } else { 0.0 },
        output_activation: is_odd.then_some(Activation::Softsign),
    };
    LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid)
        .with_options(options)
        .unwrap()
}
