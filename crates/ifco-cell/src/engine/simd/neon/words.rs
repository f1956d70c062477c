//! Words on NEON.

use std::arch::aarch64::*;

use super::super::words::Words;
use super::Neon;

// SAFETY of every intrinsic below: as in `super`.

impl Words for Neon {
    #[inline(always)]
    fn low_halves(self, words: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(words))) }
    }

    #[inline(always)]
    fn high_halves(self, words: float32x4_t) -> float32x4_t {
        unsafe {
            let mask = vdupq_n_u32(0xffff_0000);
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(words), mask))
        }
    }

    #[inline(always)]
    fn unsigned_bytes(self, words: float32x4_t) -> [float32x4_t; 2] {
        unsafe {
            let words = vreinterpretq_u16_f32(words);
            let even = vandq_u16(words, vdupq_n_u16(0xff));
            let odd = vshrq_n_u16::<8>(words);
            [vreinterpretq_f32_u16(even), vreinterpretq_f32_u16(odd)]
        }
    }

    #[inline(always)]
    fn signed_bytes(self, words: float32x4_t) -> [float32x4_t; 2] {
        unsafe {
            let words = vreinterpretq_s16_f32(words);
            let even = vshrq_n_s16::<8>(vshlq_n_s16::<8>(words));
            let odd = vshrq_n_s16::<8>(words);
            [vreinterpretq_f32_s16(even), vreinterpretq_f32_s16(odd)]
        }
    }

    #[inline(always)]
    fn add_products(self, a: float32x4_t, b: float32x4_t, sum: float32x4_t) -> float32x4_t {
        unsafe {
            let (a, b) = (vreinterpretq_s16_f32(a), vreinterpretq_s16_f32(b));
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            let high = vmull_high_s16(a, b);
            let sum = vaddq_s32(vreinterpretq_s32_f32(sum), vpaddq_s32(low, high));
            vreinterpretq_f32_s32(sum)
        }
    }

    #[inline(always)]
    fn add_integers(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe {
            let (a, b) = (vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b));
            vreinterpretq_f32_s32(vaddq_s32(a, b))
        }
    }

    #[inline(always)]
    fn integers_to_floats(self, integers: float32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(vreinterpretq_s32_f32(integers)) }
    }
}
