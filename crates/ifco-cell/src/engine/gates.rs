//! From the sums of the gates to the new states: the equations of `reference`, on vectors.

use super::simd::{Isa, Kernel, Simd};
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
#[derive(Debug, Clone, Copy)]
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
                    Phi::Tanh => $cell(s, of $(, $sigma)?, Tanh),
                    Phi::Relu => $cell(s, of $(, $sigma)?, Relu),
                    Phi::Linear => $cell(s, of $(, $sigma)?, Linear),
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
                Equations::Lstm(sigma, phi) => with_both!(sigma, phi, lstm),
                Equations::Gru(sigma, phi) => with_both!(sigma, phi, gru),
                Equations::SimpleRnn(phi) => with_phi!(phi, simple_rnn),
            }
        }
    }
}

/// Does `$body` for each vector of states, with the offsets of `z`, `x` and the states; rows that
/// do not count keep theirs.
macro_rules! each_vector {
    ($s:ident, $of:ident, |$z:ident, $x:ident, $state:ident| $body:block) => {
        for panel in 0..$of.panels {
            for row in 0..$of.rows {
                let $z = $of
                    .z
                    .at
                    .add(row * $of.z.stride + panel * $of.z.panel_stride);
                let $x = row * $of.x.stride + panel * $of.x.panel_stride;
                let first = row * $of.stride + panel * $of.panel_stride;
                for vector in 0..$of.panel_stride / S::LANES {
                    let $state = first + vector * S::LANES;
                    let $z = $z.add(vector * S::LANES);
                    let $x = $x + vector * S::LANES;
                    let new_h = if $of.counted.is_null() || *$of.counted.add(row) {
                        $body
                    } else {
                        $s.load($of.h.add($state))
                    };
                    $s.store($of.new_h.add($state), new_h);
                    let unit = panel * $of.panel_stride + vector * S::LANES;
                    $of.outputs.put($s, row, unit, $of.units, new_h);
                }
            }
        }
    };
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

/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
unsafe fn lstm<S: Simd>(s: S, of: &Gates, sigma: impl Sigmas, phi: impl Phis) {
    // SAFETY: the caller's promise.
    unsafe {
        each_vector!(s, of, |z, _x, state| {
            let mut sums = [s.splat(0.0); 4];
            for (gate, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(z.add(gate * S::LANES));
            }
            let c = of.c.add(state);
            let (new_c, new_h) = lstm_states(s, sums, s.load(c), sigma, phi);
            s.store(c, new_c);
            new_h
        });
    }
}

/// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + r∘h_h);  h' = z∘h + (1 − z)∘h̃
///
/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
unsafe fn gru<S: Simd>(s: S, of: &Gates, sigma: impl Sigmas, phi: impl Phis) {
    // SAFETY: the caller's promise.
    unsafe {
        each_vector!(s, of, |z, x, state| {
            let from_h = (s.load(z.add(2 * S::LANES)), None);
            let reset = sigma.times(s, s.load(z.add(S::LANES)), from_h);
            let candidate = phi.of(s, s.add(s.load(of.x.at.add(x)), reset));
            let change = (s.sub(s.load(of.h.add(state)), candidate), None);
            s.add(candidate, sigma.times(s, s.load(z), change))
        });
    }
}

/// h' = φ(z)
///
/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
unsafe fn simple_rnn<S: Simd>(s: S, of: &Gates, phi: impl Phis) {
    // SAFETY: the caller's promise.
    unsafe {
        each_vector!(s, of, |z, _x, state| { phi.of(s, s.load(z)) });
    }
}
