//! What each group of a file of PyTorch is, as far as its names and shapes tell.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::recurrent::recurrent;
use crate::WeightsGroup;
use crate::weights::{Kind, Module};

/// PyTorch's default of every norm.
const EPS: f64 = 1e-5;

/// What the group is; the reason where that cannot be told.
pub(crate) fn module(group: &WeightsGroup, told: Option<Kind>) -> Result<Module<'_>, String> {
    if let Some(recurrent) = recurrent(group)? {
        return Ok(Module::of_recurrent(group, recurrent, None));
    }
    let shape = |name: &str| {
        let found = group.arrays.iter().find(|(found, _)| found == name);
        found.map(|(_, array)| array.shape())
    };
    const KNOWN: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];
    let strange = group
        .arrays
        .iter()
        .find(|(name, _)| !KNOWN.contains(&name.as_str()));
    if let Some((strange, array)) = strange {
        return Err(format!(
            "{strange:?} of shape {:?} is of no module that ifco knows",
            ArrayD::shape(array)
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
    let arrays = Cow::Borrowed(group.arrays.as_slice());
    Module::of_arrays(group, kind, guess.map(str::to_owned), arrays, EPS)
}
