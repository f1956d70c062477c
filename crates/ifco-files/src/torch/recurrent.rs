//! `nn.LSTM`, `nn.GRU`, `nn.RNN` and their cells, and how their weights become Keras's.
//!
//! Source: the documentation of `torch.nn.LSTM`, `GRU` and `RNN`; held to PyTorch's own outputs by
//! the fixtures. PyTorch's GRU computes
//!
//! ```text
//! n = tanh(W_n x + b_in + r ⊙ (U_n h + b_hn))      h' = (1 − z) ⊙ n + z ⊙ h
//! ```
//!
//! which is Keras's GRU with `reset_after=True`: both biases stay.

use std::collections::BTreeMap;

use ifco_cell::{CellKind, GruWeights, LstmWeights, SimpleRnnWeights, packing};
use ndarray::{ArrayD, ArrayView1, ArrayView2, Axis, Ix1, Ix2, stack};

use crate::WeightsGroup;
use crate::weights::{Direction, Recurrent, RecurrentLayer};

/// The arrays of one direction of one layer.
#[derive(Debug, Clone)]
struct Arrays<'a> {
    /// `(gates·units, features)`.
    weight_ih: ArrayView2<'a, f32>,
    /// `(gates·units, units)`; `(4·units, proj_size)` with a projection.
    weight_hh: ArrayView2<'a, f32>,
    /// `(proj_size, units)`, of an LSTM with proj_size.
    weight_hr: Option<ArrayView2<'a, f32>>,
    /// The input's and the recurrent one's, `(gates·units)` each.
    biases: Option<[ArrayView1<'a, f32>; 2]>,
}

/// The arrays of one direction by the first part of their names.
type Parts<'a> = BTreeMap<&'static str, &'a ArrayD<f32>>;

/// What the name of an array says: `weight_ih_l1_reverse`.
struct Name {
    part: &'static str,
    /// `None` for a cell.
    layer: Option<usize>,
    is_reverse: bool,
}

fn parse(name: &str) -> Option<Name> {
    const PARTS: [&str; 5] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"];
    let part = PARTS.into_iter().find(|part| name.starts_with(part))?;
    let rest = &name[part.len()..];
    let (rest, is_reverse) = match rest.strip_suffix("_reverse") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let layer = match rest {
        "" if !is_reverse => None,
        _ => {
            let digits = rest.strip_prefix("_l")?;
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            Some(digits.parse().ok().filter(|_| is_number)?)
        }
    };
    Some(Name {
        part,
        layer,
        is_reverse,
    })
}

/// The recurrent module that the group is; `None` if it is none, and the reason where it is one
/// that is not whole or not run.
pub(super) fn recurrent(group: &WeightsGroup) -> Result<Option<Recurrent>, String> {
    let mut found: BTreeMap<(usize, bool), Parts<'_>> = BTreeMap::new();
    let mut is_cell = false;
    for (name, array) in &group.arrays {
        let Some(name) = parse(name) else { continue };
        is_cell |= name.layer.is_none();
        let place = (name.layer.unwrap_or(0), name.is_reverse);
        found.entry(place).or_default().insert(name.part, array);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let count: usize = found.values().map(BTreeMap::len).sum();
    if count < group.arrays.len() {
        return Err("it has arrays besides those of a recurrent layer".into());
    }
    let is_bidirectional = found.keys().any(|(_, is_reverse)| *is_reverse);
    let mut layers: Vec<RecurrentLayer> = Vec::new();
    let mut kind = None;
    for number in 0..=found.keys().map(|(layer, _)| *layer).max().unwrap_or(0) {
        let mut direction = |is_reverse| {
            let arrays = found
                .remove(&(number, is_reverse))
                .ok_or_else(|| format!("its layer {number} lacks a direction or all arrays"))?;
            let (arrays, this) = arrays_of(&arrays, number)?;
            if *kind.get_or_insert(this) != this {
                return Err(format!("its layer {number} has another number of gates"));
            }
            // Every array has been found to fit.
            arrays
                .direction(this)
                .ok_or_else(|| format!("its layer {number} is none of a {}", this.name()))
        };
        let forward = direction(false)?;
        let backward = is_bidirectional.then(|| direction(true)).transpose()?;
        let above = layers.last().map(|layer: &RecurrentLayer| {
            layer.forward.outputs() * (1 + usize::from(is_bidirectional))
        });
        for direction in [Some(&forward), backward.as_ref()].into_iter().flatten() {
            let features = direction.features();
            if let Some(above) = above.filter(|above| *above != features) {
                return Err(format!(
                    "its layer {number} takes {features} features, the one below gives {above}"
                ));
            }
        }
        layers.push(RecurrentLayer { forward, backward });
    }
    Ok(kind.map(|kind| Recurrent {
        kind,
        is_cell,
        activation: None,
        layers,
    }))
}

/// One direction's arrays, which must fit each other, and what kind of cell they make.
fn arrays_of<'a>(found: &Parts<'a>, layer: usize) -> Result<(Arrays<'a>, CellKind), String> {
    let matrix = |name: &str| {
        let array = found
            .get(name)
            .ok_or_else(|| format!("its layer {layer} has no {name}"))?;
        array
            .view()
            .into_dimensionality::<Ix2>()
            .map_err(|_| format!("its {name} of layer {layer} has shape {:?}", array.shape()))
    };
    let (weight_ih, weight_hh) = (matrix("weight_ih")?, matrix("weight_hh")?);
    let weight_hr = match found.contains_key("weight_hr") {
        true => Some(matrix("weight_hr")?),
        false => None,
    };
    let (rows, outputs) = weight_hh.dim();
    let (kind, units) = match (weight_hr, rows.checked_div(outputs)) {
        // Only an LSTM has one.
        (Some(weight_hr), _) => (CellKind::Lstm, weight_hr.ncols()),
        (None, Some(3)) => (CellKind::Gru, outputs),
        (None, Some(1)) => (CellKind::SimpleRnn, outputs),
        (None, _) => (CellKind::Lstm, outputs),
    };
    if let Some(weight_hr) = weight_hr
        && (outputs == 0 || weight_hr.nrows() != outputs || units.checked_mul(4) != Some(rows))
    {
        return Err(format!(
            "its weight_hr of layer {layer} has shape {:?}, expected (proj_size, units) where \
             weight_hh {:?} is (4·units, proj_size)",
            weight_hr.shape(),
            weight_hh.shape()
        ));
    }
    if units == 0 || rows != kind.gates() * units || weight_ih.nrows() != rows {
        return Err(format!(
            "its weight_ih {:?} and weight_hh {:?} of layer {layer} are those of no LSTM \
             (4·units, …), GRU (3·units, …) or RNN (units, …)",
            weight_ih.shape(),
            weight_hh.shape()
        ));
    }
    let bias = |name: &str| {
        let Some(array) = found.get(name) else {
            return Ok(None);
        };
        let bias = array.view().into_dimensionality::<Ix1>();
        match bias {
            Ok(bias) if bias.len() == rows => Ok(Some(bias)),
            _ => Err(format!(
                "its {name} of layer {layer} has shape {:?}, expected ({rows},)",
                array.shape()
            )),
        }
    };
    let biases = match (bias("bias_ih")?, bias("bias_hh")?) {
        (Some(ih), Some(hh)) => Some([ih, hh]),
        (None, None) => None,
        _ => {
            return Err(format!(
                "its layer {layer} has one bias, PyTorch keeps two or none"
            ));
        }
    };
    let arrays = Arrays {
        weight_ih,
        weight_hh,
        weight_hr,
        biases,
    };
    Ok((arrays, kind))
}

impl Arrays<'_> {
    /// In Keras's layout.
    fn direction(&self, kind: CellKind) -> Option<Direction> {
        Some(match kind {
            CellKind::Lstm => Direction::Lstm(self.lstm()?),
            CellKind::Gru => Direction::Gru {
                weights: self.gru()?,
                reset_after: true,
            },
            _ => Direction::SimpleRnn(self.simple_rnn()?),
        })
    }

    /// As an LSTM: columns i f c o, the biases summed.
    fn lstm(&self) -> Option<LstmWeights> {
        let torch = packing::find("pytorch")?;
        let bias = match &self.biases {
            Some(biases) => Some(torch.bias_to_keras(biases, None).ok()?),
            None => None,
        };
        let kernel = torch.matrix_to_keras(self.weight_ih).ok()?;
        let recurrent_kernel = torch.matrix_to_keras(self.weight_hh).ok()?;
        let weights = match self.weight_hr {
            Some(weight_hr) => {
                let projection = weight_hr.t().to_owned();
                LstmWeights::projected(kernel, recurrent_kernel, bias, projection)
            }
            None => LstmWeights::new(kernel, recurrent_kernel, bias),
        };
        weights.ok()
    }

    /// As a GRU: columns z r h, both biases.
    fn gru(&self) -> Option<GruWeights> {
        let torch = packing::find_gru("pytorch")?;
        let bias = match &self.biases {
            // (2, 3·units): each row is packed as a kernel with one feature.
            Some([ih, hh]) => {
                let rows = stack(Axis(1), &[ih.view(), hh.view()]).ok()?;
                Some(torch.matrix_to_keras(rows.view())?)
            }
            None => None,
        };
        let kernel = torch.matrix_to_keras(self.weight_ih)?;
        let recurrent_kernel = torch.matrix_to_keras(self.weight_hh)?;
        GruWeights::new(kernel, recurrent_kernel, bias).ok()
    }

    /// As a SimpleRNN, the biases summed.
    fn simple_rnn(&self) -> Option<SimpleRnnWeights> {
        let bias = self.biases.as_ref().map(|[ih, hh]| ih + hh);
        let (kernel, recurrent_kernel) = (self.weight_ih.t(), self.weight_hh.t());
        SimpleRnnWeights::new(kernel.to_owned(), recurrent_kernel.to_owned(), bias).ok()
    }
}
