//! ifco's worker: the layer over sequences, the step of a session, a whole model from a file,
//! steps of training.
//!
//! `--part engine` times the small model's layers alone, on inputs already looked up, so that
//! the report can tell what the whole call adds. `--precision bf16|int8` is for the reduced
//! precisions.

mod layer;
mod model;
mod session;
mod training;

use ifco_cell::Precision;
use worker::{Case, Result, Run, What, serve, skip};

/// What the command line asks for.
struct Options {
    engine_alone: bool,
    precision: Precision,
}

fn options() -> Result<Options> {
    let mut options = Options {
        engine_alone: false,
        precision: Precision::F32,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or(format!("{argument} needs a value"))?;
        match (argument.as_str(), value.as_str()) {
            ("--part", "engine") => options.engine_alone = true,
            ("--part", "whole") => options.engine_alone = false,
            ("--precision", _) => options.precision = value.parse()?,
            _ => return Err(format!("no such option: {argument} {value}").into()),
        }
    }
    Ok(options)
}

fn load(options: &Options, case: &Case) -> Result<Box<dyn Run>> {
    if options.engine_alone && case.what != What::Model {
        return skip("the engine alone is what the other cases time anyway");
    }
    match case.what {
        What::Sequence => layer::load(case, options.precision),
        What::Step => session::load(case),
        What::Model if options.engine_alone => model::load_engine(case),
        What::Model => model::load(case),
        What::Train | What::TrainModel => training::load(case),
    }
}

fn main() -> Result<()> {
    let options = options()?;
    serve(|case| load(&options, case));
    Ok(())
}
