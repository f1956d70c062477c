//! TensorFlow 1's cells: the input's rows and the hidden state's in one matrix.

use ifco_cell::{GruWeights, SimpleRnnWeights};
use ndarray::{ArrayView2, Axis, concatenate, s, stack};

use super::fused::fused;
use super::{Direction, Found, Guess, gru_row, row};

/// The peepholes of i, f and o.
const PEEPHOLES: [&str; 3] = ["w_i_diag", "w_f_diag", "w_o_diag"];

/// How the cell is called whose weights CudnnLSTM saves: it adds nothing to the forget gate.
const CUDNN: &str = "cudnn_compatible";

/// Cells of `tf.contrib.rnn` with a `kernel` that compute something else.
const OTHERS: [&str; 6] = ["layer_norm", "coupled", "glstm", "nas_", "conv", "phased"];

/// Of a cell that `bidirectional_dynamic_rnn` runs, the layer's path and which way it goes:
/// `bidirectional_rnn/fw/lstm_cell`. Stacks of cells in each direction are two layers for themselves.
pub(super) fn direction(path: &str) -> Option<(String, &'static str)> {
    let (before, cell) = path.rsplit_once('/')?;
    let (outer, way) = before.rsplit_once('/').unwrap_or(("", before));
    let way = match way {
        "fw" => "forward",
        "bw" => "backward",
        _ => return None,
    };
    let separator = if outer.is_empty() { "" } else { "/" };
    Some((format!("{outer}{separator}{cell}"), way))
}

impl Found<'_> {
    /// GRUCell: its gates in one matrix, the candidate in another, each with the input's rows first.
    pub(super) fn tensorflow_gru(&self) -> Result<Direction, String> {
        let (gates, candidate) = (
            self.matrix("gates/kernel")?,
            self.matrix("candidate/kernel")?,
        );
        let (rows, units) = candidate.dim();
        let features = rows
            .checked_sub(units)
            .filter(|features| *features > 0 && units > 0);
        let Some(features) = features.filter(|_| gates.dim() == (rows, 2 * units)) else {
            return Err(format!(
                "its gates/kernel {:?} and candidate/kernel {:?} are those of no GRUCell",
                gates.shape(),
                candidate.shape()
            ));
        };
        let tf1 = gru_row("tf1")?;
        let to_keras = |gates: ArrayView2<'_, f32>, candidate: ArrayView2<'_, f32>| {
            let packed = concatenate(Axis(1), &[gates, candidate]).ok()?;
            tf1.matrix_to_keras(packed.view())
        };
        let all = to_keras(gates, candidate).ok_or("it is none of a GRUCell")?;
        let bias = match (self.vector("gates/bias")?, self.vector("candidate/bias")?) {
            (Some(gates), Some(candidate))
                if gates.len() == 2 * units && candidate.len() == units =>
            {
                to_keras(gates.insert_axis(Axis(0)), candidate.insert_axis(Axis(0)))
            }
            (None, None) => None,
            _ => return Err("its biases are those of no GRUCell".into()),
        };
        let kernel = all.slice(s![..features, ..]).to_owned();
        let recurrent = all.slice(s![features.., ..]).to_owned();
        let weights =
            GruWeights::new(kernel, recurrent, bias).map_err(|error| error.to_string())?;
        Ok(Direction::Gru {
            weights,
            reset_after: false,
        })
    }

    /// BasicLSTMCell, LSTMCell and LSTMBlockCell: gates i c f o in one matrix, perhaps a projection and
    /// peepholes.
    pub(super) fn tensorflow_lstm(&self, is_told: bool) -> Result<(Direction, Guess), String> {
        let cell = self.path.rsplit('/').next().unwrap_or_default();
        if let Some(other) = OTHERS.iter().find(|other| cell.contains(*other)) {
            return Err(format!(
                "its name says that it is a variant ({other}) which ifco has not"
            ));
        }
        let [i, f, o] = PEEPHOLES;
        self.only(&["kernel", "bias", "projection/kernel", i, f, o])?;
        let projection = match self.has("projection/kernel") {
            true => Some(self.matrix("projection/kernel")?),
            false => None,
        };
        let (kernel, bias) = (self.matrix("kernel")?, self.vector("bias")?);
        let is_cudnn = cell.contains(CUDNN);
        let forget_bias = self.told.forget_bias.or(is_cudnn.then_some(0.0));
        let mut lstm = fused(row("tf1")?, kernel, bias, projection, forget_bias)?;
        let peepholes = [self.vector(i)?, self.vector(f)?, self.vector(o)?];
        if peepholes.iter().any(Option::is_some) {
            let [Some(i), Some(f), Some(o)] = peepholes else {
                return Err(format!("of its peepholes {PEEPHOLES:?} some are missing"));
            };
            let all = stack(Axis(0), &[i, f, o]);
            let all = all.map_err(|_| "its peepholes have different lengths".to_owned())?;
            lstm = lstm
                .with_peepholes(all)
                .map_err(|error| error.to_string())?;
        }
        let mut said = Vec::new();
        if !is_told {
            said.push("is taken for a fused LSTM of TensorFlow 1, for its name");
        }
        if forget_bias.is_none() {
            said.push("1 is added to its forget gate (forget_bias = …)");
        }
        let guess = (!said.is_empty()).then(|| said.join("; "));
        Ok((Direction::Lstm(lstm), guess))
    }

    pub(super) fn tensorflow_rnn(&self) -> Result<Direction, String> {
        self.only(&["kernel", "bias"])?;
        let kernel = self.matrix("kernel")?;
        let (rows, units) = kernel.dim();
        let features = rows.checked_sub(units).filter(|features| *features > 0);
        let features = features.ok_or("its kernel is none of a BasicRNNCell")?;
        let bias = self.vector("bias")?.map(|bias| bias.to_owned());
        let (input, hidden) = kernel.split_at(Axis(0), features);
        let weights = SimpleRnnWeights::new(input.to_owned(), hidden.to_owned(), bias);
        Ok(Direction::SimpleRnn(
            weights.map_err(|error| error.to_string())?,
        ))
    }
}
