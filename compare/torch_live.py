"""The live comparison with PyTorch: random stacks go from PyTorch or Keras 3 through `ifco convert`
into the other framework, and both frameworks must agree.

    python compare/torch_live.py --ifco target/release/ifco [--models 40] [--seed N]

PyTorch -> .keras and .h5 -> Keras 3, and Keras 3 -> .pt and .safetensors -> PyTorch, whose
module is the Python that ifco wrote: `load_state_dict(strict=True)`, read with `weights_only=True`.
Each goes back again, and must have the same bits in its weights. Then PyTorch exports the module to
ONNX, by its old and its new exporter in turn, and ifco makes it a Keras model and a module again;
what either of the two does not take is counted, with the reason. Outputs agree when
|difference| <= 1e-5 + 1e-4 * |the first framework's|.
"""

import argparse
import collections
import contextlib
import importlib.util
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import torch

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

ABSOLUTE, RELATIVE = 1e-5, 1e-4
ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "softplus",
               "softsign", "softmax", "hard_sigmoid", "mish", "relu6"]
ENDINGS = [".pt", ".pth", ".safetensors"]


class Failed(Exception):
    pass


def draw(rng):
    """A Keras model that PyTorch has modules for, and its input."""
    layers = keras.layers
    rows = int(rng.integers(3, 12))
    steps, features = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    embeds = rng.random() < 0.3
    stack = [keras.Input((steps,) if embeds else (steps, features),
                         dtype="int32" if embeds else "float32")]
    if embeds:
        stack.append(layers.Embedding(rows, features))
    size = lambda: int(rng.integers(1, 7))
    choose = lambda items: items[int(rng.integers(len(items)))]
    used = []
    for _ in range(int(rng.integers(0, 3))):
        kind = choose(["conv", "norm", "batch", "dense", "pad", "dropout"])
        used.append(kind)
        if kind == "conv":
            same = rng.random() < 0.5
            stack.append(layers.Conv1D(size(), 3 if same else 1, padding="same" if same else "valid",
                                       activation=choose(ACTIVATIONS), use_bias=rng.random() < 0.7))
        elif kind == "pad":
            stack += [layers.ZeroPadding1D(1), layers.Conv1D(size(), 2, dilation_rate=choose([1, 2]))]
        elif kind == "norm":
            stack.append(layers.LayerNormalization(center=rng.random() < 0.7, scale=rng.random() < 0.7))
        elif kind == "batch":
            stack.append(layers.BatchNormalization(center=rng.random() < 0.7))
        elif kind == "dropout":
            stack.append(layers.Dropout(0.5))
        else:
            stack.append(layers.Dense(size(), activation=choose(ACTIVATIONS)))
    count = int(rng.integers(1, 4))
    sequence = rng.random() < 0.4
    for number in range(count):
        cell = choose(["LSTM", "GRU", "SimpleRNN", "RNN"])
        used.append(cell)
        options = {"use_bias": bool(rng.random() < 0.8)}
        if cell == "SimpleRNN" and rng.random() < 0.4:
            options["activation"] = "relu"
        returns = number + 1 < count or sequence
        if cell == "RNN":
            layer = layers.RNN(layers.LSTMCell(size(), **options), return_sequences=returns)
        else:
            layer = getattr(layers, cell)(size(), return_sequences=returns, **options)
        if cell != "RNN" and rng.random() < 0.4:
            layer = layers.Bidirectional(layer)
            used.append("both")
        stack.append(layer)
    if sequence and rng.random() < 0.6:
        stack.append(choose([layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D])())
        used.append("pool")
    if rng.random() < 0.7:
        stack.append(layers.Dense(size(), activation=choose(ACTIVATIONS)))
    model = keras.Sequential(stack)
    for weight in model.weights:
        value = rng.normal(size=weight.shape) * 0.5
        weight.assign(np.abs(value) + 0.3 if "variance" in weight.path else value)
    batch = int(rng.integers(1, 5))
    x = (rng.integers(0, rows, (batch, steps)) if embeds
         else rng.normal(size=(batch, steps, features)).astype("float32"))
    return model, x, used


def run(ifco, *arguments):
    done = subprocess.run([str(ifco), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"ifco {' '.join(map(str, arguments))}: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


def module(weights, python):
    """The module and the weights that ifco wrote."""
    spec = importlib.util.spec_from_file_location("made", python)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    model = made.Model()
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file
        state = load_file(weights)
    else:
        state = torch.load(weights, weights_only=True)
    model.load_state_dict(state, strict=True)
    return model.eval()


def in_torch(model, x):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


# What ifco says of a graph that is none of Keras's layers.
REFUSALS = ["Keras has no layer", "it takes what", "the rows that it runs are not those of the batch"]


def through_onnx(model, x, expected, dynamo, ifco, folder):
    """The module by an exporter of PyTorch, and as ifco's Keras model; what did not take it, if so."""
    x = torch.from_numpy(x)
    axes = {0: torch.export.Dim.DYNAMIC} if dynamo else {"x": {0: "batch"}}
    more = {"dynamic_shapes": (axes,), "external_data": False} if dynamo else {"dynamic_axes": axes}
    onnx = folder / "e.onnx"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            # One row would be taken for a fixed size.
            torch.onnx.export(model, (x.repeat(2, *[1] * (x.ndim - 1)),), onnx, input_names=["x"],
                              dynamo=dynamo, verbose=False, **more)
    except Exception:  # noqa: BLE001 - its exporters do not take everything
        return "PyTorch cannot export it"
    name = "dynamo" if dynamo else "TorchScript"
    np.save(folder / "x.npy", x.numpy())
    run(ifco, "predict", onnx, folder / "x.npy", "-o", folder / "y.npy")
    agree(expected, np.load(folder / "y.npy"), f"PyTorch -> ONNX by {name} -> ifco")
    try:
        run(ifco, "convert", onnx, folder / "e.keras")
    except Failed as refused:
        if not any(words in str(refused) for words in REFUSALS):
            raise
        return f"{name}: " + str(refused).split("): ")[-1].split(" in: ")[0][:90]
    agree(expected, in_keras(folder / "e.keras", x.numpy()), f"PyTorch -> ONNX by {name} -> Keras")
    return None


def in_keras(path, x):
    return np.asarray(keras.models.load_model(path, compile=False)(x))


def agree(expected, found, what):
    if expected.shape != found.shape:
        raise Failed(f"{what}: shape {found.shape} instead of {expected.shape}")
    excess = np.abs(expected - found) - (ABSOLUTE + RELATIVE * np.abs(expected))
    if not excess.max(initial=-1) <= 0:
        raise Failed(f"{what}: differs by {np.abs(expected - found).max()}")


def compare(number, seed, ifco, folder):
    rng = np.random.default_rng([seed, number])
    keras.backend.clear_session()
    model, x, used = draw(rng)
    expected = np.asarray(model(x))
    source = folder / "a.keras"
    model.save(source)
    ending = ENDINGS[number % len(ENDINGS)]
    weights, python = folder / f"b{ending}", folder / "b.py"
    run(ifco, "convert", source, weights, "--python-out", python)
    made = module(weights, python)
    agree(expected, in_torch(made, x), f"Keras -> {ending} -> PyTorch")
    # And back, for Keras, each bit as it was.
    for back in ("c.keras", "c.h5"):
        run(ifco, "convert", weights, folder / back)
        agree(expected, in_keras(folder / back, x), f"PyTorch's {ending} -> {back} -> Keras")
    again = folder / f"d{ending}"
    run(ifco, "convert", folder / "c.keras", again)
    if weights.read_bytes() != again.read_bytes():
        load = torch.load if ending != ".safetensors" else __import__(
            "safetensors.torch", fromlist=["load_file"]).load_file
        one, other = load(weights), load(again)
        same = [k for k in one if k not in other or not torch.equal(one[k], other[k])]
        if same or len(one) != len(other):
            raise Failed(f"{ending} -> .keras -> {ending}: other weights in {same}")
    return used, through_onnx(made, x, expected, number % 2 == 0, ifco, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ifco", required=True, type=Path)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    args = parser.parse_args()
    started, failed, seen, refused = time.time(), 0, set(), collections.Counter()
    numbers = range(args.models) if args.only is None else [args.only]
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            try:
                used, why = compare(number, args.seed, args.ifco.resolve(), Path(folder))
                seen |= set(used)
                refused[why or "Keras again"] += 1
            except Exception as error:  # noqa: BLE001 - whatever a framework says
                failed += 1
                print(f"FAILED: seed {args.seed} case {number}: {str(error)[:600]}", flush=True)
    print(f"{time.time() - started:.0f} s; in them: {', '.join(sorted(seen))}")
    print("by ONNX: " + "; ".join(f"{count} {why}" for why, count in refused.most_common()))
    print(f"{len(numbers) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
