//! Any bytes as a checkpoint of TensorFlow: as its index and its data, and, behind right checksums, as
//! the entries of its table. What opens has its cells found.
#![no_main]

mod table;

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first two bytes part the index from the data.
    let Some((cut, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut)).min(rest.len());
    let (index, numbers) = rest.split_at(cut);
    open(index.to_vec(), numbers);
    open(table::with(index), numbers);
});

fn open(index: Vec<u8>, numbers: &[u8]) {
    let files = vec![
        ("x.index".to_owned(), index),
        ("x.data-00000-of-00001".to_owned(), numbers.to_vec()),
    ];
    if let Ok(Opened::Weights(weights)) = OpenOptions::new().open_folder(files, "fuzz") {
        let _ = weights.cells();
    }
}
