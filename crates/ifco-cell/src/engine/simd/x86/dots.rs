//! Words on AVX-512 and AVX2, and the instructions of AVX-512 for bf16 and bytes.

use std::arch::x86_64::*;

use super::super::words::{Dot, DotKernel, Words};
use super::{Avx2, Avx512};
use crate::engine::simd::Simd;

/// # Safety
/// The CPU has AVX-512F, BW, DQ, VL and BF16, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run_avx512_pairs<K: DotKernel>(kernel: K) {
    kernel.run(Avx512(()), Pairs(()));
}

/// # Safety
/// As for [`run_avx512_pairs`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run_half_pairs<K: DotKernel>(kernel: K) {
    kernel.run(Avx2::<24>(()), Pairs(()));
}

/// # Safety
/// The CPU has AVX-512F, BW, DQ, VL and VNNI, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(crate) unsafe fn run_avx512_quads<K: DotKernel>(kernel: K) {
    kernel.run(Avx512(()), Quads(()));
}

/// # Safety
/// As for [`run_avx512_quads`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(crate) unsafe fn run_half_quads<K: DotKernel>(kernel: K) {
    kernel.run(Avx2::<24>(()), Quads(()));
}

/// Two bf16 by two bf16: the products are exact, each sum is rounded, and numbers below 2⁻¹²⁶
/// count as zeros.
#[derive(Clone, Copy)]
struct Pairs(());

/// Four bytes without a sign by four bytes with one.
#[derive(Clone, Copy)]
struct Quads(());

// SAFETY of every intrinsic below: the tokens of the vectors exist only where the CPU has what
// `super` names (AVX-512BW among it), `Pairs` and `Quads` only inside the functions above. Loads
// add the caller's promise.

macro_rules! dot {
    ($dot:ty, $simd:ty, $vector:ty, $integers:literal, |$value:ident, $weights:ident, $sum:ident| $add:expr) => {
        impl Dot<$simd> for $dot {
            type Value = $vector;
            type Weights = $vector;
            const WORDS: usize = 1;
            const SPARE: usize = 0;
            const INTEGERS: bool = $integers;

            #[inline(always)]
            unsafe fn value(self, s: $simd, at: *const f32) -> $vector {
                s.splat(unsafe { *at })
            }

            #[inline(always)]
            unsafe fn weights(self, s: $simd, at: *const f32) -> $vector {
                unsafe { s.load(at) }
            }

            #[inline(always)]
            fn add(self, _: $simd, $value: $vector, $weights: $vector, $sum: $vector) -> $vector {
                unsafe { $add }
            }
        }
    };
}

dot!(Pairs, Avx512, __m512, false, |value, weights, sum| {
    // The two types are the same bits.
    let [value, weights]: [__m512bh; 2] = std::mem::transmute([value, weights]);
    _mm512_dpbf16_ps(sum, value, weights)
});

dot!(Pairs, Avx2<24>, __m256, false, |value, weights, sum| {
    // The two types are the same bits.
    let [value, weights]: [__m256bh; 2] = std::mem::transmute([value, weights]);
    _mm256_dpbf16_ps(sum, value, weights)
});

dot!(Quads, Avx512, __m512, true, |value, weights, sum| {
    _mm512_castsi512_ps(_mm512_dpbusd_epi32(
        _mm512_castps_si512(sum),
        _mm512_castps_si512(value),
        _mm512_castps_si512(weights),
    ))
});

dot!(Quads, Avx2<24>, __m256, true, |value, weights, sum| {
    _mm256_castsi256_ps(_mm256_dpbusd_epi32(
        _mm256_castps_si256(sum),
        _mm256_castps_si256(value),
        _mm256_castps_si256(weights),
    ))
});

impl Words for Avx512 {
    #[inline(always)]
    fn low_halves(self, words: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(words))) }
    }

    #[inline(always)]
    fn high_halves(self, words: __m512) -> __m512 {
        unsafe {
            let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(words), mask))
        }
    }

    #[inline(always)]
    fn unsigned_bytes(self, words: __m512) -> [__m512; 2] {
        unsafe {
            let words = _mm512_castps_si512(words);
            let even = _mm512_and_si512(words, _mm512_set1_epi16(0xff));
            let odd = _mm512_srli_epi16::<8>(words);
            [_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd)]
        }
    }

    #[inline(always)]
    fn signed_bytes(self, words: __m512) -> [__m512; 2] {
        unsafe {
            let words = _mm512_castps_si512(words);
            let even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(words));
            let odd = _mm512_srai_epi16::<8>(words);
            [_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd)]
        }
    }

    #[inline(always)]
    fn add_products(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        unsafe {
            let products = _mm512_madd_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sum), products))
        }
    }

    #[inline(always)]
    fn add_integers(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            _mm512_castsi512_ps(_mm512_add_epi32(
                _mm512_castps_si512(a),
                _mm512_castps_si512(b),
            ))
        }
    }

    #[inline(always)]
    fn integers_to_floats(self, integers: __m512) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(integers)) }
    }
}

impl<const REGISTERS: usize> Words for Avx2<REGISTERS> {
    #[inline(always)]
    fn low_halves(self, words: __m256) -> __m256 {
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(words))) }
    }

    #[inline(always)]
    fn high_halves(self, words: __m256) -> __m256 {
        unsafe {
            let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(words), mask))
        }
    }

    #[inline(always)]
    fn unsigned_bytes(self, words: __m256) -> [__m256; 2] {
        unsafe {
            let words = _mm256_castps_si256(words);
            let even = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(words);
            [_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd)]
        }
    }

    #[inline(always)]
    fn signed_bytes(self, words: __m256) -> [__m256; 2] {
        unsafe {
            let words = _mm256_castps_si256(words);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words));
            let odd = _mm256_srai_epi16::<8>(words);
            [_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd)]
        }
    }

    #[inline(always)]
    fn add_products(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
        unsafe {
            let products = _mm256_madd_epi16(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), products))
        }
    }

    #[inline(always)]
    fn add_integers(self, a: __m256, b: __m256) -> __m256 {
        unsafe {
            _mm256_castsi256_ps(_mm256_add_epi32(
                _mm256_castps_si256(a),
                _mm256_castps_si256(b),
            ))
        }
    }

    #[inline(always)]
    fn integers_to_floats(self, integers: __m256) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(integers)) }
    }
}
