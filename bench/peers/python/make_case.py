"""Makes a case's folder: `make_case.py FOLDER` reads `case.json` there and writes weights,
input, what a float64 reference answers, and the ONNX file. Always the same for the same case.
"""

import json
import sys
import zlib

import numpy as np
import onnx
import training
from onnx import TensorProto, helper, numpy_helper
from worker import Case

WORDS = 1000


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def recurrent(kind, x, kernel, recurrent_kernel, bias):
    """All outputs `(batch, time, units)` of one direction, in float64."""
    kernel, recurrent_kernel, bias = (a.astype(float) for a in (kernel, recurrent_kernel, bias))
    units = len(recurrent_kernel)
    h = c = np.zeros((len(x), units))
    outputs = []
    for x_t in x.transpose(1, 0, 2).astype(float):
        if kind == "lstm":
            z = x_t @ kernel + h @ recurrent_kernel + bias
            i, f, g, o = np.split(z, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            z_x, r_x, h_x = np.split(x_t @ kernel + bias[0], 3, axis=1)
            z_h, r_h, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
            z = sigmoid(z_x + z_h)
            h = z * h + (1 - z) * np.tanh(h_x + sigmoid(r_x + r_h) * h_h)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def draw(case):
    """Every array of the case, by name."""
    if case.what in ("train", "train-model"):
        return training.draw(case)
    random = np.random.default_rng(zlib.crc32(case.folder.name.encode()))
    columns = case.gates * case.units

    def scaled(*shape):
        return (random.standard_normal(shape) / np.sqrt(case.units)).astype(np.float32)

    arrays = {}
    for prefix in case.prefixes:
        arrays[prefix + "kernel"] = scaled(case.features, columns)
        arrays[prefix + "recurrent_kernel"] = scaled(case.units, columns)
        arrays[prefix + "bias"] = scaled(*((2, columns) if case.kind == "gru" else (columns,)))
    if case.what != "sequence":
        arrays["dense_kernel"], arrays["dense_bias"] = scaled(case.units, 1), scaled(1)
    if case.what == "model":
        arrays["embedding"] = random.standard_normal((WORDS, case.features), np.float32)
        arrays["tokens"] = random.integers(0, WORDS, (1, case.time)).astype(np.int32)
    else:
        shape = (case.batch, case.time, case.features)
        arrays["input"] = random.standard_normal(shape, np.float32)
    return arrays


def expected(case, arrays):
    """What the case's output is."""
    x = arrays["input"] if "input" in arrays else arrays["embedding"][arrays["tokens"]]
    outputs = []
    for prefix in case.prefixes:
        names = ["kernel", "recurrent_kernel", "bias"]
        weights = [arrays[prefix + name] for name in names]
        step = -1 if prefix else 1
        outputs.append(recurrent(case.kind, x[:, ::step], *weights)[:, ::step])
    output = np.concatenate(outputs, axis=2)
    if case.what == "model":
        output = output[:, -1:]
    if case.what != "sequence":
        output = output @ arrays["dense_kernel"].astype(float) + arrays["dense_bias"]
    return output


def onnx_model(case, arrays):
    """The case in ONNX, time-major: gates i o f c or z r h, a gate's rows by its units."""
    order = [0, 1, 2] if case.kind == "gru" else [0, 3, 1, 2]
    time = 1 if case.what == "step" else case.time

    def packed(matrix):
        gates = np.split(matrix, case.gates, axis=-1)
        return np.concatenate([gates[gate] for gate in order], axis=-1)

    def directions(name, pack):
        return np.stack([pack(arrays[prefix + name]) for prefix in case.prefixes])

    def pack_bias(bias):
        both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        return packed(both).reshape(-1)

    constants = {
        "W": directions("kernel", lambda matrix: packed(matrix).T),
        "R": directions("recurrent_kernel", lambda matrix: packed(matrix).T),
        "B": directions("bias", pack_bias),
    }
    real, count = TensorProto.FLOAT, len(case.prefixes)
    state_shape = [count, case.batch, case.units]
    attributes = {"hidden_size": case.units}
    if case.kind == "gru":
        attributes["linear_before_reset"] = 1
    if case.bidirectional:
        attributes["direction"] = "bidirectional"
    inputs = [helper.make_tensor_value_info("X", real, [time, case.batch, case.features])]
    operands, nodes, results = ["X", "W", "R", "B"], [], ["Y", "", ""]
    if case.what == "step":
        operands += ["", "h", "c"]
        inputs += [helper.make_tensor_value_info(name, real, state_shape) for name in "hc"]
        results = ["", "Y_h", "Y_c"]
    if case.what == "model":
        constants["table"] = arrays["embedding"]
        inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, [time, 1])]
        nodes.append(helper.make_node("Gather", ["table", "tokens"], ["X"], axis=0))
        results = ["", "Y_h", ""]
    while not results[-1]:
        results.pop()
    operator = case.kind.upper()
    nodes.append(helper.make_node(operator, operands, results, name="recurrent", **attributes))
    outputs = [("Y", [time, count, case.batch, case.units])]
    if case.what != "sequence":
        constants["dense_kernel"], constants["dense_bias"] = (
            arrays["dense_kernel"],
            arrays["dense_bias"],
        )
        nodes.append(helper.make_node("MatMul", ["Y_h", "dense_kernel"], ["product"]))
        nodes.append(helper.make_node("Add", ["product", "dense_bias"], ["y"]))
        outputs = [("y", [1, 1, 1])]
    if case.what == "step":
        outputs += [("Y_h", state_shape), ("Y_c", state_shape)]
    graph = helper.make_graph(
        nodes,
        "case",
        inputs,
        [helper.make_tensor_value_info(name, real, shape) for name, shape in outputs],
        [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in constants.items()
        ],
    )
    # Old enough a version for every reader, and nothing here is newer.
    opset = helper.make_opsetid("", 14)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main():
    case = Case(sys.argv[1], 1)
    arrays = draw(case)
    for name, array in arrays.items():
        array.tofile(case.folder / (name + (".i32" if array.dtype == np.int32 else ".f32")))
    if case.what in ("train", "train-model"):
        parts = training.expected(case, arrays)
        (case.folder / "parts.json").write_text(json.dumps([part.size for part in parts]))
        np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32).tofile(
            case.folder / "expected.f32"
        )
        return
    onnx.save(onnx_model(case, arrays), case.folder / "model.onnx")
    expected(case, arrays).astype(np.float32).tofile(case.folder / "expected.f32")


if __name__ == "__main__":
    main()
