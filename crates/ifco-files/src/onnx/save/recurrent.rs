//! Recurrent layers: ONNX's operators where they compute the same, else a Scan over the step.
//!
//! Both read `(time, batch, features)`: layout 1 of the operators, which reads batch first, is not
//! in ONNX Runtime. So a layer is Transpose, what runs, and Transpose behind it.

use ifco_cell::Cell;
use ndarray::Axis;

use super::graph::{Attribute, Dimension, Graph};
use super::{FLOAT, Stage, Writer, operator, step};
use crate::SaveError;

/// What came out of a layer's cells.
enum Ran {
    /// Of an operator: Y `(time, directions, batch, units)` and each state `(directions, batch,
    /// units)`.
    Operator { y: String, states: Vec<String> },
    /// Of a Scan for each direction: `(time, batch, units)`, and each state `(batch, units)`.
    Steps(Vec<(String, Vec<String>)>),
}

impl Ran {
    /// All steps of a direction, `(time, batch, units)`.
    fn steps(&self, graph: &mut Graph, name: &str, direction: usize, of: usize) -> String {
        match self {
            Ran::Operator { y, .. } => pick(graph, name, y, 1, direction, of),
            Ran::Steps(all) => all[direction].0.clone(),
        }
    }

    /// A last state of a direction, `(batch, units)`.
    fn state(
        &self,
        graph: &mut Graph,
        name: &str,
        state: usize,
        direction: usize,
        of: usize,
    ) -> String {
        match self {
            Ran::Operator { states, .. } => pick(graph, name, &states[state], 0, direction, of),
            Ran::Steps(all) => all[direction].1[state].clone(),
        }
    }
}

/// One of so many directions, without their axis.
fn pick(
    graph: &mut Graph,
    name: &str,
    tensor: &str,
    axis: i64,
    direction: usize,
    of: usize,
) -> String {
    let mut tensor = tensor.to_owned();
    if of > 1 {
        let index = graph.integers(name, &[direction as i64]);
        let along = [("axis", Attribute::Int(axis))];
        tensor = graph.one("Gather", name, &[&tensor, &index], &along);
    }
    let axes = graph.integers(name, &[axis]);
    graph.one("Squeeze", name, &[&tensor, &axes], &[])
}

impl Writer<'_> {
    /// Runs the cells, one for each direction, on `x` of `(time, batch, features)`, from these
    /// states of `(batch, units)`, or from zeros.
    fn run(
        &mut self,
        stage: &Stage<'_>,
        cells: &[&Cell],
        direction: &str,
        x: &str,
        states: &[String],
    ) -> Result<Ran, SaveError> {
        let name = stage.name();
        let refuse = |reason: String| stage.refuse(reason);
        if operator::fits(cells) {
            let axes = match states {
                [] => String::new(),
                _ => self.graph.integers(name, &[0]),
            };
            let mut unsqueeze =
                |state: &String| self.graph.one("Unsqueeze", name, &[state, &axes], &[]);
            let states: Vec<String> = states.iter().map(&mut unsqueeze).collect();
            let made = operator::run(&mut self.graph, name, cells, direction, x, &states);
            let (y, states) = made.map_err(refuse)?;
            let has_forget_bias = |cell: &&Cell| cell.extras().contains(&"forget_bias");
            if cells.iter().any(has_forget_bias) {
                self.notes.push(format!(
                    "{name}: its forget bias is written as a part of its bias"
                ));
            }
            return Ok(Ran::Operator { y, states });
        }
        let mut ways = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            let reverse = direction == "reverse" || index == 1;
            let way = step::run(&mut self.graph, name, cell, reverse, x, states);
            ways.push(way.map_err(refuse)?);
        }
        self.notes.push(format!(
            "{name}: its steps are spelled out in a Scan, as ONNX's operators lack something of it"
        ));
        Ok(Ran::Steps(ways))
    }

    /// One recurrent layer, or several cells one above the other.
    pub(super) fn recurrent(&mut self, stage: &Stage<'_>) -> Result<Vec<String>, SaveError> {
        let cells = stage.entry.layer.cells();
        let name = stage.name();
        let backwards = stage.flag("go_backwards", false);
        let direction = if backwards { "reverse" } else { "forward" };
        let mut given = self.begins(stage, &cells)?.into_iter();
        let mut x = self.transpose(name, stage.x()?, vec![1, 0, 2]);
        let mut last = Vec::new();
        let mut shown = None;
        for (index, (_, cell)) in cells.iter().enumerate() {
            let states: Vec<String> = given.by_ref().take(cell.states()).collect();
            let ran = self.run(stage, &[cell], direction, &x, &states)?;
            let graph = &mut self.graph;
            for (state, size) in cell.state_sizes().enumerate() {
                last.push((ran.state(graph, name, state, 0, 1), size));
            }
            shown = Some(last[last.len() - cell.states()].0.clone());
            if index + 1 < cells.len() || stage.flag("return_sequences", false) {
                x = ran.steps(graph, name, 0, 1);
            }
        }
        let shown = shown.ok_or_else(|| stage.refuse("it has no weights"))?;
        let mut outputs = vec![match stage.flag("return_sequences", false) {
            true => self.in_order(name, &x, backwards),
            false => shown,
        }];
        if stage.entry.layer.is_stateful() {
            for ((state, size), key) in last.iter().zip(keys(&cells)) {
                let name = format!("{name}_{key}_next");
                self.states.push((name, state.clone(), *size));
            }
        }
        if stage.flag("return_state", false) {
            outputs.extend(last.into_iter().map(|(state, _)| state));
        }
        Ok(outputs)
    }

    /// `(time, batch, units)` to `(batch, time, units)`; where the layer reads backwards, Keras
    /// gives its steps in the order in which it read them.
    fn in_order(&mut self, name: &str, steps: &str, backwards: bool) -> String {
        let steps = match backwards {
            false => steps.to_owned(),
            true => {
                let [from, to, axis, step] =
                    [-1, i64::MIN, 0, -1].map(|value| self.graph.integers(name, &[value]));
                self.graph
                    .one("Slice", name, &[steps, &from, &to, &axis, &step], &[])
            }
        };
        self.transpose(name, &steps, vec![1, 0, 2])
    }

    /// The states at which sequences begin, `(batch, units)` each; empty for zeros.
    fn begins(
        &mut self,
        stage: &Stage<'_>,
        cells: &[(String, &Cell)],
    ) -> Result<Vec<String>, SaveError> {
        let name = stage.name();
        let sizes = || cells.iter().flat_map(|(_, cell)| cell.state_sizes());
        let given = if !stage.initial_state.is_empty() {
            stage.initial_state.clone()
        } else if stage.inputs.len() > 1 {
            // An older way to pass them.
            let states = stage.inputs[1..].iter();
            states.map(|(name, _)| name.clone()).collect()
        } else if stage.entry.layer.is_stateful() {
            let named = sizes().zip(keys(cells)).map(|(size, key)| {
                let shape = [Dimension::Name("batch".into()), Dimension::Size(size)];
                self.graph.input(&format!("{name}_{key}"), FLOAT, &shape)
            });
            named.collect()
        } else if let Some(states) = stage.entry.layer.initial_states() {
            // As many rows as the input has.
            let first = [("end", Attribute::Int(1))];
            let rows = self.graph.one("Shape", name, &[stage.x()?], &first);
            let one = self.graph.integers(name, &[1]);
            let axis = [("axis", Attribute::Int(0))];
            let shape = self.graph.one("Concat", name, &[&rows, &one], &axis);
            let spread = states.iter().map(|state| {
                let state = state.clone().insert_axis(Axis(0)).into_dyn();
                let state = self.graph.weight(&format!("{name}/initial"), &state);
                self.graph.one("Expand", name, &[&state, &shape], &[])
            });
            spread.collect()
        } else {
            return Ok(Vec::new());
        };
        match given.len() == sizes().count() {
            true => Ok(given),
            false => Err(stage.refuse(format!("{} initial states are given", given.len()))),
        }
    }

    pub(super) fn both_ways(&mut self, stage: &Stage<'_>) -> Result<Vec<String>, SaveError> {
        let name = stage.name();
        let cells = stage.entry.layer.cells();
        let inner = &stage.config["layer"]["config"];
        let [(_, forward), (_, backward)] = cells.as_slice() else {
            return Err(stage.refuse("its two layers are not one cell each"));
        };
        let is_plain = !inner["go_backwards"].as_bool().unwrap_or(false)
            && !inner["stateful"].as_bool().unwrap_or(false)
            && stage.initial_state.is_empty()
            && stage.inputs.len() == 1;
        if !is_plain {
            return Err(stage.refuse("its layers begin with states, or read the other way round"));
        }
        let flag = |key: &str| inner[key].as_bool().unwrap_or(false);
        let x = self.transpose(name, stage.x()?, vec![1, 0, 2]);
        let ran = self.run(stage, &[forward, backward], "bidirectional", &x, &[])?;
        let graph = &mut self.graph;
        let directions = [0, 1].map(|direction| match flag("return_sequences") {
            true => ran.steps(graph, name, direction, 2),
            false => ran.state(graph, name, 0, direction, 2),
        });
        let mut states = Vec::new();
        if flag("return_state") {
            for (direction, cell) in [forward, backward].into_iter().enumerate() {
                for state in 0..cell.states() {
                    states.push(ran.state(graph, name, state, direction, 2));
                }
            }
        }
        let directions = directions.map(|direction| match flag("return_sequences") {
            true => self.transpose(name, &direction, vec![1, 0, 2]),
            false => direction,
        });
        let pair = directions.each_ref().map(String::as_str);
        let last = [("axis", Attribute::Int(-1))];
        let mut outputs = match stage.config["merge_mode"].as_str() {
            Some("concat") => vec![self.graph.one("Concat", name, &pair, &last)],
            Some("sum") => vec![self.graph.one("Add", name, &pair, &[])],
            Some("mul") => vec![self.graph.one("Mul", name, &pair, &[])],
            Some("ave") => vec![self.graph.one("Mean", name, &pair, &[])],
            _ => directions.to_vec(),
        };
        outputs.extend(states);
        Ok(outputs)
    }
}

/// What the states of these cells are called: `h` and `c`, or with their cell's number.
fn keys(cells: &[(String, &Cell)]) -> Vec<String> {
    let is_one = cells.len() == 1;
    let named = cells.iter().enumerate().flat_map(|(index, (_, cell))| {
        let states = cell.kind().states().iter();
        states.map(move |state| match is_one {
            true => (*state).to_owned(),
            false => format!("{index}_{state}"),
        })
    });
    named.collect()
}
