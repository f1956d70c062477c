//! Any bytes as an `.onnx`: an error or a model; and a model that opened predicts on a small
//! input, or says why not.
#![no_main]

use ifco_files::Opened;
use libfuzzer_sys::fuzz_target;
use ndarray::{ArrayD, IxDyn};

fuzz_target!(|data: &[u8]| {
    // What does not begin as one is another target's.
    if data.first() != Some(&0x08) {
        return;
    }
    let Ok(Opened::Model(model)) = ifco_files::open_bytes(data, "fuzz.onnx") else {
        return;
    };
    // A graph may ask for arrays of gigabytes when it runs: slow and nothing else.
    let makes_large = [
        "ConstantOfShape", "Expand", "Tile", "Pad", "Range", "Concat", "MatMul", "Loop", "Scan", "If",
    ];
    let layers = model.layers();
    if layers.len() > 64 || layers.iter().any(|l| makes_large.contains(&l.layer.class_name())) {
        return;
    }
    let inputs: Option<Vec<ArrayD<f32>>> = model
        .inputs()
        .iter()
        .map(|port| {
            let shape = port.shape.as_ref()?.iter();
            let shape: Vec<usize> = shape.map(|size| size.unwrap_or(2)).collect();
            let elements = shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?;
            (elements <= 1 << 12).then(|| ArrayD::zeros(IxDyn(&shape)))
        })
        .collect();
    if let Some(inputs) = inputs {
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let _ = model.predict_all(&views, 2, &mut |_| {});
    }
});
