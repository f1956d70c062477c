//! ONNX graphs in Keras's layers: what they compute stays, and weights keep their bits there and
//! back.

use std::path::PathBuf;

use ifco_files::{Opened, SaveOptions, in_keras_layers, open, open_bytes};
use ifco_model::Model;
use ndarray::{ArrayD, Axis};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn saved(model: &Model, name: &str) -> Model {
    let saved = SaveOptions::new().to_bytes(model, name).expect(name);
    match open_bytes(saved.bytes, name).expect(name) {
        Opened::Model(model) => *model,
        Opened::Weights(_) => panic!("{name} is no model"),
    }
}

/// Numbers for each of a model's inputs, and the same with the batch first.
fn inputs(model: &Model, copy: &Model) -> (Vec<ArrayD<f32>>, Vec<ArrayD<f32>>) {
    let mut next = 1u32;
    let ports = model.inputs().iter().zip(copy.inputs());
    let pairs = ports.map(|(from, to)| {
        let shape = to.shape.as_ref().expect("it is known").iter().enumerate();
        let size = |(axis, size): (usize, &Option<usize>)| size.unwrap_or([3, 5][axis.min(1)]);
        let shape: Vec<usize> = shape.map(size).collect();
        let is_words = copy
            .layers()
            .iter()
            .any(|l| l.layer.class_name() == "Embedding");
        let array = ArrayD::from_shape_simple_fn(shape, || {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match is_words {
                true => (next >> 29) as f32,
                false => (next >> 8) as f32 / 8_388_608.0 - 1.0,
            }
        });
        let mut own = array.clone();
        while own.ndim() < from.shape.as_ref().map_or(own.ndim(), Vec::len) {
            own.insert_axis_inplace(Axis(1));
        }
        (from.from_batch_first(own), array)
    });
    pairs.unzip()
}

fn run(model: &Model, inputs: &[ArrayD<f32>]) -> Vec<ArrayD<f32>> {
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    model.predict_all(&views, 32, &mut |_| {}).expect("it runs")
}

#[test]
fn graphs_compute_the_same_in_keras_layers() {
    for name in [
        "torch_lstm_last",
        "torch_lstm_state",
        "torch_lstm_bi_stacked",
        "torch_gru_max",
        "torch_gru_mean",
        "torch_rnn_last",
        "torch_words",
        "torch_lstm_last_dynamo",
        "torch_lstm_time_major_dynamo",
        "torch_lstm_bi_stacked_dynamo",
        "torch_gru_max_dynamo",
        "torch_gru_mean_dynamo",
        "torch_words_dynamo",
        "torch_norm_13",
        "keras_norm",
        "rnn_leakyrelu",
        "rnn_thresholdedrelu",
        "rnn_elu",
        "rnn_softplus",
        "lstm_layout",
        "gru_layout",
        "rnn_layout",
        "lstm_direction_from_end",
        "keras_loop_gru",
        "keras_loop_gru_reset_before",
        "keras_loop_rnn",
        "keras_loop_lstm_hard_sigmoid",
        "keras_loop_lstm_hard_silu",
        "keras_loop_bidirectional",
        "keras_loop_stacked",
    ] {
        let graph = open(root().join(format!("fixtures/onnx/{name}.onnx"))).expect(name);
        let copy = saved(&graph, "copy.keras");
        let (own, first) = inputs(&graph, &copy);
        for (found, expected) in run(&copy, &first).iter().zip(run(&graph, &own)) {
            assert_eq!(found.len(), expected.len(), "{name}");
            if found.shape() == expected.shape() {
                let pairs = found.iter().zip(&expected);
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-5, "{name} differs by {worst}");
            }
        }
        // And as an ONNX graph of our own, and back, to the bit.
        let again = saved(&saved(&graph, "copy.onnx"), "again.keras");
        assert_eq!(again.weights(), copy.weights(), "{name}");
    }
}

#[test]
fn a_loop_is_the_cell_that_it_goes_round_with() {
    for (name, expected) in [
        ("keras_loop_gru", &["GRU"][..]),
        ("keras_loop_rnn", &["SimpleRNN"]),
        ("keras_loop_bidirectional", &["GRU", "GRU"]),
        ("keras_loop_stacked", &["LSTM", "LSTM"]),
        ("control_loop", &["SimpleRNN"]),
        ("control_scan", &["SimpleRNN"]),
        ("control_if", &[]), // what it does depends on the round
    ] {
        let graph = open(root().join(format!("fixtures/onnx/{name}.onnx"))).expect(name);
        let cells = graph.cells().into_iter();
        let kinds: Vec<&str> = cells.map(|(_, cell)| cell.kind().name()).collect();
        assert_eq!(kinds, expected, "{name}");
    }
}

#[test]
fn a_loop_goes_through_as_many_steps_as_the_file_tells() {
    let graph = open(root().join("fixtures/onnx/control_loop.onnx")).expect("it opens");
    let (x, h) = (ArrayD::ones(vec![7, 3, 2]), ArrayD::zeros(vec![3, 4]));
    let outputs = run(&graph, &[x, h.clone()]);
    assert_eq!(outputs[1].shape(), [5, 3, 4]);
    let x = ArrayD::ones(vec![4, 3, 2]);
    let error = graph.predict_all(&[x.view(), h.view()], 32, &mut |_| {});
    let error = error.expect_err("it reads a fifth step").to_string();
    assert!(error.contains("at least 5"), "{error}");
}

#[test]
fn weights_keep_their_bits_there_and_back() {
    let folder = root().join("crates/ifco-cli/tests/models");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the models are there") {
        let path = file.expect("it can be read").path();
        if path.extension().is_none_or(|end| end != "keras") {
            continue;
        }
        let Ok(model) = open(&path) else { continue };
        let Ok(onnx) = SaveOptions::new().to_bytes(&model, "x.onnx") else {
            continue; // masks, and layers that ONNX has not
        };
        let Ok(Opened::Model(graph)) = open_bytes(onnx.bytes, "x.onnx") else {
            panic!("{path:?} does not open again");
        };
        let Some(Ok(copy)) = in_keras_layers(&graph) else {
            continue;
        };
        let sorted = |model: &Model| {
            let mut all: Vec<Vec<u32>> = model
                .weights()
                .expect("it has weights")
                .iter()
                .map(|array| array.iter().map(|value| value.to_bits()).collect())
                .collect();
            all.sort();
            all
        };
        // A normalization is a factor and a sum in ONNX.
        if model
            .layers()
            .iter()
            .any(|l| l.layer.class_name() == "BatchNormalization")
        {
            continue;
        }
        assert_eq!(sorted(&copy), sorted(&model), "{path:?}");
        count += 1;
    }
    assert!(count >= 2, "only {count} models");
}

#[test]
fn a_cell_s_options_are_kept_by_onnx_and_refused_by_keras() {
    for (name, word) in [
        ("lstm_peepholes", "peepholes"),
        ("lstm_peepholes_bi", "peepholes"),
        ("lstm_clip", "clip"),
        ("lstm_two_activations", "output_activation"),
        ("lstm_alpha_beta", "recurrent_activation"),
        ("gru_clip_reset_after", "clip"),
        ("gru_alpha_beta", "recurrent_activation"),
        ("gru_affine", "activation"),
        ("rnn_clip", "clip"),
        ("rnn_scaledtanh", "activation"),
    ] {
        let graph = open(root().join(format!("fixtures/onnx/{name}.onnx"))).expect(name);
        let error = SaveOptions::new()
            .to_bytes(&graph, "x.keras")
            .expect_err(name);
        assert!(error.to_string().contains(word), "{error}");
        assert!(
            error.help().is_some_and(|help| help.contains(".onnx")),
            "{error}"
        );
        let copy = saved(&graph, "x.onnx");
        let cells = |model: &Model| {
            let cells = model.cells().into_iter();
            cells
                .map(|(_, cell)| format!("{cell:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(cells(&copy), cells(&graph), "{name}");
    }
}

#[test]
fn what_is_no_layer_is_refused_by_its_name() {
    for (name, word) in [
        ("lstm_forward_lens", "lengths of its sequences"),
        ("gru_reverse", "reverse order"),
        ("gru_activations", "no place for its recurrent_activation"),
        ("control_scan", "reverse order"),
        ("control_if", "Loop"),
        ("control_loop", "number of steps"),
    ] {
        let graph = open(root().join(format!("fixtures/onnx/{name}.onnx"))).expect(name);
        let error = SaveOptions::new()
            .to_bytes(&graph, "x.keras")
            .expect_err(name);
        assert!(error.to_string().contains(word), "{name}: {error}");
        assert!(error.help().is_some(), "{error}");
    }
}
