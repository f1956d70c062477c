//! ONNX files that are damaged, or made to do harm: an error that says what and where, in
//! little time and memory.

use ifco_files::{FileError, Limits, OpenOptions, Opened, in_keras_layers, open, open_bytes};

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(content.len() as u64),
        content.to_vec(),
    ]
    .concat()
}

/// A `TensorProto` of these sizes, type and rest.
fn tensor(name: &str, dims: &[i64], data_type: i64, rest: &[u8]) -> Vec<u8> {
    let dims = dims.iter().flat_map(|size| number(1, *size));
    let mut tensor: Vec<u8> = dims.collect();
    tensor.extend(number(2, data_type));
    tensor.extend(bytes(8, name.as_bytes()));
    tensor.extend(rest);
    tensor
}

fn floats(values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes(9, &raw)
}

fn integers(values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes(9, &raw)
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let mut node = Vec::new();
    inputs
        .iter()
        .for_each(|name| node.extend(bytes(1, name.as_bytes())));
    outputs
        .iter()
        .for_each(|name| node.extend(bytes(2, name.as_bytes())));
    node.extend(bytes(4, op.as_bytes()));
    node
}

/// A float tensor of two axes that are not known.
fn value_info(name: &str) -> Vec<u8> {
    let shape = [bytes(1, b""), bytes(1, b"")].concat();
    let kind = bytes(1, &[number(1, 1), bytes(2, &shape)].concat());
    [bytes(1, name.as_bytes()), bytes(2, &kind)].concat()
}

/// A model of these nodes and initializers, of input x and output y.
fn model(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
    graph.extend(bytes(2, b"g"));
    graph.extend(initializers.iter().flat_map(|tensor| bytes(5, tensor)));
    graph.extend(bytes(11, &value_info("x")));
    graph.extend(bytes(12, &value_info("y")));
    [
        number(1, 8),
        bytes(7, &graph),
        bytes(8, &[bytes(1, b""), number(2, 17)].concat()),
    ]
    .concat()
}

fn message(content: Vec<u8>) -> String {
    let error = open_bytes(content, "bad.onnx").expect_err("the file is bad");
    let text = error.to_string();
    assert!(text.starts_with("bad.onnx: "), "{text}");
    text
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../fixtures/onnx/{name}.onnx",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).expect("the fixture is there")
}

#[test]
fn the_helpers_make_a_model_that_opens() {
    let whole = model(
        &[node("MatMul", &["x", "w"], &["y"])],
        &[tensor("w", &[2, 1], 1, &floats(&[1.0, 10.0]))],
    );
    assert!(open_bytes(whole, "good.onnx").is_ok());
}

/// Of loops that are cells, whose steps are looked into, and of what Keras's layers are made of them.
#[test]
fn a_loop_with_a_byte_changed() {
    for name in [
        "keras_loop_gru_reset_before",
        "keras_loop_stacked",
        "control_scan",
    ] {
        let whole = fixture(name);
        for at in (0..whole.len()).step_by(61) {
            for change in [0x01, 0x80] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                if let Ok(Opened::Model(graph)) = open_bytes(changed, "changed.onnx") {
                    let _ = in_keras_layers(&graph);
                }
            }
        }
    }
}

#[test]
fn truncated_anywhere_or_with_a_byte_changed() {
    for name in [
        "lstm_bidirectional_lens",
        "torch_attention_dynamo",
        "torch_words",
    ] {
        let whole = fixture(name);
        for end in (0..whole.len()).step_by(7) {
            message(whole[..end].to_vec());
        }
        // Some changes are to numbers or names that nothing needs: no panic is all there is.
        for at in (0..whole.len()).step_by(3) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let _ = open_bytes(changed, "changed.onnx");
            }
        }
    }
}

#[test]
fn lengths_and_sizes_that_lie() {
    let one = |tensor: Vec<u8>| message(model(&[node("Add", &["x", "w"], &["y"])], &[tensor]));
    let text = one(tensor("w", &[3], 1, &floats(&[1.0])));
    assert!(
        text.contains("tensor \"w\"") && text.contains("means 12 bytes, but there are 4"),
        "{text}"
    );
    let text = one(tensor("w", &[i64::MAX, i64::MAX], 1, &floats(&[1.0])));
    assert!(text.contains("more numbers than there can be"), "{text}");
    let text = one(tensor("w", &[1 << 40], 1, &floats(&[1.0])));
    assert!(text.contains("but there are 4"), "{text}");
    let text = one(tensor("w", &[-1], 1, &floats(&[1.0])));
    assert!(text.contains("a size of -1"), "{text}");
    let text = one(tensor("w", &[1], 8, &floats(&[1.0])));
    assert!(
        text.contains("holds no numbers, but ONNX's type 8"),
        "{text}"
    );
    let text = one(tensor("w", &[1; 100], 1, &floats(&[1.0])));
    assert!(text.contains("100 axes"), "{text}");
}

#[test]
fn cycles_and_names_that_are_not_there() {
    let cycle = model(
        &[
            node("Add", &["x", "b"], &["a"]),
            node("Tanh", &["a"], &["b"]),
        ],
        &[],
    );
    let text = message(cycle);
    assert!(
        text.contains("takes \"b\"") && text.contains("cycle"),
        "{text}"
    );
    let text = message(model(&[node("Tanh", &["x"], &["z"])], &[]));
    assert!(text.contains("output \"y\": no node makes it"), "{text}");
    let twice = model(
        &[node("Tanh", &["x"], &["y"]), node("Relu", &["x"], &["y"])],
        &[],
    );
    let text = message(twice);
    assert!(
        text.contains("makes \"y\", which is there already"),
        "{text}"
    );
}

#[test]
fn what_would_grow_beyond_the_limits() {
    // Ones that become 2⁴⁰ numbers at once.
    let expand = model(
        &[
            node("Expand", &["one", "shape"], &["big"]),
            node("Add", &["x", "big"], &["y"]),
        ],
        &[
            tensor("one", &[1], 1, &floats(&[1.0])),
            tensor("shape", &[2], 7, &integers(&[1 << 20, 1 << 20])),
        ],
    );
    let text = message(expand);
    assert!(text.contains("more elements than the limit"), "{text}");
    // Each twice as large as the one before.
    let names: Vec<String> = (0..40).map(|index| format!("c{index}")).collect();
    let mut nodes: Vec<_> = names
        .windows(2)
        .map(|pair| node("Concat", &[&pair[0], &pair[0]], &[&pair[1]]))
        .collect();
    nodes.push(node("Add", &["x", "c39"], &["y"]));
    let text = message(model(&nodes, &[tensor("c0", &[1], 1, &floats(&[1.0]))]));
    assert!(text.contains("more elements than the limit"), "{text}");
    // More nodes than may be.
    let mut limits = Limits::default();
    limits.objects = 3;
    let nodes = vec![node("Tanh", &["x"], &["y"]); 4];
    let error = OpenOptions::new()
        .limits(limits)
        .open_bytes(model(&nodes, &[]), "many.onnx")
        .expect_err("4 nodes of at most 3");
    assert!(
        matches!(
            error,
            FileError::Limit {
                field: "objects",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn graphs_in_graphs_are_followed_a_few_deep() {
    // 1000 loops in each other: ifco follows a few.
    let mut looped = node("Loop", &[""], &["y"]);
    for _ in 0..1000 {
        let body = [bytes(1, b"body"), bytes(6, &bytes(1, &looped))].concat();
        looped = node("Loop", &[""], &["y"]);
        looped.extend(bytes(5, &body));
    }
    let error = open_bytes(model(&[looped], &[]), "loop.onnx").expect_err("it is too deep");
    assert!(
        matches!(error, FileError::Limit { field: "depth", .. }),
        "{error}"
    );
}

#[test]
fn weights_outside_the_folder_are_refused() {
    let external = |location: &str, rest: &[(&str, &str)]| {
        let entry = |key: &str, value: &str| {
            bytes(
                13,
                &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat(),
            )
        };
        let mut all = entry("location", location);
        rest.iter()
            .for_each(|(key, value)| all.extend(entry(key, value)));
        all.extend(number(14, 1));
        model(
            &[node("Add", &["x", "w"], &["y"])],
            &[tensor("w", &[2], 1, &all)],
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside).expect("a folder in it");
    std::fs::write(folder.path().join("secret"), [0; 8]).expect("it is written");
    std::fs::write(inside.join("weights"), [0; 12]).expect("it is written");
    let path = inside.join("m.onnx");
    let try_open = |content: Vec<u8>| {
        std::fs::write(&path, content).expect("it is written");
        open(&path).map_err(|error| error.to_string())
    };
    assert!(try_open(external("weights", &[("offset", "4"), ("length", "8")])).is_ok());
    assert!(try_open(external("./weights", &[("offset", "4")])).is_ok());
    let absolute = folder.path().join("secret");
    for location in ["../secret", "a/../../secret", &absolute.to_string_lossy()] {
        let text = try_open(external(location, &[])).expect_err("it is outside");
        assert!(text.contains("not in the model's folder"), "{text}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, inside.join("link")).expect("it is made");
        let text = try_open(external("link", &[])).expect_err("it leads outside");
        assert!(text.contains("not in the model's folder"), "{text}");
    }
    for (rest, word) in [
        (&[("offset", "8"), ("length", "8")][..], "which has 12"),
        (&[("offset", "18446744073709551615")][..], "which has 12"),
        (&[("offset", "one")][..], "expected a number"),
        (&[("length", "4")][..], "means 8 bytes, but there are 4"),
    ] {
        let text = try_open(external("weights", rest)).expect_err("it lies");
        assert!(text.contains(word), "{text}");
    }
    let text = message(external("weights", &[]));
    assert!(text.contains("lies in another file, \"weights\""), "{text}");
}
