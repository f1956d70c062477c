//! `ifco compare`: two models on the same input, and where they part.

mod mistakes;
mod parting;

use std::path::{Path, PathBuf};

use ifco::Model;
use ndarray::ArrayD;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::output::{json_number, print, short};
use crate::predict::inputs;
use crate::seeded::{self, Difference, Tolerance};

const AFTER_HELP: &str = "\
Both models run on the same input: --input, or random numbers (the same for the same --seed). Their
outputs are compared in order, by number, not by name. Where they differ, ifco tells the first
recurrent layer, step and gate at which they part, and tries on B's weights the mistakes that are
often made when a model is carried from one framework to another: gates in another order, a bias
left out, TensorFlow 1's forget bias, matrices transposed, another sigmoid, the other direction,
batch and time exchanged. If one of them makes B answer as A does, that is the hint.

Exit codes: 0 they agree, 3 they differ, 1 and 2 as everywhere.

Examples:
  ifco compare weights.pt port.keras
  ifco compare old.h5 new.keras --input x.npy --tolerance 1e-6
  ifco compare a.keras b.keras --json | jq .hint
  ifco compare a.pt b.pt --spec-a a.toml --spec-b b.toml";

/// Run two models on the same input: do they agree, and if not, where and why
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The model that is right
    #[arg(value_name = "A")]
    a: PathBuf,

    /// The model to hold against it
    #[arg(value_name = "B")]
    b: PathBuf,

    /// The models' inputs: .npy, .npz or .csv, as for `ifco predict`; may be given several times
    #[arg(long, value_name = "X")]
    input: Vec<PathBuf>,

    /// What outputs may differ by, whatever their size [default: 1e-5 + 1e-4 times A's value]
    #[arg(long, value_name = "T", value_parser = tolerance)]
    tolerance: Option<f64>,

    /// Of the random input
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// A's architecture, if it is weights alone
    #[arg(long, value_name = "JSON")]
    architecture_a: Option<PathBuf>,

    /// B's architecture, if it is weights alone
    #[arg(long, value_name = "JSON")]
    architecture_b: Option<PathBuf>,

    /// What A's weights do not tell, if they are PyTorch's [default: A.toml, if there]
    #[arg(long, value_name = "TOML", conflicts_with = "architecture_a")]
    spec_a: Option<PathBuf>,

    /// What B's weights do not tell, if they are PyTorch's [default: B.toml, if there]
    #[arg(long, value_name = "TOML", conflicts_with = "architecture_b")]
    spec_b: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number")?;
    match number >= 0.0 && number.is_finite() {
        true => Ok(number),
        false => Err("expected a number from 0 on".into()),
    }
}

/// Two models, the input, and what A answers.
struct Pair<'a> {
    a: &'a Model,
    b: &'a Model,
    inputs: Vec<ArrayD<f32>>,
    expected: Vec<ArrayD<f32>>,
    tolerance: Tolerance,
}

impl Pair<'_> {
    /// Whether these outputs are A's.
    fn agrees(&self, found: &[ArrayD<f32>]) -> bool {
        let both = self.expected.iter().zip(found);
        let mut differences = both.map(|(one, other)| Difference::of(one, other, self.tolerance));
        self.expected.len() == found.len()
            && differences.all(|difference| difference.is_some_and(|d| d.is_within))
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let open = |model: &Path, architecture: &Option<PathBuf>, spec: &Option<PathBuf>| {
        let model = ModelArgs {
            model: model.into(),
            architecture: architecture.clone(),
            spec: spec.clone(),
        };
        model.open_model()
    };
    let a = open(&args.a, &args.architecture_a, &args.spec_a)?;
    let b = open(&args.b, &args.architecture_b, &args.spec_b)?;
    let inputs = match args.input.as_slice() {
        [] => seeded::inputs(&a, args.seed).map_err(|failure| failure.at_file(&args.a))?,
        files => inputs::read(files, a.inputs())?,
    };
    let expected = seeded::run(&a, &inputs).map_err(|failure| failure.at_file(&args.a))?;
    let found = seeded::run(&b, &inputs).map_err(|failure| {
        let failure = failure.at_file(&args.b);
        failure.help("both models must take the same input; this one is made for A")
    })?;
    let tolerance = match args.tolerance {
        Some(absolute) => Tolerance {
            absolute,
            relative: 0.0,
        },
        None => Tolerance::DEFAULT,
    };
    let pair = Pair {
        a: &a,
        b: &b,
        inputs,
        expected,
        tolerance,
    };
    let is_equal = pair.agrees(&found);
    let (parting, hint) = match is_equal {
        true => (None, None),
        false => {
            // The weights of an ONNX graph are tried in the layers that it stands for.
            let layers = [(&a, &pair.expected), (&b, &found)];
            let layers = layers.map(|(model, answer)| in_layers(model, &pair, answer));
            let of_layers = Pair {
                a: layers[0].as_ref().unwrap_or(&a),
                b: layers[1].as_ref().unwrap_or(&b),
                inputs: pair.inputs.clone(),
                expected: pair.expected.clone(),
                ..pair
            };
            let hint = mistakes::hint(&of_layers, &args.a, &args.b);
            (Some(parting::find(&pair)?), hint)
        }
    };
    if args.json {
        report_json(
            args,
            &pair,
            &found,
            is_equal,
            parting.as_ref(),
            hint.as_deref(),
        )?;
    } else {
        report_text(args, &pair, &found, parting.as_ref(), hint.as_deref())?;
    }
    if is_equal { Ok(()) } else { Err(Failure::no()) }
}

/// An ONNX graph in Keras's layers, if these take the same input and answer the same.
fn in_layers(model: &Model, pair: &Pair<'_>, answer: &[ArrayD<f32>]) -> Option<Model> {
    let layers = ifco::in_keras_layers(model)?.ok()?;
    let found = seeded::run(&layers, &pair.inputs).ok()?;
    let both = found.iter().zip(answer);
    let mut differences = both.map(|(one, other)| Difference::of(one, other, pair.tolerance));
    let is_same = differences.all(|difference| difference.is_some_and(|d| d.is_within));
    (is_same && found.len() == answer.len()).then_some(layers)
}

fn report_text(
    args: &Args,
    pair: &Pair<'_>,
    found: &[ArrayD<f32>],
    parting: Option<&parting::Parting>,
    hint: Option<&str>,
) -> Result<(), Failure> {
    let shapes: Vec<String> = pair
        .inputs
        .iter()
        .map(|x| format!("{:?}", x.shape()))
        .collect();
    let mut text = match args.input.as_slice() {
        [] => format!("random input {} (seed {})\n", shapes.join(", "), args.seed),
        files => format!("input {} {}\n", inputs::names(files), shapes.join(", ")),
    };
    let names = pair.a.outputs().iter().map(|port| port.name.as_str());
    for (index, (name, expected)) in names.zip(&pair.expected).enumerate() {
        let difference = found
            .get(index)
            .map(|found| (found, Difference::of(expected, found, pair.tolerance)));
        text += &match difference {
            None => format!("{name}: B has no such output\n"),
            Some((found, None)) => format!(
                "{name}: shapes {:?} and {:?}\n",
                expected.shape(),
                found.shape()
            ),
            Some((_, Some(difference))) => format!(
                "{name}: {}, largest difference {difference}\n",
                if difference.is_within {
                    "agrees"
                } else {
                    "differs"
                }
            ),
        };
    }
    for (port, _) in pair.b.outputs().iter().zip(found).skip(pair.expected.len()) {
        text += &format!("{}: A has no such output\n", port.name);
    }
    if let Some(parting) = parting {
        text += &format!("they part: {parting}\n");
        text += &match hint {
            Some(hint) => format!("hint: {hint}\n"),
            None => {
                "hint: none of the usual mistakes, alone, makes B answer as A does\n".to_owned()
            }
        };
    }
    print(&text)
}

fn report_json(
    args: &Args,
    pair: &Pair<'_>,
    found: &[ArrayD<f32>],
    is_equal: bool,
    parting: Option<&parting::Parting>,
    hint: Option<&str>,
) -> Result<(), Failure> {
    let names = pair.a.outputs().iter().map(|port| port.name.as_str());
    let outputs: Vec<Value> = names
        .zip(&pair.expected)
        .enumerate()
        .map(|(index, (name, expected))| {
            let found = found.get(index);
            let difference = found.and_then(|f| Difference::of(expected, f, pair.tolerance));
            json!({
                "name": name,
                "shapes": [Some(expected.shape()), found.map(|found| found.shape())],
                "equal": difference.as_ref().is_some_and(|d| d.is_within),
                "largest_difference": difference.as_ref().map(|d| json_number(d.largest)),
                "at": difference.as_ref().map(|d| d.at.clone()),
            })
        })
        .collect();
    let report = json!({
        "schema": 1,
        "equal": is_equal,
        "outputs": outputs,
        "seed": args.input.is_empty().then_some(args.seed),
        "tolerance": {"absolute": pair.tolerance.absolute, "relative": pair.tolerance.relative},
        "parting": parting.map(parting::Parting::json),
        "hint": hint,
    });
    print(&format!("{report:#}\n"))
}

/// A value as people read it.
fn value(value: f32) -> String {
    short(f64::from(value))
}
