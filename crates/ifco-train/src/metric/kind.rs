//! Which metrics there are, under Keras's names, and their options.

use serde_json::{Map, Value, json};

use super::auc::{Curve, Summation};
use super::confusion::{NEVER, Question};
use super::{Average, Direction};
use crate::keras_object::KerasObject;
use crate::{EPSILON, LossKind, TrainError};

/// What a metric measures.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A loss's values, averaged.
    Loss(LossKind),
    /// `"accuracy"`: which of the three below it is, the first batch's shapes tell.
    AnyAccuracy,
    /// How often the prediction is the target.
    Accuracy,
    /// How often the prediction is on the target's side of the threshold.
    BinaryAccuracy {
        /// What 1 must be above.
        threshold: f64,
    },
    /// How often the largest prediction is at the target's largest.
    CategoricalAccuracy,
    /// How often the largest prediction is at the class that the target names.
    SparseCategoricalAccuracy,
    /// How often the target's largest is among the k largest predictions.
    TopKCategoricalAccuracy {
        /// How many count.
        k: usize,
    },
    /// How often the class that the target names is among the k largest predictions.
    SparseTopKCategoricalAccuracy {
        /// How many count.
        k: usize,
    },
    /// The cosine between target and prediction along the last axis.
    CosineSimilarity,
    /// √ of the mean square.
    RootMeanSquaredError,
    /// e to the mean crossentropy of named classes (KerasHub's).
    Perplexity {
        /// The prediction is before its softmax.
        from_logits: bool,
        /// A target that counts for nothing.
        mask_token_id: Option<i64>,
    },
    /// Counts, or a quotient of counts, at thresholds.
    Confusion {
        /// Which.
        count: Count,
        /// What a positive is above; empty for the default.
        thresholds: Vec<f64>,
        /// Only the k best of each position can be positive.
        top_k: Option<usize>,
        /// Only this class counts.
        class_id: Option<usize>,
    },
    /// The area under a curve.
    Auc {
        /// How many thresholds there are, the ends included.
        num_thresholds: usize,
        /// Thresholds between 0 and 1 in place of even ones.
        thresholds: Option<Vec<f64>>,
        /// Which curve.
        curve: Curve,
        /// How it is summed.
        summation: Summation,
        /// Whether each column has a curve of its own; the result is their mean.
        multi_label: bool,
        /// How many columns there are; absent: as many as the first batch has.
        num_labels: Option<usize>,
        /// What each column counts for.
        label_weights: Option<Vec<f64>>,
        /// The prediction is before its sigmoid.
        from_logits: bool,
    },
    /// The harmonic mean of precision and recall, recall counting β times as much.
    FBetaScore {
        /// What becomes of the classes' scores.
        average: Average,
        /// β; 1 is the F1 score.
        beta: f64,
        /// What a positive is above; absent: the largest is the positive.
        threshold: Option<f64>,
    },
    /// The coefficient of determination.
    R2Score {
        /// What becomes of the outputs' scores.
        average: Average,
        /// For how many predictors it is adjusted.
        num_regressors: usize,
    },
}

/// What a confusion metric gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Keras's classes of the same names")]
pub enum Count {
    TruePositives,
    FalsePositives,
    TrueNegatives,
    FalseNegatives,
    Precision,
    Recall,
}

use MetricKind as Kind;

const COUNTS: [(&str, &str, Count); 6] = [
    ("TruePositives", "true_positives", Count::TruePositives),
    ("FalsePositives", "false_positives", Count::FalsePositives),
    ("TrueNegatives", "true_negatives", Count::TrueNegatives),
    ("FalseNegatives", "false_negatives", Count::FalseNegatives),
    ("Precision", "precision", Count::Precision),
    ("Recall", "recall", Count::Recall),
];

/// The class, its name, and the defaults, of metrics that are no losses and no counts.
const METRICS: &[(&str, &str, Kind)] = &[
    ("Accuracy", "accuracy", Kind::Accuracy),
    (
        "BinaryAccuracy",
        "binary_accuracy",
        Kind::BinaryAccuracy { threshold: 0.5 },
    ),
    (
        "CategoricalAccuracy",
        "categorical_accuracy",
        Kind::CategoricalAccuracy,
    ),
    (
        "SparseCategoricalAccuracy",
        "sparse_categorical_accuracy",
        Kind::SparseCategoricalAccuracy,
    ),
    (
        "TopKCategoricalAccuracy",
        "top_k_categorical_accuracy",
        Kind::TopKCategoricalAccuracy { k: 5 },
    ),
    (
        "SparseTopKCategoricalAccuracy",
        "sparse_top_k_categorical_accuracy",
        Kind::SparseTopKCategoricalAccuracy { k: 5 },
    ),
    (
        "CosineSimilarity",
        "cosine_similarity",
        Kind::CosineSimilarity,
    ),
    (
        "RootMeanSquaredError",
        "root_mean_squared_error",
        Kind::RootMeanSquaredError,
    ),
    (
        "Perplexity",
        "perplexity",
        Kind::Perplexity {
            from_logits: false,
            mask_token_id: None,
        },
    ),
    (
        "AUC",
        "auc",
        Kind::Auc {
            num_thresholds: 200,
            thresholds: None,
            curve: Curve::Roc,
            summation: Summation::Interpolation,
            multi_label: false,
            num_labels: None,
            label_weights: None,
            from_logits: false,
        },
    ),
    (
        "FBetaScore",
        "fbeta_score",
        Kind::FBetaScore {
            average: Average::None,
            beta: 1.0,
            threshold: None,
        },
    ),
    (
        "F1Score",
        "f1_score",
        Kind::FBetaScore {
            average: Average::None,
            beta: 1.0,
            threshold: None,
        },
    ),
    (
        "R2Score",
        "r2_score",
        Kind::R2Score {
            average: Average::Macro,
            num_regressors: 0,
        },
    ),
];

impl MetricKind {
    pub(super) fn read(object: &KerasObject<'_>) -> Result<Self, TrainError> {
        let name = object.name;
        if object.is_name() && (name.eq_ignore_ascii_case("accuracy") || name == "acc") {
            return Ok(Self::AnyAccuracy);
        }
        if let Some((.., count)) = COUNTS
            .iter()
            .find(|(class, snake, _)| *class == name || *snake == name)
        {
            let thresholds = object.optional_numbers("thresholds")?.unwrap_or_default();
            if thresholds
                .iter()
                .any(|threshold| !(0.0..=1.0).contains(threshold))
            {
                return Err(object.invalid("thresholds", "numbers from 0 to 1"));
            }
            return Ok(Self::Confusion {
                count: *count,
                thresholds,
                top_k: object.optional_count("top_k")?,
                class_id: object.optional_count("class_id")?,
            });
        }
        let known = METRICS
            .iter()
            .find(|(class, snake, _)| *class == name || *snake == name);
        let Some((.., kind)) = known else {
            let loss = match name {
                "LogCoshError" | "log_cosh_error" => Some(LossKind::LogCosh),
                _ => LossKind::named(name),
            };
            let loss = loss.ok_or_else(|| {
                let counts = COUNTS.iter().map(|(_, snake, _)| *snake);
                let known = METRICS.iter().map(|(_, snake, _)| *snake).chain(counts);
                let known: Vec<&str> = known.chain(["any loss's name"]).collect();
                TrainError::unknown("metric", name, &known)
            })?;
            return Ok(Self::Loss(loss.with_options(object)?));
        };
        let average = |key, default| match object.get(key).map(|value| value.as_str()) {
            None => Ok(default),
            Some(Some("micro")) => Ok(Average::Micro),
            Some(Some("macro" | "uniform_average")) => Ok(Average::Macro),
            Some(Some("weighted" | "variance_weighted_average")) => Ok(Average::Weighted),
            _ => Err(object.invalid(key, "an average of Keras")),
        };
        Ok(match kind.clone() {
            Self::BinaryAccuracy { threshold } => Self::BinaryAccuracy {
                threshold: object.number_or("threshold", threshold)?,
            },
            Self::TopKCategoricalAccuracy { k } => Self::TopKCategoricalAccuracy {
                k: object.optional_count("k")?.unwrap_or(k),
            },
            Self::SparseTopKCategoricalAccuracy { k } => {
                if object.bool_or("from_sorted_ids", false)? {
                    return Err(object.invalid("from_sorted_ids", "false: ids are not supported"));
                }
                Self::SparseTopKCategoricalAccuracy {
                    k: object.optional_count("k")?.unwrap_or(k),
                }
            }
            Self::Perplexity { .. } => Self::Perplexity {
                from_logits: object.bool_or("from_logits", false)?,
                mask_token_id: object.optional_number("mask_token_id")?.map(|id| id as i64),
            },
            Self::FBetaScore { beta, .. } => Self::FBetaScore {
                average: average("average", Average::None)?,
                beta: object.number_or("beta", beta)?,
                threshold: object.optional_number("threshold")?,
            },
            Self::R2Score { .. } => {
                let written = !object.is_name() && object.get("name").is_some();
                let default = match written && object.get("class_aggregation").is_none() {
                    true => Average::None, // a null
                    false => Average::Macro,
                };
                Self::R2Score {
                    average: average("class_aggregation", default)?,
                    num_regressors: object.optional_count("num_regressors")?.unwrap_or(0),
                }
            }
            Self::Auc { .. } => read_auc(object)?,
            other => {
                object.last_axis_alone()?;
                other
            }
        })
    }

    /// Keras's class.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Loss(LossKind::LogCosh) => "LogCoshError",
            Self::Loss(loss) => loss.class(),
            Self::AnyAccuracy => "Accuracy",
            Self::Confusion { count, .. } => COUNTS
                .iter()
                .find(|(.., known)| known == count)
                .map_or("", |(class, ..)| class),
            Self::FBetaScore { beta: 1.0, .. } => "F1Score",
            other => {
                let same = |(.., kind): &&(&str, &str, Kind)| {
                    std::mem::discriminant(kind) == std::mem::discriminant(other)
                };
                METRICS.iter().find(same).map_or("", |(class, ..)| class)
            }
        }
    }

    /// Its options in Keras's words.
    pub(super) fn options(&self) -> Map<String, Value> {
        let options = match self {
            Self::Loss(loss) => {
                // The metrics' classes differ from the losses' in which axis they take.
                let mut options = loss.options();
                match (loss, options.as_object_mut()) {
                    (LossKind::BinaryCrossentropy { .. }, Some(options)) => {
                        options.shift_remove("axis");
                    }
                    (LossKind::SparseCategoricalCrossentropy { .. }, Some(options)) => {
                        options.insert("axis".into(), json!(-1));
                    }
                    _ => {}
                }
                options
            }
            Self::BinaryAccuracy { threshold } => json!({"threshold": threshold}),
            Self::TopKCategoricalAccuracy { k } | Self::SparseTopKCategoricalAccuracy { k } => {
                json!({"k": k})
            }
            Self::Perplexity {
                from_logits,
                mask_token_id,
            } => json!({"from_logits": from_logits, "mask_token_id": mask_token_id}),
            Self::Confusion {
                count,
                thresholds,
                top_k,
                class_id,
            } => {
                let thresholds = match thresholds.as_slice() {
                    [] => Value::Null,
                    [one] => json!(one),
                    more => json!(more),
                };
                match count {
                    Count::Precision | Count::Recall => json!({
                        "thresholds": thresholds, "top_k": top_k, "class_id": class_id,
                    }),
                    _ => json!({"thresholds": thresholds}),
                }
            }
            Self::Auc {
                num_thresholds,
                thresholds,
                curve,
                summation,
                multi_label,
                num_labels,
                label_weights,
                from_logits,
            } => {
                let mut options = json!({
                    "num_thresholds": num_thresholds, "curve": curve.name(),
                    "summation_method": summation.name(), "multi_label": multi_label,
                    "num_labels": num_labels, "label_weights": label_weights,
                    "from_logits": from_logits,
                });
                if let Some(thresholds) = thresholds {
                    options["thresholds"] = json!(thresholds);
                }
                options
            }
            Self::FBetaScore {
                average,
                beta,
                threshold,
            } => {
                let average = match average {
                    Average::None => None,
                    Average::Micro => Some("micro"),
                    Average::Macro => Some("macro"),
                    Average::Weighted => Some("weighted"),
                };
                let mut options = json!({"average": average, "beta": beta, "threshold": threshold});
                if let (true, Some(options)) = (*beta == 1.0, options.as_object_mut()) {
                    options.shift_remove("beta");
                }
                options
            }
            Self::R2Score {
                average,
                num_regressors,
            } => {
                let average = match average {
                    Average::None => None,
                    Average::Weighted => Some("variance_weighted_average"),
                    _ => Some("uniform_average"),
                };
                json!({"class_aggregation": average, "num_regressors": num_regressors})
            }
            _ => json!({}),
        };
        match options {
            Value::Object(options) => options,
            _ => Map::new(),
        }
    }

    /// Which way is better, where Keras knows.
    pub(super) fn direction(&self) -> Option<Direction> {
        match self {
            Self::Loss(_) | Self::RootMeanSquaredError | Self::Perplexity { .. } => {
                Some(Direction::Down)
            }
            Self::Confusion {
                count: Count::Precision | Count::Recall,
                ..
            } => Some(Direction::Up),
            Self::Confusion { .. } => None,
            _ => Some(Direction::Up),
        }
    }

    /// The thresholds and what is compared with them; `columns` are the prediction's.
    pub(super) fn question(&self, columns: usize) -> Option<Question> {
        match self {
            Self::Confusion {
                thresholds,
                top_k,
                class_id,
                ..
            } => {
                let default = if top_k.is_some() { NEVER } else { 0.5 };
                let given = !thresholds.is_empty();
                Some(Question {
                    thresholds: if given {
                        thresholds.clone()
                    } else {
                        vec![default]
                    },
                    labels: None,
                    top_k: *top_k,
                    class_id: *class_id,
                    label_weights: None,
                })
            }
            Self::Auc {
                num_thresholds,
                thresholds,
                multi_label,
                num_labels,
                label_weights,
                ..
            } => {
                let mut inner = match thresholds {
                    Some(thresholds) => thresholds.clone(),
                    None => {
                        let gaps = num_thresholds.saturating_sub(1) as f64;
                        (1..num_thresholds.saturating_sub(1))
                            .map(|k| k as f64 / gaps)
                            .collect()
                    }
                };
                inner.sort_by(f64::total_cmp);
                inner.insert(0, -f64::from(EPSILON));
                inner.push(1.0 + f64::from(EPSILON));
                Some(Question {
                    thresholds: inner,
                    labels: multi_label.then(|| num_labels.unwrap_or(columns)),
                    top_k: None,
                    class_id: None,
                    label_weights: label_weights.clone(),
                })
            }
            _ => None,
        }
    }
}

fn read_auc(object: &KerasObject<'_>) -> Result<Kind, TrainError> {
    let thresholds = object.optional_numbers("thresholds")?;
    let count = match &thresholds {
        Some(thresholds) => Some(thresholds.len() + 2),
        None => object.optional_count("num_thresholds")?,
    };
    let num_thresholds = count.unwrap_or(200);
    if !(2..=1_000_000).contains(&num_thresholds) {
        return Err(object.invalid("num_thresholds", "a whole number from 2 to 1000000"));
    }
    Ok(Kind::Auc {
        num_thresholds,
        thresholds,
        curve: match object.text_or("curve", "ROC")? {
            "ROC" | "roc" => Curve::Roc,
            "PR" | "pr" => Curve::Pr,
            "PRGAIN" | "prgain" => Curve::PrGain,
            _ => return Err(object.invalid("curve", "\"ROC\", \"PR\" or \"PRGAIN\"")),
        },
        summation: match object.text_or("summation_method", "interpolation")? {
            "interpolation" | "Interpolation" => Summation::Interpolation,
            "minoring" | "Minoring" => Summation::Minoring,
            "majoring" | "Majoring" => Summation::Majoring,
            _ => {
                let expected = "\"interpolation\", \"minoring\" or \"majoring\"";
                return Err(object.invalid("summation_method", expected));
            }
        },
        multi_label: object.bool_or("multi_label", false)?,
        num_labels: object.optional_count("num_labels")?,
        label_weights: object.optional_numbers("label_weights")?,
        from_logits: object.bool_or("from_logits", false)?,
    })
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::Roc => "ROC",
            Self::Pr => "PR",
            Self::PrGain => "PRGAIN",
        }
    }
}

impl Summation {
    fn name(self) -> &'static str {
        match self {
            Self::Interpolation => "interpolation",
            Self::Minoring => "minoring",
            Self::Majoring => "majoring",
        }
    }
}
