//! Metrics against Keras 3's, batch by batch (`golden/make_metrics.py`).

mod common;

use common::{array, assert_close, cases, mask, numbers, optional_array};
use ifco_train::{Direction, Metric, TrainError, Weighting};
use ndarray::{ArrayD, IxDyn, array};
use serde_json::{Value, json};

fn feed(metric: &mut Metric, batch: &Value) -> Result<(), TrainError> {
    let weight = optional_array(&batch["sample_weight"]);
    let mask = mask(&batch["mask"]);
    let weighting = Weighting {
        sample_weight: weight.as_ref().map(|w| w.view()),
        mask: mask.as_ref().map(|m| m.view()),
    };
    let (y_true, y_pred) = (array(&batch["y_true"]), array(&batch["y_pred"]));
    metric.update(&y_true.view(), &y_pred.view(), &weighting)
}

#[test]
fn results_are_keras_s_after_each_batch() {
    for case in cases("metrics.json") {
        let what = format!("{}: {}", case["metric"], case["about"]);
        let mut metric =
            Metric::from_keras(&case["metric"]).unwrap_or_else(|e| panic!("{what}: {e}"));
        for round in 0..2 {
            for batch in case["batches"].as_array().expect("batches") {
                feed(&mut metric, batch).unwrap_or_else(|error| panic!("{what}: {error}"));
                let what = format!("{what}, round {round}");
                assert_close(&what, &metric.result(), &numbers(&batch["result"]), 2e-6);
            }
            metric.reset();
        }
    }
}

#[test]
fn names_directions_and_configurations_are_keras_s() {
    for case in cases("metrics.json") {
        let metric = Metric::from_keras(&case["metric"]).expect("one of Keras's");
        assert_eq!(metric.name, case["name"], "{}", case["metric"]);
        let direction = match metric.direction() {
            Some(Direction::Up) => json!("up"),
            Some(Direction::Down) => json!("down"),
            None => Value::Null,
        };
        assert_eq!(direction, case["direction"], "{}", case["metric"]);
        let again = Metric::from_keras(&metric.to_keras()).expect("what was just written");
        assert_eq!(again, metric);
        if let Some(config) = case["metric"].get("config") {
            let mut config = config.clone();
            for value in config
                .as_object_mut()
                .expect("a configuration")
                .values_mut()
            {
                if let Some(wrapped) = value.pointer("/config/value") {
                    *value = wrapped.clone();
                }
            }
            assert_eq!(metric.to_keras()["config"], config, "{}", case["metric"]);
        }
    }
}

#[test]
fn perplexity_is_e_to_the_crossentropy() {
    let written = json!({
        "class_name": "Perplexity", "config": {"from_logits": true, "mask_token_id": 0},
    });
    let mut perplexity = Metric::from_keras(&written).expect("known");
    let y = array![[1.0, 0.0, 2.0]].into_dyn();
    let p = array![[[0.0, 1.0, 2.0], [9.0, 9.0, 9.0], [0.5, 0.25, 0.0]]].into_dyn();
    perplexity
        .update(&y.view(), &p.view(), &Weighting::default())
        .expect("shapes that fit");
    let of = |x: [f64; 3], class: usize| x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[class];
    let mean = (of([0.0, 1.0, 2.0], 1) + of([0.5, 0.25, 0.0], 2)) / 2.0;
    assert_close(
        "perplexity",
        &perplexity.result(),
        &[mean.exp() as f32],
        1e-6,
    );
}

#[test]
fn errors_name_what_is_wrong() {
    let error = Metric::from_keras(&"acuracy".into())
        .unwrap_err()
        .to_string();
    assert!(error.contains("accuracy"), "{error}");
    for (config, what) in [
        (
            json!({"class_name": "AUC", "config": {"curve": "S"}}),
            "curve",
        ),
        (
            json!({"class_name": "AUC", "config": {"num_thresholds": 1}}),
            "num_thresholds",
        ),
        (
            json!({"class_name": "Precision", "config": {"thresholds": [2]}}),
            "thresholds",
        ),
        (json!({"class_name": "MeanIoU", "config": {}}), "MeanIoU"),
    ] {
        let error = Metric::from_keras(&config).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let (y, p) = (
        ArrayD::<f32>::zeros(IxDyn(&[2, 3])),
        ArrayD::<f32>::zeros(IxDyn(&[2, 4])),
    );
    for name in [
        "mse",
        "auc",
        "precision",
        "f1_score",
        "r2_score",
        "accuracy",
        "categorical_accuracy",
    ] {
        let mut metric = Metric::from_keras(&name.into()).expect("known");
        let error = metric.update(&y.view(), &p.view(), &Weighting::default());
        assert!(
            matches!(error, Err(TrainError::Shape { .. })),
            "{name}: {error:?}"
        );
    }
    let weight = ArrayD::<f32>::zeros(IxDyn(&[5]));
    for name in ["mse", "auc", "f1_score", "r2_score"] {
        let mut metric = Metric::from_keras(&name.into()).expect("known");
        let weighting = Weighting {
            sample_weight: Some(weight.view()),
            mask: None,
        };
        let error = metric.update(&y.view(), &y.view(), &weighting);
        assert!(
            matches!(error, Err(TrainError::Shape { .. })),
            "{name}: {error:?}"
        );
    }
}
