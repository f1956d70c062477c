//! Recurrent layers as `nn.LSTM`, `nn.GRU` and `nn.RNN`.

use ifco_cell::{Activation, Cell, CellKind, packing};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis};
use serde_json::Value;

use super::{Module, Tensor};
use crate::SaveError;
use crate::stack::{REMEDY, Stage};

/// The layers of one module.
pub(super) struct Recurrent<'a> {
    /// Forward, and backward where there is one.
    pub layers: Vec<Vec<&'a Cell>>,
    kind: CellKind,
    activation: Activation,
    has_bias: bool,
    pub returns_sequences: bool,
}

impl<'a> Recurrent<'a> {
    /// What the stage is; `None` if it is no recurrent layer.
    pub fn of(stage: &Stage<'a>) -> Result<Option<Self>, SaveError> {
        let is_both = stage.class == "Bidirectional";
        if !(is_both || matches!(stage.class, "LSTM" | "GRU" | "SimpleRNN" | "RNN")) {
            return Ok(None);
        }
        let refuse = |reason: &str| Err(stage.refuse(reason, REMEDY));
        let inner = if is_both {
            &stage.config["layer"]["config"]
        } else {
            stage.config
        };
        if is_both && !matches!(stage.config["merge_mode"].as_str(), Some("concat")) {
            return refuse("PyTorch joins both directions side by side alone (concat)");
        }
        let is_set = |key: &str| inner[key] == Value::Bool(true);
        if is_set("go_backwards") {
            return refuse("PyTorch has no layer that reads backwards alone");
        }
        if is_set("return_state") || is_set("time_major") {
            return refuse("its states are outputs, or its time comes first");
        }
        let cells: Vec<&Cell> = stage
            .layer
            .cells()
            .into_iter()
            .map(|(_, cell)| cell)
            .collect();
        let layers: Vec<Vec<&Cell>> = match is_both {
            true if cells.len() == 2 => vec![cells],
            true => return refuse("its directions have stacked cells"),
            false => cells.into_iter().map(|cell| vec![cell]).collect(),
        };
        let Some(first) = layers.first().and_then(|layer| layer.first()) else {
            return refuse("it has no weights yet");
        };
        let shape = shape_of(stage, first)?;
        for cell in layers.iter().flatten() {
            if shape_of(stage, cell)? != shape {
                return refuse("its cells are of different kinds, sizes or activations");
            }
        }
        let (kind, _, activation, has_bias) = shape;
        let returns_sequences = is_set("return_sequences");
        Ok(Some(Self {
            layers,
            kind,
            activation,
            has_bias,
            returns_sequences,
        }))
    }

    pub fn is_bidirectional(&self) -> bool {
        self.layers.iter().any(|layer| layer.len() > 1)
    }

    /// Whether `next` can be its next layer.
    pub fn takes(&self, next: &Self) -> bool {
        let units = |one: &Self| {
            let first = one.layers[0][0];
            (first.units(), projection(first).map(|it| it.ncols()))
        };
        self.returns_sequences
            && (
                self.kind,
                self.activation,
                self.has_bias,
                self.is_bidirectional(),
                units(self),
            ) == (
                next.kind,
                next.activation,
                next.has_bias,
                next.is_bidirectional(),
                units(next),
            )
    }

    pub fn push(&mut self, next: Self) {
        self.layers.extend(next.layers);
        self.returns_sequences = next.returns_sequences;
    }

    /// The module of this name.
    pub fn module(&self, name: String) -> Result<Module, SaveError> {
        let first = self.layers[0][0];
        let class = match self.kind {
            CellKind::Lstm => "LSTM",
            CellKind::Gru => "GRU",
            _ => "RNN",
        };
        let mut made = format!(
            "nn.{class}({}, {}, batch_first=True",
            first.features(),
            first.units()
        );
        if projection(first).is_some() {
            made.push_str(&format!(", proj_size={}", first.outputs()));
        }
        if self.layers.len() > 1 {
            made.push_str(&format!(", num_layers={}", self.layers.len()));
        }
        for (is_so, text) in [
            (self.is_bidirectional(), ", bidirectional=True"),
            (!self.has_bias, ", bias=False"),
            (
                self.activation == Activation::RELU,
                ", nonlinearity=\"relu\"",
            ),
        ] {
            if is_so {
                made.push_str(text);
            }
        }
        made.push(')');
        let mut tensors = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            for (cell, suffix) in layer.iter().zip(["", "_reverse"]) {
                let arrays = arrays(cell)
                    .ok_or_else(|| SaveError::Encode("the gates of a cell do not fit".into()))?;
                for (part, array) in arrays {
                    tensors.push((format!("{part}_l{number}{suffix}"), Tensor::Floats(array)));
                }
            }
        }
        let place = super::place(&name);
        let called = if self.returns_sequences {
            vec![format!("x, _ = {place}(x)")]
        } else if self.kind == CellKind::Lstm {
            vec![format!("_, (x, _) = {place}(x)")]
        } else {
            vec![format!("_, x = {place}(x)")]
        };
        let mut module = Module {
            name,
            made,
            called,
            tensors,
            spec: Vec::new(),
        };
        if self.returns_sequences {
            return Ok(module);
        }
        // h_n: (layers·directions, batch, units).
        module.called.push(match self.is_bidirectional() {
            true => "x = torch.cat([x[-2], x[-1]], 1)".into(),
            false => "x = x[-1]".into(),
        });
        module.tell("take", "\"hidden\"");
        Ok(module)
    }

    /// What its spec says of it besides.
    pub fn tell(&self, module: &mut Module) {
        if self.kind == CellKind::SimpleRnn {
            let name = if self.activation == Activation::RELU {
                "\"relu\""
            } else {
                "\"tanh\""
            };
            module.tell("nonlinearity", name);
        }
        if self.returns_sequences && !module.tells("take") {
            module.tell("take", "\"all\"");
        }
    }
}

/// W_p of a projected LSTM.
fn projection(cell: &Cell) -> Option<ArrayView2<'_, f32>> {
    match cell {
        Cell::Lstm(cell) => cell.weights().projection(),
        _ => None,
    }
}

/// Kind, units and what they are projected to, activation, and whether there is a bias.
type CellShape = (CellKind, (usize, Option<usize>), Activation, bool);

/// The shape of a cell, if PyTorch has such a one.
fn shape_of(stage: &Stage<'_>, cell: &Cell) -> Result<CellShape, SaveError> {
    let outputs = projection(cell).map(|projection| projection.ncols());
    if outputs.is_some_and(|outputs| outputs >= cell.units()) {
        return Err(stage.refuse(
            format!(
                "PyTorch projects to fewer values than units, this one {} units to {}",
                cell.units(),
                cell.outputs()
            ),
            "",
        ));
    }
    let (activation, sigmoid, has_bias) = match cell {
        Cell::Lstm(cell) => (
            cell.activation(),
            cell.recurrent_activation(),
            cell.weights().fused_bias().is_some(),
        ),
        Cell::Gru(cell) => {
            if !cell.reset_after() {
                return Err(stage.refuse(
                    "PyTorch's GRU applies the reset gate after the matrix product (reset_after=True), \
                     this one before it",
                    REMEDY,
                ));
            }
            (
                cell.activation(),
                cell.recurrent_activation(),
                cell.weights().fused_bias().is_some(),
            )
        }
        Cell::SimpleRnn(cell) => (
            cell.activation(),
            Activation::Sigmoid,
            cell.weights().bias().is_some(),
        ),
        _ => return Err(stage.refuse("PyTorch has no such cell", REMEDY)),
    };
    let is_rnn = cell.kind() == CellKind::SimpleRnn;
    let fits = activation == Activation::Tanh || is_rnn && activation == Activation::RELU;
    if !fits || sigmoid != Activation::Sigmoid {
        return Err(stage.refuse(
            format!("PyTorch's has tanh and sigmoid, this one {activation} and {sigmoid}"),
            REMEDY,
        ));
    }
    Ok((cell.kind(), (cell.units(), outputs), activation, has_bias))
}

/// The arrays of one direction by the first part of their names.
fn arrays(cell: &Cell) -> Option<Vec<(&'static str, ArrayD<f32>)>> {
    let (weights, biases): ([Array2<f32>; 2], Option<[Array1<f32>; 2]>) = match cell {
        Cell::Lstm(cell) => {
            let torch = packing::find("pytorch")?;
            let weights = cell.weights();
            let matrix = |matrix: ArrayView2<'_, f32>| torch.matrix_from_keras(matrix).ok();
            let biases = match weights.fused_bias() {
                None => None,
                Some(bias) => Some(torch.bias_from_keras(bias, None).ok()?.try_into().ok()?),
            };
            (
                [
                    matrix(weights.fused_kernel())?,
                    matrix(weights.fused_recurrent_kernel())?,
                ],
                biases,
            )
        }
        Cell::Gru(cell) => {
            let torch = packing::find_gru("pytorch")?;
            let weights = cell.weights();
            let matrix = |matrix: ArrayView2<'_, f32>| torch.matrix_from_keras(matrix);
            let biases = match weights.fused_bias() {
                None => None,
                Some(bias) => {
                    let both = matrix(bias)?;
                    let one = |column| both.index_axis(Axis(1), column).to_owned();
                    Some([one(0), one(1)])
                }
            };
            (
                [
                    matrix(weights.fused_kernel())?,
                    matrix(weights.fused_recurrent_kernel())?,
                ],
                biases,
            )
        }
        Cell::SimpleRnn(cell) => {
            let weights = cell.weights();
            let biases = weights
                .bias()
                .map(|bias| [bias.to_owned(), Array1::zeros(bias.len())]);
            let matrix = |matrix: ArrayView2<'_, f32>| matrix.t().as_standard_layout().into_owned();
            (
                [matrix(weights.kernel()), matrix(weights.recurrent_kernel())],
                biases,
            )
        }
        _ => return None,
    };
    let [ih, hh] = weights;
    let mut arrays = vec![("weight_ih", ih.into_dyn()), ("weight_hh", hh.into_dyn())];
    if let Some([ih, hh]) = biases {
        arrays.extend([("bias_ih", ih.into_dyn()), ("bias_hh", hh.into_dyn())]);
    }
    if let Some(projection) = projection(cell) {
        let rows = projection.t().as_standard_layout().into_owned();
        arrays.push(("weight_hr", rows.into_dyn()));
    }
    Some(arrays)
}
