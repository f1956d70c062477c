//! What is measured: loops that do nothing but multiply and add, on registers or on what they
//! read.

#![allow(unsafe_code)] // vectors are loaded from and stored to raw pointers

use std::hint::black_box;

use super::timing::Work;
use crate::engine::buffer::Buffer;
use crate::engine::simd::{Isa, Kernel, Simd};

/// The most values that a vector has.
const MOST_LANES: usize = 16;

/// How many sums a loop keeps. So many fit in the registers beside what it reads, and so many
/// multiply-adds, none waiting for another, keep the hardware busy.
const MANY: usize = 24;
const SOME: usize = 12;
const FEW: usize = 6;

/// Adds all sums up and lets the compiler believe that somebody looks at them.
#[inline(always)]
fn keep<S: Simd, const N: usize>(simd: S, sums: [S::F32; N]) {
    let mut total = simd.splat(0.0);
    for sum in sums {
        total = simd.add(total, sum);
    }
    let mut values = [0.0_f32; MOST_LANES];
    const { assert!(S::LANES <= MOST_LANES) };
    // SAFETY: `values` has room for LANES values, as asserted.
    unsafe { simd.store(values.as_mut_ptr(), total) };
    black_box(values);
}

/// Multiply-adds on registers alone.
pub(super) struct Multiply {
    isa: Isa,
}

impl Multiply {
    pub(super) fn new(isa: Isa) -> Self {
        Self { isa }
    }
}

impl Work for Multiply {
    fn run(&mut self, repeats: usize) -> f64 {
        self.isa.run(MultiplyKernel { repeats })
    }
}

struct MultiplyKernel {
    repeats: usize,
}

impl MultiplyKernel {
    /// Few enough that a sample can be timed to about one part in a thousand.
    const ROUNDS: usize = if cfg!(miri) { 4 } else { 256 };

    #[inline(always)]
    fn with<S: Simd, const N: usize>(self, simd: S) -> f64 {
        // sum = sum/2 + 1 stays near 2: neither tiny numbers nor infinities slow it down.
        let half = simd.splat(black_box(0.5));
        let one = simd.splat(black_box(1.0));
        let rounds = self.repeats.saturating_mul(Self::ROUNDS);
        let mut sums = [one; N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, half, one);
            }
        }
        keep(simd, sums);
        2.0 * (rounds * N * S::LANES) as f64
    }
}

impl Kernel for MultiplyKernel {
    /// How many operations it did.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        match S::SUMS {
            MANY.. => self.with::<S, MANY>(simd),
            SOME.. => self.with::<S, SOME>(simd),
            _ => self.with::<S, FEW>(simd),
        }
    }
}

/// Multiply-adds on values that are read one after another, as in a matrix × vector product.
pub(super) struct Stream {
    isa: Isa,
    /// Memory as the engine keeps weights in: from the beginning of a cache line on, and in large
    /// pages where the system has them.
    matrix: Buffer,
    /// How many values of it are whole rows.
    length: usize,
    vector: [f32; Stream::ROWS],
}

impl Stream {
    /// A power of two, so that the vector can be gone through again and again.
    const ROWS: usize = 64;

    /// Reads so many bytes, but whole rows of the matrix, and at least one.
    pub(super) fn new(isa: Isa, bytes: usize) -> Self {
        let values = bytes / size_of::<f32>();
        let row = isa.run(RowLength);
        let length = (values / row).max(1) * row;
        let mut matrix = Buffer::lasting_zeros(length);
        // Alternating signs below keep the sums from growing.
        matrix.as_mut_slice().fill(1e-3);
        let vector = std::array::from_fn(|row| if row % 2 == 0 { 1.0 } else { -1.0 });
        Self {
            isa,
            matrix,
            length,
            vector,
        }
    }
}

impl Work for Stream {
    fn run(&mut self, repeats: usize) -> f64 {
        self.isa.run(StreamKernel {
            matrix: &self.matrix.as_slice()[..self.length],
            vector: &self.vector,
            repeats,
        })
    }
}

/// How many values a row of the matrix has: a vector for each sum.
struct RowLength;

impl Kernel for RowLength {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let sums = match S::SUMS {
            MANY.. => MANY,
            SOME.. => SOME,
            _ => FEW,
        };
        sums * S::LANES
    }
}

struct StreamKernel<'a> {
    matrix: &'a [f32],
    vector: &'a [f32; Stream::ROWS],
    repeats: usize,
}

impl StreamKernel<'_> {
    #[inline(always)]
    fn with<S: Simd, const N: usize>(self, simd: S) -> f64 {
        let rows = self.matrix.chunks_exact(N * S::LANES);
        let bytes = rows.len() * N * S::LANES * size_of::<f32>();
        let mut sums = [simd.splat(0.0); N];
        for _ in 0..self.repeats {
            // Otherwise the compiler may see that every repeat reads the same.
            let rows = black_box(rows.clone());
            for (row, values) in rows.enumerate() {
                let x = simd.splat(self.vector[row % Stream::ROWS]);
                for (index, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a row is N vectors long, and index < N.
                    let weights = unsafe { simd.load(values.as_ptr().add(index * S::LANES)) };
                    *sum = simd.mul_add(x, weights, *sum);
                }
            }
        }
        keep(simd, sums);
        bytes as f64 * self.repeats as f64
    }
}

impl Kernel for StreamKernel<'_> {
    /// How many bytes it read.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        match S::SUMS {
            MANY.. => self.with::<S, MANY>(simd),
            SOME.. => self.with::<S, SOME>(simd),
            _ => self.with::<S, FEW>(simd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_counts_what_it_did() {
        for isa in Isa::all() {
            let row = isa.run(RowLength);
            assert_eq!(row % isa.lanes(), 0, "{}", isa.name());
            let one = Multiply::new(isa).run(1);
            assert_eq!(one, (2 * MultiplyKernel::ROUNDS * row) as f64);
            assert_eq!(Multiply::new(isa).run(3), 3.0 * one);

            let many = if cfg!(miri) { 3 } else { 100 };
            for rows in [0, 1, many] {
                let read = rows.max(1) * row * size_of::<f32>();
                let bytes = rows * row * size_of::<f32>() + 7;
                let mut stream = Stream::new(isa, bytes);
                assert_eq!(stream.run(1), read as f64, "{} {rows}", isa.name());
                assert_eq!(stream.run(2), 2.0 * read as f64);
                assert_eq!(stream.run(0), 0.0);
            }
        }
    }
}
