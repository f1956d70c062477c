"""A worker of the bench in Python: `worker.py PEER [VARIANT]`; see the protocol in README.md.

A peer is a module beside this one with `load(case, variant)`, which returns an object with
`call()`, what is timed, and `output()`, the same work's result for the comparison.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

# Calls shorter than this (seconds) are timed in batches, as the clock itself costs time.
SAMPLE = 50e-6


class Skip(Exception):
    """A case that this peer has no way to run: reported, but as no failure."""


class Case:
    """A case and its arrays, in Keras's layout."""

    def __init__(self, folder, threads):
        self.folder = Path(folder)
        self.threads = threads
        for name, value in json.loads((self.folder / "case.json").read_text()).items():
            setattr(self, name, value)
        self.gates = 3 if self.kind == "gru" else 4
        self.prefixes = ["", "backward_"] if self.bidirectional else [""]

    def array(self, name, *shape):
        return np.fromfile(self.folder / f"{name}.f32", np.float32).reshape(*shape)

    def tokens(self):
        return self.indices("tokens")

    def indices(self, name):
        return np.fromfile(self.folder / f"{name}.i32", np.int32)

    def all_weights(self):
        """Of what is trained, in Keras's order: `train` a layer's, `train-model` a model's."""
        first, units = self.weights(), self.units
        if self.what == "train":
            return first
        second = [
            self.array("second_kernel", units, 4 * units),
            self.array("second_recurrent_kernel", units, 4 * units),
            self.array("second_bias", 4 * units),
        ]
        dense = [self.array("dense_kernel", units, -1), self.array("dense_bias", -1)]
        return [self.embedding(), *first, *second, *dense]

    def input(self):
        """`(batch, time, features)`; of a step, all the stream's inputs."""
        return self.array("input", self.batch, self.time, self.features)

    def weights(self, prefix=""):
        """`kernel`, `recurrent_kernel` and `bias`, the last of a GRU `(2, 3 · units)`."""
        columns = self.gates * self.units
        bias = (2, columns) if self.kind == "gru" else (columns,)
        return [
            self.array(prefix + "kernel", self.features, columns),
            self.array(prefix + "recurrent_kernel", self.units, columns),
            self.array(prefix + "bias", *bias),
        ]

    def dense(self):
        return [self.array("dense_kernel", self.units, 1), self.array("dense_bias", 1)]

    def batch_of_training(self):
        """What goes in and what is wanted."""
        if self.what == "train":
            return self.input(), self.array("target", self.batch, self.time, self.units)
        shape = (self.batch, self.time)
        return self.tokens().reshape(shape), self.indices("labels").reshape(shape)

    def embedding(self):
        return self.array("embedding", -1, self.features)

    def from_onnx(self, output):
        """`(batch, time, directions · units)` from `(time, directions, batch, units)`."""
        return output.transpose(2, 0, 1, 3).reshape(self.batch, self.time, -1)


def measure(call, seconds):
    """Nanoseconds a call, sampled for that long."""
    clock = time.perf_counter
    start, count, batch = clock(), 1, 0.0
    while clock() - start < seconds / 10 or batch < SAMPLE:
        if 0.0 < batch < SAMPLE:
            count *= 2
        begin = clock()
        for _ in range(count):
            call()
        batch = clock() - begin
    if batch >= seconds:
        return [batch / count * 1e9]
    samples, start = [], clock()
    while clock() - start < seconds:
        begin = clock()
        for _ in range(count):
            call()
        samples.append((clock() - begin) / count * 1e9)
    return samples


def main():
    # What a framework prints goes to the log, not among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = importlib.import_module(sys.argv[1])
    variant = sys.argv[2] if len(sys.argv) > 2 else None
    run = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = {"ok": True}
            if request["do"] == "load":
                run = None
                run = peer.load(Case(request["folder"], request["threads"]), variant)
            elif request["do"] == "output":
                np.asarray(run.output(), np.float32).tofile(request["to"])
            elif request["do"] == "time":
                answer["ns"] = measure(run.call, request["seconds"])
            else:
                answer = {"ok": False, "error": f"unknown request {request['do']!r}"}
        except Skip as skip:
            answer = {"ok": False, "skip": str(skip)}
        except Exception as error:
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    # The peers import this module by its name: they must find these very classes.
    sys.modules["worker"] = sys.modules["__main__"]
    main()
