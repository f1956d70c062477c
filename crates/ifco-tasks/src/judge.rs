//! A model on many samples, batch by batch.

use ifco_model::{Model, ModelError};
use ifco_train::{Data, FitError, Samples};
use ndarray::{ArrayD, ArrayViewD};

/// Predicts all samples, `batch_size` at a time, and hands each batch to `each` with what the model
/// gives for it. `progress` is told how many samples are done.
///
/// # Errors
/// When the samples do not fit the model.
pub fn predictions(
    model: &Model,
    samples: &dyn Samples,
    batch_size: usize,
    each: &mut dyn FnMut(&Data, &ArrayD<f32>),
    progress: &mut dyn FnMut(usize),
) -> Result<(), FitError> {
    let order: Vec<usize> = (0..samples.samples()?).collect();
    let mut done = 0;
    for rows in ifco_train::batches(&order, batch_size) {
        let data = samples.rows(rows)?;
        let views: Vec<ArrayViewD<'_, f32>> = data.inputs.iter().map(|x| x.view()).collect();
        let mut outputs = model.predict_all(&views, rows.len(), &mut |_| {})?;
        let Some(output) = outputs.pop() else {
            let none = "the model gives nothing".to_owned();
            return Err(FitError::Model(ModelError::Inputs(none)));
        };
        each(&data, &output);
        done += rows.len();
        progress(done);
    }
    Ok(())
}
