//! Any bytes as weights by name: JSON and msgpack as they are, and as an array of an `.npz` beside a real
//! one. What opens has its cells found, and a model made of it or refused.
#![no_main]

use std::io::{Cursor, Write};

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    open(data);
    // Mutated bytes rarely keep a zip's checksums: they are tried in one that is whole.
    for name in ["lstm/kernel.npy", "model_config.npy"] {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file(name, stored).expect("a small archive");
        zip.write_all(data).expect("memory");
        open(&zip.finish().expect("a small archive").into_inner());
    }
});

fn open(bytes: &[u8]) {
    if let Ok(Opened::Weights(weights)) = ifco_files::open_bytes(bytes, "fuzz") {
        let _ = weights.cells();
        let _ = OpenOptions::new().open_bytes_assuming(bytes, None, "fuzz");
    }
}
