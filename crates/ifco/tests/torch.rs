//! The golden cases of `fixtures/torch/`: every file that PyTorch wrote must give what PyTorch
//! computed, within 1e-5. `fixtures/make_torch.py` makes them.

use std::path::PathBuf;

use ifco::{Gate, Opened, WeightsSource, arrays::npz};
use ndarray::ArrayD;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures", "torch"];
    root.iter().collect::<PathBuf>().join(name)
}

fn array(file: &str, name: &str) -> ArrayD<f32> {
    let mut arrays = npz::read(fixture(file)).expect("the case's arrays");
    let place = arrays.iter().position(|(found, _)| found == name);
    arrays.swap_remove(place.expect("the array")).1
}

/// The largest difference from what PyTorch computed.
fn difference(model: &ifco::Model, arrays: &str) -> f32 {
    let y = model.predict(&array(arrays, "x0")).expect("it runs");
    let expected = array(arrays, "y0");
    assert_eq!(y.shape(), expected.shape(), "{arrays}");
    let differences = y
        .iter()
        .zip(&expected)
        .map(|(y, expected)| (y - expected).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn every_file_gives_what_torch_computed() {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/torch/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let text = |key: &str| case[key].as_str();
        let file = text("file").expect("a file");
        let spec = text("spec").map(fixture);
        match ifco::open_assuming(fixture(file), spec) {
            Err(error) => wrong.push(format!("{error}; {:?}", error.help())),
            Ok(assumed) => {
                let difference = difference(&assumed.model, text("arrays").expect("arrays"));
                // A NaN is not small either.
                if !matches!(difference, 0.0..=1e-5) {
                    wrong.push(format!("{file}: {difference}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_assumed_is_said_and_what_is_told_is_not() {
    let assumed = ifco::open_assuming(fixture("classifier.pt"), None::<&str>).expect("it closes");
    assert_eq!(
        assumed.assumptions,
        [
            "the modules run in the order of the file: lstm → norm → fc",
            "\"norm\" is taken for a LayerNorm, for its shapes",
        ]
        .iter()
        .rev()
        .chain(&[
            "lstm: every step of the output goes on, not the last alone (take = \"last\", \
             \"hidden\", …)",
            "norm: eps 1e-5 (eps = …)",
            "fc: no activation after it (activation = \"relu\", …; \"none\" to say so)",
            "the input has the batch first: (batch, time, …), whatever batch_first was",
        ])
        .copied()
        .collect::<Vec<_>>()
    );
}

#[test]
fn the_gates_are_found_by_name() {
    let Opened::Weights(weights) = ifco::open_any(fixture("lstm_deep.pt")).expect("it opens")
    else {
        panic!("a model");
    };
    assert_eq!(weights.source, WeightsSource::Torch);
    let cells = weights.cells();
    let paths: Vec<&str> = cells.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "lstm/l0/forward",
            "lstm/l0/backward",
            "lstm/l1/forward",
            "lstm/l1/backward"
        ]
    );
    // By the same names in the model that is made of it.
    let assumed = ifco::open_assuming(fixture("lstm_deep.pt"), None::<&str>).expect("it closes");
    let lstm = assumed.model.lstm("lstm/l1/backward").expect("it is there");
    let ifco::Cell::Lstm(cell) = &cells[3].1 else {
        panic!("no LSTM");
    };
    assert_eq!(cell, lstm);
    // weight_ih_l1_reverse[u:2u], transposed, and the sum of both biases.
    let find = |name: &str| {
        let found = weights.groups[0].arrays.iter().find(|(n, _)| n == name);
        found.expect("the array").1.view()
    };
    let weight = find("weight_ih_l1_reverse");
    assert_eq!(weight.shape(), [16, 8]);
    assert_eq!(lstm.weights().kernel(Gate::Forget)[[7, 1]], weight[[5, 7]]);
    let bias = find("bias_ih_l1_reverse")[[9]] + find("bias_hh_l1_reverse")[[9]];
    assert_eq!(lstm.weights().bias(Gate::Cell).expect("a bias")[1], bias);
}

#[test]
fn what_is_not_opened_is_named_with_a_remedy() {
    for (file, what, help) in [
        (
            "refused_whole_model.pt",
            "asks Python to import \"__main__.Classifier\"",
            "torch.save(model.state_dict(), \"weights.pt\")",
        ),
        ("refused_projection.pt", "proj_size", "--spec"),
        (
            "refused_list.pt",
            "no state_dict",
            "torch.save(model.state_dict()",
        ),
    ] {
        let error = ifco::open_assuming(fixture(file), None::<&str>).expect_err(file);
        assert!(error.to_string().contains(what), "{error}");
        let found = error.help().unwrap_or_default();
        assert!(found.contains(help), "{file}: {found}");
    }
}
