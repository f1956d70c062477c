// The bar at the top, and the beginning.

let playing = null;

function buildBar() {
  byId("title").textContent = info.title;
  document.title = `${info.title} – ifco`;
  const layer = byId("layer");
  layer.addEventListener("change", () => lookSoon(Number(layer.value)));
  byId("unit").addEventListener("change", (event) => {
    if (cell()) set({ unit: clamp(Math.floor(Number(event.target.value)) || 0, 0, cell().units - 1) });
    event.target.value = state.unit;
  });
  byId("step").addEventListener("input", (event) => set({ step: Number(event.target.value) }));
  byId("row").addEventListener("change", (event) => {
    const row = clamp(Math.floor(Number(event.target.value)) || 0, 0, Math.max(0, info.rows - 1));
    event.target.value = row;
    if (!state.run || state.run.row !== row) runRow(row);
  });
  byId("play").addEventListener("click", play);
  document.addEventListener("keydown", (event) => {
    const isField = event.target.closest("input, textarea, select, button, canvas, [role=button]");
    if (isField || event.ctrlKey || event.metaKey || event.altKey || !trace()) return;
    if (event.key === " ") play();
    else if (event.key === "ArrowLeft") set({ step: Math.max(0, state.step - 1) });
    else if (event.key === "ArrowRight") set({ step: Math.min(trace().steps - 1, state.step + 1) });
    else return;
    event.preventDefault();
  });
  showBar();
}

/** Runs through time: the whole input in 20 seconds, or three steps a second. */
function play() {
  if (playing) {
    clearInterval(playing);
    playing = null;
  } else if (trace()) {
    if (state.step === trace().steps - 1) set({ step: 0 });
    const stride = Math.max(1, Math.round(trace().steps / 120));
    playing = setInterval(() => {
      if (!trace() || state.step >= trace().steps - 1) return play();
      set({ step: Math.min(trace().steps - 1, state.step + stride) });
    }, trace().steps > 60 ? 160 : 330);
  }
  showPlay();
}

function showPlay() {
  const button = byId("play");
  button.setAttribute("aria-pressed", String(playing !== null));
  button.setAttribute("aria-label", playing ? "Stop" : "Play through time");
  button.replaceChildren(
    svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: playing ? "M2 1h3v10H2zM7 1h3v10H7z" : "M2 1l9 5-9 5z" })),
  );
}

function showBar() {
  const layer = byId("layer");
  const names = views().map((of) => `${of.name} (${info.cells[of.cell].kind})`);
  if ([...layer.options].map(({ text }) => text).join("\n") !== names.join("\n")) {
    layer.replaceChildren(...names.map((name, index) => el("option", { value: index }, name)));
  }
  layer.value = state.view;
  const unit = byId("unit");
  unit.max = cell() ? cell().units - 1 : 0;
  unit.value = state.unit;
  byId("row-control").hidden = !(isLive && info.rows > 1);
  byId("rows").textContent = `of ${info.rows}`;
  byId("row").max = Math.max(0, info.rows - 1);
  if (state.run) byId("row").value = state.run.row ?? "";
  byId("time").hidden = !trace();
  byId("gates").replaceChildren(
    ...(gates().length > 1
      ? gates().map((gate, index) =>
          el("button", { type: "button", class: `chip-button g${index}`, "data-gate": index, "aria-pressed": String(state.gate === index), title: gate.name, "aria-label": `light the ${gate.name}`, onclick: () => set({ gate: state.gate === index ? null : index }) }, gate.letter))
      : []),
  );
  showStep();
}

function showStep() {
  if (state.run) byId("row").value = state.run.row ?? "";
  if (!trace()) return;
  const slider = byId("step");
  slider.max = trace().steps - 1;
  slider.value = state.step;
  slider.setAttribute("aria-valuetext", stepName(state.step));
  byId("step-text").textContent = `${state.step} / ${trace().steps - 1}${stepLabel(state.step) === null ? "" : ` “${stepLabel(state.step)}”`}`;
}

function buildFoot() {
  const parts = [`ifco ${info.version}. `];
  if (!isLive) {
    parts.push("This is a file: it holds one run of the model, and asks no server. ");
    if (file.left_out.length) parts.push(`It was too large to hold everything; left out: ${file.left_out.join("; ")}. `);
  } else parts.push("Served from this machine to this machine; nothing leaves it. ");
  byId("foot").textContent = parts.join("");
}

async function start() {
  try {
    info = await source.start();
  } catch (error) {
    return notice(error);
  }
  colors = info.colors;
  const run = info.run;
  state.run = run;
  const redraw = eachFrame(() => set({ theme: state.theme + 1 }));
  dark.addEventListener("change", redraw);
  paper.addEventListener("change", redraw);
  // Its height changes with what is drawn.
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (width && width !== contentRect.width) redraw();
    width = contentRect.width;
  }).observe(document.querySelector("main"));
  watch(["view", "run"], showBar);
  watch(["step", "run", "data", "view"], showStep);
  watch(["unit"], () => (byId("unit").value = state.unit));
  buildBar();
  showPlay();
  buildFoot();
  const first = Math.max(0, views().findIndex((of) => of.trace !== null));
  look(first, { run });
  // Of the steps, the last that counts: there the layer has read everything.
  if (trace()) {
    const counts = counted(trace().steps, trace().skipped);
    set({ step: Math.max(0, trace().backward ? counts.indexOf(1) : counts.lastIndexOf(1)) });
  }
  for (const name of ["view", "run", "unit", "step"]) changed.add(name);
  tell();
}

start();
