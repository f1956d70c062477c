"""PyTorch: `nn.LSTM` and `nn.GRU`, time-major (its own default), under `inference_mode`."""

import numpy as np
import torch
from training import EPSILON


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


class Network(torch.nn.Module):
    """What is trained: an LSTM, or Embedding, two LSTM and Dense."""

    def __init__(self, case):
        super().__init__()
        self.embedding = self.dense = None
        *table, weights, more = split_weights(case)
        self.lstm = trained_lstm(weights)
        self.second = None
        if more:
            self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(table[0]), freeze=False)
            self.second = trained_lstm(more[:3])
            self.dense = torch.nn.Linear(*more[3].shape)
            kernel, bias = (torch.from_numpy(array) for array in more[3:])
            self.dense.load_state_dict({"weight": kernel.T, "bias": bias})

    def forward(self, x):
        if self.second is None:
            return self.lstm(x)[0]
        return self.dense(self.second(self.lstm(self.embedding(x))[0])[0])

    def in_keras_order(self):
        """The parameters, and how each lies in Keras's layout."""
        def of(lstm):
            yield lstm.weight_ih_l0, True
            yield lstm.weight_hh_l0, True
            yield lstm.bias_ih_l0, False

        if self.second is None:
            return list(of(self.lstm))
        dense = [(self.dense.weight, True), (self.dense.bias, False)]
        return [(self.embedding.weight, False), *of(self.lstm), *of(self.second), *dense]


def split_weights(case):
    """`[table,] the first LSTM's, all after it`."""
    weights = case.all_weights()
    if case.what == "train":
        return weights, []
    return weights[0], weights[1:4], weights[4:]


def trained_lstm(weights):
    kernel, recurrent_kernel, bias = weights
    layer = torch.nn.LSTM(len(kernel), len(recurrent_kernel))
    arrays = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_ih_l0": bias,
              "bias_hh_l0": np.zeros_like(bias)}
    layer.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
    # Keras has one bias: trained both, it would move twice as far.
    layer.bias_hh_l0.requires_grad_(False)
    return layer


class Training:
    """Steps of training, with the fused Adam. Time-major, as PyTorch's own layout is."""

    def __init__(self, case):
        x, y = case.batch_of_training()
        kind = np.float32 if case.what == "train" else np.int64
        self.x, self.y = (
            torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1)).astype(kind)) for array in (x, y)
        )
        self.case = case
        self.begin()

    def begin(self):
        self.network = Network(self.case).train()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(trained, lr=0.001, eps=EPSILON, fused=True)

    def call(self):
        self.adam.zero_grad(set_to_none=True)
        output = self.network(self.x)
        if self.case.what == "train":
            loss = torch.nn.functional.mse_loss(output, self.y)
        else:
            loss = torch.nn.functional.cross_entropy(output.flatten(0, 1), self.y.flatten())
        loss.backward()
        self.adam.step()
        return loss.detach()

    def output(self):
        self.begin()
        losses, gradients = [], None
        for _ in range(3):
            losses.append(self.call().item())
            if gradients is None:
                parameters = self.network.in_keras_order()
                gradients = [p.grad.T if turned else p.grad for p, turned in parameters]
                gradients = [gradient.numpy().reshape(-1).copy() for gradient in gradients]
        return np.concatenate([losses, *gradients])


def load(case, variant):
    torch.set_num_threads(case.threads)
    if case.what in ("train", "train-model"):
        return Training(case)
    return {"sequence": Sequence, "step": Step, "model": Model}[case.what](case)
