// Panel 2: one step of one unit.

let diagram = null;

function buildCell() {
  const shown = cell();
  const kind = shown && DIAGRAMS[shown.kind] && trace() ? [shown.kind, shown.activation, shown.recurrent_activation, shown.output_activation, JSON.stringify(shown.options)].join(" ") : "";
  if (diagram && diagram.kind === kind) {
    // Another layer of the same kind: its numbers come into the same places.
    if (isStale(state.step)) for (const label of diagram.labels.values()) label.textContent = "";
    drawCell();
    drawStrip();
    return;
  }
  byId("diagram").replaceChildren();
  byId("strip").replaceChildren();
  byId("sums").replaceChildren();
  diagram = null;
  if (!kind) {
    byId("cell-lead").textContent = "";
    if (shown) byId("diagram").append(el("p", { class: "hint" }, whyNoTrace()));
    return;
  }
  diagram = { kind, ...buildDiagram(shown, (name) => set({ open: state.open === name ? null : name })) };
  byId("diagram").append(diagram.root);
  const curves = el("canvas", { "aria-hidden": "true" });
  const over = el("canvas", { class: "over", onpointerdown: pickStep, onpointermove: (event) => event.buttons && pickStep(event) });
  byId("strip").append(el("div", { class: "layers" }, curves, over), el("p", { class: "key", id: "strip-key" }));
  drawCell();
  drawStrip();
}

/** Why a layer has no trace to show. */
function whyNoTrace() {
  if (!info.model) return "These are weights alone: without the model's architecture there is nothing to run.";
  if (!state.run) return isLive ? "There is no input yet. Give one below, in “The model”." : "This file holds no input.";
  return "The model's outputs do not need this layer, so it did not run.";
}

const drawCell = latest(async (isLatest) => {
  const shown = cell();
  if (!diagram || !trace()) return;
  const [index, { trace: at, cell: own }] = [state.step, view()];
  diagram.root.classList.toggle("stale", isStale(index));
  // What the step was before says more than nothing.
  if (isStale(index)) return;
  const unit = clamp(state.unit, 0, shown.units - 1);
  // Of the units beyond the projected h, its last value.
  const output = Math.min(unit, shown.outputs - 1);
  const [step, weights, projection] = await Promise.all([
    source.step(state.run.run, at, index),
    source.column(own, unit),
    shown.options.projection && state.open === "proj" ? source.down(own, "projection", output) : null,
  ]);
  if (!isLatest() || !diagram) return;
  if (!step) {
    notice(new Error(`the exact numbers of ${stepName(index)} are not in this file`));
    return;
  }
  if (!isLive) notice(null);
  const values = wireNumbers(shown, step, unit);
  for (const [name, label] of diagram.labels) {
    if (name === "x") {
      const token = stepLabel(index);
      label.textContent =
        (shown.features === 1 ? short(step.x[0]) : count(shown.features, "feature")) + (token === null ? "" : ` “${token}”`);
      if (shown.features === 1) label.dataset.value = exact(step.x[0]);
      continue;
    }
    // A projected h has other values than one for each unit.
    const isOther = name.startsWith("h") && shown.options.projection;
    label.textContent = isOther ? `[${output}] ${short(step[name][output])}` : short(values[name]);
    label.dataset.value = exact(isOther ? step[name][output] : values[name]);
  }
  const skipped = trace().skipped.includes(index);
  diagram.root.classList.toggle("skipped", skipped);
  const backward = trace().backward ? " It reads the input from its end: the step before is the one to the right." : "";
  byId("cell-lead").textContent = skipped
    ? `${view().name}, ${stepName(index)}: this step is masked. Nothing is computed; h and c stay as they were.`
    : `${view().name}, unit ${unit}, at ${stepName(index)}.${backward}`;
  if (state.open === "proj") {
    tellOpen();
    byId("sums").replaceChildren(...projectionNodes(shown, projection, step, output));
  } else openSum(shown, step, weights, unit, values);
});

/** Marks what is open. */
function tellOpen() {
  for (const [name, node] of diagram.nodes) node.setAttribute("aria-pressed", String(name === state.open));
}

function openSum(shown, step, weights, unit, values) {
  const host = byId("sums");
  tellOpen();
  const name = state.open;
  const gate = shown.gates.findIndex((of) => of.array === name);
  if (gate >= 0) return host.replaceChildren(...gateNodes(shown, weights, step, gate, unit));
  const text = name && operationText(shown, name, values);
  if (text) {
    return host.replaceChildren(el("h3", {}, text[0]), el("p", { class: "formula big" }, text[1]), el("p", {}, text[2]));
  }
  const of = shown.gates.length > 1 ? "A coloured box is a gate" : "The box is the layer";
  host.replaceChildren(
    el("h3", {}, "Open a step of the sum"),
    el("p", {}, `${of}: choose it to see which inputs and which units make its number. A circle multiplies or adds what comes along its wires.`),
    el("table", { class: "terms" }, el("caption", {}, `Unit ${unit} now`), el("tbody", {}, trace().arrays.map((array) => {
      const index = gateOf(array);
      const symbol = { c_tilde: "c̃", h_tilde: "h̃" }[array] || array;
      const what = index >= 0 ? shown.gates[index].name : array === "c" ? "cell state" : "hidden state";
      if (unit >= step[array].length) return null;
      return el("tr", {}, el("th", { scope: "row" }, symbol), el("td", {}, what), el("td", { class: "value" }, numeral(step[array][unit])));
    }))),
  );
}

const statesOf = (of) => (of.kind === "LSTM" ? ["c", "h"] : ["h"]);

/** The states of a unit of a trace at all steps, or at more stretches of them than there are pixels. */
const stripCurves = (at, unit) => source.curves(state.run.run, state.run.done, at, unit, 1500);

/** The states of the unit at all steps, as curves. */
const drawStrip = latest(async (isLatest) => {
  if (!diagram || !trace()) return;
  const shown = cell();
  const names = statesOf(shown);
  const unit = clamp(state.unit, 0, shown.units - 1);
  const curves = await stripCurves(view().trace, unit);
  if (!isLatest() || !diagram || curves.some((curve) => !curve)) return;
  const canvas = byId("strip").querySelector("canvas");
  const width = canvas.parentElement.clientWidth;
  const height = 64;
  const context = prepare(canvas, width, height);
  const top = Math.max(1e-9, ...curves.map((curve) => largest(curve, 0)));
  context.strokeStyle = theme().grid;
  context.beginPath();
  context.moveTo(0, height / 2);
  context.lineTo(width, height / 2);
  context.stroke();
  const styles = names.map((name) => (name === "c" ? theme().curves[2] : theme().ink));
  curves.forEach((curve, index) => {
    context.strokeStyle = styles[index];
    context.lineWidth = index === curves.length - 1 ? 2 : 1.5;
    context.setLineDash(names[index] === "c" ? [5, 3] : []);
    context.beginPath();
    curve.forEach((value, column) => {
      // What is not done yet is no number.
      if (Number.isNaN(value)) return;
      const x = ((column + 0.5) / curve.length) * width;
      const y = height / 2 - (value / top) * (height / 2 - 4);
      if (column) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
    context.stroke();
  });
  context.setLineDash([]);
  byId("strip-key").textContent =
    `Unit ${unit} through time: ${unit < shown.outputs ? `h solid${names.length > 1 ? ", c dashed" : ""}` : "c dashed"}; the line in the middle is 0, the edges ±${short(top)}.`;
  drawStripCursor();
});

function drawStripCursor() {
  const over = byId("strip").querySelector("canvas.over");
  if (!over || !trace()) return;
  const width = over.parentElement.clientWidth;
  const context = prepare(over, width, 64);
  const x = ((state.step + 0.5) / trace().steps) * width;
  context.fillStyle = theme().ink;
  context.globalAlpha = 0.15;
  const w = Math.max(2, width / trace().steps);
  context.fillRect(x - w / 2, 0, w, 64);
  context.globalAlpha = 1;
  context.fillRect(x - 0.5, 0, 1, 64);
}

function pickStep(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const steps = trace().steps;
  set({ step: clamp(Math.floor(((event.clientX - box.left) / box.width) * steps), 0, steps - 1) });
}

watch(["view", "run", "theme"], buildCell);
watch(["unit", "step", "open", "data"], () => {
  drawCell();
  drawStripCursor();
});
watch(["unit", "data"], drawStrip);
watch(["gate", "view", "run"], () => {
  for (const part of document.querySelectorAll(".diagram [data-node-gate], .diagram path[data-gate]")) {
    const own = part.dataset.nodeGate ?? part.dataset.gate;
    part.classList.toggle("faint", state.gate !== null && Number(own) !== state.gate);
  }
});
