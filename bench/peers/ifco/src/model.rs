//! The whole small model from a `.keras` file, and its layers alone.

use ifco_cell::{RecurrentLayer, SequenceOptions, SequenceOutput};
use ndarray::{Array1, Array3, ArrayD, IxDyn};
use worker::{Case, Result, Run, skip};

struct Whole {
    model: ifco::Model,
    tokens: ArrayD<f32>,
}

/// `ifco::open` on the file that Keras saved.
pub fn load(case: &Case) -> Result<Box<dyn Run>> {
    let path = case.folder.join("model.keras");
    if !path.exists() {
        return skip("no model.keras: Keras, which saves it, could not be installed");
    }
    let tokens = case
        .tokens()?
        .into_iter()
        .map(|token| token as f32)
        .collect();
    let tokens = ArrayD::from_shape_vec(IxDyn(&[1, case.time]), tokens)?;
    Ok(Box::new(Whole {
        model: ifco::open(path)?,
        tokens,
    }))
}

impl Run for Whole {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.model.predict(&self.tokens)?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        Ok(self.model.predict(&self.tokens)?.iter().copied().collect())
    }
}

struct Engine {
    layer: RecurrentLayer,
    embedded: Array3<f32>,
    dense_kernel: Array1<f32>,
    dense_bias: f32,
}

/// The model's arithmetic without the model: the LSTM on inputs looked up before, and Dense.
pub fn load_engine(case: &Case) -> Result<Box<dyn Run>> {
    let (table, features) = (case.array("embedding")?, case.features);
    let row = |token: i32| &table[token as usize * features..][..features];
    let embedded = case.tokens()?.into_iter().flat_map(row).copied().collect();
    let dense_bias = case.array("dense_bias")?;
    Ok(Box::new(Engine {
        layer: crate::layer::layer(case, "", SequenceOptions::default())?,
        embedded: Array3::from_shape_vec((1, case.time, features), embedded)?,
        dense_kernel: Array1::from_vec(case.array("dense_kernel")?),
        dense_bias: *dense_bias.first().ok_or("dense_bias is empty")?,
    }))
}

impl Engine {
    fn run(&self) -> Result<f32> {
        match self.layer.forward(self.embedded.view(), None, None)?.output {
            SequenceOutput::Last(last) => Ok(last.row(0).dot(&self.dense_kernel) + self.dense_bias),
            SequenceOutput::Sequences(_) => Err("the layer returned sequences".into()),
        }
    }
}

impl Run for Engine {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        Ok(vec![self.run()?])
    }
}
