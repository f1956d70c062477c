// Heat maps on a canvas.

/**
 * Draws bytes `(rows, columns)` through a map of colours into a rectangle. `order` says which row
 * stands where; `crop` which columns are shown, from and to.
 */
function drawBytes(context, bytes, rows, columns, map, order, crop, width, height) {
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = packed(map);
  for (let row = 0; row < rows; row++) {
    const from = (order ? order[row] : row) * columns;
    const to = row * columns;
    for (let column = 0; column < columns; column++) {
      pixels[to + column] = colors[bytes[from + column]];
    }
  }
  const [start, end] = crop || [0, columns];
  const scratch = new OffscreenCanvas(columns, rows);
  scratch.getContext("2d").putImageData(image, 0, 0);
  const ratio = context.getTransform().a;
  // Where there are more numbers than pixels, the picture shows their mean.
  context.imageSmoothingEnabled = rows > height * ratio || end - start > width * ratio * 1.01;
  context.imageSmoothingQuality = "medium";
  context.drawImage(scratch, start, 0, end - start, rows, 0, 0, width, height);
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

function largest(values) {
  // By index: a million numbers are looked through in a millisecond or two.
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]);
    if (size > most && size < Infinity) most = size;
  }
  return most || 1;
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
  const canvas = el("canvas", { class: "legend", width: 64, height: 1, "aria-hidden": "true" });
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => Math.round((i / 63) * 254));
  const context = canvas.getContext("2d");
  drawBytes(context, bytes, 1, 64, map, null, null, 64, 1);
  return el("span", { class: "scale" }, short(low), canvas, short(high));
}
