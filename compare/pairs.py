"""Every pair of formats: one model goes from each into each by `ifco convert`, and the frameworks agree.

    python compare/pairs.py --ifco target/release/ifco [--seed N]

One random model for each row of MODELS is made by Keras and saved by ifco in every format that can hold it; each of
these files is then converted into every other one, and the framework of the result must answer as Keras did: Keras 3
for `.keras` and `.h5`, and for `.npz` and `.weights.json` with the architecture and the arrays in them, ONNX Runtime
for `.onnx`, PyTorch for `.pt` and `.safetensors` by the module that ifco wrote.
Where there is no PyTorch, and for RTNeural, which has no Python, ifco itself answers, and the line says so. Outputs
agree when |difference| <= 1e-5 + 1e-4 * |Keras's|. Where ifco says that the weights stay equal to the
bit, they must still be so after the way back. A model with states that go round goes through ONNX and Keras alone.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
warnings.filterwarnings("ignore")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

ABSOLUTE, RELATIVE = 1e-5, 1e-4
L = keras.layers
WHOLE = [".keras", ".h5", ".onnx", ".npz", ".weights.json"]
ALL = [*WHOLE, ".pt", ".safetensors", ".json"]
MODELS = {
    # name: the formats that hold it, its layers
    "lstm": (ALL, lambda: [L.LSTM(4, return_sequences=True), L.LSTM(3, return_sequences=True), L.Dense(2, "tanh")]),
    "gru": (ALL, lambda: [L.GRU(4, return_sequences=True), L.Dense(2)]),
    "both": (ALL[:-1], lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Bidirectional(L.GRU(3)),
                                L.Dense(2)]),
    "conv": (ALL[:-1], lambda: [L.Conv1D(4, 3, padding="same", activation="relu"), L.LSTM(4), L.LayerNormalization(),
                               L.Dense(3, "gelu"), L.Dense(2, "softmax")]),
    "rnn": (WHOLE, lambda: [L.SimpleRNN(4, go_backwards=True, return_sequences=True), L.GlobalMaxPooling1D(),
                            L.Dense(2, "silu")]),
    "ways": (WHOLE, lambda: [L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum"),
                             L.Bidirectional(L.LSTM(3), merge_mode="ave"), L.Dense(2, "mish")]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ifco", required=True, type=Path, help="the ifco command")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ifco = str(args.ifco.resolve())
    begun, passed, failed = time.time(), 0, 0
    judges = set()
    for number, (name, (formats, make)) in enumerate(MODELS.items()):
        rng = np.random.default_rng([args.seed, number])
        model = keras.Sequential([keras.Input((None, 2)), *make()])
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
        x = rng.normal(size=(3, 7, 2)).astype(np.float32)
        expected = np.asarray(model(x))
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            np.save(folder / "x.npy", x)
            model.save(folder / "first.keras")
            for source in formats:
                convert(ifco, folder, "first.keras", f"from{source}")
                for target in formats:
                    judge, wrong = pair(ifco, folder, f"from{source}", f"to{target}", x, expected)
                    judges.add(f"{target}: {judge}")
                    if wrong:
                        failed += 1
                        print(f"FAILED: {name} {source} -> {target}: {wrong}", flush=True)
                    else:
                        passed += 1
    for judge in sorted(judges):
        print(judge)
    print(f"pairs, seed {args.seed}: {passed} passed, {failed} failed, {time.time() - begun:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().split("\n")
        raise RuntimeError(next((line for line in lines if line.startswith("error")), lines[0]))
    return done.stdout


def convert(ifco, folder, source, target):
    more = ["--python-out", f"{target}.py"] if target.endswith((".pt", ".safetensors")) else []
    return run(folder, ifco, "convert", source, target, "--force", *more)


def pair(ifco, folder, source, target, x, expected):
    """Who answered, and what is wrong with the answer; None if nothing is."""
    judge = "ifco, whose predictions stand for the framework's"
    try:
        said = convert(ifco, folder, source, target)
        back = convert(ifco, folder, target, f"back{Path(source).name.removeprefix('from')}")
        if "equal to the bit" in said and "equal to the bit" not in back:
            return judge, "the weights are others after the way back"
        path = folder / target
        if target.endswith((".keras", ".h5")):
            judge, found = "Keras", np.asarray(keras.models.load_model(path, compile=False)(x))
        elif target.endswith((".npz", ".weights.json")):
            judge, found = "Keras, by the arrays", by_arrays(path, x)
        elif target.endswith(".onnx"):
            session = onnxruntime.InferenceSession(path)
            judge, found = "ONNX Runtime", session.run(None, {session.get_inputs()[0].name: x})[0]
        elif not target.endswith(".json") and importlib.util.find_spec("torch"):
            judge, found = "PyTorch", torch_answer(folder, path, x)
        else:
            run(folder, ifco, "predict", target, "x.npy", "-o", "y.npy")
            found = np.load(folder / "y.npy")
    except Exception as error:  # whatever a framework does not take is a failure of the pair
        return judge, str(error).split("\n")[0]
    if found.shape != expected.shape:
        return judge, f"{found.shape} instead of {expected.shape}"
    apart = np.abs(found - expected)
    agrees = (apart <= ABSOLUTE + RELATIVE * np.abs(expected)).all()
    return judge, None if agrees else f"differs by {apart.max():.3g}"


def by_arrays(path, x):
    """What Keras computes with the architecture and the arrays of the file."""
    if path.suffix == ".npz":
        with np.load(path) as held:
            arrays = {name: held[name] for name in held.files}
        config = arrays.pop("model_config").tobytes().decode()
    else:
        held = json.loads(path.read_text())
        arrays = {name: np.array(value, np.float32) for name, value in held["weights"].items()}
        config = json.dumps(held["model_config"])
    model = keras.models.model_from_json(config)
    model(x)
    model.set_weights(list(arrays.values()))
    return np.asarray(model(x))


def torch_answer(folder, path, x):
    import torch
    spec = importlib.util.spec_from_file_location("model", folder / f"{path.name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model().eval()
    if path.suffix == ".pt":
        weights = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file
        weights = load_file(path)
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


if __name__ == "__main__":
    main()
