//! Recurrent cells among the arrays of a weights file, told by shapes and names.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, SimpleRnnCell, SimpleRnnWeights,
};
use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2};

use crate::{WeightsFile, WeightsGroup};

/// Parts of a group's path that lie inside of a layer, and what users call them.
const INSIDE: [(&str, Option<&str>); 5] = [
    ("forward_layer", Some("forward")),
    ("backward_layer", Some("backward")),
    ("layer", None),
    ("cell", None),
    ("cells", None),
];

pub(crate) fn cells(file: &WeightsFile) -> Vec<(String, Cell)> {
    let mut cells = Vec::new();
    for group in &file.groups {
        for run in runs(&group.arrays) {
            if let Some(cell) = cell(group, run) {
                cells.push((path(group, run), cell));
            }
        }
    }
    cells
}

type Named = (String, ArrayD<f32>);

/// Legacy files list all arrays of a wrapper or a nested model together; what belongs to one
/// layer or cell shares the name before the last slash.
fn runs(arrays: &[Named]) -> impl Iterator<Item = &[Named]> {
    arrays.chunk_by(|(a, _), (b, _)| prefix(a) == prefix(b))
}

fn prefix(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(prefix, _)| prefix)
}

/// The path under which [`ifco_model::Model::cells`] would know the cell.
fn path(group: &WeightsGroup, run: &[Named]) -> String {
    let parts: Vec<&str> = group.path.split('/').collect();
    let inside = parts
        .iter()
        .enumerate()
        .position(|(i, part)| i > 0 && INSIDE.iter().any(|(name, _)| name == part))
        .unwrap_or(parts.len());
    let mut path = match &group.name {
        Some(name) => name.clone(),
        None => parts[..inside].join("/"),
    };
    for part in &parts[inside..] {
        match INSIDE.iter().find(|(name, _)| name == part) {
            Some((_, Some(word))) => push(&mut path, word),
            Some((_, None)) => {}
            None => push(&mut path, part),
        }
    }
    if run.len() < group.arrays.len() {
        push_legacy(&mut path, group, run);
    }
    path
}

/// Where in its layer the run of a legacy file lies, by the names of its arrays:
/// `bi/forward_lstm/lstm_cell/kernel:0`.
fn push_legacy(path: &mut String, group: &WeightsGroup, run: &[Named]) {
    let Some(prefix) = run.first().map(|(name, _)| prefix(name)) else {
        return;
    };
    let layer = group.name.as_deref().unwrap_or(&group.path);
    let mut stack = "";
    for part in prefix.split('/') {
        if part.starts_with("forward_") {
            push(path, "forward");
        } else if part.starts_with("backward_") {
            push(path, "backward");
        } else if part.starts_with("stacked_rnn_cells") {
            stack = part;
        } else if is_cell(part) {
            if !stack.is_empty() {
                // Stacked cells are known by their numbers.
                let in_stack = |run: &&[Named]| run[0].0.split('/').any(|part| part == stack);
                let number = runs(&group.arrays)
                    .filter(in_stack)
                    .position(|other| std::ptr::eq(other, run));
                push(path, &number.unwrap_or(0).to_string());
            }
        } else if part != layer {
            push(path, part);
        }
    }
}

fn push(path: &mut String, part: &str) {
    if !path.is_empty() && !part.is_empty() {
        path.push('/');
    }
    path.push_str(part);
}

/// A cell's own name inside its layer says nothing.
fn is_cell(part: &str) -> bool {
    ["lstm_cell", "gru_cell", "simple_rnn_cell"]
        .iter()
        .any(|cell| part.starts_with(cell))
}

/// The cell that these arrays are, if they are one.
fn cell(group: &WeightsGroup, run: &[Named]) -> Option<Cell> {
    let (kernel, recurrent_kernel, bias) = match run {
        [kernel, recurrent] => (&kernel.1, &recurrent.1, None),
        [kernel, recurrent, bias] => (&kernel.1, &recurrent.1, Some(&bias.1)),
        _ => return None,
    };
    let kernel = matrix(kernel)?;
    let recurrent_kernel = matrix(recurrent_kernel)?;
    let (units, columns) = recurrent_kernel.dim();
    if units == 0 || columns != kernel.ncols() {
        return None;
    }
    if columns == 4 * units {
        let bias = match bias {
            Some(bias) => Some(vector(bias, 4 * units)?),
            None => None,
        };
        let weights = LstmWeights::new(kernel, recurrent_kernel, bias).ok()?;
        let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
        return Some(Cell::Lstm(cell));
    }
    if columns == 3 * units {
        let bias = match bias {
            Some(bias) => Some(gru_bias(bias, 3 * units)?),
            None => None,
        };
        let reset_after = bias.as_ref().is_none_or(|bias| bias.nrows() == 2);
        let weights = GruWeights::new(kernel, recurrent_kernel, bias).ok()?;
        let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, reset_after);
        return Some(Cell::Gru(cell.ok()?));
    }
    // A square second array is nothing special: an attention's would do. A name must tell.
    if columns == units && is_recurrent_by_name(group, run) {
        let bias = match bias {
            Some(bias) => Some(vector(bias, units)?),
            None => None,
        };
        let weights = SimpleRnnWeights::new(kernel, recurrent_kernel, bias).ok()?;
        return Some(Cell::SimpleRnn(SimpleRnnCell::new(
            weights,
            Activation::Tanh,
        )));
    }
    None
}

fn is_recurrent_by_name(group: &WeightsGroup, run: &[Named]) -> bool {
    let second = run.get(1).map_or("", |(name, _)| name);
    second.contains("recurrent_kernel")
        || second.ends_with("_U")
        || second.ends_with("_U:0")
        || group.path.to_lowercase().contains("rnn")
        || group.path.split('/').any(|part| part == "cell")
}

fn matrix(array: &ArrayD<f32>) -> Option<Array2<f32>> {
    array
        .view()
        .into_dimensionality::<Ix2>()
        .ok()
        .map(|view| view.to_owned())
}

fn vector(array: &ArrayD<f32>, len: usize) -> Option<Array1<f32>> {
    let vector = array.view().into_dimensionality::<Ix1>().ok()?;
    (vector.len() == len).then(|| vector.to_owned())
}

/// `(3u)` with one bias, `(2, 3u)` with two.
fn gru_bias(array: &ArrayD<f32>, columns: usize) -> Option<Array2<f32>> {
    if let Some(bias) = vector(array, columns) {
        return Some(bias.insert_axis(Axis(0)));
    }
    let bias = matrix(array)?;
    (bias.dim() == (2, columns)).then_some(bias)
}
