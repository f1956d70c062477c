//! A sequence of ten million steps in the memory of its inputs.
//!
//! Alone in its process: what it looks at is the process's greatest memory.

#![cfg(target_os = "linux")]

use ifco_cell::{
    Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, SequenceOutput,
};
use ndarray::{Array1, Array2, Array3};

/// The greatest memory that this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

#[test]
#[ignore = "ten million steps: some seconds with --release; .ci/run runs it"]
fn ten_million_steps_take_the_memory_of_their_inputs() {
    let (steps, units) = (10_000_000, 8);
    let kernel = Array2::from_elem((1, 4 * units), 0.1);
    let recurrent = Array2::from_elem((units, 4 * units), 0.05);
    let weights = LstmWeights::new(kernel, recurrent, Some(Array1::zeros(4 * units)));
    let cell = LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid);
    let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
    // What the layer makes once, and the threads.
    let few = Array3::zeros((1, 1000, 1));
    layer.forward(few.view(), None, None).unwrap();

    let inputs = Array3::from_shape_fn((1, steps, 1), |(_, t, _)| (t % 100) as f32 / 100.0);
    let before = peak();
    let start = std::time::Instant::now();
    let found = layer.forward(inputs.view(), None, None).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let SequenceOutput::Last(last) = found.output else {
        panic!("only the last output was asked for");
    };
    assert!(last.iter().all(|h| h.is_finite() && *h != 0.0), "{last}");
    let (more, inputs) = (peak() - before, steps * size_of::<f32>());
    println!(
        "{more} bytes beside the inputs' {inputs}, {} at most; {seconds:.1} s",
        peak()
    );
    assert!(more < 1 << 20, "{more} bytes beside the inputs' {inputs}");
}
