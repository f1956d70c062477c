//! Every kind of Keras file gives its layers the arrays that are theirs.

mod common;

use common::*;
use hdf5_pure::AttrValue;
use ifco_files::{OpenOptions, Opened, WeightsFile, open_bytes};
use ifco_model::Model;
use zip::CompressionMethod;

fn assert_weights(model: &Model) {
    let lstm = model.lstm("memory").expect("the LSTM is there");
    let weights = lstm.weights();
    assert_eq!(weights.fused_kernel()[[2, 7]], 23.0);
    assert_eq!(weights.fused_recurrent_kernel()[[1, 0]], 1008.0);
    assert_eq!(weights.fused_bias().expect("it has a bias")[3], 2003.0);
    assert!(
        model
            .layers()
            .iter()
            .all(|layer| layer.parameters.is_some())
    );
}

fn only_weights(bytes: Vec<u8>) -> WeightsFile {
    match open_bytes(bytes, "test").expect("the file opens") {
        Opened::Weights(weights) => weights,
        Opened::Model(model) => panic!("a model: {model:?}"),
    }
}

fn paths(weights: &WeightsFile) -> Vec<String> {
    weights.cells().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn archives_stored_and_deflated() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        assert_weights(&model(archive(CONFIG, &weights(), method)));
    }
}

#[test]
fn archives_of_keras_2_12_leave_gaps_in_their_numbers() {
    let config = CONFIG.replace(
        r#"{"class_name": "Dense""#,
        r#"{"class_name": "LSTM", "config": {"name": "second", "units": 2, "return_sequences": false}},
           {"class_name": "Dense""#,
    );
    let config = config.replace(
        r#""units": 2}}"#,
        r#""units": 2, "return_sequences": true}}"#,
    );
    let old = |path: &str| format!("_layer_checkpoint_dependencies/{path}");
    let tree = Tree::new()
        .array(&old("lstm/cell/vars/0"), &[3, 8], 0.0)
        .array(&old("lstm/cell/vars/1"), &[2, 8], 1000.0)
        .array(&old("lstm/cell/vars/2"), &[8], 2000.0)
        .array(&old("lstm_2/cell/vars/0"), &[2, 8], 5000.0)
        .array(&old("lstm_2/cell/vars/1"), &[2, 8], 6000.0)
        .array(&old("lstm_2/cell/vars/2"), &[8], 7000.0)
        .array(&old("dense/vars/0"), &[2, 1], 3000.0)
        .array(&old("dense/vars/1"), &[1], 4000.0);
    let model = model(archive(&config, &tree, CompressionMethod::Stored));
    assert_weights(&model);
    let second = model.lstm("second").expect("the second LSTM is there");
    assert_eq!(second.weights().fused_kernel()[[0, 0]], 5000.0);
}

/// Python's `json` writes them as bare words, which are no JSON.
#[test]
fn configurations_with_infinities() {
    for word in ["Infinity", "-Infinity", "NaN"] {
        let config = CONFIG.replace(
            r#"{"class_name": "Dense""#,
            &format!(
                r#"{{"class_name": "Masking", "config": {{"name": "mask", "mask_value": {word}}}}},
                   {{"class_name": "Dense""#
            ),
        );
        assert!(config.contains(word));
        assert_weights(&model(archive(
            &config,
            &weights(),
            CompressionMethod::Stored,
        )));
        assert_weights(&model(
            legacy("model_weights")
                .text("", "model_config", &config)
                .build(),
        ));
    }
}

/// Keras 2 has parts of some layers under private names, such as `_query_dense`.
#[test]
fn archives_of_keras_2_have_private_names() {
    let tree = Tree::new()
        .array("layers/lstm/_cell/vars/0", &[3, 8], 0.0)
        .array("layers/lstm/_cell/vars/1", &[2, 8], 1000.0)
        .array("layers/lstm/_cell/vars/2", &[8], 2000.0)
        .array("layers/dense/vars/0", &[2, 1], 3000.0)
        .array("layers/dense/vars/1", &[1], 4000.0);
    assert_weights(&model(archive(CONFIG, &tree, CompressionMethod::Stored)));
}

#[test]
fn weights_with_and_without_their_architecture() {
    let bytes = weights().build();
    let model = OpenOptions::new()
        .open_bytes_with_architecture(bytes.clone(), CONFIG, "test")
        .expect("both open");
    assert_weights(&model);
    let weights = only_weights(bytes);
    assert_eq!(paths(&weights), ["memory"]);
    let lstm = weights
        .groups
        .iter()
        .find(|group| group.path == "lstm/cell");
    assert_eq!(lstm.and_then(|group| group.name.as_deref()), Some("memory"));
}

#[test]
fn an_archive_is_also_a_file_of_weights() {
    let bytes = archive(CONFIG, &weights(), CompressionMethod::Deflated);
    let model = OpenOptions::new().open_bytes_with_architecture(bytes, CONFIG, "test");
    assert_weights(&model.expect("both open"));
}

#[test]
fn legacy_whole_models() {
    let tree = legacy("model_weights");
    // As bytes of fixed length, of variable length, and in pieces.
    for tree in [
        tree.clone().text("", "model_config", CONFIG),
        tree.clone()
            .attribute("", "model_config", AttrValue::VarLenString(CONFIG.into())),
        tree.clone()
            .attribute("", "model_config", AttrValue::AsciiString(CONFIG.into())),
        tree.clone().text("", "model_config0", &CONFIG[..100]).text(
            "",
            "model_config1",
            &CONFIG[100..],
        ),
    ] {
        assert_weights(&model(tree.build()));
    }
}

#[test]
fn legacy_lists_may_be_in_pieces() {
    let tree = Tree::new()
        .text("", "keras_version", "2.15.0")
        .text("", "model_config", CONFIG)
        .texts("model_weights", "layer_names0", &["memory"])
        .texts("model_weights", "layer_names1", &["head"])
        .legacy("model_weights", "memory", &LSTM_NAMES)
        .legacy("model_weights", "head", &[("k", &[2, 1]), ("b", &[1])]);
    assert_weights(&model(tree.build()));
}

#[test]
fn legacy_weights_with_and_without_their_architecture() {
    let bytes = legacy("").build();
    let model = OpenOptions::new()
        .open_bytes_with_architecture(bytes.clone(), CONFIG, "test")
        .expect("both open");
    assert_weights(&model);
    assert_eq!(paths(&only_weights(bytes)), ["memory"]);
}

#[test]
fn legacy_layers_of_other_names_are_taken_in_order() {
    let renamed = CONFIG
        .replace("\"memory\"", "\"lstm_7\"")
        .replace("\"head\"", "\"dense_3\"");
    let model = OpenOptions::new()
        .open_bytes_with_architecture(legacy("").build(), renamed, "test")
        .expect("both open");
    let lstm = model.lstm("lstm_7").expect("the LSTM is there");
    assert_eq!(lstm.weights().fused_kernel()[[2, 7]], 23.0);
}

/// A layer that is frozen inside a nested model has its arrays after all that train.
#[test]
fn frozen_layers_inside_a_nested_model_come_last() {
    let config = r#"{"class_name": "Sequential", "config": {"name": "outer", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [null, 4, 3]}},
        {"class_name": "Sequential", "config": {"name": "inner", "layers": [
            {"class_name": "InputLayer", "config": {"name": "j", "batch_input_shape": [null, 4, 3]}},
            {"class_name": "LSTM", "config": {"name": "frozen", "units": 2, "trainable": false, "return_sequences": true}},
            {"class_name": "LSTM", "config": {"name": "live", "units": 2}}]}}]}}"#;
    let tree = Tree::new()
        .text("", "keras_version", "2.15.0")
        .text("", "model_config", config)
        .texts("model_weights", "layer_names", &["inner"])
        .legacy(
            "model_weights",
            "inner",
            &[
                ("live/kernel:0", &[2, 8]),
                ("live/recurrent_kernel:0", &[2, 8]),
                ("live/bias:0", &[8]),
                ("frozen/kernel:0", &[3, 8]),
                ("frozen/recurrent_kernel:0", &[2, 8]),
                ("frozen/bias:0", &[8]),
            ],
        );
    let model = model(tree.build());
    let kernel = |path: &str| {
        let lstm = model.lstm(path).expect("the LSTM is there");
        lstm.weights().fused_kernel()[[0, 0]]
    };
    assert_eq!(kernel("inner/live"), 0.0);
    assert_eq!(kernel("inner/frozen"), 3000.0);
}

#[test]
fn cudnn_layers_become_those_that_run_anywhere() {
    let config = r#"{"class_name": "Sequential", "config": [
        {"class_name": "CuDNNLSTM", "config": {"name": "memory", "units": 2, "batch_input_shape": [null, 5, 3]}},
        {"class_name": "RepeatVector", "config": {"name": "r", "n": 2}},
        {"class_name": "CuDNNGRU", "config": {"name": "gru", "units": 2}}]}"#;
    let tree = Tree::new()
        .text("", "keras_version", "2.2.4")
        .text("", "model_config", config)
        .texts("model_weights", "layer_names", &["memory", "gru"])
        .legacy(
            "model_weights",
            "memory",
            &[("k", &[3, 8]), ("r", &[2, 8]), ("b", &[16])],
        )
        .legacy(
            "model_weights",
            "gru",
            &[("k", &[2, 6]), ("r", &[2, 6]), ("b", &[12])],
        );
    let model = model(tree.build());
    let lstm = model.lstm("memory").expect("it is an LSTM now");
    let weights = lstm.weights();
    // The first gate's block was stored as 0 1 / 8 9 / 16 17, which read in order is the
    // transpose of what it means.
    let kernel = weights.fused_kernel();
    assert_eq!(
        [kernel[[0, 0]], kernel[[1, 0]], kernel[[2, 0]]],
        [0.0, 1.0, 8.0]
    );
    assert_eq!(
        [kernel[[0, 1]], kernel[[1, 1]], kernel[[2, 1]]],
        [9.0, 16.0, 17.0]
    );
    let recurrent = weights.fused_recurrent_kernel();
    assert_eq!([recurrent[[0, 1]], recurrent[[1, 0]]], [1008.0, 1001.0]);
    // 2000 + 2008
    assert_eq!(weights.fused_bias().expect("it has a bias")[0], 4008.0);
    let gru = model.gru("gru").expect("it is a GRU now");
    assert!(gru.reset_after());
    assert_eq!(
        gru.weights().fused_bias().expect("it has a bias")[[1, 0]],
        2006.0
    );
}

/// The words and the arrays of Keras 1.2.2.
#[test]
fn keras_1() {
    let config = r#"{"class_name": "Sequential", "config": [
        {"class_name": "LSTM", "config": {"name": "memory", "output_dim": 2,
            "batch_input_shape": [null, 5, 3], "inner_activation": "hard_sigmoid",
            "activation": "tanh", "return_sequences": true, "dropout_W": 0.1}},
        {"class_name": "Convolution1D", "config": {"name": "conv", "nb_filter": 2,
            "filter_length": 3, "border_mode": "same", "subsample_length": 1, "bias": true}},
        {"class_name": "Dropout", "config": {"name": "drop", "p": 0.5}},
        {"class_name": "TimeDistributedDense", "config": {"name": "td", "output_dim": 1, "bias": true}}]}"#;
    let mut gates: Vec<(String, &[u64])> = Vec::new();
    for gate in "icfo".chars() {
        gates.push((format!("memory_W_{gate}"), &[3, 2]));
        gates.push((format!("memory_U_{gate}"), &[2, 2]));
        gates.push((format!("memory_b_{gate}"), &[2]));
    }
    let gates: Vec<(&str, &[u64])> = gates.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    let tree = Tree::new()
        .texts(
            "model_weights",
            "layer_names",
            &["memory", "conv", "drop", "td"],
        )
        .legacy("model_weights", "memory", &gates)
        .legacy(
            "model_weights",
            "conv",
            &[("conv_W", &[3, 1, 2, 2]), ("conv_b", &[2])],
        )
        .group("model_weights/drop")
        .legacy("model_weights", "td", &[("td_W", &[2, 1]), ("td_b", &[1])]);
    let model = model(tree.clone().text("", "model_config", config).build());
    assert!(
        model
            .layers()
            .iter()
            .all(|layer| layer.parameters.is_some())
    );
    let lstm = model.lstm("memory").expect("the LSTM is there");
    let kernel = lstm.weights().fused_kernel();
    // i, then f (the third in the file), then c (the second), then o.
    let firsts = [0, 2, 4, 6].map(|column| kernel[[0, column]]);
    assert_eq!(firsts, [0.0, 6000.0, 3000.0, 9000.0]);
    assert_eq!(
        lstm.recurrent_activation(),
        ifco_cell::Activation::HardSigmoidKeras2
    );

    let mut alone = Tree::new().texts("", "layer_names", &["memory"]);
    alone = alone.legacy("", "memory", &gates);
    let alone = only_weights(alone.build());
    assert_eq!(paths(&alone), ["memory"]);
    assert_eq!(alone.cells()[0].1.units(), 2);
}

#[test]
fn cells_are_named_as_in_the_model() {
    let lstm: [&[u64]; 3] = [&[3, 8], &[2, 8], &[8]];
    let gru: [&[u64]; 3] = [&[2, 6], &[2, 6], &[2, 6]];
    let named = |prefix: &str, shapes: &[&'static [u64]]| -> Vec<(String, &'static [u64])> {
        let names = ["kernel:0", "recurrent_kernel:0", "bias:0"];
        names
            .iter()
            .zip(shapes)
            .map(|(n, s)| (format!("{prefix}/{n}"), *s))
            .collect()
    };
    let mut tree = Tree::new().texts("", "layer_names", &["bi", "stack", "inner", "dense"]);
    let layers = [
        (
            "bi",
            [
                named("bi/forward_lstm/lstm_cell", &lstm),
                named("bi/backward_lstm/lstm_cell_1", &lstm),
            ],
        ),
        (
            "stack",
            [
                named("stack/stacked_rnn_cells/lstm_cell", &lstm),
                named("stack/stacked_rnn_cells/gru_cell", &gru),
            ],
        ),
        (
            "inner",
            [named("gru/gru_cell", &gru), named("lstm_9", &lstm)],
        ),
        // The shapes of a SimpleRNN, but not its names.
        (
            "dense",
            [
                vec![("a/w:0".into(), &[3, 2]), ("a/u:0".into(), &[2, 2])],
                vec![],
            ],
        ),
    ];
    for (layer, runs) in &layers {
        let arrays: Vec<(&str, &[u64])> = runs
            .iter()
            .flatten()
            .map(|(name, shape)| (name.as_str(), *shape))
            .collect();
        tree = tree.legacy("", layer, &arrays);
    }
    assert_eq!(
        paths(&only_weights(tree.build())),
        [
            "bi/forward",
            "bi/backward",
            "stack/0",
            "stack/1",
            "inner/gru",
            "inner/lstm_9"
        ]
    );
}
