//! From the sums of the gates to the new states: the equations of `reference`, on vectors.

use super::simd::{Beside, Isa, Kernel, Simd};
use super::traffic::Outputs;
use crate::{Activation, math};

/// A `recurrent_activation` that is worked into the update of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sigma {
    Sigmoid,
    HardSigmoid,
    HardSigmoidKeras2,
}

/// An `activation` that is worked into the update of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phi {
    Tanh,
    Relu,
    Linear,
}

impl Sigma {
    /// `None` for the activations that go the longer way, through whole rows.
    pub(super) fn of(activation: Activation) -> Option<Self> {
        Some(match activation {
            Activation::Sigmoid => Sigma::Sigmoid,
            Activation::HardSigmoid => Sigma::HardSigmoid,
            Activation::HardSigmoidKeras2 => Sigma::HardSigmoidKeras2,
            _ => return None,
        })
    }
}

impl Phi {
    /// `None` for the activations that go the longer way, through whole rows.
    pub(super) fn of(activation: Activation) -> Option<Self> {
        Some(match activation {
            Activation::Tanh => Phi::Tanh,
            Activation::RELU => Phi::Relu,
            Activation::Linear => Phi::Linear,
            _ => return None,
        })
    }
}

impl Sigma {
    /// What the sums it is applied to are multiplied by.
    fn factor(self) -> f32 {
        match self {
            Sigma::Sigmoid => math::SIGMOID_EXPONENT,
            Sigma::HardSigmoid | Sigma::HardSigmoidKeras2 => 1.0,
        }
    }
}

impl Phi {
    /// What the sums it is applied to are multiplied by.
    fn factor(self) -> f32 {
        match self {
            Phi::Tanh => math::TANH_EXPONENT,
            Phi::Relu | Phi::Linear => 1.0,
        }
    }
}

/// A fraction whose division waits until it can be done together with another one. `None`: 1.
pub(super) type Fraction<F> = (F, Option<F>);

/// φ as a type, so that each combination is compiled into straight code.
pub(super) trait Phis: Copy {
    /// Of a sum, times [`Phi::factor`].
    fn fraction<S: Simd>(self, s: S, sum: S::F32) -> Fraction<S::F32>;

    /// Of a state, as it is.
    #[inline(always)]
    fn fraction_of_state<S: Simd>(self, s: S, x: S::F32) -> Fraction<S::F32> {
        self.fraction(s, x)
    }

    /// Of a sum, times [`Phi::factor`].
    #[inline(always)]
    fn of<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        match self.fraction(s, sum) {
            (over, Some(under)) => s.div(over, under),
            (over, None) => over,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

#[derive(Clone, Copy)]
struct Relu;

#[derive(Clone, Copy)]
struct Linear;

impl Phis for Tanh {
    #[inline(always)]
    fn fraction<S: Simd>(self, s: S, sum: S::F32) -> Fraction<S::F32> {
        let (over, under) = math::tanh_fraction(s, sum);
        (over, Some(under))
    }

    #[inline(always)]
    fn fraction_of_state<S: Simd>(self, s: S, x: S::F32) -> Fraction<S::F32> {
        self.fraction(s, s.mul(x, s.splat(math::TANH_EXPONENT)))
    }
}

impl Phis for Relu {
    #[inline(always)]
    fn fraction<S: Simd>(self, s: S, sum: S::F32) -> Fraction<S::F32> {
        (s.at_least(s.splat(0.0), sum), None)
    }
}

impl Phis for Linear {
    #[inline(always)]
    fn fraction<S: Simd>(self, _: S, sum: S::F32) -> Fraction<S::F32> {
        (sum, None)
    }
}

/// σ as a type.
pub(super) trait Sigmas: Copy {
    /// σ(x)·fraction, where the sum is x times [`Sigma::factor`].
    fn times<S: Simd>(self, s: S, sum: S::F32, fraction: Fraction<S::F32>) -> S::F32;
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

/// clip(slope·x + 0.5, 0, 1)
#[derive(Clone, Copy)]
struct Hard {
    slope: f32,
}

impl Sigmas for Sigmoid {
    #[inline(always)]
    fn times<S: Simd>(self, s: S, sum: S::F32, (over, under): Fraction<S::F32>) -> S::F32 {
        // Where it is infinite, the quotient is 0.
        let whole = math::one_plus_exp2(s, sum);
        match under {
            Some(under) => s.div(over, s.mul(whole, under)),
            None => s.div(over, whole),
        }
    }
}

impl Sigmas for Hard {
    #[inline(always)]
    fn times<S: Simd>(self, s: S, sum: S::F32, (over, under): Fraction<S::F32>) -> S::F32 {
        let line = s.mul_add(s.splat(self.slope), sum, s.splat(0.5));
        let gate = s.at_most(s.splat(1.0), s.at_least(s.splat(0.0), line));
        match under {
            Some(under) => s.div(s.mul(gate, over), under),
            None => s.mul(gate, over),
        }
    }
}

/// Which cell's equations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equations {
    /// z: i, f, c̃, o
    Lstm(Sigma, Phi),
    /// With `reset_after`; z: z, r and h·U of the candidate; x: x·W of the candidate
    Gru(Sigma, Phi),
    /// z: the unit
    SimpleRnn(Phi),
}

impl Equations {
    /// What the sums of each gate are multiplied by, so that the activations have less to do:
    /// their weights are packed so. Without equations the sums are as they are.
    pub(super) fn factors(of: Option<Self>) -> [f32; 4] {
        match of {
            Some(Equations::Lstm(sigma, phi)) => {
                let sigma = sigma.factor();
                [sigma, sigma, phi.factor(), sigma]
            }
            Some(Equations::Gru(sigma, phi)) => [sigma.factor(), sigma.factor(), phi.factor(), 1.0],
            Some(Equations::SimpleRnn(phi)) => [phi.factor(), 1.0, 1.0, 1.0],
            None => [1.0; 4],
        }
    }
}

/// The new states of some panels of some rows.
pub(super) struct Gates {
    pub(super) equations: Equations,
    /// The sums: `vectors` vectors for each row and panel.
    pub(super) z: Values<*const f32>,
    /// Of a GRU: the part of the candidate that comes from x.
    pub(super) x: Values<*const f32>,
    pub(super) h: *const f32,
    pub(super) new_h: *mut f32,
    /// Of an LSTM.
    pub(super) c: *mut f32,
    /// From one row of the states to the next.
    pub(super) stride: usize,
    /// From one panel to the next in the states: the units of a panel.
    pub(super) panel_stride: usize,
    /// Where h goes too.
    pub(super) outputs: Outputs,
    /// From the first of these panels on, without those lanes that are no units.
    pub(super) units: usize,
    /// Whether each row counts, or keeps its states; null when all do.
    pub(super) counted: *const bool,
    pub(super) rows: usize,
    pub(super) panels: usize,
}

/// Vectors of rows and panels.
#[derive(Clone, Copy)]
pub(super) struct Values<P> {
    pub(super) at: P,
    pub(super) stride: usize,
    pub(super) panel_stride: usize,
}

impl Gates {
    /// # Safety
    /// All pointers are valid for what they are said to hold, and nobody else writes there.
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.run(Valid(self));
    }
}

/// Gates whose pointers their maker vouches for.
struct Valid(Gates);

impl Kernel for Valid {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let of = &self.0;
        // Each combination of cell, σ and φ becomes code of its own.
        macro_rules! with_phi {
            ($phi:expr, $cell:ident $(, $sigma:expr)?) => {
                match $phi {
                    Phi::Tanh => each_vector(s, of, $cell($($sigma,)? Tanh)),
                    Phi::Relu => each_vector(s, of, $cell($($sigma,)? Relu)),
                    Phi::Linear => each_vector(s, of, $cell($($sigma,)? Linear)),
                }
            };
        }
        macro_rules! with_both {
            ($sigma:expr, $phi:expr, $cell:ident) => {
                match $sigma {
                    Sigma::Sigmoid => with_phi!($phi, $cell, Sigmoid),
                    Sigma::HardSigmoid => with_phi!($phi, $cell, Hard { slope: 1.0 / 6.0 }),
                    Sigma::HardSigmoidKeras2 => with_phi!($phi, $cell, Hard { slope: 0.2 }),
                }
            };
        }
        // SAFETY: the promise of `Gates::run`.
        unsafe {
            match of.equations {
                Equations::Lstm(sigma, phi) => with_both!(sigma, phi, Lstm),
                Equations::Gru(sigma, phi) => with_both!(sigma, phi, Gru),
                Equations::SimpleRnn(phi) => with_phi!(phi, SimpleRnn),
            }
        }
    }
}

/// How many rows are computed beside each other where there are so many and all count: with this
/// many chains of operations the processor finds work for all of its units.
const ROWS: usize = 4;

/// The equations of a cell, as a type.
trait Step: Copy {
    /// The new h of a vector of units of `N` rows, whose c is replaced.
    ///
    /// # Safety
    /// As for [`Gates::run`], and the places are those of such vectors.
    unsafe fn states<S: Simd, const N: usize>(self, s: S, of: &Gates, at: &[At; N]) -> [S::F32; N];
}

/// Where a vector of a row is.
#[derive(Clone, Copy)]
struct At {
    /// Its sums.
    z: *const f32,
    x: *const f32,
    /// From the beginning of the states.
    state: usize,
}

/// The vectors at `$pointer` of each of the places.
macro_rules! loads {
    ($s:ident, $at:ident, |$one:ident| $pointer:expr) => {{
        let mut values = [$s.splat(0.0); N];
        for (value, $one) in values.iter_mut().zip($at) {
            *value = $s.load($pointer);
        }
        values
    }};
}

/// All vectors of the states; rows that do not count keep theirs.
///
/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
unsafe fn each_vector<S: Simd>(s: S, of: &Gates, step: impl Step) {
    // So many sums leave registers for as many chains.
    let beside = of.counted.is_null() && S::SUMS >= 6 * ROWS;
    // SAFETY: the caller's promise; the rows are there.
    unsafe {
        for panel in 0..of.panels {
            let mut row = 0;
            while row < of.rows {
                if beside && row + ROWS <= of.rows {
                    vectors_of::<S, ROWS>(s, of, step, panel, row);
                    row += ROWS;
                } else {
                    vectors_of::<S, 1>(s, of, step, panel, row);
                    row += 1;
                }
            }
        }
    }
}

/// The vectors of a panel of `N` rows.
///
/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "several arrays beside each other"
)]
unsafe fn vectors_of<S: Simd, const N: usize>(
    s: S,
    of: &Gates,
    step: impl Step,
    panel: usize,
    first: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for vector in 0..of.panel_stride / S::LANES {
            let unit = panel * of.panel_stride + vector * S::LANES;
            let mut at = [At {
                z: of.z.at,
                x: of.x.at,
                state: 0,
            }; N];
            for n in 0..N {
                let row = first + n;
                let lanes = vector * S::LANES;
                at[n] = At {
                    z: of
                        .z
                        .at
                        .add(row * of.z.stride + panel * of.z.panel_stride + lanes),
                    x: of
                        .x
                        .at
                        .wrapping_add(row * of.x.stride + panel * of.x.panel_stride + lanes),
                    state: row * of.stride + unit,
                };
            }
            let new_h = if of.counted.is_null() || *of.counted.add(first) {
                step.states(s, of, &at)
            } else {
                loads!(s, at, |at| of.h.add(at.state))
            };
            for n in 0..N {
                s.store(of.new_h.add(at[n].state), new_h[n]);
                of.outputs.put(s, first + n, unit, of.units, new_h[n]);
            }
        }
    }
}

/// i, f, o = σ(z_i, z_f, z_o);  c̃ = φ(z_c);  c' = f∘c + i∘c̃;  h' = o∘φ(c')
#[inline(always)]
pub(super) fn lstm_states<S: Simd>(
    s: S,
    [i, f, c_tilde, o]: [S::F32; 4],
    c: S::F32,
    sigma: impl Sigmas,
    phi: impl Phis,
) -> (S::F32, S::F32) {
    let kept = sigma.times(s, f, (c, None));
    let c = s.add(kept, sigma.times(s, i, phi.fraction(s, c_tilde)));
    (c, sigma.times(s, o, phi.fraction_of_state(s, c)))
}

#[derive(Clone, Copy)]
struct Lstm<A, B>(A, B);

impl<A: Sigmas, B: Phis> Step for Lstm<A, B> {
    #[inline(always)]
    unsafe fn states<S: Simd, const N: usize>(self, s: S, of: &Gates, at: &[At; N]) -> [S::F32; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = [
                loads!(s, at, |at| at.z),
                loads!(s, at, |at| at.z.add(S::LANES)),
                loads!(s, at, |at| at.z.add(2 * S::LANES)),
                loads!(s, at, |at| at.z.add(3 * S::LANES)),
            ];
            let c = loads!(s, at, |at| of.c.add(at.state));
            let (new_c, new_h) = lstm_states(Beside::<S, N>(s), sums, c, self.0, self.1);
            for (at, c) in at.iter().zip(new_c) {
                s.store(of.c.add(at.state), c);
            }
            new_h
        }
    }
}

/// With `reset_after`.
#[derive(Clone, Copy)]
struct Gru<A, B>(A, B);

impl<A: Sigmas, B: Phis> Step for Gru<A, B> {
    /// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + r∘h_h);  h' = z∘h + (1 − z)∘h̃
    #[inline(always)]
    unsafe fn states<S: Simd, const N: usize>(self, s: S, of: &Gates, at: &[At; N]) -> [S::F32; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let Gru(sigma, phi) = self;
            let z = loads!(s, at, |at| at.z);
            let r = loads!(s, at, |at| at.z.add(S::LANES));
            let from_h = loads!(s, at, |at| at.z.add(2 * S::LANES));
            let from_x = loads!(s, at, |at| at.x);
            let h = loads!(s, at, |at| of.h.add(at.state));
            let s = Beside::<S, N>(s);
            let reset = sigma.times(s, r, (from_h, None));
            let candidate = phi.of(s, s.add(from_x, reset));
            let change = (s.sub(h, candidate), None);
            s.add(candidate, sigma.times(s, z, change))
        }
    }
}

#[derive(Clone, Copy)]
struct SimpleRnn<B>(B);

impl<B: Phis> Step for SimpleRnn<B> {
    /// h' = φ(z)
    #[inline(always)]
    unsafe fn states<S: Simd, const N: usize>(self, s: S, _: &Gates, at: &[At; N]) -> [S::F32; N] {
        // SAFETY: the caller's promise.
        let z = unsafe { loads!(s, at, |at| at.z) };
        self.0.of(Beside::<S, N>(s), z)
    }
}
