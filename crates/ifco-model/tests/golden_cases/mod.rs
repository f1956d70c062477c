//! The cases of `golden/layers.json` as tensors and calls.

use ifco_model::{Call, Tensor};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

pub fn golden() -> Vec<Value> {
    serde_json::from_str(include_str!("../golden/layers.json")).expect("JSON")
}

fn shape(value: &Value) -> Vec<usize> {
    let sizes = value["shape"].as_array().expect("a shape");
    sizes.iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

pub fn array(value: &Value) -> ArrayD<f32> {
    let (numbers, scale) = match value["in32"].as_array() {
        Some(numbers) => (numbers, 1.0 / 32.0),
        None => (value["data"].as_array().expect("data"), 1.0),
    };
    let numbers = numbers.iter().map(|n| match n.as_str() {
        Some(text) => text.parse().expect("nan or inf"),
        None => n.as_f64().expect("a number") as f32 * scale,
    });
    ArrayD::from_shape_vec(IxDyn(&shape(value)), numbers.collect()).unwrap()
}

pub fn tensor(value: &Value) -> Tensor {
    let mask = (!value["mask"].is_null()).then(|| array(&value["mask"]).mapv(|n| n != 0.0).into());
    Tensor::from(array(value)).with_mask(mask)
}

pub fn call(case: &Value) -> Call {
    let mut call = Call::default();
    let empty = serde_json::Map::new();
    for (name, value) in case["call"].as_object().unwrap_or(&empty) {
        match value {
            Value::Array(tensors) => {
                let tensors = tensors.iter().map(tensor).collect();
                call.tensors.insert(name.clone(), tensors);
            }
            plain => {
                call.values.insert(name.clone(), plain.clone());
            }
        }
    }
    call
}

/// What a loss weighs an output's values with: the scripts beside the golden files take the same.
#[allow(dead_code, reason = "not every test has a loss")]
pub fn weighted(output: usize, shape: &[usize]) -> ArrayD<f32> {
    let mut at = output;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at += 1;
        ((at * 7 + 3) % 13) as f32 / 8.0 - 0.75
    })
}
