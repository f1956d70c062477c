"""PyTorch: `nn.LSTM` and `nn.GRU`, time-major (its own default), under `inference_mode`."""

import numpy as np
import torch


def packed(case, matrix):
    """`(gates · units, rows)`: Keras's i f c o is PyTorch's own order; z r h becomes r z n."""
    if case.kind == "gru":
        z, r, h = np.split(matrix, 3, axis=1)
        matrix = np.concatenate([r, z, h], axis=1)
    return torch.from_numpy(np.ascontiguousarray(matrix.T))


def recurrent(case):
    make = torch.nn.GRU if case.kind == "gru" else torch.nn.LSTM
    layer = make(case.features, case.units, bidirectional=case.bidirectional)
    state = {}
    for prefix, suffix in zip(case.prefixes, ["", "_reverse"]):
        kernel, recurrent_kernel, bias = case.weights(prefix)
        biases = bias if case.kind == "gru" else [bias, np.zeros_like(bias)]
        state["weight_ih_l0" + suffix] = packed(case, kernel)
        state["weight_hh_l0" + suffix] = packed(case, recurrent_kernel)
        state["bias_ih_l0" + suffix] = packed(case, biases[0][None])[:, 0]
        state["bias_hh_l0" + suffix] = packed(case, biases[1][None])[:, 0]
    layer.load_state_dict(state)
    return layer.eval()


def dense(case):
    layer = torch.nn.Linear(case.units, 1)
    kernel, bias = (torch.from_numpy(array) for array in case.dense())
    layer.load_state_dict({"weight": kernel.T, "bias": bias})
    return layer.eval()


class Sequence:
    def __init__(self, case):
        self.layer = recurrent(case)
        self.x = torch.from_numpy(case.input().transpose(1, 0, 2).copy())

    @torch.inference_mode()
    def call(self):
        return self.layer(self.x)[0]

    def output(self):
        return self.call().numpy().transpose(1, 0, 2)


class Step:
    def __init__(self, case):
        self.layer, self.dense = recurrent(case), dense(case)
        self.inputs = list(torch.from_numpy(case.input().reshape(-1, 1, 1, 1)))
        self.state, self.at = None, 0

    @torch.inference_mode()
    def call(self):
        output, self.state = self.layer(self.inputs[self.at], self.state)
        self.at = (self.at + 1) % len(self.inputs)
        return self.dense(output)

    def output(self):
        self.state, self.at = None, 0
        return [self.call().item() for _ in self.inputs]


class Small(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(case.embedding()))
        self.lstm, self.dense = recurrent(case), dense(case)

    def forward(self, tokens):
        return self.dense(self.lstm(self.embedding(tokens))[1][0])


class Model:
    def __init__(self, case):
        self.model = Small(case).eval()
        self.tokens = torch.from_numpy(case.tokens().astype(np.int64).reshape(-1, 1))

    @torch.inference_mode()
    def call(self):
        return self.model(self.tokens)

    def output(self):
        return self.call().numpy()


def load(case, variant):
    torch.set_num_threads(case.threads)
    return {"sequence": Sequence, "step": Step, "model": Model}[case.what](case)
