"""Keras on TensorFlow, in three ways: `predict`, a compiled `tf.function`, the bare layer."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
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


def load(case, variant):
    pin(case.threads)
    if case.what == "step":
        raise Skip("Keras has no call for one step of a stream")
    return Keras(case, variant)


if __name__ == "__main__":
    # `peer_keras.py FOLDER`: saves the model of that case for ifco to open.
    import sys

    from worker import Case

    build(Case(sys.argv[1], 1)).save(os.path.join(sys.argv[1], "model.keras"))
