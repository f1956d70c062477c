//! The command on PyTorch's weights.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use ifco::arrays::{npy, npz};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/torch");
    folder.join(name).display().to_string()
}

#[test]
fn show_and_gates_go_by_names() {
    let shown = works(&["show", &fixture("classifier.pt")]);
    assert!(shown.contains("weights without a model"), "{shown}");
    assert!(shown.contains("weight_ih_l0  (20, 3)"), "{shown}");
    assert!(shown.contains("lstm: LSTM, 5 units, 3 features"), "{shown}");
    assert!(shown.contains("PyTorch's defaults"), "{shown}");
    let gates = works(&[
        "gates",
        &fixture("gru_deep.pt"),
        "--layer",
        "gru/l1/backward",
    ]);
    assert!(
        gates.contains("# kernel_r = kernel[:, 4:8], reset gate"),
        "{gates}"
    );
}

#[test]
fn predict_says_what_it_assumes_and_a_spec_corrects_it() {
    let folder = folder("torch-predict");
    let (x, y) = (folder.join("x.npy"), folder.join("y.npy"));
    let arrays = npz::read(fixture("classifier.npz")).unwrap();
    let array = |name: &str| &arrays.iter().find(|(found, _)| found == name).unwrap().1;
    npy::write(&x, array("x0").view()).unwrap();
    let (x, y) = (x.display().to_string(), y.display().to_string());

    let output = ifco(&["predict", &fixture("classifier.pt"), &x, "-o", &y]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("assumed: the modules run in the order of the file: lstm"),
        "{said}"
    );
    assert!(
        said.contains("assumed: lstm: every step of the output goes on"),
        "{said}"
    );
    assert_eq!(npy::read(&y).unwrap().shape(), [3, 5, 2]);

    // Given, and lying beside the weights.
    let weights = folder.join("w.pt").display().to_string();
    fs::copy(fixture("classifier.pt"), &weights).unwrap();
    let spec = fixture("classifier.toml");
    fs::copy(&spec, format!("{weights}.toml")).unwrap();
    for arguments in [
        vec!["predict", &weights, &x, "-o", &y],
        vec!["predict", &weights, &x, "-o", &y, "--spec", &spec],
    ] {
        let output = ifco(&arguments);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("every step"), "{said}");
        assert_eq!(said.contains("told by "), arguments.len() == 5, "{said}");
        close(npy::read(&y).unwrap().view(), array("y0").view());
    }
}

#[test]
fn what_asks_for_python_is_refused() {
    let said = fails(1, &["show", &fixture("refused_whole_model.pt")]);
    assert!(said.contains("\"__main__.Classifier\""), "{said}");
    assert!(said.contains("torch.save(model.state_dict()"), "{said}");
}
