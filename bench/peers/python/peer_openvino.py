"""OpenVINO on the case's ONNX file, in f32 also where the processor has bf16."""

import numpy as np
import openvino


class OpenVino:
    def __init__(self, case):
        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": case.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.case = case
        model = core.read_model(case.folder / "model.onnx")
        self.request = core.compile_model(model, "CPU", config).create_infer_request()
        self.at = 0
        if case.what == "model":
            self.inputs = [case.tokens().astype(np.int64).reshape(-1, 1)]
        elif case.what == "step":
            self.inputs = [x.reshape(1, 1, 1) for x in case.input().reshape(-1)]
            self.reset()
        else:
            self.inputs = [np.ascontiguousarray(case.input().transpose(1, 0, 2))]

    def reset(self):
        self.at = 0
        if self.case.what == "step":
            self.state = [np.zeros((1, 1, self.case.units), np.float32) for _ in "hc"]

    def call(self):
        return self.request.infer([self.inputs[0]], share_inputs=True, share_outputs=True)[0]

    def step(self):
        x = self.inputs[self.at]
        results = self.request.infer([x, *self.state], share_inputs=True, share_outputs=False)
        self.state = [results[1], results[2]]
        self.at = (self.at + 1) % len(self.inputs)
        return results[0]

    def output(self):
        self.reset()
        output = [self.call().copy() for _ in self.inputs]
        return self.case.from_onnx(output[0]) if self.case.what == "sequence" else output


def load(case, variant):
    run = OpenVino(case)
    if case.what == "step":
        run.call = run.step
    return run
