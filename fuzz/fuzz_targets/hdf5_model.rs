//! Any bytes as an `.h5`: a whole model, weights alone, or weights of a known architecture.
#![no_main]

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

const ARCHITECTURE: &str = r#"{"module": "keras", "class_name": "Sequential", "config": {
    "name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [null, 5, 3]}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 4}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 2}}]}}"#;

fuzz_target!(|data: &[u8]| {
    if let Ok(Opened::Weights(weights)) = ifco_files::open_bytes(data, "fuzz.h5") {
        let _ = weights.cells();
    }
    let _ = OpenOptions::new().open_bytes_with_architecture(data, ARCHITECTURE, "fuzz.h5");
});
