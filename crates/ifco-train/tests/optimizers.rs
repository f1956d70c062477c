//! Optimizers and learning rates against 200 steps of Keras 3's (`golden/make_optimizers.py`).

mod common;

use common::{array, assert_close, cases, draw, number, numbers};
use ifco_train::{
    Constraint, LearningRate, Optimizer, OptimizerKind, Parameter, Schedule, StateValue, TrainError,
};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

const PARAMETERS: [(&str, &[usize]); 2] = [("dense/kernel", &[2, 3]), ("dense/bias", &[3])];
const SHOWN: [usize; 5] = [1, 2, 10, 50, 200];

struct Training {
    optimizer: Optimizer,
    values: Vec<ArrayD<f32>>,
    constraints: Vec<Option<Constraint>>,
}

impl Training {
    fn of(case: &Value) -> Self {
        let mut optimizer = Optimizer::from_keras(&case["optimizer"]).expect("one of Keras's");
        optimizer.build(&PARAMETERS);
        let constraint = |k: usize| match &case["constraints"][k] {
            Value::Null => None,
            written => Some(Constraint::from_keras(written).expect("one of Keras's")),
        };
        let each = PARAMETERS.iter().enumerate();
        Self {
            values: each.map(|(k, (_, shape))| draw(0, k, shape)).collect(),
            constraints: vec![constraint(0), constraint(1)],
            optimizer,
        }
    }

    fn step(&mut self, step: usize) {
        let size = if step <= 20 { 2.0 } else { 0.25 };
        let gradients: Vec<ArrayD<f32>> = PARAMETERS
            .iter()
            .enumerate()
            .map(|(k, (_, shape))| draw(step, k, shape) * size)
            .collect();
        let each = self
            .values
            .iter_mut()
            .zip(&gradients)
            .zip(&self.constraints);
        let mut parameters: Vec<Parameter<'_>> = each
            .map(|((values, gradient), constraint)| Parameter {
                constraint: constraint.as_ref(),
                ..Parameter::new(values.view_mut(), gradient.view())
            })
            .collect();
        self.optimizer
            .apply(&mut parameters)
            .expect("parameters that fit");
    }

    fn assert_values(&self, what: &str, expected: &Value) {
        for (k, found) in self.values.iter().enumerate() {
            let expected = array(&expected[k]);
            let lists = [found, &expected].map(|a| a.iter().copied().collect::<Vec<f32>>());
            assert_close(
                &format!("{what}, parameter {k}"),
                &lists[0],
                &lists[1],
                1e-6,
            );
        }
    }
}

fn name(case: &Value) -> String {
    format!("{} {}", case["optimizer"]["class_name"], case["about"])
}

#[test]
fn two_hundred_steps_are_keras_s() {
    for case in cases("optimizers.json") {
        let what = name(&case);
        let mut training = Training::of(&case);
        for step in 1..=200 {
            training.step(step);
            if let Some(shown) = SHOWN.iter().position(|shown| *shown == step) {
                training.assert_values(&format!("{what}, step {step}"), &case["shown"][shown]);
            }
        }
        let variables = training.optimizer.variables();
        let names: Vec<&str> = variables.iter().map(|v| v.name.as_str()).collect();
        let expected = case["names"].as_array().expect("names").iter();
        let expected: Vec<&str> = expected.map(|n| n.as_str().expect("a name")).collect();
        // Nadam's product and the optimizers themselves are numbered by Keras as they are made.
        let plain = |names: &[&str]| -> Vec<String> {
            let last = |name: &&str| name.rsplit('/').next().unwrap_or(name).to_owned();
            let numbered = |name: String| {
                name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_')
                    .to_owned()
            };
            names.iter().map(last).map(numbered).collect()
        };
        assert_eq!(plain(&names), plain(&expected), "{what}");
        for (variable, expected) in variables
            .iter()
            .zip(case["variables"].as_array().expect("some"))
        {
            match &variable.value {
                StateValue::Count(count) => assert_eq!(expected, count, "{what}"),
                StateValue::Numbers(found) => {
                    let expected = array(expected);
                    assert_eq!(found.shape(), expected.shape(), "{what} {}", variable.name);
                    let lists = [found, &expected].map(|a| a.iter().copied().collect::<Vec<_>>());
                    let what = format!("{what} {}", variable.name);
                    assert_close(&what, &lists[0], &lists[1], 1e-6);
                }
            }
        }
        if !case["final"].is_null() {
            let mut parameters: Vec<Parameter<'_>> = Vec::new();
            let gradients = training.values.clone();
            for (values, gradient) in training.values.iter_mut().zip(&gradients) {
                parameters.push(Parameter::new(values.view_mut(), gradient.view()));
            }
            training
                .optimizer
                .finalize(&mut parameters)
                .expect("the same parameters");
            training.assert_values(&format!("{what}, averaged"), &case["final"]);
        }
    }
}

#[test]
fn a_state_taken_out_and_in_goes_on_bit_for_bit() {
    for case in cases("optimizers.json") {
        let mut whole = Training::of(&case);
        (1..=37).for_each(|step| whole.step(step));
        let values = whole.optimizer.variables().into_iter().map(|v| v.value);
        let mut resumed = Training::of(&case);
        resumed.values = whole.values.clone();
        resumed
            .optimizer
            .set_variables(&values.collect::<Vec<_>>())
            .expect("its own");
        (38..=60).for_each(|step| whole.step(step));
        (38..=60).for_each(|step| resumed.step(step));
        assert_eq!(whole.values, resumed.values, "{}", name(&case));
        assert_eq!(whole.optimizer, resumed.optimizer, "{}", name(&case));
    }
}

#[test]
fn configurations_come_back_as_they_were() {
    for case in cases("optimizers.json") {
        let optimizer = Optimizer::from_keras(&case["optimizer"]).expect("one of Keras's");
        assert_eq!(optimizer.to_keras(), case["optimizer"]);
    }
    for case in cases("schedules.json") {
        let schedule = Schedule::from_keras(&case["schedule"]).expect("one of Keras's");
        assert_eq!(schedule.to_keras(), case["schedule"]);
    }
}

#[test]
fn learning_rates_are_keras_s() {
    for case in cases("schedules.json") {
        let schedule = Schedule::from_keras(&case["schedule"]).expect("one of Keras's");
        let rates = numbers(&case["rates"]);
        for (step, expected) in case["steps"].as_array().expect("steps").iter().zip(rates) {
            let step = number(step) as i64;
            let what = format!("{} at {step}", case["schedule"]);
            assert_close(&what, &[schedule.rate(step)], &[expected], 1e-6);
        }
    }
}

#[test]
fn keras_2_and_names_alone() {
    let optimizer = Optimizer::from_keras(&"adam".into()).expect("Adam");
    assert_eq!(optimizer.learning_rate(), 0.001);
    let old = json!({"class_name": "Custom>SGD", "config": {
        "name": "SGD", "lr": 0.5, "decay": 0.0, "momentum": 0.0, "is_legacy_optimizer": true,
    }});
    let optimizer = Optimizer::from_keras(&old).expect("Keras 2's SGD");
    assert_eq!(optimizer.options.learning_rate, LearningRate::Constant(0.5));
    assert_eq!(
        Optimizer::from_keras(&"adamw".into())
            .expect("AdamW")
            .options
            .weight_decay,
        Some(0.004)
    );
}

#[test]
fn errors_name_what_is_wrong() {
    for (config, what) in [
        (json!({"clipnorm": 1.0, "clipvalue": 1.0}), "clipvalue"),
        (json!({"learning_rate": "fast"}), "learning_rate"),
        (
            json!({"gradient_accumulation_steps": 1}),
            "gradient_accumulation_steps",
        ),
        (json!({"momentum": 2.0}), "momentum"),
        (json!({"use_ema": true, "ema_momentum": 7}), "ema_momentum"),
        (
            json!({"learning_rate": {"class_name": "OneCycle", "config": {}}}),
            "OneCycle",
        ),
    ] {
        let error = Optimizer::from_keras(&json!({"class_name": "SGD", "config": config}));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let error = Optimizer::from_keras(&"sdg".into()).unwrap_err();
    assert!(matches!(&error, TrainError::Unknown { known, .. } if known.contains("SGD")));

    let mut optimizer = Optimizer::new(OptimizerKind::Lion {
        beta_1: 0.9,
        beta_2: 0.99,
    });
    let mut w = ArrayD::<f32>::zeros(IxDyn(&[2]));
    let g = ArrayD::zeros(IxDyn(&[2]));
    let mut apply = |optimizer: &mut Optimizer, g: &ArrayD<f32>| {
        optimizer.apply(&mut [Parameter::new(w.view_mut(), g.view())])
    };
    let error = apply(&mut optimizer, &g).unwrap_err();
    assert!(error.to_string().contains("build"), "{error}");
    optimizer.build(&[("w", [2])]);
    assert_eq!(apply(&mut optimizer, &g), Ok(()));
    let error = apply(&mut optimizer, &ArrayD::zeros(IxDyn(&[3]))).unwrap_err();
    assert!(matches!(error, TrainError::Shape { .. }), "{error}");

    let mut values: Vec<StateValue> = optimizer.variables().into_iter().map(|v| v.value).collect();
    let before = optimizer.clone();
    let last = values.pop().expect("a momentum");
    let error = optimizer.set_variables(&values).unwrap_err();
    assert!(
        matches!(error, TrainError::State { index: 2, .. }),
        "{error}"
    );
    values.push(StateValue::Numbers(ArrayD::zeros(IxDyn(&[5]))));
    values[0] = StateValue::Count(99);
    let error = optimizer.set_variables(&values).unwrap_err();
    assert!(error.to_string().contains("[5]"), "{error}");
    values[2] = last;
    values.push(StateValue::Count(1));
    assert!(optimizer.set_variables(&values).is_err());
    assert_eq!(optimizer, before, "a refused state changes nothing");
}
