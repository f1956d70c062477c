// Panel 3: everything that a layer did, units × time.

/** One for each array: `{name, base, over, plane}`. */
let heats = [];
let order = null;
let scores = null;
let found = null;
let threshold = null;
let mapHeight = 150;

const symbolOf = (array) => ({ c_tilde: "c̃", h_tilde: "h̃" })[array] || array;

function titleOf(array) {
  const gate = gateOf(array);
  if (gate >= 0) return gates()[gate].name;
  return { c: "cell state", h: "hidden state", x: "what the layer reads" }[array] || array;
}

/** The state that tells what a unit does: h, or c where h is projected and has no value for each unit. */
const stateOf = (of) => (of.outputs === of.units ? "h" : "c");

/** What was done so far, in the same places. */
function redrawTrace() {
  if (!trace()) return;
  tellTrace();
  // The numbers at once; units change places when whoever writes has rested.
  drawMaps();
  clearTimeout(resort);
  if (state.run.done === state.run.steps && state.sort !== "stored") resort = setTimeout(sortUnits, 300);
}

/** The sort that is to come after an edit. */
let resort = 0;

function buildTrace() {
  byId("found").replaceChildren();
  byId("here").textContent = "";
  order = null;
  scores = null;
  buildTools();
  if (!trace()) {
    byId("trace-lead").textContent = cell() ? whyNoTrace() : "";
    buildMaps([]);
    return;
  }
  tellTrace();
  buildMaps(trace().arrays);
  sortUnits();
}

function tellTrace() {
  const { steps, sequences, skipped } = trace();
  const more = sequences > 1 ? ` The layer ran on ${sequences} sequences of this input; this is the first.` : "";
  const masked = skipped.length ? ` ${skipped.length === 1 ? "One step is" : `${skipped.length} steps are`} masked (grey): nothing is computed there.` : "";
  const projected = cell().outputs === cell().units ? "" : ` h is projected to ${count(cell().outputs, "value")}: its rows are not the units.`;
  byId("trace-lead").textContent =
    `${view().name}: ${count(cell().units, "unit")} × ${count(steps, "step")}.${projected}${masked}${more}`;
}

/** The places of the heat maps, the same for every layer of this kind. */
function buildMaps(arrays) {
  const kind = [cell() && cell().kind, ...arrays].join(" ");
  const host = byId("maps");
  if (host.dataset.kind === kind) return;
  host.dataset.kind = kind;
  host.replaceChildren();
  heats = [];
  for (const name of arrays) {
    const gate = gateOf(name);
    const base = el("canvas", { "aria-hidden": "true" });
    const over = el("canvas", {
      class: "over",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": `${symbolOf(name)}, ${titleOf(name)}, units by steps: arrow keys move, with Shift they select steps`,
      "data-array": name,
      onpointerdown: beginDrag,
      onpointermove: hover,
      onpointerup: endDrag,
      onpointerleave: () => hoverAt(null),
      onkeydown: keyInMap,
    });
    const scale = el("span", { class: "scale-place" });
    const axis = el("canvas", { class: "labels", "aria-hidden": "true" });
    const figure = el(
      "figure",
      { class: `map ${gate >= 0 ? `g${gate}` : ""}`, "data-gate-map": gate >= 0 ? gate : null },
      el("figcaption", {}, el("span", { class: gate >= 0 ? "chip" : "symbol" }, symbolOf(name)), ` ${titleOf(name)}`, scale),
      el("div", { class: "layers" }, base, over),
      axis,
    );
    host.append(figure);
    heats.push({ name, base, over, scale, axis, figure, plane: null });
  }
}

function buildTools() {
  const host = byId("tools");
  host.replaceChildren();
  if (!trace()) return;
  const shown = cell();
  const sorts = [
    ["stored", "as they are stored"],
    ["activity", `activity: how much ${stateOf(shown)} changes`],
    ...(shown.kind === "SimpleRNN" ? [] : [["memory", shown.kind === "GRU" ? "memory: 1/(1 − z)" : "memory: 1/(1 − f)"]]),
    ["feature", "correlation with an input feature"],
    ["unit", "correlation with a unit"],
    ...(state.selection ? [["found", "on in the selected steps"]] : []),
  ];
  const by = state.sort === "feature" ? shown.features : shown.units;
  host.append(
    el("label", {}, "sort units by ", el("select", { id: "sort", onchange: (event) => set({ sort: event.target.value, sortBy: event.target.value === "unit" ? state.unit : 0 }) }, sorts.map(([key, text]) => el("option", { value: key, selected: key === state.sort }, text)))),
  );
  if (state.sort === "feature" || state.sort === "unit") {
    host.append(
      el("label", {}, `${state.sort} `, el("input", { id: "sort-by", type: "number", min: 0, max: by - 1, value: state.sortBy, onchange: (event) => set({ sortBy: clamp(Math.floor(Number(event.target.value)) || 0, 0, by - 1) }) })),
    );
  }
  if (state.to - state.from > binsOf(byId("maps").clientWidth / gridColumns())) {
    const shown = [["mean", "their mean"], ["least", "their least"], ["largest", "their largest"]];
    host.append(
      el("label", {}, "a column is several steps: show ", el("select", { id: "shows", onchange: (event) => set({ shows: event.target.value }) }, shown.map(([key, text]) => el("option", { value: key, selected: key === state.shows }, text)))),
    );
  }
  const isWhole = state.from === 0 && state.to === trace().steps;
  if (state.selection) {
    host.append(
      el("button", { type: "button", id: "zoom", onclick: () => set({ from: state.selection.from, to: state.selection.to }) }, "zoom to selection"),
      el("button", { type: "button", id: "clear", onclick: () => set({ selection: null }) }, "clear selection"),
    );
  }
  if (!isWhole) host.append(el("button", { type: "button", id: "whole", onclick: () => set({ from: 0, to: trace().steps }) }, "all steps"));
}

const sortUnits = latest(async (isLatest) => {
  if (!trace()) return;
  if (state.sort !== "stored" && state.run.done < state.run.steps) return drawMaps();
  const { trace: at } = view();
  const shown = cell();
  let next = null;
  let values = null;
  if (state.sort === "found") {
    if (found) next = [...new Set([...found.units.map(({ unit }) => unit), ...Array(shown.units).keys()])];
  } else if (state.sort !== "stored") {
    const keep = shown.kind === "GRU" ? "z" : "f";
    const [h, other] = await Promise.all([
      source.raw(state.run.run, at, stateOf(shown)),
      state.sort === "memory" ? source.raw(state.run.run, at, keep) : state.sort === "feature" ? source.raw(state.run.run, at, "x") : null,
    ]);
    if (!isLatest()) return;
    const steps = h.length / shown.units;
    const counts = counted(steps, trace().skipped);
    if (state.sort === "activity") values = spread(h, shown.units, counts).deviation;
    if (state.sort === "memory") values = memories(other, shown.units, counts);
    if (state.sort === "feature" || state.sort === "unit") {
      const [from, width] = state.sort === "feature" ? [other, shown.features] : [h, shown.units];
      const series = new Float32Array(steps);
      for (let step = 0; step < steps; step++) series[step] = from[step * width + state.sortBy];
      values = correlations(h, shown.units, series, counts);
    }
    next = ranked(values, state.sort === "feature" || state.sort === "unit");
  }
  order = next;
  scores = values;
  drawMaps();
  drawFlow();
});

/** The unit in a row of the maps, and the row of a unit. */
const unitAt = (row) => (order ? order[row] : row);
const rowOf = (unit) => (order ? order.indexOf(unit) : unit);

/** As many stretches of time as the screen has columns. */
const binsOf = (width) => Math.ceil(width * Math.min(2, window.devicePixelRatio || 1));

const SHOWS = ["mean", "least", "largest"];

/** The heat maps of a trace between two steps. */
const stepMaps = (at, from, to) => {
  const bins = binsOf(heats[0].base.parentElement.clientWidth);
  const { run, done } = state.run;
  return source.maps(run, done, at, from, to, bins, SHOWS.indexOf(state.shows));
};

const drawMaps = latest(async (isLatest) => {
  if (!trace() || !heats.length) return;
  const width = heats[0].base.parentElement.clientWidth;
  // Three rows of maps fit on a laptop's screen.
  mapHeight = window.innerHeight < 860 ? 126 : 165;
  const planes = await stepMaps(view().trace, state.from, state.to);
  if (!isLatest()) return;
  const below = heats.length - gridColumns();
  heats.forEach((heat, index) => {
    const before = heat.drawn;
    heat.plane = planes[index];
    heat.scale.replaceChildren();
    heat.drawn = null;
    if (!heat.plane) return prepare(heat.base, width, mapHeight);
    const { rows, columns, low, high, bytes } = heat.plane;
    const { kept, done, steps } = state.run;
    const place = [view().name, state.from, state.to, state.shows, width, mapHeight, state.theme, columns].join(" ");
    const isSame = before && before.place === place && before.order === order;
    // Where nothing is done yet the run before stays to be seen, and what is as it was need not be
    // drawn again.
    const until = done < steps ? clamp((done - state.from) / (state.to - state.from), 0, 1) : 1;
    const isKept = isSame && before.low === low && before.high === high && !trace().skipped.length && !before.skipped;
    const same = isKept ? clamp((Math.min(kept, before.done) - state.from - 1) / (state.to - state.from) - 1 / columns, 0, 1) : 0;
    const context = prepare(heat.base, width, mapHeight, !isSame);
    heat.drawn = { place, order, low, high, skipped: trace().skipped.length, done };
    const map = colorMap(isGateArray(heat.name) ? "sequential" : "diverging");
    drawBytes(heat.base, bytes, rows, columns, map, orderOf(heat.plane), cropOf(heat.plane), [same, until]);
    drawMasked(context, width);
    heat.scale.append(legend(map, low, high));
    // The steps are the same in every map: they are named below the last ones.
    heat.axis.hidden = index < below;
    if (!heat.axis.hidden) drawAxis(heat.axis, width);
  });
  drawCursor();
});

/** The order of the rows of a map: that of the units, where its rows are the units. */
const orderOf = ({ rows }) => (rows === cell().units ? order : null);

/** Which columns of a map are those of the steps that are shown. */
const cropOf = ({ columns, from, to }) => [state.from, state.to].map((step) => ((step - from) / (to - from)) * columns);

/** The masked steps of a map. */
function drawMasked(context, width) {
  context.fillStyle = theme().blank;
  for (const step of trace().skipped) {
    if (step < state.from || step >= state.to) continue;
    const [x, w] = columnOf(step, width);
    context.fillRect(Math.floor(x), 0, Math.ceil(x + w) - Math.floor(x), mapHeight);
  }
}

/** The chosen unit and step of a map. */
function drawPlace(context, width, rows) {
  const h = mapHeight / rows;
  const y = (rows === cell().units ? rowOf(state.unit) : state.unit) * h;
  const [x, w] = columnOf(state.step, width);
  context.strokeStyle = theme().ink;
  context.lineWidth = 1;
  if (state.unit < rows) context.strokeRect(-1, Math.round(y) - 0.5, width + 2, Math.max(3, Math.round(h)) + 1);
  context.strokeRect(Math.round(x) - 0.5, -1, Math.max(3, Math.round(w)) + 1, mapHeight + 2);
}

const gridColumns = () => getComputedStyle(byId("maps")).gridTemplateColumns.split(" ").length;

const isGateArray = (name) => ["i", "f", "o", "z", "r"].includes(name);

/** Where a step is drawn: `[x, width]`. */
function columnOf(step, width) {
  const w = width / (state.to - state.from);
  return [(step - state.from) * w, w];
}

/** What tells how wide a text is. */
const measure = document.createElement("canvas").getContext("2d");

/** The labels of the steps, or their numbers, as many as there is room for. */
function drawAxis(canvas, width) {
  const { labels } = trace();
  const named = labels ? [state.run.run, view().name] : [];
  if (isDrawn(canvas, width, window.devicePixelRatio, state.theme, state.from, state.to, ...named)) return;
  const shown = state.to - state.from;
  const w = width / shown;
  const texts = Array.from({ length: shown <= 400 ? shown : 0 }, (_, i) => (labels ? labels[state.from + i] : String(state.from + i)));
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  measure.font = font;
  const clip = (text) => (text.length > 14 ? `${text.slice(0, 13)}…` : text);
  const widest = Math.max(0, ...texts.map((text) => measure.measureText(clip(text)).width));
  const fits = texts.length && widest + 4 <= w;
  const tilts = texts.length && !fits && w >= 11 && labels;
  const height = tilts ? Math.min(70, Math.ceil(widest) + 8) : 16;
  const drawn = prepare(canvas, width, height);
  drawn.font = font;
  drawn.fillStyle = theme().muted;
  drawn.textBaseline = "middle";
  if (fits || tilts) {
    texts.forEach((text, i) => {
      drawn.save();
      drawn.translate((i + 0.5) * w, tilts ? 4 : 8);
      if (tilts) drawn.rotate(Math.PI / 2);
      drawn.textAlign = tilts ? "left" : "center";
      drawn.fillText(clip(text), 0, 0);
      drawn.restore();
    });
    return;
  }
  // Round numbers, one every 70 pixels or so.
  const rough = (shown * 70) / width;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  const every = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) || 10 * power);
  drawn.textAlign = "center";
  for (let step = Math.ceil(state.from / every) * every; step < state.to; step += every) {
    const [x] = columnOf(step, width);
    const text = labels ? clip(labels[step]) : String(step);
    drawn.fillText(text, clamp(x + w / 2, 10, width - 14), 8);
  }
}

/** The chosen unit and step, and the selection, over each map. */
function drawCursor() {
  for (const heat of heats) {
    const width = heat.base.parentElement.clientWidth;
    const { selection } = state;
    const stale = isStale(state.to - 1) ? state.run.done : null;
    const chosen = heat.plane ? [heat.plane.rows, rowOf(state.unit), state.step, state.from, state.to] : [];
    const drag = selection ? [selection.from, selection.to] : [];
    if (isDrawn(heat.over, width, mapHeight, window.devicePixelRatio, state.theme, stale, ...chosen, "selected", ...drag)) continue;
    const context = prepare(heat.over, width, mapHeight);
    if (!heat.plane) continue;
    if (state.selection) {
      const [x] = columnOf(state.selection.from, width);
      const [end] = columnOf(state.selection.to, width);
      context.fillStyle = theme().paper;
      context.globalAlpha = 0.45;
      context.fillRect(0, 0, x, mapHeight);
      context.fillRect(end, 0, width - end, mapHeight);
      context.globalAlpha = 1;
      context.strokeStyle = theme().ink;
      context.lineWidth = 1.5;
      context.strokeRect(x + 0.75, 0.75, Math.max(1, end - x - 1.5), mapHeight - 1.5);
    }
    if (isStale(state.to - 1)) {
      const [x] = columnOf(Math.max(state.run.done, state.from), width);
      context.fillStyle = theme().paper;
      context.globalAlpha = 0.6;
      context.fillRect(x, 0, width - x, mapHeight);
      context.globalAlpha = 1;
    }
    drawPlace(context, width, heat.plane.rows);
  }
}

/** The unit and step under the pointer. */
function placeIn(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const { array, flow } = event.currentTarget.dataset;
  const rows = widthOf(array || flow, cell());
  const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
  const share = (event.clientX - box.left) / box.width;
  const step = clamp(state.from + Math.floor(share * (state.to - state.from)), state.from, state.to - 1);
  return { unit: rows === cell().units ? unitAt(row) : row, step };
}

let drag = null;

function beginDrag(event) {
  if (event.button !== 0) return;
  event.currentTarget.setPointerCapture(event.pointerId);
  drag = { ...placeIn(event), x: event.clientX, moved: false };
}

function hover(event) {
  const place = placeIn(event);
  hoverAt(place);
  if (!drag) return;
  if (Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
  if (drag.moved) {
    const [from, to] = [Math.min(drag.step, place.step), Math.max(drag.step, place.step) + 1];
    if (!state.selection || state.selection.from !== from || state.selection.to !== to) set({ selection: { from, to } });
  }
}

function endDrag(event) {
  if (drag && !drag.moved) set(placeIn(event));
  drag = null;
}

const hoverAt = latest(async (isLatest, place) => {
  const { unit, step } = place || state;
  if (!trace() || isStale(step)) return;
  const numbers = await source.step(state.run.run, view().trace, step);
  if (!isLatest() || !trace()) return;
  const line = byId("here");
  const parts = [`unit ${unit}, ${stepName(step)}: `];
  if (trace().skipped.includes(step)) parts.push("masked; ");
  const isThere = (array) => unit < widthOf(array, cell());
  if (numbers) for (const array of trace().arrays.filter(isThere)) parts.push(" ", el("span", { class: "pair" }, `${symbolOf(array)} `, numeral(numbers[array][unit])));
  if (scores) parts.push(" ", el("span", { class: "pair" }, `${state.sort === "memory" ? "memory" : state.sort === "activity" ? "activity" : "correlation"} `, numeral(scores[unit])));
  line.replaceChildren(...parts);
});

function keyInMap(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (event.key === "Escape") set({ selection: null });
  else if (event.key === "Home") set({ step: state.from });
  else if (event.key === "End") set({ step: state.to - 1 });
  else if (move) {
    const step = clamp(state.step + move[0], 0, trace().steps - 1);
    const patch = { step, unit: unitAt(clamp(rowOf(state.unit) + move[1], 0, cell().units - 1)) };
    if (event.shiftKey && move[0]) {
      // The selection grows or shrinks at the end that moves.
      const own = state.selection || { from: state.step, to: state.step + 1 };
      const fixed = own.to - 1 === state.step ? own.from : own.to - 1;
      patch.selection = { from: Math.min(fixed, step), to: Math.max(fixed, step) + 1 };
    }
    if (step < state.from || step >= state.to) Object.assign(patch, { from: 0, to: trace().steps });
    set(patch);
  } else return;
  event.preventDefault();
}

/** Units that are on in the selection and off elsewhere, and where else they are. */
const findUnits = latest(async (isLatest) => {
  const host = byId("found");
  if (state.run && state.run.done < state.run.steps) return;
  if (!state.selection || !trace()) {
    found = null;
    threshold = null;
    host.replaceChildren();
    if (state.sort === "found") set({ sort: "stored" });
    return;
  }
  const shown = cell();
  const of = stateOf(shown);
  const h = await source.raw(state.run.run, view().trace, of);
  if (!isLatest() || !state.selection || !trace()) return;
  const counts = counted(h.length / shown.units, trace().skipped);
  // What counts as on is relative to how far this layer goes at all.
  const limit = threshold ?? Math.max(0.05, Math.round(largest(h) * 50) / 100);
  const units = unitsOn(h, shown.units, counts, state.selection, limit);
  const set8 = units.slice(0, 8);
  const places = set8.length ? alike(h, shown.units, counts, set8, state.selection, limit) : [];
  found = { units, places };
  const { from, to } = state.selection;
  const percent = (share) => `${Math.round(share * 100)} %`;
  const unitRows = set8.map(({ unit, sign, inside, outside }) =>
    el("tr", {},
      el("td", {}, el("button", { type: "button", onclick: () => set({ unit }) }, `unit ${unit}`)),
      el("td", {}, sign > 0 ? `${of} ≥ ${short(limit)}` : `${of} ≤ ${short(-limit)}`),
      el("td", { class: "value" }, percent(inside)),
      el("td", { class: "value" }, percent(outside))),
  );
  const text = (stretch) => {
    const labels = trace().labels;
    if (!labels) return "";
    const words = labels.slice(Math.max(0, stretch.from - 2), Math.min(labels.length, stretch.to + 2));
    return words.join(labels.every((label) => label.length <= 1) ? "" : " ");
  };
  const name = (stretch) => (stretch.to - stretch.from === 1 ? `step ${stretch.from}` : `steps ${stretch.from} to ${stretch.to - 1}`);
  const placeRows = places.slice(0, 8).map((stretch) =>
    el("tr", {},
      el("td", {}, el("button", { type: "button", onclick: () => set({ step: stretch.from, unit: set8[0].unit }) }, name(stretch))),
      el("td", {}, text(stretch)),
      el("td", { class: "value" }, `${percent(stretch.share)} on`)),
  );
  host.replaceChildren(
    el("div", { class: "card" },
      el("h3", {}, `On at ${name({ from, to })}, off elsewhere`),
      el("label", { class: "threshold" }, `on is |${of}| of at least `,
        el("input", { id: "threshold", type: "number", min: 0.01, step: 0.05, value: limit, onchange: (event) => { threshold = Math.max(0.01, Number(event.target.value) || 0.01); findUnits(); } })),
      unitRows.length
        ? el("table", { class: "terms" }, el("thead", {}, el("tr", {}, el("th", {}, "unit"), el("th", {}, "on is"), el("th", { class: "value" }, "selected steps"), el("th", { class: "value" }, "other steps"))), el("tbody", {}, unitRows))
        : el("p", { class: "hint" }, "No unit is on at three quarters of these steps. Try a lower threshold, or other steps.")),
    el("div", { class: "card" },
      el("h3", {}, "Where else they are on together"),
      placeRows.length
        ? el("table", { class: "terms" }, el("tbody", {}, placeRows))
        : el("p", { class: "hint" }, "Nowhere: what these units say is said at the selected steps alone.")),
  );
  if (state.sort === "found") sortUnits();
});

watch(["view", "run", "theme"], buildTrace);
watch(["sort", "sortBy"], sortUnits);
watch(["sort", "sortBy", "selection", "from", "to"], buildTools);
watch(["from", "to", "shows"], drawMaps);
watch(["unit", "step", "selection"], drawCursor);
watch(["unit", "step", "data"], () => hoverAt(null));
watch(["selection", "view", "run", "data"], findUnits);
watch(["data"], redrawTrace);
watch(["gate", "view", "run"], () => {
  for (const { figure } of heats) {
    const own = figure.dataset.gateMap;
    figure.classList.toggle("faint", state.gate !== null && Number(own ?? -1) !== state.gate);
  }
});
