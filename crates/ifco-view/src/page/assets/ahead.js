// Ahead of the question: while the page rests, it asks for what the other layers will show.

/** Resolves once nothing is under way and the browser has time. */
async function rest() {
  do await new Promise((done) => (window.requestIdleCallback || setTimeout)(done));
  while (underWay);
}

/** What a layer shows first, each by a function that gets it. */
function firstOf({ cell: own, trace: at }) {
  const of = info.cells[own];
  const { steps } = state.run.traces[at];
  return [
    async () => [await drawnWeights(own, of)],
    () => mapPlanes(at, 0, steps),
    () => stripPlanes(at),
  ];
}

/** The weights, with the pictures of their matrices made. */
async function drawnWeights(own, of) {
  const weights = await source.weights(own);
  const { base } = matrices.kernel || {};
  if (!weights || !base) return weights;
  const ratio = window.devicePixelRatio || 1;
  for (const part of MATRICES) {
    const rows = rowsOf(part, of);
    const height = matrixHeight(part, of, base.parentElement.clientWidth);
    if (rows) pictureOf(weights[part], rows, weights.columns, base.width, Math.round(height * ratio));
  }
  return weights;
}

let rounds = 0;

async function askAhead() {
  const round = ++rounds;
  if (!trace()) return;
  const all = views();
  // The next layer first.
  const others = [...all.slice(state.view + 1), ...all.slice(0, state.view)].filter((of) => of.trace !== null);
  let bytes = 0;
  for (const of of others) {
    for (const get of firstOf(of)) {
      await rest();
      // Half of what is kept is left to what has been looked at.
      if (round !== rounds || bytes > MOST_KEPT / 2) return;
      for (const result of await get()) bytes += bytesIn(result);
    }
  }
}

// What fails here is told when it is asked for.
watch(["view", "run", "theme"], () => askAhead().catch(() => {}));
