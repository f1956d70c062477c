//! The step of an LSTM with [options](crate::LstmOptions), a row at a time: peepholes, a coupled
//! forget gate, clips, layer normalization. The matrix products before and after it are the
//! engine's; the trace goes through the same lines.

use crate::cell::clip;
use crate::{Gate, LayerNorm, LstmCell, Norm, NormedSums};

/// From the sums to the gates and the new cell state.
///
/// `z`: i f c o side by side, `units` each; the sums, of which the gates remain. What they are sums
/// of is [`sums`]'s matter. `pre`: where what the activations were applied to goes; of a coupled
/// forget gate nothing.
pub(crate) fn gates(cell: &LstmCell, z: &mut [f32], c: &mut [f32], mut pre: Option<&mut [f32]>) {
    let (units, options, weights) = (c.len(), cell.options(), cell.weights());
    let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
    // Peephole and clip of one gate, which `c` is seen by.
    let mut ready = |gate: Gate, z: &mut [f32], c: &[f32]| {
        if let Some(peephole) = weights.peephole(gate) {
            for ((z, p), c) in z.iter_mut().zip(peephole).zip(c) {
                *z += p * c;
            }
        }
        clip(z, options.clip);
        if let Some(pre) = &mut pre {
            pre[gate.columns(units)].copy_from_slice(z);
        }
    };
    let (i_f, c_o) = z.split_at_mut(2 * units);
    let (i, f) = i_f.split_at_mut(units);
    let (c_tilde, o) = c_o.split_at_mut(units);

    ready(Gate::Input, i, c);
    sigma.apply(i);
    if options.input_forget {
        f.iter_mut().zip(&*i).for_each(|(f, i)| *f = 1.0 - *i);
    } else {
        ready(Gate::Forget, f, c);
        sigma.apply(f);
    }
    ready(Gate::Cell, c_tilde, c);
    phi.apply(c_tilde);

    for (((c, i), f), c_tilde) in c.iter_mut().zip(&*i).zip(&*f).zip(&*c_tilde) {
        *c = *f * *c + *i * *c_tilde;
    }
    if let Some(LayerNorm { state, epsilon, .. }) = weights.layer_norm() {
        normalize(c, state, 0, *epsilon);
    }
    clip(c, options.cell_clip);
    ready(Gate::Output, o, c);
    sigma.apply(o);
}

/// o∘φ(c'), which is h', or what is projected to it.
pub(crate) fn shown(cell: &LstmCell, o: &[f32], c: &[f32], shown: &mut [f32]) {
    shown.copy_from_slice(c);
    cell.output_activation().apply(shown);
    shown.iter_mut().zip(o).for_each(|(shown, o)| *shown *= o);
}

/// Clips what the projection gave.
pub(crate) fn clip_projected(cell: &LstmCell, h: &mut [f32]) {
    clip(h, cell.options().projection_clip);
}

/// Whether x·W and h·U are wanted apart, without a bias.
pub(crate) fn sums_apart(cell: &LstmCell) -> bool {
    let norm = cell.weights().layer_norm();
    norm.is_some_and(|norm| matches!(norm.sums, NormedSums::Products { .. }))
}

/// What goes into [`gates`] of what the products gave: with layer normalization, normalized.
///
/// `z`: the sums b + x·W + h·U with everything that [`LstmCell::whole_bias`] has, or h·U alone if
/// [`sums_apart`]; then `x` is x·W.
pub(crate) fn sums(cell: &LstmCell, z: &mut [f32], x: &mut [f32]) {
    let weights = cell.weights();
    let units = weights.units();
    let Some(LayerNorm { sums, epsilon, .. }) = weights.layer_norm() else {
        return;
    };
    match sums {
        NormedSums::Gates(norm) => {
            for (gate, z) in z.chunks_exact_mut(units).enumerate() {
                normalize(z, norm, gate * units, *epsilon);
            }
        }
        NormedSums::Products { kernel, recurrent } => {
            normalize(z, recurrent, 0, *epsilon);
            normalize(x, kernel, 0, *epsilon);
            z.iter_mut().zip(x).for_each(|(z, x)| *z += *x);
            if let Some(bias) = weights.fused_bias() {
                z.iter_mut().zip(bias).for_each(|(z, b)| *z += b);
            }
        }
    }
    let forget_bias = cell.options().forget_bias;
    if forget_bias != 0.0 {
        let forget = &mut z[Gate::Forget.columns(units)];
        forget.iter_mut().for_each(|z| *z += forget_bias);
    }
}

/// `(x − mean) / sqrt(variance + ε)·γ + β`, with γ and β from their value `first` on. The two sums
/// are in `f64`, so that many units lose no digits.
fn normalize(values: &mut [f32], norm: &Norm, first: usize, epsilon: f32) {
    let count = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let square = |x: &f32| (f64::from(*x) - mean).powi(2);
    let variance = values.iter().map(square).sum::<f64>() / count;
    let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
    let affine = norm.gamma.iter().zip(&norm.beta).skip(first);
    for (x, (gamma, beta)) in values.iter_mut().zip(affine) {
        *x = ((f64::from(*x) - mean) * scale) as f32 * gamma + beta;
    }
}
