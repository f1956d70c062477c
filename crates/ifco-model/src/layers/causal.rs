//! A causal convolution step by step: it remembers as many steps as its window reaches back.

use std::sync::Arc;

use ifco_cell::Activation;

use super::convolution::Weights;
use super::support::{activate, elements};
use crate::{LayerError, Step};

/// How the windows of a convolution along the time reach back, and what it computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taps {
    /// How many steps a window reads.
    pub size: usize,
    /// How far apart those are.
    pub dilation: usize,
    pub groups: usize,
    pub activation: Activation,
}

/// A convolution's part of a session: `y[t] = b + Σⱼ x[t − (size − 1 − j)·dilation]·W[j]`.
#[derive(Debug)]
pub(super) struct CausalStep {
    weights: Arc<Weights>,
    taps: Taps,
    /// As many rows as a window spans, `channels` values each; zeros before the first step, as
    /// the padding.
    ring: Vec<f32>,
    /// The row that the next step is written to. A state as the others, so it is an `f32`.
    next: [f32; 1],
}

impl CausalStep {
    /// # Errors
    /// When the window spans more than fits in memory.
    pub(super) fn new(weights: Arc<Weights>, taps: Taps) -> Result<Self, LayerError> {
        // Beyond 2²⁴ an f32 does not count.
        let reach = (taps.size - 1).checked_mul(taps.dilation);
        let span = reach.filter(|reach| *reach < 1 << 24).ok_or_else(|| {
            LayerError::Other("its window reaches further back than 2^24 steps".into())
        })?;
        let len = elements(&[span + 1, weights.channels])?;
        Ok(Self {
            weights,
            taps,
            ring: vec![0.0; len],
            next: [0.0],
        })
    }
}

impl Step for CausalStep {
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool {
        let Taps {
            size,
            dilation,
            groups,
            activation,
        } = self.taps;
        let channels = self.weights.channels.max(1);
        let rows = (self.ring.len() / channels).max(1);
        // A restored state may hold any number.
        let now = self.next[0] as usize % rows;
        if let Some(row) = self.ring.chunks_exact_mut(channels).nth(now) {
            crate::session::copy(x, row);
        }
        self.next[0] = ((now + 1) % rows) as f32;

        crate::session::copy(&self.weights.bias, out);
        let per_group = (channels / groups).max(1);
        let filters = (out.len() / groups).max(1);
        let columns = self.weights.kernel.ncols().max(1);
        let kernel = self.weights.kernel.as_slice().unwrap_or_default();
        for (tap, kernel) in kernel.chunks_exact(per_group * columns).enumerate() {
            let back = size.saturating_sub(1 + tap) * dilation;
            let row = (now + rows - back.min(rows)) % rows;
            let Some(x) = self.ring.chunks_exact(channels).nth(row) else {
                continue;
            };
            for (group, (x, out)) in x
                .chunks_exact(per_group)
                .zip(out.chunks_exact_mut(filters))
                .enumerate()
            {
                for (x, weights) in x.iter().zip(kernel.chunks_exact(columns)) {
                    let weights = weights.get(group * filters..).unwrap_or_default();
                    out.iter_mut()
                        .zip(weights)
                        .for_each(|(out, w)| *out += x * w);
                }
            }
        }
        activate(&activation, out, out.len());
        counts
    }

    fn reset(&mut self) {
        self.ring.fill(0.0);
        self.next = [0.0];
    }

    fn states(&self) -> Vec<(String, &[f32])> {
        vec![
            ("window".into(), &self.ring[..]),
            ("next".into(), &self.next),
        ]
    }

    fn states_mut(&mut self) -> Vec<(String, &mut [f32])> {
        vec![
            ("window".into(), &mut self.ring[..]),
            ("next".into(), &mut self.next),
        ]
    }
}
