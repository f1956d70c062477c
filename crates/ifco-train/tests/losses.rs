//! Losses against Keras 3's values and gradients (`golden/make_losses.py`), and against slopes
//! measured from their own values.

mod common;

use common::{array, assert_close, cases, mask, number, optional_array};
use ifco_train::{Loss, LossKind, TrainError, Weighting};
use ndarray::{ArrayD, IxDyn, array};

#[test]
fn values_and_gradients_are_keras_s() {
    for case in cases("losses.json") {
        let what = format!("{}: {}", case["loss"], case["about"]);
        let loss = Loss::from_keras(&case["loss"]).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (y_true, y_pred) = (array(&case["y_true"]), array(&case["y_pred"]));
        let weight = optional_array(&case["sample_weight"]);
        let mask = mask(&case["mask"]);
        let weighting = Weighting {
            sample_weight: weight.as_ref().map(|w| w.view()),
            mask: mask.as_ref().map(|m| m.view()),
        };
        let result = loss
            .with_gradient(&y_true.view(), &y_pred.view(), &weighting)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let total = number(&case["total"]);
        assert_close(&what, &[result.total], &[total], 2e-6);
        let expected = array(&case["gradient"]);
        assert_eq!(result.gradient.shape(), expected.shape(), "{what}");
        let found: Vec<f32> = result.gradient.iter().copied().collect();
        let expected: Vec<f32> = expected.iter().copied().collect();
        assert_close(&format!("{what}, gradient"), &found, &expected, 3e-6);
        let alone = loss.value(&y_true.view(), &y_pred.view(), &weighting);
        assert_eq!(alone, Ok(result.total), "{what}");
    }
}

#[test]
fn configurations_come_back_as_they_were() {
    for case in cases("losses.json") {
        let loss = Loss::from_keras(&case["loss"]).expect("a loss of Keras");
        assert_eq!(loss.name, case["name"], "{}", case["loss"]);
        assert_eq!(
            without_names(loss.to_keras()),
            without_names(case["loss"].clone())
        );
    }
}

/// `mean` is another word for the default reduction.
fn without_names(mut loss: serde_json::Value) -> serde_json::Value {
    if let Some(reduction) = loss.pointer_mut("/config/reduction")
        && *reduction == "mean"
    {
        *reduction = "sum_over_batch_size".into();
    }
    if let Some(config) = loss.pointer_mut("/config").and_then(|c| c.as_object_mut()) {
        config.sort_keys();
    }
    loss
}

#[test]
fn crossentropy_chooses_by_shapes() {
    let loss = Loss::from_keras(&"crossentropy".into()).expect("a loss of Keras");
    let p = array![[0.25, 0.75], [0.5, 0.5]].into_dyn();
    let total = |loss: &Loss, y: ArrayD<f32>, p: &ArrayD<f32>| {
        loss.value(&y.view(), &p.view(), &Weighting::default())
            .expect("shapes that fit")
    };
    let sparse = Loss::from_keras(&"sparse_categorical_crossentropy".into()).expect("known");
    let classes = array![1.0, 0.0].into_dyn();
    assert_eq!(
        total(&loss, classes.clone(), &p),
        total(&sparse, classes, &p)
    );
    let categorical = Loss::from_keras(&"categorical_crossentropy".into()).expect("known");
    let one_hot = array![[0.0, 1.0], [1.0, 0.0]].into_dyn();
    assert_eq!(
        total(&loss, one_hot.clone(), &p),
        total(&categorical, one_hot, &p)
    );
    let binary = Loss::from_keras(&"bce".into()).expect("known");
    let (y, p) = (
        array![[1.0], [0.0]].into_dyn(),
        array![[0.25], [0.5]].into_dyn(),
    );
    assert_eq!(total(&loss, y.clone(), &p), total(&binary, y, &p));
}

#[test]
fn errors_name_what_is_wrong() {
    let sparse = Loss::from_keras(&"sparse_categorical_crossentropy".into()).expect("known");
    let p = ArrayD::<f32>::from_elem(IxDyn(&[2, 3]), 0.25);
    let check = |loss: &Loss, y: ArrayD<f32>, weighting: &Weighting<'_>| {
        loss.value(&y.view(), &p.view(), weighting).unwrap_err()
    };
    let none = Weighting::default();
    let error = check(&sparse, array![0.0, 3.0].into_dyn(), &none);
    assert!(
        matches!(
            error,
            TrainError::Class {
                row: 1,
                last: 2,
                ..
            }
        ),
        "{error}"
    );
    let error = check(&sparse, array![f32::NAN, 0.0].into_dyn(), &none);
    assert!(matches!(error, TrainError::Class { row: 0, .. }), "{error}");
    let error = check(&sparse, array![0.0].into_dyn(), &none);
    assert!(matches!(error, TrainError::Shape { .. }), "{error}");
    let mse = Loss::new(LossKind::MeanSquaredError);
    let error = check(&mse, ArrayD::zeros(IxDyn(&[2, 4])), &none);
    assert!(error.to_string().contains("[2, 4]"), "{error}");
    let weight = ArrayD::zeros(IxDyn(&[5]));
    let weighting = Weighting {
        sample_weight: Some(weight.view()),
        mask: None,
    };
    let error = check(&mse, ArrayD::zeros(IxDyn(&[2, 3])), &weighting);
    assert!(
        matches!(&error, TrainError::Shape { what, .. } if what == "sample_weight"),
        "{error}"
    );
    let ctc = Loss::new(LossKind::Ctc);
    let logits = ArrayD::zeros(IxDyn(&[1, 3, 3]));
    let labels: ArrayD<f32> = array![[1.0, 1.0, 2.0]].into_dyn();
    let error = ctc
        .value(&labels.view(), &logits.view(), &none)
        .unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::LabelsTooLong {
                needed: 4,
                time: 3,
                ..
            }
        ),
        "{error}"
    );
    for (loss, what) in [
        (
            serde_json::json!({"class_name": "Dice", "config": {}}),
            "Dice",
        ),
        (
            serde_json::json!({"class_name": "BinaryCrossentropy", "config": {"axis": 1}}),
            "axis",
        ),
        (
            serde_json::json!({"class_name": "Huber", "config": {"reduction": "max"}}),
            "reduction",
        ),
        (serde_json::json!(7), "7"),
    ] {
        let error = Loss::from_keras(&loss).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn an_empty_batch_has_no_loss() {
    for name in [
        "mse",
        "bce",
        "categorical_crossentropy",
        "cosine_similarity",
    ] {
        let loss = Loss::from_keras(&name.into()).expect("known");
        let empty = ArrayD::<f32>::zeros(IxDyn(&[0, 3]));
        let result = loss.with_gradient(&empty.view(), &empty.view(), &Weighting::default());
        assert_eq!(result.map(|result| result.total), Ok(0.0), "{name}");
    }
}
