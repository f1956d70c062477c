//! What products of narrow numbers need of a vector: its lanes as 32-bit words, each of which
//! holds one `f32`, two bf16, four bytes or one integer.
//!
//! All of these are the same type, that of the vector of `f32`: a word is only bits, and the
//! instruction sets keep them in the same registers.

#[cfg(target_arch = "x86_64")]
use super::Set;
use super::portable::lanes;
use super::{Isa, Kernel, Portable, Simd};

/// The vectors of an instruction set as words.
pub(crate) trait Words: Simd {
    /// The low halves as bf16, widened to `f32`.
    fn low_halves(self, words: Self::F32) -> Self::F32;

    /// The high halves as bf16, widened to `f32`.
    fn high_halves(self, words: Self::F32) -> Self::F32;

    /// The bytes of each word, widened to two times two 16-bit integers without a sign.
    fn unsigned_bytes(self, words: Self::F32) -> [Self::F32; 2];

    /// The same with a sign.
    fn signed_bytes(self, words: Self::F32) -> [Self::F32; 2];

    /// sum + the two products of 16-bit integers in each word, as integers that wrap.
    fn add_products(self, a: Self::F32, b: Self::F32, sum: Self::F32) -> Self::F32;

    /// a + b as integers that wrap.
    fn add_integers(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// Integers to the nearest `f32`.
    fn integers_to_floats(self, integers: Self::F32) -> Self::F32;
}

/// How a word of a row is multiplied with words of a panel.
pub(crate) trait Dot<S: Words>: Copy {
    /// What is made of a word of a row, once for all panels.
    type Value: Copy;

    /// What is made of a vector of a panel, once for all rows.
    type Weights: Copy;

    /// Words of a row for each word of a panel.
    const WORDS: usize;

    /// How many of [`Simd::SUMS`] it leaves to what is widened.
    const SPARE: usize;

    /// Whether the sums are integers, which become floats when they are complete.
    const INTEGERS: bool;

    /// # Safety
    /// `WORDS` values can be read from `at`.
    unsafe fn value(self, s: S, at: *const f32) -> Self::Value;

    /// # Safety
    /// A vector can be read from `at`.
    unsafe fn weights(self, s: S, at: *const f32) -> Self::Weights;

    /// sum + value·weights
    fn add(self, s: S, value: Self::Value, weights: Self::Weights, sum: S::F32) -> S::F32;
}

/// Code that runs with a way to multiply.
pub(crate) trait DotKernel {
    /// Must be `#[inline(always)]`, and so must be what it calls.
    fn run<S: Words, D: Dot<S>>(self, s: S, dot: D);
}

/// `f32` by `f32`.
#[derive(Clone, Copy)]
struct Singles;

impl<S: Words> Dot<S> for Singles {
    type Value = S::F32;
    type Weights = S::F32;
    const WORDS: usize = 1;
    const SPARE: usize = 0;
    const INTEGERS: bool = false;

    #[inline(always)]
    unsafe fn value(self, s: S, at: *const f32) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(unsafe { *at })
    }

    #[inline(always)]
    unsafe fn weights(self, s: S, at: *const f32) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { s.load(at) }
    }

    #[inline(always)]
    fn add(self, s: S, value: S::F32, weights: S::F32, sum: S::F32) -> S::F32 {
        s.mul_add(value, weights, sum)
    }
}

/// Two `f32` by two bf16, which are widened.
#[derive(Clone, Copy)]
struct WidePairs;

impl<S: Words> Dot<S> for WidePairs {
    type Value = [S::F32; 2];
    type Weights = [S::F32; 2];
    const WORDS: usize = 2;
    const SPARE: usize = 4;
    const INTEGERS: bool = false;

    #[inline(always)]
    unsafe fn value(self, s: S, at: *const f32) -> [S::F32; 2] {
        // SAFETY: the caller's promise.
        unsafe { [s.splat(*at), s.splat(*at.add(1))] }
    }

    #[inline(always)]
    unsafe fn weights(self, s: S, at: *const f32) -> [S::F32; 2] {
        // SAFETY: the caller's promise.
        let words = unsafe { s.load(at) };
        [s.low_halves(words), s.high_halves(words)]
    }

    #[inline(always)]
    fn add(self, s: S, value: [S::F32; 2], weights: [S::F32; 2], sum: S::F32) -> S::F32 {
        s.mul_add(value[1], weights[1], s.mul_add(value[0], weights[0], sum))
    }
}

/// Four bytes without a sign by four bytes with one, which are widened.
#[derive(Clone, Copy)]
struct WideQuads;

impl<S: Words> Dot<S> for WideQuads {
    type Value = [S::F32; 2];
    type Weights = [S::F32; 2];
    const WORDS: usize = 1;
    const SPARE: usize = 4;
    const INTEGERS: bool = true;

    #[inline(always)]
    unsafe fn value(self, s: S, at: *const f32) -> [S::F32; 2] {
        // SAFETY: the caller's promise.
        s.unsigned_bytes(s.splat(unsafe { *at }))
    }

    #[inline(always)]
    unsafe fn weights(self, s: S, at: *const f32) -> [S::F32; 2] {
        // SAFETY: the caller's promise.
        s.signed_bytes(unsafe { s.load(at) })
    }

    #[inline(always)]
    fn add(self, s: S, value: [S::F32; 2], weights: [S::F32; 2], sum: S::F32) -> S::F32 {
        let sum = s.add_products(value[0], weights[0], sum);
        s.add_products(value[1], weights[1], sum)
    }
}

/// Runs a kernel with a way to multiply that every instruction set has.
struct With<K, D>(K, D);

macro_rules! with {
    ($($dot:ty)*) => {
        $(impl<K: DotKernel> Kernel for With<K, $dot> {
            type Output = ();

            #[inline(always)]
            fn run<S: Words>(self, s: S) {
                self.0.run(s, self.1);
            }
        })*
    };
}

with!(Singles WidePairs WideQuads);

/// Whether pairs of bf16 are multiplied by an instruction of their own.
///
/// Private: true only where the CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PairUnit(bool);

/// Whether quads of bytes are multiplied by an instruction of their own.
///
/// Private: true only where the CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuadUnit(bool);

impl PairUnit {
    /// None: bf16 are widened.
    #[cfg(test)]
    pub(crate) const NONE: PairUnit = PairUnit(false);

    pub(crate) fn is_there(self) -> bool {
        self.0
    }
}

impl QuadUnit {
    /// None: bytes are widened.
    #[cfg(test)]
    pub(crate) const NONE: QuadUnit = QuadUnit(false);
}

impl Isa {
    /// What multiplies pairs of bf16 with these vectors.
    pub(crate) fn pair_unit(self) -> PairUnit {
        PairUnit(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Half => is_x86_feature_detected!("avx512bf16"),
            _ => false,
        })
    }

    /// What multiplies quads of bytes with these vectors.
    pub(crate) fn quad_unit(self) -> QuadUnit {
        QuadUnit(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Half => is_x86_feature_detected!("avx512vnni"),
            _ => false,
        })
    }

    /// Rows of `f32` by panels of `f32`.
    #[inline]
    pub(crate) fn run_singles<K: DotKernel>(self, kernel: K) {
        self.run(With(kernel, Singles));
    }

    /// Rows of bf16 where there is a unit for them, else of `f32`, by panels of bf16.
    #[inline]
    pub(crate) fn run_pairs<K: DotKernel>(self, unit: PairUnit, kernel: K) {
        match (self.0, unit.0) {
            // SAFETY (both): the unit is there only where the CPU has the feature.
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512, true) => unsafe { super::x86::dots::run_avx512_pairs(kernel) },
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512Half, true) => unsafe { super::x86::dots::run_half_pairs(kernel) },
            _ => self.run(With(kernel, WidePairs)),
        }
    }

    /// Rows of bytes by panels of bytes.
    #[inline]
    pub(crate) fn run_quads<K: DotKernel>(self, unit: QuadUnit, kernel: K) {
        match (self.0, unit.0) {
            // SAFETY (both): the unit is there only where the CPU has the feature.
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512, true) => unsafe { super::x86::dots::run_avx512_quads(kernel) },
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512Half, true) => unsafe { super::x86::dots::run_half_quads(kernel) },
            _ => self.run(With(kernel, WideQuads)),
        }
    }
}

/// The bytes 0 and 2 of each word, and 1 and 3, each widened to 16 bits.
#[inline(always)]
fn widened<const LANES: usize>(
    words: [f32; LANES],
    widen: impl Fn(u8) -> u16,
) -> [[f32; LANES]; 2] {
    let pick = |first: usize| {
        lanes!(lane => {
            let bytes = words[lane].to_bits().to_ne_bytes();
            let (low, high) = (widen(bytes[first]), widen(bytes[first + 2]));
            f32::from_bits(u32::from(low) | u32::from(high) << 16)
        })
    };
    [pick(0), pick(1)]
}

impl<const LANES: usize> Words for Portable<LANES> {
    #[inline(always)]
    fn low_halves(self, words: [f32; LANES]) -> [f32; LANES] {
        lanes!(lane => f32::from_bits(words[lane].to_bits() << 16))
    }

    #[inline(always)]
    fn high_halves(self, words: [f32; LANES]) -> [f32; LANES] {
        lanes!(lane => f32::from_bits(words[lane].to_bits() & 0xffff_0000))
    }

    #[inline(always)]
    fn unsigned_bytes(self, words: [f32; LANES]) -> [[f32; LANES]; 2] {
        widened(words, u16::from)
    }

    #[inline(always)]
    fn signed_bytes(self, words: [f32; LANES]) -> [[f32; LANES]; 2] {
        widened(words, |byte| i16::from(byte as i8) as u16)
    }

    #[inline(always)]
    fn add_products(self, a: [f32; LANES], b: [f32; LANES], sum: [f32; LANES]) -> [f32; LANES] {
        let halves = |word: f32| {
            let bits = word.to_bits();
            (i32::from(bits as i16), i32::from((bits >> 16) as i16))
        };
        lanes!(lane => {
            let (a, b) = (halves(a[lane]), halves(b[lane]));
            let products = (a.0 * b.0).wrapping_add(a.1 * b.1);
            f32::from_bits(sum[lane].to_bits().wrapping_add(products as u32))
        })
    }

    #[inline(always)]
    fn add_integers(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        lanes!(lane => f32::from_bits(a[lane].to_bits().wrapping_add(b[lane].to_bits())))
    }

    #[inline(always)]
    fn integers_to_floats(self, integers: [f32; LANES]) -> [f32; LANES] {
        lanes!(lane => (integers[lane].to_bits() as i32) as f32)
    }
}
