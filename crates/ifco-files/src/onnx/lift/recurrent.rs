//! LSTM, GRU and RNN as Keras's layers.
//!
//! Keras gives the steps in the order in which it read them, ONNX in the order of its input: so
//! what a layer that reads backwards gives is a view of Keras's with the steps in reverse order.

use ifco_cell::{Activation, Cell, LstmCell};
use ifco_model::ModelCall;
use ifco_model::onnx::Node;
use serde_json::{Value as Json, json};

use super::operators::tidy;
use super::sizes::is_whole;
use super::{BATCH, Group, LAYERS, Lift, Operand, Slot, Value, View, Way, refuse};
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
        let is_batch_first = node.int_or("layout", 0).unwrap_or(0) != 0;
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
        let initial = self.initial(node, operands, is_batch_first)?;
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
                let layer = |config: &Json, name: &str, back: bool| {
                    let mut config = config.clone();
                    config["name"] = json!(name);
                    config["go_backwards"] = json!(back);
                    json!({"module": LAYERS, "class_name": class, "config": config})
                };
                let mut both = json!({"layer": layer(&own, "forward", false)});
                if own != *other {
                    both["backward_layer"] = layer(other, "backward", true);
                }
                self.push(&node.name, LAYERS, "Bidirectional", both, vec![input])
            }
        };
        self.stages[stage].weights = weights;
        self.stages[stage].ways = ways;
        self.stages[stage].initial_state = initial;
        let units = cells.first().map(|(_, cell)| cell.units());
        let unit = self.atoms.add(units);
        let is_lstm = class == "LSTM";
        let (way, shown): (Group, Group) = match ways {
            1 => (vec![], vec![unit]),
            _ => {
                let way = self.atoms.add(Some(2));
                (vec![way], vec![way, unit])
            }
        };
        let kept = if ways == 1 {
            Way::One(0)
        } else {
            Way::Both("concat")
        };
        let steps = vec![batch.clone(), time.clone(), shown.clone()];
        let last = vec![batch.clone(), shown];
        let y = self.tensor(stage, Slot::Steps(kept), steps);
        let h = self.tensor(stage, Slot::Last(kept), last.clone());
        let units = vec![unit];
        let (y_axes, state_axes) = match is_batch_first {
            false => (
                vec![time.clone(), way.clone(), batch.clone(), units.clone()],
                vec![way, batch.clone(), units],
            ),
            true => (
                vec![batch.clone(), time.clone(), way.clone(), units.clone()],
                vec![batch.clone(), way, units],
            ),
        };
        let mut y = View::of(y, y_axes);
        if reads_back {
            y.flipped = time.first().copied().filter(|_| time.len() == 1);
        }
        let mut values = vec![Value::View(y), Value::View(View::of(h, state_axes.clone()))];
        if is_lstm {
            let c = self.tensor(stage, Slot::Cell(kept), last);
            values.push(Value::View(View::of(c, state_axes)));
        }
        values.truncate(node.outputs.max(1));
        Ok(values)
    }

    /// The tensors that the sequences begin with; none for zeros.
    fn initial(
        &mut self,
        node: &Node,
        operands: &[Operand],
        is_batch_first: bool,
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
                    let axis = usize::from(is_batch_first);
                    let one = view.squeezed(&[axis], &self.atoms);
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

fn class(cell: Option<&Cell>) -> &'static str {
    match cell {
        Some(Cell::Gru(_)) => "GRU",
        Some(Cell::SimpleRnn(_)) => "SimpleRNN",
        _ => "LSTM",
    }
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

/// What an LSTM has beyond Keras's: what ONNX's operator can have of it.
fn beyond(cell: &LstmCell) -> Result<Option<Json>, String> {
    let mut own = serde_json::Map::new();
    let options = cell.options();
    if cell.weights().peepholes().is_some() {
        own.insert("peepholes".into(), json!(true));
    }
    if options.input_forget {
        own.insert("input_forget".into(), json!(true));
    }
    if let Some(clip) = options.clip {
        own.insert("clip".into(), json!(clip));
    }
    if let Some(shown) = options.output_activation {
        own.insert("output_activation".into(), word(shown)?);
    }
    Ok((!own.is_empty()).then_some(Json::Object(own)))
}

/// Keras 3's word for an activation, the layer that it is there, or ifco's own for what ONNX alone
/// has; the reason if there is none.
fn word(activation: Activation) -> Result<Json, String> {
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
