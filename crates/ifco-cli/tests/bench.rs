//! `ifco bench` from end to end: what it tells and how its parts fit together. Nothing here says
//! how fast anything is.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    folder.join(name).display().to_string()
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    folder.join(name).join("model.keras").display().to_string()
}

/// On one thread and for a moment, unless the arguments say otherwise.
fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ifco"));
    command.arg("bench").args(arguments);
    if !arguments.contains(&"--machine") {
        command.args(["--seconds", "0.02"]);
    }
    command.env("IFCO_THREADS", "1").output().unwrap()
}

fn works(arguments: &[&str]) -> String {
    let output = bench(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&works(&arguments)).unwrap()
}

fn keys(value: &Value) -> String {
    let keys = value.as_object().unwrap().keys();
    keys.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap();
    assert!(number > 0.0 && number.is_finite(), "{number}");
    number
}

fn is_machine(machine: &Value) {
    let fields = "isa threads fma_gflops bandwidth_gbs bandwidth_by_size";
    assert!(keys(machine).starts_with(fields), "{}", keys(machine));
    let isa = machine["isa"].as_str().unwrap();
    assert!(
        ["avx512", "avx2", "neon", "portable"].contains(&isa),
        "{isa}"
    );
    assert_eq!(machine["threads"], 1);
    positive(&machine["fma_gflops"]);
    let bandwidth = &machine["bandwidth_gbs"];
    bandwidth.as_object().unwrap().values().for_each(|value| {
        positive(value);
    });
    positive(&bandwidth["L1"]);
    positive(&bandwidth["memory"]);
    let by_size = machine["bandwidth_by_size"].as_array().unwrap();
    let sizes = by_size.iter().map(|reading| {
        assert_eq!(keys(reading), "bytes_per_thread level gbs");
        positive(&reading["gbs"]);
        assert!(bandwidth.get(reading["level"].as_str().unwrap()).is_some());
        positive(&reading["bytes_per_thread"])
    });
    assert!(sizes.is_sorted_by(|smaller, larger| smaller < larger));
    assert_eq!(by_size.first().unwrap()["level"], "L1");
    let last = by_size.last().unwrap();
    assert_eq!(last["level"], "memory");
    assert_eq!(last["gbs"], bandwidth["memory"]);
}

#[test]
fn the_machine_alone() {
    let machine = json(&["--machine"]);
    is_machine(&machine);
    assert_eq!(machine["layers"], serde_json::json!([]));
    is_machine(&json(&["--machine", "--threads", "1"]));
    let text = works(&["--machine"]);
    assert!(text.contains("1 thread"), "{text}");
    assert!(text.contains("multiply-adds in registers"), "{text}");
    assert!(text.contains("matrix × vector from memory"), "{text}");
    assert!(text.contains("a thread reads"), "{text}");
    assert!(!text.contains("takes at least"), "{text}");
}

#[test]
fn what_a_layer_could_reach() {
    let arguments = [
        "--machine",
        "--layer",
        "lstm:1x1000x1x8192",
        "--layer",
        "gru:512x10x64x64",
    ];
    let machine = json(&arguments);
    is_machine(&machine);
    let layers = machine["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        let fields = "layer recurrent_bytes limit_gflops limited_by";
        assert_eq!(keys(layer), fields);
    }
    assert_eq!(layers[0]["layer"], arguments[2]);
    assert_eq!(layers[0]["recurrent_bytes"], 1 << 30);
    assert_eq!(layers[0]["limited_by"], "memory");
    // Two operations for each 4 bytes.
    let from_memory = positive(&machine["bandwidth_gbs"]["memory"]) / 2.0;
    let ratio = positive(&layers[0]["limit_gflops"]) / from_memory;
    assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
    assert_eq!(layers[1]["limited_by"], "arithmetic");
    let ratio = positive(&layers[1]["limit_gflops"]) / positive(&machine["fma_gflops"]);
    assert!((ratio - 1.0).abs() < 0.01, "{ratio}");

    let text = works(&arguments);
    for words in [
        "takes at least",
        "lstm:1x1000x1x8192",
        "the weights come from main memory each step (1024.0 MiB)",
        "the arithmetic is the limit",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn json_keeps_its_schema() {
    let report = json(&[&model("stacked.keras")]);
    assert_eq!(
        keys(&report),
        "schema file name machine inputs precision difference_from_f32 interrupted batches"
    );
    assert_eq!(report["schema"], 1);
    assert_eq!(report["interrupted"], false);
    assert_eq!(
        report["inputs"][0]["shape"],
        serde_json::json!([null, 4, 3])
    );
    is_machine(&report["machine"]);

    let batches = report["batches"].as_array().unwrap();
    let sizes: Vec<u64> = batches
        .iter()
        .map(|batch| batch["batch"].as_u64().unwrap())
        .collect();
    // On a machine that is busy, the larger ones may be left out.
    assert!([1, 8, 32, 128].starts_with(&sizes) && !sizes.is_empty());
    for batch in batches {
        assert_eq!(
            keys(batch),
            "batch time predictions latency_seconds sequences_per_second steps_per_second layers"
        );
        assert_eq!(batch["time"], 4);
        assert!(batch["predictions"].as_u64().unwrap() >= 1);
        let latency = &batch["latency_seconds"];
        assert_eq!(keys(latency), "min p50 p90 p99 max");
        let ascending: Vec<f64> = latency
            .as_object()
            .unwrap()
            .values()
            .map(positive)
            .collect();
        assert!(ascending.is_sorted(), "{ascending:?}");
        let sequences = positive(&batch["sequences_per_second"]);
        let expected = batch["batch"].as_f64().unwrap() / ascending[1];
        assert!((sequences / expected - 1.0).abs() < 1e-6);
        let steps = positive(&batch["steps_per_second"]);
        assert!((steps / sequences - 4.0).abs() < 1e-6);

        let layers = batch["layers"].as_array().unwrap();
        let paths: Vec<&str> = layers
            .iter()
            .map(|layer| layer["path"].as_str().unwrap())
            .collect();
        assert_eq!(paths, ["first", "both", "head"]);
        let shares: f64 = layers
            .iter()
            .map(|layer| positive(&layer["share_of_time"]))
            .sum();
        assert!((shares - 1.0).abs() < 1e-6, "{shares}");
        assert_eq!(
            keys(&layers[0]),
            "path class seconds share_of_time recurrent"
        );
        assert_eq!(layers[2]["recurrent"], Value::Null);
        for (layer, units, bytes) in [(&layers[0], 5, 5 * 20 * 4), (&layers[1], 2, 2 * 2 * 6 * 4)] {
            let recurrent = &layer["recurrent"];
            assert_eq!(
                keys(recurrent),
                "units time recurrent_bytes gflops limit_gflops share_of_limit limited_by"
            );
            assert_eq!(recurrent["units"], units);
            assert_eq!(recurrent["recurrent_bytes"], bytes);
            let ratio = positive(&recurrent["gflops"]) / positive(&recurrent["limit_gflops"]);
            assert!((ratio / positive(&recurrent["share_of_limit"]) - 1.0).abs() < 1e-6);
        }
        // 4 steps of an LSTM of 5 units on 3 features.
        let rows = batch["batch"].as_f64().unwrap() * 4.0;
        let flops = positive(&layers[0]["recurrent"]["gflops"]) * positive(&layers[0]["seconds"]);
        let expected = 2.0 * rows * 20.0 * (3.0 + 5.0) / 1e9;
        assert!((flops / expected - 1.0).abs() < 1e-6);
    }
}

#[test]
fn inputs_are_what_the_model_takes() {
    // Words for an Embedding, and two inputs of which both are indices.
    for name in ["questions", "dates"] {
        let report = json(&[&example(name), "--batch", "2"]);
        assert_eq!(report["batches"][0]["batch"], 2, "{name}");
    }
    // Any number of steps.
    let translate = model("translate.keras");
    let report = json(&[&translate, "--batch", "1", "--time", "7"]);
    let shapes: Vec<&Value> = report["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| &input["shape"])
        .collect();
    assert_eq!(*shapes[0], serde_json::json!([null, 7, 2]));
    assert_eq!(*shapes[1], serde_json::json!([null, 7, 1]));
    assert_eq!(report["batches"][0]["time"], 7);
    // The number that the model fixes may be given.
    works(&[&model("stacked.keras"), "--batch", "1", "--time", "4"]);
    // Weights and architecture apart.
    let (weights, architecture) = (model("stacked.weights.h5"), model("stacked.json"));
    works(&[&weights, "--architecture", &architecture, "--batch", "1"]);
}

#[test]
fn says_in_words_what_holds_it_up() {
    let text = works(&[&model("stacked.keras"), "--batch", "1"]);
    for words in [
        "model \"stacked\" on random input_layer (batch, 4, 3)\n",
        "1 thread\n",
        "sequences/s",
        "steps/s",
        "one sequence at a time:\n  first: ",
        "of what this CPU can do: ",
        "all other layers: ",
        "(Dense)\n",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let stacked = model("stacked.keras");
    let weights = model("stacked.weights.h5");
    let cases: &[(i32, &[&str], &[&str])] = &[
        (2, &[], &["<MODEL>"]),
        (2, &["--machine", &stacked], &["--machine"]),
        (2, &["--machine", "--batch", "1"], &["--machine", "--batch"]),
        (
            2,
            &["--machine", "--layer", "lstm:1x2x3"],
            &["lstm:1x100x128x128"],
        ),
        (2, &[&stacked, "--layer", "lstm:1x2x3x4"], &["--layer"]),
        (1, &["no-such.keras"], &["in: no-such.keras", "help: "]),
        (1, &[&weights], &["weights alone", "--architecture"]),
        (
            2,
            &[&stacked, "--time", "5"],
            &[
                "--time is 5",
                "(None, 4, 3)",
                "stacked.keras",
                "help: leave --time",
            ],
        ),
        (
            1,
            &[&stacked, "--batch", "9999999999999999999"],
            &["does not fit in memory", "smaller --batch"],
        ),
        (
            1,
            &[&stacked, "--batch", "99999999999999999"],
            &["does not fit in memory", "smaller --batch"],
        ),
        (2, &[&stacked, "--batch", "0"], &["--batch"]),
        (2, &[&stacked, "--threads", "0"], &["--threads"]),
    ];
    for (code, arguments, words) in cases {
        let output = bench(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        for word in *words {
            assert!(
                stderr.contains(word),
                "{arguments:?}: no {word:?} in\n{stderr}"
            );
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_ifco"))
        .args(["bench", "--machine"])
        .env("IFCO_THREADS", "many")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("IFCO_THREADS is \"many\"") && stderr.contains("--threads N"));
}

#[test]
fn a_reduced_precision_says_how_far_it_is_from_f32() {
    let stacked = model("stacked.keras");
    let exact = json(&[&stacked, "--batch", "2"]);
    assert_eq!(exact["precision"], "f32");
    assert_eq!(exact["difference_from_f32"], Value::Null);
    let mut largest = Vec::new();
    for precision in ["bf16", "int8"] {
        let arguments = [stacked.as_str(), "--batch", "2", "--precision", precision];
        let report = json(&arguments);
        assert_eq!(report["precision"], precision);
        let difference = &report["difference_from_f32"];
        assert_eq!(keys(difference), "largest mean largest_output");
        assert!(positive(&difference["mean"]) <= positive(&difference["largest"]));
        assert!(positive(&difference["largest"]) < 0.1 * positive(&difference["largest_output"]));
        largest.push(positive(&difference["largest"]));
        let text = works(&arguments);
        let said = format!("{precision}: outputs differ from those of f32 by at most ");
        assert!(text.contains(&said), "{text}");
        assert!(text.contains("of what this CPU can do in f32"), "{text}");
    }
    assert!(largest[0] != largest[1]);
}
