"""Tables from the results: Markdown to read, JSON to compute with."""

import math

from coordinator import limits as machine

GROUPS = {
    "grid": "Layers over sequences",
    "step": "One step of a stream: LSTM 1 → units, Dense → 1",
    "model": "A whole small model: Embedding 1000 → 64, LSTM 64, Dense → 1, one sequence of 100",
    "train": "A step of training: forward, backward, Adam",
    "precision": "Reduced precision of ifco itself",
}


def compute(run, cases, peers, all_threads, limits):
    """One dictionary for each case and number of threads, with every figure of the tables."""
    rows = []
    for threads in all_threads:
        for case in cases:
            results = run.results.get((threads, case.name))
            if results is None:
                continue
            row = {
                "case": case.name,
                "group": case.group,
                "threads": threads,
                "flops": case.flops,
                "peers": {id: dict(result) for id, result in results.items()},
            }
            for result in row["peers"].values():
                if "ns" in result:
                    result["gflops"] = case.flops / result["ns"]
            _ratios(row, case, peers)
            bound = machine.bound(case, limits.get(threads, ""))
            if bound:
                row["limit_ns"], row["limited_by"] = bound
                for result in row["peers"].values():
                    if "ns" in result:
                        result["share_of_limit"] = row["limit_ns"] / result["ns"]
            rows.append(row)
    return rows


def _ratios(row, case, peers):
    ours = row["peers"].get("ifco", {}).get("ns")
    times = {id: result["ns"] for id, result in row["peers"].items() if "ns" in result}

    def fastest(key, rivals):
        known = [peer.id for peer in peers if peer.role == "peer" and rivals(peer) and peer.id in times]
        if known:
            row[f"fastest_{key}"] = min(known, key=times.get)
            if ours:
                row[f"ratio_to_fastest_{key}"] = times[row[f"fastest_{key}"]] / ours

    fastest("peer", lambda peer: True)
    fastest("rust_peer", lambda peer: peer.rust)
    if ours and "ifco-engine" in times:
        row["overhead_ns"] = ours - times["ifco-engine"]
    if case.group == "precision" and ours:
        row["speedups"] = {id: ours / ns for id, ns in times.items() if id != "ifco"}


def means(rows, threads, group="grid"):
    """Geometric means over the grid, or another group."""
    found = {}
    for key in ("ratio_to_fastest_peer", "ratio_to_fastest_rust_peer"):
        grid = [row for row in rows if row["group"] == group and row["threads"] == threads]
        ratios = [row[key] for row in grid if key in row]
        if ratios:
            logs = [math.log(ratio) for ratio in ratios]
            found[key] = {
                "geometric_mean": math.exp(sum(logs) / len(logs)),
                "least": min(ratios),
                "cells": len(ratios),
                "of": len(grid),
            }
    return found


def duration(ns):
    """`46.2 ns`, `8.31 µs`, `12.4 ms`."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def _cell(result, group):
    """What a table says of one peer in one case."""
    if result is None:
        return ""
    if "ns" not in result:
        return {"skipped": "–"}.get(result["status"], f"*{result['status']}*")
    spread = (result["ns_upper"] - result["ns_lower"]) / 2 / result["ns"]
    if group == "grid":
        return f"{result['gflops']:.3g} ±{spread:.0%}"
    return f"{duration(result['ns'])} ±{spread:.0%}"


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _ratio(row, key):
    if f"ratio_to_{key}" not in row:
        return "–"
    return f"{row[f'ratio_to_{key}']:.2f} ({row[key]})"


def markdown(about, rows, cases, peers, all_threads, limits, interrupted):
    """The whole report."""
    lines = ["# ifco beside its peers", ""]
    if interrupted:
        lines += ["**Interrupted: only what was measured until then.**", ""]
    lines += [f"{about['date']}, {about['cpu']}. {about['how']}", ""]
    for threads in all_threads:
        known = limits.get(threads, "limits not measured")
        if isinstance(known, str):
            lines.append(f"- {threads} thread{'s' * (threads > 1)}: {known}")
        else:
            bandwidth = ", ".join(f"{name} {gbs:.4g}" for name, gbs in known["bandwidth_gbs"].items())
            lines.append(
                f"- {threads} thread{'s' * (threads > 1)}: FMA peak {known['fma_gflops']:.4g} GFLOP/s"
                f" ({known.get('isa', '?')}); bandwidth in GB/s: {bandwidth}"
            )
    versions = dict.fromkeys(peer.version for peer in peers if peer.version)
    lines += ["", "Versions: " + ", ".join(versions) + "."]
    for threads in all_threads:
        for group, title in GROUPS.items():
            chosen = [row for row in rows if row["group"] == group and row["threads"] == threads]
            if chosen:
                lines += ["", f"## {title}, {threads} thread{'s' * (threads > 1)}", ""]
                lines += _group(group, chosen, peers)
        all_means = [(group, *mean) for group in ("grid", "train") for mean in means(rows, threads, group).items()]
        for group, key, mean in all_means:
            name = key.replace("ratio_to_", "").replace("_", " ").replace("rust", "Rust")
            of = ", of training" if group == "train" else ""
            lines += [
                "",
                f"Geometric mean of the ratio to the {name}{of}, {threads} thread{'s' * (threads > 1)}: "
                f"**{mean['geometric_mean']:.2f}** over {mean['cells']} of {mean['of']} cells; "
                f"least {mean['least']:.2f}.",
            ]
    lines += _troubles(rows)
    return "\n".join(lines) + "\n"


def _group(group, rows, peers):
    shown = [peer for peer in peers if any(peer.id in row["peers"] for row in rows)]
    header = ["case", *(peer.title for peer in shown)]
    if group != "precision":
        header += ["ratio to fastest peer", "ratio to fastest Rust peer"]
    if group in ("grid", "precision", "train"):
        header += ["ifco's share of the limit"]
    body = []
    for row in rows:
        cells = [row["case"], *(_cell(row["peers"].get(peer.id), group) for peer in shown)]
        if group != "precision":
            cells += [_ratio(row, "fastest_peer"), _ratio(row, "fastest_rust_peer")]
        if group in ("grid", "precision", "train"):
            share = row["peers"].get("ifco", {}).get("share_of_limit")
            cells.append(f"{share:.0%} ({row['limited_by']})" if share else "–")
        body.append(cells)
    unit = "GFLOP/s" if group == "grid" else "Time of a call"
    lines = [f"{unit}, median of the rounds ± half the distance of their quartiles.", ""]
    lines += _table(header, body)
    for row in rows:
        if "overhead_ns" in row:
            lines += ["", f"ifco's whole call takes {duration(row['overhead_ns'])} more than its layers alone."]
        for id, speedup in row.get("speedups", {}).items():
            error = row["peers"][id]["difference"]
            lines += ["", f"{row['case']}: {id} is {speedup:.2f} times as fast as f32; it differs by {error:.2g}."]
    return lines


def _troubles(rows):
    """Why somebody has no figure: each reason once, with the cases it is about."""
    reasons = {}
    for row in rows:
        for id, result in row["peers"].items():
            if "ns" not in result:
                reason = (id, result["status"], result.get("why", "no round was finished"))
                reasons.setdefault(reason, []).append(f"{row['case']} ({row['threads']})")
    lines = []
    for (id, status, why), where in reasons.items():
        count = f"{len(where)} cases" if len(where) > 3 else ", ".join(where)
        lines.append(f"- {id}: {status} in {count}: {why}")
    return ["", "## Without a figure", "", *lines] if lines else []
