//! Plain Rust that the compiler turns into whatever vectors the target has for certain.

use super::Simd;

/// Vectors of `LANES` values, as arrays. Without a fused multiply-add: where the hardware has
/// none, the library's is hundreds of times slower.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize>;

/// An array of `LANES` values, made lane by lane. Under Miri, which takes many times as long for the
/// library's calls as for the values, by a loop.
macro_rules! lanes {
    ($lane:ident => $value:expr) => {
        if cfg!(miri) {
            let mut values = [0.0; LANES];
            let mut $lane = 0;
            while $lane < LANES {
                values[$lane] = $value;
                $lane += 1;
            }
            values
        } else {
            std::array::from_fn(|$lane| $value)
        }
    };
}

pub(super) use lanes;

#[inline(always)]
fn each<const LANES: usize>(
    a: [f32; LANES],
    b: [f32; LANES],
    of: impl Fn(f32, f32) -> f32,
) -> [f32; LANES] {
    lanes!(lane => of(a[lane], b[lane]))
}

impl<const LANES: usize> Simd for Portable<LANES> {
    type F32 = [f32; LANES];
    const LANES: usize = LANES;
    const SUMS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; LANES] {
        // SAFETY: the caller's promise; an array of f32 needs no more alignment than f32.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [f32; LANES]) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; LANES]>().write(value) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: [f32; LANES], count: usize) {
        // SAFETY: the caller's promise.
        unsafe { to.copy_from_nonoverlapping(value.as_ptr(), count.min(LANES)) };
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn neg_mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        self.sub(c, self.mul(a, b))
    }

    #[inline(always)]
    fn at_most(self, limit: [f32; LANES], value: [f32; LANES]) -> [f32; LANES] {
        // Not `f32::min`, which would lose a NaN.
        each(
            limit,
            value,
            |limit, value| if limit < value { limit } else { value },
        )
    }

    #[inline(always)]
    fn at_least(self, limit: [f32; LANES], value: [f32; LANES]) -> [f32; LANES] {
        each(
            limit,
            value,
            |limit, value| if limit > value { limit } else { value },
        )
    }

    #[inline(always)]
    fn scale(self, a: [f32; LANES], shifted: [f32; LANES]) -> [f32; LANES] {
        each(a, shifted, |a, shifted| {
            f32::from_bits(a.to_bits().wrapping_add(shifted.to_bits() << 23))
        })
    }
}
