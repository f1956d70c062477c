"""The machine's own limits, as `ifco bench --machine` measures them, and what they allow."""

import json
import subprocess


def measure(program, threads, cases):
    """What `ifco bench --machine --json` prints, with `layers` by the names of the cases that are
    layers over sequences; or a line of text that says why not."""
    layers = {case.name: _layer(case) for case in cases if case.what == "sequence"}
    command = [str(program), "bench", "--machine", "--threads", str(threads), "--json"]
    asked = [part for layer in layers.values() for part in ("--layer", layer)]
    try:
        run = subprocess.run(command + asked, capture_output=True, text=True, timeout=120)
        if run.returncode != 0:
            reason = (run.stderr.strip().splitlines() or ["no message"])[0]
            return f"limits not measured: {' '.join(command[1:])}: {reason}"
        limits = json.loads(run.stdout)
        if not limits["fma_gflops"] > 0 or not limits["bandwidth_gbs"]:
            return "limits not measured: ifco bench --machine printed no figures"
        limits["layers"] = dict(zip(layers, limits["layers"], strict=True))
        return limits
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        return f"limits not measured: {error}"


def _layer(case):
    return f"{case.kind}:{case.batch}x{case.time}x{case.features}x{case.units}"


def bound(case, limits):
    """The shortest time of a call in ns and what sets it, or `None` where no limit is stated."""
    if isinstance(limits, str):
        return None
    if case.what in ("train", "train-model"):
        return case.flops / limits["fma_gflops"], "FMA"
    layer = limits["layers"].get(case.name)
    if layer is None:
        return None
    by = layer["limited_by"]
    return case.flops / layer["limit_gflops"], "FMA" if by == "arithmetic" else f"{by} bandwidth"
