//! Several vectors beside each other, as one long one.

use super::{Nearest, Simd};

/// The vectors of `S`, `N` at a time.
///
/// A long chain of operations, each of which waits for the one before, leaves a processor idle:
/// it does not look far enough ahead to find the next vector's chain. Here each operation is done
/// on all `N` before the next one.
#[derive(Clone, Copy)]
pub(crate) struct Beside<S, const N: usize>(pub(crate) S);

/// What is done with each of the `N`, from those of the arguments. Loops and not closures: one that
/// the compiler did not inline would lack the vectors' features.
macro_rules! each {
    ($($name:ident($($argument:ident),+);)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: Self::F32),+) -> Self::F32 {
                let mut results = [self.0.splat(0.0); N];
                for n in 0..N {
                    results[n] = self.0.$name($($argument[n]),+);
                }
                results
            }
        )+
    };
}

impl<S: Simd, const N: usize> Simd for Beside<S, N> {
    type F32 = [S::F32; N];
    const LANES: usize = N * S::LANES;
    const SUMS: usize = S::SUMS / N;
    const NEAREST_BITS: u32 = S::NEAREST_BITS;
    const BELOW_BITS: u32 = S::BELOW_BITS;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [self.0.splat(value); N]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F32 {
        let mut values = [self.0.splat(0.0); N];
        for (n, value) in values.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *value = unsafe { self.0.load(from.add(n * S::LANES)) };
        }
        values
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, values: Self::F32) {
        for (n, value) in values.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.0.store(to.add(n * S::LANES), value) };
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, values: Self::F32, count: usize) {
        for (n, value) in values.into_iter().enumerate() {
            let first = n * S::LANES;
            let count = count.saturating_sub(first).min(S::LANES);
            // SAFETY: the caller's promise.
            unsafe { self.0.store_first(to.wrapping_add(first), value, count) };
        }
    }

    #[inline(always)]
    fn nearest_exp2(self, y: Self::F32, most: f32) -> Nearest<Self::F32> {
        let (mut power, mut lost, mut rest) = (y, y, y);
        for n in 0..N {
            let nearest = self.0.nearest_exp2(y[n], most);
            (power[n], lost[n], rest[n]) = (nearest.power, nearest.lost, nearest.rest);
        }
        Nearest { power, lost, rest }
    }

    #[inline(always)]
    fn exp2_below(self, y: Self::F32) -> (Self::F32, Self::F32) {
        let (mut powers, mut rests) = (y, y);
        for n in 0..N {
            (powers[n], rests[n]) = self.0.exp2_below(y[n]);
        }
        (powers, rests)
    }

    each! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        mul_add(a, b, c);
        neg_mul_add(a, b, c);
        at_most(limit, value);
        at_least(limit, value);
        scale(a, shifted);
    }
}
