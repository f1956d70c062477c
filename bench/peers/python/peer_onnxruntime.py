"""ONNX Runtime on the case's ONNX file, time-major (the only layout of its LSTM on a CPU)."""

import numpy as np
import onnxruntime


class Onnx:
    def __init__(self, case):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.inter_op_num_threads = 1
        path = str(case.folder / "model.onnx")
        self.case = case
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]
        self.at = 0
        if case.what == "model":
            self.feeds = [{"tokens": case.tokens().astype(np.int64).reshape(-1, 1)}]
        elif case.what == "step":
            self.feeds = [{"X": x.reshape(1, 1, 1)} for x in case.input().reshape(-1)]
            self.reset()
        else:
            self.feeds = [{"X": np.ascontiguousarray(case.input().transpose(1, 0, 2))}]

    def reset(self):
        self.at = 0
        if self.case.what == "step":
            self.h = np.zeros((1, 1, self.case.units), np.float32)
            self.c = np.zeros_like(self.h)

    def call(self):
        return self.session.run(self.names, self.feeds[0])[0]

    def step(self):
        feed = self.feeds[self.at]
        feed["h"], feed["c"] = self.h, self.c
        y, self.h, self.c = self.session.run(self.names, feed)
        self.at = (self.at + 1) % len(self.feeds)
        return y

    def output(self):
        self.reset()
        output = [self.call() for _ in self.feeds]
        return self.case.from_onnx(output[0]) if self.case.what == "sequence" else output


def load(case, variant):
    run = Onnx(case)
    if case.what == "step":
        run.call = run.step
    return run
