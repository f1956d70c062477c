//! How fast threads work when all of them do at once.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Something that can be done again and again.
pub(super) trait Work {
    /// Does it so many times; returns how much that was, in bytes or operations.
    fn run(&mut self, repeats: usize) -> f64;
}

/// The rate at which threads worked.
pub(super) struct Rate {
    /// All threads together.
    pub(super) per_second: f64,
    /// How many they were: fewer than asked for where the system refuses more.
    pub(super) threads: usize,
}

/// Long enough that reading the clock and starting together do not matter, short enough that many
/// fit between two moments in which the system does something else.
const SAMPLE: Duration = Duration::from_micros(500);

/// How long all samples take together, unless so few take longer.
const TIME: Duration = Duration::from_millis(20);
const FEWEST_SAMPLES: usize = 10;

/// After so long at work the clock of the CPU has risen.
const WARM: Duration = Duration::from_millis(10);

/// The best of many samples: whatever else runs on the machine only ever slows it down, all threads
/// or one of them. Each thread makes work of its own.
pub(super) fn best_rate<W: Work>(threads: usize, make: impl Fn() -> W + Sync) -> Rate {
    let mut own = make();
    let (repeats, sample) = calibrate(&mut own);
    let samples = (TIME.as_secs_f64() / sample.as_secs_f64()) as usize;
    let samples = samples.max(FEWEST_SAMPLES);

    let line = StartingLine::default();
    let worker = |work: &mut W| -> Vec<Sample> {
        // Memory and caches as they will be: with everybody's own data.
        work.run(repeats);
        let mut arrived = 0;
        (0..samples)
            .map(|_| {
                line.wait(&mut arrived);
                let start = Instant::now();
                let amount = work.run(repeats);
                let end = Instant::now();
                Sample { amount, start, end }
            })
            .collect()
    };
    let (own_samples, others) = thread::scope(|scope| {
        let mut handles = Vec::new();
        for _ in 1..threads {
            let spawned = thread::Builder::new().spawn_scoped(scope, || worker(&mut make()));
            match spawned {
                Ok(handle) => handles.push(handle),
                Err(_) => break,
            }
        }
        line.open(1 + handles.len());
        let own_samples = worker(&mut own);
        let joined = handles.into_iter().map(thread::ScopedJoinHandle::join);
        let others: Vec<Vec<Sample>> = joined.filter_map(Result::ok).collect();
        (own_samples, others)
    });
    Rate {
        per_second: best(&own_samples, &others),
        threads: 1 + others.len(),
    }
}

/// The best sample of all threads.
fn best(own: &[Sample], others: &[Vec<Sample>]) -> f64 {
    let rates = own.iter().enumerate().map(|(index, own)| {
        let others = others.iter().filter_map(|samples| samples.get(index));
        together(own, others)
    });
    rates.fold(0.0, f64::max)
}

/// What one thread did, and when.
struct Sample {
    amount: f64,
    start: Instant,
    end: Instant,
}

/// From when the first one starts until the last one is done: threads that have to take turns on
/// one core do not look as if each had its own.
fn together<'a>(own: &'a Sample, others: impl Iterator<Item = &'a Sample>) -> f64 {
    let (mut amount, mut start, mut end) = (own.amount, own.start, own.end);
    for other in others {
        amount += other.amount;
        start = start.min(other.start);
        end = end.max(other.end);
    }
    amount / (end - start).as_secs_f64().max(1e-9)
}

/// How many repeats make a sample, and how long that takes.
fn calibrate(work: &mut impl Work) -> (usize, Duration) {
    let begin = Instant::now();
    let mut repeats = 1;
    loop {
        let start = Instant::now();
        work.run(repeats);
        let taken = start.elapsed();
        if taken < SAMPLE / 2 {
            repeats *= 2;
        } else if begin.elapsed() >= WARM {
            let one = taken.as_secs_f64() / repeats as f64;
            let enough = (SAMPLE.as_secs_f64() / one).max(1.0) as usize;
            return (enough, Duration::from_secs_f64(one * enough as f64));
        }
    }
}

/// Where threads wait for each other without going to sleep: waking up takes longer than the
/// difference that is to be measured. On a machine that is busy with other things they wait for
/// about a sample's time before they make room: who did so at once would seldom meet the others.
#[derive(Default)]
struct StartingLine {
    /// How many there are; 0 as long as that is not known.
    threads: AtomicUsize,
    arrivals: AtomicUsize,
}

impl StartingLine {
    fn open(&self, threads: usize) {
        self.threads.store(threads, Ordering::Release);
    }

    /// Returns when all have come as often as this thread, which counts that in `arrived`.
    fn wait(&self, arrived: &mut usize) {
        *arrived += 1;
        self.arrivals.fetch_add(1, Ordering::AcqRel);
        let since = Instant::now();
        loop {
            let threads = self.threads.load(Ordering::Acquire);
            if threads > 0 && self.arrivals.load(Ordering::Acquire) >= threads * *arrived {
                return;
            }
            if since.elapsed() < SAMPLE {
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten of something, between two seconds of a test.
    fn sample(begin: Instant, from: u64, to: u64) -> Sample {
        Sample {
            amount: 10.0,
            start: begin + Duration::from_secs(from),
            end: begin + Duration::from_secs(to),
        }
    }

    #[test]
    fn threads_that_take_turns_are_no_faster_than_one() {
        let now = Instant::now();
        let sample = |from, to| sample(now, from, to);
        let alone = sample(0, 2);
        assert_eq!(together(&alone, [].iter()), 5.0);
        assert_eq!(together(&alone, [sample(0, 2)].iter()), 10.0);
        assert_eq!(together(&alone, [sample(2, 4)].iter()), 5.0);
    }

    #[test]
    fn the_best_sample_of_all_threads_counts() {
        let now = Instant::now();
        let samples = |of: &[(u64, u64)]| -> Vec<Sample> {
            of.iter()
                .map(|(from, to)| sample(now, *from, *to))
                .collect()
        };
        let own = samples(&[(0, 10), (10, 12), (20, 21)]);
        assert_eq!(best(&own, &[]), 10.0);
        // Of the last one the other thread was late.
        let other = samples(&[(0, 10), (10, 12), (20, 40)]);
        assert_eq!(best(&own, &[other]), 10.0);
        assert_eq!(best(&own, &[samples(&[(0, 4), (10, 14), (20, 25)])]), 5.0);
        assert_eq!(best(&[], &[]), 0.0);
    }

    #[test]
    fn nothing_is_faster_than_it_is() {
        /// Takes a sample's time, and every other time ten.
        struct Uneven(usize);
        impl Work for Uneven {
            fn run(&mut self, repeats: usize) -> f64 {
                self.0 += 1;
                let start = Instant::now();
                let each = match self.0 % 2 {
                    0 => 10 * SAMPLE,
                    _ => SAMPLE,
                };
                while start.elapsed() < each * repeats as u32 {
                    spin_loop();
                }
                repeats as f64
            }
        }
        let rate = best_rate(1, || Uneven(0));
        assert_eq!(rate.threads, 1);
        assert!(rate.per_second > 0.0 && rate.per_second <= 1.0 / SAMPLE.as_secs_f64());
    }

    #[test]
    fn a_sample_is_of_its_length_or_of_one_repeat() {
        struct Sleep(Duration);
        impl Work for Sleep {
            fn run(&mut self, repeats: usize) -> f64 {
                let start = Instant::now();
                while start.elapsed() < self.0 * repeats as u32 {
                    spin_loop();
                }
                repeats as f64
            }
        }
        // Whatever else runs only makes a repeat longer, and them fewer.
        let (repeats, _) = calibrate(&mut Sleep(SAMPLE / 50));
        assert!((1..=50).contains(&repeats), "{repeats}");
        let (repeats, taken) = calibrate(&mut Sleep(3 * SAMPLE));
        assert_eq!(repeats, 1);
        assert!(taken >= 3 * SAMPLE, "{taken:?}");
    }

    #[test]
    fn everybody_starts_every_time() {
        let line = StartingLine::default();
        let passed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut arrived = 0;
                    for round in 0..100 {
                        line.wait(&mut arrived);
                        // Nobody is a whole round behind.
                        assert!(passed.fetch_add(1, Ordering::SeqCst) >= 2 * round);
                    }
                });
            }
            assert_eq!(passed.load(Ordering::SeqCst), 0);
            line.open(3);
        });
        assert_eq!(passed.load(Ordering::SeqCst), 300);
    }
}
