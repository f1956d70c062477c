// Panel 1: the matrices as they lie in memory.

const MATRICES = ["kernel", "recurrent_kernel", "bias"];
const LETTER = { kernel: "W", recurrent_kernel: "U", bias: "b" };
/** The cell that is pointed at: `{part, row, column}`. */
let pointed = null;
let matrices = {};

function rowsOf(part, of = cell()) {
  if (part === "kernel") return of.features;
  return part === "recurrent_kernel" ? of.units : of.biases;
}

/** The label of the gate whose column this is, and the unit. */
function placeOf(column) {
  const units = cell().units;
  return { gate: Math.floor(column / units), unit: column % units };
}

function buildPacking() {
  pointed = null;
  const shown = cell();
  if (!shown) {
    byId("packing-lead").textContent = "This model has no recurrent layer with weights.";
    byId("matrices").replaceChildren();
    byId("where").replaceChildren();
    return;
  }
  const letters = shown.gates.map((gate) => gate.letter).join(" ");
  byId("packing-lead").textContent =
    shown.gates.length > 1
      ? `${view().name}: ${shown.kind} of ${count(shown.units, "unit")} that reads ${count(shown.features, "feature")}. ` +
        `There is one kernel for all its gates, in the order ${letters}: each takes ${count(shown.units, "column")}.`
      : `${view().name}: SimpleRNN of ${count(shown.units, "unit")} that reads ${count(shown.features, "feature")}. It has no gates.`;
  const shape = [shown.kind, shown.features, shown.units, shown.biases].join(" ");
  if (byId("matrices").dataset.shape !== shape) buildMatrices(shown);
  byId("matrices").dataset.shape = shape;
  drawPacking();
  // The forget gate's, where there is one: the page says what it is about before anybody points.
  pointAt("kernel", 0, Math.min(1, shown.gates.length - 1) * shown.units + clamp(state.unit, 0, shown.units - 1));
}

/** The places of the matrices, the same for every layer of this kind and size. */
function buildMatrices(shown) {
  const host = byId("matrices");
  host.replaceChildren();
  matrices = {};
  const heads = el("div", { class: "bands", role: "group", "aria-label": "Columns of each gate" });
  shown.gates.forEach((gate, index) => {
    const first = index * shown.units;
    heads.append(
      el(
        "button",
        {
          type: "button",
          class: `band g${index}`,
          "data-gate": index,
          "aria-pressed": "false",
          onclick: () => set({ gate: state.gate === index ? null : index }),
        },
        el("b", {}, gate.letter),
        el("span", { class: "wide" }, ` ${gate.name}`),
        el("span", { class: "slice" }, `[:, ${first}:${first + shown.units}]`),
      ),
    );
  });
  host.append(el("div", { class: "matrix-row" }, el("span", { class: "axis" }), heads));
  for (const part of MATRICES) {
    if (!rowsOf(part)) continue;
    const base = el("canvas", { "aria-hidden": "true" });
    const over = el("canvas", {
      class: "over",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "matrix",
      "aria-label": `${part}, ${rowsOf(part)} by ${shown.units * shown.gates.length}: arrow keys move from cell to cell`,
      "data-part": part,
      onpointermove: (event) => point(part, event),
      onpointerleave: () => drawPointer(),
      onclick: follow,
      onkeydown: (event) => keyInMatrix(part, event),
      onfocus: () => {
        if (pointed.part !== part) pointAt(part, 0, state.unit);
      },
    });
    const rows = rowsOf(part);
    const what = part === "bias" ? (rows === 2 ? "a row for x, one for h" : "one row") : count(rows, part === "kernel" ? "feature" : "unit");
    const scale = el("span", { class: "scale-place" });
    host.append(
      el(
        "div",
        { class: "matrix-row" },
        el("span", { class: "axis" }, el("code", {}, part), el("small", {}, what), scale),
        el("div", { class: "layers" }, base, over),
      ),
    );
    matrices[part] = { base, over, scale };
  }
}

/** How large a matrix is drawn in this width. */
function matrixHeight(part, of, width) {
  const rows = rowsOf(part, of);
  const side = width / (of.units * of.gates.length);
  // Square cells where there is room; a row is never too thin to point at while there are few.
  if (part === "bias") return Math.max(14, Math.min(22, side)) * rows;
  return clamp(rows * side, Math.min(rows * 12, 130), 215);
}

/** The pictures of a cell's matrices, as large as they are drawn: `[part, {width, height, picture}]`. */
const matrixPictures = async (own) => {
  const of = info.cells[own];
  const width = matrices.kernel.base.parentElement.clientWidth;
  const ratio = window.devicePixelRatio || 1;
  return Promise.all(
    MATRICES.filter((part) => rowsOf(part, of)).map(async (part) => {
      const height = matrixHeight(part, of, width);
      const [w, h] = [width, height].map((size) => Math.max(1, Math.round(size * ratio)));
      return [part, { width, height, picture: await source.picture(own, part, w, h) }];
    }),
  );
};

const drawPacking = latest(async (isLatest) => {
  const shown = view();
  if (!shown || !matrices.kernel) return;
  const drawn = await matrixPictures(shown.cell);
  if (!isLatest() || !matrices.kernel) return;
  if (drawn.some(([, { picture }]) => !picture)) {
    for (const matrix of Object.values(matrices)) {
      matrix.base.width = matrix.over.width = 0;
      isDrawn(matrix.over);
      matrix.scale.replaceChildren();
      matrix.size = null;
    }
    byId("where").replaceChildren(el("p", { class: "hint" }, "The weights of this layer are too large for this file. `ifco view` shows them."));
    return;
  }
  for (const [part, { width, height, picture }] of drawn) {
    const { base, scale } = matrices[part];
    matrices[part].size = { width, height, rows: rowsOf(part) };
    const context = prepare(base, width, height);
    drawBytes(base, picture.bytes, picture.rows, picture.columns, colorMap("diverging"), null, null);
    scale.replaceChildren(legend(colorMap("diverging"), -picture.most, picture.most));
    const gates = cell().gates.length;
    context.fillStyle = theme().ink;
    for (let gate = 1; gate < gates; gate++) context.fillRect((gate * width) / gates - 0.5, 0, 1, height);
  }
  drawPointer();
});

/** Dims what is not the lit gate's, and marks the pointed cell and the followed unit. */
function drawPointer() {
  const shown = cell();
  for (const [part, { over, size }] of Object.entries(matrices)) {
    if (!size) continue;
    const columns = shown.units * shown.gates.length;
    const here = pointed && pointed.part === part ? [pointed.row, pointed.column] : [];
    if (isDrawn(over, size.width, size.height, size.rows, columns, state.gate, state.theme, window.devicePixelRatio, "at", ...here)) continue;
    const context = prepare(over, size.width, size.height);
    const [w, h] = [size.width / columns, size.height / size.rows];
    if (state.gate !== null) {
      const first = state.gate * shown.units * w;
      const last = first + shown.units * w;
      context.fillStyle = theme().paper;
      context.globalAlpha = 0.78;
      context.fillRect(0, 0, first, size.height);
      context.fillRect(last, 0, size.width - last, size.height);
      context.globalAlpha = 1;
      context.strokeStyle = theme().curves[state.gate];
      context.lineWidth = 3;
      context.strokeRect(first + 1.5, 1.5, last - first - 3, size.height - 3);
    }
    if (pointed && pointed.part === part) {
      context.strokeStyle = theme().ink;
      context.lineWidth = 2;
      const [x, y] = [pointed.column * w, pointed.row * h];
      context.strokeRect(x - 1, y - 1, Math.max(w, 3) + 2, Math.max(h, 3) + 2);
    }
  }
}

function point(part, event) {
  const box = event.currentTarget.getBoundingClientRect();
  const columns = cell().units * cell().gates.length;
  const rows = rowsOf(part);
  const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
  const column = clamp(Math.floor(((event.clientX - box.left) / box.width) * columns), 0, columns - 1);
  pointAt(part, row, column);
}

const pointAt = latest(async (isLatest, part, row, column) => {
  pointed = { part, row, column };
  drawPointer();
  const { gate, unit } = placeOf(column);
  const weights = await source.column(view().cell, unit);
  if (isLatest() && weights) tellWhere(weights[part][row * gates().length + gate]);
});

/** `feature 3`, `unit 3's h`. */
function inputName(part, row) {
  if (part === "kernel") return `input feature ${row}`;
  if (part === "recurrent_kernel") return `hidden state of unit ${row}`;
  if (rowsOf("bias") === 2) return row === 0 ? "input bias" : "recurrent bias";
  return "bias";
}

function tellWhere(value) {
  const { part, row, column } = pointed;
  const { gate, unit } = placeOf(column);
  const of = gates()[gate];
  const isVector = part === "bias" && rowsOf("bias") === 1;
  const index = isVector ? `[${column}]` : `[${row}, ${column}]`;
  const hasGates = gates().length > 1;
  const name = `${LETTER[part]}${hasGates ? `_${of.letter}` : ""}`;
  const inside = isVector || part === "bias" ? `[${unit}]` : `[${row}, ${unit}]`;
  const target = hasGates ? `unit ${unit}’s ${of.name}` : `unit ${unit}`;
  const meaning = part === "bias" ? `${inputName(part, row)} of ${target}` : `${inputName(part, row)} to ${target}`;
  const places = of.places.map(({ name: framework, parts }) => {
    const [slice, element] = [parts[part].slice, parts[part].element].map((of) => (Array.isArray(of) ? of[row] : of));
    const where = element
      ? element
          .replaceAll(/\{(\d+)\}/g, (_, block) => String(Number(block) * cell().units + unit))
          .replaceAll("{row}", String(row))
      : "";
    return [el("dt", {}, framework), el("dd", {}, el("code", { class: "slice" }, slice), el("code", { class: "element" }, where))];
  });
  byId("where").replaceChildren(
    el(
      "p",
      { class: "cellname", "data-gate": of.letter },
      el("code", {}, `${part}${index}`),
      " = ",
      numeral(value, { class: "num strong" }),
    ),
    el("p", { class: `arrow g${gate}` }, "→ ", el("code", { class: "chip" }, `${name}${inside}`), `: ${meaning}`),
    el("dl", { class: "places" }, el("dt", {}, "in"), el("dd", {}, el("span", {}, `the whole gate, u = ${cell().units}`), el("span", {}, "this number")), places.flat()),
    el("p", { class: "hint" }, "Point at another cell, or use the arrow keys in a matrix. A click, or Enter, follows the unit in the other panels."),
  );
}

/** The clicked unit and gate, in every panel. */
function follow() {
  if (!pointed) return;
  const { gate, unit } = placeOf(pointed.column);
  const patch = { unit };
  if (gates().length > 1) patch.gate = gate;
  set(patch);
}

function keyInMatrix(part, event) {
  const columns = cell().units * cell().gates.length;
  const at = pointed && pointed.part === part ? pointed : { row: 0, column: 0 };
  const jump = event.shiftKey ? cell().units : 1;
  const moves = {
    ArrowLeft: [0, -jump],
    ArrowRight: [0, jump],
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    Home: [0, -at.column],
    End: [0, columns - 1 - at.column],
  };
  if (event.key === "Enter" || event.key === " ") follow();
  else if (event.key === "Escape") set({ gate: null });
  else if (moves[event.key]) {
    const [down, right] = moves[event.key];
    pointAt(part, clamp(at.row + down, 0, rowsOf(part) - 1), clamp(at.column + right, 0, columns - 1));
  } else return;
  event.preventDefault();
}

watch(["view", "theme"], buildPacking);
watch(["gate"], () => {
  drawPointer();
  for (const button of document.querySelectorAll("[data-gate][aria-pressed]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.gate) === state.gate));
  }
});
