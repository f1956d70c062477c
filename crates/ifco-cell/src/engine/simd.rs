//! One source for every instruction set: the vector operations that the kernels are written in.
//!
//! A kernel is a [`Kernel`], generic over [`Simd`]; [`Isa::run`] compiles it once for each
//! instruction set and picks at run time. All of a kernel must be `#[inline(always)]`: only then
//! does the compiler give its code the features of the instruction set that it runs with.

mod beside;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod powers;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use beside::Beside;
pub(crate) use portable::Portable;
pub(crate) use words::{Dot, DotKernel, PairUnit, QuadUnit, Words};

use crate::math::ROUND;

/// The vectors of an instruction set. A value of the type is the proof that the CPU has it.
///
/// Without a fused multiply-add (only `Portable`) `mul_add` rounds twice.
pub(crate) trait Simd: Copy {
    /// `LANES` values of `f32`.
    type F32: Copy;

    /// Values in a vector.
    const LANES: usize;

    /// How many vectors of sums a kernel may keep in registers, beside the vectors that it reads.
    const SUMS: usize;

    /// All lanes the same.
    fn splat(self, value: f32) -> Self::F32;

    /// # Safety
    /// `LANES` values can be read from `from`.
    unsafe fn load(self, from: *const f32) -> Self::F32;

    /// # Safety
    /// `LANES` values can be written to `to`.
    unsafe fn store(self, to: *mut f32, value: Self::F32);

    /// Stores the first `count` values, at most `LANES`.
    ///
    /// # Safety
    /// So many values can be written to `to`.
    unsafe fn store_first(self, to: *mut f32, value: Self::F32, count: usize);

    /// a + b
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// a − b
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// a·b
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// a / b
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// a·b + c
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// c − a·b
    fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// The smaller one; NaN where `value` is.
    fn at_most(self, limit: Self::F32, value: Self::F32) -> Self::F32;

    /// The greater one; NaN where `value` is.
    fn at_least(self, limit: Self::F32, value: Self::F32) -> Self::F32;

    /// a·2ⁿ by adding n to the exponent, where n is in the low bits of `shifted` (see `math`).
    /// The result must be a normal number.
    fn scale(self, a: Self::F32, shifted: Self::F32) -> Self::F32;

    /// How finely [`nearest_exp2`](Self::nearest_exp2) divides: 2^(1 / 2^`NEAREST_BITS`) is from
    /// one power to the next.
    const NEAREST_BITS: u32 = 0;

    /// 2^y as the nearest such power and what is left of y, so that power·2^rest is it. Any y is
    /// allowed: beyond ±`most`, which is up to 126, the power is about 2^most, and no more than
    /// 2^−most. The rest of a NaN is one.
    #[inline(always)]
    fn nearest_exp2(self, y: Self::F32, most: f32) -> Nearest<Self::F32> {
        let y = self.at_most(self.splat(most), self.at_least(self.splat(-most), y));
        let round = self.splat(ROUND);
        let n = self.add(y, round);
        Nearest {
            power: self.scale(self.splat(1.0), n),
            lost: self.splat(0.0),
            rest: self.sub(y, self.sub(n, round)),
        }
    }

    /// How finely [`exp2_below`](Self::exp2_below) divides. 0: it is no better than the nearest one.
    const BELOW_BITS: u32 = 0;

    /// 2^y as the greatest such power that is not above it and what is left of y, which is from 0 to
    /// 2^−`BELOW_BITS`. Any y is allowed: beyond the numbers of `f32` the power is the last one or
    /// infinity, and 0 or nearly so. The rest of a NaN is one.
    #[inline(always)]
    fn exp2_below(self, y: Self::F32) -> (Self::F32, Self::F32) {
        let nearest = self.nearest_exp2(y, 126.0);
        (nearest.power, nearest.rest)
    }
}

/// 2^y in two factors: a power of two that was looked up, and 2^`rest`.
#[derive(Clone, Copy)]
pub(crate) struct Nearest<F> {
    /// Rounded.
    pub(crate) power: F,
    /// What that rounding has lost, as a part of the power.
    pub(crate) lost: F,
    pub(crate) rest: F,
}

/// Asks for the cache line at `from` to come into the level 2 cache. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(from.cast());
    }
    // Elsewhere the instruction is not in stable Rust.
    let _ = from;
}

/// Up to this many units, the lanes of half a vector that stay empty cost more than the shorter
/// vectors do: 5 %.
#[cfg(target_arch = "x86_64")]
const FEW_UNITS: usize = 152;

/// What `IFCO_ISA` says; an empty one says nothing.
fn said() -> Option<String> {
    let said = std::env::var_os("IFCO_ISA")?.to_string_lossy().into_owned();
    Some(said).filter(|said| !said.is_empty())
}

/// The instruction set that the recurrent layers run with: the best that this CPU has, or the one
/// that the environment variable `IFCO_ISA` names, as this is asked for or a layer first runs.
///
/// # Errors
/// When it names none that this CPU has. Layers then run with the best one all the same: whoever
/// reads the variable should ask here first.
///
/// ```
/// assert!(["avx512", "avx2", "neon", "portable"].contains(&ifco_cell::instruction_set()?));
/// # Ok::<(), ifco_cell::InstructionSetError>(())
/// ```
pub fn instruction_set() -> Result<&'static str, InstructionSetError> {
    Isa::said(said().as_deref()).map(Isa::name)
}

/// `IFCO_ISA` names no instruction set of this CPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the environment variable IFCO_ISA is {found:?}, expected one that this CPU has: {}",
    known.join(", ")
)]
pub struct InstructionSetError {
    /// What it is.
    pub found: String,
    /// What it may be, the best first.
    pub known: Vec<&'static str>,
}

/// Code that runs with vectors.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Must be `#[inline(always)]`, and so must be what it calls.
    fn run<S: Words>(self, simd: S) -> Self::Output;
}

/// An instruction set that this CPU has.
///
/// Private: made by [`Isa::all`] only, so that holding one proves that the CPU can run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Vectors of 8 with AVX-512's 32 registers: for layers of few units.
    #[cfg(target_arch = "x86_64")]
    Avx512Half,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Isa {
    /// Those that this CPU has, the best first.
    pub(crate) fn all() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                all.push(Isa(Set::Avx512));
                all.push(Isa(Set::Avx512Half));
            }
            if avx2 {
                all.push(Isa(Set::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Isa(Set::Neon));
        }
        all.push(Isa(Set::Portable));
        all
    }

    /// The best one, or the one that the environment variable `IFCO_ISA` names: see
    /// [`instruction_set`], which tells where it names none.
    pub(crate) fn best() -> Isa {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Isa::said(said().as_deref()).unwrap_or(Isa::all()[0]))
    }

    /// The best one, or the one of this name.
    fn said(name: Option<&str>) -> Result<Isa, InstructionSetError> {
        let all = Isa::all();
        match name {
            None => Ok(all[0]),
            Some(name) => {
                let named = all.iter().find(|isa| isa.name() == name);
                named.copied().ok_or_else(|| InstructionSetError {
                    found: name.to_owned(),
                    known: all.iter().map(|isa| isa.name()).collect(),
                })
            }
        }
    }

    /// The best one for a layer of so many units: of a few, vectors half as long may leave fewer
    /// lanes empty.
    pub(crate) fn for_units(units: usize) -> Isa {
        let best = Self::best();
        #[cfg(target_arch = "x86_64")]
        if best.0 == Set::Avx512 && units <= FEW_UNITS && units.div_ceil(8) % 2 == 1 {
            return Isa(Set::Avx512Half);
        }
        let _ = units;
        best
    }

    /// For people, and for `IFCO_ISA`.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Half => "avx512-256",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            Set::Portable => "portable",
        }
    }

    /// Values in a vector.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// Runs the kernel as compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY (all three): an Isa is made only where the CPU has the features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Half => unsafe { x86::run_avx512_half(kernel) },
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Set::Neon => unsafe { neon::run(kernel) },
            Set::Portable => kernel.run(Portable::<8>),
        }
    }
}
