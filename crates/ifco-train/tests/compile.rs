//! What Keras 3 and tf_keras write of `compile`, read and written again (`golden/make_compile.py`);
//! and the order of data.

mod common;

use std::collections::BTreeSet;

use common::cases;
use ifco_train::{Compile, Shuffle, TrainError, batches, class_weights, validation_split};
use ndarray::array;
use serde_json::{Value, json};

fn outputs(case: &Value) -> Vec<&str> {
    let outputs = case["outputs"].as_array().expect("outputs").iter();
    outputs.map(|name| name.as_str().expect("a name")).collect()
}

#[test]
fn logs_have_keras_s_names() {
    for case in cases("compile.json") {
        let what = &case["about"];
        let compile =
            Compile::from_keras(&case["compile"]).unwrap_or_else(|e| panic!("{what}: {e}"));
        let names = outputs(&case);
        let resolved = compile
            .outputs(&names)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut found = BTreeSet::from(["loss".to_owned()]);
        for (output, name) in resolved.iter().zip(&names) {
            if names.len() > 1 {
                found.insert(format!("{name}_loss"));
            }
            let metrics = output.metrics.iter().chain(&output.weighted_metrics);
            found.extend(metrics.map(|(name, _)| name.clone()));
        }
        let expected = case["logs"].as_array().expect("names").iter();
        let expected: BTreeSet<String> = expected
            .map(|n| n.as_str().expect("a name").into())
            .collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn losses_and_their_weights_find_their_outputs() {
    for case in cases("compile.json") {
        let compile = Compile::from_keras(&case["compile"]).expect("one of Keras's");
        let resolved = compile.outputs(&outputs(&case)).expect("its outputs");
        let about = case["about"].as_str().expect("text");
        let found: Vec<(String, f32)> = resolved
            .iter()
            .map(|output| {
                (
                    output.loss.as_ref().expect("a loss").name.clone(),
                    output.loss_weight,
                )
            })
            .collect();
        let pair = |a: &str, x, b: &str, y| vec![(a.to_owned(), x), (b.to_owned(), y)];
        if about.ends_with("lists") {
            assert_eq!(found, pair("mse", 0.5, "mae", 2.0), "{about}");
        } else if about.ends_with("dictionaries") {
            assert_eq!(
                found,
                pair("categorical_crossentropy", 1.0, "mse", 0.25),
                "{about}"
            );
        } else if about.ends_with("one loss for all") {
            assert_eq!(found, pair("mse", 1.0, "mse", 1.0), "{about}");
        }
    }
}

#[test]
fn configurations_come_back_as_they_were() {
    for case in cases("compile.json") {
        let compile = Compile::from_keras(&case["compile"]).expect("one of Keras's");
        let written = compile.to_keras();
        let again = Compile::from_keras(&written).expect("what was just written");
        let names = outputs(&case);
        assert_eq!(
            again.outputs(&names),
            compile.outputs(&names),
            "{}",
            case["about"]
        );
        assert_eq!(again.optimizer, compile.optimizer, "{}", case["about"]);
        let about = case["about"].as_str().expect("text");
        if about.starts_with("keras .keras") && !about.ends_with("schedule") {
            let mut expected = case["compile"].clone();
            // Keras itself writes names of optimizers and metrics alone or as a list.
            expected["optimizer"] = written["optimizer"].clone();
            assert_eq!(written, expected, "{about}");
        }
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let error = Compile::from_keras(&json!({"optimizer": "sgd"})).unwrap_err();
    assert!(error.to_string().contains("loss"), "{error}");
    let own = json!({"loss": "mse", "metrics": ["mae", "my_metric"]});
    let error = Compile::from_keras(&own).unwrap_err();
    assert!(
        matches!(&error, TrainError::Unknown { name, .. } if name == "my_metric"),
        "{error}"
    );
    let compile = Compile::from_keras(&json!({"loss": {"c": "mse"}})).expect("valid");
    let error = compile.outputs(&["a", "b"]).unwrap_err();
    assert!(error.to_string().contains("a, b"), "{error}");
    let compile = Compile::from_keras(&json!({"loss": ["mse", "mse", "mse"]})).expect("valid");
    assert!(compile.outputs(&["a", "b"]).is_err());
}

#[test]
fn every_sample_comes_once_an_epoch() {
    let order = Shuffle::new(1).order(0, 1000);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    assert_ne!(order, sorted);
    let sizes: Vec<usize> = batches(&order, 300).map(<[usize]>::len).collect();
    assert_eq!(sizes, [300, 300, 300, 100]);
    assert_eq!(batches(&[], 4).len(), 0);
}

#[test]
fn splits_are_keras_s() {
    // floor(samples · (1 − fraction)), in f64.
    assert_eq!(validation_split(100, 0.1), Ok((0..90, 90..100)));
    assert_eq!(validation_split(3, 0.5), Ok((0..1, 1..3)));
    for (samples, fraction) in [(1, 0.5), (10, 0.0), (10, 1.0), (10, f64::NAN), (0, 0.5)] {
        assert!(
            validation_split(samples, fraction).is_err(),
            "{samples}, {fraction}"
        );
    }
}

#[test]
fn class_weights_of_all_kinds_of_targets() {
    let weights = [(0, 0.5), (2, 3.0)].into();
    let expected = array![0.5, 1.0, 3.0].into_dyn();
    let classes = array![0.0, 1.0, 2.0].into_dyn();
    assert_eq!(
        class_weights(&classes.view(), &weights),
        Ok(expected.clone())
    );
    let column = array![[0.0], [1.0], [2.0]].into_dyn();
    assert_eq!(
        class_weights(&column.view(), &weights),
        Ok(expected.clone())
    );
    let one_hot = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].into_dyn();
    assert_eq!(class_weights(&one_hot.view(), &weights), Ok(expected));
    let sequences = array![[[1.0]]].into_dyn();
    assert!(class_weights(&sequences.view(), &weights).is_err());
}
