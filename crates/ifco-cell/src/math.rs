//! `exp`, `sigmoid`, `tanh` and `erf`: one definition for a single value and for vectors.
//!
//! The `f32` functions have no branch and call no library, so that the compiler also turns
//! `for value in row { *value = sigmoid(*value) }` into vector code. All rest on one reduction:
//!
//! ```text
//! x = n·ln 2 + r,  |r| ≤ ln 2 / 2;     q = e^r − 1 ≈ r + r²·(C0 + C1·r + … + C4·r⁴)
//! e^x     = 2ⁿ·(1 + q)
//! e^x − 1 = 2ⁿ·q + (2ⁿ − 1)            keeps its accuracy near 0
//! σ(x)    = 1 / (1 + e^−x)
//! tanh|x| = −m / (2 + m),  m = e^(−2|x|) − 1
//! ```
//!
//! Where a vector instruction looks up powers of two in a register, n counts eighths or sixteenths
//! of an octave: r is smaller by as much, and a shorter polynomial does.
//!
//! The coefficients are a minimax fit of relative error 1.3e-8. Greatest errors over all `f32`, in
//! ULP on any instruction set (`math/every_value.rs` measures them again):
//!
//! | `exp` | `e^x − 1`, x ≤ 0 | `sigmoid` | `tanh` |
//! |---|---|---|---|
//! | 1.05 | 1.15 | 3.99 | 3.56 |
//!
//! and below the normal numbers the last bit of `exp`, nothing of `tanh`. A `sigmoid` below 1e-10
//! (x < −23) is within 6 ULP, 1e-16; it is 1/(1 + e⁸⁸), 6e-39, at least.

use crate::engine::simd::{Portable, Simd};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has so few bits that `n·LN2_HIGH` is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
const C0: f32 = 0.499_999_97;
const C1: f32 = 0.166_665_43;
const C2: f32 = 0.041_667_2;
const C3: f32 = 0.008_366_579;
const C4: f32 = 0.001_388_254_7;
/// e^r ≈ 1 + E1·r + … + E5·r⁵, a minimax fit of relative error 9.2e-8.
const E1: f32 = 0.999_999_7;
const E2: f32 = 0.499_991_48;
const E3: f32 = 0.166_676_39;
const E4: f32 = 0.041_898_16;
const E5: f32 = 0.008_290_272;
/// Where the powers of two come by eighths or sixteenths of an octave, r is so small (a = ln 2 / 16
/// or ln 2 / 32 at most) that e^r ≈ 1 + r + D2·r² + D3·r³ is within 3.8e-8 or 2.3e-9: the Taylor
/// series, with r⁴ replaced by the nearest lower powers, D2 = 1/2 + a²/32.
const D2_EIGHTH: f32 = 0.500_058_65;
const D2_SIXTEENTH: f32 = 0.500_014_66;
const D3: f32 = 0.166_666_67;
/// e^r − 1 ≈ r + F2·r² + F3·r³ + F4·r⁴ for |r| ≤ ln 2 / 16, within a part of 3.7e-9.
const F2: f32 = 0.5;
const F3: f32 = 0.166_682_3;
const F4: f32 = 0.041_666_668;
/// Adding 1.5·2²³ rounds to a whole number, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// One value at a time.
const ONE: Portable<1> = Portable;

/// Of x·`factor`, where `factor` is a power of two or minus one: n, in the low bits of the first,
/// and r / `factor` of the reduction above, by steps of ln 2 / 2^`bits`. The factor thus costs no
/// operation.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::F32, factor: f32, bits: u32) -> (S::F32, S::F32) {
    let steps = (1u32 << bits) as f32;
    let round = s.splat(ROUND);
    let shifted = s.mul_add(x, s.splat(factor * steps * LOG2_E), round);
    let whole = s.sub(shifted, round);
    let step = factor * steps;
    let r = if S::FUSED {
        // n·ln 2 is not rounded, and the f32 nearest to ln 2 is within 1.5e-9 of it.
        s.neg_mul_add(whole, s.splat(std::f32::consts::LN_2 / step), x)
    } else {
        let r = s.neg_mul_add(whole, s.splat(LN2_HIGH / step), x);
        s.neg_mul_add(whole, s.splat(LN2_LOW / step), r)
    };
    (shifted, r)
}

/// q / `factor` of r / `factor` for whole octaves, with the operations beside each other where
/// they may be.
#[inline(always)]
fn small_exp_m1<S: Simd>(s: S, r: S::F32, factor: f32) -> S::F32 {
    // Exact: the factor is a power of two.
    let f2 = factor * factor;
    let (f3, f4) = (f2 * factor, f2 * f2);
    let square = s.mul(r, r);
    let low = s.mul_add(r, s.splat(C1 * f2), s.splat(C0 * factor));
    let high = s.mul_add(r, s.splat(C3 * f4), s.splat(C2 * f3));
    let high = s.mul_add(square, s.splat(C4 * f4 * factor), high);
    s.mul_add(square, s.mul_add(square, high, low), r)
}

/// e^r of r / `factor`, without the accuracy that q has near 0.
#[inline(always)]
fn small_exp<S: Simd>(s: S, r: S::F32, factor: f32) -> S::F32 {
    let f2 = factor * factor;
    let (f3, f4) = (f2 * factor, f2 * f2);
    let one = s.splat(1.0);
    if S::OCTAVE_BITS > 0 {
        let (c2, c3) = match S::OCTAVE_BITS {
            3 => (D2_EIGHTH, D3),
            _ => (D2_SIXTEENTH, D3),
        };
        let sum = s.mul_add(r, s.splat(c3 * f3), s.splat(c2 * f2));
        let sum = s.mul_add(r, sum, s.splat(factor));
        return s.mul_add(r, sum, one);
    }
    let square = s.mul(r, r);
    let low = s.mul_add(r, s.splat(E1 * factor), one);
    let middle = s.mul_add(r, s.splat(E3 * f3), s.splat(E2 * f2));
    let high = s.mul_add(r, s.splat(E5 * f4 * factor), s.splat(E4 * f4));
    s.mul_add(square, s.mul_add(square, high, middle), low)
}

/// 1 + e^−x, and where it would not be a normal number the nearest that is.
#[inline(always)]
pub(crate) fn one_plus_exp_neg<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // Beyond 80 the sum is 1 in any case; beyond −88 it would overflow.
    let x = s.at_most(s.splat(80.0), s.at_least(s.splat(-88.0), x));
    let (n, r) = reduce(s, x, -1.0, S::OCTAVE_BITS);
    // A product with 2ⁿ: adding to the exponent of a NaN could make it a number.
    s.mul_add(small_exp(s, r, -1.0), s.power_of_two(n), s.splat(1.0))
}

/// −tanh|x| as a fraction m / (2 + m), m = e^(−2|x|) − 1: the two of them.
#[inline(always)]
pub(crate) fn tanh_fraction<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    // e^−20 is less than half a ULP of 1.
    let m = exp_m1(s, s.at_most(s.splat(10.0), s.abs(x)), -2.0);
    (m, s.add(s.splat(2.0), m))
}

/// e^(x·`factor`) − 1 for x·`factor` from −80 to 0.
#[inline(always)]
fn exp_m1<S: Simd>(s: S, x: S::F32, factor: f32) -> S::F32 {
    let (n, r) = reduce(s, x, factor, S::OCTAVE_BITS);
    let one = s.splat(1.0);
    let power = s.power_of_two(n);
    let below = s.sub(power, one);
    if S::OCTAVE_BITS == 0 {
        let times_factor = s.scale(s.splat(factor), n);
        return s.mul_add(times_factor, small_exp_m1(s, r, factor), below);
    }
    let f2 = factor * factor;
    let (f3, f4) = (f2 * factor, f2 * f2);
    let high = match S::OCTAVE_BITS {
        3 => {
            let high = s.mul_add(r, s.splat(F4 * f4), s.splat(F3 * f3));
            s.mul_add(r, high, s.splat(F2 * f2))
        }
        _ => s.mul_add(r, s.splat(D3 * f3), s.splat(D2_SIXTEENTH * f2)),
    };
    // Near 0 the power is 1, and nothing is lost; elsewhere what its rounding has lost counts.
    let low = s.mul_add(r, s.splat(factor), s.power_of_two_error(n));
    s.mul_add(power, s.mul_add(s.mul(r, r), high, low), below)
}

/// 1 / (1 + e^−x)
#[inline(always)]
pub(crate) fn sigmoids<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.div(s.splat(1.0), one_plus_exp_neg(s, x))
}

/// (e^x − e^−x) / (e^x + e^−x)
#[inline(always)]
pub(crate) fn tanhs<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (m, below) = tanh_fraction(s, x);
    s.with_sign(s.abs(s.div(m, below)), x)
}

/// [`sigmoids`] of one value.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let [y] = sigmoids(ONE, [x]);
    y
}

/// [`tanhs`] of one value.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let [y] = tanhs(ONE, [x]);
    y
}

/// e^x − 1 for x ≤ 0.
#[inline(always)]
pub(crate) fn exp_m1_below_zero(x: f32) -> f32 {
    let [y] = exp_m1(ONE, ONE.at_least([-20.0], [x]), 1.0);
    y
}

/// e^x, with infinities, denormals and NaN as they should be.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Written with `if` and not `min`/`max`, which would lose a NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let ([shifted], r) = reduce(ONE, [x], 1.0, 0);
    let [q] = small_exp_m1(ONE, r, 1.0);
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    // In two factors: 2ⁿ itself may be out of range where the product is not.
    let half = n >> 1;
    (1.0 + q) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2ⁿ for n from −126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    // Wrapping: a NaN on its way through has an arbitrary n.
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// 2/√π·∫₀ˣ e^−t² dt, to about 1e-15.
///
/// Below 3 the series 2/√π·e^−x²·Σ 2ᵏ·x²ᵏ⁺¹ / (1·3·5…(2k+1)), whose terms are all of one sign;
/// above it the continued fraction of erfc, x + 1/2/(x + 1/(x + 3/2/(x + …))).
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a >= 6.0 {
        return 1f64.copysign(x);
    }
    if a < 3.0 {
        let mut term = x;
        let mut sum = x;
        let mut odd = 1.0;
        while term.abs() > 1e-17 * sum.abs() {
            odd += 2.0;
            term *= 2.0 * x * x / odd;
            sum += term;
        }
        return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    let mut fraction = a;
    for k in (1..=60).rev() {
        fraction = a + f64::from(k) / 2.0 / fraction;
    }
    let erfc = (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt());
    (1.0 - erfc).copysign(x)
}

#[cfg(test)]
mod every_value;

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the nearest `f32` to `right`.
    fn ulps(found: f32, right: f64) -> f64 {
        let nearest = right as f32;
        if found.to_bits() == nearest.to_bits() || found == nearest {
            return 0.0;
        }
        let place = (f64::from(nearest.abs().next_up()) - f64::from(nearest.abs()))
            .max(f64::from(f32::from_bits(1)));
        (f64::from(found) - right).abs() / place
    }

    /// The greatest error over every 211th bit pattern of the finite numbers.
    fn sweep(function: impl Fn(f32) -> f32, right: impl Fn(f64) -> f64, tiny: f64) -> f64 {
        let mut worst: f64 = 0.0;
        for bits in (0..=u32::MAX).step_by(211) {
            let x = f32::from_bits(bits);
            if !x.is_finite() {
                continue;
            }
            let (found, expected) = (function(x), right(f64::from(x)));
            assert!(!found.is_nan(), "NaN at {x:e}");
            if expected.abs() < tiny {
                assert!(
                    (f64::from(found) - expected).abs() < tiny,
                    "{found:e} at {x:e}"
                );
            } else {
                worst = worst.max(ulps(found, expected));
            }
        }
        worst
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let worst = sweep(exp, f64::exp, 0.0);
        assert!(worst <= 2.0, "{worst} ULP");
    }

    #[test]
    fn sigmoid_is_within_four_ulp() {
        // Below 1e-38 the reciprocal of an overflowed exponential is 0.
        let worst = sweep(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 1.2e-38);
        assert!(worst <= 4.0, "{worst} ULP");
    }

    #[test]
    fn tanh_is_within_four_ulp() {
        let worst = sweep(tanh, f64::tanh, 0.0);
        assert!(worst <= 4.0, "{worst} ULP");
    }

    #[test]
    fn exp_m1_is_within_four_ulp() {
        let worst = sweep(
            |x| exp_m1_below_zero(-x.abs()),
            |x| (-x.abs()).exp_m1(),
            0.0,
        );
        assert!(worst <= 4.0, "{worst} ULP");
    }

    #[test]
    fn special_values_are_exact() {
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert!(sigmoid(f32::NEG_INFINITY) < 1.2e-38);
        assert_eq!(sigmoid(-0.0), 0.5);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0f32).to_bits());
        assert_eq!(tanh(0.0).to_bits(), 0f32.to_bits());
        assert_eq!(tanh(f32::from_bits(1)), f32::from_bits(1));
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            assert!(exp(nan).is_nan() && sigmoid(nan).is_nan() && tanh(nan).is_nan());
            assert!(exp_m1_below_zero(nan).is_nan());
        }
    }

    #[test]
    fn erf_matches_tables() {
        for (x, right) in [
            (0.0, 0.0),
            (1e-10, 1.128_379_167_095_512_6e-10),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.999, 0.9999777698314002),
            (3.0, 0.999_977_909_503_001_4),
            (4.0, 0.999_999_984_582_742_1),
            (7.0, 1.0),
        ] {
            assert!((erf(x) - right).abs() < 1e-15, "{x}: {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!(erf(f64::NAN).is_nan());
        assert_eq!(erf(f64::INFINITY), 1.0);
    }
}
