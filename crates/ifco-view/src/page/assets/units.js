// What the units do: in what order to show them, which are on in a stretch of time, and where else
// they are. Arrays are `(steps, units)` row by row, with exact numbers.

/** Steps that count: masked ones tell nothing of a unit. */
function counted(steps, skipped) {
  const counts = new Uint8Array(steps).fill(1);
  for (const step of skipped) if (step < steps) counts[step] = 0;
  return counts;
}

/** Mean and standard deviation of each column. */
function spread(values, columns, counts) {
  const mean = new Float64Array(columns);
  const square = new Float64Array(columns);
  let n = 0;
  for (let step = 0; step < counts.length; step++) {
    if (!counts[step]) continue;
    n++;
    for (let column = 0; column < columns; column++) {
      const x = values[step * columns + column];
      mean[column] += x;
      square[column] += x * x;
    }
  }
  for (let column = 0; column < columns; column++) {
    mean[column] /= n || 1;
    square[column] = Math.sqrt(Math.max(0, square[column] / (n || 1) - mean[column] ** 2));
  }
  return { mean, deviation: square };
}

/** The correlation of each column with a series of as many steps; 0 where one does not change. */
function correlations(values, columns, series, counts) {
  const { mean, deviation } = spread(values, columns, counts);
  const own = spread(series, 1, counts);
  const products = new Float64Array(columns);
  let n = 0;
  for (let step = 0; step < counts.length; step++) {
    if (!counts[step]) continue;
    n++;
    const y = series[step] - own.mean[0];
    for (let column = 0; column < columns; column++) {
      products[column] += (values[step * columns + column] - mean[column]) * y;
    }
  }
  return products.map((sum, column) => {
    const size = deviation[column] * own.deviation[0] * (n || 1);
    return size > 1e-12 ? sum / size : 0;
  });
}

/** For how many steps a unit remembers: the mean of 1/(1 − f), for f just below 1 at most 10,000. */
function memories(keep, columns, counts) {
  const sums = new Float64Array(columns);
  let n = 0;
  for (let step = 0; step < counts.length; step++) {
    if (!counts[step]) continue;
    n++;
    for (let column = 0; column < columns; column++) {
      sums[column] += 1 / Math.max(1e-4, 1 - keep[step * columns + column]);
    }
  }
  return sums.map((sum) => sum / (n || 1));
}

/** Units from the largest score to the smallest, by size where `bySize`. */
function ranked(scores, bySize) {
  const key = bySize ? Math.abs : (x) => x;
  return [...scores.keys()].sort((a, b) => key(scores[b]) - key(scores[a]) || a - b);
}

/**
 * Which units are on (beyond `threshold`, all to one side) in the selected steps, and off
 * elsewhere: `{unit, sign, inside, outside}`, shares of steps, the clearest first.
 */
function unitsOn(values, columns, counts, selection, threshold) {
  const sides = [1, -1].map(() => ({ inside: new Uint32Array(columns), outside: new Uint32Array(columns) }));
  let [inside, outside] = [0, 0];
  for (let step = 0; step < counts.length; step++) {
    if (!counts[step]) continue;
    const isIn = step >= selection.from && step < selection.to;
    if (isIn) inside++;
    else outside++;
    const [above, below] = isIn ? [sides[0].inside, sides[1].inside] : [sides[0].outside, sides[1].outside];
    for (let column = 0; column < columns; column++) {
      const x = values[step * columns + column];
      if (x >= threshold) above[column]++;
      else if (x <= -threshold) below[column]++;
    }
  }
  const found = [];
  if (!inside) return found;
  for (let unit = 0; unit < columns; unit++) {
    for (const [index, sign] of [1, -1].entries()) {
      const shares = {
        unit,
        sign,
        inside: sides[index].inside[unit] / inside,
        outside: outside ? sides[index].outside[unit] / outside : 0,
      };
      if (shares.inside >= 0.75 && shares.inside > shares.outside) found.push(shares);
    }
  }
  return found.sort((a, b) => b.inside - b.outside - (a.inside - a.outside) || a.unit - b.unit);
}

/**
 * Where else these units are on together: stretches `{from, to, share}` of steps in which at least
 * three quarters of them are, the best and longest first.
 */
function alike(values, columns, counts, units, selection, threshold) {
  const enough = Math.max(1, Math.ceil(units.length * 0.75));
  const stretches = [];
  let open = null;
  const close = () => {
    if (open && open.share > 0) {
      open.share /= (open.to - open.from) * units.length;
      stretches.push(open);
    }
    open = null;
  };
  for (let step = 0; step <= counts.length; step++) {
    const isElsewhere = step < counts.length && counts[step] && (step < selection.from || step >= selection.to);
    let on = 0;
    if (isElsewhere) for (const { unit, sign } of units) if (values[step * columns + unit] * sign >= threshold) on++;
    if (on < enough) {
      close();
      continue;
    }
    open ??= { from: step, to: step, share: 0 };
    open.to = step + 1;
    open.share += on;
  }
  const length = selection.to - selection.from;
  const score = (stretch) => stretch.share * Math.min(1, (stretch.to - stretch.from) / length);
  return stretches.sort((a, b) => score(b) - score(a) || a.from - b.from);
}
