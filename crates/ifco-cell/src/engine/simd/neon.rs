//! NEON: 32 registers of 4 values.

mod words;

use std::arch::aarch64::*;

use super::{Kernel, Simd};

/// Vectors of 4.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

// SAFETY of every intrinsic below: the token exists only inside `run`, whose caller knows that
// the CPU has NEON. Loads and stores add the caller's promise.

impl Simd for Neon {
    type F32 = float32x4_t;
    const LANES: usize = 4;
    const SUMS: usize = 24;

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: float32x4_t) {
        unsafe { vst1q_f32(to, value) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: float32x4_t, count: usize) {
        let mut values = [0.0; Self::LANES];
        // SAFETY: the array has so many values; `to` is the caller's promise.
        unsafe {
            vst1q_f32(values.as_mut_ptr(), value);
            to.copy_from_nonoverlapping(values.as_ptr(), count.min(Self::LANES));
        }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }

    #[inline(always)]
    fn at_most(self, limit: float32x4_t, value: float32x4_t) -> float32x4_t {
        // NEON's minimum is NaN where either is.
        unsafe { vminq_f32(limit, value) }
    }

    #[inline(always)]
    fn at_least(self, limit: float32x4_t, value: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(limit, value) }
    }

    #[inline(always)]
    fn scale(self, a: float32x4_t, shifted: float32x4_t) -> float32x4_t {
        unsafe {
            let n = vshlq_n_s32::<23>(vreinterpretq_s32_f32(shifted));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), n))
        }
    }
}
