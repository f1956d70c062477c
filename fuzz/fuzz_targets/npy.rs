//! Any bytes as a `.npy` file: an array or an error; and an array reads back as written.
#![no_main]

use ifco_files::arrays::npy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = npy::from_bytes(bytes) else {
        return;
    };
    assert!(array.len() <= bytes.len(), "more numbers than bytes");
    let mut written = Vec::new();
    npy::write_to(&mut written, array.view()).expect("a vector takes all");
    let read = npy::from_bytes(&written).expect("what was written reads");
    assert_eq!(read.shape(), array.shape());
    // NaN is not equal to itself: compare bits.
    assert!(read.iter().map(|x| x.to_bits()).eq(array.iter().map(|x| x.to_bits())));
});
