"""Keras on TensorFlow, in three ways: `predict`, a compiled `tf.function`, the bare layer."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from training import EPSILON
from worker import Skip

threads_set = False


def pin(threads):
    """Once in a process: TensorFlow starts its threads at the first operation."""
    global threads_set
    if not threads_set:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        threads_set = True


def build(case):
    """The case's model, with its weights."""
    make = keras.layers.GRU if case.kind == "gru" else keras.layers.LSTM
    layer = make(case.units, return_sequences=case.what == "sequence", name="recurrent")
    weights = [array for prefix in case.prefixes for array in case.weights(prefix)]
    if case.bidirectional:
        layer = keras.layers.Bidirectional(layer)
    if case.what == "sequence":
        layers = [keras.Input((case.time, case.features)), layer]
    else:
        table = case.embedding()
        lookup = keras.layers.Embedding(*table.shape, name="embedding")
        layers = [keras.Input((case.time,)), lookup, layer, keras.layers.Dense(1, name="dense")]
        weights = [table, *weights, *case.dense()]
    model = keras.Sequential(layers)
    model.set_weights(weights)
    return model


class Keras:
    def __init__(self, case, variant):
        model = build(case)
        if case.what == "model":
            x = case.tokens().reshape(1, -1)
            # Keras itself takes indices as whatever the input layer has.
            x = x.astype(model.inputs[0].dtype)
        else:
            x = case.input()
        if variant == "predict":
            self.call = lambda: model.predict(x, batch_size=case.batch, verbose=0)
            return
        x = tf.constant(x)
        if variant == "layer":
            layer = model.layers[0] if case.what == "sequence" else model
            self.call = lambda: layer(x, training=False)
            return
        function = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
        function = function.get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
        self.call = lambda: function(x)

    def output(self):
        return np.asarray(self.call())


class Training:
    """Steps of training: `train_on_batch`, or the model's `train_step` compiled."""

    def __init__(self, case, variant):
        x, y = case.batch_of_training()
        self.case, self.variant = case, variant
        self.x, self.y = (tf.constant(array) for array in (x, y))
        self.begin()

    def begin(self):
        case, units = self.case, self.case.units
        layers = keras.layers
        if case.what == "train":
            stack = [keras.Input((case.time, case.features)), layers.LSTM(units, return_sequences=True)]
            loss = "mse"
        else:
            table = case.embedding()
            stack = [
                keras.Input((case.time,), dtype="int32"),
                layers.Embedding(*table.shape),
                layers.LSTM(units, return_sequences=True),
                layers.LSTM(units, return_sequences=True),
                layers.Dense(len(table), activation="softmax"),
            ]
            loss = "sparse_categorical_crossentropy"
        self.model = keras.Sequential(stack)
        self.model.set_weights(case.all_weights())
        self.model.compile(keras.optimizers.Adam(epsilon=EPSILON), loss)
        if self.variant == "function":
            step = tf.function(lambda x, y: self.model.train_step((x, y))["loss"])
            self.model.optimizer.build(self.model.trainable_variables)
            self.call = lambda: step(self.x, self.y)
        else:
            self.call = lambda: self.model.train_on_batch(self.x, self.y)

    def output(self):
        self.begin()
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(self.x, self.y, self.model(self.x, training=True))
        gradients = tape.gradient(loss, [v.value for v in self.model.trainable_variables])
        losses = []
        for count in range(3):
            # Of one step alone: what is returned is the mean since the last reset.
            self.model.reset_metrics()
            losses.append(float(self.call()))
        gradients = [np.asarray(tf.convert_to_tensor(g)).reshape(-1) for g in gradients]
        return np.concatenate([losses, *gradients])


def load(case, variant):
    pin(case.threads)
    if case.what in ("train", "train-model"):
        return Training(case, variant)
    if case.what == "step":
        raise Skip("Keras has no call for one step of a stream")
    return Keras(case, variant)


if __name__ == "__main__":
    # `peer_keras.py FOLDER`: saves the model of that case for ifco to open.
    import sys

    from worker import Case

    build(Case(sys.argv[1], 1)).save(os.path.join(sys.argv[1], "model.keras"))
