//! The numbers that products are made of: `f32`, bf16 or bytes, in words of 32 bits.
//!
//! A word of a panel holds one, two or four values of a column, from rows that follow each other;
//! a row to be multiplied is cut into such words too, the last one filled with zeros:
//!
//! ```text
//! f32    w                                    x as it is
//! bf16   (w₀, w₁) rounded                     (x₀, x₁) rounded where the CPU multiplies bf16,
//!                                             else as f32
//! int8   (q₀, q₁, q₂, q₃), w ≈ q·column       (p₀ + 128, …), x ≈ p·row
//! ```
//!
//! where `column` and `row` are scales: the greatest size in the column or row is 127 of them.
//! Then Σ x·w ≈ row·column·(Σ (p + 128)·q − 128·Σ q), of which the sums are exact. A panel ends
//! with its columns' −128·Σ q and scales, and a row with its scale.

use super::cell::spread;
use super::product::Rows;
use super::simd::{DotKernel, Isa, Kernel, PairUnit, QuadUnit, Words};
use crate::Precision;

#[cfg(test)]
mod tests;

/// The greatest number of steps of a scale.
const STEPS: i32 = 127;

/// What is added to the bytes of a row, which have no sign.
const ZERO: i32 = 128;

/// A row of smaller values is a row of zeros: their scale would not be a normal number.
const TINY: f32 = 1e-30;

/// What products are made of, and what multiplies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// `f32`
    Singles,
    /// bf16
    Pairs(PairUnit),
    /// Bytes
    Quads(QuadUnit),
}

impl Arithmetic {
    pub(super) fn new(precision: Precision, isa: Isa) -> Self {
        match precision {
            Precision::F32 => Arithmetic::Singles,
            Precision::Bf16 => Arithmetic::Pairs(isa.pair_unit()),
            Precision::Int8 => Arithmetic::Quads(isa.quad_unit()),
        }
    }

    /// Runs the kernel with it.
    #[inline]
    pub(super) fn run(self, isa: Isa, kernel: impl DotKernel) {
        match self {
            Arithmetic::Singles => isa.run_singles(kernel),
            Arithmetic::Pairs(unit) => isa.run_pairs(unit, kernel),
            Arithmetic::Quads(unit) => isa.run_quads(unit, kernel),
        }
    }

    /// Words of a column of so many values.
    pub(super) fn words(self, depth: usize) -> usize {
        match self {
            Arithmetic::Singles => depth,
            Arithmetic::Pairs(_) => depth.div_ceil(2),
            Arithmetic::Quads(_) => depth.div_ceil(4),
        }
    }

    /// Words of a column with what comes after the values.
    pub(super) fn column(self, depth: usize) -> usize {
        match self {
            Arithmetic::Quads(_) => self.words(depth) + 2,
            _ => self.words(depth),
        }
    }

    /// From one row of converted values to the next; 0 where rows are read as they are.
    pub(super) fn row_stride(self, depth: usize) -> usize {
        match self {
            Arithmetic::Singles => 0,
            Arithmetic::Pairs(unit) if unit.is_there() => spread(self.words(depth)),
            Arithmetic::Pairs(_) => spread(2 * self.words(depth)),
            Arithmetic::Quads(_) => spread(self.words(depth) + 1),
        }
    }

    /// The rows as the products read them: as they are, or converted, at `to`.
    ///
    /// # Safety
    /// There are `count` rows of `depth` values, and place for `count` times
    /// [`row_stride`](Self::row_stride) at `to`.
    #[inline]
    pub(super) unsafe fn rows(
        self,
        isa: Isa,
        rows: Rows,
        count: usize,
        depth: usize,
        to: *mut f32,
    ) -> Rows {
        if self == Arithmetic::Singles {
            return rows;
        }
        let stride = self.row_stride(depth);
        isa.run(Convert {
            arithmetic: self,
            rows,
            count,
            depth,
            to,
            stride,
        });
        Rows { at: to, stride }
    }

    /// The values of a panel, `[row k][column]`, as its words, of which there are
    /// [`column`](Self::column) for each of `width` columns.
    pub(super) fn encode(self, panel: &[f32], width: usize, to: &mut [f32]) {
        match self {
            Arithmetic::Singles => to[..panel.len()].copy_from_slice(panel),
            Arithmetic::Pairs(_) => {
                for (to, rows) in to.chunks_exact_mut(width).zip(panel.chunks(2 * width)) {
                    let (low, high) = rows.split_at(width);
                    for (column, to) in to.iter_mut().enumerate() {
                        let high = high.get(column).copied().unwrap_or(0.0);
                        let word = u32::from(bf16(low[column])) | u32::from(bf16(high)) << 16;
                        *to = f32::from_bits(word);
                    }
                }
            }
            Arithmetic::Quads(_) => {
                let depth = panel.len() / width;
                for column in 0..width {
                    let values = panel.iter().skip(column).step_by(width);
                    let to = to.iter_mut().skip(column).step_by(width);
                    quantize_column(values.copied(), depth, to);
                }
            }
        }
    }
}

/// The nearest bf16, of two that are as near the even one.
#[inline(always)]
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x40;
    (if value.is_nan() { nan } else { nearest }) as u16
}

/// The words of a column: its values, −128·Σ q, its scale.
fn quantize_column<'a>(
    values: impl Iterator<Item = f32> + Clone,
    depth: usize,
    mut to: impl Iterator<Item = &'a mut f32>,
) {
    // Fewer steps where there are so many values that their sum could overflow.
    let room = i32::MAX / STEPS / i32::try_from(depth.max(1)).unwrap_or(i32::MAX);
    let steps = STEPS.min(room) as f32;
    let size = values
        .clone()
        .fold(0.0, |size: f32, value| match value.is_nan() {
            true => f32::NAN,
            // Not `max`, which would lose a NaN.
            false if value.abs() > size => value.abs(),
            false => size,
        });
    let scale = match size < TINY || steps == 0.0 {
        true => 0.0,
        false => size / steps,
    };
    let quantize = |value: f32| match scale > 0.0 {
        // A NaN becomes 0; its column's scale is NaN.
        true => (value / scale).round_ties_even().clamp(-steps, steps) as i8,
        false => 0,
    };
    let mut values = values.map(quantize);
    let mut sum = 0i32;
    for _ in 0..depth.div_ceil(4) {
        let bytes: [i8; 4] = std::array::from_fn(|_| values.next().unwrap_or(0));
        sum = bytes
            .iter()
            .fold(sum, |sum, q| sum.wrapping_add((*q).into()));
        if let Some(to) = to.next() {
            *to = f32::from_bits(u32::from_ne_bytes(bytes.map(|q| q as u8)));
        }
    }
    let ends = [f32::from_bits(sum.wrapping_mul(-ZERO) as u32), scale];
    to.zip(ends).for_each(|(to, end)| *to = end);
}

/// Rows to be converted; their maker vouches for the pointers.
struct Convert {
    arithmetic: Arithmetic,
    rows: Rows,
    count: usize,
    depth: usize,
    to: *mut f32,
    stride: usize,
}

impl Kernel for Convert {
    type Output = ();

    // No closures below: one that the compiler did not inline would lack the vectors' features.
    #[inline(always)]
    fn run<S: Words>(self, _: S) {
        for row in 0..self.count {
            // SAFETY: the promise of `Arithmetic::rows`: the rows are there, as is the place for
            // them, and nothing else looks at that place meanwhile.
            let (from, to) = unsafe {
                let from = self.rows.at.add(row * self.rows.stride);
                let to = self.to.add(row * self.stride);
                (
                    std::slice::from_raw_parts(from, self.depth),
                    std::slice::from_raw_parts_mut(to, self.stride),
                )
            };
            match self.arithmetic {
                Arithmetic::Singles => {}
                Arithmetic::Pairs(unit) if unit.is_there() => {
                    let words = self.depth.div_ceil(2);
                    // SAFETY: a word is two halves; `to` has at least so many words.
                    let halves = unsafe {
                        std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u16>(), 2 * words)
                    };
                    let (halves, rest) = halves.split_at_mut(self.depth);
                    for (to, value) in halves.iter_mut().zip(from) {
                        *to = bf16(*value);
                    }
                    rest.fill(0);
                }
                Arithmetic::Pairs(_) => {
                    let (to, rest) = to.split_at_mut(self.depth);
                    to.copy_from_slice(from);
                    if self.depth % 2 == 1 {
                        rest[0] = 0.0;
                    }
                }
                Arithmetic::Quads(_) => quantize_row(from, to),
            }
        }
    }
}

/// The words of a row: its values as bytes, its scale.
#[inline(always)]
fn quantize_row(from: &[f32], to: &mut [f32]) {
    // The bits of sizes are in the order of the sizes, and those of a NaN above all.
    let mut size = 0;
    for value in from {
        size = (value.to_bits() & (u32::MAX >> 1)).max(size);
    }
    let size = f32::from_bits(size);
    let steps = STEPS as f32;
    let inverse = if size >= TINY { steps / size } else { 0.0 };
    let words = from.len().div_ceil(4);
    // SAFETY: a word is four bytes; `to` has at least so many words.
    let bytes = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), 4 * words) };
    let (bytes, rest) = bytes.split_at_mut(from.len());
    for (to, value) in bytes.iter_mut().zip(from) {
        // Adding 1.5·2²³ rounds to a whole number, which then stands in the low bits.
        let whole = value * inverse + 12_582_912.0;
        *to = whole.to_bits() as u8 ^ ZERO as u8;
    }
    rest.fill(ZERO as u8);
    to[words] = if size < TINY { 0.0 } else { size / steps };
}
