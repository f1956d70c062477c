//! What a cell has beyond Keras's in the words of formats that have no place for it, where there are
//! any.
//!
//! | option | becomes |
//! |---|---|
//! | `forget_bias` | a part of the forget gate's bias |
//! | `input_forget`, f = 1 − i | a gate of its own: 1 − σ(z) is σ(−z), so its weights are those of i with the other sign |
//! | `clip`, `cell_clip`, `projection_clip` | nothing, with `lossy`: the same for as long as no value reaches the limit |

use ifco_cell::{Activation, Cell, Gate, LstmCell};
use ifco_model::{Model, ModelError};
use ndarray::{Array1, ArrayD, Axis, Slice};
use serde_json::{Value, json};

use crate::{Format, SaveError, SaveOptions};

/// What only keeps values within limits.
pub(crate) const LIMITS: [&str; 3] = ["clip", "cell_clip", "projection_clip"];

/// The model without the options that the format lacks and that can be told otherwise, and a note for
/// each cell; `None` where there are none.
///
/// # Errors
/// When the cells' new words make no model.
pub(crate) fn plain(
    model: &Model,
    format: &Format,
    options: &SaveOptions,
) -> Result<Option<(Model, Vec<String>)>, SaveError> {
    // Weights alone go with the architecture that the model has.
    let is_alone = format.extensions.contains(&".weights.h5");
    let Some(mut weights) = model.weights().filter(|_| !is_alone) else {
        return Ok(None);
    };
    // The configuration is told otherwise as a whole: an option of which one cell must keep its own
    // stays everywhere.
    let cells = model.cells();
    let lacking = |cell: &Cell| {
        cell.extras()
            .into_iter()
            .filter(|e| !format.holds.contains(e))
    };
    let mut gone: Vec<&str> = cells.iter().flat_map(|(_, cell)| lacking(cell)).collect();
    for (_, cell) in &cells {
        let own = told_otherwise(cell, format, options);
        gone.retain(|option| own.contains(option) || !cell.extras().contains(option));
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let mut notes = Vec::new();
    let mut from = 0;
    for (path, cell) in cells {
        let Some((at, has_bias)) = place(&weights, from, cell) else {
            return Ok(None);
        };
        from = at + 2;
        let mut own = cell.extras();
        own.retain(|option| gone.contains(option));
        for option in &own {
            notes.push(format!("{path}: {}", note(cell, option)));
        }
        if let Cell::Lstm(lstm) = cell {
            if own.contains(&"input_forget") {
                let arrays = &mut weights[at..at + 2 + usize::from(has_bias)];
                arrays.iter_mut().for_each(|array| uncoupled(array, lstm));
            }
            if own.contains(&"forget_bias") {
                if !has_bias {
                    let zeros = Array1::zeros(4 * lstm.weights().units()).into_dyn();
                    weights.insert(at + 2, zeros);
                }
                let mut forget = part(&mut weights[at + 2], Gate::Forget, lstm);
                forget += lstm.options().forget_bias;
            }
        }
    }
    let mut config = model.config().clone();
    without(&mut config, &gone);
    let broken = |error: ModelError| SaveError::Model {
        reason: format!(
            "its cells cannot be told in the words of {}: {error}",
            format.name
        ),
        remedy: "save it as .onnx or .npz".into(),
    };
    let mut plain = Model::from_config(&config, model.generation()).map_err(broken)?;
    plain.set_weights(weights).map_err(broken)?;
    plain.set_about(model.about().clone());
    Ok(Some((plain, notes)))
}

/// The options of a cell that the format lacks and that can be told otherwise.
fn told_otherwise(cell: &Cell, format: &Format, options: &SaveOptions) -> Vec<&'static str> {
    let mut lacking = cell.extras();
    lacking.retain(|extra| !format.holds.contains(extra));
    lacking.retain(|extra| match (*extra, cell) {
        // It would be normalized with the sum.
        ("forget_bias", Cell::Lstm(cell)) => cell.weights().layer_norm().is_none(),
        ("input_forget", Cell::Lstm(cell)) => is_odd(cell.recurrent_activation()),
        (extra, _) => options.lossy && LIMITS.contains(&extra),
    });
    // Coupled gates share the peephole, which is added to the one and not to the other.
    if lacking.contains(&"input_forget") && cell.extras().contains(&"peepholes") {
        lacking.retain(|extra| *extra != "input_forget");
    }
    lacking
}

/// Whether 1 − σ(z) is σ(−z).
fn is_odd(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Sigmoid
            | Activation::HardSigmoid
            | Activation::HardSigmoidKeras2
            | Activation::SparseSigmoid
    )
}

fn note(cell: &Cell, option: &str) -> String {
    let limit = |limit: Option<f32>| limit.map_or_else(String::new, |limit| limit.to_string());
    let (options, clip) = match cell {
        Cell::Lstm(cell) => (Some(cell.options()), cell.options().clip),
        Cell::Gru(cell) => (None, cell.clip()),
        Cell::SimpleRnn(cell) => (None, cell.clip()),
        _ => (None, None),
    };
    let of = |get: fn(ifco_cell::LstmOptions) -> Option<f32>| limit(options.and_then(get));
    match option {
        "forget_bias" => {
            let more = options.map_or(0.0, |options| options.forget_bias);
            format!("its forget bias {more} is written as a part of its bias")
        }
        "input_forget" => "its forget gate, which was 1 − i, has weights of its own now: those of \
                           i with the other sign"
            .into(),
        "clip" => format!(
            "what goes into its gates is not kept within {} any more",
            limit(clip)
        ),
        "cell_clip" => format!(
            "its cell state is not kept within {} any more",
            of(|o| o.cell_clip)
        ),
        _ => format!(
            "its hidden state is not kept within {} any more",
            of(|o| o.projection_clip)
        ),
    }
}

/// Where a cell's arrays begin among the model's, from a place on, and whether it has a bias.
fn place(weights: &[ArrayD<f32>], from: usize, cell: &Cell) -> Option<(usize, bool)> {
    let (kernel, recurrent, has_bias) = match cell {
        Cell::Lstm(cell) => {
            let own = cell.weights();
            (
                own.fused_kernel(),
                own.fused_recurrent_kernel(),
                own.fused_bias().is_some(),
            )
        }
        Cell::Gru(cell) => {
            let own = cell.weights();
            (
                own.fused_kernel(),
                own.fused_recurrent_kernel(),
                own.fused_bias().is_some(),
            )
        }
        Cell::SimpleRnn(cell) => {
            let own = cell.weights();
            (own.kernel(), own.recurrent_kernel(), own.bias().is_some())
        }
        _ => return None,
    };
    let (kernel, recurrent) = (kernel.into_dyn(), recurrent.into_dyn());
    let bits = |array: &ArrayD<f32>, other: &ndarray::ArrayViewD<'_, f32>| {
        let both = array.iter().zip(other);
        array.shape() == other.shape() && both.into_iter().all(|(a, b)| a.to_bits() == b.to_bits())
    };
    let is_it = |pair: &[ArrayD<f32>]| bits(&pair[0], &kernel) && bits(&pair[1], &recurrent);
    let at = weights.get(from..)?.windows(2).position(is_it)?;
    Some((from + at, has_bias))
}

/// A gate's columns of an array.
fn part<'a>(
    array: &'a mut ArrayD<f32>,
    gate: Gate,
    cell: &LstmCell,
) -> ndarray::ArrayViewMutD<'a, f32> {
    let last = Axis(array.ndim() - 1);
    array.slice_axis_mut(last, Slice::from(gate.columns(cell.weights().units())))
}

/// The forget gate's columns become those of the input gate with the other sign.
fn uncoupled(array: &mut ArrayD<f32>, cell: &LstmCell) {
    let input = part(array, Gate::Input, cell).mapv(|value| -value);
    part(array, Gate::Forget, cell).assign(&input);
}

/// The configuration of all cells without these options.
fn without(config: &mut Value, gone: &[&str]) {
    match config {
        Value::Object(object) => {
            let mut has_forget_bias = false;
            if let Some(own) = object.get_mut("ifco").and_then(Value::as_object_mut) {
                has_forget_bias = gone.contains(&"forget_bias") && own.contains_key("forget_bias");
                own.retain(|key, _| !gone.contains(&key.as_str()));
                if own.is_empty() {
                    object.remove("ifco");
                }
            }
            if has_forget_bias {
                object.insert("use_bias".into(), json!(true));
            }
            object.values_mut().for_each(|value| without(value, gone));
        }
        Value::Array(array) => array.iter_mut().for_each(|value| without(value, gone)),
        _ => {}
    }
}
