//! What Keras 3 and Keras 2 really compute: see `golden/make.py`.

use ifco_cell::{
    Activation, Cell, Dropout, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer,
    SequenceGradient, SequenceOptions, SequenceOutput, SimpleRnnCell, SimpleRnnWeights,
};
use ndarray::{Array1, Array2, Array3, ArrayD, Ix1, Ix2, Ix3};

mod paragraphs;

use paragraphs::{Named, array, numbers};

/// The greatest difference, beside 1 or the size of what is right.
fn difference<'a>(
    found: impl IntoIterator<Item = &'a f32>,
    right: impl IntoIterator<Item = &'a f32>,
) -> f32 {
    let (found, right) = (found.into_iter(), right.into_iter());
    found
        .zip(right)
        .map(|(found, right)| match found == right {
            true => 0.0,
            false => (found - right).abs() / right.abs().max(1.0),
        })
        .fold(0.0, |worst, x| match x.is_nan() {
            true => f32::INFINITY,
            false => f32::max(worst, x),
        })
}

fn with_parameters(name: &str) -> Activation {
    let relu = |negative_slope, max_value, threshold| Activation::Relu {
        negative_slope,
        max_value,
        threshold,
    };
    match name {
        "gelu_approximate" => Activation::Gelu { approximate: true },
        "elu_0.3" => Activation::Elu { alpha: 0.3 },
        "celu_0.3" => Activation::Celu { alpha: 0.3 },
        "squareplus_0.5" => Activation::Squareplus { b: 0.5 },
        "threshold_0.5_-2" => Activation::Threshold {
            threshold: 0.5,
            default_value: -2.0,
        },
        "relu_0.1_none_0" => relu(0.1, None, 0.0),
        "relu_0.1_2_0" => relu(0.1, Some(2.0), 0.0),
        "relu_0_none_1.5" => relu(0.0, None, 1.5),
        "relu_0_6_0" => relu(0.0, Some(6.0), 0.0),
        "relu_0.2_3_-1" => relu(0.2, Some(3.0), -1.0),
        "relu_0.2_none_-1" => relu(0.2, None, -1.0),
        _ => panic!("no such case: {name}"),
    }
}

#[test]
fn activations_are_keras() {
    let mut lines = include_str!("golden/activations.txt").lines();
    let inputs = numbers(lines.next().unwrap());
    let mut worst: f32 = 0.0;
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (generation, name) = (words.next().unwrap(), words.next().unwrap());
        let right = numbers(words.next().unwrap());
        let activation = match generation {
            "2" => Activation::from_keras2_name(name).unwrap(),
            "3" => Activation::from_name(name).unwrap(),
            _ => with_parameters(name),
        };
        let mut found = inputs.clone();
        activation.apply_rows(&mut found, 4);
        let difference = difference(&found, &right);
        assert!(difference < 1e-6, "{generation} {name}: {difference}");
        worst = worst.max(difference);

        let mut wide: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
        for row in wide.chunks_mut(4) {
            ifco_cell::reference::activate(activation, row);
        }
        let wide: Vec<f32> = wide.iter().map(|x| *x as f32).collect();
        // Keras's own rounding is in this one: √(x² + b) + x loses it all far below 0.
        let difference = self::difference(&wide, &right);
        assert!(
            difference < 2e-5,
            "{generation} {name} in f64: {difference}"
        );
    }
    println!("greatest difference from Keras: {worst:e}");
}

fn build(words: &[&str], arrays: &[Named<'_>], keras2: bool) -> Cell {
    let find = |wanted: &str| {
        let found = arrays.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, array)| array.clone())
    };
    let matrix = |name| find(name).map(|array| array.into_dimensionality::<Ix2>().unwrap());
    let vector = |name| find(name).map(|array| array.into_dimensionality::<Ix1>().unwrap());
    let activation = |name| match keras2 {
        true => Activation::from_keras2_name(name).unwrap(),
        false => Activation::from_name(name).unwrap(),
    };
    let kernel: Array2<f32> = matrix("kernel").unwrap();
    let recurrent = matrix("recurrent_kernel").unwrap();
    match words[0] {
        "LSTM" => {
            let bias: Option<Array1<f32>> = vector("bias");
            let weights = LstmWeights::new(kernel, recurrent, bias).unwrap();
            LstmCell::new(weights, activation(words[1]), activation(words[2])).into()
        }
        "GRU" => {
            let weights = GruWeights::new(kernel, recurrent, matrix("bias")).unwrap();
            let (phi, sigma) = (activation(words[1]), activation(words[2]));
            let cell = GruCell::new(weights, phi, sigma, words[3] == "after");
            cell.unwrap().into()
        }
        _ => {
            let weights = SimpleRnnWeights::new(kernel, recurrent, vector("bias")).unwrap();
            SimpleRnnCell::new(weights, activation(words[1])).into()
        }
    }
}

#[test]
fn layers_are_keras() {
    let mut cases = 0;
    for case in include_str!("golden/layers.txt").trim_end().split("\n\n") {
        let (head, rest) = case.split_once('\n').unwrap();
        let options = SequenceOptions {
            return_sequences: head.contains("return_sequences"),
            go_backwards: head.contains("go_backwards"),
            zero_output_for_mask: head.contains("zero_output_for_mask"),
        };
        let mut cells = Vec::new();
        let mut of_cell: Vec<(Vec<&str>, Vec<Named>)> = Vec::new();
        let mut others = Vec::new();
        for line in rest.lines() {
            if let Some(words) = line.strip_prefix("cell ") {
                of_cell.push((words.split(' ').collect(), Vec::new()));
                continue;
            }
            let (name, values) = array(line);
            match name {
                "kernel" | "recurrent_kernel" | "bias" => {
                    of_cell.last_mut().unwrap().1.push((name, values));
                }
                _ => others.push((name, values)),
            }
        }
        for (words, arrays) in &of_cell {
            cells.push(build(words, arrays, head.starts_with('2')));
        }
        let layer = RecurrentLayer::new(cells, options).unwrap();

        let all = |wanted: &str| -> Vec<ArrayD<f32>> {
            let found = others.iter().filter(|(name, _)| *name == wanted);
            found.map(|(_, array)| array.clone()).collect()
        };
        let inputs: Array3<f32> = all("inputs")
            .remove(0)
            .into_dimensionality::<Ix3>()
            .unwrap();
        let mask = all("mask").pop().map(|mask| {
            let mask = mask.into_dimensionality::<Ix2>().unwrap();
            mask.mapv(|value| value == 1.0)
        });
        let initial: Vec<Array2<f32>> = all("initial")
            .into_iter()
            .map(|state| state.into_dimensionality().unwrap())
            .collect();
        let views: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let found = layer
            .forward(
                inputs.view(),
                mask.as_ref().map(|mask| mask.view()),
                (!views.is_empty()).then_some(&views[..]),
            )
            .unwrap();

        let right = &all("output")[0];
        let output = match &found.output {
            SequenceOutput::Last(last) => last.view().into_dyn(),
            SequenceOutput::Sequences(sequences) => sequences.view().into_dyn(),
        };
        assert_eq!(output.shape(), right.shape(), "{head}");
        let difference = self::difference(output.iter(), right.iter());
        assert!(difference < 5e-6, "case {cases}, {head}: {difference}");
        let states = all("state");
        assert_eq!(found.states.len(), states.len(), "{head}");
        for (found, right) in found.states.iter().zip(&states) {
            let difference = self::difference(found, right.iter());
            assert!(
                difference < 5e-6,
                "case {cases}, {head}, states: {difference}"
            );
        }
        cases += 1;
    }
    assert_eq!(cases, 36);
}

#[test]
fn gradients_are_keras() {
    let mut cases = 0;
    for case in include_str!("golden/gradients.txt")
        .trim_end()
        .split("\n\n")
    {
        let (head, rest) = case.split_once('\n').unwrap();
        let options = SequenceOptions {
            return_sequences: head.contains("return_sequences"),
            go_backwards: head.contains("go_backwards"),
            zero_output_for_mask: head.contains("zero_output_for_mask"),
        };
        let (words, rest) = rest.split_once('\n').unwrap();
        let words: Vec<&str> = words.split(' ').skip(1).collect();
        let arrays: Vec<Named> = rest.lines().map(array).collect();
        let cell = build(&words, &arrays, false);
        let layer = RecurrentLayer::new(vec![cell], options).unwrap();
        let all = |wanted: &str| -> Vec<ArrayD<f32>> {
            let found = arrays.iter().filter(|(name, _)| *name == wanted);
            found.map(|(_, array)| array.clone()).collect()
        };
        let matrix = |array: ArrayD<f32>| array.into_dimensionality::<Ix2>().unwrap();
        let inputs = all("inputs").remove(0).into_dimensionality::<Ix3>();
        let mask = all("mask")
            .pop()
            .map(|mask| matrix(mask).mapv(|value| value == 1.0));
        let initial: Vec<_> = all("initial").into_iter().map(matrix).collect();
        let initial: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let (_, tape) = layer
            .forward_for_training(
                inputs.unwrap().view(),
                mask.as_ref().map(|mask| mask.view()),
                Some(&initial),
                &Dropout::default(),
            )
            .unwrap();
        let mut given = all("d_answer");
        let d_output = given.remove(0);
        let d_output = match options.return_sequences {
            true => SequenceGradient::Sequences(d_output.view().into_dimensionality().unwrap()),
            false => SequenceGradient::Last(d_output.view().into_dimensionality().unwrap()),
        };
        let d_states: Vec<_> = given.into_iter().map(matrix).collect();
        let d_states: Vec<_> = d_states.iter().map(|state| state.view()).collect();
        let found = tape.backward(&layer, d_output, Some(&d_states)).unwrap();
        let mut all_found = vec![found.inputs.view().into_dyn()];
        all_found.extend(
            found
                .initial_states
                .iter()
                .map(|state| state.view().into_dyn()),
        );
        all_found.extend(found.cells[0].arrays().map(|(_, array)| array));
        let right = all("gradient");
        assert_eq!(all_found.len(), right.len(), "case {cases}");
        for (place, (found, right)) in all_found.iter().zip(&right).enumerate() {
            assert_eq!(found.shape(), right.shape(), "case {cases}, array {place}");
            let difference = difference(found.iter(), right.iter());
            assert!(
                difference < 2e-5,
                "case {cases}, array {place}: {difference}"
            );
        }
        cases += 1;
    }
    assert_eq!(cases, 12);
}
