// The automaton in plain JavaScript. States are kept cell by cell, so that a cell's channels lie
// side by side; outside, a state is (channels, rows, columns), as in Python.

const ACTIVATION_HELPERS = `
const {abs, min, max, exp, log, tanh} = Math;
// Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 7.1.26: exact to 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
    + t * (-1.453152027 + t * 1.061405429))));
  return (x < 0 ? -1 : 1) * (1 - series * exp(-x * x));
}`;

function compileActivation(formula) {
  return new Function(`${ACTIVATION_HELPERS}\nreturn x => ${formula};`)();
}

// The place of the cell that stands at each padded place of an axis; -1 where there is none.
function paddedPlaces(size, [before, after]) {
  return Int32Array.from([...before, ...Array(size).keys(), ...after]);
}

class JavaScriptAutomaton {
  static title = "JavaScript";

  constructor(model) {
    this.model = model;
    const {rows, columns, count, weights, filters, firstFilter, hiddenSize} = model;
    this.state = new Float32Array(rows * columns * count);
    this.next = new Float32Array(this.state.length);
    this.activation = compileActivation(model.activation);
    this.rowOf = paddedPlaces(rows, model.border.rows);
    this.columnOf = paddedPlaces(columns, model.border.columns);
    this.taps = this.listTaps(weights.filters, filters, count);
    this.last = new Float32Array(hiddenSize * count); // transposed: (hidden, channels)
    for (let c = 0; c < count; c++) {
      for (let j = 0; j < hiddenSize; j++) {
        this.last[j * count + c] = weights.last[c * hiddenSize + j];
      }
    }
    this.perceived = new Float64Array(count * (firstFilter + filters));
    this.update = new Float64Array(count);
    this.bias = new Float64Array(hiddenSize);
    this.alive = new Uint8Array(rows * columns);
    this.near = new Uint8Array(rows * columns);
    this.column = new Uint8Array(rows * columns);
  }

  // The places of the filters that are not zero in all channels, each with its weights.
  listTaps(all, filters, count) {
    const taps = [];
    const {places, border} = this.model;
    for (let f = 0; f < filters; f++) {
      for (const [place, [down, right]] of places.entries()) {
        const weights = new Float64Array(count);
        for (let c = 0; c < count; c++) weights[c] = all[(f * count + c) * places.length + place];
        if (weights.every(weight => weight === 0)) continue;
        const [row, column] = [down + border.rows[0].length, right + border.columns[0].length];
        taps.push({first: (this.model.firstFilter + f) * count, row, column, weights});
      }
    }
    return taps;
  }

  load(state) {
    this.exchange(state, (cell, outside) => { this.state[cell] = state[outside]; });
  }

  exchange(state, move) {
    const {rows, columns, count} = this.model;
    const cells = rows * columns;
    for (let c = 0; c < count; c++) {
      for (let cell = 0; cell < cells; cell++) move(cell * count + c, c * cells + cell);
    }
  }

  read(first, last) {
    const {rows, columns, count} = this.model;
    const cells = rows * columns;
    const values = new Float32Array((last - first) * cells);
    for (let c = first; c < last; c++) {
      for (let cell = 0; cell < cells; cell++) {
        values[(c - first) * cells + cell] = this.state[cell * count + c];
      }
    }
    return values;
  }

  // Copies some neighbouring cells of a row from another state.
  paint(row, first, last, source) {
    const {rows, columns, count} = this.model;
    for (let cell = row * columns + first; cell < row * columns + last; cell++) {
      for (let c = 0; c < count; c++) {
        this.state[cell * count + c] = source[c * rows * columns + cell];
      }
    }
  }

  step(keys, time) {
    const {rows, columns, count, fireThreshold, aliveAbove, fixed, weights} = this.model;
    for (let j = 0; j < this.bias.length; j++) {
      this.bias[j] = weights.bias[j] + weights.time[j] * time;
    }
    this.next.set(this.state);
    if (aliveAbove !== null) {
      this.markAlive(this.state, this.alive);
      // Only the opacity of living cells and of their neighbours has an effect.
      this.dilate(this.alive, this.near);
    }
    for (let row = 0, cell = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, cell++) {
        if (aliveAbove !== null && !this.near[cell]) continue;
        if (!fires(cell, keys, fireThreshold)) continue;
        this.perceive(row, column);
        this.applyRule();
        for (let c = fixed; c < count; c++) this.next[cell * count + c] += this.update[c];
      }
    }
    if (aliveAbove !== null) this.clearDead();
    [this.state, this.next] = [this.next, this.state];
  }

  perceive(row, column) {
    const {columns, count, combinations} = this.model;
    const {state, perceived} = this;
    const own = (row * columns + column) * count;
    for (let c = 0; c < count; c++) perceived[c] = state[own + c];
    perceived.fill(0, count);
    for (const tap of this.taps) {
      const [otherRow, otherColumn] = [this.rowOf[row + tap.row], this.columnOf[column + tap.column]];
      if (otherRow < 0 || otherColumn < 0) continue;
      const other = (otherRow * columns + otherColumn) * count;
      const {first, weights} = tap;
      for (let c = 0; c < count; c++) perceived[first + c] += state[other + c] * weights[c];
    }
    for (const combination of combinations) combineBlocks(perceived, combination, count);
  }

  applyRule() {
    const {perceived, update, bias, last, activation} = this;
    const {count, inputs: blocks, weights: {first}} = this.model;
    const [inputs, hidden] = [blocks * count, bias.length];
    const whole = inputs - (inputs % 4);
    update.fill(0);
    for (let j = 0, w = 0; j < hidden; j++) {
      // Four sums, which the processor adds up side by side.
      let a = bias[j], b = 0, c = 0, d = 0, i = 0;
      for (; i < whole; i += 4, w += 4) {
        a += perceived[i] * first[w];
        b += perceived[i + 1] * first[w + 1];
        c += perceived[i + 2] * first[w + 2];
        d += perceived[i + 3] * first[w + 3];
      }
      for (; i < inputs; i++, w++) a += perceived[i] * first[w];
      const neuron = activation(a + b + c + d);
      if (neuron === 0) continue;
      for (let k = 0, place = j * count; k < count; k++) update[k] += neuron * last[place + k];
    }
  }

  // A cell is alive if the opacity of a cell in its 3x3 neighbourhood exceeds the threshold.
  markAlive(state, alive) {
    const {count, aliveAbove} = this.model;
    const threshold = Math.fround(aliveAbove);
    for (let cell = 0; cell < alive.length; cell++) {
      alive[cell] = state[cell * count + 3] > threshold ? 1 : 0;
    }
    this.dilate(alive, alive);
  }

  dilate(marks, result) {
    const {rows, columns} = this.model;
    const {column: vertical} = this;
    for (let cell = 0; cell < marks.length; cell++) {
      vertical[cell] = marks[cell] | (marks[cell - columns] ?? 0) | (marks[cell + columns] ?? 0);
    }
    for (let row = 0, cell = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, cell++) {
        const left = column > 0 ? vertical[cell - 1] : 0;
        const right = column < columns - 1 ? vertical[cell + 1] : 0;
        result[cell] = left | vertical[cell] | right;
      }
    }
  }

  clearDead() {
    const {count, fixed} = this.model;
    const {alive, near: aliveAfter, next} = this;
    this.markAlive(next, aliveAfter);
    for (let cell = 0; cell < alive.length; cell++) {
      if (!(alive[cell] & aliveAfter[cell])) next.fill(0, cell * count + fixed, (cell + 1) * count);
    }
  }

  finish() {}
}
