"""Keras 3 and Keras 2 as oracles: random weights, every file kind, and what they predict.

`keras` is Keras 3 and `tf_keras` is Keras 2; both run on TensorFlow in one process. Importing
this module sets TensorFlow up for numbers that do not change from run to run: one thread, and
none of oneDNN's reorderings.
"""

import functools
import io
import json
import os
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.get_logger().setLevel("ERROR")

FRAMEWORKS = {"keras3": keras, "keras2": tf_keras}

# File kinds: what follows the case's name, and whether the architecture stands beside it.
KINDS = {
    "keras": (".keras", False),
    "h5": (".h5", False),
    "weights": (".weights.h5", True),
    "legacy_weights": (".legacy.h5", True),
}
KINDS_OF = {
    "keras3": ("keras", "h5", "weights"),
    "keras2": ("keras", "h5", "weights", "legacy_weights"),
}

# Keras writes the time into a file; this one keeps a rerun without a diff.
DATE_SAVED = "2026-01-01@00:00:00"


class Recurrence:
    """Which of its two implementations Keras 2 uses for LSTM and GRU on a CPU.

    Its default prepares a second one for GPUs with every layer, which takes a second each; the
    plain one, which it takes for layers that cuDNN cannot do, computes the same.
    """

    plain = False


def _choose_recurrence(layer_class):
    call = layer_class.call

    @functools.wraps(call)
    def chosen(self, *args, **kwargs):
        if Recurrence.plain:
            self._could_use_gpu_kernel = False
        return call(self, *args, **kwargs)

    layer_class.call = chosen


for _layer_class in (tf_keras.layers.LSTM, tf_keras.layers.GRU):
    _choose_recurrence(_layer_class)


def randomize(model, rng):
    """Gives every weight random values, so that no bias, gamma or moving statistic hides behind
    the 0 or 1 it was created with."""
    values = []
    for weight in model.weights:
        shape = tuple(weight.shape)
        name = weight.name.split("/")[-1].split(":")[0]
        if "variance" in name:
            value = rng.uniform(0.3, 2.0, shape)
        elif name == "gamma":
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) < 2 or "bias" in name or name in ("mean", "scale", "count"):
            value = rng.normal(0, 0.4, shape)
        elif name in ("embeddings", "alpha"):
            value = rng.normal(0, 0.7, shape)
        else:
            # Near the size of glorot's: activations stay in the range where they differ.
            fan_in = int(np.prod(shape[:-1]))
            value = rng.normal(0, 1.0 / np.sqrt(fan_in), shape)
        if np.issubdtype(np.dtype(str(getattr(weight.dtype, "name", weight.dtype))), np.integer):
            value = np.zeros(shape)
        values.append(value.astype("float32"))
    model.set_weights(values)


def predict(model, inputs, batch_size, compiled=False):
    """What `model.predict` returns, as a list. Without the compilation of a graph, which takes
    longer than everything else here, unless `compiled`."""
    model.run_eagerly = not compiled
    answer = model.predict(
        inputs if len(inputs) > 1 else inputs[0], batch_size=batch_size, verbose=0
    )
    return flatten(answer)


def flatten(answer):
    """The arrays in what a model returned, in Keras's order."""
    if isinstance(answer, dict):
        return [array for key in sorted(answer) for array in flatten(answer[key])]
    if isinstance(answer, (list, tuple)):
        return [array for item in answer for array in flatten(item)]
    return [np.asarray(answer)]


def layer_names(tensors):
    """The names of the layers that these inputs or outputs of a model come from."""
    names = []
    for tensor in tensors:
        history = tensor._keras_history
        names.append((history.operation if hasattr(history, "operation") else history.layer).name)
    return names


def output_names(model):
    """The outputs' names: their layers', and where a layer gives several, numbered as Keras 2
    does: `lstm`, `lstm_1`."""
    names = []
    for name in layer_names(model.outputs):
        number, proposal = 0, name
        while proposal in names:
            number += 1
            proposal = f"{name}_{number}"
        names.append(proposal)
    return names


def save(model, directory, stem, kind):
    """Writes a model; returns its file's name and that of the architecture, or None."""
    suffix, beside = KINDS[kind]
    path = Path(directory) / (stem + suffix)
    architecture = None
    if beside:
        architecture = stem + ".json"
        text = json.dumps(json.loads(model.to_json()))
        (path.parent / architecture).write_text(text + "\n")
        model.save_weights(str(path))
    else:
        model.save(str(path))
    return path.name, architecture


def reload(framework, directory, file, architecture):
    """The model that the framework itself reads from its file."""
    path = str(Path(directory) / file)
    if architecture is None:
        return framework.models.load_model(path, compile=False)
    text = (Path(directory) / architecture).read_text()
    model = framework.models.model_from_json(text)
    model.load_weights(path)
    return model


def renumber(config, numbers):
    """The configuration with its shared objects numbered from 0: Keras takes their addresses."""
    if isinstance(config, list):
        return [renumber(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers)) if key == "shared_object_id"
        else renumber(value, numbers)
        for key, value in config.items()
    }


def repack(path):
    """Makes a `.keras` small and the same on every run: compressed, with fixed dates."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in entries:
            if name == "metadata.json":
                metadata = json.loads(data)
                metadata["date_saved"] = DATE_SAVED
                data = json.dumps(metadata).encode()
            elif name == "config.json":
                data = json.dumps(renumber(json.loads(data), {})).encode()
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
    Path(path).write_bytes(packed.getvalue())
