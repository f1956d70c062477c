"""Makes metrics.json: Keras 3's metrics after each of two or three batches. Needs keras and
tensorflow."""

from common import array, number, write
import keras
import numpy as np
import tensorflow as tf
from keras import metrics as M
from keras.src.backend import set_keras_mask
from keras.src.trainers.compile_utils import get_metric

rng = np.random.default_rng(8)
CASES = []


def case(about, metric, *batches):
    """Each batch is y_true, y_pred, and perhaps weights and mask."""
    written = metric if isinstance(metric, str) else M.serialize(metric)
    entry = {"about": about, "metric": written, "batches": []}
    for y_true, y_pred, *more in batches:
        y_true, y_pred = np.asarray(y_true, "float32"), np.asarray(y_pred, "float32")
        if isinstance(metric, str):
            metric = get_metric(metric, y_true, y_pred)
        weight, mask = (more + [None, None])[:2]
        p = tf.identity(y_pred)
        if mask is not None:
            set_keras_mask(p, tf.constant(mask))
        metric.update_state(y_true, p, sample_weight=weight)
        result = np.ravel(np.asarray(metric.result(), "float32"))
        batch = {"y_true": array(y_true), "y_pred": array(y_pred),
                 "result": [number(r) for r in result]}
        if weight is not None:
            batch["sample_weight"] = array(np.asarray(weight, "float32"))
        if mask is not None:
            batch["mask"] = array(mask)
        entry["batches"].append(batch)
    entry["name"] = metric.name
    entry["direction"] = getattr(metric, "_direction", None)
    CASES.append(entry)


def normal(*shape):
    return np.round(rng.normal(size=shape) * 32) / 32


def uniform(*shape):
    return rng.integers(0, 65, shape) / 64


def probabilities(*shape):
    p = np.exp(rng.normal(size=shape) * 1.5)
    return np.round(p / p.sum(-1, keepdims=True) * 256) / 256


def binary(*shape):
    return rng.integers(0, 2, shape)


def classes(k, *shape):
    return rng.integers(0, k, shape)


def one_hot(k, *shape):
    return np.eye(k)[classes(k, *shape)]


mask = np.array([[True, True, False], [False, True, False]])
for name in ["mse", "mae", "mape", "mean_squared_error", "RootMeanSquaredError", "hinge",
             "squared_hinge", "categorical_hinge", "cosine_similarity"]:
    case("two batches", name, (normal(3, 4), normal(3, 4)), (normal(2, 4), normal(2, 4)))
case("positive", "msle", (uniform(3, 4), uniform(3, 4)))
for metric in [M.LogCoshError(), M.CosineSimilarity(), M.MeanAbsoluteError(name="error")]:
    case("object", metric, (normal(3, 4), normal(3, 4)), (normal(2, 4), normal(2, 4)))
case("distributions", "kl_divergence", (probabilities(3, 4), probabilities(3, 4)))
case("counts", "poisson", (classes(4, 3, 2), uniform(3, 2) + 1))
case("a weight a sample", "mse", (normal(3, 4), normal(3, 4), [1, 2, 0.5]),
     (normal(2, 4), normal(2, 4), [0, 3]))
case("a weight a sample", M.RootMeanSquaredError(), (normal(3, 4), normal(3, 4), [1, 2, 0.5]))
case("weights in time", "mae", (normal(2, 3, 2), normal(2, 3, 2), uniform(2, 3)))
case("a weight a sample, in time", "mae", (normal(2, 3, 2), normal(2, 3, 2), [1, 3]))
case("mask", "mse", (normal(2, 3, 2), normal(2, 3, 2), None, mask),
     (normal(2, 3, 2), normal(2, 3, 2)))
case("mask and weights", "mse", (normal(2, 3, 2), normal(2, 3, 2), uniform(2, 3), mask))

case("binary", "accuracy", (binary(4, 1), uniform(4, 1)), (binary(3, 1), uniform(3, 1)))
case("binary", "acc", (binary(4, 1), uniform(4, 1), [1, 0, 2, 3]))
case("sparse", "accuracy", (classes(3, 4), probabilities(4, 3)), (classes(3, 2), probabilities(2, 3)))
case("sparse, (4, 1)", "accuracy", (classes(3, 4, 1), probabilities(4, 3), [1, 2, 3, 4]))
case("sparse in time", "accuracy", (classes(3, 2, 3), probabilities(2, 3, 3), None, mask),
     (classes(3, 2, 3), probabilities(2, 3, 3), uniform(2, 3), mask))
case("one hot", "accuracy", (one_hot(3, 4), probabilities(4, 3)))
case("one hot in time", "accuracy", (one_hot(3, 2, 3), probabilities(2, 3, 3), [1, 2]))
case("exact", M.Accuracy(), (classes(3, 4, 2), classes(3, 4, 2)), (binary(2, 2), binary(2, 2), [1, 2]))
case("threshold", M.BinaryAccuracy(threshold=0.25), (binary(4, 2), uniform(4, 2)))
case("in time", "binary_accuracy", (binary(2, 3, 1), uniform(2, 3, 1), None, mask))
case("sparse", "sparse_categorical_accuracy", (classes(3, 4, 1), probabilities(4, 3)))
case("one hot", "categorical_accuracy", (one_hot(3, 4), probabilities(4, 3), [1, 2, 3, 4]))
case("best two", M.TopKCategoricalAccuracy(2), (one_hot(5, 6), probabilities(6, 5)))
case("best two", M.SparseTopKCategoricalAccuracy(2), (classes(5, 6), probabilities(6, 5)))
case("ties", M.SparseTopKCategoricalAccuracy(2), (classes(5, 6), classes(2, 6, 5)))
case("in time", M.SparseTopKCategoricalAccuracy(2),
     (classes(5, 2, 3), probabilities(2, 3, 5), uniform(2, 3)))

for name in ["bce", "BinaryCrossentropy"]:
    case("probabilities", name, (binary(4, 1), uniform(4, 1)), (binary(2, 1), uniform(2, 1)))
case("logits", M.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), (binary(4, 2), normal(4, 2)))
case("one hot", M.CategoricalCrossentropy(label_smoothing=0.1), (one_hot(3, 4), probabilities(4, 3)))
case("sparse", "sparse_categorical_crossentropy", (classes(3, 4), probabilities(4, 3)))
case("sparse, class left out", M.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
     (classes(3, 2, 3), normal(2, 3, 3)), (classes(3, 2, 3), normal(2, 3, 3), uniform(2, 3)))

soft = lambda n: (binary(n, 1), uniform(n, 1))
weighted = lambda n: (*soft(n), uniform(n))
for metric in [M.Precision(), M.Recall(), M.TruePositives(), M.FalsePositives(),
               M.TrueNegatives(), M.FalseNegatives()]:
    case("default", metric, soft(8), weighted(6))
case("by name", "precision", soft(8))
case("by name", "recall", soft(8))
case("thresholds", M.Precision(thresholds=[0.25, 0.75, 0.5]), soft(8), soft(5))
case("even thresholds", M.Recall(thresholds=[0.0, 0.25, 0.5, 0.75, 1.0]), soft(8), weighted(5))
case("best two", M.Precision(top_k=2), (binary(4, 5), probabilities(4, 5)))
case("one class", M.Recall(class_id=1, thresholds=0.25), (one_hot(3, 6), probabilities(6, 3)),
     (one_hot(3, 6), probabilities(6, 3), uniform(6)))
case("columns, weights", M.Precision(), (binary(4, 3), uniform(4, 3), uniform(4)))
case("flat", M.Recall(), (binary(6), uniform(6), uniform(6)))
case("in time", M.Precision(), (binary(2, 3, 1), uniform(2, 3, 1), uniform(2, 3)))

for curve in ["ROC", "PR", "PRGAIN"]:
    for method in ["interpolation", "minoring", "majoring"]:
        case("curve", M.AUC(curve=curve, summation_method=method), soft(12), weighted(9))
case("by name", "auc", soft(12))
case("few thresholds", M.AUC(num_thresholds=5), soft(12), soft(9))
case("own thresholds", M.AUC(thresholds=[0.9, 0.1, 0.3]), soft(12), weighted(9))
case("logits", M.AUC(from_logits=True), (binary(8, 1), normal(8, 1)))
case("labels", M.AUC(multi_label=True, num_labels=3), (binary(9, 3), uniform(9, 3)),
     (binary(9, 3), uniform(9, 3)))
case("labels, weights", M.AUC(multi_label=True, curve="PR", label_weights=[1.0, 2.0, 0.5]),
     (binary(9, 3), uniform(9, 3)))
case("label weights", M.AUC(label_weights=[1.0, 2.0, 0.5]), (binary(9, 3), uniform(9, 3)))

for average in [None, "micro", "macro", "weighted"]:
    case("average", M.F1Score(average=average), (one_hot(3, 8), probabilities(8, 3)),
         (one_hot(3, 5), probabilities(5, 3), uniform(5)))
case("threshold", M.FBetaScore(beta=2.0, threshold=0.25, average="macro"),
     (binary(8, 3), uniform(8, 3)))
for aggregation in ["uniform_average", "variance_weighted_average", None]:
    case("outputs", M.R2Score(class_aggregation=aggregation), (normal(6, 2), normal(6, 2)),
         (normal(4, 2), normal(4, 2), uniform(4)))
case("adjusted", M.R2Score(num_regressors=2), (normal(8, 1), normal(8, 1)))
case("by name", "r2_score", (normal(8, 1), normal(8, 1)))

write("metrics.json", CASES)
