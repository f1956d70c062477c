"""What is measured: the grid, the steps of a stream, the small model, the reduced precisions,
steps of training."""

import fnmatch
import json
from dataclasses import asdict, dataclass


# Rows of the trained model's embedding, and its classes.
WORDS = 10_000


@dataclass(frozen=True)
class Case:
    """One row of a table; `what` is `sequence`, `step`, `model`, `train` or `train-model`."""

    name: str
    group: str
    batch: int
    time: int
    features: int
    units: int
    kind: str = "lstm"
    what: str = "sequence"
    bidirectional: bool = False

    @property
    def gates(self):
        return 3 if self.kind == "gru" else 4

    @property
    def directions(self):
        return 2 if self.bidirectional else 1

    @property
    def flops(self):
        """Of one call: the matrix products, 2 for each weight and row; of a training step those
        forward and those for the gradients, though not by what no weight comes before."""
        if self.what == "train":
            of_x, of_h = self.gates * self.units * self.features, self.gates * self.units**2
            return 2 * self.batch * self.time * (2 * of_x + 3 * of_h)
        if self.what == "train-model":
            of_first = self.gates * self.units * (self.features + self.units)
            of_second, dense = self.gates * self.units * 2 * self.units, self.units * WORDS
            return 2 * self.batch * self.time * 3 * (of_first + of_second + dense)
        if self.what == "step":
            return 2 * self.gates * self.units * (1 + self.units) + 2 * self.units
        weights = self.gates * self.units * (self.features + self.units)
        return 2 * weights * self.batch * self.time * self.directions

    def json(self):
        return json.dumps(asdict(self), indent=1)


def _sequence(batch, time, features, units, group="grid", kind="lstm", bidirectional=False):
    prefix = "bi" + kind if bidirectional else kind
    if group == "precision":
        prefix = "precision"
    name = f"{prefix}-{batch}x{time}x{features}x{units}"
    return Case(name, group, batch, time, features, units, kind, "sequence", bidirectional)


GRID = [
    _sequence(1, 100, 32, 32),
    _sequence(1, 100, 64, 64),
    _sequence(1, 100, 128, 128),
    _sequence(1, 100, 256, 256),
    _sequence(1, 100, 512, 512),
    _sequence(1, 50, 1024, 1024),
    _sequence(8, 100, 128, 128),
    _sequence(32, 100, 64, 64),
    _sequence(32, 100, 128, 128),
    _sequence(32, 100, 256, 256),
    _sequence(32, 50, 512, 512),
    _sequence(64, 25, 1024, 1024),
    _sequence(128, 32, 32, 64),
    _sequence(256, 20, 128, 128),
    _sequence(32, 100, 39, 100),
    _sequence(1, 1000, 1, 24),
    _sequence(16, 60, 128, 128, bidirectional=True),
    _sequence(32, 100, 128, 128, kind="gru"),
]

# `time` is how long the compared stream is; a call is one step.
STEPS = [
    Case(f"step-{units}", "step", 1, 100, 1, units, what="step")
    for units in (8, 16, 24, 32, 40, 64)
]

MODEL = [Case("small-model", "model", 1, 100, 64, 64, what="model")]

PRECISION = [
    _sequence(batch, 50, units, units, group="precision")
    for batch in (1, 32)
    for units in (256, 512, 1024)
]

TRAIN = [
    Case(f"train-{batch}x{time}x{units}x{units}", "train", batch, time, units, units, what="train")
    for batch, time, units in (
        (32, 100, 64),
        (32, 100, 128),
        (32, 100, 256),
        (64, 50, 512),
        (1, 100, 128),
    )
] + [Case("train-model", "train", 32, 35, 128, 256, what="train-model")]

ALL = GRID + STEPS + MODEL + PRECISION + TRAIN


def select(patterns):
    """The cases whose group or name one of the patterns matches, in their own order.

    Raises `ValueError` when a pattern matches none.
    """
    chosen = set()
    for pattern in patterns:
        found = [
            case
            for case in ALL
            if pattern in ("all", case.group) or fnmatch.fnmatch(case.name, pattern)
        ]
        if not found:
            raise ValueError(
                f"no case {pattern!r}; there are the groups all, grid, step, model, precision, train"
                f" and the names {', '.join(case.name for case in ALL)}"
            )
        chosen.update(found)
    return [case for case in ALL if case in chosen]
