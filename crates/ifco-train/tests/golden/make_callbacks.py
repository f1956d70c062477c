"""Makes callbacks.json: what Keras 3's callbacks do over recorded epochs, their files, and event
records as TensorFlow writes them. Needs keras and tensorflow."""

from common import HERE, write
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import callbacks as C
from tensorflow.core.util import event_pb2

rng = np.random.default_rng(4)
CASES = []


class Model:
    """What callbacks look at of a model."""

    def __init__(self, rate=0.1):
        self.stop_training = False
        self.optimizer = keras.optimizers.SGD(rate)
        self.metrics = []
        self.saved = []
        self.kept = []

    def get_weights(self):
        self.kept.append(self.epoch)
        return []

    def set_weights(self, weights):
        pass

    def save(self, path, overwrite):
        self.saved.append(Path(path).name)


def sequence(n, noise=0.1, fall=0.8):
    values = [float(np.float32(fall**k + noise * rng.normal())) for k in range(n)]
    return values


def run(kind, options, values, name="val_loss", **more):
    callback = getattr(C, kind)(**options, **more)
    model = Model()
    callback.set_model(model)
    callback.on_train_begin()
    stops, rates, saved = [], [], []
    for epoch, value in enumerate(values):
        model.epoch = epoch
        before = len(model.saved)
        logs = {} if value is None else {name: value, "loss": 2 * value}
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
        stops.append(model.stop_training)
        rates.append(float(model.optimizer.learning_rate.numpy()))
        saved.append(model.saved[-1] if len(model.saved) > before else None)
        if model.stop_training:
            break
    entry = {"kind": kind, "options": options, "values": values[:len(stops)]}
    if kind == "EarlyStopping":
        entry |= {"stops": stops, "kept": model.kept, "best_epoch": callback.best_epoch}
    elif kind == "ReduceLROnPlateau":
        entry |= {"rates": rates}
    else:
        entry |= {"saved": saved}
    CASES.append(entry)


for options in [{"patience": 0}, {"patience": 2}, {"patience": 3, "min_delta": 0.05},
                {"patience": 2, "baseline": 0.5}, {"patience": 3, "baseline": 0.01},
                {"patience": 2, "start_from_epoch": 4}, {"patience": 2, "mode": "max"}]:
    for values in [sequence(20), sequence(20, 0.02), [1.0] * 6, [1.0, float("nan"), 0.5, 0.6, 0.7, 0.8],
                   [None, 0.5, None, 0.6, 0.7, 0.8]]:
        values = [("nan" if v != v else v) if v is not None else None for v in values]
        given = [float(v) if v == "nan" else v for v in values]
        run("EarlyStopping", options, given, restore_best_weights=True)
        CASES[-1]["values"] = values[:len(CASES[-1]["stops"])]
for options in [{"patience": 1, "factor": 0.5}, {"patience": 2, "factor": 0.1, "cooldown": 2},
                {"patience": 1, "factor": 0.5, "min_lr": 0.02, "min_delta": 0.05},
                {"patience": 0, "factor": 0.3}, {"patience": 2, "factor": 0.5, "mode": "max"}]:
    for values in [sequence(20), sequence(20, 0.02), [1.0] * 10]:
        run("ReduceLROnPlateau", options, values)
for options in [{"filepath": "{epoch:02d}-{val_loss:.3f}.keras"},
                {"filepath": "best-{epoch}.keras", "save_best_only": True},
                {"filepath": "{epoch:4d}{loss:08.2f}.keras", "save_best_only": True, "mode": "max"},
                {"filepath": "{epoch}.keras", "save_best_only": True, "initial_value_threshold": 0.5}]:
    run("ModelCheckpoint", options, sequence(12))

# Batches, over epochs of different lengths.
callback = C.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=5)
model = Model()
callback.set_model(model)
saved = []
lengths = [7, 7, 3, 12]
for epoch, length in enumerate(lengths):
    callback.on_epoch_begin(epoch)
    for batch in range(length):
        before = len(model.saved)
        callback.on_train_batch_end(batch, {"loss": 1.0})
        saved.append(model.saved[-1] if len(model.saved) > before else None)
CASES.append({"kind": "batches", "lengths": lengths, "saved": saved})

for about, epochs in [
    ("validated", [{"loss": 0.5, "val_loss": 1e-5, "accuracy": float(np.float32(0.1))},
                   {"loss": 0.25, "val_loss": 1.0, "accuracy": 1.0}]),
    ("not validated", [{"loss": 0.5}, {"loss": float("inf")}]),
    ("validated every other", [{"loss": 0.5, "val_loss": 2.0}, {"loss": 123456789.0}]),
]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        callback = C.CSVLogger(str(path))
        callback.on_train_begin()
        for epoch, logs in enumerate(epochs):
            callback.on_epoch_end(epoch, logs)
        callback.on_train_end()
        text = path.read_bytes().decode()
    epochs = [{k: str(v) if v - v != 0 else v for k, v in e.items()} for e in epochs]
    CASES.append({"kind": "CSVLogger", "epochs": epochs, "text": text})

with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "events")
    events = [event_pb2.Event(wall_time=1.5, file_version="brain.Event:2")]
    scalars = [("epoch_loss", 0, 0.5), ("epoch_loss", 1, 0.25), ("epoch_accuracy", 300, 1.0)]
    for tag, step, value in scalars:
        event = event_pb2.Event(wall_time=2.5, step=step)
        event.summary.value.add(tag=tag, simple_value=value)
        events.append(event)
    with tf.io.TFRecordWriter(path) as writer:
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))
    CASES.append({"kind": "events", "scalars": scalars, "bytes": Path(path).read_bytes().hex()})

write("callbacks.json", CASES)
