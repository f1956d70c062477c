//! The ONNX cases of `fixtures/onnx`: whatever ONNX Runtime answered, ifco answers; and what
//! ifco's cells do not have, it says by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ifco_files::{arrays::npz, open};
use ndarray::ArrayD;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/onnx"))
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("cases.json")).expect("the list is there");
    serde_json::from_str(&text).expect("it is JSON")
}

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a case has a name")
}

/// The case's arrays whose names begin with this letter, in order.
fn arrays(case: &Value, letter: char) -> Vec<ArrayD<f32>> {
    let all: BTreeMap<String, ArrayD<f32>> =
        npz::read(folder().join(format!("{}.npz", name(case))))
            .expect("the arrays are there")
            .into_iter()
            .collect();
    (0..)
        .map_while(|index| all.get(&format!("{letter}{index}")).cloned())
        .collect()
}

/// How an answer differs from the expected one, if it does.
fn difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> Option<String> {
    if found.shape() != expected.shape() {
        return Some(format!(
            "{:?} instead of {:?}",
            found.shape(),
            expected.shape()
        ));
    }
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    (worst > 1e-5 || worst.is_nan()).then(|| format!("by {worst:e}"))
}

#[test]
fn answers_are_those_of_onnx_runtime() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases().iter().filter(|case| case.get("refused").is_none()) {
        let model = match open(folder().join(format!("{}.onnx", name(case)))) {
            Ok(model) => model,
            Err(error) => {
                wrong.push(format!("{error}: {:?}", error.help()));
                continue;
            }
        };
        let inputs = arrays(case, 'x');
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        // Small batches too, where the rows stand for themselves.
        for batch_size in [32, 2] {
            count += 1;
            let found = match model.predict_all(&views, batch_size, &mut |_| {}) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{}: {error}", name(case)));
                    continue;
                }
            };
            let expected = arrays(case, 'y');
            assert_eq!(case["outputs"], expected.len(), "{}", name(case));
            assert_eq!(found.len(), expected.len(), "{}", name(case));
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                if let Some(how) = difference(found, expected) {
                    wrong.push(format!("{} output {index} differs {how}", name(case)));
                }
            }
        }
    }
    assert!(count > 100, "only {count} runs");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cells_do_not_have_is_refused_by_name() {
    let cases = cases();
    let refused = cases
        .iter()
        .filter_map(|case| Some((case, case.get("refused")?.as_str()?)));
    let mut count = 0;
    for (case, word) in refused {
        let error = open(folder().join(format!("{}.onnx", name(case)))).expect_err(name(case));
        let text = error.to_string();
        assert!(text.contains(word) && error.help().is_some(), "{text}");
        count += 1;
    }
    assert!(count >= 7, "only {count} cases");
}
