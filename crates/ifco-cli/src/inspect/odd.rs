//! What is odd about a cell's weights, in words: what an experienced eye would stop at.

use ifco::{Activation, Cell, Gate};
use ndarray::ArrayView1;

use super::{Figures, GateView};

/// Something worth a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// A fixed word for programs: `forget_bias_near_zero`.
    pub kind: &'static str,
    /// The gate's letter, when it is about one gate.
    pub gate: Option<char>,
    /// What was seen and what it may mean.
    pub text: String,
}

/// A forget bias within this of 0, on average and in every unit's distance from the mean twice
/// that, is one that never was 1.
const FORGET_BIAS_NEAR_ZERO: f64 = 0.1;
/// Beyond this radius a bounded activation still saturates within a few steps.
const EXPLODING_BOUNDED: f64 = 2.0;
/// Without a bound the state grows by the radius each step: (1.1)^100 is 14 000.
const EXPLODING_UNBOUNDED: f64 = 1.1;
/// No weight of a model in good health is this large.
const HUGE: f32 = 1e3;
/// A gate whose largest weight is below this does not look at its inputs.
const DEAD: f32 = 1e-6;

/// Everything odd about a cell; `figures` are those of `gates`.
pub fn odd(cell: &Cell, gates: &[GateView<'_>], figures: &[Figures]) -> Vec<Odd> {
    let mut found = not_finite(gates);
    if !found.is_empty() {
        // Nothing else can be said of numbers that are none.
        return found;
    }
    found.extend(untrained(cell, gates));
    found.extend(forget_bias(cell));
    for (gate, figures) in gates.iter().zip(figures) {
        found.extend(dead(gate));
        found.extend(exploding(cell, gate, figures));
        found.extend(huge(gate));
    }
    found.extend(features(gates));
    found.extend(units(gates));
    found
}

fn not_finite(gates: &[GateView<'_>]) -> Vec<Odd> {
    let mut found = Vec::new();
    for gate in gates {
        for (name, array) in gate.arrays() {
            let count = array.iter().filter(|x| !x.is_finite()).count();
            if count > 0 {
                found.push(Odd {
                    kind: "not_finite",
                    gate: gate.letter,
                    text: format!(
                        "{count} of the {} numbers in {} are NaN or infinite: training diverged, \
                         and every prediction will be NaN",
                        array.len(),
                        gate.slice(name)
                    ),
                });
            }
        }
    }
    found
}

/// Biases that are exactly what Keras starts with.
fn untrained(cell: &Cell, gates: &[GateView<'_>]) -> Option<Odd> {
    let is_start = gates.iter().all(|gate| {
        let is_forget = matches!(cell, Cell::Lstm(_)) && gate.letter == Some(Gate::Forget.letter());
        let Some(bias) = &gate.bias else { return false };
        bias.iter().all(|&b| b == 0.0) || is_forget && bias.iter().all(|&b| b == 1.0)
    });
    is_start.then(|| Odd {
        kind: "untrained",
        gate: None,
        text: "every bias is exactly what Keras initializes it to: the layer was not trained"
            .into(),
    })
}

fn forget_bias(cell: &Cell) -> Option<Odd> {
    let Cell::Lstm(cell) = cell else { return None };
    let gate = Some(Gate::Forget.letter());
    let options = cell.options();
    // Coupled to the input gate it has no bias of its own; normalized, β is its bias.
    if options.input_forget || cell.weights().layer_norm().is_some() {
        return None;
    }
    let added = f64::from(options.forget_bias);
    let Some(bias) = cell.weights().bias(Gate::Forget) else {
        if added != 0.0 {
            return None;
        }
        return Some(Odd {
            kind: "no_forget_bias",
            gate,
            text: "there is no bias (use_bias=False), so no forget bias either: on average half \
                   of the cell state is forgotten at each step"
                .into(),
        });
    };
    let mean = bias.iter().map(|&b| f64::from(b)).sum::<f64>() / bias.len().max(1) as f64 + added;
    let spread = bias
        .iter()
        .map(|&b| (f64::from(b) + added - mean).abs())
        .fold(0.0, f64::max);
    let (kind, text) = if mean < -1.0 {
        (
            "forget_bias_negative",
            format!(
                "the forget bias is {mean:.2} on average: the cell forgets nearly everything at \
                 each step unless its inputs say otherwise"
            ),
        )
    } else if mean.abs() < FORGET_BIAS_NEAR_ZERO && spread < 5.0 * FORGET_BIAS_NEAR_ZERO {
        (
            "forget_bias_near_zero",
            format!(
                "the forget bias is near 0 ({mean:.2} on average, Keras starts at 1): \
                 unit_forget_bias was off, or training removed it"
            ),
        )
    } else {
        return None;
    };
    Some(Odd { kind, gate, text })
}

fn dead(gate: &GateView<'_>) -> Option<Odd> {
    let largest = |array: ndarray::ArrayView2<'_, f32>| {
        array.iter().fold(0_f32, |largest, x| largest.max(x.abs()))
    };
    let (w, u) = (largest(gate.kernel), largest(gate.recurrent_kernel));
    let of = of_gate(gate);
    let text = if w < DEAD && u < DEAD {
        format!("every weight{of} is zero: it has the same value at every step")
    } else if w < DEAD {
        format!("W{of} is zero: it does not see the inputs")
    } else if u < DEAD {
        format!("U{of} is zero: it does not see the previous output")
    } else {
        return None;
    };
    Some(Odd {
        kind: "dead_gate",
        gate: gate.letter,
        text,
    })
}

/// Only what makes the next state can explode: the candidate's U. The others are bounded by
/// their sigmoid.
fn exploding(cell: &Cell, gate: &GateView<'_>, figures: &Figures) -> Option<Odd> {
    let activation = match (cell, gate.letter) {
        (Cell::Lstm(cell), Some('c')) => cell.activation(),
        (Cell::Gru(cell), Some('h')) => cell.activation(),
        (Cell::SimpleRnn(cell), _) => cell.activation(),
        _ => return None,
    };
    let is_bounded = is_bounded(activation);
    let limit = if is_bounded {
        EXPLODING_BOUNDED
    } else {
        EXPLODING_UNBOUNDED
    };
    let radius = figures.spectral_radius?.value;
    let consequence = if is_bounded {
        "the state saturates and gradients may explode"
    } else {
        "the state itself may explode, as nothing bounds it"
    };
    (radius > limit).then(|| Odd {
        kind: "exploding",
        gate: gate.letter,
        text: format!(
            "the spectral radius of U{} is {radius:.2} with {}: {consequence}",
            of_gate(gate),
            activation.name()
        ),
    })
}

fn is_bounded(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Tanh
            | Activation::Sigmoid
            | Activation::HardSigmoid
            | Activation::HardSigmoidKeras2
            | Activation::HardTanh
            | Activation::Softsign
            | Activation::Softmax
            | Activation::Sparsemax
            | Activation::SparseSigmoid
            | Activation::ScaledTanh { .. }
            | Activation::HardSigmoidOf { .. }
            | Activation::Relu {
                negative_slope: 0.0,
                max_value: Some(_),
                ..
            }
    )
}

fn huge(gate: &GateView<'_>) -> Vec<Odd> {
    gate.arrays()
        .into_iter()
        .filter_map(|(name, array)| {
            let largest = array.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
            (largest > HUGE).then(|| Odd {
                kind: "huge",
                gate: gate.letter,
                text: format!(
                    "{} holds a weight of size {largest:.0}: training was diverging, or the \
                     inputs were not scaled",
                    gate.slice(name)
                ),
            })
        })
        .collect()
}

/// Features that no gate looks at.
fn features(gates: &[GateView<'_>]) -> Option<Odd> {
    let count = gates.first()?.kernel.nrows();
    let is_ignored = |&row: &usize| {
        gates
            .iter()
            .all(|gate| gate.kernel.row(row).iter().all(|x| x.abs() < DEAD))
    };
    let ignored: Vec<usize> = (0..count).filter(is_ignored).collect();
    // When all are, each gate has said so already.
    (!ignored.is_empty() && ignored.len() < count).then(|| Odd {
        kind: "ignored_features",
        gate: None,
        text: format!(
            "no gate looks at input {} {}: kernel's rows are zero there",
            plural(ignored.len(), "feature", "features"),
            list(&ignored)
        ),
    })
}

/// Units that are copies of each other: the same weights into every gate.
fn units(gates: &[GateView<'_>]) -> Option<Odd> {
    let count = gates.first()?.kernel.ncols();
    if count < 2 {
        return None;
    }
    let bits = |column: ArrayView1<'_, f32>| column.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let key = |unit: usize| -> Vec<u32> {
        gates
            .iter()
            .flat_map(|gate| {
                let mut key = bits(gate.kernel.column(unit));
                if let Some(bias) = &gate.bias {
                    let units = ndarray::Axis(bias.ndim() - 1);
                    key.extend(bias.index_axis(units, unit).iter().map(|x| x.to_bits()));
                }
                key
            })
            .collect()
    };
    let mut seen = std::collections::HashMap::new();
    let mut copies = Vec::new();
    for unit in 0..count {
        if let Some(first) = seen.insert(key(unit), unit) {
            copies.push(first);
            copies.push(unit);
        }
    }
    copies.sort_unstable();
    copies.dedup();
    let kernel_is_zero = gates
        .iter()
        .all(|gate| gate.kernel.iter().all(|x| x.abs() < DEAD));
    (!copies.is_empty() && !kernel_is_zero).then(|| Odd {
        kind: "equal_units",
        gate: None,
        text: format!(
            "units {} take the same from their inputs, bias included: they may be copies of \
             each other, as a constant initializer makes them",
            list(&copies)
        ),
    })
}

fn of_gate(gate: &GateView<'_>) -> String {
    match gate.letter {
        Some(_) => format!(" of the {}", gate.name),
        None => String::new(),
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `1, 2, 3, 4, 5 and 12 more`
fn list(numbers: &[usize]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(usize::to_string).collect();
    let shown = shown.join(", ");
    match numbers.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{figures, gates};
    use ifco::{LstmCell, LstmWeights, SimpleRnnCell, SimpleRnnWeights};
    use ndarray::{Array1, Array2, s};

    const U: usize = 3;

    /// Weights in no special position, and a bias that looks trained.
    fn arrays() -> (Array2<f32>, Array2<f32>, Array1<f32>) {
        let mut next = 0_u32;
        let mut number = move || {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (next >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let kernel = Array2::from_shape_simple_fn((2, 4 * U), &mut number);
        let recurrent = Array2::from_shape_simple_fn((U, 4 * U), &mut number);
        let mut bias = Array1::from_shape_simple_fn(4 * U, &mut number);
        bias.slice_mut(s![U..2 * U]).mapv_inplace(|b| b + 1.0);
        (kernel, recurrent, bias)
    }

    fn kinds(cell: &Cell) -> Vec<(&'static str, Option<char>)> {
        let gates = gates(cell);
        let figures: Vec<_> = gates.iter().map(figures).collect();
        odd(cell, &gates, &figures)
            .into_iter()
            .map(|odd| (odd.kind, odd.gate))
            .collect()
    }

    fn lstm(kernel: Array2<f32>, recurrent: Array2<f32>, bias: Option<Array1<f32>>) -> Cell {
        let weights = LstmWeights::new(kernel, recurrent, bias).unwrap();
        Cell::Lstm(LstmCell::new(
            weights,
            Activation::Tanh,
            Activation::Sigmoid,
        ))
    }

    #[test]
    fn a_cell_in_good_health_has_nothing_odd() {
        let (kernel, recurrent, bias) = arrays();
        assert_eq!(kinds(&lstm(kernel, recurrent, Some(bias))), []);
    }

    #[test]
    fn each_oddity_is_seen_alone() {
        let (kernel, recurrent, bias) = arrays();
        let with_bias = |change: &dyn Fn(&mut Array1<f32>)| {
            let mut bias = bias.clone();
            change(&mut bias);
            kinds(&lstm(kernel.clone(), recurrent.clone(), Some(bias)))
        };
        let forget = s![U..2 * U];
        assert_eq!(
            with_bias(&|b| b.slice_mut(forget).fill(0.01)),
            [("forget_bias_near_zero", Some('f'))]
        );
        assert_eq!(
            with_bias(&|b| b.slice_mut(forget).fill(-2.0)),
            [("forget_bias_negative", Some('f'))]
        );
        assert_eq!(with_bias(&|b| b[0] = f32::NAN), [("not_finite", Some('i'))]);
        assert_eq!(with_bias(&|b| b[0] = -5e3), [("huge", Some('i'))]);
        assert_eq!(
            with_bias(&|b| {
                b.fill(0.0);
                b.slice_mut(forget).fill(1.0);
            }),
            [("untrained", None)]
        );
        assert_eq!(
            kinds(&lstm(kernel.clone(), recurrent.clone(), None)),
            [("no_forget_bias", Some('f'))]
        );

        let with_kernel = |change: &dyn Fn(&mut Array2<f32>, &mut Array2<f32>)| {
            let (mut kernel, mut recurrent, bias) = arrays();
            change(&mut kernel, &mut recurrent);
            kinds(&lstm(kernel, recurrent, Some(bias)))
        };
        let output = s![.., 3 * U..];
        assert_eq!(
            with_kernel(&|w, u| {
                w.slice_mut(output).fill(0.0);
                u.slice_mut(output).fill(0.0);
            }),
            [("dead_gate", Some('o'))]
        );
        assert_eq!(
            with_kernel(&|w, _| w.row_mut(1).fill(0.0)),
            [("ignored_features", None)]
        );
        assert_eq!(
            with_kernel(&|_, u| u
                .slice_mut(s![.., 2 * U..3 * U])
                .assign(&(Array2::eye(U) * 3.0))),
            [("exploding", Some('c'))]
        );
        // A large U in a gate is bounded by its sigmoid.
        assert_eq!(
            with_kernel(&|_, u| u.slice_mut(s![.., ..U]).assign(&(Array2::eye(U) * 3.0))),
            []
        );
    }

    #[test]
    fn copies_are_seen() {
        let (mut kernel, recurrent, mut bias) = arrays();
        for gate in 0..4 {
            let column = kernel.column(gate * U).to_owned();
            kernel.column_mut(gate * U + 2).assign(&column);
            bias[gate * U + 2] = bias[gate * U];
        }
        let cell = lstm(kernel, recurrent, Some(bias));
        assert_eq!(kinds(&cell), [("equal_units", None)]);
    }

    #[test]
    fn an_unbounded_simple_rnn_explodes_sooner() {
        let (kernel, ..) = arrays();
        let make = |activation| {
            let weights = SimpleRnnWeights::new(
                kernel.slice(s![.., ..U]).to_owned(),
                Array2::eye(U) * 1.2,
                None,
            );
            Cell::SimpleRnn(SimpleRnnCell::new(weights.unwrap(), activation))
        };
        assert_eq!(kinds(&make(Activation::Tanh)), []);
        assert_eq!(kinds(&make(Activation::RELU)), [("exploding", None)]);
    }
}
