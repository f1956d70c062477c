//! Any bytes as an `.npz` archive: arrays within the stated bound, or an error.
#![no_main]

use ifco_files::arrays::npz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(arrays) = npz::from_bytes(bytes) else {
        return;
    };
    let numbers: usize = arrays.iter().map(|(_, array)| array.len()).sum();
    let limit = npz::EXPANSION_FLOOR.max(bytes.len() as u64 * npz::MAX_EXPANSION);
    assert!(numbers as u64 <= limit, "more numbers than the bound");
});
