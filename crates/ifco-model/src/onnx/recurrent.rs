//! ONNX's LSTM, GRU and RNN: one or two directions over a sequence, by layout
//! `(time, batch, features)` or, with `layout=1`, `(batch, time, features)`.
//!
//! What they compute is what ifco's cells compute, on weights that are packed otherwise:
//! an LSTM's rows i o f c become Keras's columns i f c o by the table of [`ifco_cell::packing`],
//! and a GRU's rows z r h are Keras's columns already. `linear_before_reset` is Keras's
//! `reset_after`.

mod kind;

use ifco_cell::{Cell, Precision, RecurrentLayer, SequenceOptions, SequenceOutput};
use ndarray::{Array2, Array3, ArrayD, ArrayView2, Axis, Ix3, concatenate, s, stack};

use super::{Attribute, Constant, Node, Operand};
use crate::layers::{CellSpec, cell_weights, display_sizes};
use crate::{
    Array, Call, ConfigError, Layer, LayerError, Mask, Shape, Tensor, WeightSlot, display_shape,
};
use kind::kinds;

/// The names of the inputs; a GRU and an RNN have the first six.
const INPUTS: [&str; 8] = [
    "X",
    "W",
    "R",
    "B",
    "sequence_lens",
    "initial_h",
    "initial_c",
    "P",
];

/// ONNX's `LSTM`, `GRU` or `RNN`.
///
/// ```
/// use ifco_model::onnx::{Constant, Kind, Node, Operand, Recurrent};
/// use ifco_model::{Call, Layer, Tensor};
/// use ndarray::Array;
///
/// let weight = |name: &str, shape: &[usize]| {
///     let data = Array::zeros(shape).into_dyn().into();
///     Operand::Constant(Some(name.into()), Constant { kind: Kind::Float, data })
/// };
/// let node = Node {
///     name: "lstm".into(),
///     op: "LSTM".into(),
///     opset: 17,
///     attributes: Default::default(),
///     operands: vec![Operand::Input(Kind::Float), weight("W", &[1, 8, 3]), weight("R", &[1, 8, 2])],
///     outputs: 3,
/// };
/// let (mut lstm, weights) = Recurrent::new(&node)?;
/// lstm.set_weights(weights)?;
/// assert_eq!(lstm.cells()[0].1.units(), 2);
/// let x = Tensor::new(Array::zeros((5, 4, 3)).into_dyn()); // (time, batch, features)
/// let outputs = lstm.call(&[x], &Call::default())?;
/// assert_eq!(outputs[0].shape(), [5, 1, 4, 2]); // Y: (time, directions, batch, units)
/// assert_eq!(outputs[2].shape(), [1, 4, 2]); // Y_c
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recurrent {
    class: String,
    /// As the file has it, but without its weights.
    node: Node,
    directions: Vec<Direction>,
    layout: Layout,
    /// Where each of [`INPUTS`] is found when the layer is called.
    given: [Given; 8],
    outputs: usize,
    features: usize,
    /// How many values each state has.
    sizes: Vec<usize>,
    /// How many steps it goes through, where that does not depend on how many there are.
    steps: Option<usize>,
    precision: Precision,
}

/// Where the axes are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// `layout=0`: Y `(time, directions, batch, units)`, states `(directions, batch, units)`.
    TimeFirst,
    /// `layout=1`: Y `(batch, time, directions, units)`, states `(batch, directions, units)`.
    BatchFirst,
    /// Of a loop in the file: Y `(time, batch, units)`, states `(batch, units)`.
    Loop,
}

#[derive(Debug, Clone)]
enum Given {
    Not,
    Input(usize),
    Constant(Array),
}

#[derive(Debug)]
struct Direction {
    reverse: bool,
    spec: CellSpec,
    layer: Option<RecurrentLayer>,
}

impl Recurrent {
    /// The layer that a node describes, and its weights in Keras's layout, as
    /// [`weight_slots`](Layer::weight_slots) lists them.
    ///
    /// # Errors
    /// When the node is not one of the three, asks for what ifco's cells do not have, such as an
    /// activation that ONNX does not know, or its weights do not fit each other.
    pub fn new(node: &Node) -> Result<(Self, Vec<ArrayD<f32>>), ConfigError> {
        const REMEDY: &str = "train or export the model without it";
        let gates = match node.op.as_str() {
            "LSTM" => 4,
            "GRU" => 3,
            "RNN" => 1,
            _ => return Err(node.unsupported("no recurrent operator", REMEDY)),
        };
        let lacks = |what: &str| {
            Err(node.unsupported(format!("{what}, which ifco's cells do not have"), REMEDY))
        };
        let reverse: &[bool] = match node.string_or("direction", "forward")? {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => {
                let expected = "forward, reverse or bidirectional";
                return Err(node.invalid("direction", format!("{other:?}"), expected));
            }
        };
        let w = weight(node, 1)?;
        let r = weight(node, 2)?;
        let bias = match node.operand(3) {
            Operand::Absent => None,
            _ => Some(weight(node, 3)?),
        };
        let peepholes = match node.operand(7) {
            Operand::Absent => None,
            _ if node.op != "LSTM" => return lacks("peepholes (input P)"),
            // Peepholes of 0 change nothing.
            Operand::Constant(_, p) if p.data.iter().all(|value| *value == 0.0) => None,
            _ => Some(weight(node, 7)?),
        };
        let (&[dirs, rows, features], &[r_dirs, r_rows, units]) = (w.shape(), r.shape()) else {
            return Err(node.invalid(
                "W and R",
                format!("of shapes {:?} and {:?}", w.shape(), r.shape()),
                "three axes each: (directions, gates·units, …)",
            ));
        };
        let fits = dirs == reverse.len()
            && r_dirs == dirs
            && units > 0
            && features > 0
            && units.checked_mul(gates) == Some(rows)
            && r_rows == rows
            && bias
                .as_ref()
                .is_none_or(|bias| bias.shape() == [dirs, 2 * rows]);
        if !fits {
            let bias = bias.as_ref().map(|bias| bias.shape());
            return Err(node.invalid(
                "W, R and B",
                format!("of shapes {:?}, {:?} and {bias:?}", w.shape(), r.shape()),
                &format!(
                    "(directions, {gates}·units, features), (directions, {gates}·units, units) \
                     and (directions, {}·units), of {} directions",
                    2 * gates,
                    reverse.len()
                ),
            ));
        }
        if let Some(p) = peepholes.filter(|p| p.shape() != [dirs, 3 * units]) {
            let expected = format!("({dirs}, 3·{units}): (directions, 3·units)");
            return Err(node.invalid("P", format!("of shape {:?}", p.shape()), &expected));
        }
        if let Some(hidden) = node.int("hidden_size")?
            && usize::try_from(hidden) != Ok(units)
        {
            let expected = format!("{units}, as R has");
            return Err(node.invalid("hidden_size", hidden.to_string(), &expected));
        }
        let layout = match node.int_or("layout", 0)? {
            0 => Layout::TimeFirst,
            1 => Layout::BatchFirst,
            other => return Err(node.invalid("layout", other.to_string(), "0 or 1")),
        };

        let kinds = kinds(node, reverse.len())?;
        let mut directions = Vec::new();
        let mut weights = Vec::new();
        let has_bias = bias.is_some();
        for (index, (way, kind)) in reverse.iter().zip(kinds).enumerate() {
            let at = |array: &Array| array.index_axis(Axis(0), index).into_owned();
            let bias = bias.map(at);
            let keras = kind
                .to_keras(at(w), at(r), bias)
                .map_err(|error| node.invalid("W, R and B", error, "gates of equal size"))?;
            let mut own = keras;
            if let Some(peepholes) = peepholes {
                let peepholes = kind::peepholes_to_keras(at(peepholes));
                let wrong = |error| node.invalid("P", error, "three gates of equal size");
                own.push(peepholes.map_err(wrong)?);
            }
            let cell = kind
                .cell(&mut own.iter().cloned(), has_bias, peepholes.is_some())
                .map_err(|error| node.invalid("W, R, B and P", error.to_string(), "a cell's"))?;
            let name = direction_name(reverse.len(), index);
            let spec = CellSpec::of(&cell, name.to_owned());
            weights.extend(own);
            directions.push(Direction {
                reverse: *way,
                spec: spec.ok_or_else(|| node.unsupported("a cell of another kind", REMEDY))?,
                layer: None,
            });
        }
        let mut bare = node.clone();
        for (operand, name) in bare.operands.iter_mut().zip(INPUTS) {
            if matches!(name, "W" | "R" | "B" | "P") {
                *operand = Operand::Absent;
            }
        }
        let layer = Self {
            class: node.op.clone(),
            node: bare,
            directions,
            layout,
            given: given(node),
            outputs: node.outputs,
            features,
            sizes: vec![units; if node.op == "LSTM" { 2 } else { 1 }],
            steps: None,
            precision: Precision::F32,
        };
        Ok((layer, weights))
    }

    /// A loop that runs this cell over `(time, batch, features)`, and its weights as
    /// [`weight_slots`](Layer::weight_slots) lists them. The node is that of an `LSTM`, `GRU` or
    /// `RNN` without weights, `reverse` its direction, with `layout` 2: no axis is that of the
    /// directions, so that it makes `(time, batch, units)` and states of `(batch, units)`. With
    /// `steps` (an attribute of the node then) it goes through so many and no more.
    ///
    /// # Errors
    /// When the cell is of a kind that no configuration has.
    pub fn looped(
        mut node: Node,
        cell: &Cell,
        reverse: bool,
        steps: Option<usize>,
    ) -> Result<(Self, Vec<ArrayD<f32>>), ConfigError> {
        let direction = if reverse { "reverse" } else { "forward" };
        let direction = Attribute::String(direction.into());
        node.attributes.insert("direction".into(), direction);
        node.attributes.insert("layout".into(), Attribute::Int(2));
        if let Some(steps) = steps.and_then(|steps| i64::try_from(steps).ok()) {
            node.attributes
                .insert("steps".into(), Attribute::Int(steps));
        }
        let parts = (CellSpec::of(cell, String::new()), cell_weights(cell));
        let (Some(spec), Some(weights)) = parts else {
            return Err(node.unsupported("a cell of another kind", "open another file"));
        };
        let direction = Direction {
            reverse,
            spec,
            layer: None,
        };
        let layer = Self {
            class: node.op.clone(),
            directions: vec![direction],
            layout: Layout::Loop,
            given: given(&node),
            outputs: node.outputs,
            features: cell.features(),
            sizes: cell.state_sizes().collect(),
            steps,
            precision: Precision::F32,
            node,
        };
        Ok((layer, weights))
    }

    fn states(&self) -> usize {
        self.sizes.len()
    }

    fn given(&self, index: usize, inputs: &[Tensor]) -> Result<Option<Array>, LayerError> {
        match &self.given[index] {
            Given::Not => Ok(None),
            Given::Constant(array) => Ok(Some(array.clone())),
            Given::Input(at) => inputs
                .get(*at)
                .map(|tensor| Some(tensor.data.clone()))
                .ok_or_else(|| {
                    LayerError::Other(format!("its input {} is missing", INPUTS[index]))
                }),
        }
    }

    /// True at the steps that count, if some do not.
    fn mask(&self, lens: &Array, batch: usize, time: usize) -> Result<Option<Mask>, LayerError> {
        let wrong = |found: String| LayerError::Input {
            input: 4,
            found,
            expected: format!("sequence_lens ({batch},) of values from 0 to {time}"),
        };
        if lens.shape() != [batch] {
            return Err(wrong(display_sizes(lens.shape())));
        }
        if let Some(len) = lens.iter().find(|len| !(0.0..=time as f32).contains(*len)) {
            return Err(wrong(format!("a value of {len}")));
        }
        if lens.iter().all(|len| *len as usize == time) {
            return Ok(None);
        }
        let mask = Array2::from_shape_fn((batch, time), |(row, t)| t < lens[[row]] as usize);
        Ok(Some(mask.into_dyn().into()))
    }

    /// The state of each direction, `(batch, units)` each, from `(directions, batch, units)`.
    fn initial(
        &self,
        index: usize,
        inputs: &[Tensor],
        batch: usize,
    ) -> Result<Option<Array3<f32>>, LayerError> {
        let Some(state) = self.given(index, inputs)? else {
            return Ok(None);
        };
        let found = state.shape().to_vec();
        let size = self.sizes[usize::from(index == 6)];
        let wrong = || LayerError::Input {
            input: index,
            found: display_sizes(&found),
            expected: format!(
                "{} of {} directions, {batch} rows and {} units",
                INPUTS[index],
                self.directions.len(),
                size
            ),
        };
        let state = match self.layout {
            Layout::Loop => state.insert_axis(Axis(0)),
            _ => state,
        };
        let mut state = state.into_dimensionality::<Ix3>().map_err(|_| wrong())?;
        if self.layout == Layout::BatchFirst {
            state.swap_axes(0, 1);
        }
        match state.dim() == (self.directions.len(), batch, size) {
            true => Ok(Some(state.into_owned())),
            false => Err(wrong()),
        }
    }

    fn direction_name(&self, index: usize) -> &'static str {
        direction_name(self.directions.len(), index)
    }
}

/// What the cell of a direction is called, of so many.
fn direction_name(of: usize, index: usize) -> &'static str {
    match (of, index) {
        (1, _) => "",
        (_, 0) => "forward",
        _ => "backward",
    }
}

/// Where each of [`INPUTS`] is found when the node is called.
fn given(node: &Node) -> [Given; 8] {
    let mut inputs = 0;
    std::array::from_fn(|index| match node.operand(index) {
        Operand::Absent => Given::Not,
        // The weights are those that the cells are given.
        _ if matches!(INPUTS[index], "W" | "R" | "B" | "P") => Given::Not,
        Operand::Input(_) => {
            inputs += 1;
            Given::Input(inputs - 1)
        }
        Operand::Constant(_, constant) => Given::Constant(constant.data.clone()),
    })
}

/// A weight, which must be known.
fn weight(node: &Node, index: usize) -> Result<&Array, ConfigError> {
    match node.operand(index) {
        Operand::Constant(_, Constant { data, .. }) => Ok(data),
        Operand::Input(_) => Err(node.unsupported(
            format!("weights ({}) that are computed when it runs", INPUTS[index]),
            "export the model with its weights as initializers, in evaluation mode",
        )),
        Operand::Absent => Err(node.invalid(INPUTS[index], "absent", "a weight")),
    }
}

impl Layer for Recurrent {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let directions = self.directions.iter();
        let slots = directions.map(|direction| direction.spec.weight_slots());
        slots.flatten().collect()
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let mut weights = weights.into_iter();
        for direction in &mut self.directions {
            let cell = direction.spec.cell(&mut weights)?;
            let options = SequenceOptions {
                return_sequences: true,
                go_backwards: direction.reverse,
                zero_output_for_mask: true,
            };
            let mut layer = RecurrentLayer::new(vec![cell], options)?;
            layer.set_precision(self.precision);
            direction.layer = Some(layer);
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let directions = self.directions.iter();
        let weights =
            directions.map(|direction| cell_weights(direction.layer.as_ref()?.cells().first()?));
        Some(weights.collect::<Option<Vec<_>>>()?.concat())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let input = inputs.first();
        let wrong = || LayerError::Input {
            input: 0,
            found: input.map_or("nothing".into(), |shape| display_shape(shape)),
            expected: format!("three axes, the last of {} features", self.features),
        };
        let Some(&[first, second, features]) = input.map(Vec::as_slice) else {
            return Err(wrong());
        };
        if features.is_some_and(|features| features != self.features) {
            return Err(wrong());
        }
        let directions = Some(self.directions.len());
        // h is what is shown.
        let mut shapes = Vec::new();
        let sizes = self.sizes.first().into_iter().chain(&self.sizes);
        for (index, size) in sizes.enumerate() {
            let size = Some(*size);
            shapes.push(match (self.layout, index) {
                (Layout::BatchFirst, 0) => vec![first, second, directions, size],
                (Layout::BatchFirst, _) => vec![first, directions, size],
                (Layout::TimeFirst, 0) => vec![first, directions, second, size],
                (Layout::TimeFirst, _) => vec![directions, second, size],
                (Layout::Loop, 0) => vec![self.steps.or(first), second, size],
                (Layout::Loop, _) => vec![second, size],
            });
        }
        shapes.truncate(self.outputs.max(1));
        Ok(shapes)
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let x = self.given(0, inputs)?.ok_or(LayerError::NoWeights)?;
        let found = x.shape().to_vec();
        let mut x = x
            .into_dimensionality::<Ix3>()
            .map_err(|_| LayerError::Input {
                input: 0,
                found: display_sizes(&found),
                expected: "three axes".into(),
            })?;
        if self.layout != Layout::BatchFirst {
            x.swap_axes(0, 1);
        }
        let x = x.as_standard_layout();
        let (batch, time, _) = x.dim();
        let x = match self.steps {
            Some(steps) if steps > time => {
                return Err(LayerError::Input {
                    input: 0,
                    found: format!("{time} steps"),
                    expected: format!("at least {steps}, which its loop goes through"),
                });
            }
            Some(steps) => x.slice_move(s![.., ..steps, ..]),
            None => x,
        };
        let time = x.len_of(Axis(1));
        let mask = match self.given(4, inputs)? {
            Some(lens) => self.mask(&lens, batch, time)?,
            None => None,
        };
        let mask: Option<ArrayView2<'_, bool>> = mask
            .as_ref()
            .map(|mask| mask.view().into_dimensionality())
            .transpose()
            .map_err(|_| LayerError::Other("the mask is not (batch, time)".into()))?;
        let h = self.initial(5, inputs, batch)?;
        let c = match self.states() {
            2 => self.initial(6, inputs, batch)?,
            _ => None,
        };
        let run = |index: usize| {
            let direction = &self.directions[index];
            let layer = direction.layer.as_ref().ok_or(LayerError::NoWeights)?;
            let state = |states: &Option<Array3<f32>>, at: usize| match states {
                Some(states) => states.index_axis(Axis(0), index).to_owned(),
                None => Array2::zeros((batch, self.sizes.get(at).copied().unwrap_or(0))),
            };
            let states = [state(&h, 0), state(&c, 1)];
            let states = states.each_ref().map(|state| state.view());
            let states = (h.is_some() || c.is_some()).then_some(&states[..self.states()]);
            let result = match &call.tap {
                Some(tap) => {
                    let tap = tap.below(self.direction_name(index));
                    tap.forward(layer, x.view(), mask, states)?
                }
                None => layer.forward(x.view(), mask, states)?,
            };
            let SequenceOutput::Sequences(mut all) = result.output else {
                return Err(LayerError::Other("it returned no sequence".into()));
            };
            if direction.reverse {
                all.invert_axis(Axis(1)); // it is in the order in which it was read
            }
            Ok((all, result.states))
        };
        let mut results = match self.directions.len() {
            1 => vec![run(0)?],
            _ => {
                let (forward, backward) = ifco_cell::join(|| run(0), || run(1));
                vec![forward?, backward?]
            }
        };
        let shape_error = |error: ndarray::ShapeError| LayerError::Other(error.to_string());
        let mut outputs = Vec::new();
        let all: Vec<_> = results.iter().map(|(all, _)| all.view()).collect();
        // (directions, batch, time, units) to the layout's order.
        let order = match self.layout {
            Layout::BatchFirst => [1, 2, 0, 3],
            _ => [2, 0, 1, 3],
        };
        let y = stack(Axis(0), &all).map_err(shape_error)?;
        let y = y.permuted_axes(order).as_standard_layout().into_owned();
        let is_loop = self.layout == Layout::Loop;
        outputs.push(Tensor::new(match is_loop {
            true => y.index_axis_move(Axis(1), 0).into_dyn(),
            false => y.into_dyn(),
        }));
        for state in 0..self.states() {
            let states: Vec<_> = results
                .iter_mut()
                .map(|(_, states)| states[state].view().insert_axis(Axis(0)))
                .collect();
            let mut states = concatenate(Axis(0), &states).map_err(shape_error)?;
            if self.layout == Layout::BatchFirst {
                states.swap_axes(0, 1);
            }
            let states = states.as_standard_layout().into_owned();
            outputs.push(Tensor::new(match is_loop {
                true => states.index_axis_move(Axis(0), 0).into_dyn(),
                false => states.into_dyn(),
            }));
        }
        outputs.truncate(self.outputs.max(1));
        Ok(outputs)
    }

    fn batch_axis(&self) -> usize {
        usize::from(self.layout != Layout::BatchFirst)
    }

    fn as_node(&self) -> Option<&Node> {
        Some(&self.node)
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        let directions = self.directions.iter().enumerate();
        directions
            .filter_map(|(index, direction)| {
                let cell = direction.layer.as_ref()?.cells().first()?;
                Some((self.direction_name(index).to_owned(), cell))
            })
            .collect()
    }

    fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
        for direction in &mut self.directions {
            if let Some(layer) = &mut direction.layer {
                layer.set_precision(precision);
            }
        }
    }
}
