"""How fast the page of `ifco view` answers, on the wall clock, in headless Chromium.

    python bench/page.py --make FOLDER          # with Keras: a model of 4 layers x 512 units, inputs
    python bench/page.py IFCO MODEL INPUT       # with Playwright: see .ci/browser for an environment

Each line is one interaction, tried several times: the median and the worst time in milliseconds
from the event until all that it changes is on the screen. An edit of the input has two: until the
first new numbers are on the screen (the prediction and the heat maps as far as they are), and until
all of them are.

$CHROMIUM is the browser, if it is not /usr/bin/chromium.
"""

import os
import statistics
import subprocess
import sys
import time

TRIES = 9

MEASURE = """async ({what, to, value}) => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const busy = () => Number(document.body.dataset.busy);
  const node = document.querySelector(what);
  let first = null;
  if (to === 'type') {
    // Over the first decimal of a line's first number.
    const lines = node.value.split('\\n').slice(0, value.line + 1);
    const place = lines.slice(0, -1).reduce((sum, line) => sum + line.length + 1, 0) + lines.at(-1).indexOf('.') + 1;
    node.focus();
    node.setSelectionRange(place, place + 1);
    value = value.digit;
    await frame();
  }
  const start = performance.now();
  const outputs = new MutationObserver(() => { first ??= 0; });
  outputs.observe(document.querySelector('#outputs'), {childList: true});
  if (to === 'click') node.click();
  else if (to === 'key') node.dispatchEvent(new KeyboardEvent('keydown', {key: value, bubbles: true}));
  else if (to === 'type') document.execCommand('insertText', false, value);
  else if (to === 'move') {
    const box = node.getBoundingClientRect();
    const at = {bubbles: true, pointerId: 1, button: 0, clientX: box.left + value[0] * box.width, clientY: box.top + value[1] * box.height};
    node.dispatchEvent(new PointerEvent('pointermove', at));
  } else {
    node.value = value;
    node.dispatchEvent(new Event(to, {bubbles: true}));
  }
  // An edit's run is under way for longer than what is drawn of it.
  const own = () => document.body.classList.contains('is-running') ? 1 : 0;
  for (;;) {
    await frame();
    if (first === 0 && busy() <= own()) first = performance.now() - start;
    if (busy() === 0) break;
  }
  outputs.disconnect();
  return [first, performance.now() - start];
}"""


def make(folder):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    layers = [keras.layers.LSTM(512, return_sequences=True) for _ in range(4)]
    model = keras.Sequential([keras.Input((None, 8)), *layers, keras.layers.Dense(3)])
    os.makedirs(folder, exist_ok=True)
    model.save(f"{folder}/model.keras")
    random = np.random.default_rng(1)
    for steps in [1000, 10_000]:
        x = random.normal(size=(1, steps, 8)).astype("float32").round(3)
        np.save(f"{folder}/x{steps}.npy", x)


def load():
    with open("/proc/loadavg") as file:
        return file.read().split()[0]


def tell(name, times):
    times = [time for time in times if time is not None]
    print(f"{name:44} median {statistics.median(times):5.0f}   worst {max(times):5.0f}   of {len(times)}", flush=True)


class Page:
    def __init__(self, browser, url):
        self.page = browser.new_page(viewport={"width": 1366, "height": 768})
        self.page.on("pageerror", lambda error: print("error:", error))
        start = time.time()
        self.page.goto(url)
        self.page.wait_for_selector("#matrices canvas", state="attached")
        self.page.wait_for_function("() => document.body.dataset.busy === '0'")
        # Until it is on the screen, as with everything that follows.
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        self.loaded = 1000 * (time.time() - start)

    def do(self, what, to, value=None):
        return self.page.evaluate(MEASURE, {"what": what, "to": to, "value": value})

    def all(self, name, actions, rest=0.4):
        times = []
        for action in actions:
            times.append(self.do(*action)[1])
            time.sleep(rest)
        tell(name, times)

    def edits(self, name, line):
        """Types a digit into one line of the input, each time another one."""
        firsts, wholes = [], []
        for k in range(TRIES):
            typed = {"line": line, "digit": str(k)}
            first, whole = self.do("[data-input]", "type", typed)
            firsts.append(first)
            wholes.append(whole)
            time.sleep(0.7)
        tell(f"{name}: first numbers", firsts)
        tell(f"{name}: all", wholes)


def main(ifco, model, x):
    from playwright.sync_api import sync_playwright

    start = time.time()
    server = subprocess.Popen([ifco, "view", model, x], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = server.stdout.readline().strip()
    print(f"the command's start {1000 * (time.time() - start):.0f} ms; load {load()}")
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            loads, switches = [], []
            for k in range(TRIES):
                page = Page(browser, url)
                loads.append(page.loaded)
                switches.append(page.do("#layer", "change", str(1 + k % 3))[1])
                if k + 1 < TRIES:
                    page.page.close()
            tell("load, with the browser's own start", loads)
            tell("another layer, at once after loading", switches)
            time.sleep(2)
            page.all("another layer", [("#layer", "change", str(k % 4)) for k in range(TRIES)])
            steps = int(page.page.get_attribute("#step", "max"))
            page.all("another step", [("#step", "input", str(steps * k // TRIES)) for k in range(TRIES)])
            page.all("another unit", [("#unit", "change", str(50 * k + 7)) for k in range(TRIES)])
            page.all("a gate lit", [("#gates [data-gate='1']", "click") for _ in range(TRIES)])
            hover = [("canvas[data-part=recurrent_kernel]", "move", [0.1 * k + 0.05, 0.5]) for k in range(TRIES)]
            page.all("a weight pointed at", hover)
            hover = [("canvas[data-array=c]", "move", [0.1 * k + 0.05, 0.5]) for k in range(TRIES)]
            page.all("a gate's number pointed at", hover)
            nodes = ["i", "o", "c_tilde", "f"]
            page.all("a sum opened", [(f"[data-node={nodes[k % 4]}]", "key", "Enter") for k in range(TRIES)])
            sorts = ["activity", "memory", "feature", "unit", "stored"]
            page.all("units sorted", [("#sort", "change", sorts[k % 5]) for k in range(TRIES)])
            page.edits("the last step edited", steps)
            page.edits("a step in the middle edited", steps // 2)
            page.edits("step 0 edited", 0)
            browser.close()
    finally:
        server.terminate()
    print(f"load {load()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(sys.argv[2])
    else:
        main(*sys.argv[1:4])
