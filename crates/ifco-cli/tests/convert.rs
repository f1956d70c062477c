//! `ifco convert`, as users call it.

mod common;

use std::fs;

use common::*;
use serde_json::Value;

#[test]
fn there_and_back_the_same_bits() {
    let folder = folder("convert_there");
    let path = |name: &str| folder.join(name).display().to_string();
    let text = works(&["convert", &model("stacked.keras"), &path("a.h5")]);
    assert!(
        text.contains("largest difference 0; weights equal to the bit"),
        "{text}"
    );
    assert!(text.contains("Keras whole model, HDF5"), "{text}");
    works(&["convert", &path("a.h5"), &path("b.keras")]);
    works(&[
        "convert",
        &path("b.keras"),
        &path("c.weights.h5"),
        "--json-out",
        &path("c.json"),
    ]);
    let json = works(&[
        "convert",
        &path("c.weights.h5"),
        &path("d.keras"),
        "--architecture",
        &path("c.json"),
        "--json",
    ]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["weights_equal"], true);
    assert_eq!(report["largest_difference"], 0.0);
    assert_eq!(report["notes"].as_array().unwrap().len(), 0);
    // The names are those of the beginning.
    let names = |file: &str| works(&["gates", file, "--layer", "first"]);
    assert_eq!(
        names(&model("stacked.keras"))
            .lines()
            .skip(1)
            .collect::<Vec<_>>(),
        names(&path("d.keras")).lines().skip(1).collect::<Vec<_>>()
    );
}

#[test]
fn to_pytorch_and_back() {
    let folder = folder("convert_torch");
    let path = |name: &str| folder.join(name).display().to_string();
    let source = model("stacked.keras");
    let text = works(&[
        "convert",
        &source,
        &path("w.pt"),
        "--python-out",
        &path("m.py"),
        "--name",
        "first=encoder.rnn",
    ]);
    assert!(text.contains("PyTorch state_dict"), "{text}");
    let python = fs::read_to_string(folder.join("m.py")).unwrap();
    assert!(
        python.contains("self.encoder.rnn = nn.LSTM(3, 5"),
        "{python}"
    );
    let spec = fs::read_to_string(folder.join("w.pt.toml")).unwrap();
    assert!(spec.starts_with("order = [\"encoder.rnn\""), "{spec}");
    // Without a word more, as the spec lies beside it.
    works(&["convert", &path("w.pt"), &path("w.safetensors")]);
    works(&["convert", &path("w.safetensors"), &path("back.h5")]);

    let error = fails(1, &["convert", &source, &path("w.pt")]);
    assert!(error.contains("--force"), "{error}");
    let error = fails(
        2,
        &["convert", &source, &path("v.pt"), "--name", "nobody=x"],
    );
    assert!(error.contains("\"nobody\""), "{error}");
    fails(
        2,
        &["convert", &source, &path("v.pt"), "--name", "first=1 2"],
    );
    let out = path("x.h5");
    let error = fails(
        2,
        &["convert", &source, &out, "--python-out", &path("x.py")],
    );
    assert!(error.contains("PyTorch"), "{error}");
    assert!(!folder.join("x.h5").exists() && !folder.join("v.pt").exists());
}

#[test]
fn keras_1_becomes_keras_3() {
    let folder = folder("convert_upgrade");
    let old = format!(
        "{}/../../fixtures/keras1/sequential_hard_sigmoid.h5",
        env!("CARGO_MANIFEST_DIR")
    );
    let new = folder.join("new.keras").display().to_string();
    let output = ifco(&["convert", &old, &new]);
    assert!(output.status.success());
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("1.2 times its input"), "{notes}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("weights changed, see the note"), "{text}");
}

#[test]
fn nothing_is_written_where_it_must_not_be() {
    let folder = folder("convert_hostile");
    let source = model("stacked.keras");
    let inside = |name: &str| folder.join(name).display().to_string();

    let error = fails(1, &["convert", &source, &inside("no/such/x.keras")]);
    assert!(error.contains("no such folder"), "{error}");
    fs::create_dir(folder.join("folder.keras")).unwrap();
    let error = fails(1, &["convert", &source, &inside("folder.keras"), "--force"]);
    assert!(error.contains("this is a folder"), "{error}");
    let error = fails(2, &["convert", &source, &inside("x.docx")]);
    assert!(error.contains(".weights.h5"), "{error}");

    fs::copy(&source, folder.join("same.keras")).unwrap();
    let same = inside("same.keras");
    let error = fails(1, &["convert", &same, &same, "--force"]);
    assert!(error.contains("the model is read from"), "{error}");
    assert_eq!(fs::read(&same).unwrap(), fs::read(&source).unwrap());

    fs::write(folder.join("there.h5"), "precious").unwrap();
    let there = inside("there.h5");
    let error = fails(1, &["convert", &source, &there]);
    assert!(error.contains("--force"), "{error}");
    assert_eq!(fs::read(&there).unwrap(), b"precious");
    works(&["convert", &source, &there, "--force"]);
    assert!(fs::read(&there).unwrap().starts_with(b"\x89HDF"));

    let left = fs::read_dir(&folder).unwrap().count();
    fs::write(folder.join("bad.keras"), "PK no").unwrap();
    fails(1, &["convert", &inside("bad.keras"), &inside("y.h5")]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), left + 1);
}

#[test]
fn what_would_be_another_model_is_not_written() {
    let folder = folder("convert_differs");
    let old = format!(
        "{}/../../fixtures/keras2/mask_passes.keras",
        env!("CARGO_MANIFEST_DIR")
    );
    let new = folder.join("new.keras").display().to_string();
    let error = fails(1, &["convert", &old, &new]);
    assert!(error.contains("computes something else"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert!(ifco(&["convert", &old, &new, "--lossy"]).status.success());
}

#[test]
fn help_and_documentation_list_every_format() {
    let path = format!("{}/../../docs/formats.md", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(path).unwrap();
    let help = works(&["convert", "--help"]);
    for format in ifco::FORMATS {
        let endings = format.extensions.iter();
        let endings: Vec<String> = endings.map(|ending| format!("`{ending}`")).collect();
        let word = |can: bool| if can { "yes" } else { "no" };
        let row = format!(
            "| {} | {} | {} | {} |",
            format.name,
            endings.join(", "),
            word(format.opens),
            word(format.saves())
        );
        assert!(page.contains(&row), "{row}");
        for ending in format.extensions.iter().filter(|_| format.saves()) {
            assert!(help.contains(ending), "{ending}");
        }
    }
}
