"""Writes cases.json beside it: float32 arrays and how NumPy prints them (made with 2.4.6).

Run it in this folder: python make.py.
"""

import json

import numpy as np

random = np.random.default_rng(2)
normal = lambda *shape: random.normal(0, 0.3, shape).astype("f4")
arrays = [
    np.array([0.1, 0.2]),
    np.array(2.5),
    np.array([]),
    np.zeros((0, 3)),
    np.zeros(3),
    np.ones((2, 2)),
    np.arange(40),
    np.arange(3) - 1,
    np.array([-0.0, 0.0]),
    np.array([1e-5, 1]),
    np.array([1e-4, 1e-1]),
    np.array([1.5, 1500.5]),
    np.array([1.5, 1501.5]),
    np.array([999999, 1000]),
    np.array([1e6, 1.5]),
    np.array([1e38, 1e-45]),
    np.array([np.nan, 1]),
    np.array([np.nan, np.inf]),
    np.array([-np.inf, 0.25, 1e-7]),
    np.array([np.nan]),
    np.array([-np.inf]),
    np.array([0.00195312501, 0.001953125, 0.005859375, 2.0**-11, 2.0**-13]),
    np.array([0.12345678912345, 0.99999999, 0.999999995]),
    np.array([100.123456, 0.2]),
    np.float32(1) / np.arange(1, 20, dtype="f4"),
    normal(2, 8),
    normal(8, 2),
    normal(3, 7),
    normal(30),
    normal(1, 33),
    normal(2, 2, 3),
    normal(2, 1, 2, 2),
    normal(10, 100),
    normal(11, 100),
    normal(1001),
    normal(7, 150),
    normal(6, 6, 30),
    normal(200, 6),
    normal(1, 1, 1500),
    normal(2, 3) * np.float32(1e-6),
]
cases = []
for array in arrays:
    array = np.asarray(array, "f4")
    bits = "".join(f"{x:08x}" for x in array.ravel().view("u4"))
    cases.append({"shape": array.shape, "bits": bits, "repr": repr(array)})
with open("cases.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
