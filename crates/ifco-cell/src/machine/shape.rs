//! What the machine's limits allow a recurrent layer of a given shape.
//!
//! With `g` gates, `n` features, `u` units, `b` sequences and `t` steps, a layer does
//!
//! ```text
//! input projection  x·W    2·b·t·n·g·u operations, on all steps in one product
//! recurrent product h·U    2·b·t·u·g·u operations, one step after another
//! ```
//!
//! Each product takes at least as long as its arithmetic, and at least as long as its weights
//! take to be read, whichever is more (the "roofline"). W is read once, because x is known for all
//! steps beforehand; U is read once a step, because the next h is not. With a single sequence U
//! decides; with a batch, the time for U's arithmetic grows with `b` and the time to read it does
//! not, so that from two sequences (weights in the second cache) to about ten (in main memory) on
//! the arithmetic decides, and the limit is [`Limits::fma_gflops`].
//!
//! How fast weights are read depends on how many bytes of them each thread has, which it reads again
//! and again ([`Limits::bandwidth`]).

use std::fmt;

use super::{Level, Limits};
use crate::Cell;

/// The size of a recurrent layer's work.
///
/// ```
/// use ifco_cell::machine::LayerShape;
///
/// let lstm = LayerShape { gates: 4, features: 3, units: 8, batch: 1, time: 10 };
/// assert_eq!(lstm.flops(), (2 * 10 * 4 * 8 * (3 + 8)) as f64);
/// assert_eq!(lstm.recurrent_bytes(), 4 * 8 * 8 * 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// How many matrices stand side by side in the kernel: 4 for an LSTM, 3 for a GRU, 1 for a
    /// SimpleRNN.
    pub gates: usize,
    /// Input features.
    pub features: usize,
    /// Units.
    pub units: usize,
    /// Sequences at once.
    pub batch: usize,
    /// Steps of each sequence.
    pub time: usize,
}

impl LayerShape {
    /// The work of this cell on `batch` sequences of `time` steps.
    ///
    /// ```
    /// use ifco_cell::{Activation, Cell, SimpleRnnCell, SimpleRnnWeights, machine::LayerShape};
    /// use ndarray::Array2;
    ///
    /// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
    /// let cell = Cell::from(SimpleRnnCell::new(weights, Activation::Tanh));
    /// let shape = LayerShape::of(&cell, 5, 7);
    /// assert_eq!((shape.gates, shape.features, shape.units), (1, 3, 2));
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn of(cell: &Cell, batch: usize, time: usize) -> Self {
        let gates = match cell {
            Cell::Lstm(_) => 4,
            Cell::Gru(_) => 3,
            Cell::SimpleRnn(_) => 1,
        };
        Self {
            gates,
            features: cell.features(),
            units: cell.units(),
            batch,
            time,
        }
    }

    /// Multiplications and additions of both matrix products. (What the activations do is not
    /// counted, as it is not by those who publish such figures.)
    pub fn flops(&self) -> f64 {
        self.input_flops() + self.recurrent_flops()
    }

    /// Bytes of the recurrent weights, as f32.
    pub fn recurrent_bytes(&self) -> usize {
        self.bytes(self.units)
    }

    fn input_flops(&self) -> f64 {
        2.0 * self.rows() * self.columns() * self.features as f64
    }

    fn recurrent_flops(&self) -> f64 {
        2.0 * self.rows() * self.columns() * self.units as f64
    }

    fn rows(&self) -> f64 {
        self.batch as f64 * self.time as f64
    }

    fn columns(&self) -> f64 {
        self.gates as f64 * self.units as f64
    }

    /// Of a kernel with so many rows.
    fn bytes(&self, rows: usize) -> usize {
        [self.gates, self.units, size_of::<f32>()]
            .into_iter()
            .fold(rows, usize::saturating_mul)
    }
}

/// What a layer can reach at most.
///
/// See [`Limits`] for an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerLimit {
    /// 10⁹ operations ([`LayerShape::flops`]) per second.
    pub gflops: f64,
    /// What takes most of that time.
    pub bound: Bound,
}

/// What holds a layer up.
///
/// ```
/// use ifco_cell::machine::{Bound, Level};
/// assert_eq!(Bound::Arithmetic.to_string(), "the arithmetic is the limit");
/// assert_eq!(
///     Bound::Weights(Level::L2).to_string(),
///     "the weights come from the L2 cache each step",
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The multiply-adds.
    Arithmetic,
    /// Reading the recurrent weights each step, from where they lie.
    Weights(Level),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Arithmetic => f.write_str("the arithmetic is the limit"),
            Bound::Weights(Level::Memory) => {
                f.write_str("the weights come from main memory each step")
            }
            Bound::Weights(level) => write!(f, "the weights come from the {level} cache each step"),
        }
    }
}

impl Limits {
    /// What a layer of this shape can reach at most on [`Limits::threads`] threads.
    ///
    /// Each thread keeps its own part of the weights in its own caches, and reads it at the
    /// bandwidth for so many bytes. This is the limit of an engine that reads its weights in the same
    /// order each step: one that turns around at every second step finds some of them in a nearer
    /// cache, and can exceed it where they are little more than that cache holds.
    ///
    /// ```
    /// use ifco_cell::machine::{Bandwidth, Bound, CacheShare, LayerShape, Level, Limits, Reading};
    ///
    /// let reading = |bytes_per_thread, gbs| Reading { bytes_per_thread, gbs };
    /// let limits = Limits {
    ///     isa: "avx2".into(),
    ///     threads: 1,
    ///     fma_gflops: 60.0,
    ///     caches: vec![CacheShare { level: Level::L1, bytes_per_thread: 32 << 10 }],
    ///     bandwidth: Bandwidth::new([reading(32 << 10, 100.0), reading(1 << 20, 10.0)]),
    /// };
    ///
    /// // Half of the operations read their weights from memory, 4 bytes for 2 operations at 10 GB/s,
    /// // which makes 5 GFLOP/s; the others, on all steps at once, run at 60.
    /// let lstm = LayerShape { gates: 4, features: 256, units: 256, batch: 1, time: 1000 };
    /// let limit = limits.layer(&lstm);
    /// assert!((limit.gflops - 2.0 / (1.0 / 60.0 + 1.0 / 5.0)).abs() < 0.1);
    /// assert_eq!(limit.bound, Bound::Weights(Level::Memory));
    /// // For 32 sequences at once, each weight that is read serves all of them.
    /// assert_eq!(limits.layer(&LayerShape { batch: 32, ..lstm }).gflops, 60.0);
    /// ```
    pub fn layer(&self, shape: &LayerShape) -> LayerLimit {
        let giga = 1e9;
        let arithmetic = |flops: f64| flops / (self.fma_gflops * giga);
        let per_thread = |bytes: usize| bytes.div_ceil(self.threads.max(1));
        // The time to read `bytes`, where `all` is what is read in turn.
        let reading =
            |bytes: usize, all: usize| bytes as f64 / (self.bandwidth.gbs(per_thread(all)) * giga);
        let recurrent = shape.bytes(shape.units);
        let input = shape.bytes(shape.features);

        let recurrent_reading = shape.time as f64 * reading(recurrent, recurrent);
        let recurrent_arithmetic = arithmetic(shape.recurrent_flops());
        // Between two predictions, W has to make room for U.
        let input_reading = reading(input, input.saturating_add(recurrent));
        let input_arithmetic = arithmetic(shape.input_flops());

        let input_seconds = input_reading.max(input_arithmetic);
        let seconds = recurrent_reading.max(recurrent_arithmetic) + input_seconds;
        let bound = if recurrent_reading > recurrent_arithmetic {
            Bound::Weights(self.level(per_thread(recurrent)))
        } else {
            Bound::Arithmetic
        };
        // No work at all takes no time: then nothing is slower than arithmetic.
        let gflops = match seconds > 0.0 {
            true => shape.flops() / seconds / giga,
            false => self.fma_gflops,
        };
        LayerLimit { gflops, bound }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bandwidth, CacheShare, Reading};
    use super::*;

    /// One core of a Zen 4, and two of them.
    fn limits(threads: usize) -> Limits {
        let share = |level, bytes_per_thread| CacheShare {
            level,
            bytes_per_thread,
        };
        let l3 = (32 << 20) / threads;
        let reading = |bytes_per_thread, gbs: f64| Reading {
            bytes_per_thread,
            gbs: gbs * threads as f64,
        };
        Limits {
            isa: "avx512".into(),
            threads,
            fma_gflops: 118.0 * threads as f64,
            caches: vec![
                share(Level::L1, 32 << 10),
                share(Level::L2, 1 << 20),
                share(Level::L3, l3),
            ],
            bandwidth: Bandwidth::new([
                reading(32 << 10, 208.0),
                reading(64 << 10, 116.0),
                reading(512 << 10, 116.0),
                reading(1 << 20, 104.0),
                reading(2 << 20, 100.0),
                reading(l3 / 4, 100.0),
                reading(l3 / 2, 80.0),
                reading(l3, 52.0),
                reading(4 * l3, 26.0),
            ]),
        }
    }

    fn lstm(batch: usize, time: usize, features: usize, units: usize) -> LayerShape {
        LayerShape {
            gates: 4,
            features,
            units,
            batch,
            time,
        }
    }

    #[test]
    fn weights_come_from_the_nearest_level_that_holds_them() {
        let bound = |threads, units| limits(threads).layer(&lstm(1, 100, 32, units)).bound;
        assert_eq!(bound(1, 32), Bound::Weights(Level::L1));
        assert_eq!(bound(1, 64), Bound::Weights(Level::L2)); // 64 KiB
        assert_eq!(bound(2, 64), Bound::Weights(Level::L1)); // each thread half of them
        assert_eq!(bound(1, 512), Bound::Weights(Level::L3));
        assert_eq!(bound(1, 2048), Bound::Weights(Level::Memory));
    }

    #[test]
    fn one_sequence_is_bound_by_its_weights_and_a_batch_by_arithmetic() {
        // No features to speak of: U alone, 2 operations for 4 bytes.
        let one = limits(1).layer(&lstm(1, 1000, 1, 256));
        assert!((one.gflops / 52.0 - 1.0).abs() < 0.01, "{one:?}");
        // As many features as units: half of the work at the peak.
        let half = limits(1).layer(&lstm(1, 1000, 256, 256));
        let expected = 2.0 / (1.0 / 52.0 + 1.0 / 118.0);
        assert!((half.gflops / expected - 1.0).abs() < 0.01, "{half:?}");
        let mut before = 0.0;
        for batch in [1, 2, 3, 4, 8, 16, 32] {
            let limit = limits(1).layer(&lstm(batch, 100, 128, 128));
            assert!(limit.gflops >= before - 1e-6 && limit.gflops <= 118.0 + 1e-6);
            assert_eq!(limit.bound == Bound::Arithmetic, batch >= 3, "{batch}");
            before = limit.gflops;
        }
        assert!((before - 118.0).abs() < 1e-6);
    }

    #[test]
    fn the_bandwidth_is_that_of_the_size() {
        // U alone, of so many bytes for each thread: 2 operations for 4 bytes.
        let u_alone = |threads, units| {
            let limit = limits(threads).layer(&lstm(1, 1000, 0, units));
            limit.gflops / threads as f64
        };
        for (threads, units, gbs) in [
            (1, 8, 208.0),   // 1 KiB
            (1, 128, 116.0), // 256 KiB
            (1, 256, 104.0), // 1 MiB
            (1, 1024, 80.0), // 16 MiB
            (1, 1448, 52.0), // 32 MiB
            (1, 8192, 26.0), // 1 GiB
            (2, 362, 104.0), // 1 MiB each
            (2, 1024, 80.0), // 8 MiB each, of 16
        ] {
            let gflops = u_alone(threads, units);
            assert!(
                (gflops / (gbs / 2.0) - 1.0).abs() < 0.01,
                "{threads} {units}: {gflops}"
            );
        }
        // Both in the third cache, but the one takes up more of it.
        let far = |units| limits(1).layer(&lstm(1, 1000, 0, units));
        assert_eq!(far(600).bound, far(1200).bound);
        assert!(far(600).gflops > 1.3 * far(1200).gflops);
    }

    #[test]
    fn a_single_step_reads_both_kernels() {
        let step = limits(1).layer(&lstm(1, 1, 256, 256));
        let expected = 2.0 / (1.0 / 52.0 + 1.0 / 50.0); // W and U together are 2 MiB
        assert!((step.gflops / expected - 1.0).abs() < 0.01, "{step:?}");
    }

    #[test]
    fn nothing_to_do_and_nothing_known_are_no_division_by_zero() {
        for shape in [lstm(0, 0, 0, 0), lstm(1, 0, 3, 3), lstm(0, 10, 3, 3)] {
            assert!(limits(1).layer(&shape).gflops.is_finite(), "{shape:?}");
        }
        let mut unknown = limits(1);
        unknown.bandwidth = Bandwidth::default();
        let gflops = unknown.layer(&lstm(1, 9, 3, 3)).gflops;
        assert!((gflops - 118.0).abs() < 1e-6, "{gflops}");
        let huge = lstm(1, usize::MAX, usize::MAX, usize::MAX);
        assert!(!limits(1).layer(&huge).gflops.is_nan());
    }
}
