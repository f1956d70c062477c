//! Any bytes as a `.pt`, zip or legacy: an error, or weights whose cells are found and of which a
//! model is made or refused; and any bytes as its pickle.
#![no_main]

use std::io::{Cursor, Write};

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    open(data);
    // Mutated bytes rarely keep a zip's checksums: the pickle is tried in one that is whole.
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", data), ("a/data/0", &[0; 64][..])] {
        zip.start_file(name, stored).expect("a small archive");
        zip.write_all(bytes).expect("memory");
    }
    open(&zip.finish().expect("a small archive").into_inner());
});

fn open(bytes: &[u8]) {
    if let Ok(Opened::Weights(weights)) = ifco_files::open_bytes(bytes, "fuzz.pt") {
        let _ = weights.cells();
        let _ = OpenOptions::new().open_bytes_assuming(bytes, None, "fuzz.pt");
    }
}
