//! LSTMs of one matrix, as TensorFlow 1 and Haiku have them.

use ifco_cell::LstmWeights;
use ifco_cell::packing::{self, Packing};
use ndarray::{Array1, ArrayView1, ArrayView2, s};

/// An LSTM of one matrix `(features + outputs, 4·units)`, the input's rows first. What the framework
/// adds to the forget gate when a model runs is put into the bias.
pub(super) fn fused(
    packing: &Packing,
    matrix: ArrayView2<'_, f32>,
    bias: Option<ArrayView1<'_, f32>>,
    projection: Option<ArrayView2<'_, f32>>,
    forget_bias: Option<f32>,
) -> Result<LstmWeights, String> {
    let (rows, columns) = matrix.dim();
    let units = columns / 4;
    let outputs = match projection {
        Some(projection) if projection.nrows() == units => projection.ncols(),
        Some(projection) => {
            return Err(format!("its projection has shape {:?}", projection.shape()));
        }
        None => units,
    };
    let features = rows.checked_sub(outputs).filter(|features| *features > 0);
    let Some(features) = features.filter(|_| units > 0 && columns == 4 * units) else {
        return Err(format!(
            "its matrix of shape {:?} is none of a fused LSTM (features + units, 4·units)",
            matrix.shape()
        ));
    };
    let text = |error: packing::PackingError| error.to_string();
    let keras = packing.matrix_to_keras(matrix).map_err(text)?;
    let bias = match bias {
        Some(bias) if bias.len() == columns => bias.to_owned(),
        Some(bias) => return Err(format!("its bias has shape {:?}", bias.shape())),
        None => Array1::zeros(columns),
    };
    let bias = packing
        .bias_to_keras(&[bias.view()], forget_bias)
        .map_err(text)?;
    let kernel = keras.slice(s![..features, ..]).to_owned();
    let recurrent = keras.slice(s![features.., ..]).to_owned();
    let weights = match projection {
        Some(projection) => {
            LstmWeights::projected(kernel, recurrent, Some(bias), projection.to_owned())
        }
        None => LstmWeights::new(kernel, recurrent, Some(bias)),
    };
    weights.map_err(|error| error.to_string())
}
