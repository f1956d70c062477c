//! Any bytes as a CSV file: numbers or an error; and numbers read back as written.
#![no_main]

use ifco_files::arrays::csv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = csv::from_bytes(bytes) else {
        return;
    };
    let mut written = Vec::new();
    csv::write_to(&mut written, array.view(), None).expect("a vector takes all");
    let read = csv::from_bytes(&written).expect("what was written reads");
    assert_eq!(read.dim(), array.dim());
    let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    assert!(read.iter().zip(&array).all(|(a, b)| same(a, b)));
});
