"""What the scripts of this folder share: quiet Keras on the CPU, and short JSON."""

import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent


def number(x):
    """The shortest decimals that give the same f32; JSON has no word for what is not finite."""
    x = np.float32(x)
    return float(str(x)) if np.isfinite(x) else str(x)


def array(x):
    x = np.asarray(x)
    values = [int(v) for v in x.ravel()] if x.dtype == bool else [number(v) for v in x.ravel()]
    return {"shape": list(x.shape), "data": values}


def write(name, cases):
    """One case a line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n")
    print(f"{name}: {len(cases)} cases, {(HERE / name).stat().st_size} bytes")


def hashed(n):
    """Mixes the bits of a 32-bit number."""
    n = np.uint32(n)
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)]:
        n = np.uint32((int(n ^ (n >> np.uint32(shift))) * factor) & 0xFFFFFFFF)
    return n


def draw(step, parameter, shape):
    """Numbers from -1/2 to 1/2, exact in f32."""
    n = int(np.prod(shape))
    values = [hashed(step * 1000 + parameter * 100 + i) >> np.uint32(8) for i in range(n)]
    return (np.array(values, "float32") / np.float32(2**24) - np.float32(0.5)).reshape(shape)
