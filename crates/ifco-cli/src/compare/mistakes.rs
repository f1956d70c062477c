//! The mistakes that are made when a model is carried to another framework, each tried on B: one
//! that makes B answer as A does is what happened.

use std::path::Path;

use ifco::packing;
use ifco::{Gate, Model, Opened};
use ndarray::{Array1, ArrayD, Axis, Ix2, Slice, concatenate};
use serde_json::{Value, json};

use super::Pair;
use crate::seeded;

/// The places of one recurrent cell's arrays among the model's.
struct Cell {
    kernel: usize,
    recurrent_kernel: usize,
    bias: Option<usize>,
    gates: usize,
}

/// A way to make good a mistake: what it was, and the arrays changed; `None` where it cannot have
/// been made.
type Fix<'a> = (
    String,
    Box<dyn Fn(&mut Vec<ArrayD<f32>>, &Cell) -> Option<()> + 'a>,
);

/// More cells than these are not tried one by one.
const ALONE: usize = 12;

/// What B got wrong, if it is one known mistake.
pub fn hint(pair: &Pair<'_>, a: &Path, b: &Path) -> Option<String> {
    let weights = pair.b.weights()?;
    let cells = cells(pair.b, &weights);
    let works = |weights: &[ArrayD<f32>], config: &Value| {
        let model = rebuilt(pair.b, weights.to_vec(), config);
        model.is_some_and(|model| {
            seeded::run(&model, &pair.inputs).is_ok_and(|found| pair.agrees(&found))
        })
    };
    let config = pair.b.config();
    for (what, fix) in fixes() {
        let mut all = weights.clone();
        let fixed: Vec<bool> = cells
            .iter()
            .map(|cell| fix(&mut all, cell).is_some())
            .collect();
        if !fixed.contains(&true) || all == weights {
            continue;
        }
        if works(&all, config) {
            return Some(what);
        }
        if cells.len() < 2 || cells.len() > ALONE {
            continue;
        }
        for (number, cell) in cells.iter().enumerate() {
            let mut one = weights.clone();
            if fix(&mut one, cell).is_some() && works(&one, config) {
                let path = pair.b.cells().get(number).map(|(path, _)| path.clone());
                return Some(format!("{what}, in {:?} alone", path.unwrap_or_default()));
            }
        }
    }
    biases(pair, a, b, &weights, &cells, &works)
        .or_else(|| configured(config, &weights, &works))
        .or_else(|| directions(pair, &weights, &cells, &works))
        .or_else(|| dense(pair, &weights, &works))
        .or_else(|| exchanged(pair))
}

/// B with other weights or another configuration.
fn rebuilt(b: &Model, weights: Vec<ArrayD<f32>>, config: &Value) -> Option<Model> {
    let mut model = Model::from_config(config, b.generation()).ok()?;
    model.set_weights(weights).ok()?;
    for entry in b.layers() {
        if let Some(states) = entry.layer.initial_states() {
            model
                .set_layer_initial_states(&entry.name, states.to_vec())
                .ok()?;
        }
    }
    Some(model)
}

fn cells(model: &Model, weights: &[ArrayD<f32>]) -> Vec<Cell> {
    let slots = model.weight_slots();
    let mut cells = Vec::new();
    for (index, slot) in slots.iter().enumerate() {
        if slot.name != "recurrent_kernel" || index == 0 {
            continue;
        }
        let units = weights[index].shape()[0].max(1);
        let is_bias =
            |slot: &&ifco::WeightSlot| slot.name == "bias" && slot.group == slots[index].group;
        cells.push(Cell {
            kernel: index - 1,
            recurrent_kernel: index,
            bias: slots.get(index + 1).filter(is_bias).map(|_| index + 1),
            gates: weights[index].shape()[1] / units,
        });
    }
    cells
}

/// Every mistake in a cell's own arrays.
fn fixes() -> Vec<Fix<'static>> {
    let mut fixes: Vec<Fix<'static>> = Vec::new();
    for order in orders(4) {
        let what = of_order(&order);
        fixes.push((
            what,
            Box::new(move |weights, cell| reorder(weights, cell, &order)),
        ));
    }
    for order in orders(3) {
        let text: Vec<&str> = order.iter().map(|gate| ["z", "r", "h"][*gate]).collect();
        let what = format!("B's GRU gates stand as {} instead of z r h", text.join(" "));
        fixes.push((
            what,
            Box::new(move |weights, cell| reorder(weights, cell, &order)),
        ));
    }
    for (by, what) in [
        (
            1.0,
            "B lacks the forget bias of 1 that TensorFlow 1 adds when it runs, which its file does not hold",
        ),
        (
            -1.0,
            "B's forget bias is 1 too large: the 1 that TensorFlow 1 adds when it runs was added to a bias that has it",
        ),
    ] {
        fixes.push((
            what.into(),
            Box::new(move |weights, cell| forget(weights, cell, by)),
        ));
    }
    for (which, what) in [
        (
            (true, true),
            "B's kernels and recurrent kernels are transposed: rows were read as columns",
        ),
        (
            (true, false),
            "B's kernels are transposed: rows were read as columns",
        ),
        (
            (false, true),
            "B's recurrent kernels are transposed: rows were read as columns",
        ),
    ] {
        for turn in [
            turned as fn(&ArrayD<f32>, usize) -> Option<ArrayD<f32>>,
            reread,
        ] {
            fixes.push((
                what.into(),
                Box::new(move |weights, cell| transpose(weights, cell, which, turn)),
            ));
        }
    }
    for (factor, what) in [
        (
            1.2,
            "B's hard sigmoid is Keras 3's, clip(x/6 + 1/2, 0, 1), instead of Keras 1 and 2's, clip(x/5 + 1/2, 0, 1)",
        ),
        (
            1.0 / 1.2,
            "B's hard sigmoid is that of Keras 1 and 2, clip(x/5 + 1/2, 0, 1), instead of Keras 3's, clip(x/6 + 1/2, 0, 1)",
        ),
    ] {
        fixes.push((
            what.into(),
            Box::new(move |weights, cell| scale(weights, cell, factor)),
        ));
    }
    fixes
}

/// All orders of so many gates but the right one; those nearest to it first.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        let longer = |order: Vec<usize>| {
            let free: Vec<usize> = (0..count).filter(|gate| !order.contains(gate)).collect();
            let with = move |gate| [order.clone(), vec![gate]].concat();
            free.into_iter().map(with).collect::<Vec<_>>()
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    let moved = |order: &Vec<usize>| {
        order
            .iter()
            .enumerate()
            .filter(|(at, gate)| at != *gate)
            .count()
    };
    orders.retain(|order| moved(order) > 0);
    orders.sort_by_key(moved);
    orders
}

/// What B did if its blocks are these gates of i f c o.
fn of_order(order: &[usize]) -> String {
    let gates: Vec<Gate> = order.iter().map(|gate| Gate::ALL[*gate]).collect();
    let letters: Vec<&str> = order
        .iter()
        .map(|gate| ["i", "f", "c", "o"][*gate])
        .collect();
    let moved: Vec<&str> = (0..4)
        .filter(|at| order[*at] != *at)
        .map(|at| ["i", "f", "c", "o"][at])
        .collect();
    let mut what = match moved.as_slice() {
        [one, other] => format!("B's gates {one} and {other} are exchanged"),
        _ => format!(
            "B's gates stand as {} instead of i f c o",
            letters.join(" ")
        ),
    };
    let all = packing::ALL
        .iter()
        .filter(|packing| packing.order[..] == gates[..]);
    let names: Vec<&str> = all.map(|packing| packing.name).collect();
    if !names.is_empty() {
        what += &format!(
            " ({} is the order of {})",
            letters.join(" "),
            names.join(", ")
        );
    }
    what
}

/// Puts blocks that are these gates into their order.
fn reorder(weights: &mut [ArrayD<f32>], cell: &Cell, order: &[usize]) -> Option<()> {
    if cell.gates != order.len() {
        return None;
    }
    for index in [Some(cell.kernel), Some(cell.recurrent_kernel), cell.bias]
        .into_iter()
        .flatten()
    {
        let array = &weights[index];
        let last = Axis(array.ndim() - 1);
        let width = array.len_of(last) / order.len();
        let block = |gate: usize| {
            let at = order
                .iter()
                .position(|found| *found == gate)
                .unwrap_or(gate);
            array.slice_axis(last, Slice::from(at * width..(at + 1) * width))
        };
        let blocks: Vec<_> = (0..order.len()).map(block).collect();
        weights[index] = concatenate(last, &blocks).ok()?;
    }
    Some(())
}

fn forget(weights: &mut [ArrayD<f32>], cell: &Cell, by: f32) -> Option<()> {
    let bias = &mut weights[cell.bias.filter(|_| cell.gates == 4)?];
    let units = bias.len() / 4;
    bias.slice_axis_mut(Axis(0), Slice::from(units..2 * units))
        .map_inplace(|bias| *bias += by);
    Some(())
}

/// Each gate's matrix the other way round, where it is square.
fn turned(array: &ArrayD<f32>, gates: usize) -> Option<ArrayD<f32>> {
    let (rows, columns) = array.view().into_dimensionality::<Ix2>().ok()?.dim();
    if rows * gates != columns {
        return None;
    }
    let blocks: Vec<ArrayD<f32>> = (0..gates)
        .map(|gate| array.slice_axis(Axis(1), Slice::from(gate * rows..(gate + 1) * rows)))
        .map(|block| block.reversed_axes().to_owned())
        .collect();
    let views: Vec<_> = blocks.iter().map(|block| block.view()).collect();
    concatenate(Axis(1), &views).ok()
}

/// The numbers as they lie, taken for `(columns, rows)`, turned.
fn reread(array: &ArrayD<f32>, _gates: usize) -> Option<ArrayD<f32>> {
    let (rows, columns) = array.view().into_dimensionality::<Ix2>().ok()?.dim();
    let flat: Vec<f32> = array.iter().copied().collect();
    let turned = ArrayD::from_shape_vec(vec![columns, rows], flat).ok()?;
    Some(turned.reversed_axes().as_standard_layout().into_owned())
}

fn transpose(
    weights: &mut [ArrayD<f32>],
    cell: &Cell,
    (kernel, recurrent): (bool, bool),
    turn: fn(&ArrayD<f32>, usize) -> Option<ArrayD<f32>>,
) -> Option<()> {
    for (index, is_meant) in [(cell.kernel, kernel), (cell.recurrent_kernel, recurrent)] {
        if is_meant {
            weights[index] = turn(&weights[index], cell.gates)?;
        }
    }
    Some(())
}

/// The gates that a sigmoid opens, wider or narrower.
fn scale(weights: &mut [ArrayD<f32>], cell: &Cell, factor: f32) -> Option<()> {
    let sigmoids: &[usize] = match cell.gates {
        4 => &[0, 1, 3],
        3 => &[0, 1],
        _ => return None,
    };
    for index in [Some(cell.kernel), Some(cell.recurrent_kernel), cell.bias]
        .into_iter()
        .flatten()
    {
        let array = &mut weights[index];
        let last = Axis(array.ndim() - 1);
        let width = array.len_of(last) / cell.gates;
        for gate in sigmoids {
            array
                .slice_axis_mut(last, Slice::from(gate * width..(gate + 1) * width))
                .map_inplace(|weight| *weight *= factor);
        }
    }
    Some(())
}

type Works<'a> = dyn Fn(&[ArrayD<f32>], &Value) -> bool + 'a;

/// B with A's biases: then only those are wrong.
fn biases(
    pair: &Pair<'_>,
    a: &Path,
    b: &Path,
    weights: &[ArrayD<f32>],
    cells_b: &[Cell],
    works: &Works<'_>,
) -> Option<String> {
    let right = pair.a.weights()?;
    let cells_a = cells(pair.a, &right);
    if cells_a.len() != cells_b.len() {
        return None;
    }
    let mut fixed = weights.to_vec();
    let mut wrong = Vec::new();
    for (one, other) in cells_a.iter().zip(cells_b) {
        let (Some(one), Some(other)) = (one.bias, other.bias) else {
            continue;
        };
        if right[one].shape() == fixed[other].shape() && right[one] != fixed[other] {
            wrong.push((right[one].clone(), fixed[other].clone()));
            fixed[other] = right[one].clone();
        }
    }
    if wrong.is_empty() || !works(&fixed, pair.b.config()) {
        return None;
    }
    let near = |a: &ArrayD<f32>, b: &ArrayD<f32>| {
        a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6)
    };
    if wrong
        .iter()
        .all(|(_, bias)| bias.iter().all(|value| *value == 0.0))
    {
        return Some("B's biases are missing: they are zeros".into());
    }
    let halves = [a, b].into_iter().flat_map(halves).collect::<Vec<_>>();
    for (name, other) in [("bias_ih", "bias_hh"), ("bias_hh", "bias_ih")] {
        let is_half = |bias: &ArrayD<f32>| {
            halves
                .iter()
                .any(|(part, half)| part.starts_with(name) && near(half, bias))
        };
        if wrong.iter().all(|(_, bias)| is_half(bias)) {
            return Some(format!(
                "B has {name} alone: the second of PyTorch's two biases, {other}, is missing; their sum is the bias"
            ));
        }
    }
    let second_row = |bias: &ArrayD<f32>| {
        bias.ndim() == 2
            && bias
                .index_axis(Axis(0), 1)
                .iter()
                .all(|value| *value == 0.0)
    };
    if wrong.iter().all(|(_, bias)| second_row(bias)) {
        return Some("the second bias of B's GRU (reset_after) is missing: it is zeros".into());
    }
    Some("only the biases of B's recurrent layers are wrong: perhaps one of two that must be summed is missing".into())
}

/// PyTorch's biases in a file, each as if it were alone.
fn halves(path: &Path) -> Vec<(String, ArrayD<f32>)> {
    let (Ok(Opened::Weights(file)), Some(torch)) = (ifco::open_any(path), packing::find("pytorch"))
    else {
        return Vec::new();
    };
    let arrays = file.groups.into_iter().flat_map(|group| group.arrays);
    arrays
        .filter(|(name, _)| name.starts_with("bias_ih") || name.starts_with("bias_hh"))
        .filter_map(|(name, bias)| {
            let bias = bias.into_dimensionality().ok()?;
            let none = Array1::zeros(bias.len());
            let alone = torch
                .bias_to_keras(&[bias.view(), none.view()], None)
                .ok()?;
            Some((name, alone.into_dyn()))
        })
        .collect()
}

/// Another sigmoid, or the other direction.
fn configured(config: &Value, weights: &[ArrayD<f32>], works: &Works<'_>) -> Option<String> {
    for (key, from, to, what) in [
        (
            "recurrent_activation",
            json!("sigmoid"),
            json!("hard_sigmoid"),
            "B's gates use sigmoid instead of hard_sigmoid",
        ),
        (
            "recurrent_activation",
            json!("hard_sigmoid"),
            json!("sigmoid"),
            "B's gates use hard_sigmoid instead of sigmoid",
        ),
        (
            "go_backwards",
            json!(false),
            json!(true),
            "B reads forwards instead of backwards",
        ),
        (
            "go_backwards",
            json!(true),
            json!(false),
            "B reads backwards instead of forwards",
        ),
    ] {
        let mut changed = config.clone();
        set(&mut changed, key, &from, &to);
        if changed != *config && works(weights, &changed) {
            return Some(what.into());
        }
    }
    None
}

/// Sets an option of every recurrent layer that has the value `from`.
fn set(json: &mut Value, key: &str, from: &Value, to: &Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(|item| set(item, key, from, to)),
        Value::Object(object) => {
            let class = object
                .get("class_name")
                .and_then(Value::as_str)
                .unwrap_or("");
            let is_recurrent = ["LSTM", "GRU", "SimpleRNN"].contains(&class)
                || key == "recurrent_activation" && class.ends_with("Cell");
            if is_recurrent && let Some(Value::Object(config)) = object.get_mut("config") {
                let default = key == "go_backwards" && *from == json!(false);
                let found = config.get(key);
                if found == Some(from) || found.is_none() && default {
                    config.insert(key.into(), to.clone());
                }
            }
            object
                .values_mut()
                .for_each(|item| set(item, key, from, to));
        }
        _ => {}
    }
}

/// The halves of every Bidirectional exchanged.
fn directions(
    pair: &Pair<'_>,
    weights: &[ArrayD<f32>],
    cells: &[Cell],
    works: &Works<'_>,
) -> Option<String> {
    let paths = pair.b.cells();
    let mut changed = weights.to_vec();
    for (number, both) in paths.windows(2).enumerate() {
        let is_pair = both[0].0.ends_with("forward") && both[1].0.ends_with("backward");
        if let (true, Some(one), Some(other)) = (is_pair, cells.get(number), cells.get(number + 1))
        {
            let places = |cell: &Cell| {
                [Some(cell.kernel), Some(cell.recurrent_kernel), cell.bias]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            };
            for (one, other) in places(one).into_iter().zip(places(other)) {
                changed.swap(one, other);
            }
        }
    }
    let what = "B's forward and backward weights are exchanged";
    (changed != weights && works(&changed, pair.b.config())).then(|| what.into())
}

/// The kernels of Dense layers.
fn dense(pair: &Pair<'_>, weights: &[ArrayD<f32>], works: &Works<'_>) -> Option<String> {
    let slots = pair.b.weight_slots();
    for turn in [
        turned as fn(&ArrayD<f32>, usize) -> Option<ArrayD<f32>>,
        reread,
    ] {
        let mut changed = weights.to_vec();
        for (index, slot) in slots.iter().enumerate() {
            let is_cell = slots
                .get(index + 1)
                .is_some_and(|next| next.name == "recurrent_kernel");
            if slot.name == "kernel"
                && !is_cell
                && let Some(turned) = turn(&changed[index], 1)
            {
                changed[index] = turned;
            }
        }
        if changed != weights && works(&changed, pair.b.config()) {
            return Some(
                "the kernels of B's Dense layers are transposed: rows were read as columns".into(),
            );
        }
    }
    None
}

/// B on the input with its first two axes exchanged.
fn exchanged(pair: &Pair<'_>) -> Option<String> {
    let swapped = |arrays: &[ArrayD<f32>]| -> Option<Vec<ArrayD<f32>>> {
        let swap = |array: &ArrayD<f32>| {
            let mut view = array.view();
            (view.ndim() > 1).then(|| {
                view.swap_axes(0, 1);
                view.as_standard_layout().into_owned()
            })
        };
        arrays.iter().map(swap).collect()
    };
    let inputs = swapped(&pair.inputs)?;
    let found = seeded::run(pair.b, &inputs).ok()?;
    let is_it = pair.agrees(&found) || pair.agrees(&swapped(&found)?);
    is_it.then(|| {
        "B takes batch and time exchanged: (time, batch, features), or the other way round".into()
    })
}
