"""Makes losses.json: values and gradients of Keras 3's losses. Needs keras and tensorflow."""

from common import array, number, write
import keras
import numpy as np
import tensorflow as tf
from keras import losses as L
from keras.src.backend import set_keras_mask

rng = np.random.default_rng(6)
CASES = []


def case(about, loss, y_true, y_pred, sample_weight=None, mask=None):
    """`loss` is a name or an instance; as in `fit`, a name is wrapped."""
    written = loss if isinstance(loss, str) else L.serialize(loss)
    if isinstance(loss, L.Huber):  # Keras reads its delta but forgets to write it
        written["config"]["delta"] = loss._fn_kwargs["delta"]
    if isinstance(loss, str):
        loss = L.get(loss)
    if not isinstance(loss, L.Loss):
        loss = keras.src.losses.losses.LossFunctionWrapper(loss, name=written)
    y_true, y_pred = np.asarray(y_true, "float32"), np.asarray(y_pred, "float32")
    variable = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        p = tf.identity(variable)
        if mask is not None:
            set_keras_mask(p, tf.constant(mask))
        total = loss(y_true, p, sample_weight)
        target = tf.reduce_sum(total)
    gradient = tape.gradient(target, variable)
    entry = {"about": about, "loss": written, "name": loss.name, "y_true": array(y_true),
             "y_pred": array(y_pred), "total": number(target), "gradient": array(gradient)}
    if sample_weight is not None:
        entry["sample_weight"] = array(np.asarray(sample_weight, "float32"))
    if mask is not None:
        entry["mask"] = array(mask)
    CASES.append(entry)


def normal(*shape, scale=1.0):
    return np.round(rng.normal(size=shape) * scale * 64) / 64


def probabilities(*shape):
    p = np.exp(rng.normal(size=shape) * 1.5)
    return np.round(p / p.sum(-1, keepdims=True) * 256) / 256


def one_hot(*shape):
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]


def binary(*shape):
    return rng.integers(0, 2, shape).astype("float32")


y, p = normal(3, 4), normal(3, 4)
p[0, 0] = y[0, 0]
for name in ["mse", "mae", "mape", "log_cosh", "huber", "MeanSquaredError", "cosine_similarity",
             "hinge", "squared_hinge", "categorical_hinge", "logcosh"]:
    if name != "logcosh":
        case("numbers", name, y, p)
case("errors on both sides of delta", L.Huber(delta=0.5), y, 3 * p)
case("large errors", "log_cosh", y, 40 * p)
case("targets of zero", "mape", binary(3, 4), p)
case("negative predictions", "msle", np.abs(y), p)
case("negative targets", "msle", y, np.abs(p))
for name in ["hinge", "squared_hinge", "categorical_hinge"]:
    case("targets of 0 and 1", name, binary(3, 4), p)
case("classes", "categorical_hinge", one_hot(3, 4), p)
case("counts", "poisson", np.round(np.abs(y) * 3), np.abs(p) + 0.125)
case("distributions", "kl_divergence", probabilities(3, 4), probabilities(3, 4))
case("outside of 0 and 1", "KLD", normal(3, 4), normal(3, 4))

q = rng.integers(0, 65, (3, 4)) / 64
q[0, :2] = [0, 1]
b = binary(3, 4)
b[0, :2] = [1, 1]
case("probabilities, 0 and 1 among them", "bce", b, q)
case("soft targets", "binary_crossentropy", rng.integers(0, 65, (3, 4)) / 64, q)
case("smoothed", L.BinaryCrossentropy(label_smoothing=0.1), b, q)
case("logits", L.BinaryCrossentropy(from_logits=True), b, normal(3, 4, scale=20))
case("logits, smoothed", L.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), b, p)
inner = np.clip(q, 0.125, 0.875)
case("focal", "binary_focal_crossentropy", b, inner)
case("focal, balanced", L.BinaryFocalCrossentropy(True, alpha=0.75, gamma=1.5), b, inner)
case("focal, logits", L.BinaryFocalCrossentropy(from_logits=True, label_smoothing=0.1), b, p)

h = one_hot(3, 4)
case("probabilities", "categorical_crossentropy", h, probabilities(3, 4))
case("not of sum 1", "categorical_crossentropy", h, np.abs(p) + 0.125)
case("zeros among them", "categorical_crossentropy", h, np.eye(4)[[1, 2, 0]])
case("smoothed", L.CategoricalCrossentropy(label_smoothing=0.1), h, probabilities(3, 4))
case("logits", L.CategoricalCrossentropy(from_logits=True), h, normal(3, 4, scale=20))
case("targets not of sum 1", L.CategoricalCrossentropy(from_logits=True), 2 * np.abs(y), p)
case("in time", "categorical_crossentropy", one_hot(2, 3, 4), probabilities(2, 3, 4))
case("focal", "categorical_focal_crossentropy", h, probabilities(3, 4))
case("focal, options", L.CategoricalFocalCrossentropy(alpha=0.5, gamma=1.5, label_smoothing=0.1),
     h, probabilities(3, 4))
case("focal, logits", L.CategoricalFocalCrossentropy(from_logits=True), h, p)
c = rng.integers(0, 4, 3)
sparse = "sparse_categorical_crossentropy"
case("probabilities", sparse, c, probabilities(3, 4))
case("a last axis of 1", sparse, c[:, None], probabilities(3, 4))
case("zeros among them", sparse, [0, 1, 2], np.eye(4)[[0, 2, 3]])
case("not of sum 1", sparse, c, np.abs(p) + 0.125)
case("logits", L.SparseCategoricalCrossentropy(from_logits=True), c, normal(3, 4, scale=20))
ct = rng.integers(0, 4, (2, 3))
case("in time", sparse, ct, probabilities(2, 3, 4))
ct[0, 1] = ct[1, 2] = 3
case("one class left out", L.SparseCategoricalCrossentropy(ignore_class=3), ct,
     probabilities(2, 3, 4))
case("one class left out, logits",
     L.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
     [[0, -1, 1], [-1, 2, 3]], normal(2, 3, 4))

labels = [[1, 2, 2, 0], [3, 0, 0, 0], [0, 0, 0, 0]]
case("repeats, one label, none", "ctc", labels, normal(3, 6, 4))
case("weighted", L.CTC(reduction="sum"), labels, normal(3, 5, 4), sample_weight=[1, 0.5, 2])

# Shapes that differ by a last axis of 1.
case("(3,) and (3, 1)", "mse", normal(3), normal(3, 1))
case("(3, 1) and (3,)", "mae", normal(3, 1), normal(3))
case("(2, 3) and (2, 3, 1): the mean is over time", "mse", normal(2, 3), normal(2, 3, 1))
case("(3,) and (3, 1)", "bce", binary(3), rng.integers(1, 64, (3, 1)) / 64)

# Weights, masks, reductions.
y3, p3 = normal(2, 3, 2), normal(2, 3, 2)
wide = [[1, 0.5, 2], [0, 3, 0.25]]
mask = np.array([[True, True, False], [False, True, False]])
case("a weight a sample", "mse", y, p, sample_weight=[1, 2, 0.5])
case("a weight a sample, (3, 1)", "mse", y, p, sample_weight=[[1], [2], [0.5]])
case("a weight a step", "mse", y3, p3, sample_weight=wide)
case("a weight a sample, in time", "mse", y3, p3, sample_weight=[[2], [0.5]])
case("mask", "mse", y3, p3, mask=mask)
case("all masked", "mae", y3, p3, mask=np.zeros((2, 3), bool))
case("mask and weights", "mse", y3, p3, sample_weight=wide, mask=mask)
case("mask and weights a sample", "mse", y3, p3, sample_weight=[[2], [0.5]], mask=mask)
case("mask and a class left out", L.SparseCategoricalCrossentropy(ignore_class=3), ct,
     probabilities(2, 3, 4), mask=mask)
for reduction in ["sum", "mean", "mean_with_sample_weight", "none"]:
    case(reduction, L.MeanSquaredError(reduction=reduction), y3, p3)
    case(f"{reduction}, weights", L.MeanSquaredError(reduction=reduction), y3, p3,
         sample_weight=wide)
    case(f"{reduction}, mask", L.MeanSquaredError(reduction=reduction), y3, p3, mask=mask)
    case(f"{reduction}, mask, weights", L.MeanSquaredError(reduction=reduction), y3, p3,
         sample_weight=wide, mask=mask)

write("losses.json", CASES)
