//! What the gradients through time say in a few numbers: how fast they vanish, or grow.
//!
//! ```text
//! norm       ‖∂L/∂s_t‖ over the units, by how many counted steps t lies before the last
//! half-life  −ln 2 / slope, of the lines through ln|∂L/∂s_t| by that distance (least squares): of
//!            each sequence its own line, all with the same slope
//! ```

use super::{GradientTrace, keeping};
use crate::CellKind;

/// The gradients of a cell's states in a few numbers; masked steps are left out.
///
/// See [`GradientTrace`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowDigest {
    /// The kind of cell.
    pub kind: CellKind,
    /// Number of sequences.
    pub sequences: usize,
    /// Steps that counted, of all sequences together.
    pub counted: usize,
    /// Steps that were masked.
    pub masked: usize,
    /// Of each array of [`GradientTrace::names`], in their order.
    pub flows: Vec<Flow>,
}

/// How one array goes on the way back.
///
/// See [`GradientTrace`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Its name: `dc`.
    pub name: &'static str,
    /// By how many counted steps back from the last one: of a gradient the norm over the units, of
    /// a product of gates the mean. Of several sequences the mean over those that are so long.
    pub by_distance: Vec<f64>,
    /// The same at the first step of each sequence.
    pub first: f64,
    /// For each unit, after how many steps back half of it is left: by the line through the
    /// logarithms of its sizes. Negative where it grows, and doubles in so many; infinite where it
    /// stays; NaN where it is 0 throughout, or there are less than two steps.
    pub half_lives: Vec<f64>,
}

impl FlowDigest {
    /// The array of this name.
    pub fn flow(&self, name: &str) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.name == name)
    }

    /// How long the gates alone would keep a state: the product of the forget gates or, of a GRU,
    /// of the update gates. `None` of a SimpleRNN.
    pub fn carousel(&self) -> Option<&Flow> {
        keeping(self.kind).and(self.flows.last())
    }
}

impl Flow {
    /// At the last step that counts; NaN where none does.
    pub fn last(&self) -> f64 {
        self.by_distance.first().copied().unwrap_or(f64::NAN)
    }

    /// The first step's size to the last one's.
    pub fn ratio(&self) -> f64 {
        self.first / self.last()
    }

    /// From how many steps back on it is less than this share of its largest; `None` where it is
    /// not at the first step.
    pub fn vanishes(&self, share: f64) -> Option<usize> {
        let limit = share * self.largest().1;
        let above = self.by_distance.iter().rposition(|size| *size >= limit);
        let from = above.map_or(0, |above| above + 1);
        (from < self.by_distance.len()).then_some(from)
    }

    /// The distance back at which it is largest, and how large.
    pub fn largest(&self) -> (usize, f64) {
        let sizes = self.by_distance.iter().copied().enumerate();
        sizes.fold(
            (0, 0.0),
            |most, own| if own.1 > most.1 { own } else { most },
        )
    }

    /// The half-life that half of the units reach; a unit that grows outlives every other. NaN
    /// where no unit has one.
    pub fn median_half_life(&self) -> f64 {
        let sorted = self.longest();
        sorted.get(sorted.len() / 2).map_or(f64::NAN, |own| own.1)
    }

    /// The units that have a half-life, the longest first: those that grow, the fastest of them
    /// first, before those that shrink.
    pub fn longest(&self) -> Vec<(usize, f64)> {
        let units = self.half_lives.iter().copied().enumerate();
        let mut units: Vec<_> = units.filter(|(_, steps)| !steps.is_nan()).collect();
        // By the slope.
        units.sort_by(|one, other| (1.0 / one.1).total_cmp(&(1.0 / other.1)));
        units
    }
}

/// A [`FlowDigest`] of traces that come batch after batch.
///
/// See [`GradientTrace`] for a digest.
#[derive(Debug, Clone)]
pub struct FlowDigestBuilder {
    kind: CellKind,
    sequences: usize,
    counted: usize,
    masked: usize,
    sums: Vec<Sums>,
}

/// Of one array, so far.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// By the distance from the last step: the sum of the sizes, and of how many sequences.
    sizes: Vec<(f64, usize)>,
    first: (f64, usize),
    units: Vec<Line>,
}

/// Lines of one slope, by least squares.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// Sums of squares and products around the middle of each line.
    xx: f64,
    xy: f64,
}

impl Line {
    /// Adds the places `(distance, ln size)` of one line.
    fn add(&mut self, places: impl Iterator<Item = (f64, f64)> + Clone) {
        let sum =
            |sum: (f64, f64, f64), own: (f64, f64)| (sum.0 + own.0, sum.1 + own.1, sum.2 + 1.0);
        let (x, y, count) = places.clone().fold((0.0, 0.0, 0.0), sum);
        let (x, y) = (x / count, y / count);
        for (own_x, own_y) in places {
            self.xx += (own_x - x).powi(2);
            self.xy += (own_x - x) * (own_y - y);
        }
    }

    /// NaN where no line has two places.
    fn slope(&self) -> f64 {
        self.xy / self.xx
    }
}

impl FlowDigestBuilder {
    /// Nothing yet of a cell of this kind.
    pub fn new(kind: CellKind) -> Self {
        Self {
            kind,
            sequences: 0,
            counted: 0,
            masked: 0,
            sums: vec![Sums::default(); GradientTrace::names(kind).len()],
        }
    }

    /// Adds a batch of a cell of the same kind.
    pub fn add(&mut self, gradient: &GradientTrace) {
        let trace = &gradient.trace;
        self.sequences += trace.batch();
        let arrays = gradient.arrays();
        for row in 0..trace.batch() {
            let read = (0..trace.time()).rev().map(|place| trace.read(place));
            let steps: Vec<usize> = read.filter(|t| trace.counts(row, *t)).collect();
            self.counted += steps.len();
            self.masked += trace.time() - steps.len();
            for ((name, array), sums) in arrays.iter().zip(&mut self.sums) {
                let array = array.index_axis(ndarray::Axis(0), row);
                let is_mean = !name.starts_with('d');
                sums.units.resize(array.ncols(), Line::default());
                if sums.sizes.len() < steps.len() {
                    sums.sizes.resize(steps.len(), (0.0, 0));
                }
                for (distance, t) in steps.iter().enumerate() {
                    let values = array.row(*t);
                    let size = match is_mean {
                        true => {
                            let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
                            sum / values.len() as f64
                        }
                        false => {
                            let squares = values.iter().map(|value| f64::from(*value).powi(2));
                            squares.sum::<f64>().sqrt()
                        }
                    };
                    let of_distance = &mut sums.sizes[distance];
                    *of_distance = (of_distance.0 + size, of_distance.1 + 1);
                    if distance + 1 == steps.len() {
                        sums.first = (sums.first.0 + size, sums.first.1 + 1);
                    }
                }
                for (unit, line) in sums.units.iter_mut().enumerate() {
                    let sizes = steps
                        .iter()
                        .enumerate()
                        .map(|(distance, t)| (distance as f64, f64::from(array[[*t, unit]].abs())));
                    let sizes = sizes.filter(|(_, size)| *size > 0.0 && size.is_finite());
                    line.add(sizes.map(|(distance, size)| (distance, size.ln())));
                }
            }
        }
    }

    /// What all batches say together.
    pub fn finish(self) -> FlowDigest {
        let mean = |(sum, count): (f64, usize)| sum / count as f64;
        let names = GradientTrace::names(self.kind).iter().copied();
        let flows = names.zip(self.sums).map(|(name, sums)| Flow {
            name,
            by_distance: sums.sizes.into_iter().map(mean).collect(),
            first: mean(sums.first),
            half_lives: sums
                .units
                .iter()
                .map(|line| match line.slope() {
                    0.0 => f64::INFINITY,
                    slope => -std::f64::consts::LN_2 / slope,
                })
                .collect(),
        });
        FlowDigest {
            kind: self.kind,
            sequences: self.sequences,
            counted: self.counted,
            masked: self.masked,
            flows: flows.collect(),
        }
    }
}
