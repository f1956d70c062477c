//! The clock: samples of at least [`SAMPLE`], each the mean time of a call.

use std::time::{Duration, Instant};

use crate::{Result, Run};

/// Shorter calls are timed in batches: reading the clock costs some 25 ns.
const SAMPLE: Duration = Duration::from_micros(50);

/// The nanoseconds of a call, sampled for `seconds`.
pub fn time(run: &mut dyn Run, seconds: f64) -> Result<Vec<f64>> {
    let budget = Duration::from_secs_f64(seconds);
    let start = Instant::now();
    // Caches and clocks warm up for a tenth of the budget, and the last batch tells how many
    // calls make a sample. A call as long as the whole budget is its own sample.
    let (mut count, mut batch) = (1usize, Duration::ZERO);
    while start.elapsed() < budget / 10 || batch < SAMPLE {
        if batch < SAMPLE && !batch.is_zero() {
            count *= 2;
        }
        let begin = Instant::now();
        run.calls(count)?;
        batch = begin.elapsed().max(Duration::from_nanos(1));
    }
    let mut samples = Vec::new();
    if batch >= budget {
        samples.push(batch.as_nanos() as f64 / count as f64);
        return Ok(samples);
    }
    let start = Instant::now();
    while start.elapsed() < budget {
        let begin = Instant::now();
        run.calls(count)?;
        samples.push(begin.elapsed().as_nanos() as f64 / count as f64);
    }
    Ok(samples)
}
