//! Any bytes as a `.keras`: an error or a model, whatever they say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = ifco_files::open_bytes(data, "fuzz.keras");
});
