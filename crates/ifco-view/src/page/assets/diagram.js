// The well-known picture of one step, for each kind of cell. Coordinates are those of a view of
// 920 × 440: nodes are `[name, x, y]`, wires the points they go through, and what they carry.

const DIAGRAMS = {
  LSTM: {
    nodes: [
      { name: "fc", at: [250, 100], kind: "op", text: "×", says: "f × c before" },
      { name: "sum", at: [470, 100], kind: "op", text: "+", says: "the new cell state c" },
      { name: "ic", at: [470, 190], kind: "op", text: "×", says: "i × candidate" },
      { name: "tanh", at: [720, 160], kind: "wide", text: "tanh", says: "activation of c" },
      { name: "out", at: [720, 235], kind: "op", text: "×", says: "the new hidden state h" },
      { name: "f", at: [250, 290], kind: "gate", gate: 1 },
      { name: "i", at: [370, 290], kind: "gate", gate: 0 },
      { name: "c_tilde", at: [470, 290], kind: "gate", gate: 2 },
      { name: "o", at: [610, 290], kind: "gate", gate: 3 },
    ],
    wires: [
      { points: [[30, 100], [236, 100]], value: "c_before", label: "c", sub: "t−1", text: [36, 88], strong: true },
      { points: [[264, 100], [456, 100]], value: "fc", label: "f·c", sub: "t−1", text: [300, 88], strong: true },
      { points: [[484, 100], [890, 100]], value: "c", label: "c", sub: "t", text: [520, 88], strong: true, arrow: true },
      { points: [[250, 270], [250, 114]], value: "f", label: "f", text: [258, 215], gate: 1, arrow: true },
      { points: [[370, 270], [370, 190], [456, 190]], value: "i", label: "i", text: [362, 180], end: "start", gate: 0, arrow: true },
      { points: [[470, 270], [470, 204]], value: "c_tilde", label: "c̃", text: [478, 248], gate: 2, arrow: true },
      { points: [[470, 176], [470, 114]], value: "ic", label: "i·c̃", text: [478, 152], arrow: true },
      { points: [[610, 270], [610, 235], [706, 235]], value: "o", label: "o", text: [602, 225], gate: 3, arrow: true },
      { points: [[720, 100], [720, 144]], arrow: true },
      { points: [[720, 176], [720, 221]], value: "tanh", label: "tanh c", text: [732, 204], arrow: true },
      { points: [[720, 249], [720, 360], [890, 360]], value: "h", label: "h", sub: "t", text: [738, 348], strong: true, arrow: true },
      { points: [[30, 360], [610, 360], [610, 310]], value: "h_before", label: "h", sub: "t−1", text: [36, 348], strong: true, arrow: true },
      { points: [[250, 360], [250, 310]], arrow: true },
      { points: [[370, 360], [370, 310]], arrow: true },
      { points: [[470, 360], [470, 310]], arrow: true },
      { points: [[150, 430], [150, 372], [162, 360]], label: "x", sub: "t", text: [160, 425], input: true },
    ],
    box: [190, 56, 600, 328],
  },
  GRU: {
    nodes: [
      { name: "zh", at: [250, 100], kind: "op", text: "×", says: "z × h before" },
      { name: "sum", at: [720, 100], kind: "op", text: "+", says: "the new hidden state h" },
      { name: "one", at: [345, 180], kind: "wide", text: "1−", says: "1 − z" },
      { name: "zc", at: [720, 180], kind: "op", text: "×", says: "(1 − z) × candidate" },
      { name: "rh", at: [520, 235], kind: "op", text: "×", says: "the reset gate on the hidden state" },
      { name: "z", at: [250, 290], kind: "gate", gate: 0 },
      { name: "r", at: [400, 290], kind: "gate", gate: 1 },
      { name: "h_tilde", at: [720, 290], kind: "gate", gate: 2 },
    ],
    wires: [
      { points: [[30, 100], [236, 100]], value: "h_before", label: "h", sub: "t−1", text: [36, 88], strong: true },
      { points: [[264, 100], [706, 100]], value: "zh", label: "z·h", sub: "t−1", text: [300, 88], strong: true },
      { points: [[734, 100], [890, 100]], value: "h", label: "h", sub: "t", text: [750, 88], strong: true, arrow: true },
      { points: [[250, 270], [250, 114]], value: "z", label: "z", text: [242, 225], end: "end", gate: 0, arrow: true },
      { points: [[250, 180], [323, 180]], arrow: true },
      { points: [[367, 180], [706, 180]], value: "one", label: "1−z", text: [440, 170], arrow: true },
      { points: [[400, 270], [400, 235], [506, 235]], value: "r", label: "r", text: [408, 225], gate: 1, arrow: true },
      { points: [[520, 360], [520, 249]], arrow: true },
      { points: [[534, 235], [620, 235], [620, 290], [688, 290]], text: [548, 225], arrow: true },
      { points: [[720, 270], [720, 194]], value: "h_tilde", label: "h̃", text: [728, 238], gate: 2, arrow: true },
      { points: [[720, 166], [720, 114]], value: "zc", label: "(1−z)·h̃", text: [728, 145], arrow: true },
      { points: [[70, 100], [70, 360], [720, 360], [720, 310]], strong: true, arrow: true },
      { points: [[250, 360], [250, 310]], arrow: true },
      { points: [[400, 360], [400, 310]], arrow: true },
      { points: [[150, 430], [150, 372], [162, 360]], label: "x", sub: "t", text: [160, 425], input: true },
    ],
    box: [190, 56, 640, 328],
  },
  SimpleRNN: {
    nodes: [{ name: "h", at: [460, 210], kind: "gate", gate: 0 }],
    wires: [
      { points: [[30, 210], [428, 210]], value: "h_before", label: "h", sub: "t−1", text: [36, 198], strong: true, arrow: true },
      { points: [[492, 210], [890, 210]], value: "h", label: "h", sub: "t", text: [640, 198], strong: true, arrow: true },
      { points: [[460, 430], [460, 230]], label: "x", sub: "t", text: [470, 425], input: true, arrow: true },
    ],
    box: [300, 110, 320, 200],
  },
};

/** The diagram of a cell: that of its kind, with what its options add. */
function planOf(shown) {
  const plan = DIAGRAMS[shown.kind];
  const { options } = shown;
  if (shown.kind !== "LSTM") return plan;
  let { nodes, wires } = plan;
  if (options.peepholes) {
    // Around the other wires: c before to the gates f and i, the new c to o.
    const peephole = { kind: "peephole", arrow: true };
    wires = [
      ...wires,
      ...(options.input_forget ? [] : [{ ...peephole, points: [[210, 100], [210, 290], [216, 290]], gate: 1 }]),
      { ...peephole, points: [[210, 100], [210, 252], [348, 252], [348, 268]], gate: 0 },
      { ...peephole, points: [[660, 100], [660, 290], [644, 290]], gate: 3 },
    ];
  }
  if (options.input_forget) {
    const isOfForget = ({ points: [[x, y], [toX]] }) => x === 250 && toX === 250 && y === 360;
    wires = [...wires.filter((wire) => !isOfForget(wire)), { points: [[338, 300], [284, 300]], gate: 0, arrow: true }];
  }
  if (options.layer_norm || options.cell_clip) {
    const text = options.layer_norm && options.cell_clip ? "LN·clip" : options.layer_norm ? "norm" : "clip";
    nodes = [...nodes, { name: "state", at: [570, 100], kind: "wide", text, says: "what is done to the new cell state" }];
    wires = wires.flatMap((wire) =>
      wire.value === "c"
        ? [
            { points: [[484, 100], [538, 100]], strong: true, arrow: true },
            { ...wire, points: [[600, 100], [890, 100]], text: [736, 88] },
          ]
        : [wire]);
  }
  if (options.projection) {
    nodes = [...nodes, { name: "proj", at: [720, 306], kind: "wide", text: "· W_p", says: "the projection" }];
    wires = wires.flatMap((wire) =>
      wire.value === "h"
        ? [
            { points: [[720, 249], [720, 289]], value: "shown", label: "o·φ(c)", text: [732, 274], arrow: true },
            { ...wire, points: [[720, 322], [720, 360], [890, 360]] },
          ]
        : [wire]);
  }
  return { ...plan, nodes, wires };
}

/** The numbers of the wires that are no arrays: what the circles compute. */
function wireNumbers(shown, step, unit) {
  // A projected h has no value of the later units.
  const get = (name) => (step[name] ? step[name][unit] ?? NaN : undefined);
  const values = {};
  for (const name of Object.keys(step)) values[name] = get(name);
  if (shown.kind === "LSTM") {
    values.fc = values.f * values.c_before;
    values.ic = values.i * values.c_tilde;
    values.raw = values.fc + values.ic;
    // h = o · tanh(c): what the step itself says, whatever the activation is.
    values.shown ??= values.h;
    values.tanh = shown.output_activation === "tanh" ? Math.tanh(values.c) : values.shown / values.o;
  }
  if (shown.kind === "GRU") {
    values.zh = values.z * values.h_before;
    values.one = 1 - values.z;
    values.zc = values.one * values.h_tilde;
  }
  return values;
}

/** The sum of a circle, in words and numbers. */
function operationText(shown, name, v) {
  const n = short;
  return {
    fc: ["f · cₜ₋₁", `${n(v.f)} × ${n(v.c_before)} = ${n(v.fc)}`, "How much of the old cell state stays."],
    ic: ["i · c̃", `${n(v.i)} × ${n(v.c_tilde)} = ${n(v.ic)}`, "How much of the candidate enters the cell."],
    tanh: [`${shown.output_activation}(cₜ)`, `${shown.output_activation}(${n(v.c)}) = ${n(v.tanh)}`, "The cell state, brought into range."],
    out: [
      `${shown.options.projection ? "" : "hₜ = "}o · ${shown.output_activation}(cₜ)`,
      `${n(v.o)} × ${n(v.tanh)} = ${n(v.shown)}`,
      shown.options.projection ? "How much of the cell is shown: it is projected to h." : "How much of the cell is shown: to the next step, and to the next layer.",
    ],
    state: [
      `cₜ = ${[shown.options.cell_clip && "clip", shown.options.layer_norm && "norm"].filter(Boolean).join("(")}(f · cₜ₋₁ + i · c̃)${shown.options.cell_clip && shown.options.layer_norm ? ")" : ""}`,
      `${n(v.raw)} → ${n(v.c)}`,
      [shown.options.layer_norm && "It is normalized over all units, and stays so (layer normalization).", shown.options.cell_clip && `It is kept between ±${n(shown.options.cell_clip)} (cell_clip).`].filter(Boolean).join(" "),
    ],
    zh: ["z · hₜ₋₁", `${n(v.z)} × ${n(v.h_before)} = ${n(v.zh)}`, "How much of the old hidden state stays."],
    one: ["1 − z", `1 − ${n(v.z)} = ${n(v.one)}`, "What does not stay is replaced."],
    zc: ["(1 − z) · h̃", `${n(v.one)} × ${n(v.h_tilde)} = ${n(v.zc)}`, "How much of the candidate enters."],
    rh: [
      shown.reset_after ? "r ∘ (hₜ₋₁·U + b′)" : "r ∘ hₜ₋₁",
      `r = ${n(v.r)}`,
      "How much of the hidden state the candidate sees. " +
        (shown.reset_after ? "Keras applies it after the recurrent product (reset_after=True)." : "It is applied to the hidden state itself (reset_after=False)."),
    ],
    sum:
      shown.kind === "LSTM"
        ? ["cₜ = f · cₜ₋₁ + i · c̃", `${n(v.fc)} ${signed(v.ic)} = ${n(v.raw)}`, "The new cell state: what stayed, and what was added."]
        : ["hₜ = z · hₜ₋₁ + (1 − z) · h̃", `${n(v.zh)} ${signed(v.zc)} = ${n(v.h)}`, "The new hidden state: what stayed, and what was added."],
  }[name];
}

function pathOf(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x} ${y}`).join(" ");
}

/** The diagram of a kind of cell; `open(name)` is called for what is clicked. */
function buildDiagram(shown, open) {
  const plan = planOf(shown);
  const labels = new Map();
  const root = svg(
    "svg",
    { viewBox: "0 46 920 394", class: "diagram", role: "group", "aria-label": `One step of ${shown.kind === "GRU" ? "a GRU" : shown.kind === "LSTM" ? "an LSTM" : "a SimpleRNN"}, with the numbers on its wires` },
    svg("defs", {}, svg("marker", { id: "tip-of-wire", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" }, svg("path", { d: "M0 0L8 4L0 8z" }))),
  );
  const [x, y, width, height] = plan.box;
  root.append(svg("rect", { class: "box", x, y, width, height, rx: 14 }));
  for (const wire of plan.wires) {
    const kind = `wire${wire.strong ? " strong" : ""}${wire.kind ? ` ${wire.kind}` : ""}${wire.gate === undefined ? "" : ` gate g${wire.gate}`}`;
    root.append(svg("path", { class: kind, "data-gate": wire.gate ?? null, d: pathOf(wire.points), "marker-end": wire.arrow ? "url(#tip-of-wire)" : null }));
  }
  for (const wire of plan.wires) {
    if (!wire.label) continue;
    const name = svg("tspan", { class: "wire-name" }, wire.label);
    const parts = [name];
    if (wire.sub) parts.push(svg("tspan", { class: "sub", dy: 4 }, wire.sub));
    const number = svg("tspan", { class: "wire-number", dx: 6, dy: wire.sub ? -4 : 0, "data-wire": wire.value || "x" });
    parts.push(number);
    const turn = wire.end === "start" ? "end" : wire.end || "start";
    root.append(svg("text", { class: "wire-text", x: wire.text[0], y: wire.text[1], "text-anchor": turn }, parts));
    labels.set(wire.value || "x", number);
  }
  const nodes = new Map();
  for (const node of plan.nodes) {
    const [cx, cy] = node.at;
    const of = node.gate === undefined ? null : shown.gates[node.gate];
    const isGate = of && !["c_tilde", "h_tilde", "h"].includes(of.array);
    const activation = of ? (isGate ? shown.recurrent_activation : shown.activation) : null;
    const isCoupled = of && of.letter === "f" && shown.options.input_forget;
    const text = isCoupled ? "1 − i" : of ? { sigmoid: "σ" }[activation] || activation : node.text;
    const shape = of
      ? svg("rect", { x: cx - 32, y: cy - 20, width: 64, height: 40, rx: 6 })
      : node.kind === "wide"
        ? svg("ellipse", { cx, cy, rx: 30, ry: 16 })
        : svg("circle", { cx, cy, r: 14 });
    const shownText = node.name === "tanh" ? shown.output_activation : text;
    const group = svg(
      "g",
      {
        class: `node ${of ? `gate g${node.gate}` : "op"}`,
        role: "button",
        tabindex: "0",
        "aria-pressed": "false",
        "aria-label": of ? `${of.name}: open its sum` : `${node.says}: open it`,
        "data-node": node.name,
        "data-node-gate": of ? node.gate : null,
        onclick: () => open(node.name),
        onkeydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          open(node.name);
        },
      },
      svg("title", {}, of ? of.name : node.says),
      shape,
      svg("text", { x: cx, y: of ? cy - 6 : cy, class: shownText.length > 5 ? "small" : null }, shownText.length > 12 ? `${shownText.slice(0, 11)}…` : shownText),
      of && svg("text", { x: cx, y: cy + 11, class: "gate-name" }, of.name.split(" ")[0].replace("cell", "candidate")),
    );
    root.append(group);
    nodes.set(node.name, group);
  }
  return { root, labels, nodes };
}
