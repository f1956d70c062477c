//! Recurrent layers as a Scan whose graph is one step, spelled out.
//!
//! For what ONNX's LSTM, GRU and RNN lack: a projection, clipped states, layer normalization, and
//! activations that are none of theirs. The step is that of [`ifco_cell::LstmOptions`], with the
//! names used there; its weights have Keras's layout. [`looped`](super::super::looped) reads it
//! again.

use std::ops::Range;

use ifco_cell::{
    Activation, Cell, Gate, GruCell, LayerNorm, LstmCell, Norm, NormedSums, SimpleRnnCell,
};
use ndarray::{Array1, ArrayView1, ArrayView2, s};

use super::activation;
use super::graph::{Attribute, Dimension, Graph};

/// Runs the cell over `x` of `(time, batch, features)`: the outputs of all steps, `(time, batch,
/// units)` in the order of `x`, and the last states, `(batch, units)` each.
///
/// # Errors
/// What no operators of ONNX compute.
pub(super) fn run(
    graph: &mut Graph,
    name: &str,
    cell: &Cell,
    reverse: bool,
    x: &str,
    states: &[String],
) -> Result<(String, Vec<String>), String> {
    let sizes: Vec<usize> = cell.state_sizes().collect();
    let states = match states {
        [] => sizes
            .iter()
            .map(|size| zeros(graph, name, x, *size))
            .collect(),
        given => given.to_vec(),
    };
    let letters = cell.kind().states();
    let named = ["x"]
        .iter()
        .chain(letters)
        .map(|letter| format!("{name}/step/{letter}"));
    let named: Vec<String> = named.map(|wanted| graph.name(&wanted)).collect();
    let Some((x_t, before)) = named.split_first() else {
        return Err("it has no states".into());
    };
    let shape = |size: usize| vec![Dimension::Name("batch".into()), Dimension::Size(size)];
    let mut inputs: Vec<_> = before
        .iter()
        .cloned()
        .zip(sizes.into_iter().map(shape))
        .collect();
    inputs.push((x_t.clone(), shape(cell.features())));
    let body = graph.body(&format!("{name}/step"), &inputs, |graph| {
        let mut step = Step {
            name: format!("{name}/step"),
            graph,
        };
        let mut after = step.of(cell, x_t, before)?;
        let shown = step.op("Identity", &[&after[0].clone()]);
        after.push(shown);
        Ok::<_, String>(after)
    })?;
    let mut taken: Vec<&str> = states.iter().map(String::as_str).collect();
    taken.push(x);
    let mut attributes = vec![
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", Attribute::Int(1)),
    ];
    if reverse {
        attributes.push(("scan_input_directions", Attribute::Ints(vec![1])));
        attributes.push(("scan_output_directions", Attribute::Ints(vec![1])));
    }
    let [h, c, y] = ["Y_h", "Y_c", "Y"].map(|output| format!("{name}/{output}"));
    let own = format!("{name}/Scan");
    Ok(match states.len() {
        1 => {
            let [h, y] = graph.node("Scan", &own, &taken, [&h, &y], &attributes);
            (y, vec![h])
        }
        _ => {
            let [h, c, y] = graph.node("Scan", &own, &taken, [&h, &c, &y], &attributes);
            (y, vec![h, c])
        }
    })
}

/// Zeros of `(batch, size)`, with as many rows as `x` of `(time, batch, features)` has.
fn zeros(graph: &mut Graph, name: &str, x: &str, size: usize) -> String {
    let part = [("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
    let batch = graph.one("Shape", name, &[x], &part);
    let size = graph.integers(name, &[size as i64]);
    let axis = [("axis", Attribute::Int(0))];
    let shape = graph.one("Concat", name, &[&batch, &size], &axis);
    graph.one("ConstantOfShape", name, &[&shape], &[])
}

/// One step while its nodes are added.
struct Step<'g> {
    graph: &'g mut Graph,
    name: String,
}

impl Step<'_> {
    /// The new states of a cell, h first.
    fn of(&mut self, cell: &Cell, x: &str, states: &[String]) -> Result<Vec<String>, String> {
        match (cell, states) {
            (Cell::Lstm(cell), [h, c]) => self.lstm(cell, x, h, c),
            (Cell::Gru(cell), [h]) => Ok(vec![self.gru(cell, x, h)?]),
            (Cell::SimpleRnn(cell), [h]) => Ok(vec![self.simple_rnn(cell, x, h)?]),
            _ => Err("its cell is none of those that ifco writes step by step".into()),
        }
    }

    fn lstm(&mut self, cell: &LstmCell, x: &str, h: &str, c: &str) -> Result<Vec<String>, String> {
        let (weights, options) = (cell.weights(), cell.options());
        let (sigma, phi) = (cell.recurrent_activation(), cell.activation());
        let [z_i, mut z_f, z_c, z_o] = self.lstm_sums(cell, x, h);
        let i = self.gate(cell, Gate::Input, &z_i, Some(c), sigma)?;
        let f = match options.input_forget {
            true => {
                let one = self.graph.number(&self.name, 1.0);
                self.op("Sub", &[&one, &i])
            }
            false => {
                if options.forget_bias != 0.0 {
                    let more = Array1::from_elem(weights.units(), options.forget_bias);
                    z_f = self.plus(&z_f, "forget_bias", more.view());
                }
                self.gate(cell, Gate::Forget, &z_f, Some(c), sigma)?
            }
        };
        let c_tilde = self.gate(cell, Gate::Cell, &z_c, None, phi)?;
        let kept = self.op("Mul", &[&f, c]);
        let new = self.op("Mul", &[&i, &c_tilde]);
        let mut c = self.op("Add", &[&kept, &new]);
        if let Some(norm) = weights.layer_norm() {
            c = self.norm(
                "state_norm",
                &c,
                &norm.state,
                0..weights.units(),
                norm.epsilon,
            );
        }
        c = self.clip(c, options.cell_clip);
        let o = self.gate(cell, Gate::Output, &z_o, Some(&c), sigma)?;
        let shown = self.activate(&c, cell.output_activation())?;
        let mut h = self.op("Mul", &[&o, &shown]);
        if let Some(projection) = weights.projection() {
            h = self.product(&h, "projection", projection);
            h = self.clip(h, options.projection_clip);
        }
        Ok(vec![h, c])
    }

    /// What each gate's activation is applied to, without peepholes.
    fn lstm_sums(&mut self, cell: &LstmCell, x: &str, h: &str) -> [String; 4] {
        let weights = cell.weights();
        let units = weights.units();
        let mut from_x = self.product(x, "kernel", weights.fused_kernel());
        let mut from_h = self.product(h, "recurrent_kernel", weights.fused_recurrent_kernel());
        let norm = weights.layer_norm();
        if let Some(LayerNorm {
            sums: NormedSums::Products { kernel, recurrent },
            epsilon,
            ..
        }) = norm
        {
            let all = 0..4 * units;
            from_x = self.norm("kernel_norm", &from_x, kernel, all.clone(), *epsilon);
            from_h = self.norm("recurrent_norm", &from_h, recurrent, all, *epsilon);
        }
        let mut z = self.op("Add", &[&from_x, &from_h]);
        if let Some(bias) = weights.fused_bias() {
            z = self.plus(&z, "bias", bias);
        }
        let mut gates = self.parts(&z, units);
        if let Some(LayerNorm {
            sums: NormedSums::Gates(norm),
            epsilon,
            ..
        }) = norm
        {
            for (gate, z) in Gate::ALL.into_iter().zip(&mut gates) {
                *z = self.norm("norm", z, norm, gate.columns(units), *epsilon);
            }
        }
        gates
    }

    /// `activation(clip(z + p∘c))`
    fn gate(
        &mut self,
        cell: &LstmCell,
        gate: Gate,
        z: &str,
        c: Option<&str>,
        activation: Activation,
    ) -> Result<String, String> {
        let mut z = z.to_owned();
        if let (Some(p), Some(c)) = (cell.weights().peephole(gate), c) {
            let p = self.weight("peephole", p);
            let seen = self.op("Mul", &[&p, c]);
            z = self.op("Add", &[&z, &seen]);
        }
        z = self.clip(z, cell.options().clip);
        self.activate(&z, activation)
    }

    fn gru(&mut self, cell: &GruCell, x: &str, h: &str) -> Result<String, String> {
        let weights = cell.weights();
        let units = weights.units();
        let (sigma, phi) = (cell.recurrent_activation(), cell.activation());
        let bias = |row: usize| {
            let bias = weights.fused_bias()?;
            (row < bias.nrows()).then(|| bias.row(row).to_owned())
        };
        let mut from_x = self.product(x, "kernel", weights.fused_kernel());
        if let Some(bias) = bias(0) {
            from_x = self.plus(&from_x, "bias", bias.view());
        }
        let [x_z, x_r, x_h] = self.parts(&from_x, units);
        // The candidate's columns are taken apart where they see another h.
        let (gates, candidate) = weights
            .fused_recurrent_kernel()
            .split_at(ndarray::Axis(1), 2 * units);
        let (h_z, h_r, h_h) = match cell.reset_after() {
            true => {
                let all = weights.fused_recurrent_kernel();
                let mut from_h = self.product(h, "recurrent_kernel", all);
                if let Some(bias) = bias(1) {
                    from_h = self.plus(&from_h, "recurrent_bias", bias.view());
                }
                let [z, r, h] = self.parts(&from_h, units);
                (z, r, Some(h))
            }
            false => {
                let from_h = self.product(h, "recurrent_kernel", gates);
                let [z, r] = self.parts(&from_h, units);
                (z, r, None)
            }
        };
        let z = self.op("Add", &[&x_z, &h_z]);
        let z = self.clip(z, cell.clip());
        let z = self.activate(&z, sigma)?;
        let r = self.op("Add", &[&x_r, &h_r]);
        let r = self.clip(r, cell.clip());
        let r = self.activate(&r, sigma)?;
        let seen = match h_h {
            Some(h_h) => self.op("Mul", &[&r, &h_h]),
            None => {
                let seen = self.op("Mul", &[&r, h]);
                self.product(&seen, "recurrent_kernel", candidate)
            }
        };
        let z_h = self.op("Add", &[&x_h, &seen]);
        let z_h = self.clip(z_h, cell.clip());
        let h_tilde = self.activate(&z_h, phi)?;
        let one = self.graph.number(&self.name, 1.0);
        let rest = self.op("Sub", &[&one, &z]);
        let kept = self.op("Mul", &[&z, h]);
        let new = self.op("Mul", &[&rest, &h_tilde]);
        Ok(self.op("Add", &[&kept, &new]))
    }

    fn simple_rnn(&mut self, cell: &SimpleRnnCell, x: &str, h: &str) -> Result<String, String> {
        let weights = cell.weights();
        let from_x = self.product(x, "kernel", weights.kernel());
        let from_h = self.product(h, "recurrent_kernel", weights.recurrent_kernel());
        let mut z = self.op("Add", &[&from_x, &from_h]);
        if let Some(bias) = weights.bias() {
            z = self.plus(&z, "bias", bias);
        }
        let z = self.clip(z, cell.clip());
        self.activate(&z, cell.activation())
    }

    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.graph.one(op, &self.name, inputs, &[])
    }

    fn weight(&mut self, key: &str, array: ArrayView1<'_, f32>) -> String {
        let name = format!("{}/{key}", self.name);
        self.graph.weight(&name, &array.to_owned().into_dyn())
    }

    fn product(&mut self, x: &str, key: &str, matrix: ArrayView2<'_, f32>) -> String {
        let name = format!("{}/{key}", self.name);
        let matrix = matrix.as_standard_layout().into_owned().into_dyn();
        let matrix = self.graph.weight(&name, &matrix);
        self.op("MatMul", &[x, &matrix])
    }

    fn plus(&mut self, z: &str, key: &str, bias: ArrayView1<'_, f32>) -> String {
        let bias = self.weight(key, bias);
        self.op("Add", &[z, &bias])
    }

    /// Columns side by side, as many of each.
    fn parts<const N: usize>(&mut self, z: &str, units: usize) -> [String; N] {
        let sizes = self.graph.integers(&self.name, &[units as i64; N]);
        let name = self.name.as_str();
        let axis = [("axis", Attribute::Int(-1))];
        let own = format!("{name}/Split");
        self.graph
            .node("Split", &own, &[z, &sizes], [name; N], &axis)
    }

    /// Normalized, with a part of γ and β.
    fn norm(
        &mut self,
        key: &str,
        z: &str,
        norm: &Norm,
        part: Range<usize>,
        epsilon: f32,
    ) -> String {
        let gamma = self.weight(&format!("{key}/gamma"), norm.gamma.slice(s![part.clone()]));
        let beta = self.weight(&format!("{key}/beta"), norm.beta.slice(s![part]));
        let attributes = [
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(epsilon)),
        ];
        let inputs = [z, &gamma, &beta];
        self.graph
            .one("LayerNormalization", &self.name, &inputs, &attributes)
    }

    fn clip(&mut self, z: String, limit: Option<f32>) -> String {
        match limit {
            Some(limit) => activation::clip(self.graph, &self.name, &z, -limit, limit),
            None => z,
        }
    }

    fn activate(&mut self, z: &str, activation: Activation) -> Result<String, String> {
        activation::apply(self.graph, &self.name, z, activation).ok_or_else(|| {
            format!("its activation {activation} is none that ONNX's operators compute")
        })
    }
}
