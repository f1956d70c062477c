//! Steps of training: `Trainer::train_on_batch`, as Keras's.

use ifco::train::{Compile, Data, Loss, Trainer, Weighting};
use ifco::{Generation, Model};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};
use worker::{Case, Result, Run, What};

struct Training {
    case: Case,
    data: Data,
    compile: Value,
    trainer: Trainer,
    steps: u64,
}

/// The model of the case, with the weights to begin with and this activation of the last layer.
fn model(case: &Case, activation: &str) -> Result<Model> {
    let (features, units, columns) = (case.features, case.units, 4 * case.units);
    let lstm = |name: &str| {
        json!({"class_name": "LSTM", "config": {
            "name": name, "units": units, "return_sequences": true,
        }})
    };
    let array = |name: &str, shape: &[usize]| -> Result<ArrayD<f32>> {
        Ok(ArrayD::from_shape_vec(IxDyn(shape), case.array(name)?)?)
    };
    let of_lstm = |prefix: &str, features: usize| -> Result<Vec<ArrayD<f32>>> {
        Ok(vec![
            array(&format!("{prefix}kernel"), &[features, columns])?,
            array(&format!("{prefix}recurrent_kernel"), &[units, columns])?,
            array(&format!("{prefix}bias"), &[columns])?,
        ])
    };
    let (layers, weights) = match case.what {
        What::TrainModel => {
            let words = case.array("dense_bias")?.len();
            let input = json!({"name": "x", "batch_shape": [null, case.time]});
            let dense = json!({"name": "dense", "units": words, "activation": activation});
            let table = json!({"name": "table", "input_dim": words, "output_dim": features});
            let layers = vec![
                json!({"class_name": "InputLayer", "config": input}),
                json!({"class_name": "Embedding", "config": table}),
                lstm("first"),
                lstm("second"),
                json!({"class_name": "Dense", "config": dense}),
            ];
            let mut weights = vec![array("embedding", &[words, features])?];
            weights.extend(of_lstm("", features)?);
            weights.extend(of_lstm("second_", units)?);
            weights.push(array("dense_kernel", &[units, words])?);
            weights.push(array("dense_bias", &[words])?);
            (layers, weights)
        }
        _ => {
            let input = json!({"name": "x", "batch_shape": [null, case.time, features]});
            let input = json!({"class_name": "InputLayer", "config": input});
            (vec![input, lstm("lstm")], of_lstm("", features)?)
        }
    };
    let json = json!({"class_name": "Sequential", "config": {"layers": layers}});
    let mut model = Model::from_config(&json, Generation::Keras3)?;
    model.set_weights(weights)?;
    Ok(model)
}

fn data(case: &Case) -> Result<Data> {
    let (batch, time) = (case.batch, case.time);
    if case.what == What::TrainModel {
        let indices = |name: &str| -> Result<ArrayD<f32>> {
            let indices = case.indices(name)?.into_iter().map(|index| index as f32);
            Ok(ArrayD::from_shape_vec(IxDyn(&[batch, time]), indices.collect())?)
        };
        return Ok(Data::new(indices("tokens")?, indices("labels")?));
    }
    let array = |name: &str, values: usize| -> Result<ArrayD<f32>> {
        let shape = IxDyn(&[batch, time, values]);
        Ok(ArrayD::from_shape_vec(shape, case.array(name)?)?)
    };
    Ok(Data::new(array("input", case.features)?, array("target", case.units)?))
}

/// The case, ready for its first step.
pub fn load(case: &Case) -> Result<Box<dyn Run>> {
    let loss = match case.what {
        What::TrainModel => "sparse_categorical_crossentropy",
        _ => "mse",
    };
    // So small that it does not matter where it is added, which is not the same everywhere.
    let adam = json!({"class_name": "Adam", "config": {"epsilon": 1e-12}});
    let compile = json!({"optimizer": adam, "loss": loss});
    let trainer = Trainer::new(model(case, "softmax")?, Compile::from_keras(&compile)?)?;
    Ok(Box::new(Training {
        case: case.clone(),
        data: data(case)?,
        compile,
        trainer,
        steps: 0,
    }))
}

impl Run for Training {
    fn call(&mut self) -> Result<()> {
        self.steps += 1;
        std::hint::black_box(self.trainer.train_on_batch(&self.data, self.steps)?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let compile = Compile::from_keras(&self.compile)?;
        self.trainer = Trainer::new(model(&self.case, "softmax")?, compile)?;
        let mut output = Vec::new();
        for step in 0..3 {
            output.push(self.trainer.train_on_batch(&self.data, step)?);
        }
        // The trainer looks behind the softmax, too.
        let model = model(&self.case, "linear")?;
        let loss = match self.case.what {
            What::TrainModel => json!({
                "class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": true},
            }),
            _ => self.compile["loss"].clone(),
        };
        let loss = Loss::from_keras(&loss)?;
        let x = ifco::Tensor::new(self.data.inputs[0].clone());
        let mut how = ifco::Training::new(0);
        let (outputs, tape) = model.forward_for_training(&[x], &mut how)?;
        let (wanted, found) = (self.data.targets[0].view(), outputs[0].view());
        let value = loss.with_gradient(&wanted, &found, &Weighting::default())?;
        let gradients = tape.backward(vec![Some(value.gradient.into_shared())])?;
        for gradient in gradients.weights.into_iter().flatten() {
            output.extend(gradient.into_dense().iter());
        }
        Ok(output)
    }
}
