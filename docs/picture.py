"""Draws docs/packing.svg: an example's fused weights, with the four gates named.

    python3 docs/picture.py target/release/ifco
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL, LAYER = ROOT / "examples/sunspots/model.keras", "lstm_1"
CELL = 8  # pixels a weight
# Blue to orange through white: told apart with any colour vision.
COLOURS = ["#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fee0b6", "#fdb863", "#e08214", "#b35806"]
GATES = [("i", "input gate"), ("f", "forget gate"), ("c", "cell candidate"), ("o", "output gate")]


def gates(ifco):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "gates.json"
        subprocess.run([ifco, "gates", MODEL, "--layer", LAYER, "-o", out], check=True)
        return json.loads(out.read_text())


def fused(arrays, name):
    """The four gates side by side again, as Keras keeps them."""
    parts = [arrays[f"{name}_{letter}"] for letter, _ in GATES]
    if not isinstance(parts[0][0], list):
        parts = [[part] for part in parts]
    return [sum(rows, []) for rows in zip(*parts)]


def heat_map(matrix, left, top):
    """One path for each colour: a rectangle for each run of weights of that colour."""
    largest = max(abs(value) for row in matrix for value in row)
    paths = [[] for _ in COLOURS]
    for r, row in enumerate(matrix):
        shades = [round((value / largest + 1) / 2 * (len(COLOURS) - 1)) for value in row]
        start = 0
        for c in range(1, len(row) + 1):
            if c == len(row) or shades[c] != shades[start]:
                x, y, width = left + start * CELL, top + r * CELL, (c - start) * CELL
                paths[shades[start]].append(f"M{x} {y}h{width}v{CELL}h-{width}z")
                start = c
    return [f'<path fill="{colour}" d="{"".join(path)}"/>' for colour, path in zip(COLOURS, paths) if path]


def main(ifco):
    arrays = gates(ifco)
    units = len(arrays["recurrent_kernel_i"])
    left, top, gap = 164, 78, 26
    width = 4 * units * CELL
    parts = []
    y = top
    for name, label in (("kernel", "kernel"), ("recurrent_kernel", "recurrent_kernel"), ("bias", "bias")):
        matrix = fused(arrays, name)
        height = len(matrix) * CELL
        parts += heat_map(matrix, left, y)
        middle = y + height / 2
        shape = "4u" if name == "bias" else ("n × 4u" if name == "kernel" else "u × 4u")
        parts.append(f'<text x="{left - 12}" y="{middle}" text-anchor="end" class="name">{label}</text>')
        parts.append(f'<text x="{left - 12}" y="{middle + 15}" text-anchor="end" class="note">{shape}</text>')
        for gate in range(4):
            x = left + gate * units * CELL
            parts.append(f'<rect x="{x}" y="{y}" width="{units * CELL}" height="{height}" class="border"/>')
            letters = {"kernel": "W", "recurrent_kernel": "U", "bias": "b"}
            if height > 20:
                parts.append(
                    f'<text x="{x + units * CELL / 2}" y="{middle + 10}" class="symbol">{letters[name]}'
                    f'<tspan dy="8" font-size="20">{GATES[gate][0]}</tspan></text>'
                )
        y += height + gap
    slices = ["[:, :u]", "[:, u:2*u]", "[:, 2*u:3*u]", "[:, 3*u:]"]
    for gate, (letter, words) in enumerate(GATES):
        x = left + (gate + 0.5) * units * CELL
        parts.append(f'<text x="{x}" y="40" text-anchor="middle" class="gate">{letter} · {words}</text>')
        parts.append(f'<text x="{x}" y="62" text-anchor="middle" class="slice">{slices[gate]}</text>')
    total_width, total_height = left + width + 24, y
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" '
        f'width="{total_width}" height="{total_height}" role="img">',
        "<title>The fused weights of a Keras LSTM, with the columns of its four gates</title>",
        "<style>text{font-family:system-ui,sans-serif;fill:#222}.gate{font-size:17px;font-weight:600}"
        ".slice{font-family:ui-monospace,monospace;font-size:14px;fill:#555}.name{font-size:14px;font-weight:600}"
        ".note{font-size:12px;fill:#666}.border{fill:none;stroke:#222;stroke-width:2}"
        ".symbol{font-size:30px;font-style:italic;font-weight:600;text-anchor:middle;stroke:#fff;"
        "stroke-width:5px;paint-order:stroke}</style>",
        f'<rect width="{total_width}" height="{total_height}" rx="8" fill="#fff"/>',
        *parts,
        "</svg>",
    ]
    (ROOT / "docs/packing.svg").write_text("\n".join(svg) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
