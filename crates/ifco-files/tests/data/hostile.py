"""Writes the hostile HDF5 files of this folder with h5py 3. Each is what Keras reads, but for one lie."""

import h5py
import numpy as np


def layer(f, path="layers/lstm/cell/vars"):
    group = f.create_group(path)
    group["0"] = np.zeros((3, 16), "f4")
    group["1"] = np.zeros((4, 16), "f4")
    return group


with h5py.File("cycle.weights.h5", "w") as f:
    layer(f)["2"] = np.zeros(16, "f4")
    f["layers/again"] = f["layers"]  # a hard link to its own group
    f["layers/lstm/up"] = f["layers"]

with h5py.File("soft_cycle.weights.h5", "w") as f:
    layer(f)["2"] = np.zeros(16, "f4")
    f["layers/a"] = h5py.SoftLink("/layers/b")
    f["layers/b"] = h5py.SoftLink("/layers/a")
    f["layers/passwd"] = h5py.ExternalLink("/etc/passwd", "/")

with h5py.File("huge_shape.weights.h5", "w") as f:  # never written, so nothing is stored
    layer(f).create_dataset("2", (1 << 40,), "f4", chunks=(1 << 10,))

with h5py.File("overflow_shape.weights.h5", "w") as f:
    layer(f).create_dataset("2", (1 << 31, 1 << 31, 4), "f4", chunks=(1, 1, 4))

with h5py.File("huge_chunk.weights.h5", "w") as f:
    layer(f).create_dataset("2", (16,), "f4", chunks=(1 << 29,), maxshape=(None,))

with h5py.File("deflate_bomb.weights.h5", "w") as f:  # 128 MiB of zeros in 130 KB
    layer(f).create_dataset(
        "2", data=np.zeros(1 << 25, "f4"), chunks=(1 << 22,), compression="gzip"
    )

with h5py.File("text.weights.h5", "w") as f:
    layer(f)["2"] = np.array([b"not", b"numbers"])

with h5py.File("same_string.h5", "w") as f:  # 4000 references to one string of 1 MB
    group = f.create_group("model_weights")
    strings = h5py.string_dtype()
    group.attrs.create("layer_names", ["x" * (1 << 20)] + [""] * 3999, dtype=strings)
    f.attrs["model_config"] = "{}"

# h5py writes a string once per reference: point all references at the first.
data = bytearray(open("same_string.h5", "rb").read())
first = data.find((1 << 20).to_bytes(4, "little"))
while first != -1 and data[first + 16 : first + 20] != bytes(4):
    first = data.find((1 << 20).to_bytes(4, "little"), first + 1)
reference = bytes(data[first : first + 16])
for i in range(4000):
    data[first + 16 * i : first + 16 * (i + 1)] = reference
open("same_string.h5", "wb").write(data)
