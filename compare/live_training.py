"""Trains random models with Keras and with `ifco train`, and compares them.

    python compare/live_training.py --ifco target/release/ifco [--models 24] [--seed 1]

Keras trains each for an epoch and saves it with its optimizer. Then both go on for two epochs with
the same data in the same order: the losses and metrics of each epoch agree within 1e-4 relative, and
so do the weights at the end; and Keras opens what ifco saved, with as many steps made, and trains
it for another epoch as it does its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras import layers as L

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01),
    "adam": lambda: keras.optimizers.Adam(0.01, clipnorm=1.0),
    "adamw": lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 20)),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "adamax": lambda: keras.optimizers.Adamax(0.01),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "lion": lambda: keras.optimizers.Lion(0.001),
}
TASKS = {
    "mse": (None, "mse", ["mae"]),
    "huber": (None, "huber", ["mse"]),
    "binary": ("sigmoid", "binary_crossentropy", ["accuracy"]),
    "classes": ("softmax", "sparse_categorical_crossentropy", ["accuracy"]),
}


def draw(random):
    """A model that is compiled, and data for it."""
    task = random.choice(list(TASKS))
    activation, loss, metrics = TASKS[task]
    time, features = int(random.integers(3, 9)), int(random.integers(1, 5))
    outputs = 3 if task == "classes" else 1
    is_sequence = random.random() < 0.3
    # What outputs add to the loss, also those of both directions and of the last layer.
    penalty = lambda: random.choice([None, None, keras.regularizers.L2(0.02), keras.regularizers.L1L2(0.001, 0.01)])
    layers = []
    depth = int(random.integers(1, 3))
    for level in range(depth):
        kind = random.choice([L.LSTM, L.LSTM, L.GRU, L.SimpleRNN])
        layer = kind(int(random.integers(2, 12)), return_sequences=is_sequence or level + 1 < depth,
                     activity_regularizer=penalty())
        both = random.random() < 0.3
        layers.append(L.Bidirectional(layer, activity_regularizer=penalty()) if both else layer)
    if random.random() < 0.3:
        layers.insert(1, L.LayerNormalization())
    if random.random() < 0.3:
        layers.insert(0, L.Masking(-1.0))
    last = L.Dense(outputs, activation=activation, activity_regularizer=penalty())
    model = keras.Sequential([keras.Input((time, features)), *layers, last])
    name = random.choice(list(OPTIMIZERS))
    model.compile(OPTIMIZERS[name](), loss, metrics=metrics)
    count = int(random.integers(20, 60))
    x = random.normal(size=(count, time, features)).astype("f4")
    if isinstance(layers[0], L.Masking):
        x[random.random((count, time)) < 0.2] = -1.0
        x[:, 0] = 0.5
    shape = (count, time, 1) if is_sequence else (count, 1)
    y = np.tanh(x.sum(axis=2 if is_sequence else (1, 2))).reshape(shape).astype("f4")
    if task == "binary":
        y = (y > 0).astype("f4")
    if task == "classes":
        y = (y > -0.3).astype("f4") + (y > 0.3)
    return f"{task}, {name}, {', '.join(layer.name for layer in layers)}", model, x, y


def differ(found, expected):
    """By how much, relative to the largest; small numbers count as 1e-2."""
    found, expected = np.asarray(found, "f8"), np.asarray(expected, "f8")
    return float(np.max(np.abs(found - expected)) / max(1e-2, np.max(np.abs(expected))))


def check(ifco, folder, seed):
    random = np.random.default_rng(seed)
    keras.utils.set_random_seed(int(seed[1]))
    name, model, x, y = draw(random)
    batch = int(random.integers(5, 17))
    fit = dict(batch_size=batch, shuffle=False, verbose=0)
    path = lambda file: os.path.join(folder, file)
    model.fit(x, y, **fit)
    model.save(path("half.keras"))
    np.save(path("x.npy"), x)
    np.save(path("y.npy"), y)
    history = model.fit(x, y, epochs=2, **fit).history
    command = [ifco, "train", path("half.keras"), "--x", path("x.npy"), "--y", path("y.npy"), "--json", "--force"]
    command += ["-o", path("out.keras"), "--epochs", "2", "--batch-size", str(batch), "--no-shuffle"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        return name, done.stderr.strip() or f"exit code {done.returncode}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for key, expected in history.items():
        if (worst := differ([line["logs"][key] for line in lines[:2]], expected)) > 1e-4:
            return name, f"{key} differs by {worst:.1e}"
    ours = keras.saving.load_model(path("out.keras"))
    if int(ours.optimizer.iterations) != int(model.optimizer.iterations):
        return name, f"{int(ours.optimizer.iterations)} steps, expected {int(model.optimizer.iterations)}"
    for found, expected in zip(ours.get_weights(), model.get_weights()):
        if (worst := differ(found, expected)) > 1e-4:
            return name, f"weights differ by {worst:.1e}"
    one, other = (m.fit(x, y, **fit).history["loss"] for m in (ours, model))
    if (worst := differ(one, other)) > 1e-4:
        return name, f"Keras goes on differently with what ifco saved, by {worst:.1e}"
    return name, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ifco", required=True)
    parser.add_argument("--models", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.models):
            name, wrong = check(os.path.abspath(arguments.ifco), folder, [arguments.seed, index])
            keras.backend.clear_session()
            if wrong:
                failed += 1
                print(f"FAILED {index} ({name}): {wrong}")
    print(f"{arguments.models - failed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
