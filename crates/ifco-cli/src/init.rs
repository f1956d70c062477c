//! `ifco init`: a new model that nobody has trained.

use std::path::PathBuf;

use ifco::Format;
use ifco::train::Compile;
use serde_json::json;

use crate::destination::check_place;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{print, thousands};

const AFTER_HELP: &str = "\
SPEC is the JSON that model.to_json() of Keras writes, or a TOML of layers on each other, with
Keras's names (docs/fit.md):

  input = [\"any\", 3]              # time and features; \"any\" where Keras says None

  [[layers]]
  class = \"LSTM\"
  units = 32

  [[layers]]
  class = \"Dense\"
  units = 1

  [compile]
  optimizer = \"adam\"
  loss = \"mse\"

The weights are drawn by each layer's initializers, Keras's own where the spec names none.

Examples:
  ifco init net.toml -o model.keras
  ifco init architecture.json -o model.keras --seed 7
  ifco train model.keras --x x.npy --y y.npy -o trained.keras";

/// Make a new, untrained model from a short description
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A TOML of layers, or a Keras architecture in JSON
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Save the model as this file, by its ending
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,

    /// What the weights are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if Format::of(&args.output).is_none_or(|format| !format.saves()) {
        let what = "the output's name does not end as one of a format that ifco saves";
        let help = format!("it saves {}", Format::savable());
        return Err(Failure::usage(what).at_file(&args.output).help(help));
    }
    check_place(&args.output, &[&args.spec], args.force)?;
    let mut model = ifco::open_architecture(&args.spec)?;
    ifco::train::initialize(&mut model, args.seed)
        .map_err(|error| Failure::from(error).at_file(&args.spec))?;
    let mut saving = ifco::SaveOptions::new();
    if let Some(compile) = ifco::compile_config(&model) {
        // With all that Keras writes of an optimizer, and checked before anybody trains.
        let compile = Compile::from_keras(&compile)
            .map_err(|error| Failure::from(error).at_file(&args.spec))?;
        saving = saving.compile_config(compile.to_keras());
    }
    let saved = saving.to_bytes(&model, &args.output)?;
    interrupt::write_whole(|| saved.write(&args.output))?;
    let layers = model.layers().iter();
    let parameters: usize = layers.filter_map(|layer| layer.parameters).sum();
    let file = args.output.display();
    match args.json {
        true => print(&format!(
            "{}\n",
            json!({"schema": 1, "file": file.to_string(), "parameters": parameters,
                "seed": args.seed})
        )),
        false => print(&format!(
            "{file}: {} layers, {} parameters, drawn from seed {}\n",
            model.layers().len(),
            thousands(parameters),
            args.seed
        )),
    }
}
