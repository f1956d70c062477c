//! Which losses there are, under Keras's names, and their options.

use serde_json::{Value, json};

use crate::TrainError;
use crate::keras_object::KerasObject;

/// What a loss computes of each position; y is the target, p the prediction.
///
/// Every mean and sum runs over the last axis. Where logarithms are taken of probabilities, Keras
/// keeps them within ε = 1e-7 of 0 and 1 first.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LossKind {
    /// mean (y − p)²
    MeanSquaredError,
    /// mean |y − p|
    MeanAbsoluteError,
    /// 100 · mean |y − p| / max(|y|, ε)
    MeanAbsolutePercentageError,
    /// mean (ln(1 + max(y, ε)) − ln(1 + max(p, ε)))²
    MeanSquaredLogarithmicError,
    /// −Σ ŷ p̂ of the vectors at length 1
    CosineSimilarity,
    /// Squares up to an error of `delta`, then straight.
    Huber {
        /// Where the straight part starts.
        delta: f64,
    },
    /// mean ln cosh(p − y)
    LogCosh,
    /// mean max(1 − y p, 0); targets that are all 0 or 1 become −1 and 1
    Hinge,
    /// mean max(1 − y p, 0)²
    SquaredHinge,
    /// max(max((1 − y) p) − Σ y p + 1, 0)
    CategoricalHinge,
    /// Σ y ln(y / p)
    KlDivergence,
    /// mean p − y ln(p + ε)
    Poisson,
    /// mean −(y ln p + (1 − y) ln(1 − p))
    BinaryCrossentropy {
        /// The prediction is before its sigmoid.
        from_logits: bool,
        /// How far targets are moved towards ½.
        label_smoothing: f64,
    },
    /// Binary crossentropy, each element times (1 − p of what is true)^γ.
    BinaryFocalCrossentropy {
        /// Whether `alpha` weighs the elements.
        apply_class_balancing: bool,
        /// The weight of 1; 0 has 1 − α.
        alpha: f64,
        /// γ, how much what is already right counts less.
        gamma: f64,
        /// The prediction is before its sigmoid.
        from_logits: bool,
        /// How far targets are moved towards ½.
        label_smoothing: f64,
    },
    /// −Σ y ln p, p divided by its sum
    CategoricalCrossentropy {
        /// The prediction is before its softmax.
        from_logits: bool,
        /// How far targets are moved towards all classes alike.
        label_smoothing: f64,
    },
    /// −Σ α (1 − p)^γ y ln p
    CategoricalFocalCrossentropy {
        /// α, a weight.
        alpha: f64,
        /// γ, how much what is already right counts less.
        gamma: f64,
        /// The prediction is before its softmax.
        from_logits: bool,
        /// How far targets are moved towards all classes alike.
        label_smoothing: f64,
    },
    /// −ln p of the class that the target names
    SparseCategoricalCrossentropy {
        /// The prediction is before its softmax.
        from_logits: bool,
        /// A target that counts for nothing, such as padding.
        ignore_class: Option<i64>,
    },
    /// −ln of the probability of a label sequence, however it is spread over the time steps.
    ///
    /// y is `(batch, labels)`, filled up with 0; p is `(batch, time, classes)`, before its
    /// softmax; class 0 is the blank. (Graves et al., 2006.)
    Ctc,
    /// `"crossentropy"`: which of the three, the shapes tell.
    Crossentropy,
}

use LossKind as Kind;

const BINARY: Kind = Kind::BinaryCrossentropy {
    from_logits: false,
    label_smoothing: 0.0,
};
const CATEGORICAL: Kind = Kind::CategoricalCrossentropy {
    from_logits: false,
    label_smoothing: 0.0,
};
const SPARSE: Kind = Kind::SparseCategoricalCrossentropy {
    from_logits: false,
    ignore_class: None,
};

/// The class, the function, other names (Keras 1's and 2's among them), and the defaults.
type Row = (&'static str, &'static str, &'static [&'static str], Kind);
const LOSSES: &[Row] = &[
    (
        "MeanSquaredError",
        "mean_squared_error",
        &["mse", "MSE"],
        Kind::MeanSquaredError,
    ),
    (
        "MeanAbsoluteError",
        "mean_absolute_error",
        &["mae", "MAE"],
        Kind::MeanAbsoluteError,
    ),
    (
        "MeanAbsolutePercentageError",
        "mean_absolute_percentage_error",
        &["mape", "MAPE"],
        Kind::MeanAbsolutePercentageError,
    ),
    (
        "MeanSquaredLogarithmicError",
        "mean_squared_logarithmic_error",
        &["msle", "MSLE"],
        Kind::MeanSquaredLogarithmicError,
    ),
    (
        "CosineSimilarity",
        "cosine_similarity",
        &["cosine_proximity"],
        Kind::CosineSimilarity,
    ),
    (
        "Huber",
        "huber",
        &["huber_loss"],
        Kind::Huber { delta: 1.0 },
    ),
    ("LogCosh", "log_cosh", &["logcosh"], Kind::LogCosh),
    ("Hinge", "hinge", &[], Kind::Hinge),
    ("SquaredHinge", "squared_hinge", &[], Kind::SquaredHinge),
    (
        "CategoricalHinge",
        "categorical_hinge",
        &[],
        Kind::CategoricalHinge,
    ),
    (
        "KLDivergence",
        "kl_divergence",
        &["kld", "KLD", "kullback_leibler_divergence"],
        Kind::KlDivergence,
    ),
    ("Poisson", "poisson", &[], Kind::Poisson),
    (
        "BinaryCrossentropy",
        "binary_crossentropy",
        &["bce", "BCE"],
        BINARY,
    ),
    (
        "BinaryFocalCrossentropy",
        "binary_focal_crossentropy",
        &[],
        Kind::BinaryFocalCrossentropy {
            apply_class_balancing: false,
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        },
    ),
    (
        "CategoricalCrossentropy",
        "categorical_crossentropy",
        &[],
        CATEGORICAL,
    ),
    (
        "CategoricalFocalCrossentropy",
        "categorical_focal_crossentropy",
        &[],
        Kind::CategoricalFocalCrossentropy {
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        },
    ),
    (
        "SparseCategoricalCrossentropy",
        "sparse_categorical_crossentropy",
        &[],
        SPARSE,
    ),
    ("CTC", "ctc", &[], Kind::Ctc),
    ("crossentropy", "crossentropy", &["ce"], Kind::Crossentropy),
];

impl LossKind {
    /// The loss of a class's or function's name, with default options.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let has = |(class, function, others, _): &&Row| {
            *class == name || *function == name || others.contains(&name)
        };
        LOSSES.iter().find(has).map(|(.., kind)| *kind)
    }

    pub(crate) fn read(object: &KerasObject<'_>) -> Result<Self, TrainError> {
        let kind = Self::named(object.name).ok_or_else(|| {
            let known: Vec<&str> = LOSSES.iter().map(|(_, function, ..)| *function).collect();
            TrainError::unknown("loss", object.name, &known)
        })?;
        kind.with_options(object)
    }

    /// The same loss with the options that `object` sets.
    pub(crate) fn with_options(self, object: &KerasObject<'_>) -> Result<Self, TrainError> {
        object.last_axis_alone()?;
        let logits = || object.bool_or("from_logits", false);
        let smoothing = || object.number_or("label_smoothing", 0.0);
        Ok(match self {
            Kind::Huber { delta } => Kind::Huber {
                delta: object.number_or("delta", delta)?,
            },
            Kind::BinaryCrossentropy { .. } => Kind::BinaryCrossentropy {
                from_logits: logits()?,
                label_smoothing: smoothing()?,
            },
            Kind::CategoricalCrossentropy { .. } => Kind::CategoricalCrossentropy {
                from_logits: logits()?,
                label_smoothing: smoothing()?,
            },
            Kind::BinaryFocalCrossentropy { alpha, gamma, .. } => Kind::BinaryFocalCrossentropy {
                apply_class_balancing: object.bool_or("apply_class_balancing", false)?,
                alpha: object.number_or("alpha", alpha)?,
                gamma: object.number_or("gamma", gamma)?,
                from_logits: logits()?,
                label_smoothing: smoothing()?,
            },
            Kind::CategoricalFocalCrossentropy { alpha, gamma, .. } => {
                Kind::CategoricalFocalCrossentropy {
                    alpha: object.number_or("alpha", alpha)?,
                    gamma: object.number_or("gamma", gamma)?,
                    from_logits: logits()?,
                    label_smoothing: smoothing()?,
                }
            }
            Kind::SparseCategoricalCrossentropy { .. } => Kind::SparseCategoricalCrossentropy {
                from_logits: logits()?,
                ignore_class: object
                    .optional_number("ignore_class")?
                    .map(|class| class as i64),
            },
            other => other,
        })
    }

    fn row(&self) -> &'static Row {
        let same = |(.., kind): &&Row| std::mem::discriminant(kind) == std::mem::discriminant(self);
        LOSSES.iter().find(same).unwrap_or(&LOSSES[0])
    }

    /// Keras's class, such as `MeanSquaredError`.
    ///
    /// ```
    /// assert_eq!(ifco_train::LossKind::KlDivergence.class(), "KLDivergence");
    /// ```
    pub fn class(&self) -> &'static str {
        self.row().0
    }

    /// The name that Keras gives to an instance of the class.
    pub(crate) fn default_name(&self) -> &'static str {
        match self {
            Self::Huber { .. } => "huber_loss",
            _ => self.row().1,
        }
    }

    /// The options in Keras's words.
    pub(crate) fn options(&self) -> Value {
        match *self {
            Self::Huber { delta } => json!({"delta": delta}),
            Self::BinaryCrossentropy {
                from_logits,
                label_smoothing,
            }
            | Self::CategoricalCrossentropy {
                from_logits,
                label_smoothing,
            } => json!({
                "from_logits": from_logits, "label_smoothing": label_smoothing, "axis": -1,
            }),
            Self::BinaryFocalCrossentropy {
                apply_class_balancing,
                alpha,
                gamma,
                from_logits,
                label_smoothing,
            } => json!({
                "from_logits": from_logits, "label_smoothing": label_smoothing, "axis": -1,
                "apply_class_balancing": apply_class_balancing, "alpha": alpha, "gamma": gamma,
            }),
            Self::CategoricalFocalCrossentropy {
                alpha,
                gamma,
                from_logits,
                label_smoothing,
            } => json!({
                "from_logits": from_logits, "label_smoothing": label_smoothing, "axis": -1,
                "alpha": alpha, "gamma": gamma,
            }),
            Self::SparseCategoricalCrossentropy {
                from_logits,
                ignore_class,
            } => json!({"from_logits": from_logits, "ignore_class": ignore_class}),
            _ => json!({}),
        }
    }

    /// What `"crossentropy"` stands for with targets and predictions of these shapes.
    pub(crate) fn resolved(self, y_true: &[usize], y_pred: &[usize]) -> Self {
        if self != Self::Crossentropy {
            return self;
        }
        match Classes::of(y_true, y_pred) {
            Classes::Binary => BINARY,
            Classes::Sparse => SPARSE,
            Classes::OneHot => CATEGORICAL,
        }
    }

    /// Whether the prediction stands for probabilities of classes.
    pub(crate) fn is_crossentropy(&self) -> bool {
        matches!(
            self,
            Self::BinaryCrossentropy { .. }
                | Self::BinaryFocalCrossentropy { .. }
                | Self::CategoricalCrossentropy { .. }
                | Self::CategoricalFocalCrossentropy { .. }
        )
    }

    /// The same loss on what a model has before its last sigmoid or softmax.
    ///
    /// Keras looks behind a model's last activation: a plain crossentropy of a sigmoid's or
    /// softmax's output is computed from what went into it, without rounding to ε. `None` for
    /// losses with which Keras does not.
    ///
    /// ```
    /// use ifco_train::Loss;
    ///
    /// let loss = Loss::from_keras(&"sparse_categorical_crossentropy".into())?;
    /// assert!(loss.kind.before_softmax().is_some());
    /// assert!(loss.kind.before_sigmoid().is_none());
    /// # Ok::<(), ifco_train::TrainError>(())
    /// ```
    pub fn before_softmax(&self) -> Option<Self> {
        match *self {
            Self::CategoricalCrossentropy {
                label_smoothing, ..
            } => Some(Self::CategoricalCrossentropy {
                from_logits: true,
                label_smoothing,
            }),
            Self::SparseCategoricalCrossentropy {
                ignore_class: None, ..
            } => Some(Self::SparseCategoricalCrossentropy {
                from_logits: true,
                ignore_class: None,
            }),
            _ => None,
        }
    }

    /// As [`before_softmax`](Self::before_softmax), of a sigmoid.
    pub fn before_sigmoid(&self) -> Option<Self> {
        match *self {
            Self::BinaryCrossentropy {
                label_smoothing, ..
            } => Some(Self::BinaryCrossentropy {
                from_logits: true,
                label_smoothing,
            }),
            _ => None,
        }
    }
}

/// What targets and predictions say of classes by their shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Classes {
    /// The prediction's last axis has length 1.
    Binary,
    /// The targets name classes.
    Sparse,
    /// The targets have one number for each class.
    OneHot,
}

impl Classes {
    pub fn of(y_true: &[usize], y_pred: &[usize]) -> Self {
        let last = y_pred.last().copied().unwrap_or(1);
        if last == 1 {
            Self::Binary
        } else if y_true.len() < y_pred.len() || y_true.last() == Some(&1) {
            Self::Sparse
        } else {
            Self::OneHot
        }
    }
}
