"""Writes gradients.txt beside this file: the gradients that Keras 3 gives, by tf.GradientTape.

Run with keras 3.15.1 and tensorflow-cpu 2.21.0: python make_gradients.py

One case a paragraph: options, cell and activations, then named arrays with their shapes.
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(3)
lstm, gru, rnn = "LSTM", "GRU", "SimpleRNN"
PLANS = [
    (lstm, {}, dict(return_sequences=True), False),
    (lstm, {}, dict(return_sequences=True), True),
    (lstm, {}, dict(go_backwards=True), True),
    (lstm, {}, dict(return_sequences=True, go_backwards=True, zero_output_for_mask=True), True),
    (lstm, dict(activation="relu", recurrent_activation="hard_sigmoid"),
     dict(return_sequences=True), False),
    (lstm, dict(activation="softmax", use_bias=False), {}, False),
    (gru, dict(reset_after=True), dict(return_sequences=True), True),
    (gru, dict(reset_after=False), dict(return_sequences=True), True),
    (gru, dict(reset_after=True, activation="relu", recurrent_activation="hard_sigmoid"), {}, True),
    (gru, dict(reset_after=False, activation="elu"), dict(go_backwards=True), False),
    (rnn, {}, dict(return_sequences=True), True),
    (rnn, dict(activation="relu"), {}, False),
]
MASK = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]], bool)


def array(out, name, values):
    values = np.asarray(values)
    shape = "x".join(str(size) for size in values.shape)
    numbers = " ".join(f"{value:.9g}" for value in values.astype("float32").ravel())
    out.write(f"{name} {shape} {numbers}\n")


with open(pathlib.Path(__file__).parent / "gradients.txt", "w") as out:
    for kind, of_cell, options, masked in PLANS:
        cell = getattr(keras.layers, kind + "Cell")(3, **of_cell)
        layer = keras.layers.RNN(cell, return_state=True, **options)
        x = tf.constant(rng.normal(size=(4, 6, 2)), "float32")
        layer.build(x.shape)
        for weight in layer.weights:
            weight.assign(rng.normal(size=weight.shape) * 0.7)
        count = 2 if kind == lstm else 1
        states = [tf.constant(rng.normal(size=(4, 3)) * 0.5, "float32") for _ in range(count)]
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            answer = layer(x, mask=tf.constant(MASK) if masked else None, initial_state=states)
            ds = [tf.constant(rng.normal(size=a.shape), "float32") for a in answer]
            loss = sum(tf.reduce_sum(a * d) for a, d in zip(answer, ds))
        weights = [weight.value for weight in layer.trainable_weights]
        found = tape.gradient(loss, [x, *states, *weights])
        words = [name for name, on in options.items() if on]
        out.write(" ".join(["3"] + words) + "\n")
        config = cell.get_config()
        words = [kind, config["activation"]]
        if kind != rnn:
            words.append(config["recurrent_activation"])
        if kind == gru:
            words.append("after" if config["reset_after"] else "before")
        out.write("cell " + " ".join(words) + "\n")
        names = ["kernel", "recurrent_kernel", "bias"]
        for name, weight in zip(names, cell.get_weights()):
            if kind == gru and name == "bias" and weight.ndim == 1:
                weight = weight[None]
            array(out, name, weight)
        array(out, "inputs", x)
        if masked:
            array(out, "mask", MASK)
        for state in states:
            array(out, "initial", state)
        for d in ds:
            array(out, "d_answer", d)
        array(out, "gradient", found[0])
        for gradient in found[1:]:
            array(out, "gradient", gradient)
        out.write("\n")
