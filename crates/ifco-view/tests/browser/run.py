"""The page in a real browser: `run.py --ifco PATH [NAME...]` runs the tests (of these names).

Every test opens pages of its own, and ends with the assertion that they said nothing on the
console and asked no server but their own.
"""

import argparse
import json
import os
import sys
import tempfile
import traceback
import urllib.error
import urllib.request

import numpy as np

from harness import EXAMPLES, ROOT, Command, Tab, chromium, renamed

LETTERS = "ifco"


def every_panel_renders(ifco, browser):
    for name, arguments in EXAMPLES.items():
        with ifco.serving(*arguments) as url:
            tab = Tab(browser, url)
            for layer in tab.page.locator("#layer option").all_text_contents():
                tab.choose_layer(layer.rsplit(" (", 1)[0])
                where = f"{name}, {layer}"
                for index in range(3):
                    assert tab.colors(f"#matrices .matrix-row:nth-child({index + 2}) canvas >> nth=0") > 10, where
                for array in ["i", "f", "c_tilde", "o", "c", "h"]:
                    assert tab.colors(f".map:has(canvas[data-array={array}]) canvas >> nth=0") > 3, where
                assert tab.page.locator(".diagram .node").count() == 9, where
                assert tab.page.locator(".layer.chosen").count() == 1, where
            assert tab.page.locator("#outputs .prediction").count() >= 1, name
            tab.close()


def hovering_tells_the_right_gate(ifco, browser):
    """Every cell that is pointed at has the value, the gate and the unit that `ifco gates` says."""
    random = np.random.default_rng(1)
    for name, layer in [("sunspots", "lstm_1"), ("questions", "bidirectional/backward"), ("dates", "decoder")]:
        model = EXAMPLES[name][0]
        gates = ifco.gates(model, layer)
        with ifco.serving(*EXAMPLES[name]) as url:
            tab = Tab(browser, url)
            tab.choose_layer(layer)
            for part in ["kernel", "recurrent_kernel", "bias"]:
                columns = np.concatenate([np.atleast_2d(gates[f"{part}_{letter}"]) for letter in LETTERS], axis=1)
                rows, units = columns.shape[0], columns.shape[1] // 4
                canvas = tab.page.locator(f"canvas[data-part={part}]")
                canvas.scroll_into_view_if_needed()
                box = canvas.bounding_box()
                for _ in range(6):
                    row, column = random.integers(rows), random.integers(4 * units)
                    canvas.hover(
                        position={
                            "x": (column + 0.5) / (4 * units) * box["width"],
                            "y": (row + 0.5) / rows * box["height"],
                        }
                    )
                    tab.settle()
                    gate, unit = divmod(int(column), units)
                    place = f"{part}[{column}]" if part == "bias" else f"{part}[{row}, {column}]"
                    assert tab.page.inner_text("#where .cellname code") == place
                    value = np.float32(tab.page.locator("#where .cellname .num").get_attribute("data-value"))
                    assert value == columns[row, column], place
                    letter = {"kernel": "W", "recurrent_kernel": "U", "bias": "b"}[part]
                    inside = f"[{unit}]" if part == "bias" else f"[{row}, {unit}]"
                    assert tab.page.inner_text("#where .chip") == f"{letter}_{LETTERS[gate]}{inside}"
                    # ONNX packs i o f c, PyTorch as Keras does, both as rows.
                    onnx = "iofc".index(LETTERS[gate]) * units + unit
                    elements = tab.page.locator("#where .element").all_text_contents()
                    expected = {
                        "kernel": [f"weight_ih_l0[{column}, {row}]", f"W[0, {onnx}, {row}]"],
                        "recurrent_kernel": [f"weight_hh_l0[{column}, {row}]", f"R[0, {onnx}, {row}]"],
                        "bias": [
                            f"bias_ih_l0[{column}] + bias_hh_l0[{column}]",
                            f"B[0, {onnx}] + B[0, {onnx + 4 * units}]",
                        ],
                    }[part]
                    assert elements[1:] == expected, (elements, expected)
            tab.close()


def a_gate_lights_everywhere(ifco, browser):
    with ifco.serving(*EXAMPLES["sunspots"]) as url:
        tab = Tab(browser, url)
        tab.page.click("#gates [data-gate='1']")
        tab.settle()
        assert tab.page.locator("[data-gate='1'][aria-pressed=true]").count() == 2, "its two buttons"
        faint = tab.page.locator(".map.faint canvas.over")
        arrays = {faint.nth(k).get_attribute("data-array") for k in range(faint.count())}
        assert arrays == {"i", "c_tilde", "o", "c", "h"}, arrays
        assert tab.page.locator(".node.gate.faint").count() == 3
        tab.page.click("#gates [data-gate='1']")
        tab.settle()
        assert tab.page.locator(".faint").count() == 0
        tab.close()


def the_slider_tells_the_trace(ifco, browser):
    """The numbers on the wires are those that `ifco trace` writes, and the opened sums add up to them."""
    for name, layer in [("sunspots", "lstm"), ("questions", "bidirectional/backward"), ("dates", "encoder")]:
        arguments = EXAMPLES[name]
        arrays = ifco.trace(*arguments[:2], layer)
        units, steps = arrays["h"].shape[2], arrays["h"].shape[1]
        random = np.random.default_rng(2)
        with ifco.serving(*arguments) as url:
            tab = Tab(browser, url)
            tab.choose_layer(layer)
            for step in sorted({0, 1, steps - 1, *random.integers(steps, size=4).tolist()}):
                unit = int(random.integers(units))
                tab.go(unit, step)
                for array in ["i", "f", "c_tilde", "o", "c", "h"]:
                    expected = arrays[array][0, step, unit]
                    assert abs(tab.wire(array) - expected) <= 1e-6, (name, step, unit, array)
                if tab.page.locator(".diagram.skipped").count():
                    continue
                for gate in ["i", "f", "o", "c_tilde"]:
                    if tab.page.locator(f"[data-node={gate}]").get_attribute("aria-pressed") == "false":
                        tab.page.locator(f"[data-node={gate}]").click()
                        tab.settle()
                    numbers = tab.page.locator("#sums .formula .num")
                    total = np.float64(numbers.nth(1).get_attribute("data-value"))
                    value = np.tanh(total) if gate == "c_tilde" else 1 / (1 + np.exp(-total))
                    assert abs(value - arrays[gate][0, step, unit]) < 1e-5, (name, step, unit, gate)
            tab.close()


def switching_layers_tells_each_ones_numbers(ifco, browser):
    """Whether or not the page has asked ahead: at once, after a rest, and back again."""
    for name, layers in [("sunspots", ["lstm", "lstm_1"]), ("questions", ["bidirectional/forward", "bidirectional/backward"])]:
        arguments = EXAMPLES[name]
        traces = {layer: ifco.trace(*arguments[:2], layer) for layer in layers}
        gates = {layer: ifco.gates(arguments[0], layer) for layer in layers}
        with ifco.serving(*arguments) as url:
            for rest in [0, 500]:
                tab = Tab(browser, url)
                tab.page.wait_for_timeout(rest)
                for layer in [*reversed(layers), *layers, *reversed(layers)]:
                    tab.choose_layer(layer)
                    tab.go(2, 1)
                    for array, values in traces[layer].items():
                        if tab.page.locator(f"tspan[data-wire={array}]").count():
                            assert abs(tab.wire(array) - values[0, 1, 2]) <= 1e-6, (layer, array)
                    rows = gates[layer]["kernel_i"].shape[0]
                    assert tab.page.locator("canvas[data-part=kernel]").get_attribute("aria-label").startswith(f"kernel, {rows} by ")
                    canvas = tab.page.locator("canvas[data-part=recurrent_kernel]")
                    canvas.hover(position={"x": 1, "y": 1})
                    tab.settle()
                    value = np.float32(tab.page.locator("#where .cellname .num").get_attribute("data-value"))
                    assert value == gates[layer]["recurrent_kernel_i"][0, 0], layer
                    map_of_h = tab.page.locator("canvas[data-array=h]")
                    map_of_h.hover(position={"x": 1, "y": 1})
                    tab.settle()
                    last = np.float32(tab.page.locator("#here .num").last.get_attribute("data-value"))
                    assert abs(last - traces[layer]["h"][0, 0, 0]) <= 1e-6, layer
                tab.close()


def editing_runs_the_model(ifco, browser):
    """What is written gives what `ifco predict` gives for the same input."""
    model, x = EXAMPLES["sunspots"]
    with tempfile.TemporaryDirectory() as folder, ifco.serving(model, x) as url:
        years = np.load(os.path.join(ROOT, x))[3:4].copy()
        years[0, 5, 0] = 123.5
        path = os.path.join(folder, "x.npy")
        np.save(path, years)
        tab = Tab(browser, url)
        before = tab.page.locator("#outputs .prediction .num").get_attribute("data-value")
        tab.page.fill("[data-input='0']", "\n".join(str(value) for value in years[0, :, 0]))
        tab.page.wait_for_function(
            "(before) => document.querySelector('#outputs .prediction .num').dataset.value !== before", arg=before
        )
        found = np.float32(tab.page.locator("#outputs .prediction .num").get_attribute("data-value"))
        assert found == ifco.predict(model, path)[0, 0]
        # The other panels show the new run.
        assert abs(tab.wire("h") - ifco.trace(model, path, "lstm")["h"][0, -1, 0]) <= 1e-6
        # What cannot be run is said, and the last run stays.
        tab.page.fill("[data-input='0']", "1\n2\nthree")
        tab.page.wait_for_selector("#notice:not([hidden])")
        assert "line 3: \"three\" is not a number" in tab.page.inner_text("#notice")
        assert found == np.float32(tab.page.locator("#outputs .prediction .num").get_attribute("data-value"))
        tab.said = [line for line in tab.said if "422" not in line]
        tab.close()

    model, x, *vocabulary = EXAMPLES["questions"]
    with open(os.path.join(ROOT, vocabulary[1]), encoding="utf-8") as file:
        words = file.read().split("\n")
    with tempfile.TemporaryDirectory() as folder, ifco.serving(model, x, *vocabulary) as url:
        tab = Tab(browser, url)
        for text in ["what is my name", "i am not what i am"]:
            tokens = [words.index(word) for word in text.split()]
            row = np.zeros((1, 16), np.float32)
            row[0, : len(tokens)] = tokens
            path = os.path.join(folder, "x.npy")
            np.save(path, row)
            expected = ifco.predict(model, path)[0, 0]
            tab.page.fill("[data-input='0']", text)
            tab.page.wait_for_function(
                "(value) => Math.fround(document.querySelector('#outputs .prediction .num').dataset.value) === Math.fround(value)",
                arg=float(str(expected)),
            )
            labels = tab.page.evaluate("() => document.querySelector('#step').max")
            assert labels == "15", labels
        tab.close()


def rows_are_chosen(ifco, browser):
    model, x = EXAMPLES["sunspots"]
    expected = ifco.predict(model, x)
    with ifco.serving(model, x, "--row", "7") as url:
        tab = Tab(browser, url)
        shown = lambda: np.float32(tab.page.locator("#outputs .prediction .num").get_attribute("data-value"))
        assert shown() == expected[7, 0]
        tab.page.fill("#row", "58")
        tab.page.press("#row", "Enter")
        tab.settle()
        assert shown() == expected[58, 0]
        tab.close()


def text_on_the_command_line(ifco, browser):
    model, _, *vocabulary = EXAMPLES["dates"]
    with ifco.serving(model, *vocabulary, "--text", "3 nov 2026", "--text", "^2026-11-0") as url:
        tab = Tab(browser, url)
        assert tab.prediction() == ["2026-11-03"], tab.prediction()
        assert tab.page.input_value("[data-input='0']") == "3 nov 2026"
        tab.close()


def without_an_input(ifco, browser):
    model, _, *vocabulary = EXAMPLES["dates"]
    with ifco.serving(model, *vocabulary) as url:
        tab = Tab(browser, url)
        assert "There is no input yet" in tab.page.inner_text("#cell")
        tab.page.fill("[data-input='0']", "june 9 2024")
        tab.page.fill("[data-input='1']", "^2024-06-0")
        tab.page.wait_for_selector("#outputs .prediction")
        assert tab.prediction() == ["2024-06-09"]
        assert tab.page.locator(".diagram .node").count() == 9
        tab.said = [line for line in tab.said if "422" not in line]
        tab.close()
    with ifco.serving("crates/ifco-cli/tests/models/stacked.weights.h5") as url:
        tab = Tab(browser, url)
        assert tab.colors("#matrices canvas >> nth=0") > 10
        assert "weights alone" in tab.page.inner_text("#model")
        tab.close()


def other_cells_show_too(ifco, browser):
    """GRU in both directions, and SimpleRNN: their own diagrams, with the trace's numbers."""
    folder = "crates/ifco-cli/tests/models"
    for model, x, layer, nodes in [
        ("stacked.keras", "stacked_x.npy", "both/forward", 8),
        ("stacked.keras", "stacked_x.npy", "both/backward", 8),
        ("series.keras", "series_x.csv", "rnn", 1),
    ]:
        model, x = f"{folder}/{model}", f"{folder}/{x}"
        arrays = ifco.trace(model, x, layer)
        with ifco.serving(model, x) as url:
            tab = Tab(browser, url)
            tab.choose_layer(layer)
            assert tab.page.locator(".diagram .node").count() == nodes
            for step in range(arrays["h"].shape[1]):
                tab.go(1, step)
                assert abs(tab.wire("h") - arrays["h"][0, step, 1]) <= 1e-6, (layer, step)
                if nodes == 8:
                    tab.page.locator("[data-node=h_tilde]").click()
                    tab.settle()
                    if tab.page.locator("#sums .formula .num").count() == 0:
                        tab.page.locator("[data-node=h_tilde]").click()
                        tab.settle()
                    total = np.float64(tab.page.locator("#sums .formula .num").nth(1).get_attribute("data-value"))
                    assert abs(np.tanh(total) - arrays["h_tilde"][0, step, 1]) < 1e-5, (layer, step)
            tab.close()


def cells_that_keras_has_not_show_too(ifco, browser):
    """Peepholes, coupled gates, clips, a projection: what a gate's sum says makes the gate's number."""
    fixtures = os.path.join(ROOT, "fixtures")
    apply = {"i": sigmoid, "f": sigmoid, "o": sigmoid, "c_tilde": np.tanh}
    random = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        x = os.path.join(folder, "x.npy")
        for name, layer, shape in [
            ("onnx/lstm_peepholes.onnx", "cell", (12, 1, 2)),
            ("onnx/lstm_coupled.onnx", "cell", (12, 1, 2)),
            ("onnx/lstm_clip.onnx", "cell", (12, 1, 2)),
            ("torch/projected.pt", "lstm/backward", (1, 9, 3)),
        ]:
            np.save(x, random.normal(size=shape).astype("float32"))
            with ifco.serving(os.path.join(fixtures, name), x) as url:
                tab = Tab(browser, url)
                tab.choose_layer(layer)
                for step in [0, 4]:
                    tab.go(1, step)
                    for array in ["i", "f", "c_tilde", "o"]:
                        node = tab.page.locator(f"[data-node={array}]")
                        if node.get_attribute("aria-pressed") == "false":
                            node.click()
                            tab.settle()
                        told = [float(value) for value in tab.page.locator("#sums .formula .num").evaluate_all("(all) => all.map((node) => node.dataset.value)")]
                        if (name, array) == ("onnx/lstm_coupled.onnx", "f"):
                            assert told == [float(tab.wire("f"))], told
                            assert abs(told[0] - (1 - tab.wire("i"))) <= 1e-6
                            continue
                        bias, total, value = told
                        assert abs(apply[array](total) - value) <= 1e-5, (name, array, step, told)
                        assert abs(value - tab.wire(array)) <= 1e-6
                if "peepholes" in name:
                    tab.page.locator("canvas[data-part=peepholes]").hover(position={"x": 3, "y": 5})
                    tab.settle()
                    assert "p_i[0]" in tab.page.inner_text("#where"), tab.page.inner_text("#where")
                if "projected" in name:
                    tab.page.click("[data-node=proj]")
                    tab.settle()
                    values = tab.page.locator("#sums .terms .num").evaluate_all("(all) => all.map((node) => Number(node.dataset.value))")
                    assert abs(sum(values) - tab.wire("h")) <= 1e-6, values
                    tab.page.locator("canvas[data-part=projection]").hover(position={"x": 3, "y": 5})
                    tab.settle()
                    assert "W_p[0, 0]" in tab.page.inner_text("#where"), tab.page.inner_text("#where")
                    tab.page.select_option("#sort", "activity")
                    tab.settle()
                    assert tab.colors(".map:has(canvas[data-array=h]) canvas >> nth=0") > 3
                tab.close()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def units_are_sorted_and_found(ifco, browser):
    model, x = EXAMPLES["sunspots"]
    h = ifco.trace(model, x, "lstm")["h"][0]
    with ifco.serving(model, x) as url:
        tab = Tab(browser, url)
        tab.page.select_option("#sort", "activity")
        tab.settle()
        top = int(np.argmax(h.std(axis=0)))
        canvas = tab.page.locator("canvas[data-array=h]")
        canvas.scroll_into_view_if_needed()
        canvas.hover(position={"x": 10, "y": 2})
        tab.settle()
        assert tab.page.inner_text("#here").startswith(f"unit {top}, step 0"), tab.page.inner_text("#here")

        box = canvas.bounding_box()
        column = box["width"] / 22
        tab.page.mouse.move(box["x"] + 15.5 * column, box["y"] + 40)
        tab.page.mouse.down()
        tab.page.mouse.move(box["x"] + 16.5 * column, box["y"] + 60, steps=4)
        tab.page.mouse.move(box["x"] + 17.5 * column, box["y"] + 60, steps=4)
        tab.page.mouse.up()
        tab.settle()
        assert "steps 15 to 17" in tab.page.inner_text("#found h3 >> nth=0")
        threshold = float(tab.page.input_value("#threshold"))
        first = tab.page.locator("#found tbody tr").first
        unit = int(first.locator("button").inner_text().removeprefix("unit "))
        sign = 1 if "≥" in first.inner_text() else -1
        on = h * sign >= threshold
        inside = np.zeros(22, bool)
        inside[15:18] = True
        gaps = [(on * 1.0)[inside].mean(axis=0) - (on * 1.0)[~inside].mean(axis=0)]
        assert on[inside, unit].mean() >= 0.75
        assert f"{round(100 * on[~inside, unit].mean())} %" in first.inner_text(), (gaps, first.inner_text())
        tab.page.click("#zoom")
        tab.settle()
        tab.page.click("#whole")
        tab.settle()
        tab.close()


def the_gradient_of_a_graph_is_watched(ifco, browser):
    """Through the layers that the graph of an ONNX file is the same as."""
    model = os.path.join(ROOT, "fixtures", "onnx", "torch_lstm_last.onnx")
    with tempfile.TemporaryDirectory() as folder:
        x = os.path.join(folder, "x.npy")
        np.save(x, np.random.default_rng(4).normal(size=(1, 8, 3)).astype("float32"))
        arrays = ifco.trace(model, x, "rnn_6", "--gradient", "--target", "sum")
        with ifco.serving(model, x) as url:
            tab = Tab(browser, url)
            tab.page.click("#flow > summary")
            tab.page.wait_for_selector("#flow-maps canvas[data-flow=dc]")
            tab.page.select_option("#flow-of", "1")
            tab.go(2, 6)
            tab.settle()
            for array in ["dh", "dc", "forget_product"]:
                found = np.float32(tab.page.locator(f"#flow-here [data-number={array}]").get_attribute("data-value"))
                assert abs(found - arrays[array][0, 6, 2]) <= 1e-5 * max(1e-6, np.abs(arrays[array]).max()), array
            tab.close()


def the_gradient_is_watched(ifco, browser):
    """It is asked for when it is opened alone, and its numbers are those of `ifco trace --gradient`."""
    for name, layer, target in [("sunspots", "lstm", "0"), ("questions", "bidirectional/backward", "sum"), ("dates", "encoder", "largest")]:
        model, x = EXAMPLES[name][:2]
        arrays = ifco.trace(model, x, layer, "--gradient", "--target", target)
        with ifco.serving(*EXAMPLES[name]) as url:
            tab = Tab(browser, url)
            tab.choose_layer(layer)
            assert not [url for url in tab.requests if "/flow" in url], "nobody has asked"
            tab.page.click("#flow > summary")
            tab.settle()
            tab.page.wait_for_selector("#flow-maps canvas[data-flow=dc]")
            tab.settle()
            lead = tab.page.inner_text("#flow-lead")
            assert "∂L/∂c" in lead and "L is" in lead, lead
            for array in ["dh", "dc", "forget_product"]:
                assert tab.colors(f".map:has(canvas[data-flow={array}]) canvas >> nth=0") > 3, (name, array)
            for step in [0, 5, arrays["dh"].shape[1] - 1]:
                tab.go(2, step)
                for array in ["dh", "dc", "forget_product"]:
                    found = np.float32(tab.page.locator(f"#flow-here [data-number={array}]").get_attribute("data-value"))
                    expected = arrays[array][0, step, 2]
                    assert abs(found - expected) <= 1e-5 * max(1e-6, np.abs(arrays[array]).max()), (name, array, step)
            # What each step contributes, as `ifco explain` says it.
            told = json.loads(ifco.run("explain", model, x, "--row", "0", "--points", "32", "--json"))
            expected = np.array(told["rows"][0]["inputs"][0]["steps"])
            tab.page.wait_for_selector("#flow-parts[data-steps]")
            found = np.array(json.loads(tab.page.locator("#flow-parts").get_attribute("data-steps")))
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), (name, found, expected)
            assert tab.colors("#flow-parts canvas >> nth=0") > 2, name
            if name == "dates":
                tab.page.select_option("#flow-at", "1")
                tab.settle()
                assert "at step 9" in tab.page.inner_text("#flow-lead"), tab.page.inner_text("#flow-lead")
                tab.page.select_option("#flow-of", "3")
                tab.settle()
                assert "L is unit 0" in tab.page.inner_text("#flow-lead")
            # Another input has another gradient.
            if name == "sunspots":
                before = tab.page.locator("#flow-here [data-number=dh]").get_attribute("data-value")
                tab.page.fill("#row", "7")
                tab.page.press("#row", "Enter")
                tab.settle()
                assert tab.page.locator("#flow-here [data-number=dh]").get_attribute("data-value") != before
            tab.close()


def the_file_works_without_a_server(ifco, browser):
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in EXAMPLES.items():
            path = os.path.join(folder, f"{name}.html")
            ifco.run("view", *arguments, "--export", path)
            tab = Tab(browser, f"file://{path}")
            layer = tab.page.locator("#layer option").first.inner_text().rsplit(" (", 1)[0]
            arrays = ifco.trace(*arguments[:2], layer)
            tab.go(2, 1)
            for array in ["f", "c", "h"]:
                assert abs(tab.wire(array) - arrays[array][0, 1, 2]) <= 1e-6, (name, array)
            assert tab.colors(".map canvas >> nth=0") > 3
            tab.page.select_option("#sort", "memory")
            tab.page.locator("canvas[data-part=kernel]").hover()
            tab.settle()
            assert tab.page.locator("#where .cellname").count() == 1
            assert tab.page.locator("[data-input='0']").get_attribute("readonly") is not None
            assert "ifco view" in tab.page.inner_text("#inputs")
            # The gradient of what fits the output, with the numbers of `ifco trace --gradient`.
            arrays = ifco.trace(*arguments[:2], layer, "--gradient")
            tab.page.click("#flow > summary")
            tab.settle()
            for array in ["dh", "dc", "forget_product"]:
                assert tab.colors(f".map:has(canvas[data-flow={array}]) canvas >> nth=0") > 3, (name, array)
                found = np.float32(tab.page.locator(f"#flow-here [data-number={array}]").get_attribute("data-value"))
                expected = arrays[array][0, 1, 2]
                assert abs(found - expected) <= 1e-5 * max(1e-6, np.abs(arrays[array]).max()), (name, array)
            assert "L is" in tab.page.inner_text("#flow-lead"), name
            assert tab.colors("#flow-parts canvas >> nth=0") > 2, name
            canvas = tab.page.locator("canvas[data-array=h]")
            canvas.focus()
            tab.page.keyboard.press("Shift+ArrowRight")
            tab.page.click("#zoom")
            tab.settle()
            assert tab.colors(".map:has(canvas[data-flow=dh]) canvas >> nth=0") > 3, name
            tab.close()


def hostile_names_are_text(ifco, browser):
    """Names of layers and labels that would be markup, or script, if they were not text."""
    hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    short = "\"><svg onload=alert(3)>&amp;"

    def change(config):
        text = json.dumps(config)
        return json.loads(text.replace('"lstm_1"', json.dumps(hostile)))

    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "hostile.keras")
        renamed(os.path.join(ROOT, EXAMPLES["sunspots"][0]), model, change)
        labels = os.path.join(folder, "labels.txt")
        with open(labels, "w", encoding="utf-8") as file:
            file.write("\n".join([hostile, short] * 11))
        arguments = [model, EXAMPLES["sunspots"][1], "--labels", labels]
        exported = os.path.join(folder, "page.html")
        ifco.run("view", *arguments, "--export", exported)
        with ifco.serving(*arguments) as url:
            for address in [url, f"file://{exported}"]:
                tab = Tab(browser, address)
                tab.page.select_option("#layer", index=1)
                tab.settle()
                tab.go(0, 1)
                assert hostile in tab.page.locator("#layer option").nth(1).inner_text()
                assert short in tab.page.inner_text("#step-text")
                tab.go(0, 2)
                assert hostile in tab.page.inner_text("#cell-lead")
                canvas = tab.page.locator("canvas[data-array=h]")
                canvas.focus()
                tab.page.keyboard.press("Shift+ArrowRight")
                tab.settle()
                assert tab.page.locator("img, main script, #bar script, [onload], [onerror]").count() == 0
                tab.close()


def only_with_the_token(ifco, browser):
    with ifco.serving(*EXAMPLES["sunspots"]) as url:
        root = url.rsplit("/", 2)[0]

        def status(address, **headers):
            try:
                return urllib.request.urlopen(urllib.request.Request(address, headers=headers)).status
            except urllib.error.HTTPError as error:
                return error.code

        assert status(url) == 200
        for address in [f"{root}/", f"{root}/info", f"{root}/{'0' * 32}/", f"{root}/{'0' * 32}/info"]:
            assert status(address) == 403, address
        assert status(url, Host="evil.example") == 403
        assert status(url + "run", Origin="http://evil.example") == 403
        # Another page cannot read it, neither as a script nor in a frame.
        page = browser.new_page()
        page.route("http://evil.example/", lambda route: route.fulfill(body="<p>evil</p>", content_type="text/html"))
        page.goto("http://evil.example/")
        read = page.evaluate("(url) => fetch(url).then((r) => r.text()).catch(() => 'refused')", url + "info")
        assert read == "refused", read
        page.close()


def the_keyboard_will_do(ifco, browser):
    with ifco.serving(*EXAMPLES["sunspots"]) as url:
        tab = Tab(browser, url)
        page = tab.page
        # Every control is reached by Tab, in the order in which it is read.
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "() => { const a = document.activeElement; return a.id || a.dataset.part || a.dataset.node || a.dataset.array || a.tagName; }"
                )
            )
        order = ["layer", "unit", "row", "play", "step", "kernel", "recurrent_kernel", "bias", "fc", "f"]
        places = [reached.index(name) for name in order]
        assert places == sorted(places), reached
        page.focus("canvas[data-part=kernel]")
        page.keyboard.press("Home")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        tab.settle()
        assert page.inner_text("#where .cellname code") == "kernel[0, 27]"
        page.keyboard.press("Enter")
        tab.settle()
        assert page.input_value("#unit") == "3"
        assert page.locator("#gates [data-gate='1']").get_attribute("aria-pressed") == "true"
        page.focus("#step")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        tab.settle()
        assert page.inner_text("#step-text").startswith("1 / 21")
        page.focus("[data-node=sum]")
        page.keyboard.press("Enter")
        tab.settle()
        assert "i · c̃" in page.inner_text("#sums h3")
        page.focus("canvas[data-array=c]")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        tab.settle()
        assert "steps 1 to 3" in page.inner_text("#found h3 >> nth=0")
        page.keyboard.press("Escape")
        tab.settle()
        assert page.locator("#found h3").count() == 0
        page.focus("[data-layer=lstm_1]")
        page.keyboard.press("Enter")
        tab.settle()
        assert page.locator("#layer").input_value() == "1"
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, canvas[tabindex], [role=button], input, select, textarea")]
                .filter((e) => !e.closest("[hidden]") && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
                .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert not unnamed, unnamed
        tab.close()


def it_fits_every_screen(ifco, browser):
    """Nothing is wider than the screen, and all panels are there, also on paper and in the dark."""
    with ifco.serving(*EXAMPLES["dates"]) as url:
        for width, height in [(360, 740), (800, 1000), (1280, 800), (1366, 768), (1920, 1080)]:
            tab = Tab(browser, url, viewport={"width": width, "height": height}, color_scheme="dark")
            wide = tab.page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, (width, wide)
            beyond = tab.page.evaluate(
                """() => [...document.querySelectorAll(".card.sums > *, .card.readout > *")]
                    .filter((e) => e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right)
                    .map((e) => e.outerHTML.slice(0, 80))"""
            )
            assert not beyond, (width, beyond)
            tab.page.emulate_media(media="print", color_scheme="dark")
            tab.settle()
            assert tab.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            tab.close()


def ten_thousand_steps(ifco, browser):
    """A long input is drawn, moved through, sorted and searched."""

    def change(config):
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, None, 1]
        return config

    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "long.keras")
        renamed(os.path.join(ROOT, EXAMPLES["sunspots"][0]), model, change)
        x = os.path.join(folder, "x.npy")
        years = 80 + 60 * np.sin(np.arange(10_000) / 1.7)
        np.save(x, years.astype(np.float32).reshape(1, -1, 1))
        h = ifco.trace(model, x, "lstm")["h"][0]
        with ifco.serving(model, x) as url:
            tab = Tab(browser, url)
            assert tab.page.locator("#step").get_attribute("max") == "9999"
            tab.go(5, 7777)
            assert abs(tab.wire("h") - h[7777, 5]) <= 1e-5
            tab.page.select_option("#sort", "feature")
            tab.settle()
            canvas = tab.page.locator("canvas[data-array=h]")
            canvas.focus()
            for _ in range(3):
                tab.page.keyboard.press("Shift+ArrowRight")
            tab.settle()
            assert "steps 7777 to 7780" in tab.page.inner_text("#found h3 >> nth=0")
            tab.page.click("#zoom")
            tab.settle()
            assert tab.colors(".map:has(canvas[data-array=h]) canvas >> nth=0") > 3
            tab.close()


TESTS = [
    every_panel_renders,
    hovering_tells_the_right_gate,
    a_gate_lights_everywhere,
    the_slider_tells_the_trace,
    switching_layers_tells_each_ones_numbers,
    editing_runs_the_model,
    rows_are_chosen,
    text_on_the_command_line,
    without_an_input,
    other_cells_show_too,
    cells_that_keras_has_not_show_too,
    units_are_sorted_and_found,
    the_gradient_is_watched,
    the_gradient_of_a_graph_is_watched,
    the_file_works_without_a_server,
    hostile_names_are_text,
    only_with_the_token,
    the_keyboard_will_do,
    it_fits_every_screen,
    ten_thousand_steps,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ifco", required=True)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    ifco = Command(arguments.ifco)
    passed = failed = 0
    with chromium() as browser:
        for test in TESTS:
            if arguments.names and test.__name__ not in arguments.names:
                continue
            try:
                test(ifco, browser)
            except Exception:
                failed += 1
                print(f"FAILED {test.__name__}", flush=True)
                traceback.print_exc()
            else:
                passed += 1
                print(f"ok     {test.__name__}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
