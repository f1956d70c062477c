//! A cell's weights as the engine reads them.

use std::ops::Range;

use ndarray::ArrayView2;

use super::arithmetic::Arithmetic;
use super::buffer::{Buffer, LINE};
use super::extras;
use super::gates::{Equations, Phi, Sigma, Values};
use super::panels::{Layout, Panels};
use super::product::{Part, Product, Rows, Start, Sums, VECTORS};
use super::simd::Isa;
use crate::Cell;

/// The weights of one cell, packed for one instruction set.
#[derive(Debug, Clone)]
pub(super) struct PackedCell {
    /// All gates; of a GRU with `reset_after=False` all but the candidate. With
    /// [`equations`](Self::equations) their sums are exponents (see [`math`](crate::math)).
    pub(super) gates: Gemm,
    /// Of a GRU with `reset_after=False`: the candidate, which waits for r.
    pub(super) candidate: Option<Gemm>,
    /// Of a GRU with `reset_after`: what h·U of the candidate starts from, `[panel][lane]`.
    pub(super) recurrent_bias: Buffer,
    /// How the gates become states; `None` where that goes row by row, through
    /// [`Activation::apply`](crate::Activation::apply).
    pub(super) equations: Option<Equations>,
    /// Whether it is an LSTM whose step is that of [`extras`].
    pub(super) is_longer: bool,
    /// Of a projected LSTM: what makes h of o∘φ(c').
    pub(super) projection: Option<Projection>,
    /// Of an LSTM with layer normalization: x·W and h·U stay apart until they are normalized.
    pub(super) sums_apart: bool,
    pub(super) features: usize,
    pub(super) units: usize,
    /// Values of h: as many as units, unless it is projected.
    pub(super) outputs: usize,
    /// Units that a panel of `gates` has.
    pub(super) panel_units: usize,
    /// From one row of a state to the next.
    pub(super) stride: usize,
}

/// What a product b + x·W + h·U needs.
#[derive(Debug, Clone)]
pub(super) struct Gemm {
    pub(super) layout: Layout,
    pub(super) kernel: Panels,
    pub(super) recurrent: Panels,
    /// `[panel][vector][lane]`
    pub(super) bias: Buffer,
}

impl Gemm {
    fn new(
        layout: Layout,
        kernel: ArrayView2<'_, f32>,
        recurrent: ArrayView2<'_, f32>,
        bias: Option<&[f32]>,
        arithmetic: Arithmetic,
    ) -> Self {
        Self {
            layout,
            kernel: layout.pack(kernel, arithmetic),
            recurrent: layout.pack(recurrent, arithmetic),
            bias: layout.pack_bias(bias),
        }
    }

    /// The bias from a panel on.
    pub(super) fn bias(&self, panel: usize) -> Values<*const f32> {
        let width = self.layout.width();
        Values {
            at: self.bias.as_slice()[panel * width..].as_ptr(),
            stride: 0,
            panel_stride: width,
        }
    }

    /// The sums of every vector start from the bias.
    pub(super) fn bias_start(&self, panel: usize) -> [Start; VECTORS] {
        starts(self.bias(panel), self.layout.lanes())
    }

    /// `z = b + x·W`: `[panel][row][vector][lane]`.
    pub(super) fn inputs(
        &self,
        panels: Range<usize>,
        x: Rows,
        rows: usize,
        z: *mut f32,
    ) -> Product {
        Product {
            start: self.bias_start(panels.start),
            parts: [self.kernel.part(panels.start, x), Part::NONE],
            sums: self.sums(rows, z),
            rows,
            panels: panels.len(),
            vectors: self.layout.vectors(),
            arithmetic: self.kernel.arithmetic(),
            from_end: false,
        }
    }

    /// `z = start + h·U`: `[panel][row][vector][lane]`, of all panels.
    pub(super) fn step(
        &self,
        start: [Start; VECTORS],
        h: Rows,
        rows: usize,
        z: *mut f32,
    ) -> Product {
        Product {
            start,
            parts: [self.recurrent.part(0, h), Part::NONE],
            sums: self.sums(rows, z),
            rows,
            panels: self.layout.panels(),
            vectors: self.layout.vectors(),
            arithmetic: self.kernel.arithmetic(),
            from_end: false,
        }
    }

    fn sums(&self, rows: usize, at: *mut f32) -> Sums {
        let stride = self.layout.width();
        Sums {
            at,
            stride,
            panel_stride: rows * stride,
        }
    }
}

/// The weights of a projection, packed.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    pub(super) layout: Layout,
    pub(super) panels: Panels,
    /// What its sums start from.
    zeros: Buffer,
}

impl Projection {
    fn new(projection: ArrayView2<'_, f32>, lanes: usize, arithmetic: Arithmetic) -> Self {
        let layout = Layout::plain(0, projection.ncols(), lanes);
        Self {
            layout,
            panels: layout.pack(projection, arithmetic),
            zeros: layout.pack_bias(None),
        }
    }

    /// `h = shown·W_p`: `[panel][row][vector][lane]`.
    pub(super) fn of(&self, shown: Rows, rows: usize, h: *mut f32) -> Product {
        let width = self.layout.width();
        let zeros = Values {
            at: self.zeros.as_slice().as_ptr(),
            stride: 0,
            panel_stride: width,
        };
        Product {
            start: starts(zeros, self.layout.lanes()),
            parts: [self.panels.part(0, shown), Part::NONE],
            sums: Sums {
                at: h,
                stride: width,
                panel_stride: rows * width,
            },
            rows,
            panels: self.layout.panels(),
            vectors: self.layout.vectors(),
            arithmetic: self.panels.arithmetic(),
            from_end: false,
        }
    }
}

/// Sums that start from values that are there, vector beside vector.
pub(super) fn starts(values: Values<*const f32>, lanes: usize) -> [Start; VECTORS] {
    std::array::from_fn(|vector| Start {
        // Beyond the panel's vectors, where nobody looks.
        at: values.at.wrapping_add(vector * lanes),
        stride: values.stride,
        panel_stride: values.panel_stride,
    })
}

impl PackedCell {
    pub(super) fn new(cell: &Cell, isa: Isa, arithmetic: Arithmetic) -> Self {
        let (features, units, lanes) = (cell.features(), cell.units(), isa.lanes());
        let kernel = cell.kernel();
        let gemm = |layout, recurrent, bias: Option<&[f32]>| {
            Gemm::new(layout, kernel, recurrent, bias, arithmetic)
        };
        let mut candidate = None;
        let mut recurrent_bias = Buffer::default();
        let mut projection = None;
        let mut sums_apart = false;
        let (gates, equations) = match cell {
            Cell::Lstm(cell) => {
                let recurrent = cell.weights().fused_recurrent_kernel();
                let weights = cell.weights().projection();
                projection = weights.map(|weights| Projection::new(weights, lanes, arithmetic));
                sums_apart = extras::sums_apart(cell);
                let bias = cell.whole_bias().filter(|_| !sums_apart);
                let sigma = Sigma::of(cell.recurrent_activation());
                let phi = Phi::of(cell.activation()).filter(|_| !cell.has_longer_step());
                let equations = sigma.zip(phi).map(|(s, p)| Equations::Lstm(s, p));
                let layout = Layout::gates(4, 0, units, lanes).times(Equations::factors(equations));
                (gemm(layout, recurrent, bias.as_deref()), equations)
            }
            Cell::Gru(cell) => {
                let recurrent = cell.weights().fused_recurrent_kernel();
                let bias = cell.weights().fused_bias().map(|bias| bias.to_owned());
                let rows = |row: usize| bias.as_ref().map(|bias| bias.row(row).to_vec());
                if cell.reset_after() {
                    // What is added to z and r in any case may be added at once.
                    let both = rows(0).zip(rows(1)).map(|(input, recurrent)| {
                        let mut both = input;
                        for (b, r) in both[..2 * units].iter_mut().zip(recurrent) {
                            *b += r;
                        }
                        both
                    });
                    let sigma = Sigma::of(cell.recurrent_activation());
                    let phi = Phi::of(cell.activation()).filter(|_| cell.clip().is_none());
                    let equations = sigma.zip(phi).map(|(s, p)| Equations::Gru(s, p));
                    let factors = Equations::factors(equations);
                    let own = Layout::gates(1, 2 * units, units, lanes).times([factors[2]]);
                    recurrent_bias = own.pack_bias(rows(1).as_deref());
                    let layout = Layout::gates(3, 0, units, lanes).times(factors);
                    (gemm(layout, recurrent, both.as_deref()), equations)
                } else {
                    let bias = rows(0);
                    let of = |layout| gemm(layout, recurrent, bias.as_deref());
                    candidate = Some(of(Layout::plain(2 * units, units, lanes)));
                    (of(Layout::gates(2, 0, units, lanes)), None)
                }
            }
            Cell::SimpleRnn(cell) => {
                let phi = Phi::of(cell.activation()).filter(|_| cell.clip().is_none());
                let equations = phi.map(Equations::SimpleRnn);
                let layout = Layout::plain(0, units, lanes).times(Equations::factors(equations));
                let recurrent = cell.weights().recurrent_kernel();
                let bias = cell.weights().bias();
                let bias = bias.as_ref().and_then(|bias| bias.to_slice());
                (gemm(layout, recurrent, bias), equations)
            }
        };
        let panel_units = gates.layout.panel_units();
        let padded = gates.layout.panels() * panel_units;
        Self {
            stride: spread(padded.max(cell.outputs())),
            is_longer: matches!(cell, Cell::Lstm(cell) if cell.has_longer_step()),
            projection,
            sums_apart,
            outputs: cell.outputs(),
            gates,
            candidate,
            recurrent_bias,
            equations,
            features,
            units,
            panel_units,
        }
    }

    /// Whether x·W cannot simply be the start of h·U: of a GRU, whose candidate keeps them apart,
    /// and where the gates become states row by row.
    pub(super) fn needs_input_apart(&self) -> bool {
        matches!(self.equations, Some(Equations::Gru(..)) | None)
    }

    /// Whether the steps of one row may be a [`LstmRow`](super::row::LstmRow).
    pub(super) fn is_plain_lstm(&self) -> bool {
        self.gates.recurrent.arithmetic() == Arithmetic::Singles
            && self.equations == Some(Equations::Lstm(Sigma::Sigmoid, Phi::Tanh))
    }

    /// Whether a step may read h from the outputs, where it ends with the last unit.
    pub(super) fn reads_outputs(&self) -> bool {
        match self.equations {
            // Its gates look at the whole vectors of h.
            Some(Equations::Gru(..)) => self.units.is_multiple_of(self.panel_units),
            Some(_) => true,
            None => false,
        }
    }

    /// What h·U starts from where b + x·W is there.
    pub(super) fn start(&self, panel: usize, z: Values<*const f32>) -> [Start; VECTORS] {
        let lanes = self.gates.layout.lanes();
        if self.sums_apart {
            // Of zeros: the bias comes later.
            return self.gates.bias_start(panel);
        }
        let mut start = starts(z, lanes);
        let bias = self.recurrent_bias.as_slice();
        if !bias.is_empty() {
            start[2] = Start {
                at: bias[panel * lanes..].as_ptr(),
                stride: 0,
                panel_stride: lanes,
            };
        }
        start
    }

    /// Bytes of weights that a step reads beside its inputs'.
    pub(super) fn recurrent_bytes(&self) -> usize {
        let candidate = self.candidate.as_ref();
        let projection = self.projection.as_ref();
        self.gates.recurrent.bytes()
            + candidate.map_or(0, |gemm| gemm.recurrent.bytes())
            + projection.map_or(0, |projection| projection.panels.bytes())
    }

    /// Bytes of weights that the inputs are multiplied with.
    pub(super) fn kernel_bytes(&self) -> usize {
        let candidate = self.candidate.as_ref();
        self.gates.kernel.bytes() + candidate.map_or(0, |gemm| gemm.kernel.bytes())
    }
}

/// A row of values in whole cache lines, of which the number is odd: the rows of a tile would
/// else compete for the same few places of the cache.
pub(super) fn spread(values: usize) -> usize {
    (values.div_ceil(LINE) | 1) * LINE
}
