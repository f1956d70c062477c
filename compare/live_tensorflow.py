"""Random models of Keras 2 as TensorFlow's SavedModels and checkpoints, run by ifco.

    python compare/live_tensorflow.py --ifco target/release/ifco [--models 12] [--seed 1] [--only K]

Model K is saved by `model.save(folder)`, `model.save_weights(prefix)` or `tf.train.Checkpoint(model=model)`, in turn;
`ifco predict` opens it, of weights with the architecture's JSON beside, and an output agrees when
|difference| <= 1e-5 + 1e-4 * |Keras's|. A checkpoint is named by its folder, its prefix or its index.
"""

import argparse
import sys
import tempfile
import time
import zlib
from pathlib import Path

import frameworks as fw
import numpy as np
import tensorflow as tf
from case import ATTEMPTS, Failed, Redraw, answers_of, read_back, run_ifco, steady, worst
from draw import draw

TOLERANCE = 1e-5, 1e-4
KINDS = ("saved_model", "weights", "checkpoint")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ifco", required=True, type=Path, help="the ifco command")
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the one model of this number")
    args = parser.parse_args()
    fw.Recurrence.plain = True
    begun, passed, failed, largest_of_all = time.time(), 0, 0, 0.0
    for number in [args.only] if args.only is not None else range(args.models):
        with tempfile.TemporaryDirectory() as directory:
            kind, largest, problem = compare(args, number, Path(directory))
        passed, failed = passed + (not problem), failed + bool(problem)
        largest_of_all = max(largest_of_all, largest)
        if problem:
            print(f"model {number}, {kind}: {problem}", flush=True)
    print(f"{time.time() - begun:.0f} s; largest difference {largest_of_all:.1e}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def compare(args, number, directory):
    """Which kind of file, the largest difference, and what is wrong."""
    k = fw.FRAMEWORKS["keras2"]
    kind = KINDS[number % len(KINDS)]
    reason = None
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([args.seed, number, attempt, zlib.crc32(b"tensorflow")])
        k.backend.clear_session()
        k.utils.set_random_seed(1)
        try:
            drawn = draw(k, "keras2", rng, number, gentle=attempt % 2 == 1)
            fw.randomize(drawn.model, rng)
            saved = save(drawn.model, directory / str(attempt), kind, rng)
            answers = answers_of(drawn.model, drawn)
            if steady(drawn, answers, rng):
                break
            reason = Redraw("the numbers leave what floats can compare")
        except Exception as error:  # noqa: BLE001 - whatever the framework refuses
            reason = error
    else:
        raise RuntimeError(f"model {number}: nothing could be drawn: {reason}") from reason
    try:
        found = run_ifco(args.ifco.resolve(), drawn, directory / str(attempt), saved, rng)
    except Failed as error:
        return kind, 0.0, str(error)
    largest, excess, what = worst(answers, found, TOLERANCE)
    if excess > 1 and kind == "saved_model":
        # What a file does not hold, nobody can read from it.
        again = read_back(k, drawn, directory / str(attempt), saved)
        if again is not None:
            largest, excess, what = worst(again, found, TOLERANCE)
    return kind, largest, what if excess > 1 else None


def save(model, directory, kind, rng):
    """Writes the model; what to open of it, and its architecture or None."""
    directory.mkdir()
    if kind == "saved_model":
        model.save(str(directory / "model"), save_format="tf")
        return "model", None
    (directory / "model.json").write_text(model.to_json())
    if kind == "weights":
        prefix = "weights/ckpt"
        model.save_weights(str(directory / prefix))
    else:
        path = tf.train.Checkpoint(step=tf.Variable(3), net=model).save(str(directory / "train/ckpt"))
        prefix = str(Path(path).relative_to(directory))
    folder = prefix.split("/")[0]
    return [folder, prefix, f"{prefix}.index"][rng.integers(3)], "model.json"


if __name__ == "__main__":
    sys.exit(main())
