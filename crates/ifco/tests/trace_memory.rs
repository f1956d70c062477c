//! A trace that is much larger than what is held of it: chunk by chunk to a file.
//!
//! Alone in its process: what it looks at is the process's greatest memory.

#![cfg(target_os = "linux")]

use ifco::arrays::npz::Growing;
use ifco::{Generation, Model, TraceOptions};
use ndarray::{Array, ArrayD, IxDyn, s};
use serde_json::json;

/// The greatest memory that this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

/// Writes the trace of so many steps; how large the file is.
fn write(model: &Model, steps: usize) -> usize {
    let chunk = 4096;
    let path = std::env::temp_dir().join(format!("ifco-trace-{}.npz", std::process::id()));
    let x = Array::from_shape_fn((chunk, 1), |(t, _)| (t % 100) as f32 / 100.0);
    let mut file = Growing::new(&path).unwrap();
    let mut stream = model
        .trace_stream("lstm", &TraceOptions::default())
        .unwrap();
    let mut names = Vec::new();
    for first in (0..steps).step_by(chunk) {
        let x = x.slice(s![..chunk.min(steps - first), ..]);
        let trace = stream.push(x).unwrap();
        names = trace.names().to_vec();
        for (name, array) in trace.iter() {
            file.append(name, array.into_dyn()).unwrap();
        }
    }
    let shapes: Vec<_> = names
        .into_iter()
        .map(|name| (name.into(), vec![1, steps, 16]))
        .collect();
    file.finish(&shapes, &mut |_| true).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len() as usize;
    std::fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn a_long_trace_takes_the_memory_of_a_chunk() {
    let json = json!({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 3}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 16}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
    let full = |shape: &[usize]| ArrayD::from_elem(IxDyn(shape), 0.1);
    let weights = [&[1, 3][..], &[3], &[3, 64], &[16, 64], &[64]];
    model.set_weights(weights.map(full).to_vec()).unwrap();

    // What is made once, and what one chunk takes.
    write(&model, 5000);
    let before = peak();
    let file = write(&model, 300_000);
    assert!(file > 100 << 20, "{file} bytes");
    let more = peak() - before;
    assert!(more < 4 << 20, "{more} bytes more for a trace of {file}");
}
