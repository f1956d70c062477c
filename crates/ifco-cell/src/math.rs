//! `exp`, `sigmoid`, `tanh` and `erf` of one value, and the two that the gates need of vectors.
//!
//! None has a branch or calls a library, so that the compiler also turns
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
//! The gates' sums come as *exponents*: the weights of a gate are multiplied by −log₂ e where a
//! sigmoid follows and by −2·log₂ e where a tanh does, once, when they are packed. Then
//!
//! ```text
//! y = −x·log₂ e     σ(x)    = 1 / (1 + 2^y)
//! y = −2x·log₂ e    tanh x  = −m / (2 + m),  m = 2^y − 1
//! ```
//!
//! and y needs no multiplication to fall apart in n and r. The rounding of y is one more of the
//! roundings of a sum: at most 2⁻²⁴ of x, of which σ and tanh leave 2e-8 at most.

use crate::engine::simd::{Nearest, Portable, Simd};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN2: f32 = std::f32::consts::LN_2;
/// ln 2 in two parts; the first has so few bits that `n·LN2_HIGH` is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
const C0: f32 = 0.499_999_97;
const C1: f32 = 0.166_665_43;
const C2: f32 = 0.041_667_2;
const C3: f32 = 0.008_366_579;
const C4: f32 = 0.001_388_254_7;
/// Adding 1.5·2²³ rounds to a whole number, which then stands in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// What a sum that a sigmoid follows is multiplied by to be its exponent.
pub(crate) const SIGMOID_EXPONENT: f32 = -LOG2_E;

/// The same where a tanh follows.
pub(crate) const TANH_EXPONENT: f32 = -2.0 * LOG2_E;

// Minimax fits, the coefficients rounded one after the other.

/// 2^r ≈ 1 + A1·r + A2·r² for r from 0 to 1/32, within 6.6e-8.
const THIRTY_SECOND_FROM_ZERO: [f32; 2] = [0.693_123_76, 0.242_652_7];
/// The same with A3·r³ up to 1/8, within 2.2e-8.
const EIGHTH_FROM_ZERO: [f32; 3] = [0.693_150_7, 0.240_055_01, 0.057_863_01];
/// The same for |r| ≤ 1/16, within 2.6e-8.
const EIGHTH: [f32; 3] = [0.693_147_24, 0.240_257_52, 0.055_488_97];
/// The same for |r| ≤ 1/2 and up to r⁵, within 9.4e-8.
#[allow(clippy::approx_constant, reason = "near ln 2, and not it")]
const WHOLE: [f32; 5] = [
    0.693_147,
    0.240_222_47,
    0.055_507_11,
    0.009_671_291,
    0.001_326_951_9,
];
/// 2^r − 1 ≈ r·ln 2 + r²·(B2 + B3·r + …), within that part of it: for |r| ≤ 1/32 7.5e-8,
const SIXTEENTH_M1: [f32; 2] = [0.240_233_51, 0.055_503_46];
/// for |r| ≤ 1/16 4.4e-9,
const EIGHTH_M1: [f32; 3] = [0.240_226_5, 0.055_507_712, 0.009_618_673_5];
/// for |r| ≤ 1/2 9e-9.
const WHOLE_M1: [f32; 5] = [
    0.240_226_5,
    0.055_503_67,
    0.009_618_066,
    0.001_338_756_3,
    1.546_138_7e-4,
];

/// One value at a time.
const ONE: Portable<1> = Portable;

/// c₀ + c₁·r + … + c₄·r⁴, with the operations beside each other where they may be.
#[inline(always)]
fn polynomial<S: Simd>(s: S, r: S::F32, [c0, c1, c2, c3, c4]: [f32; 5]) -> S::F32 {
    let square = s.mul(r, r);
    let low = s.mul_add(r, s.splat(c1), s.splat(c0));
    let high = s.mul_add(r, s.splat(c3), s.splat(c2));
    let high = s.mul_add(square, s.splat(c4), high);
    s.mul_add(square, high, low)
}

/// c₀ + c₁·r + …, one operation after the other.
#[inline(always)]
fn short_polynomial<S: Simd, const N: usize>(s: S, r: S::F32, coefficients: [f32; N]) -> S::F32 {
    let mut sum = s.splat(coefficients[N - 1]);
    for coefficient in coefficients.into_iter().rev().skip(1) {
        sum = s.mul_add(r, sum, s.splat(coefficient));
    }
    sum
}

/// 1 + 2^y, or where that is no number of `f32` infinity or the greatest power of two below 2¹²⁷.
#[inline(always)]
pub(crate) fn one_plus_exp2<S: Simd>(s: S, y: S::F32) -> S::F32 {
    let (power, r) = s.exp2_below(y);
    let one = s.splat(1.0);
    let slope = match (S::BELOW_BITS, S::NEAREST_BITS) {
        (5, _) => short_polynomial(s, r, THIRTY_SECOND_FROM_ZERO),
        (3, _) => short_polynomial(s, r, EIGHTH_FROM_ZERO),
        (_, 3) => short_polynomial(s, r, EIGHTH),
        _ => polynomial(s, r, WHOLE),
    };
    s.mul_add(s.mul_add(r, slope, one), power, one)
}

/// tanh x of y = −2x·log₂ e, as a fraction: −m and 2 + m.
#[inline(always)]
pub(crate) fn tanh_fraction<S: Simd>(s: S, y: S::F32) -> (S::F32, S::F32) {
    // Beyond 30, tanh is 1 or −1 to the last bit.
    let Nearest { power, lost, rest } = s.nearest_exp2(y, 30.0);
    let high = match S::NEAREST_BITS {
        4 => short_polynomial(s, rest, SIXTEENTH_M1),
        3 => short_polynomial(s, rest, EIGHTH_M1),
        _ => polynomial(s, rest, WHOLE_M1),
    };
    // Near 0 the power is 1, and nothing is lost; elsewhere what its rounding has lost counts.
    let low = s.mul_add(rest, s.splat(LN2), lost);
    let q = s.mul_add(s.mul(rest, rest), high, low);
    let minus_m = s.neg_mul_add(power, q, s.sub(s.splat(1.0), power));
    (minus_m, s.sub(s.splat(2.0), minus_m))
}

/// n, in the low bits of the first, and r of the reduction above.
#[inline(always)]
fn reduce(x: f32) -> (f32, f32) {
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    (shifted, x - whole * LN2_HIGH - whole * LN2_LOW)
}

/// q of r.
#[inline(always)]
fn small_exp_m1(r: f32) -> f32 {
    let [sum] = polynomial(ONE, [r], [C0, C1, C2, C3, C4]);
    r * r * sum + r
}

/// e^x − 1 for x from −80 to 0.
#[inline(always)]
fn exp_m1(x: f32) -> f32 {
    let (n, r) = reduce(x);
    let [power] = ONE.scale([1.0], [n]);
    power * small_exp_m1(r) + (power - 1.0)
}

/// 1 / (1 + e^−x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // Beyond 80 the sum is 1 in any case; beyond −88 it would overflow.
    let [x] = ONE.at_most([80.0], ONE.at_least([-88.0], [x]));
    let (n, r) = reduce(-x);
    // A product with 2ⁿ: adding to the exponent of a NaN could make it a number.
    let [power] = ONE.scale([1.0], [n]);
    1.0 / ((1.0 + small_exp_m1(r)) * power + 1.0)
}

/// (e^x − e^−x) / (e^x + e^−x)
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // e^−20 is less than half a ULP of 1.
    let [size] = ONE.at_most([10.0], [x.abs()]);
    let m = exp_m1(-2.0 * size);
    (m / (2.0 + m)).abs().copysign(x)
}

/// e^x − 1 for x ≤ 0.
#[inline(always)]
pub(crate) fn exp_m1_below_zero(x: f32) -> f32 {
    let [x] = ONE.at_least([-20.0], [x]);
    exp_m1(x)
}

/// e^x, with infinities, denormals and NaN as they should be.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Written with `if` and not `min`/`max`, which would lose a NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (shifted, r) = reduce(x);
    let q = small_exp_m1(r);
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
