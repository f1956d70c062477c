//! tract, running the case's ONNX file optimized for its shapes.

use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;
use worker::{Case, Result, Run, What, serve, skip};

struct Tract {
    state: TypedSimpleState,
    case: Case,
    /// The input; of a step, the one of each step.
    values: Vec<TValue>,
    /// h and c of a stream, empty for the rest.
    carried: Vec<TValue>,
    at: usize,
}

fn load(case: &Case) -> Result<Box<dyn Run>> {
    if case.threads > 1 {
        set_default_executor(Executor::multithread(case.threads));
    }
    let model = tract_onnx::onnx()
        .model_for_path(case.onnx())?
        .into_optimized()?;
    let state = model.into_runnable()?.spawn()?;
    let (batch, time, features) = (case.batch, case.time, case.features);
    let values = match case.what {
        What::Sequence => {
            let input = case.time_major(&case.array("input")?);
            vec![Tensor::from_shape(&[time, batch, features], &input)?.into()]
        }
        What::Step => {
            let step = |x: f32| Ok(Tensor::from_shape(&[1, 1, 1], &[x])?.into());
            case.array("input")?
                .into_iter()
                .map(step)
                .collect::<TractResult<_>>()?
        }
        What::Train | What::TrainModel => return skip("it is not among those that train"),
        What::Model => {
            let tokens: Vec<i64> = case.tokens()?.into_iter().map(i64::from).collect();
            vec![Tensor::from_shape(&[time, 1], &tokens)?.into()]
        }
    };
    let mut tract = Tract {
        state,
        case: case.clone(),
        values,
        carried: vec![],
        at: 0,
    };
    tract.reset()?;
    Ok(Box::new(tract))
}

impl Tract {
    fn reset(&mut self) -> Result<()> {
        self.at = 0;
        if self.case.what == What::Step {
            let zeros = || Tensor::zero::<f32>(&[1, 1, self.case.units]).map(TValue::from);
            self.carried = vec![zeros()?, zeros()?];
        }
        Ok(())
    }

    fn run(&mut self) -> Result<TValue> {
        let mut inputs = tvec!(self.values[self.at].clone());
        inputs.extend(self.carried.drain(..));
        let mut outputs = self.state.run(inputs)?.into_iter();
        let output = outputs.next().ok_or("the model has no output")?;
        self.carried.extend(outputs);
        self.at = (self.at + 1) % self.values.len();
        Ok(output)
    }
}

impl Run for Tract {
    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.run()?);
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.reset()?;
        let mut output = vec![];
        for _ in 0..self.values.len() {
            let value = self.run()?;
            output.extend(value.to_plain_array_view::<f32>()?.iter().copied());
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
