//! The command from end to end: the binary on models that Keras wrote (`models/make.py`), its
//! stdout, its stderr and its exit codes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ifco::arrays::{csv, npy, npz};
use ndarray::ArrayD;
use serde_json::Value;

mod common;

use common::{close, fails, folder, ifco, model, works};

#[test]
fn show_tells_layers_gates_and_what_is_odd() {
    let text = works(&["show", &model("stacked.keras")]);
    for line in [
        " first        LSTM           (None, 4, 5)         180  input_layer",
        " head         Dense          (None, 2)             10  both",
        "inputs:     input_layer (None, 4, 3)",
        "first: LSTM, 5 units, 3 features, 180 parameters",
        "both/forward: GRU, 2 units, 5 features, 54 parameters",
        "  activation=tanh, recurrent_activation=sigmoid, reset_after=True, use_bias=True",
        "  nothing odd",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in\n{text}"
        );
    }
    let forget = text.lines().find(|line| line.starts_with(" f ")).unwrap();
    assert!(
        forget.contains("forget gate     kernel[:, 5:10]"),
        "{forget}"
    );
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");

    let text = works(&["show", &model("translate.keras"), "--layer", "decoder"]);
    assert!(text.starts_with("decoder: LSTM, 3 units"), "{text}");
    assert!(text.contains("odd: the forget bias is near 0"), "{text}");
    assert!(!text.contains("encoder:"), "{text}");
}

#[test]
fn show_of_weights_alone_says_what_is_missing() {
    let text = works(&["show", &model("stacked.weights.h5")]);
    assert!(text.contains("weights without a model"), "{text}");
    assert!(text.contains("--architecture model.json"), "{text}");
    assert!(text.contains("first: LSTM, 5 units, 3 features"), "{text}");
    let with = works(&[
        "show",
        &model("stacked.weights.h5"),
        "--architecture",
        &model("stacked.json"),
    ]);
    let whole = works(&["show", &model("stacked.keras")]);
    let from_inputs = |text: &str| text.split_once("inputs:").unwrap().1.to_string();
    assert_eq!(from_inputs(&with), from_inputs(&whole));
}

#[test]
fn show_as_json_keeps_its_schema() {
    let read = |arguments: &[&str]| -> Value { serde_json::from_str(&works(arguments)).unwrap() };
    let keys = |value: &Value| -> String {
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.join(" ")
    };
    let report = read(&["show", "--json", &model("stacked.keras")]);
    assert_eq!(
        keys(&report),
        "schema file kind name parameters inputs outputs layers about recipe cells"
    );
    assert_eq!(report["schema"], 1);
    assert_eq!(
        report["inputs"][0]["shape"],
        serde_json::json!([null, 4, 3])
    );
    assert_eq!(
        keys(&report["layers"][0]),
        "name class output_shapes why_no_output_shapes parameters takes_from \
         begins_at_given_states layers"
    );
    let cell = &report["cells"][0];
    assert_eq!(
        keys(cell),
        "path class units features outputs parameters options gates besides odd"
    );
    let forget = &cell["gates"][1];
    assert_eq!(
        keys(forget),
        "gate name columns slices kernel_norm recurrent_kernel_norm bias_mean peephole_norm \
         spectral_radius spectral_radius_is_estimate near_zero"
    );
    assert_eq!(forget["slices"]["bias"], "bias[5:10]");
    // The same from the arrays that Keras itself gave.
    let first = npz::read(model("first.npz")).unwrap();
    let bias = &first[9].1;
    let mean = f64::from(bias.sum()) / 5.0;
    assert!((forget["bias_mean"].as_f64().unwrap() - mean).abs() < 1e-6);

    let report = read(&["show", "--json", &model("stacked.weights.h5")]);
    assert_eq!(
        keys(&report),
        "schema file kind parameters groups recipe cells"
    );
    assert_eq!(keys(&report["groups"][0]), "path name arrays");
}

#[test]
fn gates_are_those_of_keras() {
    let folder = folder("gates");
    let expected = npz::read(model("first.npz")).unwrap();
    let names = "kernel_i kernel_f kernel_c kernel_o recurrent_kernel_i recurrent_kernel_f \
                 recurrent_kernel_c recurrent_kernel_o bias_i bias_f bias_c bias_o";
    let names: Vec<&str> = names.split(' ').collect();

    let file = folder.join("first.npz").display().to_string();
    for source in ["stacked.keras", "stacked.weights.h5"] {
        works(&["gates", &model(source), "--layer", "first", "-o", &file]);
        let found = npz::read(&file).unwrap();
        assert_eq!(found.len(), 12);
        for ((found, name), (_, expected)) in found.iter().zip(&names).zip(&expected) {
            assert_eq!(&found.0, name);
            assert_eq!(&found.1, expected, "{name} of {source}");
        }
    }
    let file = folder.join("first.json").display().to_string();
    works(&[
        "gates",
        &model("stacked.keras"),
        "--layer",
        "first",
        "-o",
        &file,
    ]);
    let found: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let number = found["kernel_f"][2][4].as_f64().unwrap() as f32;
    assert_eq!(number, expected[1].1[[2, 4]]);
    let file = folder.join("first.safetensors").display().to_string();
    works(&[
        "gates",
        &model("stacked.keras"),
        "--layer",
        "first",
        "-o",
        &file,
    ]);
    let bytes = fs::read(&file).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("\"recurrent_kernel_o\""));
    // Nothing but what was asked for is left.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
}

#[test]
fn gates_are_printed_by_name() {
    // The only recurrent layer needs no name.
    let text = works(&["gates", &model("series.keras")]);
    assert!(text.starts_with("# rnn: SimpleRNN, 2 units, 1 feature\n\n# kernel\narray([["));
    let text = works(&["gates", &model("stacked.keras"), "--layer", "both/backward"]);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names.join(" "),
        "kernel_z kernel_r kernel_h recurrent_kernel_z recurrent_kernel_r recurrent_kernel_h \
         bias_z bias_r bias_h"
    );
    assert!(
        text.contains("# bias_r = bias[:, 2:4], reset gate\narray([["),
        "{text}"
    );
}

#[test]
fn predict_gives_the_numbers_of_keras() {
    let folder = folder("predict");
    let expected = npy::read(model("stacked_y.npy")).unwrap();
    let file = folder.join("y.npy").display().to_string();
    for input in ["stacked_x.npy", "stacked_x.csv"] {
        for batch_size in ["1", "3", "100"] {
            let (m, x) = (model("stacked.keras"), model(input));
            works(&["predict", &m, &x, "--batch-size", batch_size, "-o", &file]);
            close(npy::read(&file).unwrap().view(), expected.view());
        }
    }
    // Without -o, CSV; from weights and architecture apart, the same.
    let (m, x) = (model("stacked.weights.h5"), model("stacked_x.npy"));
    let printed = works(&["predict", &m, &x, "--architecture", &model("stacked.json")]);
    let printed = csv::from_bytes(printed.as_bytes()).unwrap();
    close(printed.into_dyn().view(), expected.view());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn predict_in_fewer_bits_says_how_far_it_is_from_f32() {
    let folder = folder("precision");
    let exact = npy::read(model("stacked_y.npy")).unwrap();
    let file = folder.join("y.npy").display().to_string();
    let (m, x) = (model("stacked.keras"), model("stacked_x.npy"));
    for (precision, bound) in [("bf16", 0.02), ("int8", 0.05)] {
        let output = ifco(&["predict", &m, &x, "-o", &file, "--precision", precision]);
        assert!(output.status.success() && output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        let rows = exact.shape()[0];
        let start = format!("{precision}: on the first {rows} rows, outputs differ from those of");
        assert!(
            said.starts_with(&start) && said.lines().count() == 1,
            "{said}"
        );
        let found = npy::read(&file).unwrap();
        let worst = (&found - &exact).fold(0.0f32, |worst, error| worst.max(error.abs()));
        assert!(worst > 1e-5 && worst < bound, "{precision}: {worst}");
    }
    works(&["predict", &m, &x, "-o", &file, "--precision", "f32"]);
    close(npy::read(&file).unwrap().view(), exact.view());
    let error = fails(2, &["predict", &m, &x, "--precision", "fp16"]);
    assert!(
        error.contains("[possible values: f32, bf16, int8]"),
        "{error}"
    );
}

#[test]
fn predict_with_several_inputs_and_outputs() {
    let folder = folder("several");
    let expected = npz::read(model("translate_y.npz")).unwrap();
    let file = folder.join("y.npz").display().to_string();
    let m = model("translate.keras");
    let (x, source, target) = (
        model("translate_x.npz"),
        model("translate_source.npy"),
        model("translate_target.npy"),
    );
    // By name, although the archive has them in another order; and a file each.
    for inputs in [vec![&x], vec![&source, &target]] {
        let mut arguments = vec!["predict", &m];
        arguments.extend(inputs.into_iter().map(String::as_str));
        arguments.extend(["-o", &file]);
        works(&arguments);
        let found = npz::read(&file).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["head", "decoder", "decoder_1"]);
        for ((_, found), (_, expected)) in found.iter().zip(&expected) {
            close(found.view(), expected.view());
        }
    }
    let printed = works(&["predict", &m, &x]);
    let header = printed.lines().next().unwrap();
    assert_eq!(
        header,
        "head[0],head[1],decoder[0],decoder[1],decoder[2],decoder_1[0],decoder_1[1],decoder_1[2]"
    );
    assert_eq!(csv::from_bytes(printed.as_bytes()).unwrap().dim(), (3, 8));

    let error = fails(2, &["predict", &m, &x, "-o", "y.npy"]);
    assert!(error.contains("the model has 3 outputs"), "{error}");
    let error = fails(1, &["predict", &m, &source]);
    assert!(
        error.contains("1 array given, but the model has 2 inputs"),
        "{error}"
    );
    assert!(
        error.contains("source (None, None, 2), target (None, None, 1)"),
        "{error}"
    );
}

#[test]
fn predict_of_one_series_in_a_column() {
    let printed = works(&["predict", &model("series.keras"), &model("series_x.csv")]);
    let expected = npy::read(model("series_y.npy")).unwrap();
    let printed = csv::from_bytes(printed.as_bytes()).unwrap();
    close(printed.into_dyn().view(), expected.view());
}

/// `Masking(inf)` and the like, which JSON cannot write.
#[test]
fn predict_with_options_that_are_infinite() {
    for ending in ["keras", "h5"] {
        let masked = model(&format!("masked.{ending}"));
        let printed = works(&["predict", &masked, &model("masked_x.npy")]);
        let expected = npy::read(model(&format!("masked_{ending}_y.npy"))).unwrap();
        let printed = csv::from_bytes(printed.as_bytes()).unwrap();
        close(printed.into_dyn().view(), expected.view());
    }
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let folder = folder("errors");
    let bad_csv = folder.join("bad.csv").display().to_string();
    fs::write(&bad_csv, "1,2\n3,x\n").unwrap();
    let wide = folder.join("wide.npy").display().to_string();
    npy::write(&wide, ArrayD::zeros(vec![1, 4, 9]).view()).unwrap();
    let stacked = model("stacked.keras");
    let weights = model("stacked.weights.h5");
    let x = model("stacked_x.npy");
    let cases: &[(i32, &[&str], &[&str])] = &[
        (
            1,
            &["show", "no-such.keras"],
            &["\n  in: no-such.keras\n", "\n  help: is the path right?"],
        ),
        (
            1,
            &["show", &x],
            &[
                "error: this is a NumPy array, not a Keras model\n",
                "stacked_x.npy\n",
                "\n  help: ifco opens .keras",
            ],
        ),
        (
            1,
            &["gates", &stacked, "--layer", "frist"],
            &["did you mean \"first\"?", "both/forward"],
        ),
        (
            1,
            &["gates", &stacked, "--layer", "head"],
            &["of class Dense", "first, both/forward"],
        ),
        (
            2,
            &["gates", &stacked],
            &["3 recurrent layers", "--layer NAME: first"],
        ),
        (
            2,
            &["gates", &stacked, "--layer", "both"],
            &["2 cells", "both/forward, both/backward"],
        ),
        (
            2,
            &["gates", &stacked, "--layer", "first", "-o", "x.txt"],
            &[".npz, .safetensors"],
        ),
        (
            1,
            &["predict", &weights, &x],
            &["weights alone", "--architecture"],
        ),
        (
            1,
            &["predict", &stacked, &wide],
            &["(None, 4, 3)", "wide.npy"],
        ),
        (
            1,
            &["predict", &stacked, &bad_csv],
            &["line 2, column 2: \"x\"", "in: ", "bad.csv"],
        ),
        (2, &["predict", &stacked, "x.txt"], &[".npy, .npz and .csv"]),
        (
            2,
            &["predict", &stacked, &x, "-o", "y.txt"],
            &[".npy, .npz or .csv"],
        ),
        (
            1,
            &["predict", &stacked, &x, "-o", "/no/such/folder/y.npy"],
            &["in: /no/such/folder/y.npy"],
        ),
        (
            2,
            &["predict", &stacked, &x, "--batch-size", "0"],
            &["--batch-size"],
        ),
        (2, &["predict", &stacked], &["INPUT"]),
        (2, &["orders", "pytroch"], &["did you mean \"pytorch\"?"]),
        (2, &["sow", &stacked], &["show"]),
    ];
    for (code, arguments, words) in cases {
        let error = fails(*code, arguments);
        for word in *words {
            assert!(
                error.contains(word),
                "{arguments:?}: no {word:?} in\n{error}"
            );
        }
    }
}

#[test]
fn orders_tell_where_each_framework_keeps_each_gate() {
    let all = works(&["orders"]);
    assert!(
        all.lines()
            .any(|line| line.contains("ONNX LSTM") && line.contains("i o f c"))
    );
    let torch = works(&["orders", "Torch"]);
    assert!(torch.contains("weight_ih_l0[u:2*u, :]"), "{torch}");
    let tf1: Value = serde_json::from_str(&works(&["orders", "tf1", "--json"])).unwrap();
    assert_eq!(tf1["order"], serde_json::json!(["i", "c", "f", "o"]));
    assert_eq!(tf1["forget_bias"], 1.0);
}

/// Where an error refers to the documentation, it must be found there.
#[test]
fn the_documentation_lists_what_is_run() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let text = fs::read_to_string(path).unwrap();
    let (before, operations) = text.split_once("## Operations that are run").unwrap();
    let (_, layers) = before.split_once("## Layers that are run").unwrap();
    for (names, list) in [
        (ifco::layers::SUPPORTED, layers),
        (ifco::layers::OPERATIONS, operations),
    ] {
        for name in names {
            assert!(list.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn help_and_completions() {
    for command in ["show", "gates", "predict", "bench", "orders", "completions"] {
        let help = works(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
    }
    assert!(works(&["--help"]).contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(works(&["completions", shell]).contains("predict"));
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    // More than a pipe holds, so that the command is still writing when the reader leaves.
    let folder = folder("pipe");
    let x = folder.join("x.npy").display().to_string();
    npy::write(&x, ArrayD::zeros(vec![20_000, 4, 3]).view()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ifco"))
        .args([
            "predict",
            &model("stacked.keras"),
            &x,
            "--batch-size",
            "1000",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains(','));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn folders_and_checkpoints_are_shown_and_converted() {
    let folder = folder("tensorflow");
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tensorflow");
    let saved = format!("{fixtures}/functional");
    assert!(works(&["show", &saved]).contains("parameters"));
    let out = folder.join("functional.keras").display().to_string();
    works(&["convert", &saved, &out]);
    assert_eq!(
        ifco::open(&out).unwrap().weights(),
        ifco::open(&saved).unwrap().weights()
    );
    // What its files' names begin with; there is no file of that name.
    let checkpoint = format!("{fixtures}/basic");
    assert!(works(&["show", &checkpoint]).contains("kernel"));
}
