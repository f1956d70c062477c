//! `ifco plot` from end to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    folder.join(name).display().to_string()
}

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("plot")
        .join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn plot(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ifco"))
        .arg("plot")
        .args(arguments)
        .output()
        .unwrap()
}

/// stdout and stderr of a command that works.
fn works(arguments: &[&str]) -> (String, String) {
    let output = plot(arguments);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

/// stderr of a command that fails with this exit code.
fn fails(code: i32, arguments: &[&str]) -> String {
    let output = plot(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn every_kind_as_svg_and_png() {
    let folder = folder("every_kind");
    for kind in ["packing", "gates", "cell", "gradient", "saturation"] {
        for extension in ["svg", "PNG"] {
            let file = folder.join(format!("{kind}.{extension}"));
            let file = file.display().to_string();
            let (model, input) = (model("stacked.keras"), model("stacked_x.npy"));
            let mut arguments = vec![model.as_str()];
            if kind != "packing" {
                arguments.push(&input);
            }
            arguments.extend(["--kind", kind, "--layer", "first", "-o", &file]);
            let (stdout, stderr) = works(&arguments);
            assert!(stdout.starts_with(&format!("{file}: first: ")), "{stdout}");
            assert_eq!(stderr, "");
            let bytes = fs::read(&file).unwrap();
            match extension {
                "svg" => assert!(bytes.starts_with(b"<svg "), "{file}"),
                _ => assert!(bytes.starts_with(b"\x89PNG"), "{file}"),
            }
        }
    }
    // No temporary file is left.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 10);
}

#[test]
fn the_same_picture_every_time_and_another_one_in_the_dark() {
    let folder = folder("same");
    let draw = |name: &str, theme: &str| {
        let file = folder.join(name).display().to_string();
        let (model, input) = (model("series.keras"), model("series_x.csv"));
        works(&[
            &model, &input, "--kind", "gates", "--theme", theme, "-o", &file,
        ]);
        fs::read_to_string(file).unwrap()
    };
    let light = draw("a.svg", "light");
    assert_eq!(light, draw("b.svg", "light"));
    assert_ne!(light, draw("c.svg", "dark"));
}

#[test]
fn where_several_layers_are_the_first_is_drawn_and_the_others_named() {
    let file = folder("several").join("p.svg").display().to_string();
    let (stdout, stderr) = works(&[&model("stacked.keras"), "-o", &file]);
    assert!(
        stdout.contains("first: how its weights are packed"),
        "{stdout}"
    );
    assert_eq!(
        stderr,
        "note: drawing first; --layer NAME draws another of first, both/forward, both/backward\n"
    );
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.contains("kernel[:, 5:10]"));
    works(&[
        &model("stacked.keras"),
        "--layer",
        "both/backward",
        "-o",
        &file,
    ]);
    assert!(fs::read_to_string(&file).unwrap().contains("update gate"));
    let error = fails(
        1,
        &[&model("stacked.keras"), "--layer", "frist", "-o", &file],
    );
    assert!(error.contains("did you mean \"first\"?"), "{error}");
    // Weights alone have something to show as well.
    works(&[&model("stacked.weights.h5"), "-o", &file]);
}

#[test]
fn a_row_its_labels_and_its_units() {
    let folder = folder("labels");
    let file = folder.join("c.svg").display().to_string();
    let labels = folder.join("labels.txt");
    let (model, input) = (model("stacked.keras"), model("stacked_x.npy"));
    let steps = ifco::arrays::npy::read(Path::new(&input)).unwrap().shape()[1];
    let words: Vec<String> = (0..steps).map(|step| format!("word{step}")).collect();
    let text = labels.display().to_string();
    let arguments = [
        &model,
        &input,
        "--kind",
        "cell",
        "--layer",
        "first",
        "--row",
        "1",
        "--units",
        "4,0",
        "--labels",
        &text,
        "--title",
        "a <title>",
        "-o",
        &file,
    ];
    for content in [words.join("\n"), words.join(" ")] {
        fs::write(&labels, content).unwrap();
        works(&arguments);
        let svg = fs::read_to_string(&file).unwrap();
        for text in ["unit 4", "word0", "row 1 of the input", "a &lt;title&gt;"] {
            assert!(svg.contains(text), "{text}");
        }
    }
    fs::write(&labels, "one two").unwrap();
    let error = fails(1, &arguments);
    assert!(
        error.contains("1 line, it of 2 words and 7 characters"),
        "{error}"
    );
    assert!(
        error.contains("labels.txt") && error.contains("help: "),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let folder = folder("wrong");
    let file = |name: &str| folder.join(name).display().to_string();
    let (svg, jpg) = (file("p.svg"), file("p.jpg"));
    let (stacked, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let error = fails(2, &[&stacked, "-o", &jpg]);
    assert!(error.contains("help: end it in .svg or .png"), "{error}");
    let error = fails(2, &[&stacked, "--kind", "gates", "-o", &svg]);
    assert!(
        error.contains("none is given") && error.contains("x.npy --kind gates"),
        "{error}"
    );
    let error = fails(2, &[&stacked, &x, "-o", &svg]);
    assert!(error.contains("takes no input"), "{error}");
    let error = fails(2, &[&stacked, "--labels", "x.txt", "-o", &svg]);
    assert!(error.contains("--kind gates, cell and gradient"), "{error}");
    let error = fails(2, &[&stacked, "--size", "big", "-o", &svg]);
    assert!(error.contains("as in 960x540"), "{error}");
    let error = fails(1, &[&stacked, "--size", "90x90", "-o", &svg]);
    assert!(error.contains("help: choose another --size"), "{error}");
    let kind = |kind: &str, more: &[&str]| {
        let mut arguments = vec![
            stacked.as_str(),
            &x,
            "--layer",
            "first",
            "--kind",
            kind,
            "-o",
            &svg,
        ];
        arguments.extend(more);
        fails(1, &arguments)
    };
    let error = kind("gates", &["--row", "999"]);
    assert!(error.contains("there is no row 999"), "{error}");
    let error = kind("cell", &["--units", "5"]);
    assert!(
        error.contains("there is no unit 5: the layer has 5"),
        "{error}"
    );
    let error = kind("gates", &["--labels", &file("none.txt")]);
    assert!(
        error.contains("cannot be read") && error.contains("none.txt"),
        "{error}"
    );
    let error = fails(
        1,
        &[
            &model("stacked.weights.h5"),
            &x,
            "--kind",
            "gates",
            "-o",
            &svg,
        ],
    );
    assert!(error.contains("--architecture"), "{error}");
    let error = fails(1, &[&stacked, "-o", &file("none/p.svg")]);
    assert!(error.contains("none/p.svg"), "{error}");
    // Nothing was written.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_gradient_of_the_loss_or_of_the_output() {
    let folder = folder("gradient");
    let file = folder.join("flow.svg").display().to_string();
    let (keras, x, y) = (
        model("training.keras"),
        model("training_x.npy"),
        model("training_y.npy"),
    );
    let draw = |more: &[&str]| {
        let all = [keras.as_str(), &x, "--kind", "gradient", "-o", &file];
        works(&[&all[..], more].concat());
        fs::read_to_string(&file).unwrap()
    };
    let svg = draw(&["--row", "3"]);
    assert!(svg.contains("row 3 of the input") && svg.contains("L is the sum of"));
    let of_loss = draw(&["--y", &y, "--row", "3"]);
    assert!(of_loss.contains("L is the loss ("), "{of_loss}");
    // The norm at the last step is what the trace of that row tells.
    let trace = Command::new(env!("CARGO_BIN_EXE_ifco"))
        .args([
            "trace",
            &keras,
            &x,
            "--gradient",
            "--y",
            &y,
            "--row",
            "3",
            "--json",
        ])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&trace.stdout).unwrap();
    let arrays = json.pointer("/cells/0/gradient/arrays").unwrap();
    let of = |name: &str| {
        arrays
            .as_array()
            .unwrap()
            .iter()
            .find(|array| array["name"] == name)
    };
    let last = of("dc").unwrap()["by_distance"][0].as_f64().unwrap();
    let (_, told) = of_loss.split_once("norm ").unwrap();
    let told: f64 = told
        .split(' ')
        .next()
        .unwrap()
        .replace('−', "-")
        .parse()
        .unwrap();
    assert!((told / last - 1.0).abs() < 0.01, "{told} is not {last}");

    let error = fails(2, &[&keras, &x, "--kind", "gates", "--y", &y, "-o", &file]);
    assert!(error.contains("go with --kind gradient alone"), "{error}");
    let error = fails(
        2,
        &[
            &keras, &x, "--kind", "gradient", "--y", &x, "--target", "0", "-o", &file,
        ],
    );
    assert!(error.contains("leave one of them out"), "{error}");
    let error = fails(
        1,
        &[
            &keras, &x, "--kind", "gradient", "--row", "999", "-o", &file,
        ],
    );
    assert!(error.contains("there is no row 999"), "{error}");
}
