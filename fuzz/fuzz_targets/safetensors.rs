//! Any bytes as a `.safetensors`, with any text as its spec: an error, or weights whose cells are
//! found and of which a model is made or refused.
#![no_main]

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &str)| {
    let (bytes, spec) = data;
    if let Ok(Opened::Weights(weights)) = ifco_files::open_bytes(bytes, "fuzz.safetensors") {
        let _ = weights.cells();
        let _ = OpenOptions::new().open_bytes_assuming(bytes, None, "fuzz.safetensors");
    }
    let _ = OpenOptions::new().open_bytes_assuming(bytes, Some(spec), "fuzz.safetensors");
});
