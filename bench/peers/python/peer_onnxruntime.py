"""ONNX Runtime on the case's ONNX file, time-major (the only layout of its LSTM on a CPU).

With inputs and outputs bound beforehand, which is the fastest call that it has.
"""

import numpy as np
import onnxruntime


def value(array):
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


class Onnx:
    """A sequence or a model: one call gives the whole output."""

    def __init__(self, case, inputs):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.inter_op_num_threads = 1
        path = str(case.folder / "model.onnx")
        providers = ["CPUExecutionProvider"]
        self.case, self.inputs = case, inputs
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.result = value(np.zeros(self.session.get_outputs()[0].shape, np.float32))
        self.bindings = [self.bind(inputs, [self.result])]

    def bind(self, inputs, outputs):
        binding = self.session.io_binding()
        for port, bound in zip(self.session.get_inputs(), inputs):
            binding.bind_ortvalue_input(port.name, bound)
        for port, bound in zip(self.session.get_outputs(), outputs):
            binding.bind_ortvalue_output(port.name, bound)
        return binding

    def call(self):
        self.session.run_with_iobinding(self.bindings[0])

    def output(self):
        self.call()
        output = self.result.numpy()
        return self.case.from_onnx(output) if self.case.what == "sequence" else output


class Step(Onnx):
    """One step: the states go to and fro between two pairs of buffers."""

    def __init__(self, case):
        self.steps = [x.reshape(1, 1, 1) for x in case.input().reshape(-1)]
        zeros = np.zeros((1, 1, case.units), np.float32)
        self.states = [[value(zeros.copy()), value(zeros.copy())] for _ in range(2)]
        super().__init__(case, [value(self.steps[0].copy()), *self.states[0]])
        second = self.bind([self.inputs[0], *self.states[1]], [self.result, *self.states[0]])
        self.bindings = [
            self.bind([self.inputs[0], *self.states[0]], [self.result, *self.states[1]]),
            second,
        ]
        self.at = 0

    def call(self):
        self.inputs[0].update_inplace(self.steps[self.at % len(self.steps)])
        self.session.run_with_iobinding(self.bindings[self.at % 2])
        self.at += 1
        return self.result.numpy()

    def output(self):
        self.at = 0
        for state in self.states[0]:
            state.update_inplace(np.zeros((1, 1, self.case.units), np.float32))
        return [self.call().copy() for _ in self.steps]


def load(case, variant):
    if case.what == "step":
        return Step(case)
    if case.what == "model":
        return Onnx(case, [value(case.tokens().astype(np.int64).reshape(-1, 1))])
    return Onnx(case, [value(case.input().transpose(1, 0, 2))])
