//! Haiku's GRU, and RNNs of two Denses, as Haiku and Flax have them.

use ifco_cell::{GruWeights, SimpleRnnWeights};
use ndarray::{ArrayView2, Axis, s};

use super::{Direction, Found};

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

    /// Haiku's GRU: `h' = (1 − z) ⊙ h + z ⊙ a`, so that its z is 1 − z of Keras's, which is that of
    /// the negated weights: σ(−x) = 1 − σ(x).
    pub(super) fn haiku_gru(&self) -> Result<Direction, String> {
        let negated = |array: ArrayView2<'_, f32>, units: usize| {
            let mut array = array.to_owned();
            array
                .slice_mut(s![.., ..units])
                .mapv_inplace(|value| -value);
            array
        };
        let (kernel, recurrent) = (self.matrix("w_i")?, self.matrix("w_h")?);
        let units = recurrent.nrows();
        if Some(recurrent.ncols()) != units.checked_mul(3) || kernel.ncols() != recurrent.ncols() {
            return Err(format!(
                "its w_i {:?} and w_h {:?} are those of no GRU (…, 3·units)",
                kernel.shape(),
                recurrent.shape()
            ));
        }
        let bias = match self.vector("b")? {
            Some(bias) if bias.len() == 3 * units => {
                Some(negated(bias.insert_axis(Axis(0)), units))
            }
            Some(bias) => return Err(format!("its b has shape {:?}", bias.shape())),
            None => None,
        };
        let weights = GruWeights::new(negated(kernel, units), negated(recurrent, units), bias);
        Ok(Direction::Gru {
            weights: weights.map_err(|error| error.to_string())?,
            reset_after: false,
        })
    }
}
