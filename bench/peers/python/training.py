"""The cases of training: their arrays, and what a float64 reference makes of the first steps.

A layer's loss is the mean squared error of its whole output, a model's the crossentropy of a
softmax. The output that is compared is the losses of `STEPS` steps of Adam with Keras's other defaults,
one after the other, and then the first step's gradients in the order of Keras's weights. Adam's
epsilon is so small that it does not matter where it is added, which is not the same everywhere.
"""

import zlib

import numpy as np

STEPS = 3
WORDS = 10_000
RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-12


def draw(case):
    """Every array of the case, by name."""
    random = np.random.default_rng(zlib.crc32(case.folder.name.encode()))
    units, batch, time = case.units, case.batch, case.time

    def scaled(*shape):
        return (random.standard_normal(shape) / np.sqrt(units)).astype(np.float32)

    arrays = {
        "kernel": scaled(case.features, 4 * units),
        "recurrent_kernel": scaled(units, 4 * units),
        "bias": scaled(4 * units),
    }
    if case.what == "train":
        arrays["input"] = random.standard_normal((batch, time, case.features), np.float32)
        arrays["target"] = random.standard_normal((batch, time, units), np.float32)
        return arrays
    arrays["second_kernel"] = scaled(units, 4 * units)
    arrays["second_recurrent_kernel"] = scaled(units, 4 * units)
    arrays["second_bias"] = scaled(4 * units)
    arrays["dense_kernel"], arrays["dense_bias"] = scaled(units, WORDS), scaled(WORDS)
    arrays["embedding"] = random.standard_normal((WORDS, case.features), np.float32)
    # Each word once at most: what Adam makes of one that comes twice is not the same everywhere.
    words = random.permutation(WORDS)[: batch * time]
    arrays["tokens"] = words.reshape(batch, time).astype(np.int32)
    arrays["labels"] = random.integers(0, WORDS, (batch, time)).astype(np.int32)
    return arrays


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(x, kernel, recurrent, bias):
    """All outputs `(batch, time, units)`, and the way back."""
    units, kept = len(recurrent), []
    h = c = np.zeros((len(x), units))
    for x_t in x.transpose(1, 0, 2):
        z = x_t @ kernel + h @ recurrent + bias
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        before = h, c
        c = f * c + i * g
        shown = np.tanh(c)
        h = o * shown
        kept.append((x_t, *before, i, f, g, o, shown, h))

    def backward(d_outputs):
        d_kernel, d_recurrent, d_bias = (np.zeros_like(a) for a in (kernel, recurrent, bias))
        d_h = d_c = np.zeros((len(x), units))
        d_x = np.zeros_like(x)
        for t in reversed(range(len(kept))):
            x_t, h, c, i, f, g, o, shown, _ = kept[t]
            d_h = d_h + d_outputs[:, t]
            d_c = d_c + d_h * o * (1 - shown**2)
            d_z = np.concatenate(
                [
                    d_c * g * i * (1 - i),
                    d_c * c * f * (1 - f),
                    d_c * i * (1 - g**2),
                    d_h * shown * o * (1 - o),
                ],
                axis=1,
            )
            d_kernel += x_t.T @ d_z
            d_recurrent += h.T @ d_z
            d_bias += d_z.sum(axis=0)
            d_x[:, t] = d_z @ kernel.T
            d_h, d_c = d_z @ recurrent.T, d_c * f
        return d_x, [d_kernel, d_recurrent, d_bias]

    return np.stack([step[-1] for step in kept], axis=1), backward


def layer_step(case, arrays, weights):
    """The loss and the gradients of a layer."""
    output, backward = lstm(arrays["input"].astype(float), *weights)
    error = output - arrays["target"]
    return np.mean(error**2), backward(2 * error / error.size)[1]


def model_step(case, arrays, weights):
    """The loss and the gradients of a model."""
    table, first, second = weights[0], weights[1:4], weights[4:7]
    kernel, bias = weights[7:]
    tokens, labels = arrays["tokens"], arrays["labels"].reshape(-1)
    below, back_first = lstm(table[tokens], *first)
    above, back_second = lstm(below, *second)
    rows = above.reshape(-1, case.units)
    logits = rows @ kernel + bias
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    chosen = np.arange(len(labels)), labels
    loss = -np.log(shares[chosen]).mean()
    shares[chosen] -= 1
    shares /= len(labels)
    d_above = (shares @ kernel.T).reshape(above.shape)
    d_below, of_second = back_second(d_above)
    d_looked_up, of_first = back_first(d_below)
    d_table = np.zeros_like(table)
    np.add.at(d_table, tokens, d_looked_up)
    return loss, [d_table, *of_first, *of_second, rows.T @ shares, shares.sum(axis=0)]


def expected(case, arrays):
    """What is compared, part by part."""
    names = ["kernel", "recurrent_kernel", "bias"]
    step = layer_step
    if case.what == "train-model":
        step = model_step
        second = ["second_" + name for name in names]
        names = ["embedding", *names, *second, "dense_kernel", "dense_bias"]
    weights = [arrays[name].astype(float) for name in names]
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in weights]
    losses, first = [], None
    for t in range(1, STEPS + 1):
        loss, gradients = step(case, arrays, weights)
        losses.append(loss)
        first = first or gradients
        rate = RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        for w, g, (m, v) in zip(weights, gradients, moments):
            m += (g - m) * (1 - BETA_1)
            v += (g**2 - v) * (1 - BETA_2)
            w -= rate * m / (np.sqrt(v) + EPSILON)
    return [np.array(losses), *first]
