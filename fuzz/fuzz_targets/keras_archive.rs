//! Any bytes as a `.keras`: an error or a model, whatever they say; and a model that opened
//! predicts, or says why not. What it keeps of a training opens too, or is an error.
#![no_main]

use ifco_files::Opened;
use ifco_model::Model;
use libfuzzer_sys::fuzz_target;
use ndarray::{ArrayD, IxDyn};

fuzz_target!(|data: &[u8]| {
    if let Ok(Opened::Model(model)) = ifco_files::open_bytes(data, "fuzz.keras") {
        predict(&model);
    }
    let _ = ifco_files::progress_bytes(data, "fuzz.keras");
});

/// Runs a model whose every array is small; a large one is slow and nothing else.
fn predict(model: &Model) {
    let small = |shape: &[Option<usize>]| -> Option<Vec<usize>> {
        let sizes: Vec<usize> = shape.iter().map(|size| size.unwrap_or(2)).collect();
        let elements = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?;
        (elements <= 1 << 12).then_some(sizes)
    };
    let all_small = model.layers().iter().all(|entry| match &entry.output_shapes {
        Ok(shapes) => shapes.iter().all(|shape| small(shape).is_some()),
        Err(_) => false,
    });
    let inputs: Option<Vec<ArrayD<f32>>> = model
        .inputs()
        .iter()
        .map(|port| Some(ArrayD::zeros(IxDyn(&small(port.shape.as_ref()?)?))))
        .collect();
    if let (true, Some(inputs)) = (all_small, inputs) {
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let _ = model.predict_all(&views, 2, &mut |_| {});
    }
}
