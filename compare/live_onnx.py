"""The live comparison of ONNX: models by every exporter that is installed, run by ONNX Runtime and by ifco.

    python compare/live_onnx.py --ifco target/release/ifco [--models 60] [--seed N] [--keep DIR]

Seven kinds of models, an equal share of `--models` each but for the first, which are all there are:

- ONNX's own backend cases of LSTM, GRU and RNN, with the answers that come with them;
- one random recurrent operator with random attributes, inputs, opset and layout;
- a Scan or a Loop over a random step: a cell's, spelled out in one of several ways, or nearly one, which ifco must not
  take for it;
- a random layer that ONNX has no operator for (projection, clipped states, layer normalization, any activation), as
  ifco saves it;
- random models that Keras exports (tf2onnx), and those of them that `ifco convert` brings back to Keras's layers; where
  it names a node that is none (a LayerNormalization or an Embedding as some are written), it is counted;
- the other way round: random models of Keras that `ifco convert` saves as ONNX, run by ONNX Runtime with another
  batch and time than ifco checked them with;
- random models that PyTorch exports, by both of its exporters. Skipped where torch is not installed, which takes
  4 GB (torch-requirements.txt).

An output agrees when |difference| <= 1e-5 + 1e-4 * |expected|. Prints a line for each model that does not agree,
for each kind how many passed and failed; the exit code is other than 0 if any failed.
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ABSOLUTE, RELATIVE = 1e-5, 1e-4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# What ifco says of a graph that is none of Keras's layers: it names the node.
REFUSALS = ("Keras has no layer for", "it computes with the sizes of its inputs")
refused = []
KINDS = ("backend", "operator", "loop", "spelled", "keras", "saved", "torch")


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
    makers = {"backend": backend, "operator": operator, "loop": loop, "spelled": spelled, "keras": keras_models, "saved": keras_files,
              "torch": torch_models}
    passed = failed = 0
    begun = time.time()
    for name, model, inputs, expected in makers[args.only](args.models // 4, args.seed):
        check = {"saved": compare_saved, "spelled": compare_spelled}.get(args.only, compare)
        wrong = check(args, name, model, inputs, expected)
        if wrong:
            failed += 1
            print(f"FAILED: {args.only} {name}, seed {args.seed}: {wrong}", flush=True)
        else:
            passed += 1
    told = f", {len(refused)} not brought back" if args.only == "keras" else ""
    print(f"{args.only}, seed {args.seed}: {passed} passed{told}, {failed} failed, {time.time() - begun:.0f} s", flush=True)
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
        if not wrong and args.only == "keras":
            # ifco holds both models against each other, and writes nothing where they differ.
            command = [str(args.ifco.resolve()), "convert", "model.onnx", "model.keras"]
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            said = run.stderr.strip().split("\n")[0]
            if run.returncode != 0 and any(words in said for words in REFUSALS):
                refused.append(said)
            elif run.returncode != 0:
                wrong = said
            elif "equal to the bit" not in run.stdout:
                wrong = run.stdout
        return kept(args, name, folder, wrong)


def compare_spelled(args, name, held, x, config):
    """What is wrong with what ONNX Runtime computes of a layer that ifco wrote step by step."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.savez(folder / "model.npz", **held)
        np.save(folder / "x.npy", x)
        wrong = None
        for arguments in (["predict", "model.npz", "x.npy", "-o", "y.npy"], ["convert", "model.npz", "model.onnx"]):
            run = subprocess.run([str(args.ifco.resolve()), *arguments], cwd=folder, capture_output=True, text=True)
            if run.returncode != 0:
                wrong = f"{config}: {run.stderr.strip().splitlines()[0]}"
                break
            is_same = "equal to the bit" in run.stdout or "forget bias" in run.stderr
            if arguments[0] == "convert" and not is_same:
                wrong = f"{config}: {run.stdout}"
        else:
            saved = onnx.load(folder / "model.onnx")
            onnx.checker.check_model(saved, full_check=True)
            wrong = wrong or difference(["y"], {"y": answers(saved, {"x": x})[0]}, [np.load(folder / "y.npy")])
            wrong = wrong and f"{config}: {wrong}"
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


def loop(count, seed):
    """A Scan or a Loop over a step that is that of a cell, or nearly."""
    for number in range(count):
        rng = np.random.default_rng([seed, 5, number])
        batch, time_, features, units = (int(size) for size in rng.integers(1, (4, 7, 5, 5)))
        kind = str(rng.choice(["LSTM", "LSTM", "GRU", "RNN"]))
        body, held = [], {}

        def op(name, *inputs, outputs=1, **attributes):
            made = [f"v{len(body)}_{index}" for index in range(outputs)]
            body.append(helper.make_node(name, list(inputs), made, **attributes))
            return made[0] if outputs == 1 else made

        def weight(*shape):
            held[f"w{len(held)}"] = rng.normal(0, 0.6, shape).astype(np.float32)
            return f"w{len(held) - 1}"

        def some(p=0.5):
            return rng.random() < p

        def add(x, y):
            return op("Add", x, y) if some() else op("Add", y, x)

        def times(x, y):
            return op("Mul", x, y) if some() else op("Mul", y, x)

        def gates(names):
            """The sum of each, from one product or from its own."""
            if some():
                z = add(op("MatMul", "x_t", weight(features, len(names) * units)),
                        op("MatMul", "h", weight(units, len(names) * units)))
                z = add(z, weight(len(names) * units)) if some() else z
                parts = op("Split", z, outputs=len(names), axis=-1) if len(names) > 1 else [z]
                return dict(zip(names, parts))
            bias = some()
            each = {}
            for name in names:
                x = op("MatMul", "x_t", weight(features, units))
                x = add(x, weight(units)) if bias else x
                each[name] = add(x, op("MatMul", "h", weight(units, units)))
            return each

        def sigma(z):
            return op("Sigmoid", z)

        held["one"] = np.float32(1)
        # Near a cell: one of its parts in the place of another.
        wrong = some(0.4)
        if kind == "LSTM":
            z = gates(list("ifco"))
            i, f, o, g = sigma(z["i"]), sigma(z["f"]), sigma(z["o"]), op("Tanh", z["c"])
            slip = str(rng.choice(["f", "new", "shown", "peephole", "third"])) if wrong else ""
            f = op("Sub", "one", o) if slip == "f" else f
            c = add(times(f, "c"), times(i, g) if slip != "new" else times(i, "h"))
            c = add(c, "c") if slip == "third" else c
            seen = "c" if slip == "shown" else c
            if slip == "peephole":
                o = sigma(add(z["o"], times(weight(units), "h")))
            states = {"h": times(o, op("Tanh", seen)), "c": c}
        elif kind == "GRU":
            z = gates(list("zr"))
            update, reset = sigma(z["z"]), sigma(z["r"])
            slip = str(rng.choice(["rest", "kept", "gate"])) if wrong else ""
            if some():
                seen = times(reset, add(op("MatMul", "h", weight(units, units)), weight(units)))
            else:
                seen = op("MatMul", times(update if slip == "gate" else reset, "h"), weight(units, units))
            new = op("Tanh", add(op("MatMul", "x_t", weight(features, units)), seen))
            rest = op("Sub", "one", reset if slip == "rest" else update)
            kept = times(update, new if slip == "kept" else "h")
            states = {"h": add(kept, times(rest, new))}
        else:
            h = op(str(rng.choice(["Tanh", "Relu", "Softsign"])), gates(["h"])["h"])
            states = {"h": add(h, "h") if wrong else h}
        ends = [op("Identity", value) for value in states.values()] + [op("Identity", states["h"])]
        ins = [info(name, [None, units]) for name in states]
        outs = [info(name, [None, units]) for name in ends]
        begins = {f"{name}0": rng.normal(size=(batch, units)).astype(np.float32) for name in states}
        inputs = {"x": rng.normal(size=(time_, batch, features)).astype(np.float32), **begins}
        last = [f"{name}_last" for name in states]
        if some():
            graph = helper.make_graph(body, "step", [*ins, info("x_t", [None, features])], outs)
            way = [int(some(0.3))]
            nodes = [helper.make_node("Scan", [*begins, "x"], [*last, "y"], body=graph, num_scan_inputs=1,
                                      scan_input_directions=way, scan_output_directions=way)]
        else:
            held |= {"zero": np.array([0]), "always": np.array(True)}
            short = some(0.2)  # not the whole sequence
            axis = np.array(0 if not short else int(rng.integers(0, 2)) if batch <= time_ else 0)
            held["axis"] = axis
            body = [helper.make_node("Gather", ["x", "i"], ["x_t"], axis=0),
                    helper.make_node("Identity", ["goes_on"], ["on"]), *body]
            integer, truth = info("i", [], TensorProto.INT64), info("goes_on", [], TensorProto.BOOL)
            graph = helper.make_graph(body, "step", [integer, truth, *ins], [info("on", [], TensorProto.BOOL), *outs])
            nodes = [helper.make_node("Shape", ["x"], ["sizes"]),
                     helper.make_node("Gather", ["sizes", "axis"], ["time"]),
                     helper.make_node("Loop", ["time", "always", *begins], [*last, "y"], body=graph)]
        given = [info(name, [None] * value.ndim) for name, value in inputs.items()]
        made = [info(name, None) for name in [*last, "y"]]
        held = [numpy_helper.from_array(np.asarray(value), key) for key, value in held.items()]
        graph = helper.make_graph(nodes, "g", given, made, held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        yield f"{kind}_{slip if wrong and kind != 'RNN' else wrong}_{number}", model, inputs, answers(model, inputs)


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def spelled(count, seed):
    """Layers with what ONNX's operators lack: the arrays and the architecture as ifco's .npz has them."""
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
    functions = ["gelu", "silu", "selu", "mish", "hard_silu", "hard_tanh", "log_sigmoid", "squareplus", "tanh_shrink",
                 "soft_shrink", "sparse_sigmoid", "celu"]
    for number in range(count):
        rng = np.random.default_rng([seed, 6, number])

        def some(p=0.5):
            return bool(rng.random() < p)

        kind = str(rng.choice(["LSTM", "LSTM", "GRU", "SimpleRNN"]))
        features, units = (int(size) for size in rng.integers(1, (5, 6)))
        config = {"name": "r", "units": units, "use_bias": some(0.8), "return_sequences": some()}
        own = {"clip": float(rng.uniform(0.3, 2))} if some(0.3) else {}
        outputs = units
        if kind != "LSTM" or some(0.3):
            config["activation"] = str(rng.choice(functions))
        if kind == "GRU":
            config["reset_after"] = some()
        if kind == "LSTM":
            own |= {"peepholes": True} if some(0.3) else {}
            own |= {"forget_bias": 1.0} if some(0.3) else {}
            own |= {"cell_clip": float(rng.uniform(0.2, 1))} if some(0.4) else {}
            own |= {"layer_norm": str(rng.choice(["gates", "products"])), "epsilon": 1e-3} if some(0.4) else {}
            if some(0.6) or not own:
                outputs = own["proj_size"] = int(rng.integers(1, 4))
                own |= {"projection_clip": float(rng.uniform(0.1, 0.5))} if some(0.4) else {}
        if own:
            config["ifco"] = own

        def arrays(prefix):
            columns = gates[kind] * units
            shapes = {"kernel": (features, columns), "recurrent_kernel": (outputs, columns)}
            if config["use_bias"]:
                shapes["bias"] = (2, columns) if config.get("reset_after") else (columns,)
            shapes |= {"projection": (units, outputs)} if "proj_size" in own else {}
            shapes |= {"peepholes": (3, units)} if "peepholes" in own else {}
            norms = {"gates": ["norm"], "products": ["kernel_norm", "recurrent_norm"]}.get(own.get("layer_norm"), [])
            for norm in norms:
                shapes |= {f"{norm}/{part}": (columns,) for part in ("gamma", "beta")}
            shapes |= {f"state_norm/{part}": (units,) for part in ("gamma", "beta")} if norms else {}
            return {prefix + key: rng.normal(0, 0.4, shape).astype(np.float32) for key, shape in shapes.items()}

        both = some(0.3)
        config["go_backwards"] = some(0.2) and not both
        layer = {"class_name": kind, "module": "keras.layers", "config": config}
        if both:
            mode = str(rng.choice(["concat", "sum", "ave"]))
            layer = {"class_name": "Bidirectional", "module": "keras.layers",
                     "config": {"name": "b", "merge_mode": mode, "layer": layer}}
        held = arrays("b/forward/") | arrays("b/backward/") if both else arrays("r/")
        given = {"class_name": "InputLayer", "module": "keras.layers",
                 "config": {"name": "x", "batch_shape": [None, None, features]}}
        json_ = json.dumps({"class_name": "Sequential", "module": "keras", "keras_version": "3.6.0",
                            "config": {"name": "m", "layers": [given, layer]}})
        held["model_config"] = np.frombuffer(json_.encode(), np.uint8)
        x = rng.normal(size=(int(rng.integers(1, 4)), int(rng.integers(1, 8)), features)).astype(np.float32)
        yield f"{kind}_{number}", held, x, config


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
    too, which Keras exports as loops."""
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
            if not exportable or some():
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
