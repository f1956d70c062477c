//! How fast data is read, by how much of it there is.

/// How fast so much data is read from its beginning to its end, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What each thread reads, each its own, in bytes.
    pub bytes_per_thread: usize,
    /// What all threads together read, in 10⁹ bytes per second.
    pub gbs: f64,
}

/// How fast data is read, whatever its size: a curve through readings of some sizes.
///
/// Between two of them the bandwidth is a straight line over the logarithm of the size; below the
/// smallest and beyond the largest it is theirs.
///
/// ```
/// use ifco_cell::machine::{Bandwidth, Reading};
///
/// let reading = |kib: usize, gbs| Reading { bytes_per_thread: kib << 10, gbs };
/// let bandwidth = Bandwidth::new([reading(16, 200.0), reading(64, 100.0)]);
/// assert_eq!(bandwidth.gbs(1), 200.0);
/// assert!((bandwidth.gbs(32 << 10) - 150.0).abs() < 1e-9); // halfway, in doublings
/// assert_eq!(bandwidth.gbs(1 << 30), 100.0);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bandwidth {
    /// Of ascending sizes, each once; all sizes and bandwidths are positive and finite.
    readings: Vec<Reading>,
}

impl Bandwidth {
    /// A curve through these readings, in any order. Of several of one size the fastest counts, as
    /// whatever else runs on a machine only slows it down; what is no positive number does not.
    ///
    /// ```
    /// use ifco_cell::machine::{Bandwidth, Reading};
    ///
    /// let reading = |bytes_per_thread, gbs| Reading { bytes_per_thread, gbs };
    /// let bandwidth = Bandwidth::new([
    ///     reading(4096, 50.0),
    ///     reading(1024, 99.0),
    ///     reading(1024, 100.0),
    ///     reading(2048, f64::NAN),
    /// ]);
    /// assert_eq!(bandwidth.readings(), [reading(1024, 100.0), reading(4096, 50.0)]);
    /// ```
    pub fn new(readings: impl IntoIterator<Item = Reading>) -> Self {
        let is_known = |reading: &Reading| {
            reading.bytes_per_thread > 0 && reading.gbs > 0.0 && reading.gbs.is_finite()
        };
        let mut readings: Vec<Reading> = readings.into_iter().filter(is_known).collect();
        readings.sort_unstable_by(|one, other| {
            let sizes = one.bytes_per_thread.cmp(&other.bytes_per_thread);
            sizes.then(other.gbs.total_cmp(&one.gbs))
        });
        readings.dedup_by_key(|reading| reading.bytes_per_thread);
        Self { readings }
    }

    /// What the curve goes through, the smallest size first.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// What all threads together read, in 10⁹ bytes per second, where each reads so many bytes of
    /// its own again and again; infinitely much where nothing is known of reading.
    pub fn gbs(&self, bytes_per_thread: usize) -> f64 {
        let (smaller, larger) = self.readings.split_at(
            self.readings
                .partition_point(|reading| reading.bytes_per_thread <= bytes_per_thread),
        );
        match (smaller.last(), larger.first()) {
            (Some(from), Some(to)) => {
                let doublings = |from: usize, to: usize| (to as f64 / from as f64).log2();
                let part = doublings(from.bytes_per_thread, bytes_per_thread)
                    / doublings(from.bytes_per_thread, to.bytes_per_thread);
                from.gbs + part * (to.gbs - from.gbs)
            }
            (Some(nearest), None) | (None, Some(nearest)) => nearest.gbs,
            (None, None) => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(usize, f64)]) -> Bandwidth {
        Bandwidth::new(points.iter().map(|&(bytes_per_thread, gbs)| Reading {
            bytes_per_thread,
            gbs,
        }))
    }

    #[test]
    fn goes_through_its_readings_and_straight_between_them() {
        let bandwidth = curve(&[(1 << 10, 200.0), (1 << 12, 100.0), (1 << 15, 40.0)]);
        for reading in bandwidth.readings() {
            assert_eq!(bandwidth.gbs(reading.bytes_per_thread), reading.gbs);
        }
        for (bytes, expected) in [
            (1 << 11, 150.0),
            (1 << 13, 80.0),
            (1 << 14, 60.0),
            (1448, 175.0), // 2^10.5
        ] {
            let gbs = bandwidth.gbs(bytes);
            assert!((gbs - expected).abs() < 0.01, "{bytes}: {gbs}");
        }
        let mut before = f64::INFINITY;
        for bytes in 1000..40_000 {
            let gbs = bandwidth.gbs(bytes);
            assert!(gbs <= before, "{bytes}");
            before = gbs;
        }
    }

    #[test]
    fn ends_where_its_readings_end() {
        let bandwidth = curve(&[(1000, 200.0), (4000, 100.0)]);
        for (bytes, expected) in [(0, 200.0), (1, 200.0), (4001, 100.0), (usize::MAX, 100.0)] {
            assert_eq!(bandwidth.gbs(bytes), expected, "{bytes}");
        }
        let one = curve(&[(1000, 7.0)]);
        assert_eq!([0, 1000, 2000].map(|bytes| one.gbs(bytes)), [7.0; 3]);
        let widest = curve(&[(1, 2.0), (usize::MAX, 1.0)]);
        assert!((widest.gbs(1 << 32) - 1.5).abs() < 1e-9);
        assert_eq!(widest.gbs(usize::MAX), 1.0);
    }

    #[test]
    fn nonsense_is_left_out() {
        let nonsense = [
            (0, 10.0),
            (10, 0.0),
            (20, -1.0),
            (30, f64::NAN),
            (40, f64::INFINITY),
        ];
        assert_eq!(curve(&nonsense), Bandwidth::default());
        assert_eq!(curve(&nonsense).gbs(10), f64::INFINITY);
        let sense = [(100, 3.0), (50, 4.0), (100, 2.0), (100, f64::NAN)];
        assert_eq!(
            curve(&[&nonsense[..], &sense[..]].concat()),
            curve(&[(50, 4.0), (100, 3.0)])
        );
    }
}
