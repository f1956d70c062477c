//! `RecurrentLayer::forward` over whole sequences.

use ifco_cell::{
    Activation, GruCell, GruWeights, LstmCell, LstmWeights, Precision, RecurrentLayer, Sequence,
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

/// The case, in this precision.
pub fn load(case: &Case, precision: Precision) -> Result<Box<dyn Run>> {
    let mut layers = vec![];
    for (index, prefix) in case.directions().iter().enumerate() {
        let go_backwards = index == 1;
        let options = SequenceOptions {
            return_sequences: true,
            go_backwards,
            ..Default::default()
        };
        let mut layer = layer(case, prefix, options)?;
        layer.set_precision(precision);
        layers.push(layer);
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
        let run = |layer: &RecurrentLayer| layer.forward(self.input.view(), None, None);
        if let [layer] = &self.layers[..] {
            return sequences(run(layer)?);
        }
        // As the model's Bidirectional layer does it, side by side in the order of time.
        let (forward, backward) = ifco_cell::join(|| run(&self.layers[0]), || run(&self.layers[1]));
        let (forward, backward) = (sequences(forward?)?, sequences(backward?)?);
        let backward = backward.slice(s![.., ..;-1, ..]);
        Ok(concatenate(Axis(2), &[forward.view(), backward])?)
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
