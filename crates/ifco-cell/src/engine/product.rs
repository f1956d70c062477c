//! The product of some rows with panels of weights: where nearly all of the time goes.
//!
//! A tile is a few rows by one panel. Its sums live in registers; for each row k of the panel,
//! its vectors are read once and multiplied with the k-th value of every row. Each sum is one
//! chain of multiply-adds in the order of k, whatever the shape of the tile: what a row gives does
//! not depend on the rows beside it, on the number of threads, or on whether it came alone in a
//! stream.
//!
//! What is said of values here is said of words where the numbers are narrower: see
//! [`arithmetic`](super::arithmetic).

use super::arithmetic::Arithmetic;
use super::simd::{Dot, DotKernel, Isa, Simd, Words};
use super::traffic::Passing;

/// Rows of values times panels of weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) rows: Rows,
    /// The first panel.
    pub(super) panels: *const f32,
    /// From one panel to the next.
    pub(super) panel_stride: usize,
    /// Words in a row that count, and rows of the panel.
    pub(super) depth: usize,
    /// From one value of a row to the next: 1, but of a matrix that is read by its columns.
    pub(super) step: usize,
}

impl Part {
    /// Adds nothing.
    pub(super) const NONE: Part = Part {
        rows: Rows {
            at: std::ptr::null(),
            stride: 0,
        },
        panels: std::ptr::null(),
        panel_stride: 0,
        depth: 0,
        step: 1,
    };

    /// The first rows of the panels only.
    pub(super) fn to(self, depth: usize) -> Part {
        Part { depth, ..self }
    }

    /// Without the first rows of panels of `f32`, of so many values each.
    pub(super) fn from(self, depth: usize, width: usize) -> Part {
        Part {
            rows: Rows {
                at: self.rows.at.wrapping_add(depth * self.step),
                ..self.rows
            },
            panels: self.panels.wrapping_add(depth * width),
            depth: self.depth - depth,
            ..self
        }
    }
}

/// Rows of values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// The first value of the first row.
    pub(super) at: *const f32,
    /// From one row to the next.
    pub(super) stride: usize,
}

/// What the sums of one vector of a panel start from.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) at: *const f32,
    /// From one row to the next: 0 for a bias.
    pub(super) stride: usize,
    /// From one panel to the next.
    pub(super) panel_stride: usize,
}

/// Where the sums go: vector after vector of each row.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) at: *mut f32,
    /// From one row to the next.
    pub(super) stride: usize,
    /// From one panel to the next.
    pub(super) panel_stride: usize,
}

/// Sums of `R` rows and `P` panels of `V` vectors.
type Tile<S, const R: usize, const P: usize, const V: usize> = [[[<S as Simd>::F32; V]; P]; R];

/// `sums = start + Σ part` for some rows and panels.
pub(super) struct Product {
    /// Of each vector of a panel; those beyond `vectors` are not looked at.
    pub(super) start: [Start; VECTORS],
    pub(super) parts: [Part; 2],
    pub(super) sums: Sums,
    pub(super) rows: usize,
    pub(super) panels: usize,
    /// Vectors in a panel, at most [`VECTORS`].
    pub(super) vectors: usize,
    /// What rows and panels are made of.
    pub(super) arithmetic: Arithmetic,
    /// From the last panel to the first: what the cache still holds from the last time is read
    /// before it is replaced.
    pub(super) from_end: bool,
}

/// The most vectors that a panel has.
pub(super) const VECTORS: usize = 4;

impl Product {
    /// # Safety
    /// All pointers are valid for what they are said to hold, and nobody else writes there.
    pub(super) unsafe fn run(self, isa: Isa) {
        let nothing = Passing::NONE;
        // SAFETY: the caller's promise.
        unsafe { self.run_beside(isa, &nothing) };
    }

    /// [`run`](Self::run), while something passes.
    ///
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn run_beside(self, isa: Isa, passing: &Passing) {
        let product = &self;
        self.arithmetic.run(isa, Valid { product, passing });
    }
}

/// A product whose pointers its maker vouches for.
struct Valid<'a> {
    product: &'a Product,
    passing: &'a Passing,
}

impl DotKernel for Valid<'_> {
    #[inline(always)]
    fn run<S: Words, D: Dot<S>>(self, s: S, dot: D) {
        // SAFETY: the promise of `Product::run`.
        unsafe {
            match self.product.vectors {
                1 => tiles::<S, D, 1>(s, dot, self.product, self.passing),
                2 => tiles::<S, D, 2>(s, dot, self.product, self.passing),
                3 => tiles::<S, D, 3>(s, dot, self.product, self.passing),
                _ => tiles::<S, D, 4>(s, dot, self.product, self.passing),
            }
        }
    }
}

/// # Safety
/// As for [`Product::run`].
#[inline(always)]
unsafe fn tiles<S: Words, D: Dot<S>, const V: usize>(
    s: S,
    dot: D,
    of: &Product,
    passing: &Passing,
) {
    // SAFETY: every tile is within the rows and panels that the caller promised.
    unsafe {
        if of.rows == 1 {
            // A single row's chains of sums need more than one panel to hide their latency.
            let pairs = of.panels / 2;
            if of.panels % 2 == 1 && of.from_end {
                tile::<S, D, 1, 1, V>(s, dot, of, 0, of.panels - 1);
            }
            for index in 0..pairs {
                let pair = in_order(index, pairs, of.from_end);
                tile::<S, D, 1, 2, V>(s, dot, of, 0, 2 * pair);
            }
            if of.panels % 2 == 1 && !of.from_end {
                tile::<S, D, 1, 1, V>(s, dot, of, 0, of.panels - 1);
            }
            return;
        }
        let most = (S::SUMS.saturating_sub(D::SPARE) / V).clamp(1, 8);
        let tiles = of.rows.div_ceil(most).max(1);
        // As even as can be: a tile of few rows is a slow one.
        let (fewest, longer) = (of.rows / tiles, of.rows % tiles);
        for index in 0..of.panels {
            let panel = in_order(index, of.panels, of.from_end);
            let mut first = 0;
            for tile_index in 0..tiles {
                let end = first + fewest + usize::from(tile_index < longer);
                passing.ask(first..end, panel);
                macro_rules! tile_of {
                    ($($count:literal)*) => {
                        match end - first {
                            $($count if const { $count * V <= S::SUMS || $count == 1 } => {
                                tile::<S, D, $count, 1, V>(s, dot, of, first, panel)
                            })*
                            _ => {}
                        }
                    };
                }
                tile_of!(1 2 3 4 5 6 7 8);
                first = end;
            }
        }
    }
}

/// What comes as the `index`-th of so many, from the first or from the last.
#[inline(always)]
pub(super) fn in_order(index: usize, count: usize, from_end: bool) -> usize {
    if from_end { count - 1 - index } else { index }
}

// No closures below: one that the compiler did not inline would lack the vectors' features.

/// # Safety
/// As for [`Product::run`]; the tile's rows and panels are among the product's.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "row, panel, vector: the same three everywhere"
)]
unsafe fn tile<S: Words, D: Dot<S>, const R: usize, const P: usize, const V: usize>(
    s: S,
    dot: D,
    of: &Product,
    row: usize,
    panel: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut start = of.start;
        let sums = of.sums;
        let mut tile: Tile<S, R, P, V> = [[[s.splat(0.0); V]; P]; R];
        if !D::INTEGERS {
            for v in 0..V {
                let from = start[v];
                let mut at = from.at.add(row * from.stride + panel * from.panel_stride);
                for r in 0..R {
                    for p in 0..P {
                        tile[r][p][v] = s.load(at.add(p * from.panel_stride));
                    }
                    at = at.wrapping_add(from.stride);
                }
            }
        }
        for part in of.parts {
            let rows = part.rows.at.wrapping_add(row * part.rows.stride);
            let mut weights = part.panels.wrapping_add(panel * part.panel_stride);
            for k in 0..part.depth {
                let k = k * D::WORDS * part.step;
                // Whichever is fewer is held in registers beside the sums: the values of the rows
                // or the vectors of the panel.
                if R < V {
                    let mut values = [dot.value(s, rows.add(k)); R];
                    for (r, value) in values.iter_mut().enumerate().skip(1) {
                        *value = dot.value(s, rows.add(r * part.rows.stride + k));
                    }
                    for p in 0..P {
                        for v in 0..V {
                            let at = weights.add(p * part.panel_stride + v * S::LANES);
                            let vector = dot.weights(s, at);
                            for r in 0..R {
                                tile[r][p][v] = dot.add(s, values[r], vector, tile[r][p][v]);
                            }
                        }
                    }
                } else {
                    for p in 0..P {
                        let at = weights.add(p * part.panel_stride);
                        let mut vectors = [dot.weights(s, at); V];
                        for (v, vector) in vectors.iter_mut().enumerate().skip(1) {
                            *vector = dot.weights(s, at.add(v * S::LANES));
                        }
                        for r in 0..R {
                            let value = dot.value(s, rows.add(r * part.rows.stride + k));
                            for v in 0..V {
                                tile[r][p][v] = dot.add(s, value, vectors[v], tile[r][p][v]);
                            }
                        }
                    }
                }
                weights = weights.add(V * S::LANES);
            }
            // Integers are scaled when they are complete, and what a part gives is stored: the
            // next part starts from there.
            if D::INTEGERS && !part.panels.is_null() {
                for r in 0..R {
                    let row_scale = s.splat(*rows.add(r * part.rows.stride + part.depth));
                    for p in 0..P {
                        for v in 0..V {
                            let ends = weights.add(p * part.panel_stride + v * S::LANES);
                            let whole = s.add_integers(tile[r][p][v], s.load(ends));
                            let sum = s.mul(s.integers_to_floats(whole), row_scale);
                            let scale = s.load(ends.add(V * S::LANES));
                            let from = start[v];
                            let offset = (row + r) * from.stride + (panel + p) * from.panel_stride;
                            let sum = s.mul_add(sum, scale, s.load(from.at.add(offset)));
                            let offset = (row + r) * sums.stride + (panel + p) * sums.panel_stride;
                            s.store(sums.at.add(offset + v * S::LANES), sum);
                            tile[r][p][v] = s.splat(0.0);
                        }
                    }
                }
                for (v, start) in start.iter_mut().enumerate() {
                    *start = Start {
                        at: sums.at.wrapping_add(v * S::LANES),
                        stride: sums.stride,
                        panel_stride: sums.panel_stride,
                    };
                }
            }
        }
        if !D::INTEGERS {
            let mut at = sums.at.add(row * sums.stride + panel * sums.panel_stride);
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        let offset = p * sums.panel_stride + v * S::LANES;
                        s.store(at.add(offset), tile[r][p][v]);
                    }
                }
                at = at.wrapping_add(sums.stride);
            }
        }
    }
}
