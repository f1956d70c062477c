//! The promise of a session: once it is made, `step` and `reset` allocate nothing, take no lock
//! and make no system call. (They do not panic either: every test would show it.)
//!
//! Run as any test, an allocator forbids memory to be asked for or given back. On a nightly
//! compiler LLVM's RealtimeSanitizer stops the test at every call that may wait as well, be it
//! `malloc`, a lock or a system call:
//!
//! ```console
//! $ RUSTFLAGS="-Zsanitizer=realtime --cfg realtime_sanitizer" cargo +nightly test -p ifco \
//!       --test realtime --target x86_64-unknown-linux-gnu
//! ```

// Only the allocator below, which has to be `unsafe` by its trait.
#![allow(unsafe_code)]
#![allow(unexpected_cfgs)]
#![cfg_attr(realtime_sanitizer, feature(sanitize))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;

use ifco::{Generation, LayerSession, Model, Session};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

thread_local! {
    /// How often memory was asked for or given back while it was forbidden; `None` while allowed.
    static FORBIDDEN: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Forbidding;

fn count() {
    // At a thread's end there is nothing to count in.
    let _ = FORBIDDEN.try_with(|count| count.set(count.get().map(|count| count + 1)));
}

// SAFETY: all memory is the system allocator's own; counting touches none of it.
unsafe impl GlobalAlloc for Forbidding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Forbidding = Forbidding;

/// Runs where memory is forbidden; how often it was touched all the same.
fn forbidding(run: impl FnOnce()) -> usize {
    FORBIDDEN.set(Some(0));
    run();
    FORBIDDEN.take().unwrap_or(usize::MAX)
}

#[cfg_attr(realtime_sanitizer, sanitize(realtime = "nonblocking"))]
fn step(session: &mut Session, x: &[f32]) -> f32 {
    session.step(x).iter().sum()
}

#[cfg_attr(realtime_sanitizer, sanitize(realtime = "nonblocking"))]
fn reset(session: &mut Session) {
    session.reset();
}

#[cfg_attr(realtime_sanitizer, sanitize(realtime = "nonblocking"))]
fn step_layer(session: &mut LayerSession, x: &[f32]) -> f32 {
    session.skip();
    session.step(x).iter().sum()
}

#[cfg_attr(realtime_sanitizer, sanitize(realtime = "nonblocking"))]
fn restore(session: &mut LayerSession, states: &[&[f32]]) {
    let restored = session.set_states(states).is_ok();
    assert!(restored);
    session.reset();
}

fn steps(session: &mut Session, count: usize) -> usize {
    let x = vec![1.0; session.input_len() + 1];
    forbidding(|| {
        for index in 0..count {
            // Of all lengths that somebody could give, and now and then a masked one.
            let x = match index % 5 {
                0 => &[0.0; 64][..session.input_len().min(64)],
                1 => &x[..0],
                2 => &x[..],
                _ => &x[..session.input_len()],
            };
            let _ = std::hint::black_box(step(session, x));
        }
        reset(session);
    })
}

/// A model of these layers on `(time, features)`, with weights of small numbers.
fn model(input: Value, layers: &[Value]) -> Model {
    let mut all = vec![json!({
        "class_name": "InputLayer", "config": {"name": "x", "batch_shape": input},
    })];
    all.extend(layers.iter().cloned());
    let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": all}});
    Model::from_config(&json, Generation::Keras3).expect("a model")
}

fn small(shape: &[usize]) -> ArrayD<f32> {
    let len = shape.iter().product::<usize>();
    let values = (0..len).map(|k| ((k * 7 + 3) % 11) as f32 / 11.0 - 0.5);
    ArrayD::from_shape_vec(IxDyn(shape), values.collect()).expect("as many values")
}

fn layer(class: &str, name: &str, mut config: Value) -> Value {
    config["name"] = json!(name);
    json!({"class_name": class, "config": config})
}

#[test]
fn every_kind_of_step_leaves_memory_alone() {
    let seq = |units: usize| json!({"units": units, "return_sequences": true});
    let mut gru_before = seq(4);
    gru_before["reset_after"] = json!(false);
    let mut model = model(
        json!([null, null, 2]),
        &[
            layer("Masking", "masking", json!({"mask_value": 0.0})),
            layer("LSTM", "lstm", seq(5)),
            layer("GRU", "gru", seq(4)),
            layer("GRU", "gru_before", gru_before),
            layer("SimpleRNN", "rnn", seq(3)),
            layer("LayerNormalization", "ln", json!({})),
            layer("UnitNormalization", "un", json!({})),
            layer("Dropout", "dropout", json!({"rate": 0.5})),
            layer(
                "Rescaling",
                "rescaling",
                json!({"scale": 2.0, "offset": 0.1}),
            ),
            layer(
                "TimeDistributed",
                "td",
                json!({"layer": layer("Dense", "d", json!({"units": 4}))}),
            ),
            layer(
                "Conv1D",
                "conv",
                json!({"filters": 3, "kernel_size": [3], "padding": "causal", "dilation_rate": [4], "activation": "gelu"}),
            ),
            layer("PReLU", "prelu", json!({"shared_axes": [1]})),
            layer("Activation", "softmax", json!({"activation": "softmax"})),
            layer("Activation", "mish", json!({"activation": "mish"})),
            layer(
                "Activation",
                "log_softmax",
                json!({"activation": "log_softmax"}),
            ),
            layer(
                "LSTM",
                "last",
                json!({"units": 6, "activation": "softplus"}),
            ),
            layer("Flatten", "flat", json!({})),
            layer("Dense", "dense", json!({"units": 2, "activation": "elu"})),
            layer("Softmax", "out", json!({})),
        ],
    );
    let gated = |gates: usize, features: usize, units: usize, rows: &[usize]| {
        let mut bias = rows.to_vec();
        bias.push(gates * units);
        vec![
            small(&[features, gates * units]),
            small(&[units, gates * units]),
            small(&bias),
        ]
    };
    for (name, weights) in [
        ("lstm", gated(4, 2, 5, &[])),
        ("gru", gated(3, 5, 4, &[2])),
        ("gru_before", gated(3, 4, 4, &[])),
        ("rnn", gated(1, 4, 3, &[])),
        ("ln", vec![small(&[3]), small(&[3])]),
        ("td", vec![small(&[3, 4]), small(&[4])]),
        ("conv", vec![small(&[3, 4, 3]), small(&[3])]),
        ("prelu", vec![small(&[1, 3])]),
        ("last", gated(4, 3, 6, &[])),
        ("dense", vec![small(&[6, 2]), small(&[2])]),
    ] {
        model.set_layer_weights(name, weights).expect(name);
    }
    let mut session = model.session().expect("a stream");
    assert_eq!(steps(&mut session, 1000), 0, "step touched memory");

    let mut words = self::model(
        json!([null, null]),
        &[
            layer(
                "Embedding",
                "words",
                json!({"input_dim": 5, "output_dim": 3, "mask_zero": true}),
            ),
            layer("LSTM", "lstm", json!({"units": 4})),
        ],
    );
    words
        .set_layer_weights("words", vec![small(&[5, 3])])
        .expect("words");
    words
        .set_layer_weights("lstm", gated(4, 3, 4, &[]))
        .expect("lstm");
    let mut session = words.session().expect("a stream");
    assert_eq!(steps(&mut session, 1000), 0, "step touched memory");
}

/// Every golden model that can be streamed.
#[test]
fn no_golden_model_touches_memory() {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures"];
    let root: PathBuf = root.iter().collect();
    let mut streamed = 0;
    for generation in ["keras1", "keras2", "keras3"] {
        for entry in std::fs::read_dir(root.join(generation)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let Ok(model) = ifco::open(&path) else {
                continue; // arrays, and weights alone
            };
            for port in model.outputs() {
                let Ok(mut session) = model.session_for(&port.name) else {
                    continue;
                };
                streamed += 1;
                let touched = steps(&mut session, 10);
                assert_eq!(touched, 0, "{}, {}", path.display(), port.name);
            }
        }
    }
    assert!(streamed > 300, "only {streamed} models were streamed");
}

#[test]
fn a_layer_alone_and_its_states_leave_memory_alone() {
    use ifco::{Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions};
    let matrix = |shape: &[usize]| small(shape).into_dimensionality().expect("two axes");
    let weights = LstmWeights::new(matrix(&[2, 12]), matrix(&[3, 12]), None).expect("weights");
    let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    let layer =
        RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).expect("a layer");
    let mut session = layer.session().expect("a stream");
    let touched = forbidding(|| {
        for _ in 0..100 {
            let _ = std::hint::black_box(step_layer(&mut session, &[1.0, 2.0]));
            restore(&mut session, &[&[0.5; 3], &[0.5; 3]]);
        }
    });
    assert_eq!(touched, 0);
}

/// The proof proves something: it sees an allocation where there is one.
#[test]
fn an_allocation_is_seen() {
    let touched = forbidding(|| drop(std::hint::black_box(vec![1])));
    assert_eq!(touched, 2);
}

#[cfg(realtime_sanitizer)]
#[sanitize(realtime = "nonblocking")]
fn allocates() {
    drop(std::hint::black_box(vec![1]));
}

/// What `the_sanitizer_stops_an_allocation` runs, in a process of its own.
#[cfg(realtime_sanitizer)]
#[test]
#[ignore = "it is stopped"]
fn control() {
    allocates();
}

#[cfg(realtime_sanitizer)]
#[test]
fn the_sanitizer_stops_an_allocation() {
    let program = std::env::current_exe().expect("this test");
    let output = std::process::Command::new(program)
        .args(["--exact", "control", "--ignored"])
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("RealtimeSanitizer"), "{stderr}");
}
