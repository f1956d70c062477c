"""One case of the live comparison: draw, save, let Keras predict, let ifco predict, compare."""

import json
import subprocess
import zlib

import frameworks as fw
import numpy as np
from draw import Redraw, draw

ATTEMPTS = 60


def compare(generation, seed, number, ifco, directory, tolerance):
    """What came of case `number`: a dictionary for one JSON line."""
    k = fw.FRAMEWORKS[generation]
    # Most without the compilation of graphs, every eighth as users run it.
    as_users = number % 16 < 2
    fw.Recurrence.plain = not as_users
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt, zlib.crc32(generation.encode())])
        k.backend.clear_session()
        k.utils.set_random_seed(1)
        try:
            drawn = draw(k, generation, rng, number // 2, gentle=attempt % 2 == 1)
            fw.randomize(drawn.model, rng)
            kinds = fw.KINDS_OF[generation]
            kind = kinds[int(rng.integers(len(kinds)))]
            saved = fw.save(drawn.model, directory, f"case{attempt}", kind)
            answers = answers_of(drawn.model, drawn, as_users)
            if not steady(drawn, answers, rng):
                raise Redraw("the numbers leave what floats can compare")
            break
        except Exception as error:  # noqa: BLE001 - whatever the framework refuses
            reason = error
    else:
        raise RuntimeError(f"case {number}: nothing could be drawn: {reason}") from reason

    result = {
        "number": number, "generation": generation, "kind": kind, "shape": drawn.shape,
        "required": drawn.required, "layers": sorted(classes(drawn.model)), "passed": False,
        "unread": 0, "as_read_back": 0, "row_by_row": 0, "largest": 0.0,
    }
    if number % 10 < 2:
        again = read_back(k, drawn, directory, saved)
        result["unread"] = int(again is None)
        if again is not None and worst(answers, again, tolerance)[1] > 1:
            answers, result["as_read_back"] = again, 1
    try:
        found = run_ifco(ifco, drawn, directory, saved, rng)
    except Failed as error:
        result["what"] = str(error)
        return result
    largest, excess, what = worst(answers, found, tolerance)
    if excess > 1 and not result["as_read_back"]:
        again = read_back(k, drawn, directory, saved)
        if again is not None and worst(again, found, tolerance)[1] <= 1:
            (largest, excess, what), result["as_read_back"] = worst(again, found, tolerance), 1
    truths = [answers]
    if excess > 1 and len(drawn.calls) == 1:
        alone = row_by_row(drawn)
        if worst(answers, alone, tolerance)[1] > 1 and worst(alone, found, tolerance)[1] <= 1:
            (largest, excess, what), result["row_by_row"] = worst(alone, found, tolerance), 1
            truths.append(alone)
    result |= {"passed": excess <= 1, "what": what,
               "largest": largest if np.isfinite(largest) else None}
    if result["passed"]:
        try:
            result["converted"] = convert(ifco, generation, drawn, directory, saved, truths,
                                          tolerance)
        except Failed as error:
            result |= {"passed": False, "what": str(error)}
    return result


def convert(ifco, generation, drawn, directory, saved, truths, tolerance):
    """Has `ifco convert` save the model in every format; each framework that shall read a file
    must find the same bits in its weights and predict the same. How many files were read.

    `truths`: what Keras answered, and where it contradicts itself also what it answers row by row.

    Files of Keras 2 become files of Keras 3, where some weights and semantics are others: there
    ifco may refuse, and the weights that it says to have changed may differ."""
    file, architecture = saved
    read = 0
    for ending in (".keras", ".h5", ".weights.h5"):
        target = directory / f"converted{ending}"
        command = [str(ifco), "convert", str(directory / file), str(target), "--json"]
        command += ["--architecture", str(directory / architecture)] if architecture else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        upgraded = generation == "keras2" and ending == ".keras"
        if done.returncode != 0:
            lines = " ".join(done.stderr.split())[:600]
            if upgraded and ("computes something else" in lines or "Keras 3" in lines):
                continue
            raise Failed(f"ifco convert to {ending} exits with {done.returncode}: {lines}")
        report = json.loads(done.stdout)
        readers = ["keras3"] if upgraded else [generation]
        if generation == "keras3" and ending == ".h5" and not any(
                "Keras 2 does not" in note for note in report["notes"]):
            readers.append("keras2")
        for reader in readers:
            try:
                if ending == ".weights.h5":
                    # Into the very model: other numbers first, so that it cannot but read.
                    model = drawn.model
                    before = model.get_weights()
                    model.set_weights([w + 1 for w in before])
                    model.load_weights(str(target))
                else:
                    model = fw.reload(fw.FRAMEWORKS[reader], directory, target.name, None)
                    before = drawn.model.get_weights()
                after = model.get_weights()
                # The very model still has the states that it came to before.
                is_used = ending == ".weights.h5" and drawn.shape == "stateful"
                found = truths[0] if is_used else answers_of(model, drawn)
            except Exception as error:  # noqa: BLE001 - whatever the framework says
                raise Failed(f"{reader} cannot read {ending} of ifco convert: {error}") from error
            if report["weights_equal"] and reader == generation:
                same = len(before) == len(after) and all(
                    np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after))
                if not same:
                    raise Failed(f"{reader} finds other weights in {ending} of ifco convert")
            if not report["notes"] or reader == generation:
                of_each = (worst(answers, found, tolerance) for answers in truths)
                _, excess, what = min(of_each, key=lambda judged: judged[1])
                if excess > 1:
                    raise Failed(f"{reader} on {ending} of ifco convert: {what}")
            read += 1
    return read


def answers_of(model, drawn, compiled=False):
    return [fw.predict(model, inputs, drawn.batch_size, compiled) for inputs in drawn.calls]


def steady(drawn, answers, rng):
    """Whether the outputs are finite and of a size at which single precision can be compared,
    and do not jump when the inputs change in their last place: a model that Keras's own rounding
    decides has no right answer."""
    for call in answers:
        for y in call:
            if y.size == 0 or not np.isfinite(y).all() or np.abs(y).max() > 1e3:
                return False
    if len(drawn.calls) > 1:
        return True
    nudged = [x * (1 + 1e-7 * rng.choice([-1, 1], x.shape)).astype("float32")
              if x.dtype == np.float32 else x for x in drawn.calls[0]]
    moved = fw.predict(drawn.model, nudged, drawn.batch_size)
    return all((np.abs(a - b) <= 5e-6 + 5e-5 * np.abs(a)).all()
               for a, b in zip(answers[0], moved))


def row_by_row(drawn):
    """What Keras answers for each row alone. Keras 3's `add` on TensorFlow takes an operand of
    shape (n, 1, 1) for a bias of n channels if another axis is n long too: with a batch of that
    size, what it answers for a row depends on the rows beside it."""
    return [fw.predict(drawn.model, inputs, 1) for inputs in drawn.calls]


def read_back(k, drawn, directory, saved):
    """What the model that Keras reads from its own file answers; None if it cannot read it."""
    try:
        return answers_of(fw.reload(k, directory, *saved), drawn)
    except Exception:  # noqa: BLE001 - Keras's own fault
        return None


class Failed(Exception):
    """ifco did not answer."""


def run_ifco(ifco, drawn, directory, saved, rng):
    """What the command answers. Several calls of one stateful model are one call on all their
    batches: the states go on from the one to the other."""
    file, architecture = saved
    rows = [len(call[0]) for call in drawn.calls]
    inputs = [np.concatenate(arrays) for arrays in zip(*drawn.calls)]
    names = fw.layer_names(drawn.model.inputs)
    if rng.random() < 0.5 and len(set(names)) == len(names):
        arrays = dict(zip(names, inputs))
    else:
        arrays = {f"x{i}": x for i, x in enumerate(inputs)}
    np.savez(directory / "input.npz", **arrays)
    command = [str(ifco), "predict", str(directory / file), str(directory / "input.npz"), "-o",
               str(directory / "output.npz"), "--batch-size", str(drawn.batch_size)]
    command += ["--architecture", str(directory / architecture)] if architecture else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise Failed("ifco ran for more than 120 s") from None
    if done.returncode != 0:
        lines = " ".join(done.stderr.split())
        raise Failed(f"ifco exits with {done.returncode}: {lines[:600]}")
    with np.load(directory / "output.npz") as file:
        outputs = [file[name] for name in file.files]
    split = np.cumsum(rows)[:-1]
    return [list(call) for call in zip(*(np.split(y, split) for y in outputs))]


def worst(expected, found, tolerance):
    """The largest absolute difference, the largest in units of the tolerance, and where it is."""
    largest, excess, what = 0.0, 0.0, "every output agrees"
    for call, (left, right) in enumerate(zip(expected, found, strict=True)):
        if len(left) != len(right):
            return np.inf, np.inf, f"{len(right)} outputs instead of {len(left)}"
        for index, (a, b) in enumerate(zip(left, right)):
            if a.shape != b.shape:
                return np.inf, np.inf, f"output {index} has shape {b.shape} instead of {a.shape}"
            difference = np.abs(a.astype("float64") - b)
            difference[~np.isfinite(difference)] = np.inf
            allowed = tolerance[0] + tolerance[1] * np.abs(a)
            largest = max(largest, float(difference.max(initial=0)))
            if (difference / allowed).max(initial=0) > excess:
                excess = float((difference / allowed).max())
                at = tuple(int(i) for i in np.unravel_index(
                    (difference / allowed).argmax(), a.shape))
                what = (f"largest difference {difference[at]:.3e} ({excess:.2f} of what is "
                        f"allowed) at call {call} output {index} {at}: Keras {a[at]:.7g}, "
                        f"ifco {b[at]:.7g}; {int((difference > allowed).sum())} of {a.size} "
                        "values differ")
    return largest, excess, what


def classes(model):
    """The classes of all layers and cells in a model, nested ones too."""
    names = set()

    def visit(layer):
        # Keras 3's graphs also hold plain operations, such as those that compute a mask.
        names.add(type(layer).__name__)
        for child in getattr(layer, "layers", None) or []:
            visit(child)
        for attribute in ("layer", "forward_layer", "backward_layer"):
            child = getattr(layer, attribute, None)
            if child is not None:
                visit(child)
        cell = getattr(layer, "cell", None)
        if cell is not None and type(layer).__name__ == "RNN":
            visit(cell)
            for child in getattr(cell, "cells", []):
                visit(child)
    visit(model)
    return names
