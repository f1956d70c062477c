// Small helpers. Text from a model or a file goes into the page through `textContent` alone.

const MINUS = "\u2212";

/** An element with attributes and children; `on...` are listeners, strings are text. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

const byId = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** A number in few digits: `−0.213`, `12.35`, `2.1e−5`. */
function short(x) {
  if (Number.isNaN(x)) return "NaN";
  const size = Math.abs(x);
  let text;
  if (size === Infinity) text = "∞";
  else if (size === 0) text = "0";
  else if (size >= 1e5 || size < 5e-4) text = size.toExponential(1);
  else text = size.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
  return (x < 0 ? MINUS : "") + text.replace("-", MINUS);
}

/** A number with a sign before it, for sums: `+ 0.5`, `− 0.5`. */
const signed = (x) => (x < 0 ? `${MINUS} ${short(-x)}` : `+ ${short(x)}`);

/** As many digits as a float32 has: what tests and copied text are exact with. */
const exact = (x) => String(Math.fround(x));

/** A number on the page that tells its exact value. */
function numeral(x, attributes = {}) {
  return el("span", { class: "num", "data-value": exact(x), title: exact(x), ...attributes }, short(x));
}

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

/** How much is under way, for whoever wants to know when the page has settled: `data-busy`. */
let underWay = 0;
function busy(more) {
  underWay += more;
  document.body.dataset.busy = String(underWay);
}

/** At most once a frame, with the arguments given last. */
function eachFrame(work) {
  let last = null;
  return (...args) => {
    if (last === null) {
      busy(1);
      requestAnimationFrame(() => {
        const now = last;
        last = null;
        try {
          work(...now);
        } finally {
          busy(-1);
        }
      });
    }
    last = args;
  };
}

/** The last call wins: the result of an earlier one that is still under way is dropped. */
function latest(work) {
  let calls = 0;
  return async (...args) => {
    const call = ++calls;
    busy(1);
    try {
      await work(() => call === calls, ...args);
    } catch (error) {
      if (call === calls) notice(error);
    } finally {
      busy(-1);
    }
  };
}

/** Says what went wrong, until the next thing goes right. */
function notice(error) {
  const line = byId("notice");
  line.hidden = !error;
  if (!error) return;
  line.textContent = error.help ? `${error.message}: ${error.help}` : error.message;
  if (!error.isTold) console.warn(error.message);
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
let colors = null;

/** The colours of the theme: paper is always light. */
const theme = () => colors[dark.matches && !paper.matches ? "dark" : "light"];

/** A map of colours as bytes, 255 steps of red, green, blue; the 256th is what is no number. */
const maps = new Map();
function colorMap(name) {
  const key = theme()[name];
  if (!maps.has(key)) {
    const bytes = new Uint8Array(768);
    const hex = key + theme().alarm.slice(1);
    for (let i = 0; i < 768; i++) bytes[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    maps.set(key, bytes);
  }
  return maps.get(key);
}

/** What canvases show: see `isDrawn`. */
const shownBy = new WeakMap();

/**
 * Whether a canvas shows this already; if not, it is to be drawn now. Each canvas that changes costs
 * the browser a copy of it, even where it looks as before.
 */
function isDrawn(canvas, ...what) {
  const key = what.join(" ");
  const isSame = shownBy.get(canvas) === key;
  shownBy.set(canvas, key);
  return isSame;
}

/**
 * Makes a canvas as large as its place, in the screen's own pixels, and gives what to draw with.
 * What was drawn in it goes, where nothing else is said.
 */
function prepare(canvas, width, height, clears = true) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (clears) context.clearRect(0, 0, width, height);
  return context;
}
