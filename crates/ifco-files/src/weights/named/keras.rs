//! Keras's recurrent layers by the names of their weights.

use ifco_cell::{GruWeights, LstmWeights, SimpleRnnWeights};
use ndarray::Axis;

use super::{Direction, Found, Guess};

impl Found<'_> {
    /// Keras's: the number of columns tells which.
    pub(super) fn keras(&self) -> Result<(Direction, Guess), String> {
        let kernel = self.matrix("kernel")?;
        let recurrent_kernel = self.matrix("recurrent_kernel")?;
        let (units, columns) = recurrent_kernel.dim();
        let wrong = || {
            format!(
                "its kernel {:?} and recurrent_kernel {:?} are those of no LSTM (…, 4·units), GRU \
                 (…, 3·units) or SimpleRNN (…, units)",
                kernel.shape(),
                recurrent_kernel.shape()
            )
        };
        if units == 0 || kernel.ncols() != columns || kernel.nrows() == 0 {
            return Err(wrong());
        }
        let (kernel, recurrent_kernel) = (kernel.to_owned(), recurrent_kernel.to_owned());
        let text = |error: ifco_cell::WeightsError| error.to_string();
        if columns == 4 * units {
            let bias = self.vector("bias")?.map(|bias| bias.to_owned());
            let weights = LstmWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
            return Ok((Direction::Lstm(weights), None));
        }
        if columns == units {
            let bias = self.vector("bias")?.map(|bias| bias.to_owned());
            let weights = SimpleRnnWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
            return Ok((Direction::SimpleRnn(weights), None));
        }
        if columns != 3 * units {
            return Err(wrong());
        }
        let bias = match self.arrays.get("bias") {
            Some(bias) if bias.ndim() == 2 => Some(self.matrix("bias")?.to_owned()),
            _ => self
                .vector("bias")?
                .map(|bias| bias.to_owned().insert_axis(Axis(0))),
        };
        let (reset_after, guess) = match (&bias, self.told.reset_after) {
            (Some(bias), _) => (bias.nrows() == 2, None),
            (None, Some(told)) => (told, None),
            (None, None) => {
                let guess = "is taken for a GRU with reset_after (reset_after = false)";
                (true, Some(guess.to_owned()))
            }
        };
        if bias
            .as_ref()
            .is_some_and(|bias| !matches!(bias.nrows(), 1 | 2))
        {
            return Err("its bias is none of a GRU".into());
        }
        let weights = GruWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
        Ok((
            Direction::Gru {
                weights,
                reset_after,
            },
            guess,
        ))
    }
}
