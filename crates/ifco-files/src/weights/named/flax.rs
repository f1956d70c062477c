//! Flax's cells: a Dense for each gate and side.

use ifco_cell::packing;
use ifco_cell::{GruGate, GruWeights, LstmWeights};
use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, stack};

use super::{Direction, Found, gru_row, row};

/// Where a cell is one direction of a Bidirectional: that one's path, and the direction. One that is
/// the whole model has no name.
pub(super) fn direction(path: &str) -> Option<(String, &'static str)> {
    let rnn = path.strip_suffix("/cell")?;
    let (outer, last) = rnn.rsplit_once('/').unwrap_or(("bidirectional", rnn));
    let way = match last {
        "forward_rnn" => "forward",
        "backward_rnn" => "backward",
        _ => return None,
    };
    Some((outer.to_owned(), way))
}

impl Found<'_> {
    /// The Denses of Flax's gates side by side: kernels `(rows, gates·units)`, and the biases, where
    /// one that is missing is zeros.
    pub(super) fn flax(
        &self,
        gates: &[&str],
    ) -> Result<(Array2<f32>, Option<Array1<f32>>), String> {
        let mut kernels = Vec::new();
        let mut biases = Vec::new();
        let mut has_bias = false;
        for gate in gates {
            let kernel = self.matrix(&format!("{gate}/kernel"))?;
            let bias = self.vector(&format!("{gate}/bias"))?;
            has_bias |= bias.is_some();
            let units = kernel.ncols();
            if bias.is_some_and(|bias| bias.len() != units) || units == 0 {
                return Err(format!(
                    "its {gate}/kernel and {gate}/bias do not fit each other"
                ));
            }
            biases.push(bias.map_or_else(|| Array1::zeros(units), |bias| bias.to_owned()));
            kernels.push(kernel);
        }
        let differ = |_| "its gates have different shapes".to_owned();
        let kernel = concatenate(Axis(1), &kernels).map_err(differ)?;
        let units = biases.first().map_or(0, Array1::len);
        if biases.iter().any(|bias| bias.len() != units) {
            return Err("its gates have different shapes".into());
        }
        let biases: Vec<_> = biases.iter().map(|bias| bias.view()).collect();
        let bias = concatenate(Axis(0), &biases).map_err(differ)?;
        Ok((kernel, has_bias.then_some(bias)))
    }

    pub(super) fn flax_lstm(&self) -> Result<Direction, String> {
        let flax = row("flax")?;
        let names = |side: char| -> [String; 4] {
            flax.order
                .map(|gate| format!("{side}{}", flax.letter(gate)))
        };
        let (input, hidden) = (names('i'), names('h'));
        let known: Vec<String> = input
            .iter()
            .chain(&hidden)
            .flat_map(|gate| [format!("{gate}/kernel"), format!("{gate}/bias")])
            .collect();
        self.only(&known.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (kernel, input_bias) = self.flax(&input.each_ref().map(String::as_str))?;
        let (recurrent, bias) = self.flax(&hidden.each_ref().map(String::as_str))?;
        if input_bias.is_some() {
            return Err("its input side has biases, which Flax's LSTM has not".into());
        }
        let text = |error: packing::PackingError| error.to_string();
        let kernel = flax.matrix_to_keras(kernel.view()).map_err(text)?;
        let recurrent = flax.matrix_to_keras(recurrent.view()).map_err(text)?;
        let bias = match bias {
            Some(bias) => Some(flax.bias_to_keras(&[bias.view()], None).map_err(text)?),
            None => None,
        };
        let weights = LstmWeights::new(kernel, recurrent, bias);
        Ok(Direction::Lstm(weights.map_err(|error| error.to_string())?))
    }

    /// Flax's GRU: r and z have one bias, on the input's side; n has one on each.
    pub(super) fn flax_gru(&self) -> Result<Direction, String> {
        if self.any_below("if") || self.any_below("hf") {
            return Err("it is an MGUCell, which ifco has not".into());
        }
        let flax = gru_row("flax")?;
        let parts = |side: char| {
            flax.order.map(|gate| match gate {
                GruGate::Update => format!("{side}z"),
                GruGate::Reset => format!("{side}r"),
                GruGate::Candidate => format!("{side}n"),
            })
        };
        let (input, hidden) = (parts('i'), parts('h'));
        let mut known = input.iter().chain(&hidden);
        if let Some(part) = known.find(|part| !self.any_below(part)) {
            return Err(format!("it has no {part}"));
        }
        let to_keras = |packed: ArrayView2<'_, f32>| {
            let keras = flax.matrix_to_keras(packed);
            keras.ok_or_else(|| "its gates have different shapes".to_owned())
        };
        let (kernel, input_bias) = self.flax(&input.each_ref().map(String::as_str))?;
        let (recurrent, hidden_bias) = self.flax(&hidden.each_ref().map(String::as_str))?;
        let (kernel, recurrent) = (to_keras(kernel.view())?, to_keras(recurrent.view())?);
        let width = kernel.ncols();
        let zeros = || Array1::zeros(width);
        let bias = match (input_bias, hidden_bias) {
            (None, None) => None,
            (input, hidden) => {
                let rows = [input.unwrap_or_else(zeros), hidden.unwrap_or_else(zeros)];
                let rows = stack(Axis(0), &[rows[0].view(), rows[1].view()]);
                let rows = rows.map_err(|error| error.to_string())?;
                Some(to_keras(rows.view())?)
            }
        };
        let weights =
            GruWeights::new(kernel, recurrent, bias).map_err(|error| error.to_string())?;
        Ok(Direction::Gru {
            weights,
            reset_after: true,
        })
    }
}
