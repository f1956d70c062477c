//! `RecurrentLayer::forward` over whole sequences.

use ifco_cell::{
    Activation, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, Sequence,
    SequenceOptions,
};
use ndarray::{Array1, Array2, Array3, Axis, concatenate, s};
use worker::{Case, Kind, Result, Run};

/// The layer of one direction.
pub fn layer(case: &Case, prefix: &str, options: SequenceOptions) -> Result<RecurrentLayer> {
    let (features, units, columns) = (case.features, case.units, case.gates() * case.units);
    let array = |name: &str| case.array(&format!("{prefix}{name}"));
    let kernel = Array2::from_shape_vec((features, columns), array("kernel")?)?;
    let recurrent = Array2::from_shape_vec((units, columns), array("recurrent_kernel")?)?;
    let cell = match case.kind {
        Kind::Lstm => {
            let bias = Array1::from_vec(array("bias")?);
            let weights = LstmWeights::new(kernel, recurrent, Some(bias))?;
            LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into()
        }
        Kind::Gru => {
            let bias = Array2::from_shape_vec((2, columns), array("bias")?)?;
            let weights = GruWeights::new(kernel, recurrent, Some(bias))?;
            GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)?.into()
        }
    };
    Ok(RecurrentLayer::new(vec![cell], options)?)
}

struct Layers {
    /// Forward, and where the case has it backward.
    layers: Vec<RecurrentLayer>,
    input: Array3<f32>,
}

/// The case in f32, or in a reduced precision once there is one.
pub fn load(case: &Case, precision: &str) -> Result<Box<dyn Run>> {
    // The hook for reduced precision: with the feature `precision`, choose it on the layer here.
    debug_assert!(precision == "f32" || cfg!(feature = "precision"));
    let mut layers = vec![];
    for (index, prefix) in case.directions().iter().enumerate() {
        let go_backwards = index == 1;
        let options = SequenceOptions {
            return_sequences: true,
            go_backwards,
            ..Default::default()
        };
        layers.push(layer(case, prefix, options)?);
    }
    let shape = (case.batch, case.time, case.features);
    let input = Array3::from_shape_vec(shape, case.array("input")?)?;
    Ok(Box::new(Layers { layers, input }))
}

fn sequences(sequence: Sequence) -> Result<Array3<f32>> {
    match sequence.output {
        ifco_cell::SequenceOutput::Sequences(output) => Ok(output),
        ifco_cell::SequenceOutput::Last(_) => Err("the layer returned no sequences".into()),
    }
}

impl Layers {
    fn run(&self) -> Result<Array3<f32>> {
        let mut outputs = vec![];
        for layer in &self.layers {
            outputs.push(sequences(layer.forward(self.input.view(), None, None)?)?);
        }
        if outputs.len() == 1 {
            return Ok(outputs.remove(0));
        }
        // Both directions side by side in the order of time, as every peer gives them. Goes
        // when the engine has a call for both directions.
        let backward = outputs[1].slice(s![.., ..;-1, ..]);
        Ok(concatenate(Axis(2), &[outputs[0].view(), backward])?)
    }
}

impl Run for Layers {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        Ok(self.run()?.iter().copied().collect())
    }
}
