"""Makes compile.json: what Keras 3 and tf_keras write of `compile`, in .keras and .h5 files.

Needs keras, tf_keras, tensorflow, h5py.
"""

from common import write
import json
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import tf_keras

CASES = []


def models(framework):
    x = framework.Input((4,), name="x")
    one = framework.Model(x, framework.layers.Dense(3, activation="softmax", name="a")(x))
    y = framework.Input((4,), name="y")
    a = framework.layers.Dense(3, activation="softmax", name="a")(y)
    b = framework.layers.Dense(1, name="b")(y)
    return one, framework.Model(y, [a, b])


def saved(framework, about, outputs, metrics_names=True, **how):
    """Trains a step, so that metrics are built, and saves."""
    model = models(framework)[outputs - 1]
    model.compile(**how)
    x = np.ones((2, 4), "float32")
    targets = [np.eye(3, dtype="float32")[:2], np.ones((2, 1), "float32")]
    logs = model.train_on_batch(x, targets[0] if outputs == 1 else targets, return_dict=True)
    for kind in ["keras", "h5"]:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / f"model.{kind}")
            model.save(path)
            if kind == "keras":
                config = json.loads(zipfile.ZipFile(path).read("config.json"))["compile_config"]
            else:
                config = json.loads(h5py.File(path).attrs["training_config"])
        CASES.append({"about": f"{framework.__name__} .{kind}: {about}", "outputs": ["a", "b"][:outputs],
                      "logs": list(logs), "compile": config})


for f in [keras, tf_keras]:
    saved(f, "names", 1, optimizer="adam", loss="categorical_crossentropy",
          metrics=["accuracy", "mse"], weighted_metrics=["accuracy"])
    saved(f, "objects", 1, optimizer=f.optimizers.RMSprop(0.01, clipnorm=1.0),
          loss=f.losses.CategoricalCrossentropy(label_smoothing=0.1),
          metrics=[f.metrics.AUC(name="area"), f.metrics.TopKCategoricalAccuracy(k=2), "mae"])
    saved(f, "no metrics", 1, optimizer="sgd", loss="mse")
    saved(f, "lists", 2, optimizer=f.optimizers.SGD(momentum=0.9), loss=["mse", "mae"],
          loss_weights=[0.5, 2.0], metrics=[["accuracy"], ["mae", "mse"]])
    saved(f, "dictionaries", 2, optimizer="nadam", loss={"a": "categorical_crossentropy", "b": "mse"},
          loss_weights={"a": 1.0, "b": 0.25}, metrics={"b": ["mae"]})
    saved(f, "one loss for all", 2, optimizer="adagrad", loss="mse")
saved(keras, "schedule", 1, optimizer=keras.optimizers.AdamW(
    keras.optimizers.schedules.CosineDecay(0.1, 100)), loss=keras.losses.Huber())
write("compile.json", CASES)
