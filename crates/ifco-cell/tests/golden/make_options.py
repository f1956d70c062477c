"""Writes the golden cases of the LSTM's options beside this file: what other frameworks really
compute.

    python make_options.py onnx        options_onnx.txt: onnx 1.23, onnxruntime 1.32
    python make_options.py torch       options_torch.txt: torch 2.15
    python make_options.py tf          options_tf.txt: tensorflow-cpu 2.21, tf_keras 2.21
    python make_options.py addons      options_addons.txt: the same, tensorflow-addons 0.23

Each has an environment of its own, as they do not live together. Seeded: a rerun gives the same
weights. One case a paragraph: options, `name=value` each, then named arrays with their shapes, as
the framework has them. `output` has every 9th of 100 steps. The inputs stand first.
"""

import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np

HERE = pathlib.Path(__file__).parent
BATCH, TIME, FEATURES, UNITS, OUTPUTS = 2, 100, 3, 4, 2
STEPS = slice(0, None, 9)


def inputs():
    return (np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES)) * 1.5).astype("float32")


def states(outputs=UNITS):
    rng = np.random.default_rng(2)
    return [(rng.normal(size=(BATCH, size)) * 0.7).astype("float32") for size in (outputs, UNITS)]


def line(name, array):
    array = np.asarray(array, "float32")
    shape = "x".join(map(str, array.shape))
    return f"{name} {shape} " + " ".join(f"{value:.9g}" for value in array.ravel())


class Cases:
    """The paragraphs of a file."""

    def __init__(self):
        self.texts = [line("inputs", inputs())]

    def add(self, options, weights, initial, output, h, c):
        """`output` is (batch, time, outputs), in the order in which the steps were read."""
        arrays = {**weights, "output": np.asarray(output)[:, STEPS], "h": h, "c": c}
        if initial is not None:
            arrays |= {"initial_h": initial[0], "initial_c": initial[1]}
        head = " ".join(f"{name}={value}" for name, value in options.items()) or "none=1"
        self.texts.append("\n".join([head, *(line(*item) for item in arrays.items())]))

    def write(self, name):
        (HERE / f"options_{name}.txt").write_text("\n\n".join(self.texts) + "\n")
        print(f"{len(self.texts) - 1} cases of {name}")


def onnx_cases():
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def run(options, seed):
        rng = np.random.default_rng(seed)
        normal = lambda *shape: (rng.normal(size=shape) * 0.6).astype("float32")
        weights = {"W": normal(1, 4 * UNITS, FEATURES), "R": normal(1, 4 * UNITS, UNITS),
                   "B": normal(1, 8 * UNITS)}
        begins = "initial" in options
        initial = states() if begins else None
        values = dict(weights)
        if begins:
            values |= {"h0": initial[0][None], "c0": initial[1][None]}
        if "P" in options:
            weights["P"] = values["P"] = normal(1, 3 * UNITS)
        attributes = {"hidden_size": UNITS}
        if "clip" in options:
            attributes["clip"] = float(options["clip"])
        if "input_forget" in options:
            attributes["input_forget"] = 1
        if "go_backwards" in options:
            attributes["direction"] = "reverse"
        if "activations" in options:
            attributes["activations"] = options["activations"].split(",")
        names = ["x", "W", "R", "B", "", "h0" if begins else "", "c0" if begins else "",
                 "P" if "P" in weights else ""]
        node = helper.make_node("LSTM", names, ["y", "h", "c"], **attributes)
        tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [TIME, BATCH, FEATURES])],
            [tensor(name) for name in "yhc"],
            [numpy_helper.from_array(value, name) for name, value in values.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(),
                                               providers=["CPUExecutionProvider"])
        y, h, c = session.run(None, {"x": inputs().transpose(1, 0, 2)})
        y = y[:, 0].transpose(1, 0, 2)
        # The order of time; Keras's is that of reading.
        y = y[:, ::-1] if "go_backwards" in options else y
        return weights, initial, y, h[0], c[0]

    cases = Cases()
    for seed, options in enumerate([
        {},
        {"P": 1},
        {"clip": 0.5},
        {"input_forget": 1},
        {"P": 1, "clip": 0.3},
        {"P": 1, "input_forget": 1, "initial": 1},
        {"P": 1, "clip": 0.4, "input_forget": 1, "go_backwards": 1, "initial": 1},
        {"activations": "Sigmoid,Tanh,Softsign", "clip": 0.2},
        {"activations": "HardSigmoid,Softsign,Tanh", "P": 1},
        {"activations": "Sigmoid,Relu,Relu", "clip": 0.1, "P": 1, "initial": 1},
    ]):
        cases.add(options, *run(options, seed))
    cases.write("onnx")


def torch_cases():
    import torch

    cases = Cases()
    for seed, (options, begins) in enumerate([
        ({"proj_size": OUTPUTS}, False),
        ({"proj_size": OUTPUTS, "bias": 0}, True),
        ({"proj_size": UNITS - 1}, True),
    ]):
        torch.manual_seed(seed)
        size = options["proj_size"]
        lstm = torch.nn.LSTM(FEATURES, UNITS, proj_size=size, bias=bool(options.get("bias", 1)),
                             batch_first=True)
        with torch.no_grad():
            for value in lstm.parameters():
                value.copy_(torch.randn(value.shape) * 0.6)
            initial = states(size) if begins else None
            given = tuple(torch.from_numpy(state)[None] for state in initial) if begins else None
            y, (h, c) = lstm(torch.from_numpy(inputs()), given)
        weights = {name: value.numpy() for name, value in lstm.state_dict().items()}
        cases.add(options, weights, initial, y, h[0], c[0])
    cases.write("torch")


def unroll(cell, h, c):
    """What a cell of Keras 2 gives step by step."""
    import tensorflow as tf

    outputs, state = [], [tf.constant(h), tf.constant(c)]
    for step in inputs().transpose(1, 0, 2):
        output, state = cell(tf.constant(step), state)
        outputs.append(output)
    return np.stack(outputs, 1), state


def tf_cases():
    import tensorflow as tf

    rnn = tf.compat.v1.nn.rnn_cell
    cases = Cases()

    def fill(cell, seed):
        rng = np.random.default_rng(seed)
        for value in cell.weights:
            value.assign(rng.normal(size=value.shape) * 0.6)
        names = [value.name.split("lstm_cell")[-1].split("/", 1)[1][:-2] for value in cell.weights]
        return dict(zip(names, (value.numpy() for value in cell.weights)))

    for seed, options in enumerate([
        {"forget_bias": 1.0},
        {"use_peepholes": 1, "forget_bias": 1.0},
        {"cell_clip": 0.4, "forget_bias": 0.5},
        {"num_proj": OUTPUTS, "forget_bias": 1.0},
        {"num_proj": OUTPUTS, "proj_clip": 0.2, "forget_bias": 0.0},
        {"num_proj": UNITS + 1, "proj_clip": 0.3, "cell_clip": 0.5, "use_peepholes": 1,
         "forget_bias": 1.0},
    ]):
        cell = rnn.LSTMCell(UNITS, state_is_tuple=True, **options)
        outputs = options.get("num_proj", UNITS)
        cell.build(tf.TensorShape([BATCH, FEATURES]))
        weights = fill(cell, seed)
        h, c = initial = states(outputs)
        state, y = rnn.LSTMStateTuple(tf.constant(c), tf.constant(h)), []
        for step in inputs().transpose(1, 0, 2):
            output, state = cell(tf.constant(step), state)
            y.append(output)
        cases.add(options, weights, initial, np.stack(y, 1), state.h, state.c)

    # The fused kernel of LSTMBlockFusedCell.
    for seed, options in enumerate([
        {"op": "BlockLSTM", "forget_bias": 1.0, "cell_clip": 0.4, "use_peepholes": 1},
        {"op": "BlockLSTM", "forget_bias": 0.5, "use_peepholes": 1},
    ]):
        rng = np.random.default_rng(50 + seed)
        normal = lambda *shape: (rng.normal(size=shape) * 0.6).astype("float32")
        weights = {"kernel": normal(FEATURES + UNITS, 4 * UNITS), "bias": normal(4 * UNITS)}
        weights |= {f"w_{gate}_diag": normal(UNITS) for gate in "ifo"}
        h, c = initial = states()
        result = tf.raw_ops.BlockLSTM(
            seq_len_max=TIME, x=inputs().transpose(1, 0, 2), cs_prev=c, h_prev=h,
            w=weights["kernel"], b=weights["bias"], wci=weights["w_i_diag"],
            wcf=weights["w_f_diag"], wco=weights["w_o_diag"], use_peephole=True,
            forget_bias=options["forget_bias"], cell_clip=options.get("cell_clip", -1.0))
        cases.add(options, weights, initial, result.h.numpy().transpose(1, 0, 2), result.h[-1],
                  result.cs[-1])

    # tf.contrib.rnn.LayerNormBasicLSTMCell went with TensorFlow 1: its documented steps, of
    # TensorFlow's own parts.
    rng = np.random.default_rng(90)
    normal = lambda *shape: (rng.normal(size=shape) * 0.6).astype("float32")
    gates = ["input", "transform", "forget", "output"]
    weights = {"kernel": normal(FEATURES + UNITS, 4 * UNITS)}
    for name, size in [(name, UNITS) for name in gates] + [("state", UNITS)]:
        weights |= {f"{name}/gamma": 1 + normal(size), f"{name}/beta": normal(size)}

    def norm(value, name):
        mean, variance = tf.nn.moments(value, [1], keepdims=True)
        return tf.nn.batch_normalization(value, mean, variance, weights[f"{name}/beta"],
                                         weights[f"{name}/gamma"], 1e-12)

    h, c = initial = states()
    y = []
    for x in inputs().transpose(1, 0, 2):
        sums = tf.split(tf.matmul(tf.concat([x, h], 1), weights["kernel"]), 4, axis=1)
        i, j, f, o = (norm(value, name) for value, name in zip(sums, gates))
        c = norm(c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j), "state")
        h = tf.tanh(c) * tf.sigmoid(o)
        y.append(h)
    options = {"layer_norm": "LayerNormBasicLSTMCell", "forget_bias": 1.0}
    cases.add(options, weights, initial, np.stack(y, 1), h, c)
    cases.write("tf")


def addons_cases():
    import tensorflow as tf
    import tf_keras

    # Addons, which is no longer kept, looks for Keras 2 where it then was.
    sys.modules.update({"keras": tf_keras, "keras.src": tf_keras.src,
                        "keras.src.engine": tf_keras.src.engine})
    from tensorflow_addons.rnn import LayerNormLSTMCell

    cases = Cases()
    for seed, options in enumerate([{"layer_norm": "addons"}, {"layer_norm": "addons", "bias": 0}]):
        cell = LayerNormLSTMCell(UNITS, use_bias=bool(options.get("bias", 1)))
        cell.build(tf.TensorShape([BATCH, FEATURES]))
        rng = np.random.default_rng(seed)
        for value in cell.weights:
            value.assign(rng.normal(size=value.shape) * 0.6 + float("gamma" in value.name))
        weights = {"/".join(value.name[:-2].split("/")[-2 if "norm" in value.name else -1:]):
                   value.numpy() for value in cell.weights}
        h, c = initial = states()
        y, (h, c) = unroll(cell, h, c)
        cases.add(options, weights, initial, y, h, c)
    cases.write("addons")


if __name__ == "__main__":
    MAKERS = {"onnx": onnx_cases, "torch": torch_cases, "tf": tf_cases, "addons": addons_cases}
    for chosen in sys.argv[1:]:
        MAKERS[chosen]()
