//! AVX-512 and AVX2 with FMA.

pub(super) mod dots;

use std::arch::x86_64::*;

use super::powers::{errors, powers, steps};
use super::{Kernel, Nearest, Simd};
use crate::math::ROUND;

/// Vectors of 16.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Vectors of 8; `SUMS` of them fit in the registers (16 with AVX2, 32 with AVX-512).
#[derive(Clone, Copy)]
pub(super) struct Avx2<const SUMS: usize>(());

/// # Safety
/// The CPU has AVX-512F, BW, DQ and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// # Safety
/// The CPU has AVX-512F, BW, DQ and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_avx512_half<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<24>(()))
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<12>(()))
}

// SAFETY of every intrinsic below: a token exists only inside the three functions above, whose
// callers know that the CPU has the features. Loads and stores add the caller's promise.

impl Simd for Avx512 {
    type F32 = __m512;
    const LANES: usize = 16;
    const SUMS: usize = 24;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: __m512, count: usize) {
        // The low `count` of 16 bits.
        let lanes = (1u32 << count.min(16)) - 1;
        unsafe { _mm512_mask_storeu_ps(to, lanes as __mmask16, value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn at_most(self, limit: __m512, value: __m512) -> __m512 {
        // The second operand is the result where either is NaN.
        unsafe { _mm512_min_ps(limit, value) }
    }

    #[inline(always)]
    fn at_least(self, limit: __m512, value: __m512) -> __m512 {
        unsafe { _mm512_max_ps(limit, value) }
    }

    #[inline(always)]
    fn scale(self, a: __m512, shifted: __m512) -> __m512 {
        unsafe {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), n))
        }
    }

    const NEAREST_BITS: u32 = 4;

    /// One instruction scales by all of y's octaves, another one takes the rest, and both know what
    /// to do with any y: no limits stand before them in the chain.
    #[inline(always)]
    fn nearest_exp2(self, y: __m512, most: f32) -> Nearest<__m512> {
        const TABLE: [u32; 16] = steps();
        const LOST: [f32; 16] = errors();
        /// Sixteenths, to the nearest one.
        const REST: i32 = 4 << 4 | _MM_FROUND_TO_NEAREST_INT;
        unsafe {
            let round = _mm512_set1_ps(ROUND / 16.0);
            // Its low bits are y's sixteenths; the lookup takes 4 of them.
            let n = _mm512_add_ps(y, round);
            let octaves = _mm512_min_ps(_mm512_set1_ps(most), _mm512_sub_ps(n, round));
            let n = _mm512_castps_si512(n);
            let table = _mm512_loadu_si512(TABLE.as_ptr().cast());
            let power = _mm512_castsi512_ps(_mm512_permutexvar_epi32(n, table));
            Nearest {
                power: _mm512_scalef_ps(power, octaves),
                lost: _mm512_permutexvar_ps(n, _mm512_loadu_ps(LOST.as_ptr())),
                rest: _mm512_reduce_ps::<REST>(y),
            }
        }
    }

    const BELOW_BITS: u32 = 5;

    #[inline(always)]
    fn exp2_below(self, y: __m512) -> (__m512, __m512) {
        const TABLE: [u32; 32] = steps();
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        /// Thirty-seconds, down.
        const REST: i32 = 5 << 4 | _MM_FROUND_TO_NEG_INF;
        unsafe {
            let n = _mm512_add_round_ps::<DOWN>(y, _mm512_set1_ps(ROUND / 32.0));
            let low = _mm512_loadu_si512(TABLE.as_ptr().cast());
            let high = _mm512_loadu_si512(TABLE.as_ptr().add(16).cast());
            let power = _mm512_permutex2var_epi32(low, _mm512_castps_si512(n), high);
            // The octaves of y, down.
            let power = _mm512_scalef_ps(_mm512_castsi512_ps(power), y);
            (power, _mm512_reduce_ps::<REST>(y))
        }
    }
}

impl<const REGISTERS: usize> Simd for Avx2<REGISTERS> {
    type F32 = __m256;
    const LANES: usize = 8;
    const SUMS: usize = REGISTERS;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: __m256, count: usize) {
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let count = _mm256_set1_epi32(count.min(8) as i32);
            _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(count, lane), value);
        }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn at_most(self, limit: __m256, value: __m256) -> __m256 {
        unsafe { _mm256_min_ps(limit, value) }
    }

    #[inline(always)]
    fn at_least(self, limit: __m256, value: __m256) -> __m256 {
        unsafe { _mm256_max_ps(limit, value) }
    }

    #[inline(always)]
    fn scale(self, a: __m256, shifted: __m256) -> __m256 {
        unsafe {
            let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), n))
        }
    }

    const NEAREST_BITS: u32 = 3;

    #[inline(always)]
    fn nearest_exp2(self, y: __m256, most: f32) -> Nearest<__m256> {
        const TABLE: [u32; 8] = powers();
        const SCALED_TABLE: [u32; 8] = steps();
        const LOST: [f32; 8] = errors();
        const REST: i32 = 3 << 4 | _MM_FROUND_TO_NEAREST_INT;
        let round = self.splat(ROUND / 8.0);
        unsafe {
            let lost_of = |n| _mm256_permutevar8x32_ps(_mm256_loadu_ps(LOST.as_ptr()), n);
            if REGISTERS > 16 {
                // As for whole vectors, in eighths.
                let n = _mm256_add_ps(y, round);
                let octaves = _mm256_min_ps(_mm256_set1_ps(most), _mm256_sub_ps(n, round));
                let n = _mm256_castps_si256(n);
                let table = _mm256_loadu_si256(SCALED_TABLE.as_ptr().cast());
                let power = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(table, n));
                return Nearest {
                    power: _mm256_scalef_ps(power, octaves),
                    lost: lost_of(n),
                    rest: _mm256_reduce_ps::<REST>(y),
                };
            }
            let y = self.at_most(self.splat(most), self.at_least(self.splat(-most), y));
            let n = _mm256_add_ps(y, round);
            let rest = _mm256_sub_ps(y, _mm256_sub_ps(n, round));
            let n = _mm256_castps_si256(n);
            let table = _mm256_loadu_si256(TABLE.as_ptr().cast());
            // The lookup takes the low 3 bits of n.
            let power = _mm256_permutevar8x32_epi32(table, n);
            let power = _mm256_add_epi32(power, _mm256_slli_epi32::<20>(n));
            Nearest {
                power: _mm256_castsi256_ps(power),
                lost: lost_of(n),
                rest,
            }
        }
    }

    const BELOW_BITS: u32 = if REGISTERS > 16 { 3 } else { 0 };

    #[inline(always)]
    fn exp2_below(self, y: __m256) -> (__m256, __m256) {
        if Self::BELOW_BITS == 0 {
            let nearest = self.nearest_exp2(y, 126.0);
            return (nearest.power, nearest.rest);
        }
        const TABLE: [u32; 8] = steps();
        const DOWN: i32 = 3 << 4 | _MM_FROUND_TO_NEG_INF;
        unsafe {
            let n = _mm256_add_ps(_mm256_roundscale_ps::<DOWN>(y), _mm256_set1_ps(ROUND / 8.0));
            let table = _mm256_loadu_si256(TABLE.as_ptr().cast());
            let power = _mm256_permutevar8x32_epi32(table, _mm256_castps_si256(n));
            let power = _mm256_scalef_ps(_mm256_castsi256_ps(power), y);
            (power, _mm256_reduce_ps::<DOWN>(y))
        }
    }
}
