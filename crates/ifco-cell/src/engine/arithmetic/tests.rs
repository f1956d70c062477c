use ndarray::{Array1, Array2, Array3, Axis, array};

use super::*;
use crate::engine::Packed;
use crate::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions,
    SimpleRnnCell, SimpleRnnWeights, reference,
};

/// Sizes that no group of values and no vector divides, and those that all do.
const UNITS: &[usize] = match cfg!(miri) {
    true => &[9],
    false => &[1, 5, 17, 64, 100],
};
const FEATURES: &[usize] = match cfg!(miri) {
    true => &[3],
    false => &[0, 1, 3, 39, 64],
};
const BATCHES: &[usize] = match cfg!(miri) {
    true => &[1, 3],
    false => &[1, 2, 7, 20],
};

struct Random(u64);

impl Random {
    /// From −1 to 1.
    fn value(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn matrix(&mut self, rows: usize, columns: usize, scale: f32) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || self.value() * scale)
    }

    /// Multiples of 1/128 up to 127 of them: each is its own bf16, and its own byte where one of a
    /// row or column is the greatest.
    fn exact(&mut self, rows: usize, columns: usize) -> Array2<f32> {
        let mut values = self.matrix(rows, columns, 127.0);
        values.mapv_inplace(|value| value.round() / 128.0);
        values
    }
}

/// Every way to multiply that this machine has, of each instruction set.
fn all() -> Vec<(Isa, Arithmetic)> {
    let of = |isa: Isa| {
        [
            Arithmetic::Singles,
            Arithmetic::Pairs(isa.pair_unit()),
            Arithmetic::Pairs(PairUnit::NONE),
            Arithmetic::Quads(isa.quad_unit()),
            Arithmetic::Quads(QuadUnit::NONE),
        ]
        .map(|arithmetic| (isa, arithmetic))
    };
    Isa::all().into_iter().flat_map(of).collect()
}

fn layer(cell: impl Into<Cell>) -> RecurrentLayer {
    let options = SequenceOptions {
        return_sequences: true,
        ..SequenceOptions::default()
    };
    RecurrentLayer::new(vec![cell.into()], options).unwrap()
}

fn on(layer: &RecurrentLayer, isa: Isa, arithmetic: Arithmetic) -> RecurrentLayer {
    let packed = Packed::with(layer.cells(), isa, arithmetic);
    layer.clone().with_packed(packed)
}

/// h' = x·W + h·U
fn linear(kernel: Array2<f32>, recurrent: Array2<f32>) -> RecurrentLayer {
    let weights = SimpleRnnWeights::new(kernel, recurrent, None).unwrap();
    layer(SimpleRnnCell::new(weights, Activation::Linear))
}

/// One step of [`linear`].
fn step(layer: &RecurrentLayer, x: &Array2<f32>, h: &Array2<f32>) -> Array2<f32> {
    let x = x.view().insert_axis(Axis(1));
    let sequence = layer.forward(x, None, Some(&[h.view()])).unwrap();
    sequence.states[0].clone()
}

#[test]
fn numbers_that_need_no_rounding_are_exact() {
    let mut random = Random(1);
    for &units in UNITS {
        for &features in FEATURES {
            for &batch in BATCHES {
                let mut kernel = random.exact(features, units);
                let mut recurrent = random.exact(units, units);
                let mut x = random.exact(batch, features);
                let mut h = random.exact(batch, units);
                let most = 127.0 / 128.0;
                for matrix in [&mut kernel, &mut recurrent] {
                    if matrix.nrows() > 0 {
                        let row = units % matrix.nrows();
                        matrix.row_mut(row).fill(-most);
                    }
                }
                for matrix in [&mut x, &mut h] {
                    if matrix.ncols() > 0 {
                        let column = batch % matrix.ncols();
                        matrix.column_mut(column).fill(most);
                    }
                }
                // Below 2²⁴ of the last place, f32 is exact too.
                let right = x.dot(&kernel) + h.dot(&recurrent);
                let layer = linear(kernel, recurrent);
                for (isa, arithmetic) in all() {
                    let found = step(&on(&layer, isa, arithmetic), &x, &h);
                    assert_eq!(
                        found, right,
                        "{isa:?} {arithmetic:?} {batch}×{features}×{units}"
                    );
                }
            }
        }
    }
}

/// The error of a step is at most that of rounding each factor once, whatever adds them up.
#[test]
#[cfg_attr(
    miri,
    ignore = "`numbers_that_need_no_rounding_are_exact` is as much, and exact"
)]
fn a_step_is_within_its_bound() {
    let mut random = Random(2);
    let wide = |matrix: &Array2<f32>| matrix.mapv(f64::from);
    for (units, features, batch) in [(5, 39, 3), (17, 3, 1), (100, 39, 19), (33, 1, 70)] {
        let (kernel, recurrent) = (
            random.matrix(features, units, 0.7),
            random.matrix(units, units, 0.2),
        );
        let (x, h) = (
            random.matrix(batch, features, 3.0),
            random.matrix(batch, units, 0.9),
        );
        let layer = linear(kernel.clone(), recurrent.clone());
        let right = wide(&x).dot(&wide(&kernel)) + wide(&h).dot(&wide(&recurrent));
        let sizes =
            |a: &Array2<f32>, b: &Array2<f32>| wide(a).mapv(f64::abs).dot(&wide(b).mapv(f64::abs));
        let products = sizes(&x, &kernel) + sizes(&h, &recurrent);
        // |Δ(x·w)| ≤ |x|·column/2 + |w|·row/2 + row·column/4, the halves of the scales' steps
        let bytes = |rows: &Array2<f32>, columns: &Array2<f32>| {
            let half = |sizes: ndarray::ArrayView1<f32>| {
                sizes.fold(0.0, |size: f64, x| size.max(f64::from(x.abs()))) / 127.0 / 2.0
            };
            Array2::from_shape_fn((rows.nrows(), columns.ncols()), |(i, j)| {
                let (row, column) = (half(rows.row(i)), half(columns.column(j)));
                let pairs = rows.row(i).into_iter().zip(columns.column(j));
                let errors = pairs.map(|(x, w)| {
                    f64::from(x.abs()) * column + f64::from(w.abs()) * row + row * column
                });
                errors.sum::<f64>()
            })
        };
        let bytes = bytes(&x, &kernel) + bytes(&h, &recurrent);
        for (isa, arithmetic) in all() {
            let found = step(&on(&layer, isa, arithmetic), &x, &h);
            // What f32 sums add, which only the first case sees.
            let sums = &products * 1e-5;
            let bound = match arithmetic {
                Arithmetic::Singles => sums,
                // Half a unit in the last of 8 places, of both factors
                Arithmetic::Pairs(_) => &products * 2.01 / 512.0 + sums,
                Arithmetic::Quads(_) => &bytes + sums,
            };
            for ((found, right), bound) in found.iter().zip(&right).zip(&bound) {
                let error = (f64::from(*found) - right).abs();
                assert!(error <= *bound, "{isa:?} {arithmetic:?}: {error} > {bound}");
            }
        }
    }
}

/// LSTM, GRU with either `reset_after`, SimpleRNN.
fn cell(kind: usize, features: usize, units: usize, random: &mut Random) -> Cell {
    let columns = [4, 3, 3, 1][kind] * units;
    let kernel = random.matrix(features, columns, 1.0 / (1.0 + features as f32).sqrt());
    let recurrent = random.matrix(units, columns, 1.0 / (1.0 + units as f32).sqrt());
    let mut bias = |rows| random.matrix(rows, columns, 0.5);
    let row = |bias: Array2<f32>| -> Array1<f32> { bias.remove_axis(Axis(0)) };
    let (phi, sigma) = (Activation::Tanh, Activation::Sigmoid);
    match kind {
        0 => {
            let weights = LstmWeights::new(kernel, recurrent, Some(row(bias(1)))).unwrap();
            LstmCell::new(weights, phi, sigma).into()
        }
        1 | 2 => {
            let bias = bias(kind);
            let weights = GruWeights::new(kernel, recurrent, Some(bias)).unwrap();
            GruCell::new(weights, phi, sigma, kind == 2).unwrap().into()
        }
        _ => {
            let weights = SimpleRnnWeights::new(kernel, recurrent, Some(row(bias(1)))).unwrap();
            SimpleRnnCell::new(weights, phi).into()
        }
    }
}

/// Through several masked steps, where what each step rounds goes into the next.
#[test]
#[cfg_attr(miri, ignore = "`engine::tests::small` has each of its steps")]
fn sequences_are_near_the_textbook() {
    let mut random = Random(3);
    let (time, mut worst) = (6, [0.0f64; 3]);
    for kind in 0..4 {
        for (units, features) in [(1, 3), (5, 0), (5, 39), (17, 1), (100, 3)] {
            let layer = layer(cell(kind, features, units, &mut random));
            for batch in [1, 4, 20] {
                let x =
                    Array3::from_shape_simple_fn((batch, time, features), || 2.0 * random.value());
                let mask = Array2::from_shape_simple_fn((batch, time), || random.value() < 0.6);
                for mask in [None, Some(mask.view())] {
                    let right =
                        reference::sequence(&layer, x.mapv(f64::from).view(), mask, None).outputs;
                    for (isa, arithmetic) in all() {
                        let layer = on(&layer, isa, arithmetic);
                        let found = layer.forward(x.view(), mask, None).unwrap().output;
                        let found = found.sequences().unwrap().mapv(f64::from);
                        let (which, bound) = match arithmetic {
                            Arithmetic::Singles => (0, 2e-6),
                            Arithmetic::Pairs(_) => (1, 0.015),
                            Arithmetic::Quads(_) => (2, 0.04),
                        };
                        for (found, right) in found.iter().zip(&right) {
                            let error = (found - right).abs();
                            worst[which] = worst[which].max(error);
                            assert!(
                                error <= bound,
                                "{kind} {isa:?} {arithmetic:?} \
                                 {batch}×{features}×{units}: {error}"
                            );
                        }
                    }
                }
            }
        }
    }
    // The bounds say something.
    assert!(worst[1] > 0.001 && worst[2] > 0.004, "{worst:?}");
}

#[test]
fn bf16_is_the_nearest() {
    let mut random = Random(4);
    for _ in 0..if cfg!(miri) { 100 } else { 100_000 } {
        let value = f32::from_bits((random.value().to_bits() << 7) ^ random.value().to_bits());
        let rounded = f32::from_bits(u32::from(bf16(value)) << 16);
        if value.is_nan() {
            assert!(rounded.is_nan());
            continue;
        }
        let below = f32::from_bits(value.to_bits() & 0xffff_0000);
        let above = f32::from_bits((value.to_bits() & 0xffff_0000).wrapping_add(0x1_0000));
        let far = |other: f32| (f64::from(other) - f64::from(value)).abs();
        if above.is_finite() {
            assert!(far(rounded) <= far(below).min(far(above)), "{value:e}");
        }
    }
    // Of two that are as near, the even one; beyond the greatest, infinity.
    for (value, bits) in [
        (0x3f80_8000, 0x3f80),
        (0x3f81_8000, 0x3f82),
        (0x3f80_8001, 0x3f81),
        (0xbf80_8000, 0xbf80),
        (0x7f7f_ffff, 0x7f80),
        (0xff80_0000, 0xff80),
        (0x7f80_0001, 0x7fc0),
        (0x0000_0000, 0x0000),
        (0x8000_0001, 0x8000),
    ] {
        assert_eq!(bf16(f32::from_bits(value)), bits, "{value:#x}");
    }
}

#[test]
fn what_is_not_finite_stays_so_and_where_it_is() {
    let kernel = array![[0.5, 0.25], [f32::NAN, 0.25], [0.5, -1.0]];
    let poisoned = linear(kernel, Array2::zeros((2, 2)));
    let sound = linear(Array2::from_elem((3, 2), 0.5), Array2::zeros((2, 2)));
    let x = array![
        [1.0, 0.5, 0.25],
        [f32::NAN, 0.0, 1.0],
        [f32::INFINITY, 1.0, 1.0],
        [0.0, 0.0, 0.0],
        [1e-38, 0.0, -1e-38],
        [3e38, 3e38, 3e38],
    ];
    let h = Array2::zeros((6, 2));
    for (isa, arithmetic) in all() {
        let found = step(&on(&poisoned, isa, arithmetic), &x, &h);
        let of = |row: usize| (found[[row, 0]].is_nan(), found[[row, 1]].is_nan());
        assert_eq!((of(0), of(3)), ((true, false), (true, false)));
        let found = step(&on(&sound, isa, arithmetic), &x, &h);
        let finite = |row: usize| found.row(row).iter().all(|value| value.is_finite());
        assert!(
            finite(0) && finite(3) && finite(4),
            "{arithmetic:?} {found}"
        );
        assert!(
            !finite(1) && !finite(2) && !finite(5),
            "{arithmetic:?} {found}"
        );
        assert!(found[[3, 0]] == 0.0 && found[[4, 0]].abs() < 1e-30);
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of a few features' code")]
fn integers_have_room_for_many_features() {
    let features = 150_000;
    let layer = linear(Array2::ones((features, 1)), Array2::zeros((1, 1)));
    let (x, h) = (Array2::ones((1, features)), Array2::zeros((1, 1)));
    let (isa, arithmetic) = (Isa::best(), Arithmetic::new(Precision::Int8, Isa::best()));
    let found = step(&on(&layer, isa, arithmetic), &x, &h)[[0, 0]];
    assert!((found / features as f32 - 1.0).abs() < 1e-5, "{found}");
}

#[test]
#[cfg_attr(miri, ignore = "`engine::tests::small` has such streams")]
fn a_stream_gives_what_a_sequence_gives() {
    let mut random = Random(5);
    for kind in 0..4 {
        let mut layer = layer(cell(kind, 7, 19, &mut random));
        let x = Array3::from_shape_simple_fn((1, 30, 7), || random.value());
        for precision in Precision::ALL {
            layer.set_precision(precision);
            let sequence = layer.forward(x.view(), None, None).unwrap().output;
            let mut stepper = layer.stepper();
            for (time, x) in x.index_axis(Axis(0), 0).rows().into_iter().enumerate() {
                let mut h = [0.0; 19];
                stepper.step(x.as_slice().unwrap(), &mut h);
                let right = sequence.sequences().unwrap();
                let right = right.slice(ndarray::s![0, time, ..]);
                assert_eq!(h[..], *right.as_slice().unwrap(), "{kind} {precision}");
            }
        }
    }
}
