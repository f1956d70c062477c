//! What the nodes of a loop's graph compute, as far as a cell's step needs to tell: sums of
//! products with weights, functions of them number by number, and what these are multiplied and
//! added to.

use std::ops::Range;
use std::rc::Rc;

use ifco_cell::Activation;
use ifco_model::Array;
use ifco_model::onnx::Constant;
use ndarray::{ArcArray1, ArcArray2, Array1, ArrayView2, Axis, Ix1, Ix2, Slice, s};

/// The number of a value in its graph.
pub(super) type Id = usize;

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Constant(Constant),
    /// A value from around the loop, by the number of its name.
    Outer(usize),
    /// How many rounds were there before this one, and some more.
    Round(i64),
    /// How many rounds there are.
    Rounds,
    /// Whether there is a round left.
    GoesOn,
    /// The part of this round of a sequence, which is that of a name around the loop.
    Step(usize),
    /// A state before the step.
    State(usize),
    Sum(Rc<Sum>),
    Normed {
        of: Id,
        norm: Rc<Normed>,
    },
    /// A function of another value, number by number: what it is at [`points`].
    Function {
        of: Id,
        at_points: Rc<Array>,
    },
    /// A function of whole rows.
    OfRow {
        of: Id,
        activation: Activation,
    },
    /// Each number times that of a vector.
    Scaled {
        of: Id,
        by: ArcArray1<f32>,
    },
    Product(Id, Id),
    Plus(Id, Id),
    /// Anything else.
    Other,
}

/// The arrays of a layer normalization.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Normed {
    pub gamma: ArcArray1<f32>,
    pub beta: ArcArray1<f32>,
    pub epsilon: f32,
}

/// Products with weights, and what is added to them, column by column.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    pub terms: Vec<Term>,
    /// Values times a vector: peepholes.
    pub scaled: Vec<(Id, ArcArray1<f32>)>,
    /// A value times another sum: what the reset gate lets through.
    pub gated: Vec<(Id, Rc<Sum>)>,
    pub biases: Vec<ArcArray1<f32>>,
    /// What all of the above is normalized by, and what is added then.
    pub normed: Option<Rc<Normed>>,
    pub behind: Vec<ArcArray1<f32>>,
}

/// A value times columns of a matrix.
#[derive(Debug, Clone)]
pub(super) struct Term {
    pub source: Id,
    matrix: ArcArray2<f32>,
    columns: Range<usize>,
    /// Added to the product before anything else is.
    pub bias: Option<ArcArray1<f32>>,
    /// Over all columns of the matrix.
    pub normed: Option<Rc<Normed>>,
}

impl Term {
    pub fn new(source: Id, matrix: ArcArray2<f32>) -> Self {
        Self {
            source,
            columns: 0..matrix.ncols(),
            matrix,
            bias: None,
            normed: None,
        }
    }

    pub fn matrix(&self) -> ArrayView2<'_, f32> {
        self.matrix.slice(s![.., self.columns.clone()])
    }

    /// Whether it is the part of this number, of so many equal ones, of what `first` is part of.
    pub fn is_part(&self, first: &Term, index: usize, of: usize) -> bool {
        let units = self.matrix.ncols() / of;
        let same = self.matrix.as_ptr() == first.matrix.as_ptr()
            && self.matrix.dim() == first.matrix.dim();
        same && self.columns == (units * index..units * (index + 1))
    }

    fn width(&self) -> usize {
        self.columns.len()
    }
}

impl Sum {
    pub fn of(term: Term) -> Self {
        Self {
            terms: vec![term],
            ..Self::default()
        }
    }

    /// Whether it has no more parts than a gate's sum may have: a file can add to one without end.
    pub fn is_small(&self) -> bool {
        let counts = [
            self.terms.len(),
            self.scaled.len(),
            self.gated.len(),
            self.biases.len(),
            self.behind.len(),
        ];
        counts.into_iter().all(|count| count <= 4)
    }

    pub fn width(&self) -> usize {
        let own = self.terms.first().map(Term::width);
        own.or(self.gated.first().map(|(_, sum)| sum.width()))
            .unwrap_or(0)
    }

    /// Some of its columns; `None` where they cannot be taken apart.
    pub fn columns(&self, range: Range<usize>) -> Option<Sum> {
        let part = |vector: &ArcArray1<f32>| {
            let mut part = vector.clone();
            part.slice_axis_inplace(Axis(0), Slice::from(range.clone()));
            part
        };
        if range.end > self.width() || self.normed.is_some() || !self.gated.is_empty() {
            return None;
        }
        let terms = self.terms.iter().map(|term| Term {
            columns: term.columns.start + range.start..term.columns.start + range.end,
            bias: term.bias.as_ref().map(part),
            ..term.clone()
        });
        Some(Sum {
            terms: terms.collect(),
            scaled: self.scaled.iter().map(|(id, by)| (*id, part(by))).collect(),
            biases: self.biases.iter().map(part).collect(),
            ..Sum::default()
        })
    }

    /// The sum of both; `None` of what is normalized.
    pub fn plus(&self, other: &Sum) -> Option<Sum> {
        let is_plain = self.normed.is_none() && other.normed.is_none();
        if !is_plain || self.width() != other.width() {
            return None;
        }
        let mut all = self.clone();
        all.terms.extend(other.terms.iter().cloned());
        all.scaled.extend(other.scaled.iter().cloned());
        all.gated.extend(other.gated.iter().cloned());
        all.biases.extend(other.biases.iter().cloned());
        all.is_small().then_some(all)
    }

    /// With a vector added: to the product, where there is but one.
    pub fn plus_vector(&self, vector: ArcArray1<f32>) -> Option<Sum> {
        if vector.len() != self.width() {
            return None;
        }
        let mut sum = self.clone();
        let is_alone = sum.scaled.is_empty() && sum.gated.is_empty() && sum.biases.is_empty();
        match (&mut sum.terms[..], &sum.normed) {
            (_, Some(_)) => sum.behind.push(vector),
            ([term], None) if is_alone && term.bias.is_none() && term.normed.is_none() => {
                term.bias = Some(vector);
            }
            _ => sum.biases.push(vector),
        }
        sum.is_small().then_some(sum)
    }

    /// Normalized over its columns.
    pub fn normalized(&self, norm: Normed) -> Option<Sum> {
        if norm.gamma.len() != self.width() || norm.beta.len() != self.width() {
            return None;
        }
        let mut sum = self.clone();
        let is_alone = sum.scaled.is_empty() && sum.gated.is_empty() && sum.biases.is_empty();
        if sum.normed.is_some() {
            return None;
        }
        match &mut sum.terms[..] {
            [term] if is_alone && term.bias.is_none() && term.normed.is_none() => {
                let is_whole = term.columns == (0..term.matrix.ncols());
                term.normed = Some(Rc::new(norm));
                is_whole.then_some(sum)
            }
            _ if sum.scaled.is_empty() && sum.gated.is_empty() => {
                sum.normed = Some(Rc::new(norm));
                Some(sum)
            }
            _ => None,
        }
    }
}

/// A vector, perhaps with axes of size 1 before it: what is added to each row alike.
pub(super) fn vector(constant: &Constant) -> Option<ArcArray1<f32>> {
    let mut data = constant.data.clone();
    while data.ndim() > 1 && data.shape()[0] == 1 {
        data = data.index_axis_move(Axis(0), 0);
    }
    data.into_dimensionality::<Ix1>()
        .ok()
        .filter(|vector| !vector.is_empty())
}

pub(super) fn matrix(constant: &Constant) -> Option<ArcArray2<f32>> {
    constant.data.clone().into_dimensionality::<Ix2>().ok()
}

/// Where functions are looked at: close enough that none of those in use hides between them.
pub(in crate::onnx) fn points() -> Array {
    let points = (-2048..=2048).map(|number| number as f32 / 64.0);
    let ends = [-1e6, -60.0, 60.0, 1e6];
    Array1::from_iter(points.chain(ends))
        .into_dyn()
        .into_shared()
}

/// A value between −limit and limit, where there is a limit.
pub(super) fn clipped(x: f32, limit: Option<f32>) -> f32 {
    limit.map_or(x, |limit| x.clamp(-limit, limit))
}

/// The activation that has these values at [`points`], where what it is applied to is kept within
/// the limit.
///
/// What a graph spells out (Keras's exports write hard_sigmoid, gelu, silu and others with several
/// nodes) is known by what it computes, not by the nodes that somebody chose for it.
pub(in crate::onnx) fn activation(at_points: &Array, limit: Option<f32>) -> Option<Activation> {
    let points = points();
    let at = |x: f32| {
        let index = points.iter().position(|point| *point == x)?;
        at_points.iter().nth(index).copied()
    };
    let (zero, one, low) = (at(0.0)?, at(1.0)?, at(-1.0)?);
    let (top, bottom) = (at(60.0)?, at(-60.0)?);
    let threshold = points.iter().zip(at_points).filter(|(_, y)| **y == 0.0);
    let threshold = threshold.map(|(x, _)| *x).fold(f32::NEG_INFINITY, f32::max);
    let named = Activation::named().filter(Activation::is_elementwise);
    let fitted = [
        Activation::HardSigmoidKeras2,
        Activation::Gelu { approximate: true },
        Activation::Relu {
            negative_slope: -low,
            max_value: None,
            threshold: 0.0,
        },
        Activation::Elu { alpha: -bottom },
        Activation::Celu { alpha: -bottom },
        Activation::Threshold {
            threshold,
            default_value: 0.0,
        },
        Activation::HardSigmoidOf {
            alpha: (at(0.015625)? - zero) * 64.0,
            beta: zero,
        },
        Activation::ScaledTanh {
            alpha: top,
            beta: (one / top).atanh(),
        },
        Activation::Affine {
            alpha: one - zero,
            beta: zero,
        },
    ];
    named.chain(fitted).find(|activation| {
        let mut row: Vec<f32> = points.iter().map(|x| clipped(*x, limit)).collect();
        activation.apply(&mut row);
        let both = row.iter().zip(at_points);
        let is_near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 4e-6 * (1.0 + a.abs());
        row.len() == at_points.len() && both.into_iter().all(is_near)
    })
}
