//! Models trained for 200 steps as Keras 3 trains them, from the same weights on the same data
//! (`golden/make_fits.py`).

mod common;

use common::{array, assert_close, cases, draw, numbers};
use ifco_model::{Generation, Model};
use ifco_train::{Compile, Data, FitError, FitOptions, Shuffle, StateValue, Trainer};
use ndarray::{ArrayD, Axis, Slice};
use serde_json::{Value, json};

const ROWS: [std::ops::Range<usize>; 3] = [0..16, 16..32, 32..40];

fn x(seed: usize, shape: &[usize]) -> ArrayD<f32> {
    draw(seed, 0, &[&[40], shape].concat()) * 4.0
}

fn classes(seed: usize, count: f32, shape: &[usize]) -> ArrayD<f32> {
    draw(seed, 0, &[&[40], shape].concat()).mapv(|x| ((x + 0.5) * count).floor())
}

fn one_hot(seed: usize) -> ArrayD<f32> {
    let mut rows = ArrayD::zeros(vec![40, 3]);
    for (row, class) in classes(seed, 3.0, &[]).iter().enumerate() {
        rows[[row, *class as usize]] = 1.0;
    }
    rows
}

fn data(about: &str) -> Data {
    match about {
        "regression" => Data::new(x(1, &[7, 3]), x(2, &[1])),
        "masked tagging" => {
            let seen = classes(4, 4.0, &[5, 1]).mapv(|class| f32::from(class > 0.0));
            Data::new(x(3, &[5, 2]) * seen, classes(5, 3.0, &[5]))
        }
        "both directions, weights" => Data {
            sample_weights: vec![draw(8, 0, &[40]) + 1.0],
            ..Data::new(x(6, &[5, 2]), classes(7, 2.0, &[1]))
        },
        "words" => Data::new(classes(9, 7.0, &[6]), classes(10, 4.0, &[])),
        "two outputs" => Data {
            inputs: vec![x(11, &[5, 2])],
            targets: vec![x(12, &[5, 1]), one_hot(13)],
            sample_weights: Vec::new(),
        },
        "penalties" => Data::new(x(14, &[5, 2]), x(15, &[1])),
        "activity" => {
            let seen = classes(17, 4.0, &[5, 1]).mapv(|class| f32::from(class > 0.0));
            Data::new(x(16, &[5, 2]) * seen, one_hot(18))
        }
        "attention" => Data::new(x(24, &[5, 2]), x(25, &[1])),
        "penalties inside" => Data::new(x(22, &[5, 2]), x(23, &[1])),
        "a softmax that goes on" => Data {
            inputs: vec![x(19, &[4])],
            targets: vec![classes(20, 3.0, &[]), classes(21, 2.0, &[1])],
            sample_weights: Vec::new(),
        },
        other => panic!("no data for {other}"),
    }
}

fn part(data: &Data, rows: &std::ops::Range<usize>) -> Data {
    let some = |arrays: &[ArrayD<f32>]| {
        let slice = Slice::from(rows.clone());
        arrays
            .iter()
            .map(|array| array.slice_axis(Axis(0), slice).to_owned())
            .collect()
    };
    Data {
        inputs: some(&data.inputs),
        targets: some(&data.targets),
        sample_weights: some(&data.sample_weights),
    }
}

fn trainer(case: &Value, weights: Option<Vec<ArrayD<f32>>>) -> Trainer {
    let mut model = Model::from_config(&case["model"], Generation::Keras3).expect("Keras's model");
    let expected = case["weights"]
        .as_array()
        .expect("weights")
        .iter()
        .enumerate();
    let drawn = expected.map(|(i, weight)| draw(500 + i, 0, array(weight).shape()));
    model
        .set_weights(weights.unwrap_or_else(|| drawn.collect()))
        .expect("weights that fit");
    let compile = Compile::from_keras(&case["compile"]).expect("Keras's configuration");
    Trainer::new(model, compile).expect("a model that can be trained")
}

fn assert_weights(what: &str, trainer: &mut Trainer, expected: &Value) {
    let weights = trainer
        .model()
        .expect("its own weights")
        .weights()
        .expect("some");
    for (i, (found, expected)) in weights
        .iter()
        .zip(expected.as_array().expect("some"))
        .enumerate()
    {
        let lists = [found, &array(expected)].map(|a| a.iter().copied().collect::<Vec<f32>>());
        assert_close(&format!("{what}, weight {i}"), &lists[0], &lists[1], 1e-4);
    }
}

#[test]
fn two_hundred_steps_follow_keras() {
    for case in cases("fits.json") {
        let about = case["about"].as_str().expect("text");
        let data = data(about);
        let mut trainer = trainer(&case, None);
        for (step, expected) in numbers(&case["losses"]).into_iter().enumerate() {
            let loss = trainer.train_on_batch(&part(&data, &ROWS[step % 3]), 0);
            let loss = loss.unwrap_or_else(|error| panic!("{about}: {error}"));
            assert_close(
                &format!("{about}, loss of step {step}"),
                &[loss],
                &[expected],
                1e-4,
            );
        }
        assert_weights(about, &mut trainer, &case["weights"]);
        let found = trainer.evaluate(&data, 16).expect("the same data");
        let expected = case["evaluated"].as_object().expect("logs");
        assert_eq!(
            found.len(),
            expected.len(),
            "{about}: {found:?} {expected:?}"
        );
        for (name, value) in found {
            let expected = common::number(&expected[&name]);
            assert_close(
                &format!("{about}, {name}"),
                &[value as f32],
                &[expected],
                1e-4,
            );
        }
    }
}

#[test]
fn a_half_trained_model_of_keras_goes_on_as_there() {
    let mut resumed = 0;
    for case in cases("fits.json")
        .iter()
        .filter(|case| !case["half"].is_null())
    {
        let about = case["about"].as_str().expect("text");
        let half = &case["half"];
        let weights = half["weights"]
            .as_array()
            .expect("weights")
            .iter()
            .map(array)
            .collect();
        let mut trainer = trainer(case, Some(weights));
        let variables = half["variables"].as_array().expect("variables").iter();
        let variables: Vec<StateValue> = variables
            .map(|variable| match variable.as_i64() {
                Some(count) => StateValue::Count(count),
                None => StateValue::Numbers(array(variable)),
            })
            .collect();
        trainer
            .optimizer()
            .set_variables(&variables)
            .expect("Adam's");
        let data = data(about);
        for (step, expected) in numbers(&case["losses"]).into_iter().enumerate().skip(100) {
            let loss = trainer
                .train_on_batch(&part(&data, &ROWS[step % 3]), 0)
                .expect("data that fit");
            assert_close(
                &format!("{about}, loss of step {step}"),
                &[loss],
                &[expected],
                1e-4,
            );
        }
        assert_weights(about, &mut trainer, &case["weights"]);
        resumed += 1;
    }
    assert!(resumed > 0);
}

#[test]
fn training_that_was_cut_goes_on_bit_for_bit() {
    let case = &cases("fits.json")[0];
    let data = data("regression");
    let fit = |trainer: &mut Trainer, initial_epoch, epochs| {
        let options = FitOptions {
            epochs,
            initial_epoch,
            batch_size: 16,
            shuffle: Some(Shuffle::new(3)),
            ..FitOptions::default()
        };
        let mut losses = Vec::new();
        let after = |_: usize, logs: &[(&str, f64)]| {
            losses.push(logs[0].1);
            true
        };
        trainer.fit(&data, &options, after).expect("data that fit");
        losses
    };
    let mut whole = trainer(case, None);
    let losses = fit(&mut whole, 0, 6);
    assert!(losses[5] < losses[0], "{losses:?}");

    let mut first = trainer(case, None);
    fit(&mut first, 0, 2);
    let variables: Vec<StateValue> = first
        .optimizer()
        .variables()
        .into_iter()
        .map(|v| v.value)
        .collect();
    let weights = first.model().expect("its own weights").weights();
    let mut second = trainer(case, weights);
    second
        .optimizer()
        .set_variables(&variables)
        .expect("its own");
    let rest = fit(&mut second, 2, 6);
    assert_eq!(rest, losses[2..]);
    let weights = [&mut whole, &mut second].map(|t| t.model().expect("its own").weights());
    assert_eq!(weights[0], weights[1]);
}

#[test]
fn validation_and_stopping() {
    let case = &cases("fits.json")[1];
    let all = data("masked tagging");
    let (train, held_out) = (part(&all, &(0..30)), part(&all, &(30..40)));
    let mut trainer = trainer(case, None);
    let options = FitOptions {
        epochs: 9,
        validation: Some(&held_out),
        ..FitOptions::default()
    };
    let mut seen = Vec::new();
    let after = |epoch: usize, logs: &[(&str, f64)]| {
        let names: Vec<String> = logs.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, ["loss", "accuracy", "val_loss", "val_accuracy"]);
        seen.push(epoch);
        epoch < 2
    };
    trainer.fit(&train, &options, after).expect("data that fit");
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn errors_name_what_is_wrong_and_change_nothing() {
    let case = &cases("fits.json")[0];
    let mut trainer = trainer(case, None);
    let before = trainer.model().expect("its own").weights();
    let good = part(&data("regression"), &ROWS[0]);
    let bad = Data {
        targets: vec![ArrayD::zeros(vec![16, 2])],
        ..good.clone()
    };
    assert!(matches!(
        trainer.train_on_batch(&bad, 0),
        Err(FitError::Train(_))
    ));
    let bad = Data {
        targets: vec![ArrayD::zeros(vec![3, 1])],
        ..good.clone()
    };
    let error = trainer.train_on_batch(&bad, 0).unwrap_err().to_string();
    assert!(error.contains("16 and 3"), "{error}");
    let bad = Data {
        targets: Vec::new(),
        ..good.clone()
    };
    assert!(matches!(
        trainer.train_on_batch(&bad, 0),
        Err(FitError::Data(_))
    ));
    let bad = Data {
        inputs: vec![ArrayD::zeros(vec![16, 7, 9])],
        ..good
    };
    assert!(matches!(
        trainer.train_on_batch(&bad, 0),
        Err(FitError::Model(_))
    ));
    assert_eq!(trainer.model().expect("its own").weights(), before);

    // A cell's outputs are not a layer's; and there are users' own.
    let l2 = json!({"class_name": "L2", "config": {"l2": 0.1}});
    let cell =
        json!({"class_name": "LSTMCell", "config": {"units": 1, "activity_regularizer": l2}});
    let layers = [
        ("RNN", json!({"name": "d", "cell": cell})),
        (
            "Dense",
            json!({"name": "d", "units": 1, "activity_regularizer": {
                "class_name": "Mine", "config": {},
            }}),
        ),
    ];
    for (class, config) in layers {
        let model = json!({"class_name": "Sequential", "config": {"layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 2, 1]}},
            {"class_name": class, "config": config},
        ]}});
        let model =
            Model::from_config(&model, Generation::Keras3).expect("it predicts all the same");
        let compile = Compile::from_keras(&json!({"loss": "mse"})).expect("valid");
        let error = Trainer::new(model, compile).unwrap_err().to_string();
        assert!(error.contains("regularizer"), "{error}");
    }
}
