//! Reading the golden cases that `golden/*.py` made with the real Keras.
#![allow(dead_code, reason = "each test file uses a part of it")]

use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

/// The cases of `golden/<name>`.
pub fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A number, or a word for what JSON cannot write.
pub fn number(value: &Value) -> f32 {
    match value.as_str() {
        Some(word) => word.parse().expect("a number"),
        None => value.as_f64().expect("a number") as f32,
    }
}

/// `{"shape": .., "data": ..}`.
pub fn array(value: &Value) -> ArrayD<f32> {
    let shape: Vec<usize> = numbers(&value["shape"])
        .iter()
        .map(|n| *n as usize)
        .collect();
    ArrayD::from_shape_vec(IxDyn(&shape), numbers(&value["data"])).expect("a whole array")
}

pub fn optional_array(value: &Value) -> Option<ArrayD<f32>> {
    (!value.is_null()).then(|| array(value))
}

pub fn mask(value: &Value) -> Option<ArrayD<bool>> {
    optional_array(value).map(|mask| mask.mapv(|counts| counts != 0.0))
}

pub fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(number)
        .collect()
}

/// Whether `found` is `expected` within `relative` of the largest expected.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], relative: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let finite = expected.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= relative * scale + 1e-9;
        assert!(same, "{what}: [{i}] is {found}, Keras has {expected}");
    }
}

/// What `draw` of `golden/common.py` draws: numbers from -1/2 to 1/2.
pub fn draw(step: usize, parameter: usize, shape: &[usize]) -> ArrayD<f32> {
    let hashed = |n: u32| {
        [(16, 0x7FEB_352D_u32), (15, 0x846C_A68B), (16, 1)]
            .into_iter()
            .fold(n, |n, (shift, factor)| {
                (n ^ (n >> shift)).wrapping_mul(factor)
            })
    };
    let element = |i: usize| {
        let bits = hashed((step * 1000 + parameter * 100 + i) as u32) >> 8;
        bits as f32 / (1 << 24) as f32 - 0.5
    };
    let count = shape.iter().product();
    ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(element).collect()).expect("a shape")
}
