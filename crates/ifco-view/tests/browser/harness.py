"""A served page in headless Chromium, and the command's own answers to compare it with."""

import contextlib
import csv
import json
import os
import subprocess
import tempfile
import zipfile

import numpy as np
from playwright.sync_api import sync_playwright

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 4))
EXAMPLES = {
    "sunspots": ["examples/sunspots/model.keras", "examples/sunspots/x.npy"],
    "questions": [
        "examples/questions/model.keras",
        "examples/questions/x.npy",
        "--vocabulary",
        "examples/questions/vocabulary.txt",
    ],
    "dates": [
        "examples/dates/model.keras",
        "examples/dates/x.npz",
        "--vocabulary",
        "examples/dates/characters.txt",
    ],
}


class Command:
    """The `ifco` that is tested."""

    def __init__(self, path):
        self.path = os.path.abspath(path)

    def run(self, *arguments):
        result = subprocess.run([self.path, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, f"ifco {arguments}: {result.stderr}"
        return result.stdout

    @contextlib.contextmanager
    def serving(self, *arguments):
        """The address of `ifco view`."""
        process = subprocess.Popen(
            [self.path, "view", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), url + process.stderr.read()
            yield url
        finally:
            process.terminate()
            process.communicate()

    def gates(self, model, layer):
        """W, U and b of each gate, as arrays: what `ifco gates` writes."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "gates.npz")
            self.run("gates", model, "--layer", layer, "-o", path)
            with np.load(path) as arrays:
                return {name: arrays[name] for name in arrays.files}

    def trace(self, model, inputs, layer, *more):
        """Every array of a layer: what `ifco trace` writes."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.npz")
            self.run("trace", model, inputs, "--layer", layer, "-o", path, *more)
            with np.load(path) as arrays:
                return {name: arrays[name] for name in arrays.files}

    def predict(self, model, *inputs):
        """What `ifco predict` prints."""
        rows = csv.reader(self.run("predict", model, *inputs).splitlines())
        return np.array([[np.float32(x) for x in row] for row in rows])


@contextlib.contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that is open, and everything that it said and asked for."""

    def __init__(self, browser, url, **options):
        self.url = url
        self.said = []
        self.requests = []
        options = {"viewport": {"width": 1366, "height": 768}, **options}
        self.page = browser.new_page(**options)
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#matrices canvas", state="attached")
        self.settle()

    def settle(self):
        """Waits until nothing is asked for or drawn any more."""
        frame = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
        for _ in range(2):
            self.page.evaluate(frame)
            self.page.wait_for_function("() => document.body.dataset.busy === '0'")

    def close(self, own=None):
        """Nothing was said, and nothing asked for elsewhere."""
        self.page.close()
        assert not self.said, self.said
        own = own or self.url
        others = [url for url in self.requests if not url.startswith(own) and not url.startswith("data:")]
        assert not others, others

    def choose_layer(self, name):
        options = self.page.locator("#layer option").all_text_contents()
        index = next(i for i, text in enumerate(options) if text.rsplit(" (", 1)[0] == name)
        self.page.select_option("#layer", index=index)
        self.settle()

    def go(self, unit, step):
        self.page.fill("#unit", str(unit))
        self.page.press("#unit", "Enter")
        self.page.locator("#step").evaluate(
            "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
            step,
        )
        self.settle()

    def wire(self, name):
        """The exact number on a wire of the diagram."""
        return np.float32(self.page.locator(f"tspan[data-wire={name}]").get_attribute("data-value"))

    def prediction(self):
        texts = self.page.locator("#outputs .prediction").all_text_contents()
        return [text.strip() for text in texts]

    def colors(self, selector):
        """How many colours a canvas shows: an empty one has one."""
        return self.page.locator(selector).evaluate(
            """(canvas) => {
                // Of a copy: who reads a canvas twice is warned.
                const { width, height } = canvas;
                const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, width, height);
                return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )


def renamed(source, target, change):
    """A `.keras` file whose configuration `change` has changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = json.dumps(change(config)).encode()
            new.writestr(name, content)
