//! The report for people.

use std::fmt::Write;

use ifco::{LayerEntry, Model, Opened, Port, WeightsFile, WeightsSource, display_shape};

use super::{CellReport, Report};
use crate::inspect::{self, Figures, GateView};
use crate::opening::ARCHITECTURE_HELP;
use crate::output::{count, short, table, thousands};

/// Writes a line; to a `String` that does not fail.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {{ let _ = writeln!($text, $($arguments)*); }};
}

pub fn report(report: &Report<'_>) -> String {
    let mut text = String::new();
    if !report.is_selection {
        match report.opened {
            Opened::Model(found) => {
                model(&mut text, &report.file, found);
                if let Some(recipe) = &report.recipe {
                    line!(text, "made to:    {}", recipe.summary());
                }
            }
            Opened::Weights(found) => weights(&mut text, &report.file, found),
        }
        if report.cells.is_empty() {
            line!(text, "\nThere is no recurrent layer with weights in it.");
        }
    }
    for (index, report_of_cell) in report.cells.iter().enumerate() {
        if index > 0 || !report.is_selection {
            text.push('\n');
        }
        cell(&mut text, report_of_cell);
    }
    if let (Opened::Weights(weights), false) = (report.opened, report.cells.is_empty()) {
        let whose = weights.source.framework();
        line!(
            text,
            "\nThe activations are {whose}'s defaults: a weights file does not tell them."
        );
    }
    text
}

fn model(text: &mut String, file: &str, model: &Model) {
    line!(text, "{file}: model {:?}\n", model.name());
    let mut rows = Vec::new();
    let mut unknown = Vec::new();
    layers(model, "", &mut rows, &mut unknown);
    let header = ["layer", "class", "output shape", "parameters", "takes from"];
    text.push_str(&table(&header, &[3], rows));
    text.push('\n');
    let known = model.layers().iter().filter_map(|layer| layer.parameters);
    let has_all = model
        .layers()
        .iter()
        .all(|layer| layer.parameters.is_some());
    let more = if has_all { "" } else { ", and those not known" };
    line!(text, "parameters: {}{more}", thousands(known.sum()));
    line!(text, "inputs:     {}", ports(model.inputs()));
    line!(text, "outputs:    {}", ports(model.outputs()));
    about(text, model);
    for (name, reason) in unknown {
        line!(
            text,
            "note: the output shape of {name:?} is not known: {reason}"
        );
    }
}

/// What the file tells besides the layers, and where sequences begin if not at zeros.
fn about(text: &mut String, model: &Model) {
    let about = model.about();
    if let Some(format) = &about.format {
        line!(text, "format:     {format}");
    }
    if let Some(rate) = about.sample_rate {
        line!(text, "made for:   {rate} Hz");
    }
    let begin: Vec<&str> = model
        .layers()
        .iter()
        .filter(|entry| entry.layer.initial_states().is_some())
        .map(|entry| entry.name.as_str())
        .collect();
    if !begin.is_empty() {
        let layers = begin.join(", ");
        line!(text, "begins at:  states from the file, in {layers}");
    }
    for (name, fact) in &about.facts {
        line!(text, "{:<11} {fact}", format!("{name}:"));
    }
    for assumed in &about.assumed {
        line!(text, "assumed:    {assumed}");
    }
}

/// Rows for the layers, those of nested models below them by their paths.
fn layers(
    model: &Model,
    above: &str,
    rows: &mut Vec<Vec<String>>,
    unknown: &mut Vec<(String, String)>,
) {
    for layer in model.layers() {
        let path = format!("{above}{}", layer.name);
        rows.push(vec![
            path.clone(),
            layer.layer.class_name().into(),
            shapes(layer),
            layer.parameters.map_or("not known".into(), thousands),
            layer.inbound.join(", "),
        ]);
        if let Err(reason) = &layer.output_shapes {
            unknown.push((path.clone(), reason.clone()));
        }
        if let Some(inner) = layer.layer.as_model() {
            layers(inner, &format!("{path}/"), rows, unknown);
        }
    }
}

fn shapes(layer: &LayerEntry) -> String {
    match &layer.output_shapes {
        Ok(shapes) => {
            let shapes: Vec<String> = shapes.iter().map(|shape| display_shape(shape)).collect();
            shapes.join(", ")
        }
        Err(_) => "not known".into(),
    }
}

fn ports(ports: &[Port]) -> String {
    let ports: Vec<String> = ports
        .iter()
        .map(|port| match &port.shape {
            Some(shape) => format!("{} {}", port.name, display_shape(shape)),
            None => format!("{} (shape not known)", port.name),
        })
        .collect();
    ports.join(", ")
}

fn weights(text: &mut String, file: &str, weights: &WeightsFile) {
    line!(text, "{file}: weights without a model\n");
    let mut rows = Vec::new();
    let mut total = 0;
    for group in &weights.groups {
        let mut first = Some(match &group.name {
            Some(name) if *name != group.path => format!("{} ({name})", group.path),
            _ => group.path.clone(),
        });
        for (name, array) in &group.arrays {
            total += array.len();
            let shape: Vec<Option<usize>> = array.shape().iter().copied().map(Some).collect();
            rows.push(vec![
                first.take().unwrap_or_default(),
                name.clone(),
                display_shape(&shape),
                thousands(array.len()),
            ]);
        }
    }
    let header = ["group", "array", "shape", "parameters"];
    text.push_str(&table(&header, &[3], rows));
    line!(text, "\nparameters: {}", thousands(total));
    match weights.source {
        WeightsSource::Keras => line!(text, "to predict: {ARCHITECTURE_HELP}"),
        _ => line!(
            text,
            "to predict: `ifco predict` says what it assumes of the layers between; --spec \
             model.toml corrects it"
        ),
    }
    for note in &weights.notes {
        line!(text, "note: {note}");
    }
}

fn cell(text: &mut String, report: &CellReport<'_>) {
    let options: Vec<String> = report
        .options()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    line!(
        text,
        "{}: {}, {}, {}, {} parameters",
        report.path,
        inspect::class(report.cell),
        count(report.cell.units(), "unit"),
        count(report.cell.features(), "feature"),
        thousands(inspect::parameters(report.cell)),
    );
    line!(text, "  {}\n", options.join(", "));
    let has_gates = report.gates.iter().any(|(gate, _)| gate.letter.is_some());
    let mut header = vec!["norm W", "norm U", "mean b", "radius U", "near 0"];
    let mut right = vec![0, 1, 2, 3, 4];
    if report.has_peepholes() {
        header.push("norm p");
        right.push(5);
    }
    if has_gates {
        header.splice(0..0, ["", "gate", "columns"]);
        right.iter_mut().for_each(|column| *column += 3);
    }
    let rows = report
        .gates
        .iter()
        .map(|(gate, figures)| {
            let mut row = row(gate, figures);
            if report.has_peepholes() {
                row.push(figures.peephole_norm.map_or("none".into(), short));
            }
            row
        })
        .collect();
    text.push_str(&table(&header, &right, rows));
    text.push('\n');
    let besides = inspect::besides(report.cell);
    for (name, array) in &besides {
        let letter = if name == "projection" { " W_p" } else { "" };
        let shape: Vec<Option<usize>> = array.shape().iter().copied().map(Some).collect();
        line!(text, "  {name}{letter}: {}", display_shape(&shape));
    }
    if !besides.is_empty() {
        text.push('\n');
    }
    if report.odd.is_empty() {
        line!(text, "  nothing odd");
    }
    for odd in &report.odd {
        line!(text, "  odd: {}", odd.text);
    }
}

fn row(gate: &GateView<'_>, figures: &Figures) -> Vec<String> {
    let mut row = Vec::new();
    if let Some(letter) = gate.letter {
        row.extend([letter.into(), gate.name.into(), gate.slice("kernel")]);
    }
    row.extend([
        short(figures.kernel_norm),
        short(figures.recurrent_kernel_norm),
        figures.bias_mean.map_or("none".into(), short),
        match figures.spectral_radius {
            Some(radius) if radius.is_estimate => format!("≈ {}", short(radius.value)),
            Some(radius) => short(radius.value),
            None => "none".into(),
        },
        format!("{:.1} %", 100.0 * figures.near_zero),
    ]);
    row
}
