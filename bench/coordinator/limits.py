"""The machine's own limits, as `ifco bench --machine` measures them, and what they allow."""

import json
import re
import subprocess
from pathlib import Path

# A batch of this size is bound by arithmetic, a single sequence by reading the weights.
BATCH_BOUND = 8


def measure(program, threads):
    """`{"fma_gflops": …, "bandwidth_gbs": {…}, …}`, or a line of text that says why not."""
    command = [str(program), "bench", "--machine", "--threads", str(threads), "--json"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if run.returncode != 0:
            reason = (run.stderr.strip().splitlines() or ["no message"])[0]
            return f"limits not measured: {' '.join(command[1:])}: {reason}"
        limits = json.loads(run.stdout)
        if not limits["fma_gflops"] > 0 or not limits["bandwidth_gbs"]:
            return "limits not measured: ifco bench --machine printed no figures"
        return limits
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        return f"limits not measured: {error}"


def cache_sizes():
    """Bytes of each cache: `{"L1": …, "L2": …, "L3": …}`, and how many processors share it."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            number, unit = re.fullmatch(r"(\d+)([KMG]?)\s*", (index / "size").read_text()).groups()
            bytes = int(number) * 1024 ** " KMG".index(unit or " ")
            shared = len(_cpu_list((index / "shared_cpu_list").read_text()))
            sizes["L" + (index / "level").read_text().strip()] = (bytes, shared)
        except (OSError, AttributeError, ValueError):
            continue
    return sizes


def _cpu_list(text):
    cpus = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def level(weights, threads, caches):
    """Where `weights` bytes fit that `threads` divide among them: L1, L2, L3 or memory.

    A cache that several processors share holds the shares of all threads that run there.
    """
    for name in ("L1", "L2", "L3"):
        if name in caches:
            bytes, shared = caches[name]
            if weights / threads * min(threads, shared) <= bytes:
                return name
    return "memory"


def bound(case, threads, limits, caches):
    """The shortest time of a call in ns and what sets it, or `None` where no limit is stated."""
    if case.what not in ("sequence", "train", "train-model") or isinstance(limits, str):
        return None
    peak = limits["fma_gflops"]
    if case.batch >= BATCH_BOUND or case.what != "sequence":
        return case.flops / peak, "FMA"
    if case.batch != 1:
        return None
    weights = 4 * case.gates * case.units * case.units
    where = level(weights, threads, caches)
    bandwidth = limits["bandwidth_gbs"].get(where)
    if not bandwidth:
        return None
    recurrent = max(weights / bandwidth, weights / 2 / peak)
    hoisted = 2 * case.gates * case.units * case.features / peak
    return (recurrent + hoisted) * case.time * case.directions, f"{where} bandwidth"
