//! Which samples a step sees: shuffled, split, in batches.

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use crate::{Random, TrainError};

/// A random order of the samples for each epoch.
///
/// An epoch's order depends on the seed and the epoch alone, so that training that goes on after a
/// break sees what it would have seen. The orders are not Keras's.
///
/// ```
/// use ifco_train::Shuffle;
///
/// let shuffle = Shuffle::new(7);
/// assert_eq!(shuffle.order(3, 100), shuffle.order(3, 100));
/// assert_ne!(shuffle.order(3, 100), shuffle.order(4, 100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    seed: u64,
}

impl Shuffle {
    /// The orders of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The order of `samples` samples in this epoch, the first being 0.
    pub fn order(&self, epoch: usize, samples: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..samples).collect();
        let mixed = Random::new(self.seed).bits() ^ (epoch as u64).rotate_left(32);
        Random::new(mixed).shuffle(&mut order);
        order
    }
}

/// The batches of an epoch: `batch_size` samples each, the last perhaps fewer.
///
/// ```
/// let order = [4, 2, 0, 1, 3];
/// let batches: Vec<&[usize]> = ifco_train::batches(&order, 2).collect();
/// assert_eq!(batches, [&[4, 2][..], &[0, 1], &[3]]);
/// ```
pub fn batches(order: &[usize], batch_size: usize) -> impl ExactSizeIterator<Item = &[usize]> {
    order.chunks(batch_size.max(1))
}

/// Which samples train and which validate, as Keras's `validation_split`: the last `fraction` of
/// them validate, before any shuffling.
///
/// ```
/// assert_eq!(ifco_train::validation_split(10, 0.25)?, (0..7, 7..10));
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
///
/// # Errors
/// When the fraction leaves no sample on one of the sides.
pub fn validation_split(
    samples: usize,
    fraction: f64,
) -> Result<(Range<usize>, Range<usize>), TrainError> {
    let split = (samples as f64 * (1.0 - fraction)).floor();
    if !(0.0..1.0).contains(&fraction) || split < 1.0 || split >= samples as f64 {
        let expected =
            format!("samples that a validation split of {fraction} leaves on both sides");
        return Err(TrainError::shape("the data", &[samples], expected));
    }
    let split = split as usize;
    Ok((0..split, split..samples))
}

/// What each sample of a batch counts for by its class, as Keras's `class_weight`.
///
/// Targets name classes, `(batch,)` or `(batch, 1)`, or have their largest number at it. A class
/// without a weight counts 1.
///
/// ```
/// use ndarray::array;
///
/// let weights = [(1, 5.0)].into();
/// let y_true = array![0.0, 1.0, 2.0].into_dyn();
/// let sample_weight = ifco_train::class_weights(&y_true.view(), &weights)?;
/// assert_eq!(sample_weight, array![1.0, 5.0, 1.0].into_dyn());
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
///
/// # Errors
/// When targets have more than one class a sample, as those of sequences do.
pub fn class_weights(
    y_true: &ArrayViewD<'_, f32>,
    weights: &BTreeMap<i64, f32>,
) -> Result<ArrayD<f32>, TrainError> {
    let (samples, width) = match *y_true.shape() {
        [samples] => (samples, 1),
        [samples, width] if width > 0 => (samples, width),
        _ => {
            let expected = "(batch,) or (batch, classes): class weights are of whole samples";
            return Err(TrainError::shape("y_true", y_true.shape(), expected));
        }
    };
    let elements: Vec<f32> = y_true.iter().copied().collect();
    let of = |row: &[f32]| {
        let class = match row {
            // Rounded half to even, as NumPy does.
            [class] => class.round_ties_even() as i64,
            row => {
                let mut best = 0;
                for (k, y) in row.iter().enumerate() {
                    if *y > row[best] {
                        best = k;
                    }
                }
                best as i64
            }
        };
        weights.get(&class).copied().unwrap_or(1.0)
    };
    let found = elements.chunks(width).map(of).collect();
    ArrayD::from_shape_vec(IxDyn(&[samples]), found)
        .map_err(|_| TrainError::shape("y_true", y_true.shape(), "(batch, classes)"))
}
