// A model, its automaton and the number of steps taken: all that there is without a display.

function decodeBytes(text) {
  return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
}

function decodeFloats(text) {
  return new Float32Array(decodeBytes(text).buffer);
}

function decodeChannel(channel, target) {
  if (channel.floats) target.set(decodeFloats(channel.floats));
  else if (channel.bytes) decodeBytes(channel.bytes).forEach((byte, i) => { target[i] = byte / 255; });
  else channel.cells.forEach((cell, i) => { target[cell] = channel.values[i]; });
}

function decodeModel(data) {
  const {image, hidden, output} = data.channels;
  const [count, cells] = [image + hidden + output, data.rows * data.columns];
  const weights = {};
  for (const [name, text] of Object.entries(data.weights)) weights[name] = decodeFloats(text);
  const start = new Float32Array(count * cells);
  data.start.forEach((channel, c) => decodeChannel(channel, start.subarray(c * cells, (c + 1) * cells)));
  return {...data, count, cells, weights, start};
}

// Milliseconds of a step when every cell is alive.
function timeStep(automaton, model, steps) {
  automaton.load(new Float32Array(model.count * model.cells).fill(0.5));
  automaton.step(fireKeys(0n, 0), 0);
  automaton.finish();
  const start = performance.now();
  for (let step = 1; step <= steps; step++) automaton.step(fireKeys(0n, step), 0);
  automaton.finish();
  return (performance.now() - start) / steps;
}

const FAST_ENOUGH = 4; // milliseconds

// The faster automaton; or the one that is asked for, or an error.
function chooseAutomaton(model, wanted) {
  if (wanted === "javascript") return new JavaScriptAutomaton(model);
  if (wanted === "webgl2") return new WebGLAutomaton(model);
  const plain = new JavaScriptAutomaton(model);
  let gpu;
  try {
    gpu = new WebGLAutomaton(model);
  } catch (error) {
    console.info(`running in JavaScript: ${error.message}`);
    return plain;
  }
  // Where a processor stands in for the GPU, it is better used directly.
  const time = timeStep(gpu, model, 3);
  return time < FAST_ENOUGH || time < timeStep(plain, model, 1) ? gpu : plain;
}

class Simulation {
  constructor(model, wanted) {
    this.model = model;
    this.automaton = chooseAutomaton(model, wanted);
    // What is left of an erased cell: nothing, but where images are given, only the image.
    this.blank = model.fixed ? model.start : new Float32Array(model.start.length);
    this.reset();
  }

  get backend() {
    return this.automaton.constructor.title;
  }

  // The GPU can be taken away at any time.
  fallBack() {
    this.automaton = new JavaScriptAutomaton(this.model);
    this.reset();
  }

  reset(seed = this.model.seed) {
    this.seed = BigInt(seed);
    this.steps = 0;
    this.automaton.load(this.model.start);
  }

  step(count = 1) {
    for (let i = 0; i < count; i++) {
      this.automaton.step(fireKeys(this.seed, this.steps), this.steps * this.model.timePerStep);
      this.steps++;
    }
  }

  // Values of some channels, all unless told otherwise: (channels, rows, columns), flat.
  state(first = 0, last = this.model.count) {
    return this.automaton.read(first, last);
  }

  // Empties the cells whose middle is within a radius.
  erase(column, row, radius) {
    const {rows, columns} = this.model;
    const top = Math.max(0, Math.ceil(row - radius));
    for (let y = top; y <= Math.min(rows - 1, row + radius); y++) {
      const half = Math.sqrt(radius * radius - (y - row) ** 2);
      const first = Math.max(0, Math.ceil(column - half));
      const last = Math.min(columns, Math.floor(column + half) + 1);
      if (first < last) this.automaton.paint(y, first, last, this.blank);
    }
  }

  // Puts a seed into a cell, as GrowingNCAModel.make_seed does.
  plant(column, row) {
    const {rows, columns, cells, count, channels, fixed} = this.model;
    if (fixed) throw new Error("this model looks at an image, it does not grow from a seed");
    if (!(column >= 0 && column < columns && row >= 0 && row < rows)) return;
    this.seeds ??= new Float32Array(count * cells).fill(1, Math.min(3, channels.image) * cells);
    this.automaton.paint(row, column, column + 1, this.seeds);
  }
}
