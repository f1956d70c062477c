// How the number of a gate comes about: its bias, and what each input and each unit brings.

/** The largest shown by name; the others are one line. */
const SHOWN = 8;

/**
 * The terms of a gate's sum for one unit, whose `weights` these are: `{bias, items: [{from, index, value, weight, product}], total}`.
 * `from` is "x", "h" or, through a peephole, "c". A GRU's candidate sees the hidden state through its
 * reset gate.
 */
function gateSum(shown, weights, step, gate, unit) {
  const at = (values, row) => values[row * shown.gates.length + gate];
  const isCandidate = shown.kind === "GRU" && gate === 2;
  const after = isCandidate && shown.reset_after;
  const before = isCandidate && !shown.reset_after;
  const items = [];
  for (let k = 0; k < shown.features; k++) {
    const [value, weight] = [step.x[k], at(weights.kernel, k)];
    items.push({ from: "x", index: k, value, weight, product: value * weight });
  }
  const h = step.h_before;
  for (let k = 0; k < shown.outputs; k++) {
    const value = before ? step.r[k] * h[k] : h[k];
    const weight = at(weights.recurrent_kernel, k);
    const product = value * weight * (after ? step.r[unit] : 1);
    items.push({ from: "h", index: k, value, weight, product });
  }
  const rows = shown.biases;
  const bias = rows ? at(weights.bias, 0) : 0;
  const recurrentBias = rows === 2 ? at(weights.bias, 1) * (after ? step.r[unit] : 1) : 0;
  const { options } = shown;
  const letter = shown.gates[gate].letter;
  if (options.peepholes && letter !== "c") {
    const [value, weight] = [(letter === "o" ? step.c : step.c_before)[unit], at(weights.peepholes, 0)];
    items.push({ from: "c", index: unit, value, weight, product: value * weight });
  }
  const forgetBias = letter === "f" && shown.kind === "LSTM" ? options.forget_bias : 0;
  const sum = (from) => items.reduce((total, item) => total + (item.from === from ? item.product : 0), 0);
  const [x, hidden, peephole] = [sum("x"), sum("h"), sum("c")];
  items.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const total = bias + recurrentBias + forgetBias + x + hidden + peephole;
  const clipped = options.clip ? clamp(total, -options.clip, options.clip) : total;
  return { bias, recurrentBias, forgetBias, x, hidden, peephole, items, total, clipped, after, before };
}

/** A line with a bar, to the left below zero and to the right above. */
function term(what, product, most, how) {
  const width = clamp((Math.abs(product) / most) * 50, 0, 50);
  const bar = svg(
    "svg",
    { class: "bar-term", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "zero", x: 49.6, y: 0, width: 0.8, height: 8 }),
    svg("rect", { class: product < 0 ? "negative" : "positive", x: product < 0 ? 50 - width : 50, y: 1, width, height: 6 }),
  );
  return el("tr", {}, el("th", { scope: "row" }, what), el("td", { class: "how" }, how || ""), el("td", {}, bar), el("td", { class: "value" }, numeral(product)));
}

/** The opened sum of a gate, as nodes. */
function gateNodes(shown, weights, step, gate, unit) {
  const of = shown.gates[gate];
  const isGate = of.array !== "c_tilde" && of.array !== "h_tilde" && of.array !== "h";
  const activation = isGate ? shown.recurrent_activation : shown.activation;
  const value = step[of.array][unit];
  const symbol = { c_tilde: "c̃", h_tilde: "h̃" }[of.array] || of.array;
  const letter = shown.gates.length > 1 ? `_${of.letter}` : "";
  const head = [
    el("h3", { class: `g${gate}` }, el("span", { class: "chip" }, symbol), ` ${of.name} of unit ${unit}`),
  ];
  if (!weights) {
    return [...head, el("p", { class: "hint" }, "The weights of this layer are too large for this file. `ifco view` opens this sum.")];
  }
  const { options } = shown;
  if (options.input_forget && of.letter === "f") {
    return [
      ...head,
      el("p", { class: "formula" }, "f = 1 − i"),
      el("p", { class: "formula" }, `= 1 − ${short(step.i[unit])} = `, numeral(value, { class: "num strong" })),
      el("p", {}, "The forget gate is coupled to the input gate (input_forget): what the arrays hold for it is not used."),
    ];
  }
  const sum = gateSum(shown, weights, step, gate, unit);
  const through = sum.after ? "r · " : "";
  const most = Math.max(...sum.items.slice(0, 1).map((item) => Math.abs(item.product)), Math.abs(sum.bias), Math.abs(sum.recurrentBias), 1e-12);
  const rows = [];
  if (shown.biases) rows.push(term(`bias b${letter}[${unit}]`, sum.bias, most));
  if (shown.biases === 2) rows.push(term(`${through}recurrent bias`, sum.recurrentBias, most));
  if (sum.forgetBias) rows.push(term("forget_bias", sum.forgetBias, most));
  for (const item of sum.items.slice(0, SHOWN)) {
    const name = item.from === "c" ? `peephole: c${of.letter === "o" ? "ₜ" : "ₜ₋₁"}[${item.index}]` : item.from === "x" ? `x[${item.index}]` : `${sum.before ? "(r·h)" : "h"}[${item.index}]`;
    const times = `${item.from === "h" ? through : ""}${short(item.value)} × ${short(item.weight)}`;
    rows.push(term(name, item.product, most, times));
  }
  const rest = sum.items.slice(SHOWN);
  if (rest.length) {
    rows.push(term(`${count(rest.length, "smaller one")} together`, rest.reduce((total, item) => total + item.product, 0), most));
  }
  const hasPeephole = sum.items.some(({ from }) => from === "c");
  const peephole = hasPeephole ? ` + p${letter}∘c${of.letter === "o" ? "ₜ" : "ₜ₋₁"}` : "";
  const forgetBias = sum.forgetBias ? " + forget_bias" : "";
  const recurrent = sum.after ? `r∘(h·U${letter} + b′)` : sum.before ? `(r∘h)·U${letter}` : `h·U${letter}`;
  const norm = options.layer_norm;
  const inside = {
    gates: `norm(b + x·W${letter} + h·U${letter})${forgetBias}${peephole}`,
    products: `norm(x·W)${letter} + norm(h·U)${letter} + b${forgetBias}${peephole}`,
  }[norm] || `b + x·W${letter} + ${recurrent}${forgetBias}${peephole}`;
  const clip = options.clip ? (text) => `clip(${text})` : (text) => text;
  const numbers = norm
    ? ["= ", numeral(value, { class: "num strong" }), "; normalized over all units, so that the sum of this one alone does not tell it"]
    : [
        `= ${activation}(`,
        numeral(sum.bias + sum.forgetBias),
        ` ${signed(sum.x)} ${signed(sum.hidden + sum.recurrentBias)}${hasPeephole ? ` ${signed(sum.peephole)}` : ""}) = ${activation}(`,
        numeral(sum.clipped),
        sum.clipped === sum.total ? ") = " : `, clipped from ${short(sum.total)}) = `,
        numeral(value, { class: "num strong" }),
      ];
  return [
    ...head,
    el("p", { class: "formula" }, `${symbol} = ${activation}(${clip(inside)})`),
    el("p", { class: "formula" }, numbers),
    el("table", { class: "terms" }, el("caption", {}, "The largest contributions: a value × its weight"), el("tbody", {}, rows)),
  ];
}

/** The opened projection, as nodes: what each unit shows, times its weight, makes one value of h. */
function projectionNodes(shown, weights, step, output) {
  const head = [el("h3", {}, `hₜ[${output}]: the projection`), el("p", { class: "formula" }, `h = ${shown.options.projection_clip ? "clip((o∘φ(c))·W_p)" : "(o∘φ(c))·W_p"}`)];
  if (!weights) return [...head, el("p", { class: "hint" }, "The weights of this layer are too large for this file. `ifco view` opens this sum.")];
  const items = [...step.shown].map((value, unit) => ({ unit, value, weight: weights[unit], product: value * weights[unit] }));
  items.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const most = Math.max(Math.abs(items[0].product), 1e-12);
  const rows = items.slice(0, SHOWN).map(({ unit, value, weight, product }) => term(`unit ${unit}`, product, most, `${short(value)} × ${short(weight)}`));
  const rest = items.slice(SHOWN);
  if (rest.length) rows.push(term(`${count(rest.length, "smaller one")} together`, rest.reduce((total, item) => total + item.product, 0), most));
  return [
    ...head,
    el("p", { class: "formula" }, "= ", numeral(step.h[output], { class: "num strong" })),
    el("table", { class: "terms" }, el("caption", {}, "The largest contributions: what a unit shows × its weight"), el("tbody", {}, rows)),
  ];
}
