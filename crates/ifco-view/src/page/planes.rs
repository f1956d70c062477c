//! Heat maps as bytes: one for each unit and stretch of time, as many as the screen shows.

use std::ops::Range;

use ndarray::ArrayView2;

/// Bytes go from 0 to this; [`NOT_A_NUMBER`] is beside the scale.
const LARGEST: f32 = 254.0;
const NOT_A_NUMBER: u8 = 255;

/// What the bytes of a heat map mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// The value of byte 0.
    pub low: f32,
    /// The value of byte 254.
    pub high: f32,
}

impl Scale {
    /// The scale of the array of this name: from 0 to 1 for a gate, else as far below zero as
    /// above, so that zero has the colour of the paper.
    pub fn of(name: &str, values: ArrayView2<'_, f32>) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        if is_gate(name) {
            // An activation like `linear` leaves 0 to 1.
            let (low, high) = finite().fold((0.0_f32, 1.0_f32), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            return Self { low, high };
        }
        let largest = finite().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        // A candidate that fills its range looks so.
        let high = match name {
            "c_tilde" | "h_tilde" => largest.max(1.0),
            _ if largest > 0.0 => largest,
            _ => 1.0,
        };
        Self { low: -high, high }
    }

    fn byte(self, value: f32) -> u8 {
        if value.is_nan() {
            return NOT_A_NUMBER;
        }
        // Halved, so that the difference of large numbers stays finite.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        // `as` cuts off: half more rounds what is not negative, many times faster than `round`.
        (share * LARGEST + 0.5).clamp(0.0, LARGEST) as u8
    }
}

/// The numbers as they go to the page: f32, little endian.
pub(super) fn bytes<'a>(numbers: impl ExactSizeIterator<Item = &'a f32>) -> Vec<u8> {
    let mut bytes = vec![0; numbers.len() * size_of::<f32>()];
    for (place, number) in bytes.chunks_exact_mut(size_of::<f32>()).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Whether it goes from 0 to 1: i, f, o of an LSTM, z, r of a GRU.
pub(super) fn is_gate(name: &str) -> bool {
    matches!(name, "i" | "f" | "o" | "z" | "r")
}

/// The steps `range` of `(time, units)` in at most `bins` stretches of as many steps each, give or
/// take one: for each unit, stretch after stretch, the mean; where a stretch has several steps,
/// then the least and the largest likewise.
///
/// Little endian: units, stretches and planes (1 or 3) as u32, low and high of the scale as f32,
/// then the bytes.
pub(super) fn planes(
    values: ArrayView2<'_, f32>,
    range: Range<usize>,
    bins: usize,
    scale: Scale,
) -> Vec<u8> {
    let units = values.ncols();
    let steps = range.len();
    let bins = bins.min(steps);
    let has_several = bins < steps;
    let planes = if has_several { 3 } else { 1 };
    let size = units * bins;
    let mut bytes = Vec::with_capacity(20 + planes * size);
    for number in [units, bins, planes] {
        bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend(scale.low.to_le_bytes());
    bytes.extend(scale.high.to_le_bytes());
    let start = bytes.len();
    bytes.resize(start + planes * size, 0);
    let out = &mut bytes[start..];
    let (mut sum, mut least, mut largest) = (
        vec![0.0_f32; units],
        vec![0.0_f32; units],
        vec![0.0_f32; units],
    );
    for bin in 0..bins {
        let stretch = stretch(bin, bins, steps);
        let count = stretch.len() as f32;
        sum.fill(0.0);
        least.fill(f32::INFINITY);
        largest.fill(f32::NEG_INFINITY);
        for step in stretch {
            let row = values.row(range.start + step);
            for (unit, &value) in row.iter().enumerate() {
                sum[unit] += value;
                least[unit] = least[unit].min(value);
                largest[unit] = largest[unit].max(value);
            }
        }
        for unit in 0..units {
            let place = unit * bins + bin;
            out[place] = scale.byte(sum[unit] / count);
            if has_several {
                out[size + place] = scale.byte(least[unit]);
                out[2 * size + place] = scale.byte(largest[unit]);
            }
        }
    }
    bytes
}

/// The steps of one of `bins` stretches.
fn stretch(bin: usize, bins: usize, steps: usize) -> Range<usize> {
    bin * steps / bins..(bin + 1) * steps / bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn every_step_has_its_byte_where_there_is_room() {
        let values = array![[0.0, 1.0], [0.5, f32::NAN]];
        let scale = Scale::of("f", values.view());
        assert_eq!(
            scale,
            Scale {
                low: 0.0,
                high: 1.0
            }
        );
        let bytes = planes(values.view(), 0..2, 1000, scale);
        assert_eq!(bytes[..12], [2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[20..], [0, 127, 254, NOT_A_NUMBER]);
    }

    #[test]
    fn stretches_cover_every_step_once() {
        for (bins, steps) in [(1, 1), (3, 10), (7, 7), (5, 9), (1000, 9999)] {
            let mut next = 0;
            for bin in 0..bins {
                let stretch = stretch(bin, bins, steps);
                assert_eq!(stretch.start, next);
                assert!(!stretch.is_empty());
                next = stretch.end;
            }
            assert_eq!(next, steps);
        }
    }

    #[test]
    fn a_stretch_tells_mean_least_and_largest() {
        let values = array![[9.0], [-1.0], [0.0], [1.0], [0.0]];
        let scale = Scale {
            low: -1.0,
            high: 1.0,
        };
        let bytes = planes(values.view(), 1..5, 2, scale);
        // -1 0 | 1 0
        assert_eq!(bytes[20..], [64, 191, 0, 127, 127, 254]);
    }

    #[test]
    fn a_scale_for_any_numbers() {
        let odd = array![[f32::INFINITY, f32::NAN], [f32::MAX, f32::MIN]];
        for name in ["f", "c", "c_tilde"] {
            let scale = Scale::of(name, odd.view());
            assert!(scale.low < scale.high && scale.high.is_finite(), "{name}");
            assert_eq!(scale.byte(f32::MAX), 254, "{name}");
            assert_eq!(scale.byte(f32::INFINITY), 254, "{name}");
        }
        let zeros = Array2::zeros((2, 2));
        assert_eq!(Scale::of("h", zeros.view()).byte(0.0), 127);
    }
}
