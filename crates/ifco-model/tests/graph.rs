//! The layer graph: what Keras may write, and what a hostile file may.

use ifco_model::{Generation, Model, ModelError};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

fn input(name: &str, shape: &[Option<usize>]) -> Value {
    json!({"class_name": "InputLayer", "config": {"name": name, "batch_shape": shape},
           "name": name, "inbound_nodes": []})
}

/// A layer that takes the first output of others, in Keras 2's words.
fn layer(class: &str, name: &str, takes: &[(&str, usize)], config: Value) -> Value {
    let mut config = config;
    config["name"] = json!(name);
    let node: Vec<Value> = takes
        .iter()
        .map(|(from, node)| json!([from, node, 0, {}]))
        .collect();
    json!({"class_name": class, "config": config, "name": name, "inbound_nodes": [node]})
}

fn functional(layers: &[Value], input: &str, output: &str) -> Value {
    json!({"class_name": "Functional", "config": {"name": "m", "layers": layers,
           "input_layers": [[input, 0, 0]], "output_layers": [[output, 0, 0]]}})
}

fn open(json: &Value) -> Result<Model, ModelError> {
    Model::from_config(json, Generation::Keras2)
}

fn message(json: &Value) -> String {
    open(json)
        .map(|_| ())
        .expect_err("the graph must be refused")
        .to_string()
}

#[test]
fn a_cycle_is_refused() {
    let json = functional(
        &[
            input("x", &[None, Some(3)]),
            layer("Dropout", "a", &[("b", 0)], json!({"rate": 0.1})),
            layer("Dropout", "b", &[("a", 0)], json!({"rate": 0.1})),
        ],
        "x",
        "b",
    );
    assert!(message(&json).contains("cycle"), "{}", message(&json));
}

#[test]
fn a_reference_to_nothing_is_named() {
    let missing = functional(
        &[
            input("x", &[None, Some(3)]),
            layer("Dropout", "a", &[("ghost", 0)], json!({})),
        ],
        "x",
        "a",
    );
    assert!(message(&missing).contains("\"ghost\""));
    let beyond = functional(
        &[
            input("x", &[None, Some(3)]),
            layer("Dropout", "a", &[("x", 7)], json!({})),
        ],
        "x",
        "a",
    );
    assert!(
        message(&beyond).contains("called 1 times"),
        "{}",
        message(&beyond)
    );
}

#[test]
fn two_layers_of_one_name_are_refused() {
    let json = functional(
        &[
            input("x", &[None, Some(3)]),
            layer("Dropout", "a", &[("x", 0)], json!({})),
            layer("Dropout", "a", &[("x", 0)], json!({})),
        ],
        "x",
        "a",
    );
    assert!(message(&json).contains("two layers are named \"a\""));
}

#[test]
fn a_layer_that_takes_nothing_is_refused() {
    let json = functional(
        &[
            input("x", &[None, Some(3)]),
            json!({"class_name": "Dropout", "config": {"name": "a"}, "name": "a",
                   "inbound_nodes": []}),
        ],
        "x",
        "a",
    );
    assert!(message(&json).contains("takes nothing"));
}

#[test]
fn what_is_no_model_is_refused() {
    for json in [
        json!(null),
        json!([]),
        json!({}),
        json!({"class_name": "Sequential"}),
        json!({"class_name": "Sequential", "config": {"layers": []}}),
        json!({"class_name": "Sequential", "config": {"layers": [1, 2]}}),
        json!({"class_name": "Functional", "config": {"layers": [{}]}}),
        json!({"class_name": "MyModel", "config": {}}),
    ] {
        assert!(open(&json).is_err(), "{json}");
    }
}

#[test]
fn a_long_chain_does_not_exhaust_the_stack() {
    let mut layers = vec![input("l0", &[None, Some(1)])];
    for index in 1..50_000 {
        let before = format!("l{}", index - 1);
        layers.push(layer(
            "Dropout",
            &format!("l{index}"),
            &[(&before, 0)],
            json!({}),
        ));
    }
    let model = open(&functional(&layers, "l0", "l49999")).expect("a chain is valid");
    let x = ArrayD::from_elem(IxDyn(&[2, 1]), 0.5);
    assert_eq!(model.predict(&x).expect("it runs"), x);
}

#[test]
fn a_shared_layer_has_one_node_per_call() {
    let twice = json!({"class_name": "Dropout", "config": {"name": "d"}, "name": "d",
                       "inbound_nodes": [[["x", 0, 0, {}]], [["d", 0, 0, {}]]]});
    let json = json!({"class_name": "Functional", "config": {"name": "m",
        "layers": [input("x", &[None, Some(3)]), twice],
        "input_layers": [["x", 0, 0]], "output_layers": [["d", 1, 0]]}});
    let model = open(&json).expect("shared layers are valid");
    assert_eq!(model.outputs()[0].shape, Some(vec![None, Some(3)]));
}

#[test]
fn an_unknown_layer_stops_predict_but_not_the_rest() {
    let json = functional(
        &[
            input("x", &[None, Some(3)]),
            layer("Mystery", "m1", &[("x", 0)], json!({})),
        ],
        "x",
        "m1",
    );
    let model = open(&json).expect("it can be shown");
    assert_eq!(model.layers().len(), 2);
    let error = model
        .predict(&ArrayD::zeros(IxDyn(&[1, 3])))
        .expect_err("it cannot be run");
    let text = error.to_string();
    assert!(
        text.contains("\"m1\"") && text.contains("Mystery"),
        "{text}"
    );
    assert!(error.help().is_some_and(|help| help.contains("LSTM")));
}

#[test]
fn inputs_are_checked_and_ranks_adjusted_as_keras_does() {
    let json = functional(
        &[
            input("x", &[None, Some(4), Some(1)]),
            layer("Dropout", "d", &[("x", 0)], json!({})),
        ],
        "x",
        "d",
    );
    let model = open(&json).expect("valid");
    let y = model
        .predict(&ArrayD::zeros(IxDyn(&[2, 4])))
        .expect("an axis of 1 is added");
    assert_eq!(y.shape(), [2, 4, 1]);
    for wrong in [&[2, 5, 1][..], &[2, 4, 2], &[2], &[0, 4, 1], &[]] {
        assert!(
            model.predict(&ArrayD::zeros(IxDyn(wrong))).is_err(),
            "{wrong:?}"
        );
    }
    let text = model
        .predict(&ArrayD::zeros(IxDyn(&[2, 5, 1])))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("(None, 4, 1)") && text.contains("[2, 5, 1]"),
        "{text}"
    );
}

#[test]
fn operations_of_keras_3_are_nodes() {
    let tensor = |name: &str| {
        json!({"class_name": "__keras_tensor__",
        "config": {"shape": [null, 2, 3], "dtype": "float32", "keras_history": [name, 0, 0]}})
    };
    let op = |class: &str, name: &str, args: Value, config: Value| {
        let mut config = config;
        config["name"] = json!(name);
        json!({"module": "keras.src.ops.numpy", "class_name": class, "config": config,
               "name": name, "inbound_nodes": [{"args": args, "kwargs": {}}]})
    };
    let whole = json!({"class_name": "__slice__",
                       "config": {"start": null, "stop": null, "step": null}});
    let json = json!({"class_name": "Functional", "config": {"name": "m",
        "layers": [
            input("x", &[None, Some(2), Some(3)]),
            op("Subtract", "s", json!([1, tensor("x")]), json!({})),
            op("GetItem", "g", json!([tensor("s"), [whole, -1]]), json!({})),
            op("Sum", "t", json!([tensor("g")]), json!({"axis": -1, "keepdims": true})),
        ],
        "input_layers": ["x", 0, 0], "output_layers": {"y": ["t", 0, 0]}}});
    let model = Model::from_config(&json, Generation::Keras3).expect("valid");
    let x = ArrayD::from_shape_fn(IxDyn(&[1, 2, 3]), |i| (i[1] * 3 + i[2]) as f32);
    // 1 - [3, 4, 5] is [-2, -3, -4]
    assert_eq!(
        model.predict(&x).expect("it runs").as_slice(),
        Some(&[-9.0f32][..])
    );
    assert_eq!(model.outputs()[0].shape, Some(vec![None, Some(1)]));
}
