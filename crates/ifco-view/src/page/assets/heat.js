// Heat maps on a canvas.

/** A byte's number; 255 is none, nor is a mean that it is part of. */
const numberOf = Float32Array.from({ length: 256 }, (_, byte) => (byte === 255 ? NaN : byte));

/**
 * Draws bytes `(rows, columns)` through a map of colours over the whole of a canvas, each pixel the
 * mean of its numbers. `order` says which row stands where; `crop` which columns are shown, from
 * and to; `part` from where to where of the width is drawn at all.
 */
function drawBytes(canvas, bytes, rows, columns, map, order, crop, part = [0, 1]) {
  const { height } = canvas;
  const [left, right] = [Math.floor(part[0] * canvas.width), Math.ceil(part[1] * canvas.width)];
  const width = right - left;
  if (width <= 0) return;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = packed(map);
  const across = placesOf(canvas.width, ...(crop || [0, columns])).subarray(left);
  const [start, stop] = [across[0], Math.min(columns, Math.max(across[width - 1] + 1, across[width]))];
  const down = placesOf(height, 0, rows);
  const sums = new Float32Array(columns);
  for (let y = 0; y < height; y++) {
    const end = Math.max(down[y] + 1, down[y + 1]);
    sums.fill(0, start, stop);
    for (let row = down[y]; row < end; row++) {
      const from = (order ? order[row] : row) * columns;
      for (let column = start; column < stop; column++) sums[column] += numberOf[bytes[from + column]];
    }
    for (let x = 0; x < width; x++) {
      const last = Math.max(across[x] + 1, across[x + 1]);
      let sum = 0;
      for (let column = across[x]; column < last; column++) sum += sums[column];
      const mean = sum / ((end - down[y]) * (last - across[x]));
      pixels[y * width + x] = colors[mean <= 254 ? (mean + 0.5) | 0 : 255];
    }
  }
  canvas.getContext("2d").putImageData(image, left, 0);
}

/** Where the numbers of each pixel begin, and where the last one's end. */
function placesOf(pixels, from, to) {
  return Int32Array.from({ length: pixels + 1 }, (_, pixel) => Math.floor(from + (pixel * (to - from)) / pixels));
}

const packedMaps = new WeakMap();
function packed(map) {
  if (!packedMaps.has(map)) {
    const colors = new Uint32Array(256);
    const bytes = new Uint8Array(colors.buffer);
    for (let i = 0; i < 256; i++) {
      bytes.set(map.subarray(3 * i, 3 * i + 3), 4 * i);
      bytes[4 * i + 3] = 255;
    }
    packedMaps.set(map, colors);
  }
  return packedMaps.get(map);
}

/** Numbers as bytes around zero: 127 is 0, 0 and 254 are as far as `most`. */
function bytesOf(values, most) {
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = values[i];
    bytes[i] = Number.isNaN(x) ? 255 : clamp(Math.round((x / most) * 127) + 127, 0, 254);
  }
  return bytes;
}

/** The largest size in it; `none` where all are 0. */
function largest(values, none = 1) {
  // By index: a million numbers are looked through in a millisecond or two.
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]);
    if (size > most && size < Infinity) most = size;
  }
  return most || none;
}

/** Fewer rows and columns, in which each number is the one of those it stands for that is largest. */
function shrink(values, rows, columns, mostRows, mostColumns) {
  if (rows <= mostRows && columns <= mostColumns) return { values, rows, columns };
  const [r, c] = [Math.min(rows, mostRows), Math.min(columns, mostColumns)];
  const small = new Float32Array(r * c);
  const place = Int32Array.from({ length: columns }, (_, column) => Math.floor((column * c) / columns));
  for (let row = 0; row < rows; row++) {
    const to = Math.floor((row * r) / rows) * c;
    const from = row * columns;
    for (let column = 0; column < columns; column++) {
      const at = to + place[column];
      const x = values[from + column];
      if (Math.abs(x) > Math.abs(small[at])) small[at] = x;
    }
  }
  return { values: small, rows: r, columns: c };
}

/** The bar that tells which colour is which number. */
function legend(map, low, high) {
  const bar = el("span", { class: "legend", "aria-hidden": "true" });
  bar.style.backgroundImage = gradientOf(map);
  return el("span", { class: "scale" }, short(low), bar, short(high));
}

const gradients = new WeakMap();
function gradientOf(map) {
  if (!gradients.has(map)) {
    const stops = Array.from({ length: 33 }, (_, n) => Math.round((n / 32) * 254));
    gradients.set(map, `linear-gradient(to right, ${stops.map((at) => `rgb(${map.subarray(3 * at, 3 * at + 3).join(" ")})`).join(", ")})`);
  }
  return gradients.get(map);
}
