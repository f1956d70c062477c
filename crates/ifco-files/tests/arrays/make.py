"""Writes the .npy, .npz and .csv files beside it, with NumPy itself (made with 2.4.6).

Run it in this folder: python make.py. What the tests expect of each file stands in arrays.rs.
"""

import numpy as np

x = np.array([[0, 1, 2], [3, 4, 5]])
for name in ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]:
    np.save(f"{'bool' if name == '?' else name}.npy", x.astype(name))
for name in ["i2", "i4", "i8", "f2", "f4", "f8"]:
    np.save(f"big_{name}.npy", x.astype(">" + name))
np.save("fortran.npy", np.asfortranarray(x.astype("f4")))
np.save("scalar.npy", np.float32(2.5))
np.save("vector.npy", np.arange(3, dtype="f4"))
np.save("empty.npy", np.zeros((0, 3), "f4"))
np.save("special.npy", np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], "f4"))
for version in [2, 3]:
    with open(f"version_{version}.npy", "wb") as file:
        np.lib.format.write_array(file, x.astype("f4"), version=(version, 0))
np.save("object.npy", np.array([[1], [2, 3]], object), allow_pickle=True)
np.save("text.npy", np.array(["a", "bc"]))
np.save("complex.npy", np.array([1j]))
np.save("structured.npy", np.zeros(1, [("a", "f4"), ("b", "i4")]))
np.save("inexact.npy", np.array([1, 2**24 + 1]))
np.savez("stored.npz", tokens=x.astype("i4"), values=x.astype("f4") / 2)
np.savez("positional.npz", x.astype("f4"), x.astype("f8"))
np.savez_compressed("deflated.npz", zeros=np.zeros((10, 100), "f4"))
np.savetxt("savetxt.csv", x / 4, delimiter=",", header="a,b,c")
