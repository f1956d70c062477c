use super::*;
use crate::{Activation, GruCell};
use ndarray::ShapeBuilder;
use proptest::prelude::*;

fn counted(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        (row * columns + column) as f32
    })
}

proptest! {
    #[test]
    fn gate_views_are_keras_slices(features in 0usize..6, u in 1usize..6) {
        let (kernel, recurrent) = (counted(features, 4 * u), counted(u, 4 * u));
        let bias = Array1::from_iter((0..4 * u).map(|k| k as f32));
        let weights =
            LstmWeights::new(kernel.clone(), recurrent.clone(), Some(bias.clone())).unwrap();
        for (gate, columns) in Gate::ALL.into_iter().zip([0..u, u..2 * u, 2 * u..3 * u, 3 * u..4 * u]) {
            prop_assert_eq!(weights.kernel(gate), kernel.slice(s![.., columns.clone()]));
            prop_assert_eq!(weights.recurrent_kernel(gate), recurrent.slice(s![.., columns.clone()]));
            prop_assert_eq!(weights.bias(gate).unwrap(), bias.slice(s![columns]));
        }
        prop_assert_eq!(weights.into_parts(), (kernel, recurrent, Some(bias)));
    }

    #[test]
    fn gru_gate_views_are_keras_slices(features in 0usize..6, u in 1usize..6, rows in 1usize..3) {
        let (kernel, recurrent, bias) = (counted(features, 3 * u), counted(u, 3 * u), counted(rows, 3 * u));
        let weights =
            GruWeights::new(kernel.clone(), recurrent.clone(), Some(bias.clone())).unwrap();
        for (gate, columns) in GruGate::ALL.into_iter().zip([0..u, u..2 * u, 2 * u..3 * u]) {
            prop_assert_eq!(weights.kernel(gate), kernel.slice(s![.., columns.clone()]));
            prop_assert_eq!(weights.recurrent_kernel(gate), recurrent.slice(s![.., columns.clone()]));
            prop_assert_eq!(weights.bias(gate).unwrap(), bias.slice(s![.., columns]));
        }
        let both = [false, true].map(|after| {
            GruCell::new(weights.clone(), Activation::Tanh, Activation::Sigmoid, after).is_ok()
        });
        prop_assert_eq!(both, [rows == 1, rows == 2]);
    }

    #[test]
    fn only_shapes_that_fit_are_taken(
        kernel in (0usize..9, 0usize..9),
        recurrent in (0usize..4, 0usize..9),
        bias in proptest::option::of(0usize..9),
    ) {
        let zeros = |gates: usize| {
            let fits = recurrent.0 > 0 && recurrent.1 == gates * recurrent.0 && kernel.1 == recurrent.1;
            let fits = fits && bias.is_none_or(|length| length == kernel.1);
            (Array2::zeros(kernel), Array2::zeros(recurrent), bias, fits)
        };
        let (w, u, b, fits) = zeros(4);
        prop_assert_eq!(LstmWeights::new(w, u, b.map(Array1::zeros)).is_ok(), fits);
        let (w, u, b, fits) = zeros(3);
        prop_assert_eq!(GruWeights::new(w, u, b.map(|n| Array2::zeros((2, n)))).is_ok(), fits);
        let (w, u, b, fits) = zeros(1);
        prop_assert_eq!(SimpleRnnWeights::new(w, u, b.map(Array1::zeros)).is_ok(), fits);
    }
}

#[test]
fn column_major_arrays_are_kept_row_major() {
    let kernel = Array2::from_shape_fn((3, 8).f(), |(row, column)| (row * 8 + column) as f32);
    let weights = LstmWeights::new(kernel.clone(), Array2::zeros((2, 8).f()), None).unwrap();
    assert!(weights.fused_kernel().is_standard_layout());
    assert!(weights.fused_recurrent_kernel().is_standard_layout());
    assert_eq!(weights.fused_kernel(), kernel);
}

#[test]
fn errors_name_the_array_and_what_would_be_right() {
    let error = LstmWeights::new(Array2::zeros((3, 12)), Array2::zeros((2, 8)), None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "kernel has shape [3, 12], expected (features, 8), that is (features, 4·units) \
         with the 2 units of recurrent_kernel"
    );
    let error = LstmWeights::new(Array2::zeros((3, 0)), Array2::zeros((0, 0)), None);
    assert_eq!(error.unwrap_err().array, "recurrent_kernel");
    let error = GruWeights::new(
        Array2::zeros((3, 6)),
        Array2::zeros((2, 6)),
        Some(Array2::zeros((3, 6))),
    );
    assert_eq!(error.unwrap_err().array, "bias");
}
