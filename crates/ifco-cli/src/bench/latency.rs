//! How long a prediction takes, in percentiles.

use std::time::{Duration, Instant};

use ifco::Model;
use ndarray::ArrayD;

use super::is_over;
use super::stop::Stop;
use crate::failure::Failure;

/// Seconds that predictions took. A percentile is one of them: the fastest that at least so many
/// of a hundred do not exceed.
#[derive(Debug, PartialEq)]
pub struct Latency {
    pub predictions: usize,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Caches, branches and the CPU's clock need no longer to settle.
const WARM_UP: Duration = Duration::from_millis(300);

/// Predicts until the time is over, but at least once, after a while to warm up.
pub fn measure(
    model: &Model,
    arrays: &[ArrayD<f32>],
    batch: usize,
    time: Duration,
    stop: &Stop,
) -> Result<Latency, Failure> {
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    let predict = || -> Result<f64, Failure> {
        let start = Instant::now();
        let outputs = model.predict_all(&views, batch, &mut |_| {})?;
        let taken = start.elapsed();
        std::hint::black_box(outputs);
        Ok(taken.as_secs_f64())
    };
    let start = Instant::now();
    let mut count = 0;
    while !is_over(start, WARM_UP.min(time / 5), count, stop) {
        predict()?;
        count += 1;
    }
    let start = Instant::now();
    let mut seconds = Vec::new();
    while !is_over(start, time, seconds.len(), stop) {
        seconds.push(predict()?);
    }
    Ok(Latency::of(seconds))
}

impl Latency {
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_unstable_by(f64::total_cmp);
        let percentile = |percent| percentile(&seconds, percent);
        Self {
            predictions: seconds.len(),
            min: percentile(0),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: percentile(100),
        }
    }
}

/// Of values in ascending order; 0 of none.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let found = [0, 50, 90, 99, 100].map(|percent| percentile(&values, percent));
        assert_eq!(found, [1.0, 100.0, 180.0, 198.0, 200.0]);
        let one = Latency::of(vec![3.0]);
        assert_eq!(
            (one.predictions, one.min, one.p50, one.max),
            (1, 3.0, 3.0, 3.0)
        );
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
