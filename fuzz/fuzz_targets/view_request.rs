//! Any request on the page of `ifco view`: the address's check, and what is below it.
//!
//! The first byte chooses the method, a line is the target, the rest is the body.
#![no_main]

use std::sync::OnceLock;

use ifco_model::{Generation, Model};
use ifco_view::page::{Access, Page, Request, Vocabulary};
use libfuzzer_sys::fuzz_target;
use ndarray::{ArrayD, IxDyn};

/// A model over tokens, one over numbers, and one whose LSTM has more than Keras's.
fn pages() -> &'static [Page; 3] {
    static PAGES: OnceLock<[Page; 3]> = OnceLock::new();
    PAGES.get_or_init(|| {
        let page = |layers: &str| {
            let json = format!(r#"{{"class_name": "Sequential", "config": {{"layers": [{layers}]}}}}"#);
            let json = serde_json::from_str(&json).expect("it is JSON");
            let mut model = Model::from_config(&json, Generation::Keras3).expect("it is a model");
            let shapes: &[&[usize]] = match model.weight_slots().len() {
                4 => &[&[9, 2], &[2, 8], &[2, 8], &[8]],
                5 => &[&[2, 8], &[1, 8], &[8], &[2, 1], &[3, 2]],
                _ => &[&[2, 8], &[2, 8], &[8]],
            };
            let weights = shapes.iter().map(|shape| ArrayD::ones(IxDyn(shape)));
            model.set_weights(weights.collect()).expect("they fit");
            Page::of_model("fuzz", model)
        };
        let lstm = r#"{"class_name": "LSTM", "config": {"name": "lstm", "units": 2}}"#;
        let tokens = page(&format!(
            r#"{{"class_name": "InputLayer", "config": {{"name": "x", "batch_shape": [null, 6]}}}},
               {{"class_name": "Embedding", "config": {{"name": "e", "input_dim": 9, "output_dim": 2}}}}, {lstm}"#
        ));
        let numbers = page(&format!(
            r#"{{"class_name": "InputLayer", "config": {{"name": "x", "batch_shape": [null, null, 2]}}}}, {lstm}"#
        ));
        let beyond = page(
            r#"{"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 2]}},
               {"class_name": "LSTM", "config": {"name": "lstm", "units": 2,
                "ifco": {"proj_size": 1, "peepholes": true, "clip": 0.5}}}"#,
        );
        let vocabulary = Vocabulary::parse("[padding]\na\nb\nc\n \nd\ne\nf\ng");
        let zeros = |shape: &[usize]| vec![ArrayD::zeros(IxDyn(shape))];
        [
            tokens.with_vocabulary(vocabulary).with_inputs(zeros(&[2, 6])).expect("it runs"),
            numbers.with_inputs(zeros(&[1, 3, 2])).expect("it runs"),
            beyond.with_inputs(zeros(&[1, 3, 2])).expect("it runs"),
        ]
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (target, body) = rest.split_at(end);
    let target = String::from_utf8_lossy(target);
    static ACCESS: OnceLock<Access> = OnceLock::new();
    let access = ACCESS.get_or_init(|| Access::new(80).expect("there are random numbers"));
    assert!(access.check(&target, Some(&target), None).is_err());
    assert!(access.check(&target, Some("127.0.0.1:80"), None).is_err());
    let request = Request {
        method: if first % 2 == 0 { "GET" } else { "POST" },
        target: &target,
        body: body.get(1..).unwrap_or_default(),
    };
    for page in pages() {
        let _ = page.answer(&request);
    }
});
