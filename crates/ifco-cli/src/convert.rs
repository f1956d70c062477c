//! `ifco convert`: a model in another format, and the proof that it is the same.

use std::path::{Path, PathBuf};

use ifco::{Format, Model, OpenOptions, Opened, Port, SaveOptions, Saved};
use ndarray::{ArrayD, Axis};
use serde_json::json;

use crate::destination::check_place;
use crate::failure::Failure;
use crate::interrupt;
use crate::opening::ModelArgs;
use crate::output::{json_number, print, short};
use crate::precision::note;
use crate::seeded::{self, Difference, Tolerance};

const AFTER_HELP: &str = "\
The ending of OUT says the format:
  .keras         Keras 3. Models of Keras 1 and 2 are put in its words
  .h5, .hdf5     a whole model, for Keras 3, and for Keras 2 where it has words for the layers
  .onnx          a graph for ONNX Runtime and others, batch and time open; a stateful model's states
                 become inputs and outputs
  .weights.h5    the weights alone; --json-out saves the architecture that goes with them
  .pt, .pth      PyTorch: a state_dict, as torch.save writes it
  .safetensors   the same as safetensors
  .npz           NumPy: every weight by a path such as lstm/kernel, and the architecture (model_config)
  .weights.json  the same as JSON
  .json          RTNeural, for plugins: a stack of LSTM, GRU, Dense, causal Conv1D, PReLU, norms

PyTorch's files hold weights alone. Beside them OUT.toml tells ifco the rest, and --python-out saves
a Python module whose Model takes them with load_state_dict(strict=True). They hold a stack of LSTM,
GRU, SimpleRNN, Dense, Embedding, Conv1D and norms, with PyTorch's activations; of anything else
ifco says which layer it is, and stops. Modules are called as the layers (characters that Python
does not allow become _); --name LAYER=MODULE calls one otherwise.

An ONNX graph becomes Keras's layers first; ifco names the node that is none. The batch comes first
in OUT, wherever the graph has it.

Before OUT is there, ifco opens what it is about to write, runs both models on the same random
input and compares all outputs: above 1e-5 + 1e-4 times the value, nothing is written.

Keras 3's hard_sigmoid is another function than that of Keras 1 and 2. Where weights lead to it,
as to an LSTM's gates, they are multiplied by 1.2, which makes up for it but for rounding; a note says so.
Elsewhere ifco stops, or with --lossy takes the function of Keras 3.

Examples:
  ifco convert keras2.h5 model.keras
  ifco convert model.onnx model.keras
  ifco convert model.keras model.h5
  ifco convert w.h5 model.keras --architecture model.json    weights and architecture apart
  ifco convert model.keras w.weights.h5 --json-out model.json
  ifco convert model.keras weights.pt --python-out model.py --name lstm=encoder.rnn
  ifco convert weights.pt model.keras                        weights.pt.toml tells what PyTorch does not";

/// Save a model in another format, and check that it still computes the same
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The file to write, by its ending: .keras, .h5, .hdf5, .weights.h5, .onnx, .pt, .pth,
    /// .safetensors, .npz, .weights.json or .json (RTNeural)
    #[arg(value_name = "OUT")]
    out: PathBuf,

    /// Go on where the format has only something near to what the model has, and say what changes
    #[arg(long)]
    lossy: bool,

    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,

    /// Also save the architecture alone, as model.to_json() writes it
    #[arg(long, value_name = "JSON")]
    json_out: Option<PathBuf>,

    /// Also save the architecture as a Python module, for a file of PyTorch
    #[arg(long, value_name = "PY")]
    python_out: Option<PathBuf>,

    /// What a layer is called in a file of PyTorch: encoder.rnn for a module inside of another.
    /// May be given several times
    #[arg(long, value_name = "LAYER=MODULE", value_parser = renaming)]
    name: Vec<(String, String)>,

    /// Of the random input of the check
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let places = [
        Some(&args.out),
        args.json_out.as_ref(),
        args.python_out.as_ref(),
    ];
    let places: Vec<&PathBuf> = places.into_iter().flatten().collect();
    let read = [Some(&args.model.model), args.model.architecture.as_ref()];
    let read: Vec<&Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
    for (index, path) in places.iter().enumerate() {
        check_place(path, &read, args.force)?;
        if places[..index].contains(path) {
            let what = "two of the files to write have this name";
            return Err(Failure::usage(what).at_file(path));
        }
    }
    let mut options = SaveOptions::new().lossy(args.lossy);
    for (layer, module) in &args.name {
        options = options.name(layer, module);
    }
    let Some(format) = Format::of(&args.out).filter(|format| format.saves()) else {
        let what = "the output's name does not end as one of a format that ifco saves";
        return Err(Failure::usage(what)
            .at_file(&args.out)
            .help(format_args!("it saves {}", Format::savable())));
    };
    options = options.recipe(ifco::open_recipe(&args.model.model)?);
    let model = args.model.open_model()?;
    let at_model = |failure: Failure| failure.at_file(&args.model.model);
    let saved = options
        .to_bytes(&model, &args.out)
        .map_err(|error| at_model(error.into()))?;
    for (layer, _) in &args.name {
        let lifted = ifco::in_keras_layers(&model).and_then(Result::ok);
        if lifted.as_ref().unwrap_or(&model).layer(layer).is_err() {
            let what = format!("--name speaks of layer {layer:?}, which the model has not");
            return Err(at_model(Failure::usage(what)).help("`ifco show` lists the layers"));
        }
    }
    let python = match (&args.python_out, &saved.python) {
        (Some(path), None) => {
            let what = "--python-out goes with a file of PyTorch";
            return Err(Failure::usage(what)
                .at_file(path)
                .help("name the output .pt or .safetensors"));
        }
        (Some(path), Some(python)) => Some((path, python)),
        (None, _) => None,
    };
    if saved.spec.is_some() {
        check_place(&Saved::spec_path(&args.out), &read, args.force)?;
    }
    let check = check(&model, &saved, args).map_err(at_model)?;
    if !check.is_within && !args.lossy {
        let what = format!(
            "what would be written computes something else: on random input (seed {}) output {:?} \
             differs by {}",
            args.seed, check.output, check.difference
        );
        return Err(at_model(Failure::new(what)).help(
            "nothing was written; if the layers' semantics differ between the generations of \
             Keras as docs/semantics.md tells, --lossy takes those of the new one",
        ));
    }
    interrupt::write_whole(|| saved.write(&args.out))?;
    if let Some(path) = &args.json_out {
        write_text(path, &ifco::architecture(&model))?;
    }
    if let Some((path, python)) = python {
        write_text(path, python)?;
    }
    for text in &saved.notes {
        note(format_args!("note: {text}"));
    }
    if args.json {
        let report = json!({
            "schema": 1,
            "file": args.out.display().to_string(),
            "format": format.name,
            "notes": saved.notes,
            "weights_equal": check.same_weights,
            "seed": args.seed,
            "largest_difference": json_number(check.difference.largest),
            "equal": check.is_within,
        });
        return print(&format!("{report:#}\n"));
    }
    print(&format!(
        "{}: {}, {} bytes\nchecked on random input {} (seed {}): largest difference {}; weights {}\n",
        args.out.display(),
        format.name,
        saved.bytes.len(),
        check.shapes,
        args.seed,
        short(check.difference.largest),
        if check.same_weights {
            "equal to the bit"
        } else {
            "changed, see the note"
        },
    ))
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    interrupt::write_whole(|| {
        ifco::arrays::write_file(path, |file| {
            Ok(std::io::Write::write_all(file, text.as_bytes())?)
        })
    })?;
    Ok(())
}

/// `LAYER=MODULE`.
fn renaming(text: &str) -> Result<(String, String), String> {
    let is_name = |module: &str| {
        let is_part = |part: &str| {
            let starts =
                part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            starts && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        module.split('.').all(is_part)
    };
    match text.split_once('=') {
        Some((layer, module)) if is_name(module) => Ok((layer.into(), module.into())),
        _ => Err("expected LAYER=MODULE, the module a name as Python has them: encoder.rnn".into()),
    }
}

/// What came of running both.
struct Check {
    same_weights: bool,
    /// Of the inputs.
    shapes: String,
    /// The output that differs most, and how.
    output: String,
    difference: Difference,
    is_within: bool,
}

/// Opens what was saved, and runs both.
fn check(model: &Model, saved: &Saved, args: &Args) -> Result<Check, Failure> {
    let name = args.out.display().to_string();
    let bytes = saved.bytes.clone();
    let is_alone = args
        .out
        .to_string_lossy()
        .to_lowercase()
        .ends_with(".weights.h5");
    let copy = if let Some(spec) = &saved.spec {
        let assumed = OpenOptions::new().open_bytes_assuming(bytes, Some(spec), &name)?;
        *assumed.model
    } else if is_alone {
        let json = ifco::architecture(model);
        OpenOptions::new().open_bytes_with_architecture(bytes, json, &name)?
    } else {
        match ifco::open_bytes(bytes, &name)? {
            Opened::Model(copy) => *copy,
            Opened::Weights(_) => {
                return Err(Failure::new("what would be written is no whole model"));
            }
        }
    };
    // Of an ONNX graph, its layers tell what its inputs are.
    let lifted = ifco::in_keras_layers(model).and_then(Result::ok);
    let given = seeded::inputs(lifted.as_ref().unwrap_or(model), args.seed)?;
    let ports = model.inputs().iter().zip(&given);
    let inputs: Vec<ArrayD<f32>> = ports.map(|(port, array)| as_in(port, array)).collect();
    // The states of a stateful model are further inputs of an ONNX graph, and further outputs.
    let rows = model.rows(&inputs);
    let states = copy.inputs().iter().skip(inputs.len()).map(|port| {
        let sizes = port.shape.iter().flatten().skip(1);
        let sizes = std::iter::once(rows).chain(sizes.map(|size| size.unwrap_or(rows)));
        ArrayD::zeros(sizes.collect::<Vec<_>>())
    });
    let with_states: Vec<ArrayD<f32>> = given.into_iter().chain(states).collect();
    let (expected, found) = (
        seeded::run(model, &inputs)?,
        seeded::run(&copy, &with_states)?,
    );
    let mut worst: Option<(String, Difference)> = None;
    let further = with_states.len() - inputs.len();
    let mut is_within = expected.len() + further == found.len();
    let ports = model.outputs().iter().zip(copy.outputs());
    for (((port, to), one), other) in ports.zip(&expected).zip(&found) {
        let one = &arranged(one.clone(), port, to);
        let difference = Difference::of(one, other, Tolerance::DEFAULT).ok_or_else(|| {
            Failure::new(format_args!(
                "what would be written has an output of another shape: {:?} instead of {:?}",
                other.shape(),
                one.shape()
            ))
        })?;
        is_within &= difference.is_within;
        let is_worse = |(_, known): &(String, Difference)| difference.largest > known.largest;
        if worst.as_ref().is_none_or(is_worse) {
            worst = Some((port.name.clone(), difference));
        }
    }
    let (output, difference) = worst.ok_or_else(|| Failure::new("the model has no outputs"))?;
    let shape = |array: &ArrayD<f32>| format!("{:?}", array.shape());
    Ok(Check {
        same_weights: same(&weights(model), &weights(&copy)),
        shapes: inputs.iter().map(shape).collect::<Vec<_>>().join(", "),
        output,
        difference,
        is_within,
    })
}

/// An array as the copy has it: the batch first, where the model that it is a copy of is an ONNX
/// graph with the batch elsewhere, and without axes of size 1 before it.
fn arranged(mut array: ArrayD<f32>, from: &Port, to: &Port) -> ArrayD<f32> {
    let at = from.batch_axis.filter(|axis| *axis < array.ndim());
    if let (Some(axis), Some(0)) = (at, to.batch_axis) {
        for at in (0..axis).rev() {
            array.swap_axes(at, at + 1);
        }
        let rank = to.shape.as_ref().map_or(array.ndim(), Vec::len);
        for axis in (1..=axis).rev() {
            if array.ndim() > rank && array.shape()[axis] == 1 {
                array = array.index_axis_move(Axis(axis), 0);
            }
        }
    }
    array
}

/// An array with the batch first as an input has it: that of an ONNX graph perhaps elsewhere, with
/// axes of size 1 before it.
fn as_in(port: &Port, array: &ArrayD<f32>) -> ArrayD<f32> {
    let mut array = array.clone();
    let rank = port.shape.as_ref().map_or(array.ndim(), Vec::len);
    while array.ndim() < rank {
        array.insert_axis_inplace(Axis(1));
    }
    port.from_batch_first(array)
}

/// All weights, those of an ONNX graph as Keras's layers have them.
fn weights(model: &Model) -> Option<Vec<ArrayD<f32>>> {
    match ifco::in_keras_layers(model) {
        Some(Ok(model)) => model.weights(),
        _ => model.weights(),
    }
}

/// Whether all arrays have the same bits.
fn same(one: &Option<Vec<ArrayD<f32>>>, other: &Option<Vec<ArrayD<f32>>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return false;
    };
    let bits = |a: &ArrayD<f32>, b: &ArrayD<f32>| {
        a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| bits(a, b))
}
