//! Any bytes as a model's JSON, as each generation reads it.
#![no_main]

use std::sync::OnceLock;

use ifco_files::OpenOptions;
use ifco_model::{Generation, Model};
use libfuzzer_sys::fuzz_target;

/// A weights file without a single array.
fn empty_weights() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut file = hdf5_pure::FileBuilder::new();
        let layers = file.create_group("layers").finish();
        file.add_group(layers);
        file.finish().expect("an empty file can be written")
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(json) = serde_json::from_slice(data) else {
        return;
    };
    for generation in [Generation::Keras1, Generation::Keras2, Generation::Keras3] {
        let _ = Model::from_config(&json, generation);
    }
    // Through the translation of older generations too.
    let _ = OpenOptions::new().open_bytes_with_architecture(empty_weights(), data, "fuzz");
});
