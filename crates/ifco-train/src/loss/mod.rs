//! Losses: a number to make small, and its gradient by the prediction.

mod crossentropy;
mod ctc;
mod elementwise;
mod kind;
mod reduction;

use ndarray::{ArrayD, ArrayViewD};
use serde_json::{Value, json};

use crate::TrainError;
use crate::arrays::{drop_or_add_last_axis, standard};
use crate::keras_object::{KerasObject, written};

pub(crate) use kind::Classes;
pub use kind::LossKind;
pub(crate) use reduction::masked_weights;
pub use reduction::{Reduction, Weighting};

/// A loss with how its values become one number.
///
/// ```
/// use ifco_train::{Loss, Weighting};
/// use ndarray::array;
///
/// let loss = Loss::from_keras(&"mse".into())?;
/// let y_true = array![[1.0], [0.0]].into_dyn();
/// let y_pred = array![[3.0], [0.0]].into_dyn();
/// let result = loss.with_gradient(&y_true.view(), &y_pred.view(), &Weighting::default())?;
/// assert_eq!(result.total, 2.0); // the mean of 4 and 0
/// assert_eq!(result.gradient, array![[2.0], [0.0]].into_dyn()); // 2·(3 − 1) / 2
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// What is computed of each position.
    pub kind: LossKind,
    /// How the positions' values become one.
    pub reduction: Reduction,
    /// Its name, which logs use where a model has several outputs.
    pub name: String,
    /// The name that it was made from, where that was all.
    spelled: Option<String>,
}

/// What a loss gives for one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LossValue {
    /// One value for each position, before weights: the prediction's shape without its last axis.
    pub values: ArrayD<f32>,
    /// The batch's loss. With [`Reduction::None`], the sum: what a gradient is of.
    pub total: f32,
    /// The gradient of `total` by the prediction, in its shape.
    pub gradient: ArrayD<f32>,
}

impl Loss {
    /// A loss as `Loss()` in Keras makes it: mean over the batch, its usual name.
    ///
    /// ```
    /// use ifco_train::{Loss, LossKind, Reduction};
    ///
    /// let loss = Loss::new(LossKind::Huber { delta: 1.0 });
    /// assert_eq!((loss.name.as_str(), loss.reduction), ("huber_loss", Reduction::SumOverBatchSize));
    /// ```
    pub fn new(kind: LossKind) -> Self {
        Self {
            name: kind.default_name().into(),
            kind,
            reduction: Reduction::SumOverBatchSize,
            spelled: None,
        }
    }

    /// Reads what a `compile_config` has under `loss`: a name, a class with its configuration, or
    /// a function, of Keras 2 or 3.
    ///
    /// # Errors
    /// When it is a user's own, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("loss", value)?;
        let kind = LossKind::read(&object)?;
        // A function is called as it was asked for, a class as it calls itself.
        let usual = match object.is_name() && object.name != kind.class() {
            true => object.name,
            false => kind.default_name(),
        };
        Ok(Self {
            name: object.text_or("name", usual)?.into(),
            reduction: Reduction::read(&object)?,
            kind,
            spelled: object.is_name().then(|| object.name.into()),
        })
    }

    /// The loss as Keras 3 writes it; one that was read from a name is that name.
    ///
    /// ```
    /// use ifco_train::{Loss, LossKind};
    ///
    /// assert_eq!(Loss::from_keras(&"mae".into())?.to_keras(), "mae");
    /// let written = Loss::new(LossKind::Huber { delta: 2.0 }).to_keras();
    /// assert_eq!(written["config"]["delta"], 2.0);
    /// # Ok::<(), ifco_train::TrainError>(())
    /// ```
    pub fn to_keras(&self) -> Value {
        if let Some(name) = &self.spelled {
            return json!(name);
        }
        let mut config = json!({"name": self.name, "reduction": self.reduction.name()});
        if let (Some(config), Value::Object(own)) = (config.as_object_mut(), self.kind.options()) {
            config.extend(own);
        }
        written("keras.losses", self.kind.class(), config)
    }

    /// The loss of one batch.
    ///
    /// `y_true` has the prediction's shape, or, of sparse classes and CTC, one number for each
    /// position; a last axis of length 1 may be there or not.
    ///
    /// # Errors
    /// When the shapes do not fit, or a target names a class that the prediction lacks.
    pub fn value(
        &self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        weighting: &Weighting<'_>,
    ) -> Result<f32, TrainError> {
        Ok(self.compute(y_true, y_pred, weighting, false)?.total)
    }

    /// The loss of one batch and its gradient by `y_pred`.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn with_gradient(
        &self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        weighting: &Weighting<'_>,
    ) -> Result<LossValue, TrainError> {
        self.compute(y_true, y_pred, weighting, true)
    }

    fn compute(
        &self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        weighting: &Weighting<'_>,
        gradient: bool,
    ) -> Result<LossValue, TrainError> {
        let mut rows = self.kind.rows(y_true, y_pred, gradient)?;
        let weights = reduction::weigh(self.reduction, &rows, weighting)?;
        let total = weights.total(&rows.values);
        if gradient {
            weights.scale(&mut rows);
        }
        let shape = y_pred.raw_dim();
        let elements = if gradient {
            rows.gradient
        } else {
            vec![0.0; y_pred.len()]
        };
        Ok(LossValue {
            values: rows.values,
            total,
            gradient: ArrayD::from_shape_vec(shape, elements).map_err(|_| {
                TrainError::shape("the gradient", y_pred.shape(), "the prediction's shape")
            })?,
        })
    }
}

/// The values of all positions, before weights.
#[derive(Debug)]
pub(crate) struct Rows {
    /// One for each position.
    pub values: ArrayD<f32>,
    /// By the prediction, each position's own value; empty when not asked for.
    pub gradient: Vec<f32>,
    /// How many of the gradient's elements belong to one position.
    pub width: usize,
    /// Which positions count, where the loss itself leaves some out.
    pub mask: Option<ArrayD<bool>>,
}

impl LossKind {
    /// The value of each position, as Keras's function of the same name gives it.
    pub(crate) fn rows(
        &self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        gradient: bool,
    ) -> Result<Rows, TrainError> {
        let kind = self.resolved(y_true.shape(), y_pred.shape());
        let (y_true, y_pred) = drop_or_add_last_axis(y_true.view(), y_pred.view());
        let (Some(&width), true) = (y_pred.shape().last(), y_pred.ndim() > 0) else {
            return Err(TrainError::shape(
                "y_pred",
                y_pred.shape(),
                "at least one axis",
            ));
        };
        let positions = &y_pred.shape()[..y_pred.ndim() - 1];
        match kind {
            LossKind::SparseCategoricalCrossentropy { .. } => {
                let alone = y_true.len() == positions.iter().product::<usize>();
                if !alone || y_pred.ndim() < 2 {
                    let expected = format!("{positions:?}, one class for each position");
                    return Err(TrainError::shape("y_true", y_true.shape(), expected));
                }
            }
            LossKind::Ctc => return ctc::rows(&y_true, &y_pred, gradient),
            _ if y_true.shape() != y_pred.shape() => {
                let expected = format!("{:?}, the prediction's", y_pred.shape());
                return Err(TrainError::shape("y_true", y_true.shape(), expected));
            }
            _ => {}
        }
        let (targets, predictions) = (standard(&y_true), standard(&y_pred));
        let mut slopes = vec![0.0; if gradient { predictions.len() } else { 0 }];
        let mut mask = None;
        let values = match kind {
            LossKind::SparseCategoricalCrossentropy { ignore_class, .. } => {
                mask = ignore_class.map(|ignored| {
                    let counts = |class: &f32| *class != ignored as f32;
                    targets.iter().map(counts).collect::<Vec<bool>>()
                });
                crossentropy::sparse(&kind, &targets, &predictions, width, &mut slopes)?
            }
            _ if kind.is_crossentropy() => {
                crossentropy::dense(&kind, &targets, &predictions, width, &mut slopes)
            }
            _ => elementwise::rows(&kind, &targets, &predictions, width, &mut slopes),
        };
        let shaped = |what| move |_| TrainError::shape(what, &[], "the positions'");
        Ok(Rows {
            values: ArrayD::from_shape_vec(positions, values).map_err(shaped("the loss"))?,
            gradient: slopes,
            width,
            mask: match mask {
                Some(mask) => {
                    Some(ArrayD::from_shape_vec(positions, mask).map_err(shaped("the mask"))?)
                }
                None => None,
            },
        })
    }
}
