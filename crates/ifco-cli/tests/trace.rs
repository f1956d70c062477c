//! `ifco trace` from end to end: the digest, the file, and what cannot be.

use std::fs;

use ifco::arrays::{npy, npz};
use ndarray::{Array2, Array3, ArrayD, ArrayViewD, s};
use serde_json::Value;

mod common;

use common::{close, fails, folder, ifco, model, works};

fn array<'a>(arrays: &'a [(String, ArrayD<f32>)], name: &str) -> ArrayViewD<'a, f32> {
    let found = arrays.iter().find(|(known, _)| known == name);
    let known: Vec<_> = arrays.iter().map(|(known, _)| known).collect();
    found
        .unwrap_or_else(|| panic!("no {name} among {known:?}"))
        .1
        .view()
}

#[test]
fn the_digest_tells_gates_memory_and_changes() {
    let text = works(&["trace", &model("stacked.keras"), &model("stacked_x.npy")]);
    for part in [
        "first: LSTM, 5 units, 7 sequences of 4 steps\n",
        "both/forward: GRU, 2 units, 7 sequences of 4 steps\n",
        "both/backward: GRU, 2 units, 7 sequences of 4 steps, read backward\n",
        " f        forget gate ",
        " z        update gate ",
        "  memory 1/(1 - f): ",
        "  memory 1/(1 - z): ",
        "  changed most: unit ",
        " of sequence ",
        "< 0.1",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let one = works(&[
        "trace",
        &model("stacked.keras"),
        &model("stacked_x.npy"),
        "--layer",
        "both/backward",
        "--row",
        "6",
    ]);
    assert!(one.starts_with("both/backward: GRU, 2 units, 1 sequence of 4 steps, read backward\n"));
    assert!(
        !one.contains("first:") && !one.contains("of sequence"),
        "{one}"
    );
}

#[test]
fn a_masked_step_is_told_and_left_out() {
    let text = works(&["trace", &model("masked.keras"), &model("masked_x.npy")]);
    assert!(text.contains(" masked\n"), "{text}");
    let folder = folder("trace_masked");
    let file = folder.join("t.npz").display().to_string();
    works(&[
        "trace",
        &model("masked.keras"),
        &model("masked_x.npy"),
        "-o",
        &file,
    ]);
    let arrays = npz::read(&file).unwrap();
    let masked: Vec<_> = arrays
        .iter()
        .filter(|(name, _)| name.ends_with("mask"))
        .collect();
    assert!(!masked.is_empty());
    for (name, mask) in masked {
        let cell = name.strip_suffix("mask").unwrap();
        let h = array(&arrays, &format!("{cell}h"));
        assert_eq!(mask.shape(), &h.shape()[..2]);
        assert!(mask.iter().any(|counts| *counts == 0.0), "{name}");
    }
}

#[test]
fn the_file_holds_every_array_and_the_equations_hold_in_it() {
    let folder = folder("trace_file");
    let file = folder.join("t.npz").display().to_string();
    let (keras, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let printed = works(&[
        "trace",
        &keras,
        &x,
        "--layer",
        "first",
        "--pre-activations",
        "-o",
        &file,
    ]);
    assert_eq!(printed, "");
    let arrays = npz::read(&file).unwrap();
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["i", "f", "c_tilde", "o", "c", "h", "z"]);
    let of = |name: &str| {
        array(&arrays, name)
            .into_dimensionality::<ndarray::Ix3>()
            .unwrap()
    };
    let mut before = Array3::zeros(of("c").dim());
    before
        .slice_mut(s![.., 1.., ..])
        .assign(&of("c").slice(s![.., ..-1, ..]));
    let c = &of("f") * &before + &of("i") * &of("c_tilde");
    close(c.view().into_dyn(), array(&arrays, "c"));
    let h = &of("o") * &of("c").mapv(f32::tanh);
    close(h.view().into_dyn(), array(&arrays, "h"));
    let z = of("z");
    assert_eq!(z.dim(), (7, 4, 20));
    let f = z
        .slice(s![.., .., 5..10])
        .mapv(|z| 1.0 / (1.0 + (-z).exp()));
    close(f.view().into_dyn(), array(&arrays, "f"));

    // By its name alone, and with a mask where nothing is masked.
    for name in ["z", "pre_activations"] {
        let arguments = ["trace", &keras, &x, "--layer", "first", "-o", &file];
        works(&[&arguments[..], &["--arrays", &format!("{name},mask")]].concat());
        let arrays = npz::read(&file).unwrap();
        assert_eq!(array(&arrays, "z"), z.view().into_dyn());
        assert_eq!(
            array(&arrays, "mask"),
            Array2::<f32>::ones((7, 4)).into_dyn()
        );
        assert_eq!(arrays.len(), 2);
    }

    // Several cells, some arrays.
    works(&["trace", &keras, &x, "--arrays", "f,h", "-o", &file]);
    let arrays = npz::read(&file).unwrap();
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["first/f", "first/h", "both/forward/h", "both/backward/h"]
    );
    // Nothing but the file is left.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn several_inputs_and_json() {
    let text = works(&[
        "trace",
        &model("translate.keras"),
        &model("translate_x.npz"),
        "--json",
    ]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], 1);
    let cells = value["cells"].as_array().unwrap();
    assert!(cells.len() > 1);
    for cell in cells {
        let units = cell["units"].as_u64().unwrap() as usize;
        let steps = cell["steps"].as_u64().unwrap() * cell["sequences"].as_u64().unwrap();
        assert_eq!(
            cell["counted"].as_u64().unwrap() + cell["masked"].as_u64().unwrap(),
            steps
        );
        for array in cell["arrays"].as_array().unwrap() {
            assert!(array["mean"].is_number());
            for figure in ["mean", "below", "above"] {
                assert_eq!(array["units"][figure].as_array().unwrap().len(), units);
            }
            let is_gate = ["i", "f", "o", "z", "r"].contains(&array["name"].as_str().unwrap());
            assert_eq!(array["below"].is_number(), is_gate);
        }
        assert_eq!(cell["memory"]["units"].as_array().unwrap().len(), units);
        let changes = cell["changes"]["units"].as_array().unwrap();
        let means: Vec<f64> = changes
            .iter()
            .map(|change| change["mean"].as_f64().unwrap())
            .collect();
        assert!(means.is_sorted_by(|one, other| one >= other), "{means:?}");
    }
}

/// So long that it comes in chunks; the trace in the file is the one that the library makes.
#[test]
fn a_long_sequence_comes_in_chunks_and_is_the_same() {
    let folder = folder("trace_long");
    let (x, file) = (folder.join("x.npy"), folder.join("t.npz"));
    let keras = ifco::open(model("series.keras")).unwrap();
    let (path, cell) = keras.cells().remove(0);
    // More than is held at a time, 64 MiB: h, the sums and the gates they make, and x.
    let steps = (70 << 20) / (4 * (3 * cell.units() + cell.features()));
    let input = ArrayD::from_shape_fn(vec![1, steps, 1], |at| (at[1] as f32 / 9.0).sin());
    npy::write(&x, input.view()).unwrap();
    let (x, file) = (x.display().to_string(), file.display().to_string());
    works(&[
        "trace",
        &model("series.keras"),
        &x,
        "--layer",
        &path,
        "--arrays",
        "h",
        "-o",
        &file,
    ]);
    let right = keras.trace(&path, &input).unwrap();
    close(
        array(&npz::read(&file).unwrap(), "h"),
        right.get("h").unwrap().into_dyn(),
    );
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let folder = folder("trace_errors");
    let (keras, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let file = |name: &str| folder.join(name).display().to_string();
    let says = |code: i32, arguments: &[&str], parts: &[&str]| {
        let said = fails(code, &[&["trace"], arguments].concat());
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    };
    says(
        1,
        &[&keras, &x, "--layer", "frist"],
        &["no recurrent layer", "did you mean \"first\""],
    );
    says(
        2,
        &[&keras, &x, "-o", &file("t.npy")],
        &["saved as .npz", "end the name"],
    );
    says(
        2,
        &[&keras, &x, "-o", &file("t.npz"), "--arrays", "q"],
        &["no array \"q\"", "it has i, f"],
    );
    says(
        2,
        &[&keras, &x, "--row", "7"],
        &["no row 7", "7 rows", "counted from 0", "stacked_x.npy"],
    );
    says(2, &[&keras, &x, "--arrays", "f"], &["--output"]);
    says(
        1,
        &[&model("stacked.weights.h5"), &x],
        &["weights alone", "--architecture"],
    );
    says(
        1,
        &[&keras, &model("masked_x.npy")],
        &["has shape", "stacked.keras on "],
    );
    says(1, &[&keras, &x, "-o", &file("no/t.npz")], &["t.npz"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert!(!ifco(&["trace"]).status.success());
}

#[test]
fn a_gradient_is_told_and_saved() {
    let (keras, x, y) = (
        model("training.keras"),
        model("training_x.npy"),
        model("training_y.npy"),
    );
    let text = works(&["trace", &keras, &x, "--gradient"]);
    for part in [
        "  gradient of the sum of ",
        ", by steps back from the last\n",
        "steps back",
        "|∂L/∂h|",
        "  half-life of dh: ",
        "  - ∂L/∂h ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let text = works(&["trace", &keras, &x, "--gradient", "--y", &y, "--row", "3"]);
    assert!(text.contains("  gradient of the loss ("), "{text}");

    let folder = folder("trace_gradient");
    let file = folder.join("t.npz").display().to_string();
    let (stacked, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let arguments = ["trace", &stacked, &x, "--gradient", "--target", "0"];
    works(&[arguments.as_slice(), &["-o", &file]].concat());
    let arrays = npz::read(&file).unwrap();
    let shape = |name: &str| array(&arrays, name).shape().to_vec();
    assert_eq!(shape("first/dh"), shape("first/h"));
    assert_eq!(shape("first/dc"), shape("first/c"));
    assert_eq!(
        shape("both/backward/update_product"),
        shape("both/backward/z")
    );
    // What is kept after a step is what the gates of all later steps let through.
    let (kept, f) = (
        array(&arrays, "first/forget_product"),
        array(&arrays, "first/f"),
    );
    for t in 0..kept.shape()[1] {
        let later = f.slice_axis(ndarray::Axis(1), ndarray::Slice::from(t + 1..));
        let product = later.fold_axis(ndarray::Axis(1), 1.0_f32, |a, b| a * b);
        close(
            kept.index_axis(ndarray::Axis(1), t),
            product.view().into_dyn(),
        );
    }
    // Each row alone has the same: a loss is that of its row.
    let (keras, x) = (model("training.keras"), model("training_x.npy"));
    let one = folder.join("one.npz").display().to_string();
    let all = [
        "trace",
        &keras,
        &x,
        "--gradient",
        "--y",
        &y,
        "--arrays",
        "dh",
    ];
    works(&[all.as_slice(), &["-o", &file]].concat());
    works(&[all.as_slice(), &["--row", "4", "-o", &one]].concat());
    let (all, one) = (npz::read(&file).unwrap(), npz::read(&one).unwrap());
    for ((name, all), (other, one)) in all.iter().zip(&one) {
        assert_eq!(name, other);
        let row = ndarray::Slice::from(4..5);
        close(one.view(), all.slice_axis(ndarray::Axis(0), row));
    }
}

#[test]
fn a_gradient_as_json_and_what_does_not_go_together() {
    let (stacked, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let text = works(&["trace", &stacked, &x, "--gradient", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    let gradient = &json["cells"][0]["gradient"];
    let arrays = gradient["arrays"].as_array().unwrap();
    let names: Vec<_> = arrays
        .iter()
        .map(|array| array["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dh", "dc", "forget_product"]);
    assert_eq!(arrays[2]["by_distance"][0], 1.0);
    assert_eq!(arrays[0]["half_life"]["units"].as_array().unwrap().len(), 5);

    let error = fails(2, &["trace", &stacked, &x, "--target", "1"]);
    assert!(error.contains("--gradient"), "{error}");
    let error = fails(
        2,
        &["trace", &stacked, &x, "--gradient", "--target", "other:1"],
    );
    assert!(error.contains("no output named \"other\""), "{error}");
    let error = fails(1, &["trace", &stacked, &x, "--gradient", "--target", "99"]);
    assert!(error.contains("there is no unit 99"), "{error}");
}
