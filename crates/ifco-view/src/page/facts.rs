//! What the page is told of the model, as JSON.

use ifco_cell::packing::{self, GruPacking, Packing, Part, SIMPLE_RNNS, SimpleRnnPacking};
use ifco_cell::{Cell, Gate, GruGate, NormedSums};
use ifco_model::{LayerEntry, Model, Port};
use serde_json::{Map, Value, json};

use super::text::Writing;
use super::{Page, Subject};
use crate::color::Theme;
use crate::parts::{Fused, fused};

/// The frameworks whose names the page tells beside Keras's.
const FRAMEWORKS: [&str; 3] = ["keras", "pytorch", "onnx"];

impl Page {
    /// Everything that does not change while the page is open.
    pub(super) fn facts(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "title": self.title,
            "model": match &self.subject {
                Subject::Model(model) => model_facts(model),
                Subject::Weights(_) => Value::Null,
            },
            "cells": self.cells().iter().map(|(path, cell)| cell_facts(path, cell)).collect::<Value>(),
            "inputs": self.input_facts(),
            "rows": self.rows(),
            "vocabulary": self.output_tokens(),
            "hasVocabulary": self.vocabulary.is_some(),
            "colors": { "light": colors(Theme::Light), "dark": colors(Theme::Dark) },
        })
    }

    fn input_facts(&self) -> Value {
        let Subject::Model(model) = &self.subject else {
            return Value::Array(Vec::new());
        };
        let writings = self.writings();
        let inputs = model.inputs().iter().zip(writings);
        let facts = inputs.map(|(port, writing)| {
            let (kind, known) = match writing {
                Writing::Numbers => ("numbers", None),
                Writing::Tokens { known } => ("tokens", Some(known)),
            };
            json!({ "name": port.name, "shape": port.shape, "kind": kind, "known": known })
        });
        facts.collect()
    }

    /// The vocabulary, where an output may be over it: then its largest value is a token.
    fn output_tokens(&self) -> Option<Vec<&str>> {
        let vocabulary = self.vocabulary.as_ref()?;
        let Subject::Model(model) = &self.subject else {
            return None;
        };
        let is_over = |port: &Port| {
            let last = port.shape.as_ref().and_then(|shape| shape.last().copied());
            last.flatten() == Some(vocabulary.len())
        };
        model.outputs().iter().any(is_over).then(|| {
            (0..vocabulary.len())
                .filter_map(|number| vocabulary.token(number))
                .collect()
        })
    }
}

/// Which inputs are tokens: those that an Embedding looks up.
pub(super) fn writings(model: &Model) -> Vec<Writing> {
    let inputs = model.inputs();
    let takes = |layer: &LayerEntry, port: &Port| {
        layer.inbound.contains(&port.name) || layer.inbound.is_empty() && inputs.len() == 1
    };
    let writing = |port: &Port| {
        let embedding = model
            .layers()
            .iter()
            .find(|layer| layer.layer.class_name() == "Embedding" && takes(layer, port));
        match embedding.and_then(rows_of_embedding) {
            Some(known) => Writing::Tokens { known },
            None => Writing::Numbers,
        }
    };
    inputs.iter().map(writing).collect()
}

/// An Embedding's weights are (tokens, features): it has as many rows as tokens.
fn rows_of_embedding(layer: &LayerEntry) -> Option<usize> {
    let shapes = layer.output_shapes.as_ref().ok()?;
    let features = shapes.first()?.last().copied().flatten()?;
    layer.parameters?.checked_div(features)
}

/// The index of the input that a cell's sequence comes from, as far as the graph tells: the first
/// input of each layer on the way is taken for the sequence.
pub(super) fn source(model: &Model, path: &str) -> Option<usize> {
    let layers = model.layers();
    let named = |name: &str| layers.iter().find(|layer| layer.name == name);
    let mut layer = layers.iter().find(|layer| {
        let below = path.strip_prefix(layer.name.as_str());
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    })?;
    // A graph has no circles, but a layer may stand in it twice.
    for _ in 0..layers.len() {
        let inputs = model.inputs();
        if let Some(index) = inputs.iter().position(|port| port.name == layer.name) {
            return Some(index);
        }
        match layer.inbound.first() {
            None => return (inputs.len() == 1).then_some(0),
            Some(name) => match inputs.iter().position(|port| port.name == *name) {
                Some(index) => return Some(index),
                None => layer = named(name)?,
            },
        }
    }
    None
}

fn model_facts(model: &Model) -> Value {
    json!({
        "name": model.name(),
        "layers": layers(model),
        "inputs": ports(model.inputs()),
        "outputs": ports(model.outputs()),
    })
}

fn ports(ports: &[Port]) -> Vec<Value> {
    let port = |port: &Port| json!({ "name": port.name, "shape": port.shape });
    ports.iter().map(port).collect()
}

fn layers(model: &Model) -> Vec<Value> {
    let layer = |layer: &LayerEntry| {
        let shapes = layer.output_shapes.as_ref().ok();
        let shapes = shapes.map(|shapes| {
            let texts = shapes.iter().map(|shape| ifco_model::display_shape(shape));
            texts.collect::<Vec<_>>().join(", ")
        });
        json!({
            "name": layer.name,
            "class": layer.layer.class_name(),
            "shape": shapes,
            "parameters": layer.parameters,
            "from": layer.inbound,
            "runs": layer.layer.can_run(),
        })
    };
    model.layers().iter().map(layer).collect()
}

fn cell_facts(path: &str, cell: &Cell) -> Value {
    let mut facts = json!({
        "path": path,
        "units": cell.units(),
        "outputs": cell.outputs(),
        "features": cell.features(),
        "arrays": fused(cell).iter().map(array_facts).collect::<Value>(),
        "options": options(cell),
    });
    let own = match cell {
        Cell::Lstm(lstm) => json!({
            "kind": "LSTM",
            "activation": lstm.activation().name(),
            "recurrent_activation": lstm.recurrent_activation().name(),
            "output_activation": lstm.output_activation().name(),
            "biases": usize::from(lstm.weights().fused_bias().is_some()),
            "gates": Gate::ALL.map(|gate| json!({
                "letter": gate.letter(),
                "array": if gate == Gate::Cell { "c_tilde".into() } else { gate.letter().to_string() },
                "name": gate.name(),
                "places": lstm_places(gate),
            })),
        }),
        Cell::Gru(gru) => json!({
            "kind": "GRU",
            "activation": gru.activation().name(),
            "recurrent_activation": gru.recurrent_activation().name(),
            "reset_after": gru.reset_after(),
            "biases": gru.weights().fused_bias().map_or(0, |bias| bias.nrows()),
            "gates": GruGate::ALL.map(|gate| json!({
                "letter": gate.letter(),
                "array": if gate == GruGate::Candidate { "h_tilde".into() } else { gate.letter().to_string() },
                "name": gate.name(),
                "places": gru_places(gate, if gru.reset_after() { 2 } else { 1 }),
            })),
        }),
        Cell::SimpleRnn(rnn) => json!({
            "kind": "SimpleRNN",
            "activation": rnn.activation().name(),
            "biases": usize::from(rnn.weights().bias().is_some()),
            "gates": [json!({
                "letter": "h",
                "array": "h",
                "name": "hidden state",
                "places": simple_rnn_places(),
            })],
        }),
        _ => json!({ "kind": "unknown", "gates": [], "biases": 0 }),
    };
    if let (Value::Object(facts), Value::Object(own)) = (&mut facts, own) {
        facts.extend(own);
    }
    facts
}

/// One of the arrays of a cell.
fn array_facts(array: &Fused<'_>) -> Value {
    json!({
        "name": array.name,
        "letter": array.letter,
        "rows": array.values.nrows(),
        "columns": array.values.ncols(),
        "by_gate": array.is_by_gate,
        "without": array.without,
        "shape": array.shape,
    })
}

/// What a cell does otherwise than Keras's.
fn options(cell: &Cell) -> Value {
    match cell {
        Cell::Lstm(cell) => {
            let (options, weights) = (cell.options(), cell.weights());
            let norm = weights.layer_norm().map(|norm| match norm.sums {
                NormedSums::Products { .. } => "products",
                _ => "gates",
            });
            json!({
                "peepholes": weights.peepholes().is_some(),
                "projection": weights.projection().is_some(),
                "layer_norm": norm,
                "input_forget": options.input_forget,
                "clip": options.clip,
                "cell_clip": options.cell_clip,
                "projection_clip": options.projection_clip,
                "forget_bias": options.forget_bias,
            })
        }
        Cell::Gru(cell) => json!({ "clip": cell.clip() }),
        Cell::SimpleRnn(cell) => json!({ "clip": cell.clip() }),
        _ => json!({}),
    }
}

const PARTS: [(&str, Part); 3] = [
    ("kernel", Part::Kernel),
    ("recurrent_kernel", Part::RecurrentKernel),
    ("bias", Part::Bias),
];

/// The unit's place in a block, for the page to fill in.
fn index(block: usize) -> String {
    format!("{{{block}}}")
}

/// Where a gate's weights are in each framework: the slice, and how one reads a single weight,
/// with `{2}` for the unit's place in block 2 and `{row}` for the input. Where the rows of a part
/// are not alike there is one for each row.
fn lstm_places(gate: Gate) -> Vec<Value> {
    let place_in = |packing: &Packing| {
        let parts = PARTS.map(|(name, part)| {
            let element = packing.element(part, gate, index, "{row}");
            (name, json!(packing.slice(part, gate)), json!(element))
        });
        place(packing.name, packing.key, parts)
    };
    let known = FRAMEWORKS.iter().filter_map(|key| packing::find(key));
    known.map(place_in).collect()
}

fn gru_places(gate: GruGate, biases: usize) -> Vec<Value> {
    let place_in = |packing: &GruPacking| {
        let of = |part, bias| {
            let slice = packing.slice(part, gate, bias)?;
            let element = packing.element(part, gate, bias, index, "{row}")?;
            Some((slice, element))
        };
        let parts = PARTS.map(|(name, part)| {
            // Two rows with reset_after=True: the input's bias and the recurrent one.
            let rows = match part {
                Part::Bias if biases == 2 => vec![of(part, Some(0)), of(part, Some(1))],
                _ => vec![of(part, None)],
            };
            let rows: Option<Vec<_>> = rows.into_iter().collect();
            let (slices, elements): (Vec<_>, Vec<_>) = rows.unwrap_or_default().into_iter().unzip();
            match slices.len() {
                0 => (name, Value::Null, Value::Null),
                1 => (name, json!(slices[0]), json!(elements[0])),
                _ => (name, json!(slices), json!(elements)),
            }
        });
        place(packing.name, packing.key, parts)
    };
    let known = FRAMEWORKS.iter().filter_map(|key| packing::find_gru(key));
    // PyTorch has no GRU whose reset gate comes before the product.
    let known =
        known.filter(|packing| biases != 1 || packing.slice(Part::Bias, gate, None).is_some());
    known.map(place_in).collect()
}

fn simple_rnn_places() -> Vec<Value> {
    let place_in = |packing: &SimpleRnnPacking| {
        let parts = PARTS.map(|(name, part)| {
            let element = packing.element(part, index, "{row}");
            (name, json!(packing.slice(part)), json!(element))
        });
        place(packing.name, packing.key, parts)
    };
    SIMPLE_RNNS.iter().map(place_in).collect()
}

fn place(name: &str, key: &str, parts: [(&str, Value, Value); 3]) -> Value {
    let parts: Map<String, Value> = parts
        .into_iter()
        .map(|(part, slice, element)| (part.into(), json!({ "slice": slice, "element": element })))
        .collect();
    json!({ "name": name, "key": key, "parts": parts })
}

/// All arrays of a cell, one after the other, each row by row.
pub(super) fn weights(cell: &Cell) -> Vec<f32> {
    let arrays = fused(cell);
    let numbers = arrays.iter().flat_map(|array| &array.values);
    numbers.copied().collect()
}

/// The colours of the pictures, for the page's own: CSS variables, and the maps in 255 steps.
fn colors(theme: Theme) -> Value {
    let steps = 0..=254;
    let share = |step: i32| step as f32 / 254.0;
    let sequential = steps.clone().map(|step| theme.sequential(share(step)));
    let diverging = steps.map(|step| theme.diverging(2.0 * share(step) - 1.0));
    let hex = |color: crate::color::Rgb| color.to_string().split_off(1);
    json!({
        "paper": theme.paper().to_string(),
        "ink": theme.ink().to_string(),
        "muted": theme.muted().to_string(),
        "grid": theme.grid().to_string(),
        "blank": theme.blank().to_string(),
        "alarm": theme.alarm().to_string(),
        "curves": (0..6).map(|n| theme.curve(n).to_string()).collect::<Vec<_>>(),
        "sequential": sequential.map(hex).collect::<String>(),
        "diverging": diverging.map(hex).collect::<String>(),
    })
}
