//! `ifco show`: what is in a model, gate by gate.

mod json;
mod text;

use std::borrow::Cow;

use ifco::tasks::Recipe;
use ifco::{Cell, LstmCell, NormedSums, Opened};

use crate::failure::Failure;
use crate::inspect::{self, Figures, GateView, Odd};
use crate::opening::{self, ModelArgs};
use crate::output;

const AFTER_HELP: &str = "\
For each gate of a recurrent layer:
  columns     its part of the fused arrays, in NumPy's notation: kernel[:, 32:64] is
              kernel[:, 32:64] in Python, recurrent_kernel and bias likewise
  norm W      Frobenius norm of its part of kernel
  norm U      Frobenius norm of its part of recurrent_kernel
  mean b      mean of its part of bias (of the sum of both rows, for a GRU with
              reset_after=True); for the forget gate this is the forget bias
  radius U    spectral radius of U, the largest modulus of its eigenvalues; ≈ marks an
              estimate (more than 96 units); of U·W_p where an LSTM's h is projected
  near 0      share of its weights in W and U below 0.001 in size
  norm p      of an LSTM with peepholes: Frobenius norm of p_i, p_f or p_o

Below the table stands what is odd about the weights, in words.

Examples:
  ifco show model.keras
  ifco show model.keras --layer encoder/lstm
  ifco show model.weights.h5                       weights alone: by group
  ifco show checkpoint.pt                          PyTorch's: by module
  ifco show model.h5 --json | jq '.cells[].gates[].spectral_radius'

The JSON's schema: docs/show-json.md in ifco's repository.";

/// Show a model's layers, and for each recurrent one its gates
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// Only this recurrent layer; a path such as bidirectional/forward for one cell of it
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Print JSON with a stable schema
    #[arg(long)]
    json: bool,
}

/// What is shown.
struct Report<'a> {
    file: String,
    opened: &'a Opened,
    /// What `ifco fit` made it for.
    recipe: Option<Recipe>,
    /// Only one layer was asked for.
    is_selection: bool,
    cells: Vec<CellReport<'a>>,
}

/// One recurrent cell.
struct CellReport<'a> {
    path: &'a str,
    cell: &'a Cell,
    gates: Vec<(GateView<'a>, Figures)>,
    odd: Vec<Odd>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let opened = args.model.open()?;
    let mut cells = opening::cells(&opened);
    if let Some(name) = &args.layer {
        cells = opening::select(&opened, cells, name)
            .map_err(|failure| failure.at_file(&args.model.model))?;
    }
    let report = Report {
        file: args.model.model.display().to_string(),
        opened: &opened,
        recipe: ifco::open_recipe(&args.model.model)?,
        is_selection: args.layer.is_some(),
        cells: cells.iter().map(CellReport::new).collect(),
    };
    if args.json {
        output::print(&format!("{:#}\n", json::report(&report)))
    } else {
        output::print(&text::report(&report))
    }
}

impl<'a> CellReport<'a> {
    fn new((path, cell): &'a (String, Cow<'_, Cell>)) -> Self {
        let gates = inspect::gates(cell);
        let figures: Vec<Figures> = gates.iter().map(inspect::figures).collect();
        let odd = inspect::odd(cell, &gates, &figures);
        Self {
            path,
            cell,
            gates: gates.into_iter().zip(figures).collect(),
            odd,
        }
    }

    /// What is set beside the weights, in Keras's words.
    fn options(&self) -> Vec<(&'static str, String)> {
        let python = |flag: bool| if flag { "True" } else { "False" }.to_string();
        let mut options = Vec::new();
        match self.cell {
            Cell::Lstm(cell) => {
                options.push(("activation", cell.activation().to_string()));
                let recurrent = cell.recurrent_activation().to_string();
                options.push(("recurrent_activation", recurrent));
                options.extend(extras(cell));
            }
            Cell::Gru(cell) => {
                options.push(("activation", cell.activation().to_string()));
                let recurrent = cell.recurrent_activation().to_string();
                options.push(("recurrent_activation", recurrent));
                options.push(("reset_after", python(cell.reset_after())));
                options.extend(cell.clip().map(|clip| ("clip", clip.to_string())));
            }
            Cell::SimpleRnn(cell) => {
                options.push(("activation", cell.activation().to_string()));
                options.extend(cell.clip().map(|clip| ("clip", clip.to_string())));
            }
            _ => {}
        }
        options.push(("use_bias", python(self.has_bias())));
        options
    }

    fn has_peepholes(&self) -> bool {
        self.gates.iter().any(|(gate, _)| gate.peephole.is_some())
    }

    fn has_bias(&self) -> bool {
        self.gates.iter().any(|(gate, _)| gate.bias.is_some())
    }
}

/// What an LSTM does otherwise than Keras's.
fn extras(cell: &LstmCell) -> Vec<(&'static str, String)> {
    let (weights, options) = (cell.weights(), cell.options());
    let number = |value: Option<f32>| value.map_or(String::new(), |value| value.to_string());
    let value = |name: &'static str| match name {
        "projection" => weights.outputs().to_string(),
        "layer_norm" => match weights.layer_norm().map(|norm| &norm.sums) {
            Some(NormedSums::Gates(_)) => "gates".into(),
            _ => "products".into(),
        },
        "clip" => number(options.clip),
        "cell_clip" => number(options.cell_clip),
        "projection_clip" => number(options.projection_clip),
        "forget_bias" => options.forget_bias.to_string(),
        "output_activation" => cell.output_activation().to_string(),
        _ => "True".into(),
    };
    let names = cell.extras().into_iter();
    // Those two are there in any case.
    let names = names.filter(|name| !["activation", "recurrent_activation"].contains(name));
    names.map(|name| (name, value(name))).collect()
}
