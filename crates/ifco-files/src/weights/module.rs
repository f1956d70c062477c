//! A module: what a group of weights is, as far as its names and shapes tell.

use std::borrow::Cow;

use ifco_cell::CellKind;
use ndarray::ArrayD;

use super::Recurrent;
use super::spec::ModuleSpec;
use crate::{WeightsGroup, WeightsSource, torch};

use super::named;

/// A module that has weights, by PyTorch's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Recurrent(CellKind),
    Linear,
    Embedding,
    LayerNorm,
    BatchNorm1d,
    Conv1d,
}

impl Kind {
    /// The kinds that a spec may name.
    pub const NAMED: [(&'static str, Kind); 8] = [
        ("Linear", Kind::Linear),
        ("Embedding", Kind::Embedding),
        ("LayerNorm", Kind::LayerNorm),
        ("BatchNorm1d", Kind::BatchNorm1d),
        ("Conv1d", Kind::Conv1d),
        ("LSTM", Kind::Recurrent(CellKind::Lstm)),
        ("GRU", Kind::Recurrent(CellKind::Gru)),
        ("RNN", Kind::Recurrent(CellKind::SimpleRnn)),
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
pub(crate) struct Module<'a> {
    /// Its name in the file, or its kind's where it has none: a module saved on its own.
    pub name: String,
    pub kind: Kind,
    /// What told the kind, where that was a guess.
    pub guess: Option<String>,
    /// The layers of a recurrent one.
    pub recurrent: Option<Recurrent>,
    /// Of a norm, as its framework has it unless told.
    pub eps: f64,
    /// By PyTorch's names and in its layout, of a module that is not recurrent.
    arrays: Arrays<'a>,
}

/// Arrays by name.
pub(crate) type Arrays<'a> = Cow<'a, [(String, ArrayD<f32>)]>;

impl<'a> Module<'a> {
    /// What the group of such a file is; the reason where that cannot be told.
    pub fn of(
        group: &'a WeightsGroup,
        told: &ModuleSpec,
        source: WeightsSource,
    ) -> Result<Self, String> {
        match source {
            WeightsSource::Torch | WeightsSource::Safetensors => torch::module(group, told.kind),
            _ => named::module(group, told, source),
        }
    }

    /// A recurrent module.
    pub fn of_recurrent(group: &WeightsGroup, recurrent: Recurrent, guess: Option<String>) -> Self {
        let kind = Kind::Recurrent(recurrent.kind);
        Self {
            name: name(group, kind),
            kind,
            guess,
            recurrent: Some(recurrent),
            eps: 0.0,
            arrays: Cow::Borrowed(&[]),
        }
    }

    /// A module that is not recurrent, of arrays by PyTorch's names and in its layout. They must be
    /// those of the kind.
    pub fn of_arrays(
        group: &WeightsGroup,
        kind: Kind,
        guess: Option<String>,
        arrays: Arrays<'a>,
        eps: f64,
    ) -> Result<Self, String> {
        let shape = |name: &str| find(&arrays, name).map(ArrayD::shape);
        let rank = match kind {
            Kind::Linear | Kind::Embedding => 2,
            Kind::Conv1d => 3,
            Kind::LayerNorm | Kind::BatchNorm1d => 1,
            Kind::Recurrent(_) => {
                return Err(format!("its arrays are none of a {}", kind.name()));
            }
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
        let has_moments = shape("running_mean").is_some() && shape("running_var").is_some();
        if kind == Kind::BatchNorm1d && !has_moments {
            return Err("it has no running_mean and running_var".into());
        }
        Ok(Self {
            name: name(group, kind),
            kind,
            guess,
            recurrent: None,
            eps,
            arrays,
        })
    }

    /// One of its arrays.
    pub fn array(&self, name: &str) -> Option<&ArrayD<f32>> {
        find(&self.arrays, name)
    }
}

fn find<'a>(arrays: &'a [(String, ArrayD<f32>)], name: &str) -> Option<&'a ArrayD<f32>> {
    let found = arrays.iter().find(|(found, _)| found == name);
    found.map(|(_, array)| array)
}

/// What the module is called here.
pub(crate) fn name(group: &WeightsGroup, kind: Kind) -> String {
    if group.path.is_empty() {
        kind.name().to_lowercase()
    } else {
        group.path.clone()
    }
}
