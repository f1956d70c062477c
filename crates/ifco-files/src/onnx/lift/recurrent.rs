//! LSTM, GRU and RNN as Keras's layers.
//!
//! Keras gives the steps in the order in which it read them, ONNX in the order of its input: so
//! what a layer that reads backwards gives is a view of Keras's with the steps in reverse order.

use ifco_cell::{Activation, Cell, LstmCell, NormedSums};
use ifco_model::ModelCall;
use ifco_model::onnx::Node;
use serde_json::{Value as Json, json};

use super::operators::tidy;
use super::sizes::{Size, is_whole};
use super::{Atom, BATCH, Group, LAYERS, Lift, Operand, Slot, Value, View, Way, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn recurrent(
        &mut self,
        call: &ModelCall<'_>,
        node: &Node,
        operands: &[Operand],
    ) -> Result<Vec<Value>, SaveError> {
        let Some(Operand::Value(Value::View(x))) = operands.first() else {
            return Err(self.strange(node, operands.first()));
        };
        let layout = Layout::of(node);
        let is_batch_first = layout == Layout::BatchFirst;
        let [first, second, features] = x.axes.as_slice() else {
            return Err(refuse(node, "its input has not three axes"));
        };
        let (batch, time) = match is_batch_first {
            true => (first, second),
            false => (second, first),
        };
        if *batch != [BATCH] {
            let reason = "the rows that it runs are not those of the batch";
            return Err(refuse(node, reason));
        }
        let steps = node.int("steps").ok().flatten();
        if steps.is_some_and(|steps| self.atoms.as_size(time) != Size::Known(steps)) {
            let reason =
                "it goes through a number of steps that the file tells, however many there are";
            return Err(refuse(node, reason));
        }
        let lens = operands.get(4).unwrap_or(&Operand::Absent);
        if !matches!(lens, Operand::Absent) && !is_whole(lens, time, &self.atoms) {
            let reason = "it is given the lengths of its sequences, and Keras knows masks instead";
            return Err(refuse(node, reason));
        }
        let flipped = x.flipped.is_some_and(|atom| *time == [atom]);
        let straight = View {
            flipped: None,
            ..x.clone()
        };
        let order = [batch.clone(), time.clone(), features.clone()];
        let input = self.arranged(node, &straight, &order)?;
        let cells = call.layer.layer.cells();
        let ways = cells.len();
        let reads_back = node
            .string_or("direction", "forward")
            .is_ok_and(|d| d == "reverse");
        let backwards = flipped != reads_back;
        if ways == 2 && backwards {
            let reason = "it reads reversed steps in both directions";
            return Err(refuse(node, reason));
        }
        let initial = self.initial(node, operands, layout)?;
        if ways == 2 && !initial.is_empty() {
            let reason = "both directions begin with states that are computed";
            return Err(refuse(node, reason));
        }
        let mut configs = Vec::new();
        for (_, cell) in &cells {
            configs.push(config(cell).map_err(|reason| refuse(node, reason))?);
        }
        let class = class(cells.first().map(|(_, cell)| *cell));
        let Some(mut own) = configs.first().cloned() else {
            return Err(refuse(node, "it has no weights"));
        };
        let weights = call.layer.layer.weights().unwrap_or_default();
        let stage = match configs.get(1) {
            None => {
                own["go_backwards"] = json!(backwards);
                self.push(&node.name, LAYERS, class, own, vec![input])
            }
            Some(other) => {
                let both = two_ways(class, &own, other);
                self.push(&node.name, LAYERS, "Bidirectional", both, vec![input])
            }
        };
        self.stages[stage].weights = weights;
        self.stages[stage].ways = ways;
        self.stages[stage].initial_state = initial;
        // h has as many values as c but where it is projected.
        let unit = self
            .atoms
            .add(cells.first().map(|(_, cell)| cell.outputs()));
        let state = match cells.first().map(|(_, cell)| *cell) {
            Some(cell) if cell.outputs() != cell.units() => self.atoms.add(Some(cell.units())),
            _ => unit,
        };
        let is_lstm = class == "LSTM";
        let way: Group = match ways {
            1 => vec![],
            _ => vec![self.atoms.add(Some(2))],
        };
        let beside = |atom: Atom| way.iter().copied().chain([atom]).collect::<Group>();
        let shown = beside(unit);
        let kept = if ways == 1 {
            Way::One(0)
        } else {
            Way::Both("concat")
        };
        let steps = vec![batch.clone(), time.clone(), shown.clone()];
        let last = vec![batch.clone(), shown];
        let y = self.tensor(stage, Slot::Steps(kept), steps);
        let h = self.tensor(stage, Slot::Last(kept), last);
        let state_axes = |atom: Atom| match layout {
            Layout::TimeFirst => vec![way.clone(), batch.clone(), vec![atom]],
            Layout::BatchFirst => vec![batch.clone(), way.clone(), vec![atom]],
            Layout::Loop => vec![batch.clone(), vec![atom]],
        };
        let y_axes = match layout {
            Layout::TimeFirst => vec![time.clone(), way.clone(), batch.clone(), vec![unit]],
            Layout::BatchFirst => vec![batch.clone(), time.clone(), way.clone(), vec![unit]],
            Layout::Loop => vec![time.clone(), batch.clone(), vec![unit]],
        };
        let mut y = View::of(y, y_axes);
        if reads_back {
            y.flipped = time.first().copied().filter(|_| time.len() == 1);
        }
        let mut values = vec![Value::View(y), Value::View(View::of(h, state_axes(unit)))];
        if is_lstm {
            let last = vec![batch.clone(), beside(state)];
            let c = self.tensor(stage, Slot::Cell(kept), last);
            values.push(Value::View(View::of(c, state_axes(state))));
        }
        values.truncate(node.outputs.max(1));
        Ok(values)
    }

    /// The tensors that the sequences begin with; none for zeros.
    fn initial(
        &mut self,
        node: &Node,
        operands: &[Operand],
        layout: Layout,
    ) -> Result<Vec<usize>, SaveError> {
        let mut found = Vec::new();
        let mut zeros = 0;
        let expected = if node.op == "LSTM" { 2 } else { 1 };
        for operand in operands.iter().skip(5).take(expected) {
            match operand {
                Operand::Absent | Operand::Value(Value::Zeros) => zeros += 1,
                Operand::Constant(constant) if constant.data.iter().all(|value| *value == 0.0) => {
                    zeros += 1;
                }
                Operand::Constant(_) => {
                    let reason = "its sequences begin with states that the file tells, and Keras's \
                                  begin with zeros";
                    return Err(refuse(node, reason));
                }
                Operand::Value(Value::View(view)) => {
                    let one = match layout {
                        Layout::Loop => Some(view.clone()),
                        Layout::TimeFirst => view.squeezed(&[0], &self.atoms),
                        Layout::BatchFirst => view.squeezed(&[1], &self.atoms),
                    };
                    let one = one.ok_or_else(|| {
                        refuse(node, "both directions begin with states that are computed")
                    })?;
                    let (tensor, _) = self.whole(node, &one)?;
                    found.push(tensor);
                }
                other => return Err(self.strange(node, Some(other))),
            }
        }
        match (found.len(), zeros) {
            (0, _) => Ok(found),
            (count, _) if count == expected => Ok(found),
            _ => Err(refuse(
                node,
                "one of its two states begins with zeros, the other does not",
            )),
        }
    }

    /// The error for what is no tensor of Keras's.
    pub(super) fn strange(&self, node: &Node, operand: Option<&Operand>) -> SaveError {
        match operand {
            Some(Operand::Value(Value::Other(why))) => {
                refuse(node, format!("it takes what Keras has no layer for, {why}"))
            }
            Some(Operand::Value(Value::Sizes(..) | Value::Repeated(_))) => {
                refuse(node, "it computes with the sizes of its inputs")
            }
            Some(Operand::Value(Value::Zeros) | Operand::Constant(_)) => refuse(
                node,
                "it computes with numbers that no layer of Keras keeps",
            ),
            _ => refuse(node, "it takes what Keras's layers do not"),
        }
    }
}

/// How an operator's axes lie: ONNX's attribute `layout`, where 2 is that of a loop that was found to
/// be a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    TimeFirst,
    BatchFirst,
    Loop,
}

impl Layout {
    fn of(node: &Node) -> Self {
        match node.int_or("layout", 0) {
            Ok(1) => Layout::BatchFirst,
            Ok(2) => Layout::Loop,
            _ => Layout::TimeFirst,
        }
    }
}

fn class(cell: Option<&Cell>) -> &'static str {
    match cell {
        Some(Cell::Gru(_)) => "GRU",
        Some(Cell::SimpleRnn(_)) => "SimpleRNN",
        _ => "LSTM",
    }
}

/// What Keras says of a Bidirectional over these two layers.
pub(super) fn two_ways(class: &str, own: &Json, other: &Json) -> Json {
    let layer = |config: &Json, name: &str, back: bool| {
        let mut config = config.clone();
        config["name"] = json!(name);
        config["go_backwards"] = json!(back);
        json!({"module": LAYERS, "class_name": class, "config": config})
    };
    let forward = layer(own, "forward", false);
    let mut both = json!({"layer": forward});
    let backward = layer(other, "backward", true);
    if layer(other, "forward", false) != forward {
        both["backward_layer"] = backward;
    }
    both
}

/// What Keras says of a cell.
fn config(cell: &Cell) -> Result<Json, String> {
    Ok(match cell {
        Cell::Lstm(cell) => {
            let mut config = json!({
                "units": cell.weights().units(), "activation": word(cell.activation())?,
                "recurrent_activation": word(cell.recurrent_activation())?,
                "use_bias": cell.weights().fused_bias().is_some(),
            });
            if let Some(own) = beyond(cell)? {
                config["ifco"] = own;
            }
            config
        }
        Cell::Gru(cell) => {
            let mut config = json!({
                "units": cell.weights().units(), "activation": word(cell.activation())?,
                "recurrent_activation": word(cell.recurrent_activation())?,
                "use_bias": cell.weights().fused_bias().is_some(),
                "reset_after": cell.reset_after(),
            });
            if let Some(clip) = cell.clip() {
                config["ifco"] = json!({"clip": clip});
            }
            config
        }
        Cell::SimpleRnn(cell) => {
            let mut config = json!({
                "units": cell.weights().units(), "activation": word(cell.activation())?,
                "use_bias": cell.weights().bias().is_some(),
            });
            if let Some(clip) = cell.clip() {
                config["ifco"] = json!({"clip": clip});
            }
            config
        }
        _ => return Err("its cell is none of Keras's".into()),
    })
}

/// What an LSTM has beyond Keras's, as the configuration of a layer tells it.
fn beyond(cell: &LstmCell) -> Result<Option<Json>, String> {
    let mut own = serde_json::Map::new();
    let (weights, options) = (cell.weights(), cell.options());
    if weights.projection().is_some() {
        own.insert("proj_size".into(), json!(weights.outputs()));
    }
    if weights.peepholes().is_some() {
        own.insert("peepholes".into(), json!(true));
    }
    if let Some(norm) = weights.layer_norm() {
        let kind = match norm.sums {
            NormedSums::Products { .. } => "products",
            _ => "gates",
        };
        own.insert("layer_norm".into(), json!(kind));
        own.insert("epsilon".into(), json!(norm.epsilon));
    }
    if options.input_forget {
        own.insert("input_forget".into(), json!(true));
    }
    if options.forget_bias != 0.0 {
        own.insert("forget_bias".into(), json!(options.forget_bias));
    }
    let clips = [
        ("clip", options.clip),
        ("cell_clip", options.cell_clip),
        ("projection_clip", options.projection_clip),
    ];
    for (key, clip) in clips {
        if let Some(clip) = clip {
            own.insert(key.into(), json!(clip));
        }
    }
    if let Some(shown) = options.output_activation {
        own.insert("output_activation".into(), word(shown)?);
    }
    Ok((!own.is_empty()).then_some(Json::Object(own)))
}

/// Keras 3's word for an activation, the layer that it is there, or ifco's own for what ONNX alone
/// has; the reason if there is none.
pub(super) fn word(activation: Activation) -> Result<Json, String> {
    let layer = |class: &str, config: Json| {
        Ok(json!({
            "module": LAYERS, "class_name": class, "config": config, "registered_name": null,
        }))
    };
    let own = |class: &str, alpha: f32, beta: f32| {
        let config = json!({"alpha": tidy(alpha), "beta": tidy(beta)});
        Ok(json!({"module": "ifco", "class_name": class, "config": config}))
    };
    let name = activation.name();
    match activation {
        _ if Activation::from_name(name) == Some(activation) => Ok(json!(name)),
        Activation::Relu {
            negative_slope,
            max_value: None,
            threshold: 0.0,
        } if negative_slope > 0.0 => {
            layer("LeakyReLU", json!({"negative_slope": tidy(negative_slope)}))
        }
        Activation::Threshold {
            threshold,
            default_value: 0.0,
        } if threshold >= 0.0 => layer("ReLU", json!({"threshold": tidy(threshold)})),
        Activation::Elu { alpha } => layer("ELU", json!({"alpha": tidy(alpha)})),
        Activation::HardSigmoidKeras2 => own("HardSigmoid", 0.2, 0.5),
        Activation::Affine { alpha, beta } => own("Affine", alpha, beta),
        Activation::ScaledTanh { alpha, beta } => own("ScaledTanh", alpha, beta),
        Activation::HardSigmoidOf { alpha, beta } => own("HardSigmoid", alpha, beta),
        _ => Err(format!(
            "its activation is {activation:?}, and Keras 3's {name} is another"
        )),
    }
}
