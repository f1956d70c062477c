//! The report for programs. Its schema is docs/show-json.md: what stands there stays.

use ifco::tasks::Recipe;
use ifco::{Model, Opened, Port, WeightsFile};
use serde_json::{Value, json};

use super::{CellReport, Report};
use crate::inspect::{self, Figures, GateView};
use crate::output::json_number;

/// Raised when a field goes or changes its meaning; new fields do not raise it.
const SCHEMA: u32 = 1;

pub fn report(report: &Report<'_>) -> Value {
    let cells: Vec<Value> = report.cells.iter().map(cell).collect();
    let mut value = json!({ "schema": SCHEMA, "file": report.file });
    let content = match report.opened {
        Opened::Model(found) => model(found),
        Opened::Weights(found) => weights(found),
    };
    // Both are objects.
    if let (Value::Object(value), Value::Object(content)) = (&mut value, content) {
        value.extend(content);
        let recipe = report.recipe.as_ref().map(Recipe::to_json);
        value.insert("recipe".into(), recipe.unwrap_or_default());
        value.insert("cells".into(), Value::Array(cells));
    }
    value
}

fn model(model: &Model) -> Value {
    let known = model.layers().iter().map(|layer| layer.parameters);
    json!({
        "kind": "model",
        "name": model.name(),
        "parameters": known.sum::<Option<usize>>(),
        "inputs": ports(model.inputs()),
        "outputs": ports(model.outputs()),
        "layers": layers(model),
        "about": about(model),
    })
}

fn about(model: &Model) -> Value {
    let about = model.about();
    let facts = about.facts.iter();
    let facts: serde_json::Map<String, Value> = facts
        .map(|(name, fact)| (name.clone(), fact.as_str().into()))
        .collect();
    json!({
        "format": about.format,
        "sample_rate": about.sample_rate,
        "facts": facts,
        "assumed": about.assumed,
    })
}

fn layers(model: &Model) -> Vec<Value> {
    model
        .layers()
        .iter()
        .map(|layer| {
            json!({
                "name": layer.name,
                "class": layer.layer.class_name(),
                "output_shapes": layer.output_shapes.as_ref().ok(),
                "why_no_output_shapes": layer.output_shapes.as_ref().err(),
                "parameters": layer.parameters,
                "takes_from": layer.inbound,
                "begins_at_given_states": layer.layer.initial_states().is_some(),
                "layers": layer.layer.as_model().map(layers),
            })
        })
        .collect()
}

fn ports(ports: &[Port]) -> Vec<Value> {
    ports
        .iter()
        .map(|port| json!({ "name": port.name, "shape": port.shape }))
        .collect()
}

fn weights(weights: &WeightsFile) -> Value {
    let arrays = |arrays: &[(String, ndarray::ArrayD<f32>)]| -> Vec<Value> {
        arrays
            .iter()
            .map(|(name, array)| json!({ "name": name, "shape": array.shape() }))
            .collect()
    };
    let all = weights.groups.iter().flat_map(|group| &group.arrays);
    let groups: Vec<Value> = weights
        .groups
        .iter()
        .map(|group| {
            json!({
                "path": group.path,
                "name": group.name,
                "arrays": arrays(&group.arrays),
            })
        })
        .collect();
    json!({
        "kind": "weights",
        "parameters": all.map(|(_, array)| array.len()).sum::<usize>(),
        "groups": groups,
    })
}

fn cell(report: &CellReport<'_>) -> Value {
    let options: serde_json::Map<String, Value> = report
        .options()
        .into_iter()
        .map(|(name, value)| {
            let value = match value.as_str() {
                "True" => Value::Bool(true),
                "False" => Value::Bool(false),
                text => match text.parse::<f64>() {
                    Ok(_) if name == "projection" => json!(text.parse::<usize>().ok()),
                    Ok(number) => json_number(number),
                    Err(_) => Value::String(value),
                },
            };
            (name.into(), value)
        })
        .collect();
    let odd: Vec<Value> = report
        .odd
        .iter()
        .map(|odd| json!({ "kind": odd.kind, "gate": odd.gate, "text": odd.text }))
        .collect();
    let gates: Vec<Value> = report
        .gates
        .iter()
        .map(|(view, figures)| gate(view, figures))
        .collect();
    let besides: Vec<Value> = inspect::besides(report.cell)
        .iter()
        .map(|(name, array)| json!({ "name": name, "shape": array.shape() }))
        .collect();
    json!({
        "path": report.path,
        "class": inspect::class(report.cell),
        "units": report.cell.units(),
        "features": report.cell.features(),
        "outputs": report.cell.outputs(),
        "parameters": inspect::parameters(report.cell),
        "options": options,
        "gates": gates,
        "besides": besides,
        "odd": odd,
    })
}

fn gate(gate: &GateView<'_>, figures: &Figures) -> Value {
    let slices: serde_json::Map<String, Value> = gate
        .arrays()
        .into_iter()
        .map(|(name, _)| (name.into(), gate.slice(name).into()))
        .collect();
    json!({
        "gate": gate.letter,
        "name": gate.letter.map(|_| gate.name),
        "columns": [gate.columns.start, gate.columns.end],
        "slices": slices,
        "kernel_norm": json_number(figures.kernel_norm),
        "recurrent_kernel_norm": json_number(figures.recurrent_kernel_norm),
        "bias_mean": figures.bias_mean.map(json_number),
        "peephole_norm": figures.peephole_norm.map(json_number),
        "spectral_radius": figures.spectral_radius.map(|radius| json_number(radius.value)),
        "spectral_radius_is_estimate": figures.spectral_radius.map(|radius| radius.is_estimate),
        "near_zero": figures.near_zero,
    })
}
