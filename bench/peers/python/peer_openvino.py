"""OpenVINO on the case's ONNX file, in f32 also where the processor has bf16.

With inputs bound beforehand and outputs read in place, which is the fastest call that it has.
"""

import numpy as np
import openvino


class OpenVino:
    """A sequence or a model: one call gives the whole output."""

    def __init__(self, case, inputs):
        config = {
            "INFERENCE_NUM_THREADS": case.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        model = core.read_model(case.folder / "model.onnx")
        self.case = case
        self.inputs = [np.ascontiguousarray(array) for array in inputs]
        self.request = core.compile_model(model, "CPU", config).create_infer_request()
        for index, array in enumerate(self.inputs):
            self.request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))

    def call(self):
        self.request.infer(share_outputs=True)

    def result(self, index):
        return self.request.get_output_tensor(index).data

    def output(self):
        self.call()
        output = self.result(0)
        return self.case.from_onnx(output) if self.case.what == "sequence" else output


class Step(OpenVino):
    """One step: the states are copied from the outputs to the inputs."""

    def __init__(self, case):
        self.steps = case.input().reshape(-1)
        zeros = np.zeros((1, 1, case.units), np.float32)
        super().__init__(case, [zeros[:, :, :1].copy(), zeros.copy(), zeros.copy()])
        super().call()
        self.results, self.at = [self.result(index) for index in range(3)], 0

    def call(self):
        x, h, c = self.inputs
        x[0, 0, 0] = self.steps[self.at % len(self.steps)]
        self.request.infer(share_outputs=True)
        h[:], c[:] = self.results[1:]
        self.at += 1
        return self.results[0]

    def output(self):
        self.at = 0
        for state in self.inputs[1:]:
            state[:] = 0
        return [self.call().copy() for _ in self.steps]


def load(case, variant):
    if case.what == "step":
        return Step(case)
    if case.what == "model":
        return OpenVino(case, [case.tokens().astype(np.int64).reshape(-1, 1)])
    return OpenVino(case, [case.input().transpose(1, 0, 2)])
