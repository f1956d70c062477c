//! `ifco orders`: where each framework keeps each gate.

use std::fmt::Write;

use ifco::Gate;
use ifco::packing::{self, Biases, Layout, Packing, Part};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::opening::closest;
use crate::output::{self, table};

const AFTER_HELP: &str = "\
In slices u is the number of units and n that of input features. The gates are Keras's, by
their letters: i input gate, f forget gate, c cell candidate (g, z or j elsewhere), o output
gate.

Examples:
  ifco orders                 all frameworks and file formats, a line each
  ifco orders pytorch         one of them, with the slice of each gate
  ifco orders onnx --json";

/// Show the order in which each framework packs the gates of an LSTM
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A framework or file format, such as keras, pytorch, onnx, tf1
    framework: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

const PARTS: [(Part, &str); 3] = [
    (Part::Kernel, "kernel"),
    (Part::RecurrentKernel, "recurrent_kernel"),
    (Part::Bias, "bias"),
];

pub fn run(args: &Args) -> Result<(), Failure> {
    let found = args.framework.as_deref().map(find).transpose()?;
    let text = match (found, args.json) {
        (None, false) => all(),
        (Some(packing), false) => one(packing),
        (None, true) => {
            let all: Vec<Value> = packing::ALL.iter().map(json_of).collect();
            format!("{:#}\n", Value::Array(all))
        }
        (Some(packing), true) => format!("{:#}\n", json_of(packing)),
    };
    output::print(&text)
}

fn find(name: &str) -> Result<&'static Packing, Failure> {
    packing::find(name).ok_or_else(|| {
        let keys: Vec<&str> = packing::ALL.iter().map(|packing| packing.key).collect();
        let names = packing::ALL.iter().flat_map(|packing| {
            let aliases = packing.aliases.iter().copied();
            aliases.chain([packing.key, packing.name])
        });
        let list = format!("the known ones are: {}", keys.join(", "));
        Failure::usage(format_args!("no framework {name:?} is known")).help(
            match closest(&name.to_lowercase(), &names.collect::<Vec<_>>()) {
                Some(closest) => format!("did you mean {closest:?}? {list}"),
                None => list,
            },
        )
    })
}

fn all() -> String {
    let rows = packing::ALL
        .iter()
        .map(|packing| {
            vec![
                packing.key.into(),
                packing.name.into(),
                packing.order_text(),
                keras_order(packing),
                layout(packing.layout).1.into(),
            ]
        })
        .collect();
    let header = [
        "key",
        "framework",
        "its order",
        "in Keras's letters",
        "gates as",
    ];
    let mut text = table(&header, &[], rows);
    text.push_str("\n`ifco orders KEY` shows the slices of one of them.\n");
    text
}

fn one(packing: &Packing) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("framework", packing.name);
    if !packing.aliases.is_empty() {
        line("also known as", &packing.aliases.join(", "));
    }
    line("order", &packing.order_text());
    line("for Keras", &keras_order(packing));
    line("gates as", layout(packing.layout).1);
    line("biases", biases(packing).1);
    if let Some(forget_bias) = packing.forget_bias {
        line(
            "forget bias",
            &format!("{forget_bias} is added when it runs, and is not in the stored bias"),
        );
    }
    line("notes", packing.notes);
    text.push('\n');
    let rows = PARTS
        .iter()
        .map(|&(part, name)| {
            let arrays = packing.arrays(part);
            vec![name.into(), arrays.name.into(), arrays.shape.into()]
        })
        .collect();
    text.push_str(&table(&["Keras's", "here", "shape"], &[], rows));
    text.push('\n');
    let rows = Gate::ALL
        .iter()
        .flat_map(|&gate| {
            PARTS.iter().enumerate().map(move |(index, &(part, name))| {
                let first = index == 0;
                vec![
                    if first {
                        gate.name().into()
                    } else {
                        String::new()
                    },
                    if first {
                        packing.letter(gate).into()
                    } else {
                        String::new()
                    },
                    format!("{name}_{}", gate.letter()),
                    packing.slice(part, gate),
                ]
            })
        })
        .collect();
    let header = ["gate", "letter", "ifco's array", "slice"];
    text.push_str(&table(&header, &[], rows));
    text
}

fn json_of(packing: &Packing) -> Value {
    let slices = |gate: Gate| -> Value {
        PARTS
            .iter()
            .map(|&(part, name)| (name.to_string(), Value::from(packing.slice(part, gate))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let arrays: serde_json::Map<String, Value> = PARTS
        .iter()
        .map(|&(part, name)| {
            let arrays = packing.arrays(part);
            let value = json!({ "name": arrays.name, "shape": arrays.shape });
            (name.into(), value)
        })
        .collect();
    let gates: Vec<Value> = Gate::ALL
        .iter()
        .map(|&gate| {
            json!({
                "gate": gate.letter(),
                "name": gate.name(),
                "letter": packing.letter(gate),
                "position": packing.position(gate),
                "slices": slices(gate),
            })
        })
        .collect();
    json!({
        "key": packing.key,
        "name": packing.name,
        "aliases": packing.aliases,
        "order": packing.order.map(Gate::letter),
        "layout": layout(packing.layout).0,
        "biases": biases(packing).0,
        "forget_bias": packing.forget_bias,
        "notes": packing.notes,
        "arrays": arrays,
        "gates": gates,
    })
}

/// `i c f o`: the order in the letters of Keras, whatever the framework calls its gates.
fn keras_order(packing: &Packing) -> String {
    packing
        .order
        .map(|gate| gate.letter().to_string())
        .join(" ")
}

/// A word for programs and one for people.
fn layout(layout: Layout) -> (&'static str, &'static str) {
    match layout {
        Layout::Columns => ("columns", "columns"),
        Layout::TransposedColumns => ("transposed_columns", "columns, each block transposed"),
        Layout::Rows => ("rows", "rows"),
        Layout::SeparateColumns => ("separate_columns", "arrays (inputs, u)"),
        Layout::SeparateRows => ("separate_rows", "arrays (u, inputs)"),
    }
}

/// A word for programs and one for people.
fn biases(packing: &Packing) -> (&'static str, &'static str) {
    match packing.biases {
        Biases::One => ("one", "one"),
        Biases::Two => ("two", "two, to be summed"),
        Biases::Recurrent => ("recurrent", "one, on the recurrent side"),
    }
}
