"""Draws random models with a recurrent layer somewhere in them, for one framework.

A model grows from its inputs: a pool of tensors, to which one operation after the other adds an
answer. What the framework itself refuses is drawn again. Whatever no operation used in the end
becomes an output.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from operations import OPERATIONS, RECURRENT, Tools

SHAPES = ("sequential", "graph", "graph", "graph", "nested", "encoder_decoder", "stateful")


class Redraw(Exception):
    """The framework would not build or run what was drawn."""


@dataclass
class Drawn:
    """A model with the inputs of each call of `predict`."""

    model: object
    calls: list
    batch_size: int
    shape: str
    required: str


def draw(k, generation, rng, number, gentle):
    """Draws case `number`: every operation gets its turn to be in a model. `gentle` leaves out
    rows that are masked as a whole, whose mean is NaN."""
    names = [name for name, op in OPERATIONS.items() if generation in op.generations]
    required = names[number % len(names)]
    shape = str(rng.choice(SHAPES))
    if OPERATIONS[required].frames:
        # Frames have no place in the others.
        shape = str(rng.choice(["sequential", "graph", "nested"]))
    tools = Tools(k, generation, rng)
    build = {"sequential": _graph, "graph": _graph, "nested": _nested, "stateful": _stateful,
             "encoder_decoder": _encoder_decoder}[shape]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, inputs, fixed_batch = build(tools, required, shape)
    rows = int(rng.choice([1, 2, 3, 5, 7, 13, 33, 37]))
    count = 2 if shape == "stateful" else 1
    if fixed_batch:
        rows = fixed_batch * int(rng.integers(1, 4))
    calls = []
    for _ in range(count):
        calls.append([spec.values(rng, rows, gentle) for spec in inputs])
    batch_size = fixed_batch or int(rng.choice([32, 32, 32, 4, 5]))
    return Drawn(model, calls, batch_size, shape, required)


@dataclass
class InputSpec:
    """An input of a model: what values to draw for it."""

    shape: tuple
    kind: str  # "values", "masked", "tokens"
    vocabulary: int = 0
    time: int = 0

    def values(self, rng, rows, gentle):
        time = self.time
        if self.kind == "tokens":
            x = rng.integers(1, self.vocabulary, (rows, time)).astype("int32")
            _mask(rng, x, gentle)
            return x
        shape = [rows, *(time if n is None else n for n in self.shape)]
        x = rng.normal(size=shape).astype("float32")
        if self.kind == "masked":
            _mask(rng, x, gentle)
        return x


def _mask(rng, x, gentle):
    """Zeroes steps: trailing, leading, all, scattered, or none, row by row."""
    time = x.shape[1]
    for row in x:
        kind = rng.integers(0, 6)
        if kind == 0:
            row[time - int(rng.integers(0, time)):] = 0
        elif kind == 1:
            row[:int(rng.integers(0, time))] = 0
        elif kind == 2 and not gentle:
            row[:] = 0
        elif kind == 3:
            row[rng.random(time) < 0.4] = 0
            row[int(rng.integers(time))] = 1
        elif kind == 4 and time > 2:
            row[0] = row[-1] = 0


def _sequence_input(tools, batch=None, name=None, time=None):
    """An input of sequences: plain, for a Masking, or of tokens for an Embedding; returns the
    Input, its specification, and the tensor to go on from."""
    rng, k = tools.rng, tools.k
    time = time or tools.time()
    kind = str(rng.choice(["values", "masked", "masked", "tokens"]))
    known = rng.random() < 0.85 or batch is not None
    if kind == "tokens":
        vocabulary = int(rng.integers(3, 30))
        start = k.Input((time if known else None,), batch_size=batch, dtype="int32", name=name)
        layer = k.layers.Embedding(vocabulary, tools.width(), mask_zero=bool(rng.random() < 0.7))
        return start, InputSpec((time,), kind, vocabulary, time), layer
    features = tools.width()
    start = k.Input((time if known else None, features), batch_size=batch, name=name)
    layer = k.layers.Masking() if kind == "masked" else None
    return start, InputSpec((time if known else None, features), kind, time=time), layer


def _grow(tools, pool, required, steps, single=False):
    """Applies operations to the pool: `steps` of any, with `required` and a recurrent one among
    them; with `single` each takes the last one's answer and gives one tensor."""
    rng = tools.rng
    names = [n for n, op in OPERATIONS.items() if tools.generation in op.generations]
    plan = [str(rng.choice(names)) for _ in range(steps)]
    where = int(rng.integers(0, len(plan) + 1))
    plan.insert(where, required)
    if required not in RECURRENT and rng.random() < 0.9:
        plan.insert(int(rng.integers(0, len(plan) + 1)), str(rng.choice(RECURRENT)))
    done, used = set(), set()
    for name in plan:
        operation = OPERATIONS[name]
        candidates = [pool[-1]] if single else [pool[i] for i in rng.permutation(len(pool))]
        for tensor in candidates:
            if not operation.takes(tools, tensor):
                continue
            try:
                answer = operation.apply(tools, tensor, pool)
            except Exception:  # noqa: BLE001 - whatever the framework refuses
                continue
            answers = answer if isinstance(answer, (list, tuple)) else [answer]
            used.add(id(tensor))
            pool.extend(answers)
            done.add(name)
            break
    if required not in done:
        raise Redraw(f"no place for {required}")
    return used


def _graph(tools, required, shape):
    rng, k = tools.rng, tools.k
    single = shape == "sequential"
    count = 1 if single else int(rng.choice([1, 1, 2, 3]))
    starts, specs, pool = [], [], []
    shared_time = tools.time() if rng.random() < 0.6 else None
    for index in range(count):
        if index == 2:
            width = tools.width()
            start, spec, layer = k.Input((width,)), InputSpec((width,), "values"), None
        elif OPERATIONS[required].frames and index == 0:
            start, spec, layer = _frames(tools)
        else:
            start, spec, layer = _sequence_input(tools, time=shared_time)
        starts.append(start)
        specs.append(spec)
        pool.append(start if layer is None else layer(start))
    used = _grow(tools, pool, required, int(rng.integers(1, 5 if single else 6)), single)
    if single:
        return _as_sequential(tools, starts[0], pool[-1]), specs, None
    outputs = [tensor for tensor in pool if id(tensor) not in used]
    outputs = [t for t in outputs if not any(t is s for s in starts)] or [pool[-1]]
    outputs = outputs[-4:]
    model = k.Model(starts if count > 1 else starts[0],
                    outputs if len(outputs) > 1 else outputs[0])
    if len(model.inputs) != len(specs):
        raise Redraw("an input is not used")
    return model, specs, None


def _as_sequential(tools, start, end):
    """A Sequential of the layers between `start` and `end`, unless there are branches or calls
    that it cannot make."""
    k = tools.k
    model = k.Model(start, end)
    layers = [layer for layer in model.layers if not isinstance(layer, k.layers.InputLayer)]
    if tools.branched or any(not isinstance(layer, k.layers.Layer) for layer in layers):
        return model
    # The layers are used again, built as they are.
    return k.Sequential([k.Input(start.shape[1:], dtype=start.dtype), *layers])


def _frames(tools):
    rng, k = tools.rng, tools.k
    shape = (int(rng.integers(3, 7)), int(rng.integers(4, 8)), int(rng.choice([1, 2, 4])))
    return k.Input(shape), InputSpec(shape, "values"), None


def _nested(tools, required, shape):
    """A model that calls a smaller one, sometimes twice."""
    rng, k, L = tools.rng, tools.k, tools.k.layers
    frames = OPERATIONS[required].frames
    time, width = tools.time(), tools.width()
    inner_shape = _frames(tools)[1].shape if frames else (time, width)
    inner_start = k.Input(inner_shape)
    pool = [inner_start]
    used = _grow(tools, pool, required, int(rng.integers(1, 3)))
    ends = [t for t in pool if id(t) not in used and t is not inner_start] or [pool[-1]]
    inner = k.Model(inner_start, ends if len(ends) > 1 else ends[0],
                    name=f"inner_{rng.integers(100)}")
    kind = "masked" if rng.random() < 0.5 and not frames else "values"
    starts = [k.Input(inner_shape) for _ in range(int(rng.choice([1, 1, 2])))]
    outputs = []
    for start in starts:
        tensor = L.Masking()(start) if kind == "masked" else start
        if not frames and rng.random() < 0.5:
            tensor = L.LSTM(width, return_sequences=True)(tensor)
        answer = inner(tensor)
        outputs += answer if isinstance(answer, (list, tuple)) else [answer]
    outputs = [L.LSTM(tools.units())(t) if len(t.shape) == 3 and rng.random() < 0.5 else t
               for t in outputs]
    model = k.Model(starts if len(starts) > 1 else starts[0],
                    outputs if len(outputs) > 1 else outputs[0])
    return model, [InputSpec(inner_shape, kind, time=time) for _ in starts], None


def _encoder_decoder(tools, required, shape):
    """States handed from an encoder to a decoder, with the required operation after it."""
    rng, k, L = tools.rng, tools.k, tools.k.layers
    start, spec, layer = _sequence_input(tools, name="source")
    begin, target, target_layer = _sequence_input(tools, name="target")
    source = start if layer is None else layer(start)
    words = begin if target_layer is None else target_layer(begin)
    kind, units = str(rng.choice(["LSTM", "GRU", "SimpleRNN"])), tools.units()
    recurrent = getattr(L, kind)
    if rng.random() < 0.4:
        encoder = L.Bidirectional(recurrent(units, return_state=True))
        _, *states = encoder(source)
        half = len(states) // 2
        states = [L.Concatenate()([f, b]) for f, b in zip(states[:half], states[half:])]
        units *= 2
    else:
        _, *states = recurrent(units, return_state=True)(source)
    pool = [recurrent(units, return_sequences=True)(
        words, initial_state=states if len(states) > 1 else states[0])]
    _grow(tools, pool, required, int(rng.integers(0, 3)))
    model = k.Model([start, begin], [pool[0], pool[-1]] if len(pool) > 1 else pool[0])
    return model, [spec, target], None


def _stateful(tools, required, shape):
    """A Sequential with stateful layers."""
    rng, k, L = tools.rng, tools.k, tools.k.layers
    batch = int(rng.integers(1, 4))
    start, spec, layer = _sequence_input(tools, batch)
    chain = [start] + ([layer] if layer else [])
    depth = int(rng.integers(1, 4))
    for level in range(depth):
        options = {"stateful": True, "return_sequences": level < depth - 1,
                   "go_backwards": bool(rng.random() < 0.2)}
        kind = str(rng.choice(["LSTM", "LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"]))
        if kind == "RNN":
            chain.append(L.RNN([L.LSTMCell(tools.units()), L.GRUCell(tools.units())], **options))
        elif kind == "Bidirectional":
            options["go_backwards"] = False
            chain.append(L.Bidirectional(L.LSTM(tools.units(), **options)))
        else:
            chain.append(getattr(L, kind)(tools.units(), **options))
    chain.append(L.Dense(tools.units()))
    return k.Sequential(chain), [spec], batch
