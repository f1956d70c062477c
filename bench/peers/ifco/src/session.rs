//! One step of a stream through `Model::session`: LSTM 1 → units and Dense → 1.

use ifco::{Generation, Model, Session};
use ndarray::{Array1, Array2};
use worker::{Case, Result, Run};

struct Stream {
    session: Session,
    input: Vec<f32>,
    at: usize,
}

/// The model is made from its configuration: its sizes are known only at run time.
pub fn load(case: &Case) -> Result<Box<dyn Run>> {
    let units = case.units;
    let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [1, null, 1]}},
        {"class_name": "LSTM",
         "config": {"name": "lstm", "units": units, "return_sequences": true}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 1}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3)?;
    let matrix = |name: &str, rows: usize, columns: usize| -> Result<_> {
        Ok(Array2::from_shape_vec((rows, columns), case.array(name)?)?.into_dyn())
    };
    model.set_weights(vec![
        matrix("kernel", 1, 4 * units)?,
        matrix("recurrent_kernel", units, 4 * units)?,
        Array1::from_vec(case.array("bias")?).into_dyn(),
        matrix("dense_kernel", units, 1)?,
        Array1::from_vec(case.array("dense_bias")?).into_dyn(),
    ])?;
    Ok(Box::new(Stream {
        session: model.session()?,
        input: case.array("input")?,
        at: 0,
    }))
}

impl Run for Stream {
    fn call(&mut self) -> Result<()> {
        self.calls(1)
    }

    fn calls(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let x = self.input[self.at];
            self.at = if self.at + 1 == self.input.len() {
                0
            } else {
                self.at + 1
            };
            std::hint::black_box(self.session.step(&[x])[0]);
        }
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.session.reset();
        self.at = 0;
        Ok(self
            .input
            .iter()
            .map(|&x| self.session.step(&[x])[0])
            .collect())
    }
}
