"""The live comparison of ONNX: models by every exporter that is installed, run by ONNX Runtime and by ifco.

    python compare/live_onnx.py --ifco target/release/ifco [--models 60] [--seed N] [--keep DIR]

Five kinds of models, an equal share of `--models` each but for the first, which are all there are:

- ONNX's own backend cases of LSTM, GRU and RNN, with the answers that come with them;
- one random recurrent operator with random attributes, inputs, opset and layout;
- random models that Keras exports (tf2onnx);
- the other way round: random models of Keras that `ifco convert` saves as ONNX, run by ONNX Runtime with another
  batch and time than ifco checked them with;
- random models that PyTorch exports, by both of its exporters. Skipped where torch is not installed, which takes
  4 GB (torch-requirements.txt).

An output agrees when |difference| <= 1e-5 + 1e-4 * |expected|. Prints a line for each model that does not agree,
for each kind how many passed and failed; the exit code is other than 0 if any failed.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ABSOLUTE, RELATIVE = 1e-5, 1e-4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
KINDS = ("backend", "operator", "keras", "saved", "torch")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ifco", required=True, type=Path, help="the ifco command")
    parser.add_argument("--models", type=int, default=60, help="how many random models to draw")
    parser.add_argument("--seed", type=int, default=None, help="default: from the time")
    parser.add_argument("--keep", type=Path, help="keep the files of what failed")
    parser.add_argument("--only", choices=KINDS, help="the models of one kind")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = int(time.time()) % 1_000_000
    if args.only is None:
        # TensorFlow and PyTorch do not go together in one process.
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--seed", str(args.seed)]
        codes = [subprocess.call([*command, "--only", kind]) for kind in KINDS]
        sys.exit(max(codes))
    makers = {"backend": backend, "operator": operator, "keras": keras_models, "saved": keras_files,
              "torch": torch_models}
    passed = failed = 0
    begun = time.time()
    for name, model, inputs, expected in makers[args.only](args.models // 4, args.seed):
        check = compare_saved if args.only == "saved" else compare
        wrong = check(args, name, model, inputs, expected)
        if wrong:
            failed += 1
            print(f"FAILED: {args.only} {name}, seed {args.seed}: {wrong}", flush=True)
        else:
            passed += 1
    print(f"{args.only}, seed {args.seed}: {passed} passed, {failed} failed, {time.time() - begun:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


def answers(model, inputs):
    """What ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, inputs)


def compare(args, name, model, inputs, expected):
    """What is wrong with ifco's answer; None if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        onnx.save(model, folder / "model.onnx")
        np.savez(folder / "x.npz", **inputs)
        command = [args.ifco, "predict", "model.onnx", "x.npz", "-o", "y.npz"]
        run = subprocess.run([str(part) for part in (command[0].resolve(), *command[1:])], cwd=folder,
                             capture_output=True, text=True)
        wrong = None
        if run.returncode != 0:
            wrong = run.stderr.strip().split("\n")[0]
        else:
            with np.load(folder / "y.npz") as found:
                wrong = difference([output.name for output in model.graph.output], found, expected)
        return kept(args, name, folder, wrong)


def compare_saved(args, name, model, inputs, expected):
    """What is wrong with what ONNX Runtime computes of a model that ifco saved."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model.save(folder / "model.keras")
        command = [str(args.ifco.resolve()), "convert", "model.keras", "model.onnx"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if run.returncode != 0:
            wrong = run.stderr.strip().split("\n")[0]
        else:
            saved = onnx.load(folder / "model.onnx")
            onnx.checker.check_model(saved, full_check=True)
            given = dict(zip((value.name for value in saved.graph.input), inputs))
            names = [value.name for value in saved.graph.output]
            wrong = difference(names, dict(zip(names, answers(saved, given))), expected)
        return kept(args, name, folder, wrong)


def kept(args, name, folder, wrong):
    """What is wrong, its files kept where somebody wants them."""
    if wrong and args.keep:
        target = args.keep / name
        target.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            file.rename(target / file.name)
    return wrong


def difference(names, found, expected):
    for name, value in zip(names, expected):
        if name not in found:
            return f"no output {name!r}"
        if found[name].shape != value.shape:
            return f"{name!r} is {found[name].shape} instead of {value.shape}"
        apart = np.abs(found[name] - value)
        if not (apart <= ABSOLUTE + RELATIVE * np.abs(value)).all():
            return f"{name!r} differs by {apart.max():.3g}"
    return None


def backend(_count, _seed):
    """ONNX's own cases of the three operators."""
    from onnx.backend.test.case.node import collect_testcases
    for case in collect_testcases():
        if case.model is None or case.model.graph.node[0].op_type not in GATES:
            continue
        node = case.model.graph.node[0]
        given, expected = case.data_sets[0]
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        # Its weights are inputs there; ifco takes them as known.
        inputs = {}
        for value, array in zip(list(model.graph.input), given):
            if list(node.input).index(value.name) in (1, 2, 3, 7):
                model.graph.initializer.append(numpy_helper.from_array(array, value.name))
                model.graph.input.remove(value)
            else:
                inputs[value.name] = array
        yield case.name, model, inputs, expected


def operator(count, seed):
    """One operator with whatever attributes and inputs chance gives it."""
    for number in range(count):
        rng = np.random.default_rng([seed, 1, number])
        op = str(rng.choice(["LSTM", "LSTM", "GRU", "RNN"]))
        direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
        dirs = 2 if direction == "bidirectional" else 1
        batch, time_, features, units = (int(size) for size in rng.integers(1, (5, 9, 6, 7)))
        gates = GATES[op]

        def array(*shape):
            return rng.normal(0, 0.6, shape).astype(np.float32)

        def some():
            return rng.random() < 0.5

        weights = {"W": array(dirs, gates * units, features), "R": array(dirs, gates * units, units)}
        inputs, names = {"X": array(time_, batch, features)}, ["X", "W", "R"]
        names.append("B" if some() else "")
        if names[-1]:
            weights["B"] = array(dirs, 2 * gates * units)
        names.append("lens" if some() else "")
        if names[-1]:
            inputs["lens"] = rng.integers(1, time_ + 1, batch).astype(np.int32)
            # ONNX Runtime answers nothing sensible for what is behind the longest.
            inputs["lens"][rng.integers(batch)] = time_
        for key in ("h", "c")[:2 if op == "LSTM" else 1]:
            names.append(key if some() else "")
            if names[-1]:
                inputs[key] = array(dirs, batch, units)
        attributes = {"hidden_size": units, "direction": direction}
        if op == "LSTM":
            names.append("P" if some() else "")
            if names[-1]:
                weights["P"] = array(dirs, 3 * units)
            if some():
                attributes["input_forget"] = 1
        if some():
            attributes["clip"] = float(rng.uniform(0.2, 2))
        while not names[-1]:
            names.pop()
        if op == "GRU":
            attributes["linear_before_reset"] = int(some())
        if some():
            attributes |= activations(rng, op, dirs)
        outputs = ["Y", "Y_h", "Y_c"][:3 if op == "LSTM" else 2]
        node = helper.make_node(op, names, outputs, **attributes)
        kind = {"lens": TensorProto.INT32}
        ins = [helper.make_tensor_value_info(n, kind.get(n, TensorProto.FLOAT), [None] * v.ndim)
               for n, v in inputs.items()]
        outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * (4 if n == "Y" else 3))
                for n in outputs]
        held = [numpy_helper.from_array(value, key) for key, value in weights.items()]
        graph = helper.make_graph([node], "g", ins, outs, held)
        opset = helper.make_opsetid("", int(rng.integers(14, 23)))
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        yield f"{op}_{direction}_{number}", model, inputs, answers(model, inputs)


def activations(rng, op, dirs):
    """Names, with alpha and beta for those that take any."""
    def draw(names):
        return str(rng.choice(names))

    alpha, beta, chosen = [], [], []
    for _ in range(dirs):
        of = {"LSTM": 2, "GRU": 2, "RNN": 1}[op]
        gate = [draw(["Sigmoid", "HardSigmoid"])] if of == 2 else []
        own = draw(["Tanh", "Relu", "Softsign", "Softplus", "LeakyRelu", "Elu", "ThresholdedRelu", "Affine",
                    "ScaledTanh", "HardSigmoid"])
        names = gate + [own] * (2 if op == "LSTM" else 1)
        for name in names:
            if name in ("LeakyRelu", "Elu", "ThresholdedRelu", "Affine", "ScaledTanh", "HardSigmoid"):
                alpha.append(float(rng.uniform(0.1, 0.9)))
            if name in ("Affine", "ScaledTanh", "HardSigmoid"):
                beta.append(float(rng.uniform(0.1, 0.9)))
        chosen += names
    found = {"activations": chosen}
    if alpha:
        found["activation_alpha"] = alpha
    if beta:
        found["activation_beta"] = beta
    return found


def randomized(weights, rng):
    """Random values for all of them: none hides behind an initial 0 or 1."""
    return [rng.uniform(0.3, 1.2, w.shape) if "variance" in n else rng.normal(0, 0.4, w.shape) for n, w in weights]


def keras_models(count, seed):
    """Models as Keras exports them."""
    if not all(importlib.util.find_spec(name) for name in ("keras", "tf2onnx")):
        print("skipped: keras and tf2onnx are not installed")
        return
    for name, model, value in drawn(count, [seed, 2], exportable=True):
        model(value)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            model.export(path, format="onnx", verbose=False)
            exported = onnx.load(path)
        inputs = {exported.graph.input[0].name: value}
        yield name, exported, inputs, answers(exported, inputs)


def keras_files(count, seed):
    """Models of Keras, and what Keras itself answers."""
    if not importlib.util.find_spec("keras"):
        print("skipped: keras is not installed")
        return
    for name, model, value in drawn(count, [seed, 4], exportable=False):
        expected = model.predict(value, verbose=0)
        yield name, model, [value], expected if isinstance(expected, list) else [expected]


def drawn(count, seed, exportable):
    """An LSTM or several, alone or in both directions, with what stands around one in Keras; other cells and gates
    too, which Keras exports as loops, where the model need not be exportable."""
    import keras
    layers = keras.layers
    for number in range(count):
        rng = np.random.default_rng([*seed, number])

        def some(p=0.5):
            return rng.random() < p

        # tf2onnx writes an operator for gelu that ONNX does not have.
        functions = ["relu", "tanh", "linear", "softmax", "elu"] + ([] if exportable else ["gelu", "silu"])
        words = some(0.3)
        x = keras.Input((None,), dtype="int32") if words else keras.Input((None, 3))
        y = layers.Embedding(11, 4)(x) if words else x
        stack = int(rng.integers(1, 4))
        for level in range(stack):
            sequences = level + 1 < stack or some()
            kind, options = layers.LSTM, {}
            if not exportable:
                kind = [layers.LSTM, layers.GRU, layers.SimpleRNN][int(rng.integers(3))]
                options["activation"] = str(rng.choice(["tanh", "relu", "softsign", "elu"]))
                if kind is not layers.SimpleRNN:
                    options["recurrent_activation"] = str(rng.choice(["sigmoid", "hard_sigmoid"]))
                if kind is layers.GRU:
                    options["reset_after"] = some()
            lstm = kind(int(rng.integers(1, 7)), return_sequences=sequences,
                        use_bias=some(0.8), go_backwards=some(0.15), **options)
            if not lstm.go_backwards and some(0.3):
                lstm = layers.Bidirectional(lstm, merge_mode=str(rng.choice(["concat", "sum", "ave"])))
            y = lstm(y)
            if some(0.3):
                y = layers.LayerNormalization()(y) if some() else layers.BatchNormalization()(y)
        for _ in range(int(rng.integers(0, 3))):
            y = layers.Dense(int(rng.integers(1, 6)), activation=str(rng.choice(functions)))(y)
        if len(y.shape) == 3 and some():
            y = layers.GlobalAveragePooling1D()(y) if some() else layers.GlobalMaxPooling1D()(y)
        model = keras.Model(x, y)
        model.set_weights(randomized([(w.name, w) for w in model.weights], rng))
        shape = (int(rng.integers(1, 5)), int(rng.integers(2, 9)))
        value = rng.integers(0, 11, shape).astype(np.int32) if words else rng.normal(size=(*shape, 3)).astype(np.float32)
        yield f"keras_{number}", model, value


def torch_models(count, seed):
    """nn.LSTM, nn.GRU and nn.RNN of any shape, by both exporters."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "onnxscript")):
        print("skipped: torch and onnxscript are not installed (4 GB)")
        return
    import contextlib
    import io
    import logging

    import torch
    from torch import nn
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)

    class Net(nn.Module):
        def __init__(self, rng):
            super().__init__()
            self.kind = str(rng.choice(["LSTM", "LSTM", "GRU", "RNN"]))
            both = bool(rng.random() < 0.4)
            self.first = bool(rng.random() < 0.7)
            units = int(rng.integers(1, 7))
            self.rnn = getattr(nn, self.kind)(3, units, int(rng.integers(1, 3)), batch_first=self.first,
                                              bidirectional=both, bias=bool(rng.random() < 0.8))
            width = units * (2 if both else 1)
            self.norm = nn.LayerNorm(width) if rng.random() < 0.3 else nn.Identity()
            self.dense = nn.Linear(width, 2)
            self.after = [torch.tanh, torch.relu, nn.functional.gelu][int(rng.integers(3))]
            self.take = str(rng.choice(["all", "last", "mean", "max"]))

        def forward(self, x):
            y = self.norm(self.rnn(x)[0])
            time = 1 if self.first else 0
            if self.take == "last":
                y = y.select(time, -1)
            elif self.take == "mean":
                y = y.mean(time)
            elif self.take == "max":
                y = y.max(time).values
            return self.after(self.dense(y))

    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        torch.manual_seed(int(rng.integers(1 << 30)))
        net = Net(rng).eval()
        x = torch.randn(int(rng.integers(2, 5)), int(rng.integers(2, 9)), 3)
        dynamo = bool(number % 2)
        if dynamo:
            options = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},), "external_data": False}
        else:
            options = {"dynamic_axes": {"x": {0: "a", 1: "b"}}}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder) / "model.onnx"
            try:
                torch.onnx.export(net, (x,), path, input_names=["x"], dynamo=dynamo, verbose=False, **options)
            except Exception:  # PyTorch's own exporters do not take everything
                continue
            exported = onnx.load(path)
        if any(node.op_type == "SplitToSequence" for node in exported.graph.node):
            continue  # an RNN, step by step, where the new exporter has no operator for it
        inputs = {"x": x.numpy()}
        yield f"torch_{number}_{'dynamo' if dynamo else 'script'}", exported, inputs, answers(exported, inputs)


if __name__ == "__main__":
    main()
