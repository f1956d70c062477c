"""Writes what the live comparison compared as a page of the documentation."""

KINDS = {
    "keras": "`.keras`", "h5": "`.h5`, whole model", "weights": "`.weights.h5` + JSON",
    "legacy_weights": "`.h5`, weights only + JSON",
}
GENERATIONS = ("keras3", "keras2")


def write(path, results, args):
    """The page: a row for each class of layer, and for each kind of file."""
    failed = sum(not result["passed"] for result in results)
    lines = [
        "# What agrees with Keras",
        "",
        "Written by the live comparison; do not edit. To write it again:",
        "",
        f"    python compare/live.py --ifco target/release/ifco --models {args.models} "
        f"--seed {args.seed} --table {path}",
        "",
        f"{len(results)} random models, {failed} failed. For each class of layer: how many models "
        "held one, and the largest absolute difference",
        "in any output of those models. An output agrees when |difference| ≤ 1e-5 + 1e-4·|Keras's|.",
        "Keras 3 is `keras`, Keras 2 is `tf_keras`, at the versions in "
        "`compare/requirements.txt`. Keras 1",
        "no longer runs, and CuDNN layers need a GPU: golden cases in `fixtures/` hold both.",
        "",
    ]
    lines += table("layer", results, lambda result: result["layers"])
    lines += ["", *table("file", results, lambda result: [KINDS[result["kind"]]])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def table(what, results, keys):
    cells = {}
    for result in results:
        for key in keys(result):
            count, largest, failed = cells.get((key, result["generation"]), (0, 0.0, 0))
            cells[key, result["generation"]] = (
                count + 1, max(largest, result["largest"] or 0.0),
                failed + (not result["passed"]))
    lines = [f"| {what} | Keras 3: models | largest difference | Keras 2: models "
             "| largest difference |", "|---|---|---|---|---|"]
    for name in sorted({key for key, _ in cells}):
        row = [name]
        for generation in GENERATIONS:
            count, largest, failed = cells.get((name, generation), (0, 0.0, 0))
            row.append(str(count) if count else "–")
            row.append(("–" if not count else f"{largest:.0e}")
                       + (f", {failed} failed" if failed else ""))
        lines.append("| " + " | ".join(row) + " |")
    return lines
