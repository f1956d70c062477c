//! A small generator of numbers, so that a case is a seed and a few sizes.

use ndarray::{Array1, Array2, Axis};

/// Its state.
pub struct Numbers(pub u64);

impl Numbers {
    /// From 0 to 1.
    pub fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// From −1 to 1.
    pub fn signed(&mut self) -> f32 {
        2.0 * self.next() - 1.0
    }

    /// Values from −scale to scale.
    pub fn matrix(&mut self, rows: usize, columns: usize, scale: f32) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || self.signed() * scale)
    }

    /// Values from −1/2 to 1/2.
    pub fn vector(&mut self, length: usize) -> Array1<f32> {
        self.matrix(1, length, 0.5).remove_axis(Axis(0))
    }
}
