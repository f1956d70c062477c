//! ONNX's LSTM, GRU and RNN, of one or two directions.

use ifco_cell::packing;
use ifco_cell::{Activation, Cell, Gate};
use ndarray::{Array1, Array2, ArrayD, Axis, concatenate, s};

use super::activation::thresholded;
use super::graph::{Attribute, Graph};

/// What of an LSTM beyond Keras's the operator has: `LstmCell::extras`.
const HOLDS: [&str; 7] = [
    "peepholes",
    "input_forget",
    "clip",
    "forget_bias",
    "output_activation",
    "activation",
    "recurrent_activation",
];

/// Whether the operators compute what these cells do, one for each direction.
pub(super) fn fits(cells: &[&Cell]) -> bool {
    let fits = |cell: &&Cell| {
        let activations = activations_of(cell);
        let has_words = activations
            .into_iter()
            .all(|activation| word(activation).is_some());
        has_words && cell.extras().iter().all(|extra| HOLDS.contains(extra))
    };
    cells.iter().all(fits)
}

/// Runs the cells, one for each direction, on `x` of `(time, batch, features)` from `states` of
/// `(directions, batch, units)`: Y `(time, directions, batch, units)` and each state at the end.
///
/// # Errors
/// What the operator cannot do.
pub(super) fn run(
    graph: &mut Graph,
    name: &str,
    cells: &[&Cell],
    direction: &str,
    x: &str,
    states: &[String],
) -> Result<(String, Vec<String>), String> {
    let Some(first) = cells.first() else {
        return Err("it has no cell".into());
    };
    let mut activations = Vec::new();
    let (mut alpha, mut beta) = (Vec::new(), Vec::new());
    let mut parts: [Vec<ArrayD<f32>>; 3] = Default::default();
    for cell in cells {
        for activation in activations_of(cell) {
            let (word, values) = word(activation)
                .ok_or_else(|| format!("its activation {} is none of ONNX's", activation.name()))?;
            activations.push(word);
            alpha.extend(values.first());
            beta.extend(values.get(1));
        }
        for (part, array) in parts.iter_mut().zip(packed(cell)?) {
            part.push(array);
        }
    }
    if cells.iter().all(|cell| !has_bias(cell)) {
        parts[2].clear();
    }
    let mut stacked = Vec::new();
    for (key, arrays) in ["W", "R", "B"].iter().zip(&parts) {
        if arrays.is_empty() {
            stacked.push(String::new());
            continue;
        }
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        let array = ndarray::stack(Axis(0), &views)
            .map_err(|_| "its two directions differ in size".to_owned())?;
        stacked.push(graph.weight(&format!("{name}/{key}"), &array));
    }
    let peepholes = peepholes(graph, name, cells)?;
    let mut inputs = vec![x, &stacked[0], &stacked[1], &stacked[2]];
    if !states.is_empty() {
        inputs.push("");
        inputs.extend(states.iter().map(String::as_str));
    }
    if let Some(peepholes) = &peepholes {
        inputs.resize(7, "");
        inputs.push(peepholes);
    }
    let (op, reset_after) = match first {
        Cell::Lstm(_) => ("LSTM", None),
        Cell::Gru(cell) => ("GRU", Some(cell.reset_after())),
        Cell::SimpleRnn(_) => ("RNN", None),
        _ => return Err("its cell is none of ONNX's".into()),
    };
    let shared = |cell: &Cell| match cell {
        Cell::Lstm(cell) => (cell.options().input_forget, cell.options().clip),
        Cell::Gru(cell) => (false, cell.clip()),
        Cell::SimpleRnn(cell) => (false, cell.clip()),
        _ => (false, None),
    };
    let is_same = |cell: &&Cell| {
        let reset = match cell {
            Cell::Gru(cell) => Some(cell.reset_after()),
            _ => None,
        };
        cell.kind() == first.kind() && reset == reset_after && shared(cell) == shared(first)
    };
    if !cells.iter().all(is_same) {
        return Err("its two directions are of different kinds".into());
    }
    let mut attributes = vec![
        ("hidden_size", Attribute::Int(first.units() as i64)),
        ("direction", Attribute::Text(direction)),
        ("activations", Attribute::Texts(activations)),
    ];
    if let Some(reset_after) = reset_after {
        let value = Attribute::Int(i64::from(reset_after));
        attributes.push(("linear_before_reset", value));
    }
    let (input_forget, clip) = shared(first);
    if input_forget {
        attributes.push(("input_forget", Attribute::Int(1)));
    }
    if let Some(clip) = clip {
        attributes.push(("clip", Attribute::Float(clip)));
    }
    if !alpha.is_empty() {
        attributes.push(("activation_alpha", Attribute::Floats(alpha)));
    }
    if !beta.is_empty() {
        attributes.push(("activation_beta", Attribute::Floats(beta)));
    }
    let [y_name, h, c] = ["Y", "Y_h", "Y_c"].map(|output| format!("{name}/{output}"));
    Ok(match op {
        "LSTM" => {
            let [y, h, c] = graph.node(op, name, &inputs, [&y_name, &h, &c], &attributes);
            (y, vec![h, c])
        }
        _ => {
            let [y, h] = graph.node(op, name, &inputs, [&y_name, &h], &attributes);
            (y, vec![h])
        }
    })
}

/// P `(directions, 3·units)`, if a direction has peepholes: zeros for one that has none.
fn peepholes(graph: &mut Graph, name: &str, cells: &[&Cell]) -> Result<Option<String>, String> {
    let packing = packing::find("onnx").ok_or("the gate order of ONNX is not known")?;
    let of = |cell: &&Cell| match cell {
        Cell::Lstm(cell) => {
            let own = cell.weights().peepholes();
            own.map(|own| packing.peepholes_from_keras(own))
        }
        _ => None,
    };
    let all: Vec<_> = cells.iter().map(of).collect();
    if all.iter().all(Option::is_none) {
        return Ok(None);
    }
    let zeros = |cell: &Cell| Array1::zeros(3 * cell.units());
    let rows = all.into_iter().zip(cells);
    let rows: Vec<_> = rows
        .map(|(own, cell)| own.unwrap_or_else(|| zeros(cell)))
        .collect();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let array = ndarray::stack(Axis(0), &views)
        .map_err(|_| "its two directions differ in size".to_owned())?;
    Ok(Some(graph.weight(&format!("{name}/P"), &array.into_dyn())))
}

fn activations_of(cell: &Cell) -> Vec<Activation> {
    match cell {
        Cell::Lstm(cell) => vec![
            cell.recurrent_activation(),
            cell.activation(),
            cell.options()
                .output_activation
                .unwrap_or(cell.activation()),
        ],
        Cell::Gru(cell) => vec![cell.recurrent_activation(), cell.activation()],
        Cell::SimpleRnn(cell) => vec![cell.activation()],
        _ => Vec::new(),
    }
}

fn has_bias(cell: &Cell) -> bool {
    match cell {
        Cell::Lstm(cell) => {
            cell.weights().fused_bias().is_some() || cell.options().forget_bias != 0.0
        }
        Cell::Gru(cell) => cell.weights().fused_bias().is_some(),
        Cell::SimpleRnn(cell) => cell.weights().bias().is_some(),
        _ => false,
    }
}

/// ONNX's word for an activation of a gate, with alpha, or alpha and beta.
fn word(activation: Activation) -> Option<(&'static str, Vec<f32>)> {
    Some(match activation {
        Activation::Linear => ("Affine", vec![1.0, 0.0]),
        Activation::Sigmoid => ("Sigmoid", vec![]),
        Activation::Tanh => ("Tanh", vec![]),
        Activation::RELU => ("Relu", vec![]),
        Activation::Relu {
            negative_slope,
            max_value: None,
            threshold: 0.0,
        } => ("LeakyRelu", vec![negative_slope]),
        Activation::HardSigmoid => ("HardSigmoid", vec![1.0 / 6.0, 0.5]),
        Activation::HardSigmoidKeras2 => ("HardSigmoid", vec![0.2, 0.5]),
        Activation::Softsign => ("Softsign", vec![]),
        Activation::Softplus => ("Softplus", vec![]),
        Activation::Elu { alpha } => ("Elu", vec![alpha]),
        Activation::SparseSigmoid => ("HardSigmoid", vec![0.5, 0.5]),
        Activation::HardSigmoidOf { alpha, beta } => ("HardSigmoid", vec![alpha, beta]),
        Activation::Affine { alpha, beta } => ("Affine", vec![alpha, beta]),
        Activation::ScaledTanh { alpha, beta } => ("ScaledTanh", vec![alpha, beta]),
        other => ("ThresholdedRelu", vec![thresholded(other)?]),
    })
}

/// W `(gates·units, features)`, R `(gates·units, units)` and B `(2·gates·units)`.
fn packed(cell: &Cell) -> Result<[ArrayD<f32>; 3], String> {
    let standard = |array: Array2<f32>| array.as_standard_layout().into_owned().into_dyn();
    let both = |input: Array1<f32>, recurrent: Option<Array1<f32>>| {
        let recurrent = recurrent.unwrap_or_else(|| Array1::zeros(input.len()));
        let joined = concatenate(Axis(0), &[input.view(), recurrent.view()]);
        joined
            .map(|joined| joined.into_dyn())
            .map_err(|error| error.to_string())
    };
    Ok(match cell {
        Cell::Lstm(cell) => {
            let weights = cell.weights();
            let packing = packing::find("onnx").ok_or("the gate order of ONNX is not known")?;
            let text = |error: packing::PackingError| error.to_string();
            let zeros = Array1::zeros(4 * weights.units());
            let bias = weights.fused_bias().unwrap_or(zeros.view());
            let mut biases = packing.bias_from_keras(bias, None).map_err(text)?;
            let forget_bias = cell.options().forget_bias;
            if forget_bias != 0.0 {
                // In the recurrent one, which is zeros: so the other one keeps its bits.
                let mut own = Array1::zeros(4 * weights.units());
                let columns = Gate::Forget.columns(weights.units());
                own.slice_mut(s![columns]).fill(forget_bias);
                let own = packing.bias_from_keras(own.view(), None).map_err(text)?;
                if let (Some(recurrent), Some(own)) = (biases.get_mut(1), own.first()) {
                    recurrent.assign(own);
                }
            }
            let biases: Vec<_> = biases.iter().map(|bias| bias.view()).collect();
            let bias = concatenate(Axis(0), &biases).map_err(|error| error.to_string())?;
            [
                standard(
                    packing
                        .matrix_from_keras(weights.fused_kernel())
                        .map_err(text)?,
                ),
                standard(
                    packing
                        .matrix_from_keras(weights.fused_recurrent_kernel())
                        .map_err(text)?,
                ),
                bias.into_dyn(),
            ]
        }
        Cell::Gru(cell) => {
            // Rows z r h, as Keras's columns.
            let weights = cell.weights();
            let row = |index: usize| {
                let bias = weights.fused_bias()?;
                (index < bias.nrows()).then(|| bias.row(index).to_owned())
            };
            let input = row(0).unwrap_or_else(|| Array1::zeros(3 * weights.units()));
            [
                standard(weights.fused_kernel().t().to_owned()),
                standard(weights.fused_recurrent_kernel().t().to_owned()),
                both(input, row(1))?,
            ]
        }
        Cell::SimpleRnn(cell) => {
            let weights = cell.weights();
            let bias = weights.bias().map(|bias| bias.to_owned());
            [
                standard(weights.kernel().t().to_owned()),
                standard(weights.recurrent_kernel().t().to_owned()),
                both(bias.unwrap_or_else(|| Array1::zeros(weights.units())), None)?,
            ]
        }
        _ => return Err("its cell is none of ONNX's".into()),
    })
}
