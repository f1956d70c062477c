// What is looked at, the same in every panel. `set` changes it, and each panel that `watch`es one
// of the changed names is called once before the next frame.

let info = null;

const state = {
  run: null,
  /** Index into `views`. */
  view: 0,
  unit: 0,
  step: 0,
  /** Index of the lit gate, or null. */
  gate: null,
  /** The operation of the cell that is open. */
  open: null,
  /** The steps that the heat maps show. */
  from: 0,
  to: 1,
  /** `{from, to}` of the selected steps, or null. */
  selection: null,
  sort: "stored",
  /** What a column of a heat map shows of several steps: "mean", "least" or "largest". */
  shows: "mean",
  /** The feature or unit to correlate with. */
  sortBy: 0,
  theme: 0,
};

const watchers = [];
let changed = new Set();

function watch(names, work) {
  watchers.push({ names, work });
}

const tell = eachFrame(() => {
  const now = changed;
  changed = new Set();
  for (const { names, work } of watchers) {
    if (names.some((name) => now.has(name))) work(now);
  }
});

function set(patch) {
  for (const [name, value] of Object.entries(patch)) {
    if (state[name] !== value) {
      state[name] = value;
      changed.add(name);
    }
  }
  if (changed.size) tell();
}

const currentRun = () => state.run;

/** What can be chosen as a layer: each cell, or each of its traces where the layer is called twice. */
function views() {
  const traces = state.run ? state.run.traces : [];
  return info.cells.flatMap((cell, index) => {
    const own = traces.map((trace, at) => [trace, at]).filter(([trace]) => trace.cell === index);
    if (!own.length) return [{ cell: index, trace: null, name: cell.path }];
    return own.map(([trace, at]) => ({ cell: index, trace: at, name: trace.name }));
  });
}

const view = () => views()[state.view] || null;
const cell = () => (view() ? info.cells[view().cell] : null);
const trace = () => (view() && view().trace !== null ? state.run.traces[view().trace] : null);

/** What a step is called. */
function stepLabel(step) {
  const labels = trace() && trace().labels;
  return labels ? labels[step] : null;
}

/** `step 3 "how"`. */
function stepName(step) {
  const label = stepLabel(step);
  return label === null ? `step ${step}` : `step ${step} “${label}”`;
}

/** Looks at a layer from its first step; a unit and a step beyond its last become the last. */
function look(index, more = {}) {
  const chosen = views()[index];
  const seen = chosen && chosen.trace !== null ? state.run.traces[chosen.trace] : null;
  const steps = seen ? seen.steps : 1;
  const wasTrace = state.to - state.from;
  const patch = {
    view: index,
    unit: chosen ? clamp(state.unit, 0, info.cells[chosen.cell].units - 1) : 0,
    step: clamp(state.step, 0, Math.max(0, steps - 1)),
    ...more,
  };
  if (state.to > steps || state.view !== index || wasTrace < 1 || more.run) {
    Object.assign(patch, { from: 0, to: Math.max(1, steps), selection: null });
  }
  if (chosen && (state.view !== index || state.open === null)) {
    const of = info.cells[chosen.cell];
    Object.assign(patch, { gate: null, open: { LSTM: "f", GRU: "z" }[of.kind] || "h", sort: "stored" });
  }
  set(patch);
}

/** The letter of each gate with its number; the columns of `kernel` in order. */
const gates = () => (cell() ? cell().gates : []);

/** The index of the gate that an array is of, or -1. */
const gateOf = (array) => gates().findIndex((gate) => gate.array === array && cell().kind !== "SimpleRNN");
