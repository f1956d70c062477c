"""Makes fits.json: small models that Keras 3 trains for 200 steps from drawn weights on drawn data.

On TensorFlow a row of an Embedding that a batch has several times comes as several gradients, and
Adam and others add up the squares of each, not the square of their sum as on JAX and PyTorch. With
a clipped norm ifco does not follow: there `summed` has them added up before the optimizer sees them.

Needs keras and tensorflow. Weights and data are not stored: `draw` of common.py and of `tests/common`
gives the same.
"""

from common import array, draw, number, write
import json

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

CASES = []
ROWS = [range(0, 16), range(16, 32), range(32, 40)]


def x(seed, *shape):
    return draw(seed, 0, (40, *shape)) * np.float32(4)


def classes(seed, count, *shape):
    return np.floor((draw(seed, 0, (40, *shape)) + np.float32(0.5)) * count).astype("float32")


def case(about, model, compile, inputs, targets, weights=None, resume=False):
    model.compile(**compile)
    model.set_weights([draw(500 + i, 0, w.shape) for i, w in enumerate(model.get_weights())])
    losses, half = [], None
    some = lambda arrays, rows: [a[rows.start:rows.stop] for a in arrays]
    one = lambda arrays: arrays[0] if len(arrays) == 1 else arrays
    for step in range(200):
        rows = ROWS[step % 3]
        model.reset_metrics()
        logs = model.train_on_batch(
            one(some(inputs, rows)), one(some(targets, rows)),
            sample_weight=weights and one(some(weights, rows)), return_dict=True)
        losses.append(number(logs["loss"]))
        if step == 99 and resume:
            variables = model.optimizer.variables
            half = {"weights": [array(w) for w in model.get_weights()],
                    "variables": [int(v.numpy()) if i == 0 else array(v.numpy())
                                  for i, v in enumerate(variables)]}
    evaluated = model.evaluate(one(inputs), one(targets), batch_size=16, verbose=0,
                               sample_weight=weights and one(weights), return_dict=True)
    compiled = json.loads(model.to_json())["compile_config"]
    entry = {"about": about, "model": json.loads(model.to_json()), "compile": compiled,
             "losses": losses, "weights": [array(w) for w in model.get_weights()],
             "evaluated": {k: number(v) for k, v in evaluated.items()}}
    if half:
        entry["half"] = half
    CASES.append(entry)


def summed(optimizer):
    apply = optimizer.apply
    optimizer.apply = lambda gradients, variables: apply(
        [tf.convert_to_tensor(g) for g in gradients], variables)
    return optimizer


def words(optimizer):
    case("words", keras.Sequential([
        keras.Input((6,)), L.Embedding(7, 4, mask_zero=True), L.LSTM(4),
        L.Dense(4, activation="softmax")]),
         {"optimizer": optimizer, "loss": "sparse_categorical_crossentropy"},
         [classes(9, 7, 6)], [classes(10, 4)])


case("regression", keras.Sequential([keras.Input((7, 3)), L.LSTM(4), L.Dense(1)]),
     {"optimizer": keras.optimizers.Adam(0.01), "loss": "mse", "metrics": ["mae"]},
     [x(1, 7, 3)], [x(2, 1)], resume=True)
case("masked tagging", keras.Sequential([
    keras.Input((5, 2)), L.Masking(), L.LSTM(4, return_sequences=True), L.Dense(3, activation="softmax")]),
     {"optimizer": keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
      "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
     [x(3, 5, 2) * (classes(4, 4, 5, 1) > 0)], [classes(5, 3, 5)])
case("both directions, weights", keras.Sequential([
    keras.Input((5, 2)), L.Bidirectional(L.LSTM(3)), L.Dense(1, activation="sigmoid")]),
     {"optimizer": keras.optimizers.RMSprop(0.01), "loss": "binary_crossentropy",
      "metrics": ["accuracy", keras.metrics.AUC(name="area")],
      "weighted_metrics": [keras.metrics.BinaryAccuracy(name="weighed")]},
     [x(6, 5, 2)], [classes(7, 2, 1)], weights=[draw(8, 0, (40,)) + np.float32(1)])
words(keras.optimizers.SGD(0.1, momentum=0.9))
words(summed(keras.optimizers.AdamW(0.01, clipnorm=0.5)))
for optimizer in [
    keras.optimizers.Adam(0.01),
    keras.optimizers.Adam(0.01, amsgrad=True),
    keras.optimizers.RMSprop(0.01),
    keras.optimizers.Nadam(0.01),
    keras.optimizers.Adagrad(0.1),
    keras.optimizers.Adadelta(1.0),
    keras.optimizers.Ftrl(0.05),
]:
    words(optimizer)
i = keras.Input((5, 2), name="x")
h = L.LSTM(4, return_sequences=True, name="h")(i)
case("two outputs", keras.Model(i, [L.Dense(1, name="a")(h), L.Dense(3, activation="softmax", name="b")(L.LSTM(3)(h))]),
     {"optimizer": keras.optimizers.Nadam(0.01, global_clipnorm=0.5), "loss": {"a": "huber", "b": "categorical_crossentropy"},
      "loss_weights": {"a": 0.5, "b": 2.0}, "metrics": {"b": ["accuracy"]}},
     [x(11, 5, 2)], [x(12, 5, 1), np.eye(3, dtype="float32")[classes(13, 3).astype(int)]])
case("penalties", keras.Sequential([
    keras.Input((5, 2)),
    L.Bidirectional(L.LSTM(2, kernel_regularizer="l2", bias_regularizer=keras.regularizers.L1(0.02),
                           recurrent_regularizer=keras.regularizers.OrthogonalRegularizer(0.1),
                           recurrent_constraint=keras.constraints.UnitNorm())),
    L.Dense(1, kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02), kernel_constraint="non_neg")]),
     {"optimizer": keras.optimizers.Adam(0.01, loss_scale_factor=4.0), "loss": "mae"},
     [x(14, 5, 2)], [x(15, 1)])
# What outputs add to the loss: of each call of a layer, of states, of both directions, inside of a
# model, at each step, and of a softmax that the loss looks behind.
i = keras.Input((5, 2), name="x")
masked = L.Masking()(i)
twice = L.Dense(2, name="twice", activation="tanh", activity_regularizer="l2")
h = L.Bidirectional(L.LSTM(3, return_sequences=True, activity_regularizer=keras.regularizers.L2(0.03)),
                    activity_regularizer=keras.regularizers.L2(0.02), name="both")(twice(twice(masked)))
inner = keras.Sequential([keras.Input((6,)), L.Dense(3, activity_regularizer=keras.regularizers.L1L2(0.01, 0.02)),
                          L.ActivityRegularization(0.02)], name="inner")
steps = L.TimeDistributed(inner, name="steps")(h)
left = L.TimeDistributed(L.Dense(2, activity_regularizer="l1"), name="left")(steps)
a, state = L.GRU(3, return_state=True, activity_regularizer=keras.regularizers.L2(0.03), name="gru")(left)
b, _, cell = L.LSTM(2, return_state=True, activity_regularizer=keras.regularizers.L1L2(0.01, 0.01), name="lstm")(left)
b = L.SimpleRNN(2, activity_regularizer="l2", name="simple")(left) + b
out = L.Dense(3, activation="softmax", activity_regularizer=keras.regularizers.L2(0.3), name="out")(L.Concatenate()([a, b, cell]))
case("activity", keras.Model(i, out),
     {"optimizer": keras.optimizers.SGD(0.05, momentum=0.5), "loss": "categorical_crossentropy", "metrics": ["accuracy"]},
     [x(16, 5, 2) * (classes(17, 4, 5, 1) > 0)], [np.eye(3, dtype="float32")[classes(18, 3).astype(int)]])
i = keras.Input((4,), name="x")
seen = L.Dense(3, activation="softmax", name="seen")(L.Dropout(0.0)(i))
case("a softmax that goes on", keras.Model(i, [seen, L.Dense(1, activation="sigmoid", name="next",
                                                        activity_regularizer=keras.regularizers.L1(0.2))(seen)]),
     {"optimizer": keras.optimizers.SGD(0.1), "loss": ["sparse_categorical_crossentropy", "binary_crossentropy"]},
     [x(19, 4)], [classes(20, 3), classes(21, 2, 1)])
# What weights add to the loss inside of a model, one of them not trained.
inner = keras.Sequential([keras.Input((5, 2)),
                          L.LSTM(3, kernel_regularizer="l2", recurrent_constraint="unit_norm"),
                          L.Dense(3, kernel_regularizer="l2", trainable=False)], name="inner")
outer = keras.Sequential([keras.Input((5, 2)), inner, L.Dense(2, bias_regularizer="l2")], name="outer")
case("penalties inside", keras.Sequential([keras.Input((5, 2)), outer, L.Dense(1)]),
     {"optimizer": keras.optimizers.SGD(0.05, momentum=0.9), "loss": "mse"}, [x(22, 5, 2)], [x(23, 1)])
# Those of an attention are its projections'.
i = keras.Input((5, 2), name="x")
h = L.LSTM(3, return_sequences=True, name="h")(i)
a = L.MultiHeadAttention(2, 2, value_dim=3, use_gate=True, kernel_regularizer="l2", bias_constraint="non_neg",
                         activity_regularizer=keras.regularizers.L2(0.05), name="attention")(h, h)
case("attention", keras.Model(i, L.Dense(1, name="y")(L.Flatten(name="flat")(a))),
     {"optimizer": keras.optimizers.SGD(0.05, momentum=0.9), "loss": "mse"}, [x(24, 5, 2)], [x(25, 1)])
write("fits.json", CASES)
