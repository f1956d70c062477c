//! What a model is trained on, and for how long.

use ndarray::{ArrayD, Axis};

use super::FitError;
use crate::Shuffle;

/// Where the samples of a training come from: [`Data`] holds them all as arrays; others make each
/// batch when it is asked for, as windows over a series that overlap.
///
/// ```
/// use ifco_train::{Data, FitError, Samples};
/// use ndarray::Array2;
///
/// /// Predicts each number of a series from the one before.
/// #[derive(Debug)]
/// struct Next(Vec<f32>);
///
/// impl Samples for Next {
///     fn samples(&self) -> Result<usize, FitError> {
///         Ok(self.0.len().saturating_sub(1))
///     }
///
///     fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
///         let of = |ahead| Array2::from_shape_fn((rows.len(), 1), |(i, _)| self.0[rows[i] + ahead]);
///         Ok(Data::new(of(0).into_dyn(), of(1).into_dyn()))
///     }
/// }
///
/// let batch = Next(vec![1.0, 2.0, 3.0]).rows(&[1])?;
/// assert_eq!((batch.inputs[0][[0, 0]], batch.targets[0][[0, 0]]), (2.0, 3.0));
/// # Ok::<(), FitError>(())
/// ```
pub trait Samples: std::fmt::Debug {
    /// How many there are.
    ///
    /// # Errors
    /// When there are none, or they do not belong together.
    fn samples(&self) -> Result<usize, FitError>;

    /// These samples, in this order: numbers below [`samples`](Self::samples).
    ///
    /// # Errors
    /// When they cannot be had, as from a file that got shorter.
    fn rows(&self, rows: &[usize]) -> Result<Data, FitError>;
}

impl Samples for Data {
    fn samples(&self) -> Result<usize, FitError> {
        Data::samples(self)
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        Ok(Data::rows(self, rows))
    }
}

/// Inputs and what is wanted of them, one array for each input and output; rows are samples.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// One for each input, `(samples, …)`.
    pub inputs: Vec<ArrayD<f32>>,
    /// One for each output, `(samples, …)`.
    pub targets: Vec<ArrayD<f32>>,
    /// What each sample, or step, counts for; one for each output, or none at all.
    pub sample_weights: Vec<ArrayD<f32>>,
}

impl Data {
    /// One input, one output, no weights.
    pub fn new(input: ArrayD<f32>, target: ArrayD<f32>) -> Self {
        Self {
            inputs: vec![input],
            targets: vec![target],
            sample_weights: Vec::new(),
        }
    }

    /// How many samples there are: the same in each array.
    ///
    /// # Errors
    /// When arrays differ, or there are none.
    pub fn samples(&self) -> Result<usize, FitError> {
        let all = || {
            self.inputs
                .iter()
                .chain(&self.targets)
                .chain(&self.sample_weights)
        };
        same_samples(all().map(ArrayD::shape))
    }

    /// These samples, in this order.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let pick = |arrays: &[ArrayD<f32>]| {
            arrays
                .iter()
                .map(|array| array.select(Axis(0), rows))
                .collect()
        };
        Self {
            inputs: pick(&self.inputs),
            targets: pick(&self.targets),
            sample_weights: pick(&self.sample_weights),
        }
    }
}

/// How many samples arrays of these shapes have: the same in each.
///
/// # Errors
/// When they differ, or there are none.
pub fn same_samples<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Result<usize, FitError> {
    let mut counts = shapes
        .into_iter()
        .map(|shape| shape.first().copied().unwrap_or(0));
    let Some(first) = counts.next() else {
        return Err(FitError::Data("there are no data".into()));
    };
    match counts.find(|count| *count != first) {
        Some(other) => Err(FitError::Data(format!(
            "arrays have {first} and {other} samples, but must have the same"
        ))),
        None => Ok(first),
    }
}

/// How long and on which samples [`Trainer::fit`](crate::Trainer::fit) trains.
#[derive(Debug, Clone)]
pub struct FitOptions<'a> {
    /// How many epochs.
    pub epochs: usize,
    /// The first epoch's number; what came before was trained before.
    pub initial_epoch: usize,
    /// How many steps of it were made before.
    pub initial_step: usize,
    /// How many samples a step sees.
    pub batch_size: usize,
    /// Orders of the samples; absent: as they are.
    pub shuffle: Option<Shuffle>,
    /// Judged after each epoch, under names with `val_`.
    pub validation: Option<&'a dyn Samples>,
    /// Where dropout draws from.
    pub seed: u64,
}

impl Default for FitOptions<'_> {
    /// Keras's: one epoch, 32 samples a step, shuffled.
    fn default() -> Self {
        Self {
            epochs: 1,
            initial_epoch: 0,
            initial_step: 0,
            batch_size: 32,
            shuffle: Some(Shuffle::new(0)),
            validation: None,
            seed: 0,
        }
    }
}
