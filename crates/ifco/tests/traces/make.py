"""Writes the golden traces beside this file: models that Keras saved, and every gate of theirs.

    python make.py

Run with keras 3.15.1 and tensorflow-cpu 2.21.0. For each model NAME.keras and NAME.npz, which holds
the inputs (`x`, or `x0`, `x1`), the output `y`, and `PATH/ARRAY` for each cell. Keras runs the
model; the gates are computed here, from Keras's weights with NumPy, one step after the other; that
they make Keras's own h (and c) is asserted.
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
from keras import layers

here = pathlib.Path(__file__).parent


def activate(function, z):
    return np.asarray(function(z.astype("float32")), "float64")


def step(cell, x, states):
    """One step of a cell: every array by name, and the sums `pre_activations`."""
    units = cell.units
    weights = [np.asarray(w, "float64") for w in cell.get_weights()]
    kernel, recurrent = weights[:2]
    bias = weights[2] if cell.use_bias else np.zeros(kernel.shape[1])
    phi = lambda z: activate(cell.activation, z)
    kind = type(cell).__name__
    h = states[0]
    if kind == "SimpleRNNCell":
        z = x @ kernel + h @ recurrent + bias
        return {"h": phi(z), "pre_activations": z}
    sigma = lambda z: activate(cell.recurrent_activation, z)
    gates = lambda z: [z[:, k * units:(k + 1) * units] for k in range(z.shape[1] // units)]
    if kind == "LSTMCell":
        z = x @ kernel + h @ recurrent + bias
        zi, zf, zc, zo = gates(z)
        i, f, c_tilde, o = sigma(zi), sigma(zf), phi(zc), sigma(zo)
        c = f * states[1] + i * c_tilde
        return {"i": i, "f": f, "c_tilde": c_tilde, "o": o, "c": c, "h": o * phi(c),
                "pre_activations": z}
    assert kind == "GRUCell", kind
    rows = np.broadcast_to(bias, (2, bias.shape[-1])) if cell.reset_after and cell.use_bias else [
        bias, 0 * bias]
    xz, xr, xh = gates(x @ kernel + rows[0])
    hz, hr, hh = gates(h @ recurrent + rows[1])
    z, r = sigma(xz + hz), sigma(xr + hr)
    sum_h = xh + (r * hh if cell.reset_after else (r * h) @ recurrent[:, 2 * units:])
    h_tilde = phi(sum_h)
    return {"z": z, "r": r, "h_tilde": h_tilde, "h": z * h + (1 - z) * h_tilde,
            "pre_activations": np.concatenate([xz + hz, xr + hr, sum_h], 1)}


def trace(path, layer, x, mask=None, initial=None):
    """The traces of a recurrent layer, `PATH/ARRAY`; index t is step t of the input."""
    cells = getattr(layer.cell, "cells", [layer.cell])
    batch, time = x.shape[:2]
    order = range(time)[::-1] if layer.go_backwards else range(time)
    traces, x, initial = {}, x.astype("float64"), list(initial or [])
    for index, cell in enumerate(cells):
        count = 2 if type(cell).__name__ == "LSTMCell" else 1
        states = [np.asarray(s, "float64") for s in initial[:count]] or [
            np.zeros((batch, cell.units)) for _ in range(count)]
        initial = initial[count:]
        arrays = {}
        for t in order:
            counts = np.ones(batch, bool) if mask is None else mask[:, t]
            for name, value in step(cell, x[:, t], states).items():
                array = arrays.setdefault(name, np.zeros((batch, time, value.shape[1])))
                array[counts, t] = value[counts]
            for k, name in enumerate(["h", "c"][:count]):
                arrays[name][~counts, t] = states[k][~counts]
                states[k] = arrays[name][:, t]
        x = arrays["h"]
        name = path if len(cells) == 1 else f"{path}/{index}"
        traces |= {f"{name}/{array}": value for array, value in arrays.items()}
    return traces, x


def agree(ours, keras_values):
    ours, theirs = np.asarray(ours), np.asarray(keras_values)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    worst = np.abs(ours - theirs).max()
    assert worst < 2e-6, worst


def put_out(h, mask, zero=False):
    """What the layer puts out for states h, read forward: zeros before the first step that
    counts, then the output of the last one; or zeros wherever it is masked."""
    if mask is None:
        return h
    started = np.logical_or.accumulate(mask, axis=1)
    return h * (mask if zero else started)[..., None]


def value_of(model, tensor, inputs):
    return np.asarray(keras.Model(model.inputs, tensor)(inputs))


def save(name, model, inputs, traces):
    model.save(here / f"{name}.keras")
    named = {"x": inputs[0]} if len(inputs) == 1 else {f"x{k}": x for k, x in enumerate(inputs)}
    named["y"] = np.asarray(model(inputs if len(inputs) > 1 else inputs[0]))
    named |= traces
    np.savez(here / f"{name}.npz", **{key: value.astype("float32") for key, value in named.items()})
    print(name, len(traces), "arrays")


def randomize(model, rng):
    model.set_weights([rng.normal(size=w.shape, scale=0.7).astype("float32")
                       for w in model.get_weights()])


def sequential(name, stack, x, rng, mask_value=None):
    """One recurrent layer after the other."""
    model = keras.Sequential([keras.Input((None, x.shape[2])), *stack, layers.Dense(2, name="head")])
    randomize(model, rng)
    mask = None if mask_value is None else ~np.all(x == mask_value, axis=2)
    traces, values = {}, x
    for layer in stack:
        out = value_of(model, layer.output, x)
        if isinstance(layer, layers.Bidirectional):
            parts = []
            for direction, inner in (("forward", layer.forward_layer),
                                     ("backward", layer.backward_layer)):
                found, h = trace(f"{layer.name}/{direction}", inner, values, mask)
                traces |= found
                if layer.return_sequences:
                    parts.append(put_out(h, mask, zero=True))
                else:
                    last = 0 if inner.go_backwards else -1
                    parts.append(h[:, last])
            agree(np.concatenate(parts, -1), out)
        elif isinstance(layer, layers.RNN):
            found, h = trace(layer.name, layer, values, mask)
            traces |= found
            if layer.go_backwards:
                agree(h[:, ::-1] if layer.return_sequences else h[:, 0], out)
            else:
                agree(put_out(h, mask) if layer.return_sequences else h[:, -1], out)
        values = out
    save(name, model, [x], traces)


def main():
    rng = np.random.default_rng(1)
    numbers = lambda *shape: rng.normal(size=shape).astype("float32")
    keras.utils.set_random_seed(1)

    sequential("kinds", [
        layers.LSTM(5, return_sequences=True, name="lstm"),
        layers.GRU(4, return_sequences=True, name="after"),
        layers.GRU(3, return_sequences=True, reset_after=False, name="before"),
        layers.SimpleRNN(4, name="simple"),
    ], numbers(3, 7, 2), rng)

    sequential("activations", [
        layers.LSTM(4, return_sequences=True, activation="relu6", use_bias=False,
                    recurrent_activation="hard_sigmoid", name="hard"),
        layers.LSTM(3, return_sequences=True, activation="softsign",
                    recurrent_activation="softmax", name="rows"),
        layers.GRU(3, return_sequences=True, activation="elu", use_bias=False,
                   recurrent_activation="hard_sigmoid", name="gru"),
        layers.SimpleRNN(3, activation="gelu", name="simple"),
    ], 0.5 * numbers(2, 6, 3), rng)

    x = numbers(4, 8, 3)
    for row, masked in enumerate([[], [6, 7], [0, 1, 4], [0, 5, 7]]):
        x[row, masked] = 0
    sequential("masked", [
        layers.Masking(name="masking"),
        layers.LSTM(4, return_sequences=True, name="lstm"),
        layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both"),
        layers.Bidirectional(layers.LSTM(2), name="last"),
    ], x, rng, mask_value=0)

    sequential("stacked", [
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(5)],
                   return_sequences=True, name="cells"),
        layers.LSTM(3, go_backwards=True, return_sequences=True, name="backwards"),
    ], numbers(2, 6, 3), rng)

    # Initial states, and a model inside the model.
    source, target = keras.Input((5, 2), name="source"), keras.Input((4, 3), name="target")
    inner_in = keras.Input((5, 2))
    inner = layers.LSTM(4, return_state=True, name="lstm")
    encoder = keras.Model(inner_in, inner(inner_in), name="encoder")
    _, h, c = encoder(source)
    decoder = layers.LSTM(4, return_sequences=True, name="decoder")
    out = decoder(target, initial_state=[h, c])
    model = keras.Model([source, target], layers.Dense(2, name="head")(out))
    randomize(model, rng)
    inputs = [numbers(3, 5, 2), numbers(3, 4, 3)]
    traces, hidden = trace("encoder/lstm", inner, inputs[0])
    states = [np.asarray(value) for value in encoder(inputs[0])[1:]]
    agree(hidden[:, -1], states[0])
    agree(traces["encoder/lstm/c"][:, -1], states[1])
    found, hidden = trace("decoder", decoder, inputs[1], initial=states)
    agree(hidden, value_of(model, out, inputs))
    save("states", model, inputs, traces | found)


if __name__ == "__main__":
    main()
