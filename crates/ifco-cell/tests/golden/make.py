"""Writes the golden cases beside this file: what Keras 3 and Keras 2 really compute.

Run with keras 3.15.1, tf_keras 2.21.0 and tensorflow-cpu 2.21.0:

    python make.py

activations.txt  the inputs (rows of 4), then one case a line: `generation name` and the outputs.
layers.txt       one case a paragraph: options, then named arrays with their shapes.
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf
import tf_keras

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(2)


def numbers(array):
    return " ".join(f"{value:.9g}" for value in np.asarray(array, "float32").ravel())


NAMES_3 = """linear relu relu6 leaky_relu sigmoid tanh hard_sigmoid hard_tanh softmax log_softmax
sparsemax softplus softsign elu selu celu gelu silu swish hard_silu hard_swish exponential mish
log_sigmoid squareplus soft_shrink hard_shrink tanh_shrink sparse_plus sparse_sigmoid""".split()
NAMES_2 = """linear relu relu6 leaky_relu sigmoid tanh hard_sigmoid softmax log_softmax softplus
softsign elu selu gelu silu swish exponential mish LeakyReLU ThresholdedReLU ReLU ELU
Softmax""".split()


def activations():
    x = np.concatenate([
        [-120, -30, -9, -4, -3, -2.75, -2.5, -2, -1.5, -1, -0.75, -0.5, -0.25, -1e-3, -1e-6, 0],
        [1e-6, 1e-3, 0.25, 0.5, 0.75, 1, 1.25, 2, 2.5, 3, 3.5, 6, 6.5, 9, 30, 60],
        rng.normal(size=32) * 3,
    ]).astype("float32").reshape(-1, 4)
    # 2 stands for Keras 2's names, 3 for Keras 3's; p is a function with its parameters.
    cases = [(f"3 {name}", keras.activations.get(name)) for name in NAMES_3]
    cases += [(f"2 {name}", tf_keras.activations.get(name)) for name in NAMES_2]
    cases += [
        ("p gelu_approximate", lambda x: keras.activations.gelu(x, approximate=True)),
        ("p elu_0.3", lambda x: keras.activations.elu(x, alpha=0.3)),
        ("p celu_0.3", lambda x: keras.activations.celu(x, alpha=0.3)),
        ("p squareplus_0.5", lambda x: keras.activations.squareplus(x, b=0.5)),
        ("p threshold_0.5_-2", lambda x: keras.activations.threshold(x, 0.5, -2.0)),
        ("p relu_0.1_none_0", lambda x: keras.activations.relu(x, 0.1, None, 0.0)),
        ("p relu_0.1_2_0", lambda x: keras.activations.relu(x, 0.1, 2.0, 0.0)),
        ("p relu_0_none_1.5", lambda x: keras.activations.relu(x, 0.0, None, 1.5)),
        ("p relu_0_6_0", lambda x: keras.activations.relu(x, 0.0, 6.0, 0.0)),
        ("p relu_0.2_3_-1", lambda x: keras.activations.relu(x, 0.2, 3.0, -1.0)),
        ("p relu_0.2_none_-1", lambda x: keras.activations.relu(x, 0.2, None, -1.0)),
    ]
    with open(here / "activations.txt", "w") as out:
        out.write(numbers(x) + "\n")
        for name, function in cases:
            out.write(f"{name} {numbers(np.array(function(tf.constant(x))))}\n")


def cell_of(generation, plan):
    kind, units, kwargs = plan
    cell = getattr(generation.layers, kind + "Cell")(
        units, bias_initializer="uniform", **kwargs
    )
    return cell


def layers():
    lstm, gru, rnn = "LSTM", "GRU", "SimpleRNN"
    # (cells, options, masked, initial state)
    plans = [
        ([(lstm, 3, {})], dict(return_sequences=True), False, False),
        ([(lstm, 3, {})], dict(return_sequences=False), True, False),
        ([(lstm, 3, {})], dict(return_sequences=True), True, True),
        ([(lstm, 3, {})], dict(return_sequences=True, go_backwards=True), True, True),
        ([(lstm, 3, {})], dict(go_backwards=True), True, False),
        ([(lstm, 3, {})], dict(zero_output_for_mask=True), True, True),
        ([(lstm, 3, {})],
         dict(return_sequences=True, zero_output_for_mask=True, go_backwards=True), True, True),
        ([(lstm, 3, dict(use_bias=False, activation="softmax",
                         recurrent_activation="hard_sigmoid"))],
         dict(return_sequences=True), False, True),
        ([(lstm, 3, dict(activation="relu", recurrent_activation="softmax"))],
         dict(return_sequences=True), False, True),
        ([(gru, 3, dict(reset_after=True))], dict(return_sequences=True), True, True),
        ([(gru, 3, dict(reset_after=False))], dict(return_sequences=True), True, True),
        ([(gru, 3, dict(reset_after=True, use_bias=False))],
         dict(return_sequences=True, go_backwards=True), False, False),
        ([(gru, 3, dict(reset_after=False, activation="elu", recurrent_activation="softmax"))],
         dict(zero_output_for_mask=True), True, False),
        ([(rnn, 3, {})], dict(return_sequences=True), True, True),
        ([(rnn, 3, dict(activation="gelu"))], dict(go_backwards=True), True, False),
        ([(lstm, 3, {}), (gru, 4, {}), (rnn, 2, {})], dict(return_sequences=True), True, True),
        ([(lstm, 3, {}), (lstm, 2, {})],
         dict(return_sequences=True, go_backwards=True, zero_output_for_mask=True), True, True),
        ([(lstm, 3, {}), (lstm, 2, {})], {}, True, True),
    ]
    batch, time, features = 4, 6, 2
    mask = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0],
                     [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]], bool)
    with open(here / "layers.txt", "w") as out:
        for generation, label in [(keras, "3"), (tf_keras, "2")]:
            for cells, options, masked, initial in plans:
                generation.utils.set_random_seed(len(cells) + len(options))
                built = [cell_of(generation, cell) for cell in cells]
                layer = generation.layers.RNN(
                    built if len(built) > 1 else built[0], return_state=True, **options
                )
                x = rng.normal(size=(batch, time, features)).astype("float32")
                layer.build((batch, time, features))
                for weight in layer.weights:
                    weight.assign(rng.normal(size=weight.shape) * 0.7)
                states = [
                    [rng.normal(size=(batch, units)).astype("float32") * 0.5
                     for _ in range(2 if kind == lstm else 1)]
                    for kind, units, _ in cells
                ]
                nested = states if len(cells) > 1 else states[0]
                if len(cells) > 1:
                    nested = [s if len(s) > 1 else s[0] for s in states]
                answer = layer(
                    tf.constant(x),
                    mask=tf.constant(mask) if masked else None,
                    initial_state=tf.nest.map_structure(tf.constant, nested) if initial else None,
                )
                output, finals = answer[0], tf.nest.flatten(list(answer[1:]))

                words = [label] + [name for name, on in options.items() if on]
                out.write(" ".join(words) + "\n")
                for (kind, units, kwargs), cell in zip(cells, built):
                    config = cell.get_config()
                    words = [kind, config["activation"]]
                    if kind != rnn:
                        words.append(config["recurrent_activation"])
                    if kind == gru:
                        words.append("after" if config["reset_after"] else "before")
                    out.write("cell " + " ".join(words) + "\n")
                    for name, weight in zip(["kernel", "recurrent_kernel", "bias"],
                                            cell.get_weights()):
                        if kind == gru and name == "bias" and weight.ndim == 1:
                            weight = weight[None]
                        array(out, name, weight)
                array(out, "inputs", x)
                if masked:
                    array(out, "mask", mask)
                if initial:
                    for state in tf.nest.flatten(states):
                        array(out, "initial", state)
                array(out, "output", output)
                for state in finals:
                    array(out, "state", state)
                out.write("\n")


def array(out, name, values):
    values = np.asarray(values)
    shape = "x".join(str(size) for size in values.shape)
    out.write(f"{name} {shape} {numbers(values)}\n")


activations()
layers()
