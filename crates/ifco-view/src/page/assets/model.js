// Panel 4: the layers, the input and what the model predicts.

function buildGraph() {
  const host = byId("graph");
  host.replaceChildren();
  if (!info.model) {
    byId("model-lead").textContent = "This file holds weights alone: it does not say how the layers are connected.";
    host.append(
      el("ul", { class: "cells" }, views().map((of, index) =>
        el("li", {}, el("button", { type: "button", onclick: () => lookSoon(index) }, of.name)))),
    );
    return tellChosen();
  }
  const layers = info.model.layers;
  const total = layers.reduce((sum, layer) => sum + (layer.parameters || 0), 0);
  byId("model-lead").textContent = `${info.model.name}: ${count(layers.length, "layer")}, ${count(total, "parameter")}.`;
  const depth = depths(layers);
  const columns = [];
  layers.forEach((layer, index) => (columns[depth[index]] ??= []).push(index));
  const [W, H, GX, GY] = [186, 50, 18, 34];
  const widest = Math.max(...columns.filter(Boolean).map((column) => column.length));
  const width = Math.max(1, widest) * (W + GX) + GX;
  const height = columns.length * (H + GY) + 8;
  const places = new Map();
  columns.forEach((column, level) => {
    const first = (width - column.length * (W + GX) + GX) / 2;
    column.forEach((index, at) => places.set(index, { x: first + at * (W + GX), y: 4 + level * (H + GY) }));
  });
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "layers-graph", role: "group", "aria-label": "The layers" });
  root.style.maxWidth = `${width}px`;
  layers.forEach((layer, index) => {
    const to = places.get(index);
    for (const name of new Set(layer.from)) {
      const from = places.get(layers.findIndex((other) => other.name === name));
      if (!from) continue;
      const [x1, y1, x2, y2] = [from.x + W / 2, from.y + H, to.x + W / 2, to.y - 2];
      const middle = Math.max((y1 + y2) / 2, y2 - GY / 2);
      root.append(svg("path", { class: "edge", d: `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`, "marker-end": "url(#tip-of-wire)" }));
    }
  });
  layers.forEach((layer, index) => {
    const { x, y } = places.get(index);
    const own = viewsOf(layer.name);
    const choose = () => {
      // A second click goes on to the other direction, or the next stacked cell.
      const now = own.indexOf(state.view);
      lookSoon(own[(now + 1) % own.length]);
    };
    const sub = `${layer.class}${layer.shape ? ` ${layer.shape}` : ""}`;
    const clip = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
    root.append(
      svg("g",
        {
          class: `layer${own.length ? " recurrent" : ""}`,
          "data-layer": layer.name,
          ...(own.length
            ? { role: "button", tabindex: "0", "aria-label": `${layer.name}: look at this layer`, onclick: choose, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } } }
            : {}),
        },
        svg("title", {}, `${layer.name}: ${sub}`),
        svg("rect", { x, y, width: W, height: H, rx: 8 }),
        svg("text", { x: x + W / 2, y: y + 20, class: "layer-name" }, clip(layer.name, 24)),
        svg("text", { x: x + W / 2, y: y + 38, class: "layer-class" }, clip(sub, 30))),
    );
  });
  host.append(root);
  tellChosen();
}

/** Which views are of a layer: itself, its directions, its cells, its calls. */
function viewsOf(layer) {
  const isOf = ({ name }) => name === layer || name.startsWith(`${layer}/`) || name.startsWith(`${layer}#`);
  return [...views().entries()].filter(([, of]) => isOf(of)).map(([index]) => index);
}

/** Marks the layer that is looked at. */
function tellChosen() {
  for (const node of document.querySelectorAll("#graph [data-layer]")) {
    const isChosen = viewsOf(node.dataset.layer).includes(state.view);
    node.classList.toggle("chosen", isChosen);
    if (node.classList.contains("recurrent")) node.setAttribute("aria-pressed", String(isChosen));
  }
  document.querySelectorAll("#graph .cells button").forEach((button, index) => button.setAttribute("aria-pressed", String(index === state.view)));
}

/** How far each layer is from the inputs. */
function depths(layers) {
  const names = new Map(layers.map((layer, index) => [layer.name, index]));
  const depth = layers.map(() => 0);
  // A file's order need not be the graph's: until nothing moves, at most once for each layer.
  for (let round = 0; round < layers.length; round++) {
    let isDone = true;
    layers.forEach((layer, index) => {
      for (const name of layer.from) {
        const from = names.get(name);
        if (from !== undefined && from !== index && depth[index] <= depth[from] && depth[from] + 1 < layers.length) {
          depth[index] = depth[from] + 1;
          isDone = false;
        }
      }
    });
    if (isDone) break;
  }
  return depth;
}

function buildInputs() {
  const host = byId("inputs");
  host.replaceChildren();
  if (!info.model) return host.append(el("p", { class: "hint" }, "Nothing to run."));
  host.append(el("h3", {}, info.inputs.length > 1 ? "The inputs" : "The input"));
  info.inputs.forEach((input, index) => {
    const own = state.run ? state.run.inputs[index] : null;
    const isTokens = input.kind === "tokens";
    const how = isTokens
      ? info.hasVocabulary ? "text: it becomes the model's tokens" : `tokens: whole numbers below ${input.known}, or characters by their codes`
      : "numbers: a line for each step, features separated by commas";
    const id = `input-${index}`;
    const lines = own && own.text ? own.text.split("\n").length : 3;
    const field = el("textarea", {
      id,
      rows: isTokens ? 2 : clamp(lines, 3, 9),
      spellcheck: "false",
      "data-input": index,
      readonly: !isLive || (own && own.text === null),
      oninput: runTexts,
      "aria-describedby": `${id}-how`,
    });
    field.value = own && own.text !== null ? own.text : "";
    host.append(
      el("label", { for: id }, el("code", {}, input.name), input.shape ? ` ${shapeText(input.shape)}` : ""),
      field,
      el("p", { class: "hint", id: `${id}-how` }, own && own.text === null ? "This input is too large to edit here: change the file, and open it again." : how),
    );
  });
  if (!isLive) host.append(el("p", { class: "hint strong" }, "Editing runs the model, which needs the engine: open the model with `ifco view`."));
  else host.append(el("p", {}, el("button", { type: "button", id: "restore", onclick: () => runRow(0) }, "back to the file's input")));
  tellEdited();
}

/** Whether there is a way back. */
function tellEdited() {
  const restore = byId("restore");
  if (restore) restore.hidden = !(info.rows && state.run && state.run.row === null);
}

const shapeText = (shape) => `(${shape.map((size) => size ?? "None").join(", ")}${shape.length === 1 ? "," : ""})`;

let isRunning = false;
let isOld = false;
/** Counts the runs, so that one that is still under way ends where another one begins. */
let runs = 0;

/** Runs what is written; what is written meanwhile is run afterwards, the last of it alone. */
async function runTexts() {
  tellRunning("running…");
  if (isRunning) {
    isOld = true;
    return;
  }
  isRunning = true;
  do {
    isOld = false;
    await runWritten();
  } while (isOld);
  isRunning = false;
}

const runWritten = latest(async (isLatest) => {
  const own = ++runs;
  const fields = [...document.querySelectorAll("[data-input]")];
  const texts = fields.map((field) => field.value);
  try {
    const before = state.run ? state.run.run : null;
    const run = { ...(await source.run({ texts, before })), before };
    if (!isLatest() || own !== runs) return;
    tellWrong(null);
    showRun(run, true);
    followRun(own, run.run);
  } catch (error) {
    if (own !== runs) return;
    tellRunning("");
    if (isLatest()) tellWrong(error);
  }
});

let wrong = null;

/** Says what is wrong with what is written; only when it has rested, since half a number is none. */
function tellWrong(error) {
  if (wrong !== null) {
    clearTimeout(wrong);
    wrong = null;
    busy(-1);
  }
  const fields = [...document.querySelectorAll("[data-input]")];
  if (!error) {
    notice(null);
    for (const field of fields) field.removeAttribute("aria-invalid");
    return;
  }
  busy(1);
  wrong = setTimeout(() => {
    wrong = null;
    busy(-1);
    for (const field of fields) field.setAttribute("aria-invalid", "true");
    notice(error);
  }, 300);
}

const runRow = latest(async (isLatest, row) => {
  const own = ++runs;
  tellRunning("running…");
  try {
    const run = await source.run({ row });
    if (!isLatest() || own !== runs) return;
    notice(null);
    showRun(run, false);
    followRun(own, run.run);
  } catch (error) {
    if (own === runs) tellRunning("");
    throw error;
  }
});

const nextFrame = () => new Promise((done) => requestAnimationFrame(done));

/** Asks for more of a run until it is done, and draws what there is as fast as can be drawn. */
const followRun = latest(async (isLatest, own, id) => {
  // The first numbers are on the screen before the engine takes both the cores.
  while (underWay > 1) await nextFrame();
  let drawn = performance.now();
  while (state.run.done < state.run.steps) {
    tellRunning(`running: step ${state.run.done.toLocaleString("en")} of ${state.run.steps.toLocaleString("en")}`);
    const more = await source.run({ on: id });
    if (own !== runs || state.run.run !== id) return;
    // What was drawn last is still being drawn: the next time, then.
    while (underWay > 1 && more.done === more.steps) await nextFrame();
    if (own !== runs || state.run.run !== id) return;
    // A picture takes time from the run, which is waited for too.
    if (more.done < more.steps && (underWay > 1 || performance.now() - drawn < 200)) continue;
    drawn = performance.now();
    state.run = { ...state.run, ...more };
    changed.add("data");
    tell();
  }
  tellRunning("");
});

/** What is told of a run that is not done. */
function tellRunning(text) {
  byId("running").textContent = text;
  document.body.classList.toggle("is-running", text !== "");
}

/** Whether a run can be drawn in the places of the last one. */
function isAlike(run) {
  const shape = ({ traces }) => JSON.stringify(traces.map(({ name, steps, sequences }) => [name, steps, sequences]));
  return state.run !== null && shape(state.run) === shape(run);
}

/** Shows a run; what is being written stays as it is. */
function showRun(run, isWriting) {
  if (isWriting && isAlike(run)) {
    state.run = run;
    changed.add("data");
    return tell();
  }
  const name = view() ? view().name : null;
  state.run = run;
  const same = views().findIndex((of) => of.name === name);
  look(Math.max(0, same), { run });
  changed.add("run");
  if (isWriting) changed.add("written");
  tell();
}

/** What is shown of each output, with what made it. */
const shownOutputs = new Map();

/** Made anew only where it has changed: a long table takes the browser a while. */
function outputOf(output) {
  const key = JSON.stringify(output);
  let own = shownOutputs.get(output.name);
  if (!own || own.key !== key) {
    own = { key, nodes: outputNodes(output) };
    shownOutputs.set(output.name, own);
  }
  return own.nodes;
}

function buildOutputs() {
  const host = byId("outputs");
  host.replaceChildren();
  if (!info.model) return;
  if (!state.run) {
    host.append(el("h3", {}, "What it predicts"), el("p", { class: "hint" }, isLive ? "Write an input, and the model runs." : "This file holds no input."));
    return;
  }
  host.append(el("h3", {}, "What it predicts"));
  for (const output of state.run.outputs) {
    host.append(el("p", { class: "output-name" }, el("code", {}, output.name), ` ${shapeText(output.shape)}`), outputOf(output));
  }
  const { seconds, kept, steps, done } = state.run;
  const from = kept ? `, from step ${kept.toLocaleString("en")} on` : "";
  if (done === steps) host.append(el("p", { class: "hint" }, `Ran in ${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms${from}.`));
}

/** One number large, a list of tokens as text, and otherwise a table. */
function outputNodes(output) {
  if (output.values === null) return el("p", { class: "hint" }, "known when the last step has run");
  const { first } = output;
  const values = output.values.map(Number);
  const size = output.shape.reduce((product, n) => product * n, 1);
  const last = output.shape[output.shape.length - 1] || 1;
  if (size === 1) return el("p", { class: "prediction", "data-output": output.name }, numeral(values[0], { class: "num strong" }));
  const tokens = info.vocabulary && info.vocabulary.length === last ? info.vocabulary : null;
  const rows = Math.min(Math.floor(values.length / last), 200);
  const best = (row) => {
    let at = 0;
    for (let k = 1; k < last; k++) if (values[row * last + k] > values[row * last + at]) at = k;
    return at;
  };
  if (tokens) {
    const chosen = Array.from({ length: rows }, (_, row) => best(row));
    const isText = chosen.every((token) => tokens[token].length === 1);
    return el("div", { "data-output": output.name },
      el("p", { class: "prediction" }, chosen.map((token) => tokens[token]).join(isText ? "" : " ")),
      el("table", { class: "terms short" },
        el("caption", {}, "Each step's most likely token"),
        el("tbody", {}, chosen.map((token, row) => el("tr", {}, el("td", { class: "value" }, first + row), el("th", { scope: "row" }, `“${tokens[token]}”`), el("td", { class: "value" }, numeral(values[row * last + token])))))));
  }
  const columns = Math.min(last, 12);
  const isVector = rows === 1 && last > 12;
  const body = isVector
    ? Array.from({ length: Math.min(last, 200) }, (_, k) => el("tr", {}, el("th", { scope: "row" }, k), el("td", { class: "value" }, numeral(values[k]))))
    : Array.from({ length: rows }, (_, row) => el("tr", {}, el("th", { scope: "row" }, first + row), Array.from({ length: columns }, (_, k) => el("td", { class: "value" }, numeral(values[row * last + k])))));
  const left = isVector ? size - Math.min(last, 200) : size - rows * columns;
  return el("div", { "data-output": output.name },
    el("table", { class: "terms short" }, el("tbody", {}, body)),
    left > 0 ? el("p", { class: "hint" }, `${count(left, "further number")}: \`ifco predict\` writes them all.`) : null);
}

watch(["run"], buildGraph);
watch(["view"], tellChosen);
watch(["run", "data"], (now) => {
  if (now.has("run") && !now.has("written")) buildInputs();
  tellEdited();
  buildOutputs();
});
