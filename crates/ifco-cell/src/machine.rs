//! What this machine can do at most, and what that allows a recurrent layer.
//!
//! A recurrent layer spends its time on matrix products. With many sequences at once each weight
//! that is read serves all of them, and the multiply-adds are the limit. With a single sequence
//! each step reads all of the recurrent weights for one multiply-add each, and the limit is how
//! fast the level of the memory that holds them hands them out. Both are measured here
//! ([`Limits::measure`]), so that a layer's speed can be told as a share of what is possible
//! ([`Limits::layer`]).
//!
//! ```no_run
//! use ifco_cell::machine::{LayerShape, Limits};
//!
//! let limits = Limits::measure(1); // one thread; takes about a second
//! let lstm = LayerShape { gates: 4, features: 128, units: 256, batch: 1, time: 100 };
//! let limit = limits.layer(&lstm);
//! println!("at most {:.0} GFLOP/s: {}", limit.gflops, limit.bound);
//! ```

mod caches;
mod kernels;
mod shape;
mod timing;

use std::fmt;
use std::thread::available_parallelism;

use crate::engine::simd::Isa;
use caches::Shares;
use kernels::{Multiply, Stream};
use timing::Rate;

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

/// What one level of the memory holds and hands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelLimit {
    /// Which one.
    pub level: Level,
    /// How much of it each thread has to itself, in bytes; `usize::MAX` of the main memory.
    pub bytes_per_thread: usize,
    /// What all threads together read from it, in 10⁹ bytes per second.
    pub bandwidth_gbs: f64,
}

/// What a machine can do at most.
///
/// The fields are public, so that limits measured elsewhere can be used:
///
/// ```
/// use ifco_cell::machine::{Bound, LayerShape, Level, LevelLimit, Limits};
///
/// let level = |level, bytes_per_thread, bandwidth_gbs| LevelLimit {
///     level,
///     bytes_per_thread,
///     bandwidth_gbs,
/// };
/// let limits = Limits {
///     isa: "avx512".into(),
///     threads: 1,
///     fma_gflops: 114.0,
///     levels: vec![
///         level(Level::L1, 32 << 10, 196.0),
///         level(Level::L2, 1 << 20, 104.0),
///         level(Level::L3, 32 << 20, 88.0),
///         level(Level::Memory, usize::MAX, 26.0),
///     ],
/// };
/// assert_eq!(limits.bandwidth_gbs(Level::L2), Some(104.0));
///
/// // 4·128·128 recurrent weights are 256 KiB: level 2 holds them.
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
    /// The levels of the memory, the nearest first; main memory is always the last one. A cache
    /// that the machine does not have, or of which a thread's share holds no more than the level
    /// before it, is left out.
    pub levels: Vec<LevelLimit>,
}

/// So much more than the caches that they hold nothing of what is read next, within reason: the
/// bounds keep the measurement short and small on any machine.
const MEMORY_TO_CACHES: usize = 4;
const MEMORY_BYTES: std::ops::RangeInclusive<usize> = (64 << 20)..=(1 << 30);

/// Everything is measured several times, with everything else in between: what else runs on the
/// machine then seldom hits all measurements of one thing.
const PASSES: usize = 3;

impl Limits {
    /// Measures with so many threads at once, but with no fewer than one and no more than the
    /// machine runs in parallel; [`Limits::threads`] says how many they were. Takes about a second.
    ///
    /// Each thread reads data of its own, as the threads of a layer read different weights. What is
    /// read goes through multiply-adds as in a matrix × vector product. Of several medians the
    /// best counts: whatever else runs on the machine only ever slows it down.
    pub fn measure(threads: usize) -> Self {
        let cpus = available_parallelism().map_or(1, usize::from);
        let threads = threads.clamp(1, cpus);
        // There always is one: the portable code needs nothing of the CPU.
        let isa = Isa::all()[0];
        let shares = Shares::of_this_machine(threads, cpus);

        let mut levels: Vec<(Level, usize, usize)> = shares.caches().collect();
        let all_threads = shares
            .of_all_threads(threads)
            .saturating_mul(MEMORY_TO_CACHES);
        let memory = all_threads.clamp(*MEMORY_BYTES.start(), *MEMORY_BYTES.end());
        levels.push((Level::Memory, usize::MAX, memory / threads));

        let mut limits = Self {
            isa: isa.name().to_string(),
            threads,
            fma_gflops: 0.0,
            levels: Vec::new(),
        };
        for &(level, bytes_per_thread, _) in &levels {
            limits.levels.push(LevelLimit {
                level,
                bytes_per_thread,
                bandwidth_gbs: 0.0,
            });
        }
        let mut keep_best = |best: &mut f64, rate: Rate| {
            *best = best.max(rate.per_second / 1e9);
            limits.threads = limits.threads.min(rate.threads);
        };
        for _ in 0..PASSES {
            let rate = timing::best_rate(threads, || Multiply::new(isa));
            keep_best(&mut limits.fma_gflops, rate);
            for (limit, &(level, _, bytes)) in limits.levels.iter_mut().zip(&levels) {
                let from_memory = level == Level::Memory;
                let rate = timing::best_rate(threads, || Stream::new(isa, bytes, from_memory));
                keep_best(&mut limit.bandwidth_gbs, rate);
            }
        }
        limits
    }

    /// What all threads together read from this level, in 10⁹ bytes per second; `None` where the
    /// machine has no such level.
    pub fn bandwidth_gbs(&self, level: Level) -> Option<f64> {
        let found = self.levels.iter().find(|limit| limit.level == level);
        found.map(|limit| limit.bandwidth_gbs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No claim about speed: only that what is measured is a number, and that all is there.
    #[test]
    fn measures_every_level() {
        let limits = Limits::measure(usize::MAX);
        assert!(limits.threads >= 1);
        assert!(limits.fma_gflops.is_finite() && limits.fma_gflops > 0.0);
        let levels: Vec<Level> = limits.levels.iter().map(|limit| limit.level).collect();
        assert!(levels.is_sorted(), "{levels:?}");
        assert_eq!(levels.first(), Some(&Level::L1));
        assert_eq!(levels.last(), Some(&Level::Memory));
        assert!(
            limits
                .levels
                .iter()
                .all(|limit| limit.bandwidth_gbs.is_finite() && limit.bandwidth_gbs > 0.0)
        );
        assert!(
            limits
                .levels
                .is_sorted_by_key(|limit| limit.bytes_per_thread)
        );
        assert_eq!(Limits::measure(0).threads, 1);
    }
}
