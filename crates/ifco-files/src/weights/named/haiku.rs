//! Haiku's GRU and norms, and RNNs of two Denses, as Haiku and Flax have them.

use ifco_cell::{GruWeights, SimpleRnnWeights};
use ndarray::{ArrayView2, Axis};

use super::{Direction, Found, gru_row};

/// The name of an array as that of its module: a BatchNorm keeps what it learned of the data in two
/// modules of its own, `batch_norm/~/mean_ema/average`. `None` of what only training needs there.
pub(super) fn averaged(mut parts: Vec<String>) -> Option<Vec<String>> {
    let tail = parts.len().checked_sub(3).map(|at| &parts[at..]);
    let is_own = |part: &str| part == "~";
    let leaf = match tail {
        Some([tilde, average, leaf]) if is_own(tilde) => match (average.as_str(), leaf.as_str()) {
            ("mean_ema", "average") => "mean",
            ("var_ema", "average") => "var",
            ("mean_ema" | "var_ema", _) => return None,
            _ => return Some(parts),
        },
        _ => return Some(parts),
    };
    parts.truncate(parts.len() - 3);
    parts.push(leaf.to_owned());
    Some(parts)
}

impl Found<'_> {
    /// An RNN of two Denses, the biases summed.
    pub(super) fn two_denses(
        &self,
        input: &str,
        hidden: &str,
        biases: [&str; 2],
    ) -> Result<Direction, String> {
        let (kernel, recurrent) = (
            self.matrix(input)?.to_owned(),
            self.matrix(hidden)?.to_owned(),
        );
        let bias = match (self.vector(biases[0])?, self.vector(biases[1])?) {
            (Some(one), Some(other)) if one.len() == other.len() => Some(&one + &other),
            (Some(_), Some(_)) => return Err("its two biases have different lengths".into()),
            (one, other) => one.or(other).map(|bias| bias.to_owned()),
        };
        let weights = SimpleRnnWeights::new(kernel, recurrent, bias);
        Ok(Direction::SimpleRnn(
            weights.map_err(|error| error.to_string())?,
        ))
    }

    /// Haiku's GRU.
    pub(super) fn haiku_gru(&self) -> Result<Direction, String> {
        let haiku = gru_row("haiku")?;
        let (kernel, recurrent) = (self.matrix("w_i")?, self.matrix("w_h")?);
        let units = recurrent.nrows();
        let to_keras = |packed: ArrayView2<'_, f32>| haiku.matrix_to_keras(packed);
        let matrices = to_keras(kernel).zip(to_keras(recurrent));
        let Some((kernel, recurrent)) = matrices.filter(|(kernel, recurrent)| {
            recurrent.ncols() == 3 * units && kernel.ncols() == recurrent.ncols()
        }) else {
            return Err(format!(
                "its w_i {:?} and w_h {:?} are those of no GRU (…, 3·units)",
                kernel.shape(),
                recurrent.shape()
            ));
        };
        let bias = match self.vector("b")? {
            Some(bias) if bias.len() == 3 * units => to_keras(bias.insert_axis(Axis(0))),
            Some(bias) => return Err(format!("its b has shape {:?}", bias.shape())),
            None => None,
        };
        let weights = GruWeights::new(kernel, recurrent, bias);
        Ok(Direction::Gru {
            weights: weights.map_err(|error| error.to_string())?,
            reset_after: false,
        })
    }
}
