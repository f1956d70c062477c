//! Any bytes as a model of sound: RTNeural's, AIDA-X's and GuitarML's JSON, and .nam. What opens
//! must also take steps.
#![no_main]

use ifco_files::{Opened, open_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Opened::Model(model)) = open_bytes(data, "fuzz") else {
        return;
    };
    let _ = model.about();
    let Ok(mut session) = model.session() else {
        return;
    };
    let x = vec![0.5; session.input_len()];
    session.step(&x);
    session.reset();
    session.step(&x);
});
