//! Any model that opens is saved in every format, or refused by name; and what was saved opens.
#![no_main]

use ifco_files::{FORMATS, OpenOptions, Opened, SaveOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let name = match data.first() {
        Some(0x08) => "fuzz.onnx",
        Some(b'P') => "fuzz.keras",
        Some(b'{') => "fuzz.json",
        _ => return,
    };
    let Ok(Opened::Model(model)) = ifco_files::open_bytes(data, name) else {
        return;
    };
    for ending in FORMATS.iter().flat_map(|format| format.extensions) {
        let copy = format!("copy{ending}");
        let Ok(saved) = SaveOptions::new().lossy(true).to_bytes(&model, &copy) else {
            continue;
        };
        // A model of a file's own can be too large for the limits of a small file, or not run:
        // it is an error then, and no panic.
        let opened = match &saved.spec {
            Some(spec) => {
                let open = OpenOptions::new();
                open.open_bytes_assuming(saved.bytes, Some(spec), &copy).map(drop)
            }
            None => ifco_files::open_bytes(saved.bytes, &copy).map(drop),
        };
        drop(opened);
    }
});
