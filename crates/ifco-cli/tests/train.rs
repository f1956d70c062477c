//! `ifco train`, as users call it; `models/make_training.py` says what Keras does.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use common::*;
use ifco::arrays::npy;
use serde_json::Value;

/// The arguments of every training here, before those of its own.
fn arguments<'a>(data: &'a [String; 3], more: &[&'a str]) -> Vec<&'a str> {
    let [keras, x, y] = data;
    let all = ["train", keras, "--x", x, "--y", y, "--batch-size", "8"];
    all.into_iter().chain(more.iter().copied()).collect()
}

fn data() -> [String; 3] {
    ["training.keras", "training_x.npy", "training_y.npy"].map(model)
}

#[test]
fn goes_on_as_keras_does() {
    let (folder, data) = (folder("train_goes_on"), data());
    let out = folder.join("out.keras").display().to_string();
    let log = folder.join("log.csv").display().to_string();
    let more = ["-o", &out, "--epochs", "4", "--no-shuffle", "--json"];
    let further = ["--validation-split", "0.25", "--csv-log", &log];
    let text = works(&arguments(&data, &[more.as_slice(), &further].concat()));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let history = fs::read(model("training_history.json")).unwrap();
    let history: Value = serde_json::from_slice(&history).unwrap();
    for name in ["loss", "mae", "val_loss", "val_mae"] {
        for epoch in 0..4 {
            let found = lines[epoch]["logs"][name].as_f64().unwrap();
            let expected = history[name][epoch].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-4 * expected,
                "{name}, epoch {epoch}: {found} is not {expected}"
            );
        }
    }
    // 36 samples in steps of 8, for one epoch there and four here.
    assert_eq!(lines[4]["steps"], 25);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 5);

    let prediction = folder.join("y.npy").display().to_string();
    works(&["predict", &out, &data[1], "-o", &prediction]);
    let expected = npy::read(model("training_prediction.npy")).unwrap();
    let found = npy::read(&prediction).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0));
    }
}

#[test]
fn a_training_in_parts_is_the_whole_to_the_bit() {
    let (folder, data) = (folder("train_parts"), data());
    let path = |name: &str| folder.join(name).display().to_string();
    let (whole, parts) = (path("whole.keras"), path("parts.keras"));
    works(&arguments(&data, &["-o", &whole, "--epochs", "3"]));
    works(&arguments(&data, &["-o", &parts, "--epochs", "1"]));
    let output = ifco(&arguments(
        &data,
        &["-o", &parts, "--epochs", "3", "--resume"],
    ));
    assert!(output.status.success());
    let bits = |path: &str| {
        let weights = ifco::open(path).unwrap().weights().unwrap();
        let values = weights.into_iter().flatten();
        values.map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(&whole), bits(&parts));
    assert_ne!(bits(&whole), bits(&data[0]));
    let state = |path: &str| ifco::open_optimizer(path).unwrap();
    assert_eq!(state(&whole), state(&parts));
}

/// Trains with callbacks, broken off again and again by Ctrl-C and by force: the callbacks too go on
/// as if nothing had been.
#[test]
#[cfg(unix)]
fn a_training_broken_off_is_the_whole_to_the_bit() {
    let (folder, [keras, x, y]) = (folder("train_broken_off"), data());
    let path = |name: &str| folder.join(name).display().to_string();
    // Long enough an epoch that a signal comes within one.
    for (from, to) in [(&x, path("x.npy")), (&y, path("y.npy"))] {
        let one = npy::read(from).unwrap();
        let all = ndarray::concatenate(ndarray::Axis(0), &vec![one.view(); 60]).unwrap();
        npy::write(&to, all.view()).unwrap();
    }
    let (x, y) = (path("x.npy"), path("y.npy"));
    let options = "--json --batch-size 8 --optimizer sgd --learning-rate 0.6 --epochs 18 \
                   --early-stopping 4 --reduce-lr 1 --checkpoint-every 1 --resume";
    let split = ["--validation-split", "0.25"];
    for (name, validation) in [("loss", &[][..]), ("val_loss", &split)] {
        let arguments = |out| {
            let all = ["train", &keras, "--x", &x, "--y", &y, "-o", out].into_iter();
            let all = all.chain(options.split_whitespace());
            all.chain(validation.iter().copied()).collect::<Vec<_>>()
        };
        let (whole, parts) = (path("whole.keras"), path("parts.keras"));
        let losses = |text: &str, into: &mut BTreeMap<u64, [Value; 2]>| {
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                if let Some(epoch) = line["epoch"].as_u64() {
                    into.insert(epoch, ["loss", name].map(|name| line["logs"][name].clone()));
                }
            }
        };
        let mut expected = BTreeMap::new();
        losses(&works(&arguments(&whole)), &mut expected);

        let (mut found, mut broken_off) = (BTreeMap::new(), 0);
        for round in 0.. {
            assert!(round < 200, "it does not come to its end");
            let mut child = command(&arguments(&parts));
            child.stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = child.spawn().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut text = String::new();
            output.read_line(&mut text).unwrap();
            let signal = if round % 3 == 2 { "-KILL" } else { "-INT" };
            let id = child.id().to_string();
            let _ = Command::new("kill").args([signal, &id]).status().unwrap();
            output.read_to_string(&mut text).unwrap();
            let status = child.wait().unwrap();
            losses(&text, &mut found);
            let last = text.lines().last().unwrap_or_default();
            if status.success() && last.contains("\"stopped\":false") {
                break;
            }
            broken_off += 1;
        }
        assert!(broken_off > 0);
        assert_eq!(found, expected, "{name}");
        let weights = |path| ifco::open(path).unwrap().weights();
        assert_eq!(weights(&parts), weights(&whole));
        let state = |path| ifco::open_optimizer(path).unwrap();
        assert_eq!(state(&parts), state(&whole));
        for path in [parts, whole] {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn an_onnx_graph_is_trained_as_its_layers() {
    let (folder, [keras, x, y]) = (folder("train_onnx"), data());
    let path = |name: &str| folder.join(name).display().to_string();
    works(&["convert", &keras, &path("x.onnx")]);
    let options = ["--loss", "mse", "--optimizer", "sgd", "--metrics", "mae"];
    let train = |model: &str| {
        let out = path("out.keras");
        let all = [
            "train", model, "--x", &x, "--y", &y, "-o", &out, "--force", "--json",
        ];
        let text = works(&[all.as_slice(), &options].concat());
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        first["logs"].clone()
    };
    assert_eq!(train(&path("x.onnx")), train(&keras));
}

#[test]
fn early_stopping_goes_back_to_the_best() {
    let (folder, data) = (folder("train_early"), data());
    let out = folder.join("out.keras").display().to_string();
    // A step this large makes it worse at once.
    let more = ["-o", &out, "--epochs", "9", "--early-stopping", "1"];
    let further = ["--optimizer", "sgd", "--learning-rate", "2", "--json"];
    let text = works(&arguments(&data, &[more.as_slice(), &further].concat()));
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let epochs = text.lines().count() - 1;
    assert!(epochs < 9, "{text}");
    assert_eq!(last["best"]["epoch"], epochs - 1, "{text}");
}

#[test]
fn samples_that_count_nothing_are_as_if_they_were_not_there() {
    let (folder, data) = (folder("train_weights"), data());
    let path = |name: &str| folder.join(name).display().to_string();
    // Of each step's 8 samples the last one; the mean is still of 8.
    let weights: Vec<f32> = (0..48).map(|sample| f32::from(sample % 8 < 7)).collect();
    npy::write(
        path("w.npy"),
        ndarray::Array1::from(weights).into_dyn().view(),
    )
    .unwrap();
    npy::write(path("one.npy"), ndarray::Array1::ones(48).into_dyn().view()).unwrap();
    let loss = |more: &[&str]| {
        let out = path("out.keras");
        let all = ["-o", &out, "--no-shuffle", "--force", "--json"];
        let text = works(&arguments(&data, &[all.as_slice(), more].concat()));
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        first["logs"]["loss"].as_f64().unwrap()
    };
    let (all, some) = (loss(&[]), loss(&["--sample-weight", &path("w.npy")]));
    assert_eq!(all, loss(&["--sample-weight", &path("one.npy")]));
    assert!(some < all && some > 0.5 * all, "{some} of {all}");
    // The same gradients, summed in another order.
    let again = loss(&["--recompute"]);
    assert!((again - all).abs() <= 1e-5 * all, "{again} and {all}");
}

#[test]
fn says_what_is_wrong() {
    let (folder, data) = (folder("train_wrong"), data());
    let out = folder.join("out.keras").display().to_string();
    let lost = ["-o", &out, "--optimizer", "sgd", "--learning-rate", "1e30"];
    let text = fails(1, &arguments(&data, &lost));
    assert!(
        text.contains("the loss is no number any more; nothing was saved"),
        "{text}"
    );
    let text = fails(1, &arguments(&data, &["-o", &out, "--loss", "sqare"]));
    assert!(text.contains("there is no loss named \"sqare\""), "{text}");
    let (stacked, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let text = fails(2, &["train", &stacked, "--x", &x, "--y", &x, "-o", &out]);
    assert!(text.contains("does not say what loss"), "{text}");
    let text = fails(
        1,
        &["train", &data[0], "--x", &data[1], "--y", &x, "-o", &out],
    );
    assert!(text.contains("48 and 7 samples"), "{text}");
    let wrong = folder.join("wrong.npy").display().to_string();
    npy::write(&wrong, ndarray::ArrayD::zeros(vec![48, 2, 2]).view()).unwrap();
    let weighted = ["-o", &out, "--sample-weight", &wrong];
    let text = fails(1, &arguments(&data, &weighted));
    assert!(
        text.contains("wrong.npy") && text.contains("weights are (samples)"),
        "{text}"
    );
    assert!(!fs::exists(&out).unwrap());
}

#[test]
fn the_curves_are_drawn_and_logged_for_tensorboard() {
    let (folder, data) = (folder("train_curves"), data());
    let path = |name: &str| folder.join(name).display().to_string();
    let (out, plot, board) = (path("out.keras"), path("curves.svg"), path("logs"));
    let more = ["-o", &out, "--epochs", "3", "--validation-split", "0.25"];
    let further = ["--plot", &plot, "--tensorboard", &board];
    works(&arguments(&data, &[more.as_slice(), &further].concat()));
    let svg = fs::read_to_string(&plot).unwrap();
    for part in [
        "How out.keras was trained",
        "3 epochs",
        "validation",
        "mae",
        "least ",
    ] {
        assert!(svg.contains(part), "no {part:?}");
    }
    for part in ["train", "validation"] {
        let mut files = fs::read_dir(folder.join("logs").join(part)).unwrap();
        let file = files.next().unwrap().unwrap();
        assert!(file.file_name().to_string_lossy().contains("tfevents"));
        let bytes = fs::read(file.path()).unwrap();
        let tags = bytes.windows(10).filter(|bytes| *bytes == b"epoch_loss");
        assert_eq!(tags.count(), 3, "{part}");
    }
    // Before anything is trained.
    let (out, wrong) = (path("other.keras"), path("curves.gif"));
    let error = fails(2, &arguments(&data, &["-o", &out, "--plot", &wrong]));
    assert!(error.contains("end it in .svg or .png"), "{error}");
    assert!(!folder.join("other.keras").exists());
}
