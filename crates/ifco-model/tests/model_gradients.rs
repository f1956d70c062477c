//! The gradients of whole models against finite differences: shared layers, several inputs and
//! outputs, masks, models inside models, frozen layers.

use ifco_model::{Generation, Model, Tensor, Training};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

/// Numbers that look drawn, and are the same each time.
fn numbers(shape: &[usize], from: u32, scale: f32) -> ArrayD<f32> {
    let mut at = from;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((at >> 16) as f32 / 32_768.0 - 1.0) * scale
    })
}

fn tensor(layer: &str, node: usize, index: usize) -> Value {
    json!({"class_name": "__keras_tensor__", "config": {
        "shape": [null], "dtype": "float32", "keras_history": [layer, node, index],
    }})
}

fn node(tensors: Vec<Value>) -> Value {
    let first = match tensors.len() {
        1 => tensors[0].clone(),
        _ => json!(tensors),
    };
    json!({"args": [first], "kwargs": {}})
}

fn layer(class: &str, name: &str, mut config: Value, nodes: Vec<Value>) -> Value {
    config["name"] = json!(name);
    json!({"class_name": class, "name": name, "config": config, "inbound_nodes": nodes})
}

/// Words and a series; both go through one LSTM, and the words' states start the other's decoder.
fn functional() -> Value {
    let inner = json!({"name": "inner", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [null, 3]}},
        {"class_name": "Dense", "config": {"name": "a", "units": 3, "activation": "tanh"}},
        {"class_name": "Dense", "config": {"name": "b", "units": 2, "trainable": false}},
    ]});
    json!({"class_name": "Functional", "config": {"name": "all", "layers": [
        layer("InputLayer", "words", json!({"batch_shape": [null, 4]}), vec![]),
        layer("InputLayer", "series", json!({"batch_shape": [null, 5, 2]}), vec![]),
        layer(
            "Embedding",
            "embedding",
            json!({"input_dim": 5, "output_dim": 2, "mask_zero": true}),
            vec![node(vec![tensor("words", 0, 0)])],
        ),
        layer(
            "LSTM",
            "shared",
            json!({"units": 3, "return_state": true}),
            vec![
                node(vec![tensor("embedding", 0, 0)]),
                node(vec![tensor("series", 0, 0)]),
            ],
        ),
        layer(
            "LSTM",
            "decoder",
            json!({"units": 3, "return_sequences": true}),
            vec![json!({"args": [tensor("series", 0, 0)], "kwargs": {
                "initial_state": [tensor("shared", 0, 1), tensor("shared", 0, 2)],
            }})],
        ),
        layer(
            "Add",
            "sum",
            json!({}),
            vec![node(vec![tensor("shared", 0, 0), tensor("shared", 1, 0)])],
        ),
        json!({
            "class_name": "Sequential", "name": "inner", "config": inner,
            "inbound_nodes": [node(vec![tensor("sum", 0, 0)])],
        }),
        layer(
            "TimeDistributed",
            "each",
            json!({"layer": {"class_name": "Dense", "config": {"name": "d", "units": 2}}}),
            vec![node(vec![tensor("decoder", 0, 0)])],
        ),
        layer("Dropout", "dropout", json!({"rate": 0.4}), vec![node(vec![tensor("each", 0, 0)])]),
    ],
    "input_layers": [["words", 0, 0], ["series", 0, 0]],
    "output_layers": [["inner", 0, 0], ["dropout", 0, 0]]}})
}

fn made(config: &Value) -> Model {
    let mut model = Model::from_config(config, Generation::Keras3).expect("a model");
    let shapes: [&[usize]; 13] = [
        &[5, 2],
        &[2, 12],
        &[3, 12],
        &[12],
        &[2, 12],
        &[3, 12],
        &[12],
        &[3, 3],
        &[3],
        &[3, 2],
        &[2],
        &[3, 2],
        &[2],
    ];
    let weights = (1..)
        .zip(shapes)
        .map(|(from, shape)| numbers(shape, from, 0.7));
    model.set_weights(weights.collect()).expect("they fit");
    model
}

fn inputs() -> Vec<Tensor> {
    let words = ndarray::array![[1.0, 0.0, 3.0, 0.0], [4.0, 1.0, 1.0, 2.0]];
    vec![
        Tensor::new(words.into_dyn()),
        Tensor::new(numbers(&[2, 5, 2], 50, 1.0)),
    ]
}

/// Σ output·factor, and the factors.
fn loss(outputs: &[Tensor]) -> (f64, Vec<ArrayD<f32>>) {
    let factors: Vec<ArrayD<f32>> = (70..)
        .zip(outputs)
        .map(|(from, output)| numbers(output.shape(), from, 1.0))
        .collect();
    let products = outputs.iter().zip(&factors).flat_map(|(output, factors)| {
        let each = output.data.iter().zip(factors);
        each.map(|(y, factor)| f64::from(y * factor))
    });
    (products.sum(), factors)
}

fn loss_of(model: &Model, inputs: &[Tensor], training: &Training) -> f64 {
    let run = model.forward_for_training(inputs, &mut training.clone());
    loss(&run.expect("it runs").0).0
}

#[test]
fn a_models_gradients_agree_with_finite_differences() {
    for training in [Training::inference(), Training::new(3).with_inputs(true)] {
        let model = &mut made(&functional());
        let inputs = inputs();
        let (_, found) = model
            .gradients(&inputs, &mut training.clone(), |outputs| {
                let factors = loss(outputs).1;
                factors
                    .into_iter()
                    .map(|factors| Some(factors.into()))
                    .collect()
            })
            .expect("gradients");
        let close = |what: &str, found: f32, up: f64, down: f64| {
            let expected = (up - down) / 0.02;
            let off = (f64::from(found) - expected).abs();
            assert!(
                off < 0.01 * expected.abs().max(1.0),
                "{what}: {found}, {expected}"
            );
        };
        let slots = model.weight_slots();
        let before = model.weights().expect("weights");
        for (index, slot) in slots.iter().enumerate() {
            if !slot.trainable {
                assert_eq!(found.weights[index], None, "{} is frozen", slot.group);
                continue;
            }
            let gradient = found.weights[index]
                .clone()
                .expect("all are used")
                .into_dense();
            assert_eq!(gradient.shape(), before[index].shape());
            for (at, gradient) in gradient.iter().enumerate() {
                let mut moved = |by: f32| {
                    let mut weights = before.clone();
                    *weights[index].iter_mut().nth(at).unwrap() += by;
                    model.set_weights(weights).unwrap();
                    loss_of(model, &inputs, &training)
                };
                let (up, down) = (moved(0.01), moved(-0.01));
                close(
                    &format!("{}/{} {at}", slot.group, slot.name),
                    *gradient,
                    up,
                    down,
                );
            }
        }
        model.set_weights(before).unwrap();
        assert!(found.inputs[0].is_none(), "an index has no gradient");
        let of_series = found.inputs[1].as_ref().expect("the series' gradient");
        for (at, gradient) in of_series.iter().enumerate() {
            let moved = |by: f32| {
                let mut inputs = inputs.clone();
                *inputs[1].data.iter_mut().nth(at).unwrap() += by;
                loss_of(model, &inputs, &training)
            };
            close(
                &format!("series {at}"),
                *gradient,
                moved(0.01),
                moved(-0.01),
            );
        }
    }
}

#[test]
fn what_nobody_asks_for_is_not_there() {
    let model = made(&functional());
    let mut training = Training::new(1);
    let (outputs, tape) = model
        .forward_for_training(&inputs(), &mut training)
        .unwrap();
    let factors = loss(&outputs).1.remove(1);
    // The loss sees the second output alone.
    let found = tape.backward(vec![None, Some(factors.into())]).unwrap();
    assert!(found.inputs.iter().all(Option::is_none));
    let slots = model.weight_slots();
    for (slot, gradient) in slots.iter().zip(&found.weights) {
        let is_of_inner = slot.group.contains("sequential");
        assert_eq!(
            gradient.is_none(),
            is_of_inner,
            "{}/{}",
            slot.group,
            slot.name
        );
    }

    let mut training = Training::inference().with_weights(false);
    let (_, tape) = model
        .forward_for_training(&inputs(), &mut training)
        .unwrap();
    let one = |output: &Tensor| Some(output.data.mapv(|_| 1.0).into_shared());
    let found = tape.backward(outputs.iter().map(one).collect()).unwrap();
    assert!(found.weights.iter().all(Option::is_none));
    assert!(found.inputs[1].is_some());
}

#[test]
fn a_gradient_of_another_shape_is_an_error() {
    let model = made(&functional());
    let mut training = Training::new(1);
    let (_, tape) = model
        .forward_for_training(&inputs(), &mut training)
        .unwrap();
    let error = tape.backward(vec![None]).unwrap_err().to_string();
    assert!(
        error.contains("[2, 2], [2, 5, 2]") && error.contains("[None]"),
        "{error}"
    );
}

#[test]
fn the_same_seed_drops_the_same() {
    let model = made(&functional());
    let run = |seed| {
        let run = model.forward_for_training(&inputs(), &mut Training::new(seed));
        run.unwrap().0.remove(1)
    };
    assert_eq!(run(8), run(8));
    assert_ne!(run(8), run(9));
    let zeros = run(8).data.iter().filter(|value| **value == 0.0).count();
    assert!(
        (2..=14).contains(&zeros),
        "{zeros} of 20 dropped at a rate of 0.4"
    );
}

#[test]
fn batch_normalization_takes_the_batch_and_remembers_it() {
    let with = |trainable: bool| {
        let json = json!({"class_name": "Sequential", "config": {"layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
            {"class_name": "BatchNormalization", "config": {
                "name": "norm", "momentum": 0.75, "epsilon": 0.0, "trainable": trainable,
            }},
        ]}});
        let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
        let one = |value: f32| ndarray::array![value].into_dyn();
        model
            .set_weights(vec![one(1.0), one(0.0), one(4.0), one(16.0)])
            .unwrap();
        model
    };
    let x = Tensor::new(ndarray::array![[1.0], [3.0]].into_dyn());
    let mut model = with(true);
    let run = model.forward_for_training(std::slice::from_ref(&x), &mut Training::new(0));
    let (outputs, tape) = run.unwrap();
    assert_eq!(outputs[0].view(), ndarray::array![[-1.0], [1.0]].into_dyn());
    let moving = tape.moving().to_vec();
    drop(tape);
    model.update_moving_averages(&moving).unwrap();
    let weights = model.weights().unwrap();
    // 4 and 16 move a quarter of the way to the batch's 2 and 1.
    assert_eq!((weights[2][[0]], weights[3][[0]]), (3.5, 12.25));

    let model = with(false);
    let run = model.forward_for_training(&[x], &mut Training::new(0));
    let (outputs, tape) = run.unwrap();
    assert_eq!(
        outputs[0].view(),
        ndarray::array![[-0.75], [-0.25]].into_dyn()
    );
    assert!(tape.moving().is_empty());
}
