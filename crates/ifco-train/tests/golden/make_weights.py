"""Makes weights.json: regularizers, and how initializers spread. Needs keras and tensorflow."""

from common import array, number, write
import numpy as np
import tensorflow as tf
from keras import initializers as I, regularizers as R

rng = np.random.default_rng(3)
CASES = []
w = np.round(rng.normal(size=(3, 4)) * 64) / 64
w[0, 0] = 0
for regularizer in [R.L1(), R.L1(0.1), R.L2(), R.L2(0.3), R.L1L2(0.1, 0.2), R.L1L2(0.0, 0.2),
                    R.OrthogonalRegularizer(0.5), R.OrthogonalRegularizer(0.5, mode="columns")]:
    variable = tf.Variable(w, dtype="float32")
    with tf.GradientTape() as tape:
        value = regularizer(tf.convert_to_tensor(variable))
    CASES.append({"regularizer": R.serialize(regularizer), "weight": array(w.astype("float32")),
                  "value": number(value), "gradient": array(tape.gradient(value, variable))})

for name in ["random_normal", "truncated_normal", "random_uniform", "glorot_uniform",
             "glorot_normal", "lecun_uniform", "lecun_normal", "he_uniform", "he_normal", "zeros",
             "ones", "orthogonal"]:
    CASES.append({"initializer": name, "shape": [60, 200]})
for initializer, shape in [
    (I.Constant(0.25), [3]), (I.Identity(2.0), [30, 50]), (I.RandomNormal(1.0, 0.5), [9000]),
    (I.TruncatedNormal(1.0, 0.5), [9000]), (I.RandomUniform(0.5, 2.0), [9000]),
    (I.VarianceScaling(0.5, "fan_out", "uniform"), [60, 200]),
    (I.VarianceScaling(3.0, "fan_avg", "untruncated_normal"), [60, 200]),
    (I.HeNormal(), [3, 20, 200]), (I.GlorotUniform(), [9000]), (I.Orthogonal(2.0), [200, 60]),
    (I.Orthogonal(), [4, 25, 80]),
]:
    CASES.append({"initializer": I.serialize(initializer), "shape": shape})
for case in CASES:
    if "initializer" in case:
        drawn = np.concatenate([np.ravel(I.get(case["initializer"])(case["shape"])) for _ in "12"])
        case |= {"mean": number(drawn.mean()), "deviation": number(drawn.std()),
                 "smallest": number(drawn.min()), "largest": number(drawn.max())}
        case["initializer"] = I.serialize(I.get(case["initializer"]))

write("weights.json", CASES)
