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

const numbersOf = async (path) => new Float32Array(await (await ask(path)).arrayBuffer());

/** What a cell's numbers of one step are, in order: each `{name, size}`. */
function stepParts(trace) {
  const cell = info.cells[trace.cell];
  const states = cell.kind === "LSTM" ? ["h", "c"] : ["h"];
  return [
    { name: "x", size: cell.features },
    ...states.map((name) => ({ name: `${name}_before`, size: cell.units })),
    ...trace.arrays.map((name) => ({ name, size: cell.units })),
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

  /** Runs the model: `{row}` or `{texts, before}`. */
  async run(what) {
    const response = await ask("run", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(what),
    });
    return response.json();
  },

  /** kernel, recurrent_kernel and bias of a cell, each row by row; `null` where a file left them out. */
  weights: remember(MOST_KEPT, async (index) => {
    const cell = info.cells[index];
    const bytes = isLive ? null : blob(`weights/${index}`);
    if (!isLive && !bytes) return null;
    const numbers = isLive ? await numbersOf(`weights?cell=${index}`) : new Float32Array(bytes);
    const columns = cell.units * cell.gates.length;
    const [kernel, recurrent] = [cell.features * columns, cell.units * columns];
    return {
      bytes: numbers.byteLength,
      columns,
      kernel: numbers.subarray(0, kernel),
      recurrent_kernel: numbers.subarray(kernel, kernel + recurrent),
      bias: numbers.subarray(kernel + recurrent),
    };
  }, bytesIn),

  /** A heat map: bytes for each unit and stretch of time (see planes.rs). */
  planes: remember(MOST_KEPT, async (run, trace, array, from, to, bins) => {
    const path = `planes?run=${run}&trace=${trace}&array=${array}&from=${from}&to=${to}&bins=${bins}`;
    const buffer = isLive ? await (await ask(path)).arrayBuffer() : blob(`planes/${trace}/${array}`);
    if (!buffer) return null;
    const head = new DataView(buffer);
    const [rows, columns, planes] = [0, 4, 8].map((at) => head.getUint32(at, true));
    const size = rows * columns;
    const plane = (n) => new Uint8Array(buffer, 20 + n * size, size);
    return {
      bytes: buffer.byteLength,
      rows,
      columns,
      from: isLive ? from : 0,
      to: isLive ? to : currentRun().traces[trace].steps,
      low: head.getFloat32(12, true),
      high: head.getFloat32(16, true),
      mean: plane(0),
      least: planes === 3 ? plane(1) : null,
      largest: planes === 3 ? plane(2) : null,
    };
  }, bytesIn),

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
