//! Any JSON as what a model was compiled with (optimizer, schedule, loss, metrics), or as what its
//! callbacks have seen. An error, or a step of training and the same again from what is written of
//! it, and no panic.
#![no_main]

use ifco_model::{Generation, Model};
use ifco_train::callback::Progress;
use ifco_train::{Compile, Data, StateValue, Trainer};
use libfuzzer_sys::fuzz_target;
use ndarray::Array;
use serde_json::{Value, json};

fn model() -> Model {
    let json = json!({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 2}},
        {"class_name": "Dense", "config": {"name": "y", "units": 2, "activation": "softmax"}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).expect("a model");
    ifco_train::initialize(&mut model, 0).expect("weights");
    model
}

fuzz_target!(|data: &[u8]| {
    let Ok(json) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(progress) = Progress::from_json(&json) {
        let written = progress.to_json();
        let again = Progress::from_json(&written).expect("what was written is read");
        assert_eq!(again.to_json(), written); // NaN is not NaN
    }
    // A seed may be the whole `config.json` of a `.keras`.
    let config = json.get("compile_config").unwrap_or(&json);
    let Ok(compile) = Compile::from_keras(config) else {
        return;
    };
    let written = compile.to_keras();
    let again = Compile::from_keras(&written).expect("what was written is read");
    assert_eq!(again.to_keras(), written);
    let Ok(mut trainer) = Trainer::new(model(), compile) else {
        return;
    };
    let x = Array::from_shape_fn((2, 3, 1), |(row, step, _)| (row + step) as f32).into_dyn();
    let y = Array::from_shape_fn((2, 2), |(row, class)| (row == class) as u8 as f32).into_dyn();
    let _ = trainer.train_on_batch(&Data::new(x, y), 0);
    // Its own state in another order: refused, or as good as any.
    let mut state: Vec<StateValue> = trainer
        .optimizer()
        .variables()
        .into_iter()
        .map(|variable| variable.value)
        .collect();
    let _ = trainer.optimizer().set_variables(&state);
    state.reverse();
    let _ = trainer.optimizer().set_variables(&state);
});
