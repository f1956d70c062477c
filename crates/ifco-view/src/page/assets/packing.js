// Panel 1: the matrices as they lie in memory.

/** The cell that is pointed at: `{part, row, column}`. */
let pointed = null;
let matrices = {};

/** One of the arrays of a cell: `{name, letter, rows, columns, by_gate, without, shape}`. */
const arrayOf = (part, of = cell()) => of.arrays.find(({ name }) => name === part);

/** The gate whose column of an array this is, and the unit; of an array that is not by gate, gate −1. */
function placeOf(part, row, column) {
  const { units } = cell();
  if (!arrayOf(part).by_gate) return { gate: -1, unit: part === "projection" ? row : column };
  return { gate: Math.floor(column / units), unit: column % units };
}

/** What the rows of an array are. */
function rowsText({ name, rows }, of) {
  if (name === "kernel") return count(rows, "feature");
  if (name === "recurrent_kernel") return of.outputs === of.units ? count(rows, "unit") : `${count(rows, "value")} of h`;
  if (name === "projection") return count(rows, "unit");
  if (name === "peepholes") return "to c";
  if (name === "bias") return rows === 2 ? "a row for x, one for h" : "one row";
  return "γ, β";
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
  const shape = [shown.kind, ...shown.arrays.map(({ name, rows, columns }) => [name, rows, columns])].join(" ");
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
  for (const array of shown.arrays) {
    const { name: part, rows, columns } = array;
    const base = el("canvas", { "aria-hidden": "true" });
    const over = el("canvas", {
      class: "over",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "matrix",
      "aria-label": `${part}, ${rows} by ${columns}: arrow keys move from cell to cell`,
      "data-part": part,
      onpointermove: (event) => point(part, event),
      onpointerleave: () => drawPointer(),
      onclick: follow,
      onkeydown: (event) => keyInMatrix(part, event),
      onfocus: () => {
        if (pointed.part !== part) pointAt(part, 0, state.unit);
      },
    });
    const scale = el("span", { class: "scale-place" });
    host.append(
      el(
        "div",
        { class: "matrix-row" },
        el("span", { class: "axis" }, el("code", {}, part), el("small", {}, rowsText(array, shown)), scale),
        el("div", { class: "layers" }, base, over),
      ),
    );
    matrices[part] = { base, over, scale };
  }
}

/** How large a matrix is drawn in this width. */
function matrixHeight({ name, rows, columns }, width) {
  const side = width / columns;
  // Square cells where there is room; a row is never too thin to point at while there are few.
  if (!["kernel", "recurrent_kernel", "projection"].includes(name)) return Math.max(14, Math.min(22, side)) * rows;
  return clamp(rows * side, Math.min(rows * 12, 130), 215);
}

/** The pictures of a cell's matrices, as large as they are drawn: `[part, {width, height, picture}]`. */
const matrixPictures = async (own) => {
  const of = info.cells[own];
  const width = matrices.kernel.base.parentElement.clientWidth;
  const ratio = window.devicePixelRatio || 1;
  return Promise.all(
    of.arrays.map(async (array) => {
      const { name: part } = array;
      const height = matrixHeight(array, width);
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
    const { rows, columns, by_gate: byGate, without } = arrayOf(part);
    matrices[part].size = { width, height, rows, columns };
    const context = prepare(base, width, height);
    drawBytes(base, picture.bytes, picture.rows, picture.columns, colorMap("diverging"), null, null);
    scale.replaceChildren(legend(colorMap("diverging"), -picture.most, picture.most));
    const gates = byGate ? cell().gates.length : 1;
    if (without !== null) {
      context.fillStyle = theme().blank;
      context.fillRect((without * width) / gates, 0, width / gates, height);
    }
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
    const { columns } = size;
    const lit = arrayOf(part).by_gate ? state.gate : null;
    const here = pointed && pointed.part === part ? [pointed.row, pointed.column] : [];
    if (isDrawn(over, size.width, size.height, size.rows, columns, lit, state.theme, window.devicePixelRatio, "at", ...here)) continue;
    const context = prepare(over, size.width, size.height);
    const [w, h] = [size.width / columns, size.height / size.rows];
    if (lit !== null) {
      const first = lit * shown.units * w;
      const last = first + shown.units * w;
      context.fillStyle = theme().paper;
      context.globalAlpha = 0.78;
      context.fillRect(0, 0, first, size.height);
      context.fillRect(last, 0, size.width - last, size.height);
      context.globalAlpha = 1;
      context.strokeStyle = theme().curves[lit];
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
  const { rows, columns } = arrayOf(part);
  const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
  const column = clamp(Math.floor(((event.clientX - box.left) / box.width) * columns), 0, columns - 1);
  pointAt(part, row, column);
}

const pointAt = latest(async (isLatest, part, row, column) => {
  pointed = { part, row, column };
  drawPointer();
  const { gate, unit } = placeOf(part, row, column);
  if (gate < 0) {
    const values = await source.down(view().cell, part, column);
    if (isLatest() && values) tellWhere(values[row]);
    return;
  }
  const weights = await source.column(view().cell, unit);
  if (isLatest() && weights) tellWhere(weights[part][row * gates().length + gate]);
});

/** `feature 3`, `unit 3's h`. */
function inputName(part, row) {
  if (part === "kernel") return `input feature ${row}`;
  if (part === "recurrent_kernel") return cell().outputs === cell().units ? `hidden state of unit ${row}` : `value ${row} of the projected hidden state`;
  if (arrayOf("bias").rows === 2) return row === 0 ? "input bias" : "recurrent bias";
  return "bias";
}

function tellWhere(value) {
  const { part, row, column } = pointed;
  const { gate, unit } = placeOf(part, row, column);
  const array = arrayOf(part);
  if (!["kernel", "recurrent_kernel", "bias"].includes(part)) return tellBeyond(array, row, column, value);
  const of = gates()[gate];
  const isVector = part === "bias" && array.rows === 1;
  const index = isVector ? `[${column}]` : `[${row}, ${column}]`;
  const hasGates = gates().length > 1;
  const name = `${array.letter}${hasGates ? `_${of.letter}` : ""}`;
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

/** The same of an array that Keras's LSTM has not. */
function tellBeyond({ name, without }, row, column, value) {
  const { gate, unit } = placeOf(name, row, column);
  const of = gates()[gate];
  const norm = row === 0 ? "γ" : "β";
  const shown = { norm: "the gate’s sum", kernel_norm: "x·W", recurrent_norm: "h·U", state_norm: "the new cell state" }[name];
  const told = {
    peepholes: () => [`peepholes, unit ${unit}`, `p_${of.letter}[${unit}]`, `the ${of.letter === "o" ? "new cell state" : "cell state before"} to unit ${unit}’s ${of.name}`],
    projection: () => [`projection[${row}, ${column}]`, `W_p[${row}, ${column}]`, `what unit ${row} shows to value ${column} of h`],
  }[name] || (() => [`${name}, ${norm}[${column}]`, `${norm}${of ? `_${of.letter}` : ""}[${unit}]`, `${norm === "γ" ? "scales" : "shifts"} ${shown}, normalized, of unit ${unit}`]);
  const elsewhere = {
    peepholes: () => [["ONNX", `P[0, ${{ i: 0, o: 1, f: 2 }[of.letter]}·u + ${unit}]`], ["TensorFlow 1", `w_${of.letter}_diag[${unit}]`]],
    projection: () => [["PyTorch", `weight_hr_l0[${column}, ${row}]`], ["TensorFlow 1", `projection/kernel[${row}, ${column}]`]],
  }[name];
  if (gate >= 0 && without === gate) {
    return byId("where").replaceChildren(el("p", { class: "cellname" }, el("code", {}, "peepholes")), el("p", {}, `The ${of.name} has no peephole.`));
  }
  const [place, symbol, meaning] = told();
  byId("where").replaceChildren(
    el("p", { class: "cellname", "data-gate": of ? of.letter : null }, el("code", {}, place), " = ", numeral(value, { class: "num strong" })),
    el("p", { class: `arrow${of ? ` g${gate}` : ""}` }, "→ ", el("code", { class: "chip" }, symbol), `: ${meaning}`),
    elsewhere ? el("dl", { class: "places" }, el("dt", {}, "in"), el("dd", {}, el("span", {}, "this number")), elsewhere().flatMap(([framework, where]) => [el("dt", {}, framework), el("dd", {}, el("code", { class: "element" }, where))])) : "",
    el("p", { class: "hint" }, "Keras’s LSTM has no such array."),
  );
}

/** The clicked unit and gate, in every panel. */
function follow() {
  if (!pointed) return;
  const { gate, unit } = placeOf(pointed.part, pointed.row, pointed.column);
  const patch = { unit };
  if (gates().length > 1 && gate >= 0) patch.gate = gate;
  set(patch);
}

function keyInMatrix(part, event) {
  const { rows, columns, by_gate: byGate } = arrayOf(part);
  const at = pointed && pointed.part === part ? pointed : { row: 0, column: 0 };
  const jump = event.shiftKey && byGate ? cell().units : 1;
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
    pointAt(part, clamp(at.row + down, 0, rows - 1), clamp(at.column + right, 0, columns - 1));
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
