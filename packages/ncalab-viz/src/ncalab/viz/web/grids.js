// Grids of several scales, as ncalab.core.multiscale has them. A grid has rows and columns; values
// on it are (channels, rows, columns), flat.

const isSameSize = (a, b) => a.rows === b.rows && a.columns === b.columns;

// The places of the old axis that make a new place, and their weights: the mean over the area of
// the new cell where the grid gets coarser, otherwise linear interpolation between cell middles.
function blendPlaces(old, size, mean) {
  return Array.from({length: size}, (_, i) => {
    if (mean) {
      const [first, end] = [Math.floor(i * old / size), Math.ceil((i + 1) * old / size)];
      return Array.from({length: end - first}, (_, k) => [first + k, 1 / (end - first)]);
    }
    const place = Math.max((i + 0.5) * old / size - 0.5, 0);
    const first = Math.min(Math.floor(place), old - 1);
    return [[first, 1 - (place - first)], [Math.min(first + 1, old - 1), place - first]];
  });
}

function resize(values, from, to) {
  if (isSameSize(from, to)) return values;
  const mean = to.rows < from.rows || to.columns < from.columns;
  const down = blendPlaces(from.rows, to.rows, mean);
  const across = blendPlaces(from.columns, to.columns, mean);
  const count = values.length / (from.rows * from.columns);
  const result = new Float32Array(count * to.rows * to.columns);
  for (let c = 0, place = 0; c < count; c++) {
    for (const rows of down) {
      for (const columns of across) {
        let sum = 0;
        for (const [row, share] of rows) {
          const first = (c * from.rows + row) * from.columns;
          for (const [column, part] of columns) sum += share * part * values[first + column];
        }
        result[place++] = sum;
      }
    }
  }
  return result;
}

// The places of each block of an axis that is cut into blocks, from the middle outwards: those
// before it first. Shorter blocks repeat their middle.
function blockPlaces(length, count) {
  const longest = Math.ceil(length / count);
  return Array.from({length: count}, (_, block) => {
    const [start, end] = [Math.ceil(block * length / count), Math.ceil((block + 1) * length / count)];
    const middle = Math.floor((start + end) / 2);
    return Array.from({length: longest}, (_, i) => {
      const offset = (i % 2 ? -1 : 1) * Math.floor((i + 1) / 2);
      return i < end - start ? middle + offset : middle;
    });
  });
}

// Of each block of cells the one nearest to its middle that is not empty.
function sampleCells(values, from, to) {
  if (isSameSize(from, to)) return values;
  const cells = from.rows * from.columns;
  const count = values.length / cells;
  const isEmpty = cell => {
    for (let c = 0; c < count; c++) if (values[c * cells + cell] !== 0) return false;
    return true;
  };
  const [down, across] = [blockPlaces(from.rows, to.rows), blockPlaces(from.columns, to.columns)];
  const result = new Float32Array(count * to.rows * to.columns);
  down.forEach((rows, row) => across.forEach((columns, column) => {
    const block = rows.flatMap(y => columns.map(x => y * from.columns + x));
    const chosen = block.find(cell => !isEmpty(cell)) ?? block[0];
    for (let c = 0; c < count; c++) {
      result[(c * to.rows + row) * to.columns + column] = values[c * cells + chosen];
    }
  }));
  return result;
}

// The state that a rollout starts from, on the grid of its first scale: fixed channels are an
// image, of the others single cells are taken.
function firstCells(start, from, to, fixed) {
  const split = fixed * from.rows * from.columns;
  const image = resize(start.subarray(0, split), from, to);
  const cells = sampleCells(start.subarray(split), from, to);
  const result = new Float32Array(image.length + cells.length);
  result.set(image);
  result.set(cells, image.length);
  return result;
}

// Values of a grid turned by a right angle about its middle, clockwise; what comes in is empty.
function turned(values, {rows, columns}) {
  const result = new Float32Array(values.length);
  const [rowOf, columnOf] = [column => (rows + columns) / 2 - 1 - column, row => (columns - rows) / 2 + row];
  for (let row = 0, place = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, place++) {
      const [y, x] = [Math.floor(rowOf(column)), Math.floor(columnOf(row))];
      if (y < 0 || y >= rows || x < 0 || x >= columns) continue;
      for (let c = 0; c < values.length; c += rows * columns) result[c + place] = values[c + y * columns + x];
    }
  }
  return result;
}

// A first state whose cells, but the empty ones where a picture grows, look in another direction.
function steered(start, {cells, fixed, angleChannels}, angle) {
  const result = start.slice();
  for (let cell = 0; cell < cells; cell++) {
    let empty = !fixed;
    for (let place = cell; empty && place < start.length; place += cells) empty = start[place] === 0;
    if (!empty) for (const c of angleChannels) result[c * cells + cell] += angle;
  }
  return result;
}
