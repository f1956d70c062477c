#!/usr/bin/env python3
"""What a step of training on long sequences takes of memory: PyTorch, ifco, ifco with --recompute.

    python bench/memory.py --ifco target/release/ifco [--shape 16x4000x128x128]

Each trains one step of an LSTM and a Dense on every step's output, in a process of its own. Told is
the largest resident size of the process, less that of the same process on sequences of 8 steps: so
neither the libraries nor what they load at their start count. Needs NumPy and PyTorch.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

TORCH = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
x, y = (torch.from_numpy(np.load(path)) for path in sys.argv[1:3])
lstm = torch.nn.LSTM(x.shape[2], int(sys.argv[3]), batch_first=True)
dense = torch.nn.Linear(int(sys.argv[3]), 1)
adam = torch.optim.Adam([*lstm.parameters(), *dense.parameters()])
loss = torch.nn.functional.mse_loss(dense(lstm(x)[0]), y)
loss.backward()
adam.step()
"""

NETWORK = """
input = ["any", {features}]
[[layers]]
class = "LSTM"
units = {units}
return_sequences = true
[[layers]]
class = "Dense"
units = 1
[compile]
loss = "mse"
optimizer = {{ class = "Adam" }}
"""


def peak(command):
    """The largest resident size of a process, in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}\n{said.decode()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ifco", required=True)
    parser.add_argument("--shape", default="16x4000x128x128", help="batch, time, features, units")
    arguments = parser.parse_args()
    batch, time, features, units = map(int, arguments.shape.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("lstm.toml"), "w") as file:
            file.write(NETWORK.format(features=features, units=units))
        subprocess.run([arguments.ifco, "init", path("lstm.toml"), "-o", path("lstm.keras")], check=True,
                       stdout=subprocess.DEVNULL)
        random = np.random.default_rng(0)
        sizes = {}
        for steps in (8, time):
            np.save(path("x.npy"), random.standard_normal((batch, steps, features), np.float32))
            np.save(path("y.npy"), random.standard_normal((batch, steps, 1), np.float32))
            train = [arguments.ifco, "train", path("lstm.keras"), "--x", path("x.npy"), "--y", path("y.npy"), "--epochs", "1",
                     "--batch-size", str(batch), "--threads", "1", "-o", path("out.keras"), "--force"]
            sizes[steps] = {
                "PyTorch": peak([sys.executable, "-c", TORCH, path("x.npy"), path("y.npy"), str(units)]),
                "ifco": peak(train),
                "ifco --recompute": peak([*train, "--recompute"]),
            }
    data = batch * time * features * 4
    print(f"batch x time x features x units: {arguments.shape}; the inputs are {data / 1e6:.0f} MB")
    for name, largest in sizes[time].items():
        print(f"{name:18}{(largest - sizes[8][name]) / 1e6:8.0f} MB, {largest / 1e6:6.0f} MB in all")


if __name__ == "__main__":
    main()
