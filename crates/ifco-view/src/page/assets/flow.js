// Panel 3, on request: how far the gradient reaches back.

/** What the gradient is of: an output, what of its units (see answer.rs), a step of it from 1 on. */
const target = { output: 0, of: 0, at: 0 };

/** One for each array: `{name, base, over, scale, figure, plane}`. */
let flows = [];

const FLOWS = {
  dh: ["∂L/∂h", "gradient by the hidden state"],
  dc: ["∂L/∂c", "gradient by the cell state"],
  forget_product: ["∏f", "what the forget gates let through"],
  update_product: ["∏z", "what the update gates let through"],
};

const isFlowOpen = () => hasFlow() && byId("flow").open && state.run.done === state.run.steps;

/** What a file holds of the gradient of the layer: of what fits the model's output. */
const fileFlow = () => (!isLive && file.flow && trace() ? file.flow[view().trace] : null);
const hasFlow = () => Boolean(trace()) && (isLive || Boolean(fileFlow()));

/** How the server is asked for it. */
const flowPath = (name, more = "") =>
  `${name}?run=${state.run.run}&trace=${view().trace}&output=${target.output}&of=${target.of}&at=${target.at}${more}`;

const flowAsked = {
  json: remember(16, async (path) => (await ask(path)).json()),
  maps: remember(16, async (path) => mapsFrom(await (await ask(path)).arrayBuffer())),
  step: remember(64, numbersOf),
  numbers: remember(8, async (index) => new Float32Array(blob(`flowsteps/${index}`) || 0)),
};

/** The gradient, from the server or from the file. */
const flowSource = {
  facts: async () => fileFlow() || flowAsked.json(flowPath("flow")),
  parts: async () => (fileFlow() ? fileFlow().parts : flowAsked.json(flowPath("parts"))),
  /** Heat maps of the steps `from` to `to`. */
  maps: async (bins) => {
    const place = isLive ? { from: state.from, to: state.to } : { from: 0, to: trace().steps };
    const maps = isLive ? await flowAsked.maps(flowPath("flowmaps", `&from=${place.from}&to=${place.to}&bins=${bins}`)) : mapsFrom(blob(`flow/${view().trace}`));
    return maps.map((map) => ({ ...map, ...place }));
  },
  /** The numbers of a step, array after array; `null` where a file left them out. */
  step: async (step) => {
    if (isLive) return flowAsked.step(flowPath("flowstep", `&step=${step}`));
    const numbers = await flowAsked.numbers(view().trace);
    const size = flows.reduce((sum, { name }) => sum + widthOf(name, cell()), 0);
    return (step + 1) * size <= numbers.length ? numbers.subarray(step * size, (step + 1) * size) : null;
  },
};

function buildFlow() {
  byId("flow").hidden = !hasFlow();
  byId("flow-lead").textContent = "";
  byId("flow-here").textContent = "";
  if (!isFlowOpen()) return;
  buildTarget();
  drawFlow();
}

/** What to go back from. */
function buildTarget() {
  const host = byId("flow-tools");
  if (!isLive) return host.replaceChildren(el("p", { class: "hint" }, "`ifco view` has the gradient of every unit and step of the output."));
  const outputs = state.run.outputs;
  if (target.output >= outputs.length) Object.assign(target, { output: 0, of: 0, at: 0 });
  const { shape } = outputs[target.output];
  const units = shape.length > 1 ? shape[shape.length - 1] : 1;
  const steps = shape.length > 2 ? shape[1] : 0;
  if (target.of > 2 + units) target.of = 0;
  if (target.at > steps) target.at = 0;
  const choose = (patch) => () => {
    Object.assign(target, patch());
    buildFlow();
  };
  const select = (id, options, chosen, change) =>
    el("select", { id, onchange: (event) => choose(() => change(Number(event.target.value)))() },
      options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  const number = (id, most, value, change) =>
    el("input", { id, type: "number", min: 0, max: most, value, onchange: (event) => choose(() => change(clamp(Math.floor(Number(event.target.value)) || 0, 0, most)))() });
  host.replaceChildren(
    outputs.length > 1
      ? el("label", {}, "of the output ", select("flow-output", outputs.map(({ name }, index) => [index, name]), target.output, (output) => ({ output, of: 0, at: 0 })))
      : "",
    el("label", {}, "gradient of ", select("flow-of", [[0, "what the model puts out"], [1, "the sum of its units"], [2, "its largest unit"], ...(units > 1 ? [[3, "the unit"]] : [])], Math.min(target.of, 3), (of) => ({ of }))),
    ...(target.of > 2 ? [el("label", {}, "number ", number("flow-unit", units - 1, target.of - 3, (unit) => ({ of: unit + 3 })))] : []),
    ...(steps
      ? [
          el("label", {}, "at ", select("flow-at", [[0, "all of its steps"], [1, "the step"]], Math.min(target.at, 1), (at) => ({ at: at && steps }))),
          ...(target.at ? [el("label", {}, "number ", number("flow-step", steps - 1, target.at - 1, (step) => ({ at: step + 1 })))] : []),
        ]
      : []),
  );
}

/** The places of the heat maps. */
function buildFlowMaps(arrays) {
  const host = byId("flow-maps");
  const kind = arrays.join(" ");
  if (host.dataset.kind === kind) return;
  host.dataset.kind = kind;
  host.replaceChildren();
  flows = arrays.map((name) => {
    const [symbol, title] = FLOWS[name];
    const base = el("canvas", { "aria-hidden": "true" });
    const over = el("canvas", {
      class: "over",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": `${symbol}, ${title}, units by steps: arrow keys move`,
      "data-flow": name,
      onpointerdown: (event) => event.button === 0 && set(placeIn(event)),
      onpointermove: (event) => tellFlow(placeIn(event)),
      onpointerleave: () => tellFlow(null),
      onkeydown: keyInMap,
    });
    const scale = el("span", { class: "scale-place" });
    const axis = el("canvas", { class: "labels", "aria-hidden": "true" });
    const figure = el("figure", { class: "map" },
      el("figcaption", {}, el("span", { class: "symbol" }, symbol), ` ${title}`, scale),
      el("div", { class: "layers" }, base, over), axis);
    host.append(figure);
    return { name, base, over, scale, axis, plane: null };
  });
}

/** Asks for the gradient and draws it; what was drawn before stays until it is there. */
const drawFlow = latest(async (isLatest) => {
  if (!isFlowOpen()) return;
  byId("flow").setAttribute("aria-busy", "true");
  let facts;
  let planes;
  try {
    facts = await flowSource.facts();
    if (!isLatest() || !isFlowOpen()) return;
    buildFlowMaps(facts.arrays.map(({ name }) => name));
    planes = await flowSource.maps(binsOf(flows[0].base.parentElement.clientWidth));
  } catch (error) {
    if (!isLatest()) return;
    byId("flow-lead").textContent = error.help ? `${error.message}: ${error.help}` : error.message;
    byId("flow-maps").replaceChildren();
    delete byId("flow-maps").dataset.kind;
    flows = [];
    if (!error.isTold) throw error;
    return;
  } finally {
    if (isLatest()) byId("flow").removeAttribute("aria-busy");
  }
  if (!isLatest() || !isFlowOpen()) return;
  byId("flow-lead").replaceChildren(...flowWords(facts));
  const width = flows[0].base.parentElement.clientWidth;
  flows.forEach((flow, index) => {
    const plane = planes[index];
    flow.plane = plane;
    const context = prepare(flow.base, width, mapHeight);
    const map = colorMap("sequential");
    drawBytes(flow.base, plane.planes[0], plane.rows, plane.columns, map, orderOf(plane), cropOf(plane));
    drawMasked(context, width);
    flow.scale.replaceChildren(legend(map, 10 ** plane.low, 10 ** plane.high));
    drawAxis(flow.axis, width);
  });
  drawFlowCursor();
  tellFlow(null);
  drawParts();
});

/** What each step of the input contributes, below its labels: bars up and down. */
const drawParts = latest(async (isLatest) => {
  const figure = byId("flow-parts");
  const parts = await flowSource.parts();
  if (!isLatest() || !isFlowOpen()) return;
  figure.hidden = !parts || !parts.steps || parts.steps.length !== trace().steps;
  if (figure.hidden) return;
  const { steps, integrated, value, baseline } = parts;
  const [bars, axis] = figure.querySelectorAll("canvas");
  const sum = steps.reduce((all, step) => all + step, 0);
  figure.querySelector("figcaption").replaceChildren(
    el("span", { class: "symbol" }, "ΔL"),
    ` what each step of the input contributes (${integrated ? "integrated gradients" : "gradient × input"}): L is `, numeral(value),
    ", of zeros ", numeral(baseline), "; the steps add up to ", numeral(sum, { "data-number": "sum" }),
    state.run.inputs.length > 1 ? ", the rest comes from the other inputs" : "",
  );
  const width = bars.parentElement.clientWidth;
  const height = 90;
  const context = prepare(bars, width, height);
  const most = largest(steps.slice(state.from, state.to));
  for (let step = state.from; step < state.to; step++) {
    const [x, w] = columnOf(step, width);
    const size = (steps[step] / most) * (height / 2 - 2);
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(size < 0 ? "--down" : "--up");
    context.fillRect(x + Math.min(1, w / 8), height / 2 - Math.max(size, 0), Math.max(1, w - Math.min(2, w / 4)), Math.abs(size));
  }
  context.fillStyle = theme().muted;
  context.fillRect(0, height / 2, width, 1);
  drawAxis(axis, width);
  figure.dataset.steps = JSON.stringify(steps.map(Math.fround));
});

/** In words, what `ifco trace --gradient` says of it. */
function flowWords({ unit, step, arrays }) {
  const output = state.run.outputs[target.output];
  const what = { sum: "the sum of", largest: "the largest unit of" }[unit] || `unit ${unit} of`;
  const at = step === null ? (output.shape.length > 2 ? " at all steps" : "") : ` at step ${step}`;
  const parts = [`L is ${what} `, el("code", {}, output.name), `${at}. `];
  for (const { name, first, last, ratio, vanishes, largest } of arrays) {
    const [symbol] = FLOWS[name];
    if (!name.startsWith("d") || last === null) continue;
    if (last === 0 && first === 0) parts.push(`${symbol} is 0 at both ends. `);
    else if (vanishes !== null) parts.push(`${symbol} vanishes: less than 1 % of its largest is left from ${count(vanishes, "step")} back on. `);
    else if (ratio > 100) parts.push(`${symbol} explodes: ${short(ratio)} times as large at the first step as at the last. `);
    else parts.push(`${symbol} reaches the first step: ${short(first)} there, ${short(last)} at the last${largest ? `, most ${count(largest, "step")} before it` : ""}. `);
  }
  return parts;
}

function drawFlowCursor() {
  for (const { base, over, plane } of flows) {
    if (plane) drawPlace(prepare(over, base.parentElement.clientWidth, mapHeight), base.parentElement.clientWidth, plane.rows);
  }
}

/** The numbers of a place, or of the chosen one. */
const tellFlow = latest(async (isLatest, place) => {
  if (!isFlowOpen() || !flows.length) return;
  const { unit, step } = place || state;
  const numbers = await flowSource.step(step);
  if (!isLatest() || !isFlowOpen()) return;
  if (!numbers) return byId("flow-here").replaceChildren(`the exact numbers of ${stepName(step)} are not in this file`);
  const values = inOrder(numbers, flows.map(({ name }) => [name, widthOf(name, cell())]));
  const masked = trace().skipped.includes(step) ? "masked; " : "";
  byId("flow-here").replaceChildren(
    `unit ${unit}, ${stepName(step)}: ${masked}`,
    ...flows.filter(({ name }) => unit < values[name].length).flatMap(({ name }) => [" ", el("span", { class: "pair" }, `${FLOWS[name][0]} `, numeral(values[name][unit], { "data-number": name }))]),
  );
});

byId("flow").addEventListener("toggle", buildFlow);
watch(["view", "run", "data", "theme"], buildFlow);
watch(["from", "to"], drawFlow);
watch(["unit", "step"], () => {
  if (!isFlowOpen()) return;
  drawFlowCursor();
  tellFlow(null);
});
