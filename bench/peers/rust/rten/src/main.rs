//! rten, running the case's ONNX file with its weights packed ahead of time.

use rten::{Model, ModelOptions, NodeId, Value, ValueOrView};
use rten_tensor::prelude::*;
use worker::{Case, Result, Run, What, serve, skip};

struct Rten {
    model: Model,
    case: Case,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    /// The input; of a step, the one of each step.
    values: Vec<Value>,
    /// h and c of a stream, empty for the rest.
    state: Vec<Value>,
    at: usize,
}

fn load(case: &Case) -> Result<Box<dyn Run>> {
    let model = ModelOptions::with_all_ops()
        .prepack_weights(true)
        .load_file(case.onnx())?;
    let (batch, time, features) = (case.batch, case.time, case.features);
    let values = match case.what {
        What::Sequence => {
            let input = case.time_major(&case.array("input")?);
            vec![Value::from_shape([time, batch, features], input)?]
        }
        What::Step => {
            let input = case.array("input")?;
            let step = |x: f32| Value::from_shape([1, 1, 1], vec![x]);
            input
                .into_iter()
                .map(step)
                .collect::<std::result::Result<_, _>>()?
        }
        // rten keeps ONNX's 64-bit integers in 32 bits.
        What::Train | What::TrainModel => return skip("it is not among those that train"),
        What::Model => vec![Value::from_shape([time, 1], case.tokens()?)?],
    };
    let (inputs, outputs) = (model.input_ids().to_vec(), model.output_ids().to_vec());
    let case = case.clone();
    let mut rten = Rten {
        model,
        case,
        inputs,
        outputs,
        values,
        state: vec![],
        at: 0,
    };
    rten.reset()?;
    Ok(Box::new(rten))
}

impl Rten {
    fn reset(&mut self) -> Result<()> {
        self.at = 0;
        if self.case.what == What::Step {
            let zeros = || Value::from_shape([1, 1, self.case.units], vec![0f32; self.case.units]);
            self.state = vec![zeros()?, zeros()?];
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Value> {
        let input: ValueOrView = self.values[self.at].as_view().into();
        let mut inputs = vec![(self.inputs[0], input)];
        let state = self.state.drain(..).map(ValueOrView::Value);
        inputs.extend(self.inputs[1..].iter().copied().zip(state));
        let mut outputs = self.model.run(inputs, &self.outputs, None)?;
        self.state = outputs.split_off(1);
        self.at = (self.at + 1) % self.values.len();
        Ok(outputs.remove(0))
    }
}

impl Run for Rten {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.reset()?;
        let mut output = vec![];
        for _ in 0..self.values.len() {
            let value: rten_tensor::Tensor<f32> = self.run()?.try_into()?;
            output.extend(value.to_vec());
        }
        if self.case.what == What::Sequence {
            output = self.case.from_onnx(&output);
        }
        Ok(output)
    }
}

fn main() {
    serve(load);
}
