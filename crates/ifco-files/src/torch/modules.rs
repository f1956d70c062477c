//! What each group of a file is, as far as its names and shapes tell.

use ifco_cell::{Activation, Cell, CellKind, GruCell, LstmCell, SimpleRnnCell};
use ndarray::ArrayD;

use super::recurrent::{self, Recurrent};
use crate::{WeightsFile, WeightsGroup};

/// A module of PyTorch that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Recurrent(CellKind),
    Linear,
    Embedding,
    LayerNorm,
    BatchNorm1d,
    Conv1d,
}

impl Kind {
    /// The kinds that a spec may name.
    pub const NAMED: [(&'static str, Kind); 5] = [
        ("Linear", Kind::Linear),
        ("Embedding", Kind::Embedding),
        ("LayerNorm", Kind::LayerNorm),
        ("BatchNorm1d", Kind::BatchNorm1d),
        ("Conv1d", Kind::Conv1d),
    ];

    /// PyTorch's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Recurrent(CellKind::Lstm) => "LSTM",
            Kind::Recurrent(CellKind::Gru) => "GRU",
            Kind::Recurrent(_) => "RNN",
            Kind::Linear => "Linear",
            Kind::Embedding => "Embedding",
            Kind::LayerNorm => "LayerNorm",
            Kind::BatchNorm1d => "BatchNorm1d",
            Kind::Conv1d => "Conv1d",
        }
    }
}

/// A group that is a module.
#[derive(Debug)]
pub(super) struct Module<'a> {
    /// Its name in the file, or its kind's where it has none: a module saved on its own.
    pub name: String,
    pub kind: Kind,
    /// What told the kind, where that was a guess.
    pub guess: Option<String>,
    /// The layers of a recurrent one.
    pub recurrent: Option<Recurrent<'a>>,
    group: &'a WeightsGroup,
}

impl<'a> Module<'a> {
    /// What the group is; the reason where that cannot be told.
    pub fn of(group: &'a WeightsGroup, told: Option<Kind>) -> Result<Self, String> {
        let shape = |name: &str| find(group, name).map(ArrayD::shape);
        if let Some(recurrent) = Recurrent::of(group)? {
            return Ok(Self {
                name: name(group, Kind::Recurrent(recurrent.kind)),
                kind: Kind::Recurrent(recurrent.kind),
                guess: None,
                recurrent: Some(recurrent),
                group,
            });
        }
        const KNOWN: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];
        let strange = group
            .arrays
            .iter()
            .find(|(name, _)| !KNOWN.contains(&name.as_str()));
        if let Some((strange, array)) = strange {
            return Err(format!(
                "{strange:?} of shape {:?} is of no module that ifco knows",
                array.shape()
            ));
        }
        let has_bias = shape("bias").is_some();
        let has_moments = shape("running_mean").is_some() && shape("running_var").is_some();
        let (kind, guess) = match (shape("weight"), told) {
            (_, Some(told)) => (told, None),
            (_, None) if has_moments => (Kind::BatchNorm1d, None),
            (Some([_, _]), None) if has_bias => (Kind::Linear, None),
            (Some([_, _]), None) => {
                if group.path.to_lowercase().contains("emb") {
                    let guess = "is taken for an Embedding, for its name and its missing bias";
                    (Kind::Embedding, Some(guess))
                } else {
                    (Kind::Linear, Some("is taken for a Linear without bias"))
                }
            }
            (Some([_]), None) if has_bias => (
                Kind::LayerNorm,
                Some("is taken for a LayerNorm, for its shapes"),
            ),
            (Some([_, _, _]), None) => (Kind::Conv1d, None),
            (weight, None) => {
                let shape = weight.map_or("no weight".into(), |shape| {
                    format!("a weight of shape {shape:?}")
                });
                return Err(format!("{shape} does not tell what module it is"));
            }
        };
        let rank = match kind {
            Kind::Linear | Kind::Embedding => 2,
            Kind::Conv1d => 3,
            _ => 1,
        };
        match shape("weight") {
            Some(shape) if shape.len() != rank || shape.contains(&0) => {
                return Err(format!(
                    "its weight has shape {shape:?}, which is none of a {}",
                    kind.name()
                ));
            }
            None if rank > 1 => return Err(format!("it has no weight, as a {} has", kind.name())),
            _ => {}
        }
        if kind == Kind::BatchNorm1d && !has_moments {
            return Err("it has no running_mean and running_var".into());
        }
        Ok(Self {
            name: name(group, kind),
            kind,
            guess: guess.map(str::to_owned),
            recurrent: None,
            group,
        })
    }

    /// One of its arrays.
    pub fn array(&self, name: &str) -> Option<&'a ArrayD<f32>> {
        find(self.group, name)
    }
}

fn find<'a>(group: &'a WeightsGroup, name: &str) -> Option<&'a ArrayD<f32>> {
    let found = group.arrays.iter().find(|(found, _)| found == name);
    found.map(|(_, array)| array)
}

/// What the module is called here.
fn name(group: &WeightsGroup, kind: Kind) -> String {
    if group.path.is_empty() {
        kind.name().to_lowercase()
    } else {
        group.path.clone()
    }
}

/// The cells of every recurrent module, with PyTorch's default activations.
pub(crate) fn cells(file: &WeightsFile) -> Vec<(String, Cell)> {
    let mut cells = Vec::new();
    for group in &file.groups {
        let Ok(Some(recurrent)) = Recurrent::of(group) else {
            continue;
        };
        let module = name(group, Kind::Recurrent(recurrent.kind));
        for (number, layer) in recurrent.layers.iter().enumerate() {
            let path = recurrent.layer_name(&module, number);
            let backward = layer.backward.as_ref();
            let ways = [
                (
                    Some(&layer.forward),
                    if backward.is_some() { "/forward" } else { "" },
                ),
                (backward, "/backward"),
            ];
            for (arrays, way) in ways {
                let cell = arrays.and_then(|arrays| cell(recurrent.kind, arrays));
                cells.extend(cell.map(|cell| (format!("{path}{way}"), cell)));
            }
        }
    }
    cells
}

fn cell(kind: CellKind, arrays: &recurrent::Arrays<'_>) -> Option<Cell> {
    let (tanh, sigmoid) = (Activation::Tanh, Activation::Sigmoid);
    Some(match kind {
        CellKind::Lstm => LstmCell::new(arrays.lstm()?, tanh, sigmoid).into(),
        CellKind::Gru => GruCell::new(arrays.gru()?, tanh, sigmoid, true)
            .ok()?
            .into(),
        _ => SimpleRnnCell::new(arrays.simple_rnn()?, tanh).into(),
    })
}
