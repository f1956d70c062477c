//! Samples that may be more than memory holds.

use std::ops::Range;
use std::sync::Arc;

use ifco::arrays::npy;
use ifco::train::{Data, FitError, Samples, same_samples};
use ndarray::{ArrayD, Axis};

use crate::failure::Failure;

/// One of the inputs or targets, `(samples, …)`.
#[derive(Debug)]
pub enum Column {
    Array(ArrayD<f32>),
    /// A large `.npy` stays where it is.
    Rows(npy::Rows),
}

impl Column {
    fn shape(&self) -> &[usize] {
        match self {
            Column::Array(array) => array.shape(),
            Column::Rows(rows) => rows.shape(),
        }
    }

    fn rows(&self, numbers: &[usize]) -> Result<ArrayD<f32>, FitError> {
        match self {
            Column::Array(array) => Ok(array.select(Axis(0), numbers)),
            Column::Rows(rows) => rows
                .read(numbers)
                .map_err(|error| FitError::Data(error.to_string())),
        }
    }

    /// The whole array, read where it is not yet.
    pub fn whole(&self) -> Result<ArrayD<f32>, Failure> {
        let all: Vec<usize> = (0..self.shape().first().copied().unwrap_or(0)).collect();
        Ok(self.rows(&all)?)
    }
}

/// Inputs and what is wanted of them, an array for each input and output of a model.
#[derive(Debug)]
pub struct Columns {
    pub inputs: Vec<Column>,
    pub targets: Vec<Column>,
    /// What each sample, or step, counts for; one for each output, or none at all.
    pub sample_weights: Vec<ArrayD<f32>>,
}

impl Columns {
    /// How many samples there are.
    pub fn samples(&self) -> Result<usize, FitError> {
        let files = self.inputs.iter().chain(&self.targets);
        let weights = self.sample_weights.iter().map(ArrayD::shape);
        same_samples(files.map(Column::shape).chain(weights))
    }
}

/// Some of the samples, one behind the other.
#[derive(Debug)]
pub struct Part {
    pub of: Arc<Columns>,
    pub rows: Range<usize>,
}

impl Samples for Part {
    fn samples(&self) -> Result<usize, FitError> {
        Ok(self.rows.len())
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        let rows: Vec<usize> = rows.iter().map(|row| self.rows.start + row).collect();
        let read = |columns: &[Column]| -> Result<Vec<_>, FitError> {
            columns.iter().map(|column| column.rows(&rows)).collect()
        };
        let weights = self.of.sample_weights.iter();
        Ok(Data {
            inputs: read(&self.of.inputs)?,
            targets: read(&self.of.targets)?,
            sample_weights: weights.map(|all| all.select(Axis(0), &rows)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;

    #[test]
    fn a_file_gives_the_same_batches_as_memory() {
        let x = Array::from_shape_fn((6, 2), |(i, j)| (i * 10 + j) as f32).into_dyn();
        let y = Array::from_shape_fn((6, 1), |(i, _)| i as f32).into_dyn();
        let path = std::env::temp_dir().join(format!("ifco-samples-{}.npy", std::process::id()));
        npy::write(&path, x.view()).unwrap();
        let part = |x| Part {
            of: Arc::new(Columns {
                inputs: vec![x],
                targets: vec![Column::Array(y.clone())],
                sample_weights: vec![y.clone()],
            }),
            rows: 2..5,
        };
        let file = part(Column::Rows(npy::Rows::open(&path).unwrap().unwrap()));
        let memory = part(Column::Array(x));
        assert_eq!(file.of.samples().unwrap(), 6);
        assert_eq!(file.samples().unwrap(), 3);
        let (of_file, of_memory) = (file.rows(&[2, 0]).unwrap(), memory.rows(&[2, 0]).unwrap());
        assert_eq!(of_file.inputs, of_memory.inputs);
        assert_eq!(
            of_file.inputs[0],
            ndarray::array![[40.0, 41.0], [20.0, 21.0]].into_dyn()
        );
        assert_eq!(of_file.targets[0].as_slice().unwrap(), [4.0, 2.0]);
        assert_eq!(of_file.sample_weights, of_memory.sample_weights);
        std::fs::remove_file(path).unwrap();
    }
}
