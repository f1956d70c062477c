// Where the numbers come from: the command's server, or the file itself.

const embedded = byId("data");
const file = embedded ? JSON.parse(embedded.textContent) : null;
const isLive = file === null;

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("the server no longer answers"), { help: "start `ifco view` again" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({ error: `error ${response.status}` }));
  throw Object.assign(new Error(told.error), { help: told.help, status: response.status, isTold: true });
}

function blob(name) {
  const text = file.blobs[name];
  if (text === undefined) return null;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

/**
 * The last results of a function of strings and numbers: `most` of them, or of what they weigh
 * together.
 */
function remember(most, work, weigh = () => 1) {
  const kept = new Map();
  let weight = 0;
  const drop = (key) => {
    weight -= kept.get(key).weight;
    kept.delete(key);
  };
  const keep = async (key, own) => {
    const more = weigh(await own.result);
    if (kept.get(key) !== own) return;
    own.weight = more;
    weight += own.weight;
    for (const oldest of kept.keys()) {
      if (weight <= most || oldest === key) break;
      drop(oldest);
    }
  };
  return (...args) => {
    const key = args.join(" ");
    const own = kept.get(key) || { result: work(...args), weight: 0 };
    const isNew = !kept.delete(key);
    // The last one used is the last one dropped.
    kept.set(key, own);
    if (isNew) keep(key, own).catch(() => kept.delete(key));
    return own.result;
  };
}

/** What heat maps, and what weights, may take. */
const MOST_KEPT = 128 << 20;
const bytesIn = (result) => (result ? result.bytes : 0);

/** Heat maps, one after the other: `{rows, columns, low, high, planes}` each. */
function mapsFrom(buffer) {
  const maps = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const head = new DataView(buffer, at);
    const [rows, columns, count] = [0, 4, 8].map((place) => head.getUint32(place, true));
    const size = rows * columns;
    const planes = Array.from({ length: count }, (_, n) => new Uint8Array(buffer, at + 20 + n * size, size));
    maps.push({ rows, columns, low: head.getFloat32(12, true), high: head.getFloat32(16, true), planes });
    at += 20 + count * size;
  }
  return maps;
}

/** The heat maps fetched last: `{run, done, place, maps}`. */
let lastMaps = null;

/** How many steps of a run are as in heat maps of it, or of the run that it was made from. */
function stepsAlike(run, { run: other, done }) {
  const { before, kept } = currentRun();
  if (other === run) return done;
  return other === before ? Math.min(kept, done) : 0;
}

/** The bytes of a map `(rows, columns)` with some columns from `first` on in the place of its own. */
function withColumns(bytes, columns, some, first) {
  const all = bytes.slice();
  for (let row = 0; row < some.rows; row++) {
    all.set(some.bytes.subarray(row * some.columns, (row + 1) * some.columns), row * columns + first);
  }
  return all;
}

const numbersOf = async (path) => new Float32Array(await (await ask(path)).arrayBuffer());

/** Some numbers by name, which lie one after the other: of each name and how many. */
function inOrder(numbers, sizes) {
  const parts = {};
  let first = 0;
  for (const [name, size] of sizes) parts[name] = numbers.subarray(first, (first += size));
  return parts;
}

/** How many values an array of a trace has at a step: h may be projected. */
const widthOf = (array, of) => (array === "h" || array === "dh" ? of.outputs : of.units);

/** What a cell's numbers of one step are, in order: each `{name, size}`. */
function stepParts(trace) {
  const cell = info.cells[trace.cell];
  const states = cell.kind === "LSTM" ? ["h", "c"] : ["h"];
  return [
    { name: "x", size: cell.features },
    ...states.map((name) => ({ name: `${name}_before`, size: widthOf(name, cell) })),
    ...trace.arrays.map((name) => ({ name, size: widthOf(name, cell) })),
    ...(cell.options.projection ? [{ name: "shown", size: cell.units }] : []),
  ];
}

function stepFrom(trace, numbers, first) {
  const step = {};
  for (const { name, size } of stepParts(trace)) {
    step[name] = numbers.subarray(first, first + size);
    first += size;
  }
  return step;
}

const stepSize = (trace) => stepParts(trace).reduce((sum, part) => sum + part.size, 0);

const source = {
  async start() {
    return isLive ? (await ask("info")).json() : file.info;
  },

  /** Runs the model: `{row}` or `{texts, before}`; `{on}` works on a run that is not done. */
  async run(what) {
    const response = await ask("run", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(what),
    });
    return response.json();
  },

  /** A file's kernel, recurrent_kernel and bias of a cell, each row by row; `null` where it left them out. */
  weights: remember(MOST_KEPT, async (index) => {
    const cell = info.cells[index];
    const bytes = blob(`weights/${index}`);
    if (!bytes) return null;
    const numbers = new Float32Array(bytes);
    return { bytes: numbers.byteLength, ...inOrder(numbers, cell.arrays.map(({ name, rows, columns }) => [name, rows * columns])) };
  }, bytesIn),

  /**
   * What makes a unit's gates: of each array by gate the numbers of every row, gate by gate. `null`
   * where a file left them out.
   */
  column: remember(256, async (index, unit) => {
    const cell = info.cells[index];
    const byGate = cell.arrays.filter((array) => array.by_gate);
    if (isLive) {
      const numbers = await numbersOf(`column?cell=${index}&unit=${unit}`);
      return inOrder(numbers, byGate.map(({ name, rows }) => [name, rows * cell.gates.length]));
    }
    const weights = await source.weights(index);
    if (!weights) return null;
    const column = (values) =>
      Float32Array.from({ length: values.length / cell.units }, (_, at) => values[at * cell.units + unit]);
    return Object.fromEntries(byGate.map(({ name }) => [name, column(weights[name])]));
  }),

  /** A column of an array of a cell; `null` where a file left it out. */
  down: remember(256, async (index, part, column) => {
    const { arrays } = info.cells[index];
    const place = arrays.findIndex(({ name }) => name === part);
    if (isLive) return numbersOf(`down?cell=${index}&part=${place}&column=${column}`);
    const weights = await source.weights(index);
    const { rows, columns } = arrays[place];
    return weights && Float32Array.from({ length: rows }, (_, row) => weights[part][row * columns + column]);
  }),

  /** A matrix as bytes, as many as there are pixels for; `null` where a file left it out. */
  picture: remember(MOST_KEPT, async (index, part, width, height) => {
    const { arrays } = info.cells[index];
    const place = arrays.findIndex(({ name }) => name === part);
    if (isLive) {
      const path = `picture?cell=${index}&part=${place}&rows=${height}&columns=${width}`;
      const [picture] = mapsFrom(await (await ask(path)).arrayBuffer());
      return { ...picture, bytes: picture.planes[0], most: picture.high, weight: picture.planes[0].length };
    }
    const weights = await source.weights(index);
    if (!weights) return null;
    const small = shrink(weights[part], arrays[place].rows, arrays[place].columns, height, width);
    const most = largest(weights[part]);
    const bytes = bytesOf(small.values, most);
    return { rows: small.rows, columns: small.columns, bytes, most, weight: bytes.length };
  }, (picture) => (picture ? picture.weight : 0)),

  /**
   * The heat maps of a trace, one for each array: bytes for each unit and stretch of time (see
   * planes.rs). `done` is how far the run is: what is not done has no colour yet, or that of the
   * run before.
   */
  maps: remember(MOST_KEPT, async (run, done, trace, from, to, bins, shows) => {
    const own = currentRun().traces[trace];
    const of = ({ rows, columns, low, high, planes }) => ({
      rows,
      columns,
      low,
      high,
      from: isLive ? from : 0,
      to: isLive ? to : own.steps,
      bytes: planes[planes.length === 3 ? shows : 0],
    });
    if (!isLive) {
      const blobs = own.arrays.map((_, array) => blob(`planes/${trace}/${array}`));
      return blobs.map((bytes) => bytes && of(mapsFrom(bytes)[0]));
    }
    const columns = Math.min(bins, to - from);
    const place = [trace, from, to, bins, shows].join(" ");
    const seen = lastMaps && lastMaps.place === place ? lastMaps : null;
    const get = async (first, last) => {
      const path = `maps?run=${run}&trace=${trace}&from=${from}&to=${to}&bins=${bins}&first=${first}&last=${last}&shows=${shows}`;
      return mapsFrom(await (await ask(path)).arrayBuffer()).map(of);
    };
    let maps = null;
    // What is as it was, or still to come, need not be fetched again.
    const same = seen ? stepsAlike(run, seen) : 0;
    const [first, last] = [same, done].map((step) => clamp(((step - from) / (to - from)) * columns, 0, columns));
    const [low, high] = [Math.max(0, Math.floor(first) - 1), Math.min(columns, Math.ceil(last) + 1)];
    if (seen && high - low < columns / 2) {
      const some = low < high ? await get(low, high) : [];
      const isOn = some.length === seen.maps.length && some.every((map, n) => map.low === seen.maps[n].low && map.high === seen.maps[n].high);
      if (isOn) maps = some.map((map, n) => ({ ...map, columns, bytes: withColumns(seen.maps[n].bytes, columns, map, low) }));
    }
    maps ??= await get(0, columns);
    lastMaps = { run, done, place, maps };
    return maps;
  }, (maps) => maps.reduce((sum, map) => sum + (map ? map.bytes.length : 0), 0)),

  /** The states of a unit at all steps, c before h: means over stretches; `null` as above. */
  curves: remember(256, async (run, done, trace, unit, bins) => {
    const own = currentRun().traces[trace];
    const states = statesOf(info.cells[own.cell]);
    if (isLive) {
      const numbers = await numbersOf(`curves?run=${run}&trace=${trace}&unit=${unit}&bins=${bins}`);
      const size = numbers.length / states.length;
      return states.map((_, index) => numbers.subarray(index * size, (index + 1) * size));
    }
    const maps = await source.maps(run, done, trace, 0, own.steps, bins, 0);
    return states.map((name) => {
      const map = maps[own.arrays.indexOf(name)];
      if (!map) return null;
      const bytes = map.bytes.subarray(unit * map.columns, (unit + 1) * map.columns);
      return Float32Array.from(bytes, (byte) => (byte === 255 ? NaN : map.low + (byte / 254) * (map.high - map.low)));
    });
  }),

  /** Everything about one step, or `null` where a file left it out. */
  step: remember(64, async (run, index, step) => {
    const trace = currentRun().traces[index];
    if (isLive) {
      return stepFrom(trace, await numbersOf(`step?run=${run}&trace=${index}&step=${step}`), 0);
    }
    const numbers = await source.steps(index);
    const size = stepSize(trace);
    return (step + 1) * size <= numbers.length ? stepFrom(trace, numbers, step * size) : null;
  }),

  /** The exact numbers of a file. */
  steps: remember(8, async (index) => new Float32Array(blob(`steps/${index}`) || 0)),

  /** One array whole, `(time, columns)` row by row; of a file, the steps that it has. */
  raw: remember(8, async (run, index, name) => {
    const trace = currentRun().traces[index];
    if (isLive) {
      const array = name === "x" ? trace.arrays.length : trace.arrays.indexOf(name);
      return numbersOf(`raw?run=${run}&trace=${index}&array=${array}`);
    }
    const numbers = await source.steps(index);
    const size = stepSize(trace);
    let first = 0;
    let width = 0;
    for (const part of stepParts(trace)) {
      if (part.name === name) {
        width = part.size;
        break;
      }
      first += part.size;
    }
    const steps = Math.floor(numbers.length / size);
    const values = new Float32Array(steps * width);
    for (let step = 0; step < steps; step++) {
      values.set(numbers.subarray(step * size + first, step * size + first + width), step * width);
    }
    return values;
  }),
};
