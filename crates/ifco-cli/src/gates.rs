//! `ifco gates`: the weights of each gate by name.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ifco::Cell;
use ifco::arrays::{json, npz, safetensors};
use ndarray::ArrayViewD;

use crate::failure::Failure;
use crate::inspect::{self, GateView};
use crate::opening::{self, ModelArgs};
use crate::{interrupt, numpy, output};

const AFTER_HELP: &str = "\
The arrays, for `units` u and `features` n:
  LSTM       kernel_i kernel_f kernel_c kernel_o                  (n, u) each: the columns of kernel
             recurrent_kernel_i _f _c _o                          (u, u) each
             bias_i bias_f bias_c bias_o                          (u,) each
  GRU        the same with _z _r _h; with reset_after=True the biases are (2, u):
             the input's row and the recurrent row
  SimpleRNN  kernel, recurrent_kernel, bias

Examples:
  ifco gates model.keras                                 print them as NumPy would
  ifco gates model.keras --layer bidirectional/forward   one direction of a Bidirectional
  ifco gates model.keras --layer rnn/0                   the first of stacked cells
  ifco gates model.keras --layer lstm -o lstm.npz        numpy.load(\"lstm.npz\")[\"kernel_f\"]
  ifco gates model.weights.h5 -o lstm.json               weights alone will do
  ifco gates weights.pt --layer encoder.lstm             PyTorch's too, in Keras's order";

/// Show W, U and b of each gate of a recurrent layer, or save them
///
/// Without -o they are printed as NumPy prints them: arrays of more than 1000 numbers are
/// summarized there, never in a file.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The recurrent layer; may be left out when there is only one
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Save to a .npz, .safetensors or .json file, chosen by its name
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let format = args.output.as_deref().map(Format::of).transpose()?;
    let opened = args.model.open()?;
    let mut cells = opening::cells(&opened);
    if let Some(name) = &args.layer {
        cells = opening::select(&opened, cells, name)
            .map_err(|failure| failure.at_file(&args.model.model))?;
    }
    let (path, cell) = match cells.as_slice() {
        [one] => one,
        [] => return Err(opening::no_cells(&opened).at_file(&args.model.model)),
        several => {
            let paths: Vec<&str> = several.iter().map(|(path, _)| path.as_str()).collect();
            let what = match &args.layer {
                Some(name) => format!("layer {name:?} has {} cells", paths.len()),
                None => format!("there are {} recurrent layers", paths.len()),
            };
            return Err(Failure::usage(what)
                .at_file(&args.model.model)
                .help(format!(
                    "choose one with --layer NAME: {}",
                    paths.join(", ")
                )));
        }
    };
    let gates = inspect::gates(cell);
    match (&args.output, format) {
        (Some(output), Some(format)) => {
            let arrays = named(&gates);
            interrupt::write_whole(|| match format {
                Format::Npz => npz::write(output, &arrays),
                Format::Safetensors => safetensors::write(output, &arrays),
                Format::Json => json::write(output, &arrays),
            })?;
            Ok(())
        }
        _ => output::print(&text(path, cell, &gates)),
    }
}

#[derive(Clone, Copy)]
enum Format {
    Npz,
    Safetensors,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().map(|ext| ext.to_ascii_lowercase());
        match extension.as_deref().and_then(|ext| ext.to_str()) {
            Some("npz") => Ok(Format::Npz),
            Some("safetensors") => Ok(Format::Safetensors),
            Some("json") => Ok(Format::Json),
            _ => Err(Failure::usage(format_args!(
                "the name {:?} does not say in which format to save",
                path.display().to_string()
            ))
            .help("end it in .npz, .safetensors or .json")),
        }
    }
}

/// `kernel_i kernel_f … recurrent_kernel_i … bias_i …`
fn named<'a>(gates: &'a [GateView<'_>]) -> Vec<(String, ArrayViewD<'a, f32>)> {
    in_order(gates)
        .into_iter()
        .map(|(gate, array, view)| (gate.array_name(array), view))
        .collect()
}

/// First the kernel of every gate, then the recurrent kernels, then the biases.
fn in_order<'a, 'b>(
    gates: &'a [GateView<'b>],
) -> Vec<(&'a GateView<'b>, &'static str, ArrayViewD<'a, f32>)> {
    let mut arrays = Vec::new();
    for wanted in ["kernel", "recurrent_kernel", "bias"] {
        for gate in gates {
            let found = gate.arrays().into_iter().find(|(name, _)| *name == wanted);
            if let Some((name, array)) = found {
                arrays.push((gate, name, array));
            }
        }
    }
    arrays
}

/// The arrays as NumPy prints them, each below its name and its place in the fused array.
fn text(path: &str, cell: &Cell, gates: &[GateView<'_>]) -> String {
    let mut text = format!(
        "# {path}: {}, {}, {}\n",
        inspect::class(cell),
        output::count(cell.units(), "unit"),
        output::count(cell.features(), "feature")
    );
    for (gate, name, array) in in_order(gates) {
        // Writing to a String does not fail.
        let _ = match gate.letter {
            Some(_) => writeln!(
                text,
                "\n# {} = {}, {}",
                gate.array_name(name),
                gate.slice(name),
                gate.name
            ),
            None => writeln!(text, "\n# {name}"),
        };
        text.push_str(&numpy::repr(array));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifco::{Activation, GruCell, GruWeights};
    use ndarray::{Array2, array};

    #[test]
    fn names_order_and_places_of_a_gru() {
        let weights = GruWeights::new(
            Array2::from_shape_fn((1, 6), |(_, j)| j as f32),
            Array2::zeros((2, 6)),
            Some(Array2::from_shape_fn((2, 6), |(i, j)| (10 * i + j) as f32)),
        )
        .unwrap();
        let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true).unwrap();
        let cell = Cell::Gru(cell);
        let gates = inspect::gates(&cell);
        let named = named(&gates);
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names.join(" "),
            "kernel_z kernel_r kernel_h recurrent_kernel_z recurrent_kernel_r \
             recurrent_kernel_h bias_z bias_r bias_h"
        );
        assert_eq!(named[1].1, array![[2.0, 3.0]].into_dyn());
        assert_eq!(named[8].1, array![[4.0, 5.0], [14.0, 15.0]].into_dyn());
        let text = text("gru", &cell, &gates);
        assert!(text.starts_with("# gru: GRU, 2 units, 1 feature\n\n# kernel_z = kernel[:, 0:2]"));
        assert!(text.contains("# bias_h = bias[:, 4:6], candidate\narray([[ 4.,  5.],\n"));
    }
}
