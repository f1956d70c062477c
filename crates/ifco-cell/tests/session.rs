//! A stream gives what the whole sequence gives, on random layers.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions,
    Session, SessionError, SimpleRnnCell, SimpleRnnWeights,
};
use ndarray::{Array2, Array3};
use proptest::prelude::*;

mod numbers;

use numbers::Numbers;

/// `kind`: LSTM, GRU before, GRU after, SimpleRNN.
fn cell(kind: usize, features: usize, units: usize, bias: bool, numbers: &mut Numbers) -> Cell {
    let columns = [4, 3, 3, 1][kind] * units;
    let (kernel, recurrent) = (
        numbers.matrix(features, columns, 0.5),
        numbers.matrix(units, columns, 0.5),
    );
    let (phi, sigma) = match numbers.signed() {
        x if x < 0.6 => (Activation::Tanh, Activation::Sigmoid),
        x if x < 0.8 => (Activation::Softsign, Activation::HardSigmoidKeras2),
        _ => (Activation::Softmax, Activation::Softmax),
    };
    match kind {
        0 => {
            let bias = bias.then(|| numbers.vector(columns));
            let weights = LstmWeights::new(kernel, recurrent, bias).unwrap();
            LstmCell::new(weights, phi, sigma).into()
        }
        1 | 2 => {
            let bias = bias.then(|| numbers.matrix(kind, columns, 0.5));
            let weights = GruWeights::new(kernel, recurrent, bias).unwrap();
            GruCell::new(weights, phi, sigma, kind == 2).unwrap().into()
        }
        _ => {
            let bias = bias.then(|| numbers.vector(columns));
            let weights = SimpleRnnWeights::new(kernel, recurrent, bias).unwrap();
            SimpleRnnCell::new(weights, phi).into()
        }
    }
}

fn layer(
    cells: &[(usize, usize, bool)],
    features: usize,
    zero_output_for_mask: bool,
    numbers: &mut Numbers,
) -> RecurrentLayer {
    let mut width = features;
    let cells = cells.iter().map(|&(kind, units, bias)| {
        let built = cell(kind, width, units, bias, numbers);
        width = units;
        built
    });
    let options = SequenceOptions {
        return_sequences: true,
        zero_output_for_mask,
        ..SequenceOptions::default()
    };
    RecurrentLayer::new(cells.collect(), options).unwrap()
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() <= 1e-5 + 1e-4 * b.abs())
}

proptest! {
    #[test]
    fn a_stream_is_the_sequence(
        cells in proptest::collection::vec((0..4usize, 1..12usize, any::<bool>()), 1..4),
        features in 0..9usize,
        time in 0..20usize,
        masked in any::<bool>(),
        zero_output_for_mask in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut numbers = Numbers(seed);
        let layer = layer(&cells, features, zero_output_for_mask, &mut numbers);
        let x = Array3::from_shape_simple_fn((1, time, features), || 2.0 * numbers.signed());
        let mask = Array2::from_shape_simple_fn((1, time), || !masked || numbers.signed() < 0.2);
        let initial: Vec<Array2<f32>> =
            layer.state_sizes().map(|units| numbers.matrix(1, units, 0.5)).collect();
        let views: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let whole = layer.forward(x.view(), Some(mask.view()), Some(&views)).unwrap();
        let right = whole.output.sequences().unwrap();

        let mut session = layer.session().unwrap();
        let states: Vec<&[f32]> = initial.iter().map(|state| state.as_slice().unwrap()).collect();
        session.set_states(&states).unwrap();
        for step in 0..time {
            let x: Vec<f32> = (0..features).map(|k| x[[0, step, k]]).collect();
            let y = if mask[[0, step]] { session.step(&x) } else { session.skip() };
            let right: Vec<f32> = (0..layer.units()).map(|k| right[[0, step, k]]).collect();
            prop_assert!(close(y, &right), "step {}: {:?} is not {:?}", step, y, right);
        }
        prop_assert_eq!(session.states().count(), whole.states.len());
        for (state, right) in session.states().zip(&whole.states) {
            prop_assert!(close(state, right.as_slice().unwrap()));
        }
    }

    #[test]
    fn a_restored_stream_goes_on_as_if_nothing_had_been(
        cells in proptest::collection::vec((0..4usize, 1..12usize, any::<bool>()), 1..4),
        seed in any::<u64>(),
    ) {
        let mut numbers = Numbers(seed);
        let layer = layer(&cells, 2, false, &mut numbers);
        let mut session = layer.session().unwrap();
        let fresh = session.step(&[0.5, -0.5]).to_vec();
        let saved: Vec<Vec<f32>> = session.states().map(<[f32]>::to_vec).collect();
        let second = session.step(&[0.1, 0.2]).to_vec();

        let mut other = layer.session().unwrap();
        let saved: Vec<&[f32]> = saved.iter().map(Vec::as_slice).collect();
        other.set_states(&saved).unwrap();
        prop_assert_eq!(other.step(&[0.1, 0.2]), &second[..]);

        session.reset();
        prop_assert!(session.states().all(|state| state.iter().all(|value| *value == 0.0)));
        prop_assert_eq!(session.step(&[0.5, -0.5]), &fresh[..]);
    }
}

#[test]
fn an_input_of_another_length_is_no_panic() {
    let mut numbers = Numbers(7);
    let layer = layer(&[(0, 4, true)], 2, false, &mut numbers);
    let step = |x: &[f32]| layer.session().unwrap().step(x).to_vec();
    assert_eq!(step(&[]), step(&[0.0, 0.0]));
    assert_eq!(step(&[1.0]), step(&[1.0, 0.0]));
    assert_eq!(step(&[1.0, 2.0, 3.0]), step(&[1.0, 2.0]));
    assert_ne!(step(&[1.0, 2.0]), step(&[1.0, 0.0]));
}

#[test]
fn states_that_do_not_fit_are_errors_and_change_nothing() {
    let mut numbers = Numbers(7);
    let mut session = layer(&[(0, 4, true), (3, 2, true)], 2, false, &mut numbers)
        .session()
        .unwrap();
    session.step(&[1.0, 2.0]);
    let before: Vec<Vec<f32>> = session.states().map(<[f32]>::to_vec).collect();
    let error = session.set_states(&[&[0.0; 4][..], &[0.0; 4]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "states has shape [2], expected 3 arrays: for each cell h, and c for an LSTM"
    );
    let error = session
        .set_states(&[&[0.0; 4], &[0.0; 4], &[0.0; 3]])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "states[2] has shape [3], expected (2,): (units,)"
    );
    assert!(session.states().eq(before.iter().map(Vec::as_slice)));
}

#[test]
fn what_cannot_be_streamed_says_why() {
    let mut numbers = Numbers(7);
    let mut backwards = layer(&[(1, 2, true)], 2, false, &mut numbers);
    backwards.options.go_backwards = true;
    assert_eq!(backwards.session().unwrap_err(), SessionError::GoBackwards);

    let weights =
        SimpleRnnWeights::new(numbers.matrix(1, 2, 0.5), numbers.matrix(2, 2, 0.5), None).unwrap();
    let cell = SimpleRnnCell::new(weights, Activation::Sparsemax);
    let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
    let error = layer.session().unwrap_err();
    assert_eq!(error, SessionError::Sparsemax);
    assert!(error.to_string().contains("sparsemax") && error.help().contains("softmax"));
}

#[test]
fn sessions_share_a_layer_and_outlive_it() {
    fn owned_and_sendable<T: Send + 'static>(value: T) -> T {
        value
    }
    let mut numbers = Numbers(7);
    let layer = layer(&[(2, 3, true)], 1, false, &mut numbers);
    let mut right = layer.session().unwrap();
    let sessions: Vec<Session> = (0..4).map(|_| layer.session().unwrap()).collect();
    let sessions = owned_and_sendable(sessions);
    drop(layer);
    let threads: Vec<_> = sessions
        .into_iter()
        .map(|mut session| {
            std::thread::spawn(move || {
                (0..100)
                    .map(|n| session.step(&[n as f32]).to_vec())
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let expected: Vec<Vec<f32>> = (0..100).map(|n| right.step(&[n as f32]).to_vec()).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), expected);
    }
}
