//! What this machine can do at most, and what that allows a recurrent layer.
//!
//! A recurrent layer spends its time on matrix products. With many sequences at once each weight
//! that is read serves all of them, and the multiply-adds are the limit. With a single sequence
//! each step reads all of the recurrent weights for one multiply-add each, and the limit is how
//! fast so many bytes can be read again and again: that depends on which cache holds them, and on
//! how much of it they take up. Both are measured here ([`Limits::measure`]), so that a layer's
//! speed can be told as a share of what is possible ([`Limits::layer`]).
//!
//! ```no_run
//! use ifco_cell::machine::{LayerShape, Limits};
//!
//! let limits = Limits::measure(1); // one thread; takes two or three seconds
//! let lstm = LayerShape { gates: 4, features: 128, units: 256, batch: 1, time: 100 };
//! let limit = limits.layer(&lstm);
//! println!("at most {:.0} GFLOP/s: {}", limit.gflops, limit.bound);
//! ```

mod bandwidth;
mod caches;
mod kernels;
mod shape;
mod timing;

use std::fmt;
use std::thread::available_parallelism;

use crate::engine::simd::Isa;
use kernels::{Multiply, Stream};
use timing::Rate;

pub use bandwidth::{Bandwidth, Reading};
pub use shape::{Bound, LayerLimit, LayerShape};

/// Where data can lie, the nearest first.
///
/// ```
/// use ifco_cell::machine::Level;
/// assert!(Level::L1 < Level::Memory);
/// assert_eq!(Level::L2.to_string(), "L2");
/// assert_eq!(Level::Memory.to_string(), "memory");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The cache next to the core.
    L1,
    /// The second cache.
    L2,
    /// The third cache, which cores often share.
    L3,
    /// Main memory.
    Memory,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Memory => "memory",
        })
    }
}

/// What a thread has of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShare {
    /// Which cache.
    pub level: Level,
    /// How much of it each thread has to itself, in bytes.
    pub bytes_per_thread: usize,
}

/// What a machine can do at most.
///
/// The fields are public, so that limits measured elsewhere can be used:
///
/// ```
/// use ifco_cell::machine::{Bandwidth, Bound, CacheShare, LayerShape, Level, Limits, Reading};
///
/// let share = |level, bytes_per_thread| CacheShare { level, bytes_per_thread };
/// let reading = |kib: usize, gbs| Reading { bytes_per_thread: kib << 10, gbs };
/// let limits = Limits {
///     isa: "avx512".into(),
///     threads: 1,
///     fma_gflops: 118.0,
///     caches: vec![share(Level::L1, 32 << 10), share(Level::L2, 1 << 20)],
///     bandwidth: Bandwidth::new([
///         reading(32, 210.0),
///         reading(64, 118.0),
///         reading(512, 118.0),
///         reading(1024, 100.0),
///         reading(65536, 26.0),
///     ]),
/// };
/// assert_eq!(limits.level(40 << 10), Level::L2);
/// assert_eq!(limits.level_gbs(Level::Memory), Some(26.0));
/// assert_eq!(limits.level_gbs(Level::L3), None);
///
/// // 4·128·128 recurrent weights are 256 KiB: the second cache holds them.
/// let one = LayerShape { gates: 4, features: 128, units: 128, batch: 1, time: 100 };
/// assert_eq!(limits.layer(&one).bound, Bound::Weights(Level::L2));
/// let many = LayerShape { batch: 32, ..one };
/// assert_eq!(limits.layer(&many).bound, Bound::Arithmetic);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The instruction set that was measured with: `avx512`, `avx2`, `neon` or `portable`.
    pub isa: String,
    /// How many threads ran at once.
    pub threads: usize,
    /// Multiply-adds on numbers that are in registers, all threads together, each counted as two
    /// operations: 10⁹ of them per second.
    pub fma_gflops: f64,
    /// The caches, the nearest first. One that the machine does not have, or of which a thread's
    /// share holds no more than the one before it, is left out.
    pub caches: Vec<CacheShare>,
    /// How fast data is read, by its size: from what the nearest cache holds to what only main
    /// memory holds.
    pub bandwidth: Bandwidth,
}

/// Everything is measured several times, with everything else in between: what else runs on the
/// machine then seldom hits all measurements of one thing.
const PASSES: usize = 3;

impl Limits {
    /// Measures with so many threads at once, but with no fewer than one and no more than the
    /// machine runs in parallel; [`Limits::threads`] says how many they were. Takes two or three
    /// seconds.
    ///
    /// Each thread reads data of its own, as the threads of a layer read different weights, in
    /// memory such as the engine keeps weights in. What is read goes through multiply-adds as in a
    /// matrix × vector product. Of many samples the best counts: whatever else runs on the machine
    /// only ever slows it down.
    pub fn measure(threads: usize) -> Self {
        let cpus = available_parallelism().map_or(1, usize::from);
        let asked_for = threads.clamp(1, cpus);
        // There always is one: the portable code needs nothing of the CPU.
        let isa = Isa::all()[0];
        let caches = caches::of_this_machine(asked_for, cpus);
        let sizes = caches::sizes(&caches, asked_for);

        let (mut threads, mut fma_gflops) = (asked_for, 0.0_f64);
        let mut readings = Vec::new();
        let mut giga_per_second = |rate: Rate| {
            threads = threads.min(rate.threads);
            rate.per_second / 1e9
        };
        for _ in 0..PASSES {
            let rate = timing::best_rate(asked_for, || Multiply::new(isa));
            fma_gflops = fma_gflops.max(giga_per_second(rate));
            for &bytes_per_thread in &sizes {
                let stream = || Stream::new(isa, bytes_per_thread);
                readings.push(Reading {
                    bytes_per_thread,
                    gbs: giga_per_second(timing::best_rate(asked_for, stream)),
                });
            }
        }
        Self {
            isa: isa.name().to_string(),
            threads,
            fma_gflops,
            caches,
            bandwidth: Bandwidth::new(readings),
        }
    }

    /// Where so many bytes lie that a thread reads again and again: in the nearest cache that holds
    /// them, or in main memory.
    pub fn level(&self, bytes_per_thread: usize) -> Level {
        let holds = |cache: &&CacheShare| bytes_per_thread <= cache.bytes_per_thread;
        let nearest = self.caches.iter().find(holds);
        nearest.map_or(Level::Memory, |cache| cache.level)
    }

    /// What all threads together read from this level, in 10⁹ bytes per second; `None` where the
    /// machine has no such level.
    ///
    /// One figure to tell a level by, for what fills a fair part of it and nothing nearer: halfway,
    /// in doublings, from what the cache before holds (before the first, from half of it) to what
    /// it holds itself, and of main memory the largest size.
    /// [`Limits::bandwidth`] knows the other sizes.
    pub fn level_gbs(&self, level: Level) -> Option<f64> {
        if level == Level::Memory {
            return Some(self.bandwidth.gbs(usize::MAX));
        }
        let index = self.caches.iter().position(|cache| cache.level == level)?;
        let bytes = self.caches[index].bytes_per_thread;
        let before = match index.checked_sub(1) {
            Some(before) => self.caches[before].bytes_per_thread,
            None => bytes / 2,
        };
        let middle = (before as f64 * bytes as f64).sqrt();
        Some(self.bandwidth.gbs(middle as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No claim about speed: only that what is measured is a number, and that all is there.
    #[test]
    fn measures_all_that_there_is() {
        let limits = Limits::measure(usize::MAX);
        assert!(limits.threads >= 1);
        assert!(limits.fma_gflops.is_finite() && limits.fma_gflops > 0.0);
        let nearest = limits.caches.first().expect("every machine has a cache");
        let farthest = limits.caches.last().expect("as above");
        assert_eq!(nearest.level, Level::L1);
        assert!(limits.caches.is_sorted_by(|near, far| {
            near.level < far.level && near.bytes_per_thread < far.bytes_per_thread
        }));
        let sizes = limits.bandwidth.readings().iter();
        let sizes: Vec<usize> = sizes.map(|reading| reading.bytes_per_thread).collect();
        assert!(sizes[0] < nearest.bytes_per_thread, "{sizes:?}");
        assert!(
            *sizes.last().unwrap() > farthest.bytes_per_thread,
            "{sizes:?}"
        );
        assert_eq!(Limits::measure(0).threads, 1);
    }

    /// Numbers as on one core of a Zen 4.
    fn limits() -> Limits {
        let share = |level, kib: usize| CacheShare {
            level,
            bytes_per_thread: kib << 10,
        };
        let reading = |kib: usize, gbs| Reading {
            bytes_per_thread: kib << 10,
            gbs,
        };
        Limits {
            isa: "avx512".into(),
            threads: 1,
            fma_gflops: 118.0,
            caches: vec![share(Level::L1, 32), share(Level::L2, 1024)],
            bandwidth: Bandwidth::new([
                reading(16, 210.0),
                reading(32, 206.0),
                reading(128, 120.0),
                reading(256, 116.0),
                reading(4096, 30.0),
                reading(16384, 20.0),
            ]),
        }
    }

    #[test]
    fn the_nearest_level_that_holds_it() {
        for (bytes, level) in [
            (0, Level::L1),
            (32 << 10, Level::L1),
            ((32 << 10) + 1, Level::L2),
            (1 << 20, Level::L2),
            ((1 << 20) + 1, Level::Memory),
            (usize::MAX, Level::Memory),
        ] {
            assert_eq!(limits().level(bytes), level, "{bytes}");
        }
        let caches = Vec::new();
        assert_eq!(Limits { caches, ..limits() }.level(1), Level::Memory);
    }

    #[test]
    fn one_figure_for_each_level() {
        let about = |level, expected: f64| {
            let gbs = limits().level_gbs(level).unwrap();
            assert!((gbs - expected).abs() < 0.01, "{level}: {gbs}");
        };
        about(Level::L1, 208.0); // between 16 and 32 KiB
        about(Level::L2, 118.0); // 181 KiB, between 128 and 256
        about(Level::Memory, 20.0);
        assert_eq!(limits().level_gbs(Level::L3), None);
    }
}
