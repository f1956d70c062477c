//! Regularizers and initializers against Keras 3 (`golden/make_weights.py`).

mod common;

use common::{array, assert_close, cases, number, numbers};
use ifco_train::{Initializer, InitializerKind, Random, Regularizer};
use ndarray::{ArrayD, IxDyn};

#[test]
fn regularizers_are_keras_s() {
    for case in cases("weights.json") {
        if case["regularizer"].is_null() {
            continue;
        }
        let what = case["regularizer"].to_string();
        let regularizer = Regularizer::from_keras(&case["regularizer"]).expect("one of Keras's");
        let weight = array(&case["weight"]);
        let (value, gradient) = regularizer.with_gradient(&weight.view()).expect("a matrix");
        assert_close(&what, &[value], &[number(&case["value"])], 1e-6);
        let lists =
            [&gradient, &array(&case["gradient"])].map(|a| a.iter().copied().collect::<Vec<_>>());
        assert_close(&what, &lists[0], &lists[1], 1e-6);
        let again = Regularizer::from_keras(&regularizer.to_keras());
        assert_eq!(again, Ok(regularizer));
    }
}

#[test]
fn initializers_spread_as_keras_s() {
    let mut random = Random::new(5);
    for case in cases("weights.json") {
        if case["initializer"].is_null() {
            continue;
        }
        let what = case["initializer"].to_string();
        let initializer = Initializer::from_keras(&case["initializer"]).expect("one of Keras's");
        let shape: Vec<usize> = numbers(&case["shape"])
            .iter()
            .map(|n| *n as usize)
            .collect();
        let drawn = initializer
            .draw(&shape, &mut random)
            .expect("a shape that fits");
        assert_eq!(drawn.shape(), shape, "{what}");
        let mean = drawn.mean().expect("not empty");
        let deviation = drawn.std(0.0);
        let largest = drawn.iter().fold(f32::MIN, |a, b| a.max(*b));
        let smallest = drawn.iter().fold(f32::MAX, |a, b| a.min(*b));
        let spread = number(&case["deviation"]);
        let near = |found: f32, key: &str, part: f32| {
            let expected = number(&case[key]);
            let near = (found - expected).abs() <= part * spread + 1e-6;
            assert!(near, "{what}: {key} is {found}, Keras has {expected}");
        };
        near(mean, "mean", 0.06);
        near(deviation, "deviation", 0.03);
        // What is bounded must be so alike; an untruncated tail differs from draw to draw.
        let tail = match initializer.kind {
            InitializerKind::RandomNormal { .. } | InitializerKind::Orthogonal { .. } => 1.5,
            _ if what.contains("untruncated") => 1.5,
            _ => 0.02,
        };
        near(largest, "largest", tail);
        near(smallest, "smallest", tail);
        let again = Initializer::from_keras(&initializer.to_keras());
        assert_eq!(again, Ok(initializer));
    }
}

#[test]
fn orthogonal_weights_are_orthogonal() {
    let initializer = Initializer::from_keras(&"orthogonal".into()).expect("known");
    for shape in [[40, 40], [40, 160], [90, 30]] {
        let weight = initializer
            .draw(&shape, &mut Random::new(1))
            .expect("a matrix");
        let weight = weight
            .into_dimensionality::<ndarray::Ix2>()
            .expect("a matrix");
        let weight = if shape[0] <= shape[1] {
            weight
        } else {
            weight.reversed_axes()
        };
        let product = weight.dot(&weight.t());
        for ((i, j), value) in product.indexed_iter() {
            assert!(
                (value - f32::from(i == j)).abs() < 1e-5,
                "{shape:?} [{i}, {j}] is {value}"
            );
        }
    }
}

#[test]
fn one_seed_draws_one_weight() {
    let initializer = Initializer::from_keras(&"glorot_uniform".into()).expect("known");
    let draw = |seed| {
        initializer
            .draw(&[3, 4], &mut Random::new(seed))
            .expect("a shape")
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn errors_name_what_is_wrong() {
    let error = Initializer::from_keras(&"glorot".into())
        .unwrap_err()
        .to_string();
    assert!(error.contains("glorot_uniform"), "{error}");
    let orthogonal = Initializer::from_keras(&"orthogonal".into()).expect("known");
    assert!(orthogonal.draw(&[4], &mut Random::new(1)).is_err());
    let error = Regularizer::from_keras(&serde_json::json!({
        "class_name": "L2", "config": {"l2": -1.0},
    }));
    assert!(error.unwrap_err().to_string().contains("l2"));
    let rows = Regularizer::Orthogonal {
        factor: 1.0,
        columns: false,
    };
    assert!(
        rows.with_gradient(&ArrayD::zeros(IxDyn(&[2, 2, 2])).view())
            .is_err()
    );
}
