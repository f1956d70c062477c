// Ahead of the question: while the page rests, it asks for what the other layers will show.

/** Resolves once nothing is under way and the browser has time. */
async function rest() {
  do await new Promise((done) => (window.requestIdleCallback || setTimeout)(done));
  while (underWay);
}

/** What a layer shows first, each by a function that gets it. */
function firstOf({ cell: own, trace: at }) {
  const { steps } = state.run.traces[at];
  const unit = clamp(state.unit, 0, info.cells[own].units - 1);
  // What takes longest first.
  return [
    () => heats.length && stepMaps(at, 0, steps),
    () => source.step(state.run.run, at, clamp(state.step, 0, steps - 1)),
    () => source.column(own, unit),
    () => stripCurves(at, unit),
    () => matrices.kernel && matrixPictures(own),
  ];
}

/** Looks at a layer, and asks for all that it shows before the panels do, one after the other. */
function lookSoon(index) {
  const chosen = views()[index];
  if (isLive && chosen && chosen.trace !== null && state.run.done === state.run.steps) {
    // What fails here is told when a panel asks for it.
    for (const get of firstOf(chosen)) Promise.resolve(get()).catch(() => {});
  }
  look(index);
}

let rounds = 0;

async function askAhead() {
  const round = ++rounds;
  if (!isLive || !trace() || state.run.done < state.run.steps) return;
  const all = views();
  // The next layer first.
  const others = [...all.slice(state.view + 1), ...all.slice(0, state.view)];
  // More would push out what has been looked at.
  const asked = others.filter((of) => of.trace !== null).slice(0, 12);
  for (const of of asked) {
    for (const get of firstOf(of)) {
      await rest();
      if (round !== rounds) return;
      await get();
    }
  }
}

let pause = 0;

/** Once nobody has asked for anything for so long: what is asked for then comes first. */
function askAheadAfter(milliseconds) {
  rounds++;
  clearTimeout(pause);
  // What fails here is told when it is asked for.
  pause = setTimeout(() => askAhead().catch(() => {}), milliseconds);
}

watch(["view", "run", "theme"], () => askAheadAfter(300));
// Who edits the input does so more than once.
watch(["data"], () => askAheadAfter(1500));
