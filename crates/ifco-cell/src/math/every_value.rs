//! The functions over all 2³² bit patterns of `f32`, on every instruction set of this CPU.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::engine::simd::{Isa, Kernel, Simd};

/// Values that are computed at once.
const ROW: u32 = 1 << 12;

/// Which of the functions that are written on vectors.
#[derive(Debug, Clone, Copy)]
enum Function {
    Sigmoid,
    Tanh,
}

/// A function of all values of a row.
struct Row<'a>(Function, &'a [f32], &'a mut [f32]);

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Row(function, from, to) = self;
        let values = from.chunks_exact(S::LANES);
        for (from, to) in values.zip(to.chunks_exact_mut(S::LANES)) {
            // SAFETY: both chunks have so many values.
            #[allow(unsafe_code)]
            unsafe {
                let y = s.load(from.as_ptr());
                let value = match function {
                    Function::Sigmoid => s.div(s.splat(1.0), one_plus_exp2(s, y)),
                    Function::Tanh => {
                        let (over, under) = tanh_fraction(s, y);
                        s.div(over, under)
                    }
                };
                s.store(to.as_mut_ptr(), value);
            }
        }
    }
}

// What is right, in `f64`. Far out and near 0 in closed forms that are nearer than 2⁻³⁰: the
// library's functions would take most of the time.

/// σ of its exponent; 1/2 + x/4 − x³/48 + … near 0.
fn right_sigmoid(y: f64) -> f64 {
    let x = -y * std::f64::consts::LN_2;
    match x.abs() < 1e-3 {
        true => 0.5 + x / 4.0 - x * x * x / 48.0,
        false if x > 40.0 => 1.0,
        false if x < -120.0 => 0.0,
        false => 1.0 / (1.0 + (-x).exp()),
    }
}

/// tanh of its exponent; x − x³/3 + … near 0.
fn right_tanh(y: f64) -> f64 {
    let x = -0.5 * y * std::f64::consts::LN_2;
    match x.abs() < 1e-4 {
        true => x - x * x * x / 3.0,
        false if x.abs() > 20.0 => 1f64.copysign(x),
        false => x.tanh(),
    }
}

/// 1 + x + x²/2 + … near 0
fn right_exp(x: f64) -> f64 {
    match x.abs() < 1e-4 {
        true => 1.0 + x + x * x / 2.0,
        false if x < -120.0 => 0.0,
        false if x > 120.0 => f64::INFINITY,
        false => x.exp(),
    }
}

/// x + x²/2 + x³/6 + … near 0; of −|x|, as the function is for these only
fn right_exp_m1(x: f64) -> f64 {
    let x = -x.abs();
    match x > -1e-4 {
        true => x + x * x / 2.0 + x * x * x / 6.0,
        false if x < -40.0 => -1.0,
        false => x.exp_m1(),
    }
}

/// The greatest errors of a function.
#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    /// In units of the last place, where the right value is not small.
    ulps: f64,
    at: f32,
    /// Absolute, where it is.
    below: f64,
    /// In units of the last place, of values that are off by more than [`NEAR`].
    far: f64,
}

/// An error of a value up to 1 that is allowed in any case.
const NEAR: f64 = 2e-7;

impl Worst {
    fn of(x: &[f32], y: &[f32], right: &[f64], small: f64) -> Self {
        let mut worst = Self::default();
        for ((x, y), right) in x.iter().zip(y).zip(right) {
            if right.is_nan() || y.is_nan() {
                assert!(right.is_nan() && y.is_nan(), "{y} and not {right} at {x:e}");
            } else if right.abs() < small {
                let below = (f64::from(*y) - right).abs();
                worst.below = worst.below.max(below);
            } else if *y != *right as f32 {
                // The last place of the `f32` before `right`, a power of two.
                let exponent = right.to_bits() >> 52 & 0x7ff;
                let place = f64::from_bits((exponent - 23) << 52);
                let ulps = match y.is_infinite() {
                    // As if the numbers went on.
                    true => (2f64.powi(128).copysign(f64::from(*y)) - right).abs() / place,
                    false => (f64::from(*y) - right).abs() / place,
                };
                let far = (f64::from(*y) - right).abs() > NEAR;
                worst = worst.max(Worst {
                    ulps,
                    at: *x,
                    far: if far { ulps } else { 0.0 },
                    ..worst
                });
            }
        }
        worst
    }

    fn max(self, other: Self) -> Self {
        let (ulps, at) = match other.ulps > self.ulps {
            true => (other.ulps, other.at),
            false => (self.ulps, self.at),
        };
        Self {
            ulps,
            at,
            below: self.below.max(other.below),
            far: self.far.max(other.far),
        }
    }
}

/// A way to compute a function, by name.
type Way<'a> = (&'static str, Box<dyn Fn(&[f32], &mut [f32]) + Sync + 'a>);

/// The worst of each way over all values.
fn over_all_values(ways: &[Way<'_>], right: fn(f64) -> f64, small: f64) -> Vec<Worst> {
    let next = AtomicU32::new(0);
    let work = || {
        let mut all = vec![Worst::default(); ways.len()];
        let (mut x, mut y) = ([0f32; ROW as usize], [0f32; ROW as usize]);
        let (mut first, mut should) = (y, [0f64; ROW as usize]);
        loop {
            let row = next.fetch_add(1, Ordering::Relaxed);
            if row > u32::MAX / ROW {
                return all;
            }
            for ((bits, x), should) in (row * ROW..).zip(&mut x).zip(&mut should) {
                *x = f32::from_bits(bits);
                *should = match x.is_nan() {
                    true => f64::NAN,
                    false => right(f64::from(*x)),
                };
            }
            let mut of_first = Worst::default();
            for (index, (_, way)) in ways.iter().enumerate() {
                way(&x, &mut y);
                // Most rows are the same on all instruction sets.
                let worst = if index == 0 {
                    first = y;
                    of_first = Worst::of(&x, &y, &should, small);
                    of_first
                } else if y.map(f32::to_bits) == first.map(f32::to_bits) {
                    of_first
                } else {
                    Worst::of(&x, &y, &should, small)
                };
                all[index] = all[index].max(worst);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let parts = parts.into_iter().map(|part| part.join().unwrap());
        let worse =
            |a: Vec<Worst>, b: Vec<Worst>| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect();
        parts.reduce(worse).unwrap()
    })
}

/// Holds each way to so many ULP, and to 4 where it is off by more than [`NEAR`]; where the right
/// value is below `small` to an absolute error.
fn check(ways: &[Way<'_>], right: fn(f64) -> f64, ulps: f64, (small, below): (f64, f64)) {
    for ((name, _), worst) in ways.iter().zip(over_all_values(ways, right, small)) {
        println!("{name}: {worst:?}");
        assert!(
            worst.ulps <= ulps && worst.below <= below && worst.far <= 4.0,
            "{name}: {worst:?}"
        );
    }
}

fn on_vectors(function: Function) -> Vec<Way<'static>> {
    let way = |isa: Isa| -> Way<'static> {
        let run = move |x: &[f32], y: &mut [f32]| isa.run(Row(function, x, y));
        (isa.name(), Box::new(run))
    };
    Isa::all().into_iter().map(way).collect()
}

fn one_by_one(function: impl Fn(f32) -> f32 + Sync + 'static) -> Vec<Way<'static>> {
    let run = move |x: &[f32], y: &mut [f32]| {
        for (x, y) in x.iter().zip(y) {
            *y = function(*x);
        }
    };
    vec![("one by one", Box::new(run))]
}

/// Errors of the smallest numbers: 2⁻¹⁴⁹ each.
const SMALLEST: f64 = 1.401_298_464_324_817e-45;

/// The smallest normal number.
const NORMAL: f64 = f32::MIN_POSITIVE as f64;

#[test]
#[ignore = "4 billion values: 15 s on two cores with --release; .ci/run runs it"]
fn every_sigmoid_is_within_five_ulp() {
    // Far out a normal number's exponents end.
    let small = (1.2e-38, 1.2e-38);
    check(&on_vectors(Function::Sigmoid), right_sigmoid, 5.0, small);
}

#[test]
#[ignore = "4 billion values: 15 s on two cores with --release; .ci/run runs it"]
fn every_tanh_is_within_five_ulp() {
    check(
        &on_vectors(Function::Tanh),
        right_tanh,
        5.0,
        (NORMAL, SMALLEST),
    );
}

#[test]
#[ignore = "4 billion values: 15 s on two cores with --release; .ci/run runs it"]
fn every_exp_is_within_two_ulp() {
    check(&one_by_one(exp), right_exp, 2.0, (NORMAL, 2.0 * SMALLEST));
}

#[test]
#[ignore = "4 billion values: 15 s on two cores with --release; .ci/run runs it"]
fn every_exp_m1_is_within_three_ulp() {
    let function = |x: f32| exp_m1_below_zero(-x.abs());
    check(&one_by_one(function), right_exp_m1, 3.0, (NORMAL, SMALLEST));
}
