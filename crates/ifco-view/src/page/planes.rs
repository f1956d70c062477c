//! Heat maps as bytes: one for each unit and stretch of time, as many as the screen shows.

use std::ops::Range;

use ndarray::ArrayView2;

use super::run::{Extent, Steps};

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
    pub fn of(name: &str, extent: Extent) -> Self {
        let Extent { low, high } = extent;
        if is_gate(name) {
            // An activation like `linear` leaves 0 to 1.
            return Self {
                low: low.min(0.0),
                high: high.max(1.0),
            };
        }
        let largest = high.max(-low).max(0.0);
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

/// What a byte tells of the several steps that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Mean,
    Least,
    Largest,
}

impl Shows {
    pub const ALL: [Self; 3] = [Self::Mean, Self::Least, Self::Largest];
}

/// A heat map of the steps `range` in at most `bins` stretches of as many steps each, give or take
/// one, or some columns of it: for each unit, stretch after stretch, a byte. Where each stretch is
/// one step there is one plane of them, else one for each of `shows`. Stretches that are not all
/// there yet are [`NOT_A_NUMBER`].
///
/// Little endian: units, stretches and planes as u32, low and high of the scale as f32, then the
/// bytes.
pub(super) fn planes(
    values: &Steps<'_>,
    range: Range<usize>,
    bins: usize,
    columns: Range<usize>,
    scale: Scale,
    shows: &[Shows],
) -> Vec<u8> {
    let units = values.columns;
    let there = values.len();
    let steps = range.len();
    let bins = bins.min(steps);
    let columns = columns.start.min(bins)..columns.end.min(bins);
    let shows = if bins < steps {
        shows
    } else {
        &Shows::ALL[..1]
    };
    let size = units * columns.len();
    let mut bytes = head(units, columns.len(), shows.len(), scale);
    let start = bytes.len();
    bytes.resize(start + shows.len() * size, NOT_A_NUMBER);
    let mut folded = vec![0.0_f32; units];
    // Some columns at a time, unit after unit within each: a byte at a time from one end of the
    // plane to the other misses the caches.
    let mut block = vec![NOT_A_NUMBER; units * BLOCK];
    for (plane, shows) in bytes[start..].chunks_exact_mut(size.max(1)).zip(shows) {
        for first in columns.clone().step_by(BLOCK) {
            let end = columns.end.min(first + BLOCK);
            let mut full = 0;
            for bin in first..end {
                let stretch = stretch(bin, bins, steps);
                let count = stretch.len() as f32;
                if range.start + stretch.end > there {
                    break;
                }
                let rows = stretch.map(|step| values.row(range.start + step));
                match shows {
                    Shows::Mean => fold(&mut folded, 0.0, rows, |a, b| a + b),
                    Shows::Least => fold(&mut folded, f32::INFINITY, rows, f32::min),
                    Shows::Largest => fold(&mut folded, f32::NEG_INFINITY, rows, f32::max),
                }
                let divide = if *shows == Shows::Mean { count } else { 1.0 };
                for (place, value) in block[full..].iter_mut().step_by(BLOCK).zip(&folded) {
                    *place = scale.byte(value / divide);
                }
                full += 1;
            }
            let places = plane.chunks_exact_mut(columns.len());
            for (place, unit) in places.zip(block.chunks_exact(BLOCK)) {
                let at = first - columns.start;
                place[at..at + full].copy_from_slice(&unit[..full]);
            }
        }
    }
    bytes
}

/// The columns of a heat map that are made at a time: those of a unit are a line of the cache.
const BLOCK: usize = 64;

fn head(units: usize, bins: usize, planes: usize, scale: Scale) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + planes * units * bins);
    for number in [units, bins, planes] {
        bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend(scale.low.to_le_bytes());
    bytes.extend(scale.high.to_le_bytes());
    bytes
}

fn fold<'a>(
    folded: &mut [f32],
    first: f32,
    rows: impl Iterator<Item = &'a [f32]>,
    f: impl Fn(f32, f32) -> f32,
) {
    folded.fill(first);
    for row in rows {
        for (own, value) in folded.iter_mut().zip(row) {
            *own = f(*own, *value);
        }
    }
}

/// The means of one unit over all steps, in at most `bins` stretches; what is not there yet is no
/// number.
pub(super) fn curve(values: &Steps<'_>, steps: usize, unit: usize, bins: usize) -> Vec<f32> {
    let bins = bins.min(steps);
    let there = values.len();
    let mean = |bin| {
        let stretch = stretch(bin, bins, steps);
        let count = stretch.len() as f32;
        if stretch.end > there {
            return f32::NAN;
        }
        let values = stretch.map(|step| values.row(step).get(unit).copied().unwrap_or(f32::NAN));
        values.sum::<f32>() / count
    };
    (0..bins).map(mean).collect()
}

/// A matrix `(rows, columns)` as bytes, no larger than `most`: each stands for several numbers, of
/// which it tells the one farthest from zero. As [`planes`], zero in the middle.
pub(super) fn picture(values: ArrayView2<'_, f32>, most: (usize, usize)) -> Vec<u8> {
    let (rows, columns) = values.dim();
    let (r, c) = (rows.min(most.0), columns.min(most.1));
    let finite = values.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let high = if largest > 0.0 { largest } else { 1.0 };
    let scale = Scale { low: -high, high };
    let mut bytes = head(r, c, 1, scale);
    let place: Vec<usize> = (0..columns).map(|column| column * c / columns).collect();
    let mut line = vec![0.0_f32; c];
    let mut last = 0;
    for (row, values) in values.outer_iter().enumerate() {
        let at = row * r / rows;
        if at != last {
            bytes.extend(line.iter().map(|value| scale.byte(*value)));
            line.fill(0.0);
            last = at;
        }
        for (&place, &value) in place.iter().zip(values) {
            if value.abs() > line[place].abs() || value.is_nan() {
                line[place] = value;
            }
        }
    }
    if rows > 0 {
        bytes.extend(line.iter().map(|value| scale.byte(*value)));
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
        let values = Steps::of(values.view());
        let scale = Scale::of("f", Extent::of(values.iter()));
        assert_eq!(
            scale,
            Scale {
                low: 0.0,
                high: 1.0
            }
        );
        let bytes = planes(&values, 0..2, 1000, 0..1000, scale, &Shows::ALL);
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
        let bytes = planes(&Steps::of(values.view()), 1..5, 2, 0..2, scale, &Shows::ALL);
        // -1 0 | 1 0
        assert_eq!(bytes[20..], [64, 191, 0, 127, 127, 254]);
    }

    #[test]
    fn some_columns_are_those_of_the_whole() {
        // More columns than a block has, and several steps in each; the last ones are not there.
        let values =
            Array2::from_shape_fn((300, 3), |(step, unit)| (step * (unit + 1) % 97) as f32);
        let values = Steps::of(values.view());
        let scale = Scale {
            low: 0.0,
            high: 97.0,
        };
        let make = |columns| planes(&values, 0..310, 155, columns, scale, &Shows::ALL);
        let (whole, some) = (make(0..155), make(60..153));
        assert_eq!(some[4..8], [93, 0, 0, 0]);
        let lines = |bytes: &[u8], columns: usize| {
            let lines = bytes[20..].chunks(columns);
            lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (whole, some) = (lines(&whole, 155), lines(&some, 93));
        assert_eq!(some.len(), 9);
        for (whole, some) in whole.iter().zip(&some) {
            assert_eq!(whole[60..153], some[..]);
            assert_eq!(whole[150..], [NOT_A_NUMBER; 5]);
            assert!(whole[..150].iter().all(|byte| *byte != NOT_A_NUMBER));
        }
    }

    #[test]
    fn a_scale_for_any_numbers() {
        let odd = array![[f32::INFINITY, f32::NAN], [f32::MAX, f32::MIN]];
        for name in ["f", "c", "c_tilde"] {
            let scale = Scale::of(name, Extent::of(&odd));
            assert!(scale.low < scale.high && scale.high.is_finite(), "{name}");
            assert_eq!(scale.byte(f32::MAX), 254, "{name}");
            assert_eq!(scale.byte(f32::INFINITY), 254, "{name}");
        }
        let zeros = Array2::zeros((2, 2));
        assert_eq!(Scale::of("h", Extent::of(&zeros)).byte(0.0), 127);
    }
}
