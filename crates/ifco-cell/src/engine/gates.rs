//! From the sums of the gates to the new states: the equations of `reference`, on vectors.

use std::ops::Range;

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
    /// From one row of it to the next.
    pub(super) h_stride: usize,
    /// Null: h goes to the outputs alone.
    pub(super) new_h: *mut f32,
    /// Of an LSTM.
    pub(super) c: *mut f32,
    /// From one row to the next of c and of the new h.
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
                    Phi::Tanh => all_rows(s, of, $cell($($sigma,)? Tanh)),
                    Phi::Relu => all_rows(s, of, $cell($($sigma,)? Relu)),
                    Phi::Linear => all_rows(s, of, $cell($($sigma,)? Linear)),
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
                Equations::Lstm(sigma, phi) => {
                    with_both!(sigma, phi, LstmC);
                    with_both!(sigma, phi, LstmH);
                }
                Equations::Gru(sigma, phi) => with_both!(sigma, phi, Gru),
                Equations::SimpleRnn(phi) => with_phi!(phi, SimpleRnn),
            }
        }
    }
}

/// So many rows' gates are computed side by side: each is a long chain of operations that wait for
/// one another.
const BESIDE: usize = 3;

/// With fewer vectors of sums in registers there are too few of them for that.
const REGISTERS: usize = 24;

/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
unsafe fn all_rows<S: Simd>(s: S, of: &Gates, cell: impl Update) {
    for panel in 0..of.panels {
        for unit in (0..of.panel_stride).step_by(S::LANES) {
            let mut row = 0;
            // SAFETY: the caller's promise.
            unsafe {
                while S::SUMS >= REGISTERS && of.counted.is_null() && row + BESIDE <= of.rows {
                    some_rows::<S, BESIDE>(s, of, cell, panel, unit, row);
                    row += BESIDE;
                }
                while row < of.rows {
                    if of.counted.is_null() || *of.counted.add(row) {
                        some_rows::<S, 1>(s, of, cell, panel, unit, row);
                    } else if cell.gives_h() {
                        let unit = panel * of.panel_stride + unit;
                        let h = s.load(of.h.add(row * of.h_stride + unit));
                        s.store(of.new_h.add(row * of.stride + unit), h);
                    }
                    row += 1;
                }
            }
        }
    }
}

/// The new c or h of `N` rows, of a vector of a panel's units.
///
/// # Safety
/// As for [`Gates::run`].
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "row and gate, as everywhere")]
unsafe fn some_rows<S: Simd, const N: usize>(
    s: S,
    of: &Gates,
    cell: impl Update,
    panel: usize,
    unit: usize,
    row: usize,
) {
    let zeros = [s.splat(0.0); N];
    // SAFETY: the caller's promise.
    unsafe {
        let state = row * of.stride + panel * of.panel_stride + unit;
        let before = Before {
            z: {
                let first = row * of.z.stride + panel * of.z.panel_stride + unit;
                let mut z = [zeros; 4];
                for gate in 0..4 {
                    let there = cell.sums().contains(&gate);
                    z[gate] = load_rows(s, of.z.at, first + gate * S::LANES, of.z.stride, there);
                }
                z
            },
            x: {
                let first = row * of.x.stride + panel * of.x.panel_stride + unit;
                load_rows(s, of.x.at, first, of.x.stride, cell.looks_back())
            },
            h: {
                let first = row * of.h_stride + panel * of.panel_stride + unit;
                load_rows(s, of.h, first, of.h_stride, cell.looks_back())
            },
            c: load_rows(s, of.c, state, of.stride, cell.looks_at_c()),
        };
        let new = cell.update(Beside::<S, N>(s), before);
        for r in 0..N {
            let state = state + r * of.stride;
            if cell.gives_h() {
                if !of.new_h.is_null() {
                    s.store(of.new_h.add(state), new[r]);
                }
                let unit = panel * of.panel_stride + unit;
                of.outputs.put(s, row + r, unit, of.units, new[r]);
            } else {
                s.store(of.c.add(state), new[r]);
            }
        }
    }
}

/// A vector of each of `N` rows; zeros if it is not there.
///
/// # Safety
/// If it is `there`, it can be read.
#[inline(always)]
unsafe fn load_rows<S: Simd, const N: usize>(
    s: S,
    at: *const f32,
    first: usize,
    stride: usize,
    there: bool,
) -> [S::F32; N] {
    let mut rows = [s.splat(0.0); N];
    for (r, row) in rows.iter_mut().enumerate() {
        if there {
            // SAFETY: the caller's promise.
            *row = unsafe { s.load(at.add(first + r * stride)) };
        }
    }
    rows
}

/// What the equations start from: the sums, and where they are looked at the candidate's part of
/// x, and the states.
struct Before<F> {
    z: [F; 4],
    x: F,
    h: F,
    c: F,
}

/// A cell's equations, or those of one of its states.
trait Update: Copy {
    /// Which sums of a unit are looked at.
    fn sums(self) -> Range<usize>;

    /// Whether c is.
    fn looks_at_c(self) -> bool {
        false
    }

    /// Whether x and h are.
    fn looks_back(self) -> bool {
        false
    }

    /// Whether what comes out is h; otherwise it is c.
    fn gives_h(self) -> bool {
        true
    }

    /// The new state.
    fn update<S: Simd>(self, s: S, before: Before<S::F32>) -> S::F32;
}

/// i, f = σ(z_i, z_f);  c̃ = φ(z_c);  c' = f∘c + i∘c̃
#[inline(always)]
fn lstm_c<S: Simd>(
    s: S,
    [i, f, c_tilde]: [S::F32; 3],
    c: S::F32,
    sigma: impl Sigmas,
    phi: impl Phis,
) -> S::F32 {
    let kept = sigma.times(s, f, (c, None));
    s.add(kept, sigma.times(s, i, phi.fraction(s, c_tilde)))
}

/// h' = σ(z_o)∘φ(c')
#[inline(always)]
fn lstm_h<S: Simd>(s: S, o: S::F32, c: S::F32, sigma: impl Sigmas, phi: impl Phis) -> S::F32 {
    sigma.times(s, o, phi.fraction_of_state(s, c))
}

/// Both new states of an LSTM: c' and h'.
#[inline(always)]
pub(super) fn lstm_states<S: Simd>(
    s: S,
    [i, f, c_tilde, o]: [S::F32; 4],
    c: S::F32,
    sigma: impl Sigmas,
    phi: impl Phis,
) -> (S::F32, S::F32) {
    let c = lstm_c(s, [i, f, c_tilde], c, sigma, phi);
    (c, lstm_h(s, o, c, sigma, phi))
}

/// An LSTM's c, of all rows before the first h: each of the two is a chain half as long as both
/// together, of which the processor has twice as many in view.
#[derive(Clone, Copy)]
struct LstmC<A, B>(A, B);

impl<A: Sigmas, B: Phis> Update for LstmC<A, B> {
    #[inline(always)]
    fn sums(self) -> Range<usize> {
        0..3
    }

    #[inline(always)]
    fn looks_at_c(self) -> bool {
        true
    }

    #[inline(always)]
    fn gives_h(self) -> bool {
        false
    }

    #[inline(always)]
    fn update<S: Simd>(self, s: S, before: Before<S::F32>) -> S::F32 {
        let [i, f, c_tilde, _] = before.z;
        lstm_c(s, [i, f, c_tilde], before.c, self.0, self.1)
    }
}

/// An LSTM's h, of the c that is there by now.
#[derive(Clone, Copy)]
struct LstmH<A, B>(A, B);

impl<A: Sigmas, B: Phis> Update for LstmH<A, B> {
    #[inline(always)]
    fn sums(self) -> Range<usize> {
        3..4
    }

    #[inline(always)]
    fn looks_at_c(self) -> bool {
        true
    }

    #[inline(always)]
    fn update<S: Simd>(self, s: S, before: Before<S::F32>) -> S::F32 {
        lstm_h(s, before.z[3], before.c, self.0, self.1)
    }
}

/// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + r∘h_h);  h' = z∘h + (1 − z)∘h̃
#[derive(Clone, Copy)]
struct Gru<A, B>(A, B);

impl<A: Sigmas, B: Phis> Update for Gru<A, B> {
    #[inline(always)]
    fn sums(self) -> Range<usize> {
        0..3
    }

    #[inline(always)]
    fn looks_back(self) -> bool {
        true
    }

    #[inline(always)]
    fn update<S: Simd>(self, s: S, before: Before<S::F32>) -> S::F32 {
        let Self(sigma, phi) = self;
        let [z, r, from_h, _] = before.z;
        let reset = sigma.times(s, r, (from_h, None));
        let candidate = phi.of(s, s.add(before.x, reset));
        let change = (s.sub(before.h, candidate), None);
        s.add(candidate, sigma.times(s, z, change))
    }
}

/// h' = φ(z)
#[derive(Clone, Copy)]
struct SimpleRnn<B>(B);

impl<B: Phis> Update for SimpleRnn<B> {
    #[inline(always)]
    fn sums(self) -> Range<usize> {
        0..1
    }

    #[inline(always)]
    fn update<S: Simd>(self, s: S, before: Before<S::F32>) -> S::F32 {
        self.0.of(s, before.z[0])
    }
}
