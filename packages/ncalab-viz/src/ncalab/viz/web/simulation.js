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

// The models of a page, each with what holds for all of them.
function decodePage({models, ...shared}) {
  return models.map(model => decodeModel({...shared, ...model}));
}

function decodeModel(data) {
  const {image, hidden, output} = data.channels;
  const [count, cells] = [image + hidden + output, data.rows * data.columns];
  const start = new Float32Array(count * cells);
  data.start.forEach((channel, c) => decodeChannel(channel, start.subarray(c * cells, (c + 1) * cells)));
  const model = {...data, count, cells, start};
  return {...model, stages: decodeStages(data, count)};
}

// What an automaton needs, for every scale: its grid, its step, and the number of its steps.
function decodeStages(data, count) {
  const automata = data.automata.map(automaton => {
    const weights = Object.entries(automaton.weights).map(([name, text]) => [name, decodeFloats(text)]);
    return {...automaton, weights: Object.fromEntries(weights)};
  });
  return data.stages.map(({automaton, scale, steps}, place) => {
    const [rows, columns] = [Math.ceil(data.rows / scale), Math.ceil(data.columns / scale)];
    const grid = {rows, columns, cells: rows * columns, border: data.borders[place]};
    return {...automata[automaton], ...grid, count, steps};
  });
}

// Milliseconds of a step when every cell is alive.
function timeStep(automaton, model, steps) {
  automaton.load(new Float32Array(model.count * model.cells).fill(0.5));
  automaton.step(fireKeys(0n, 0), 0);
  automaton.finish();
  const start = performance.now();
  for (let step = 1; step <= steps; step++) automaton.step(fireKeys(0n, step), 0);
  automaton.finish();
  automaton.time = (performance.now() - start) / steps;
  return automaton.time;
}

const FAST_ENOUGH = 4; // milliseconds

const KINDS = {javascript: JavaScriptAutomaton, webgl2: WebGLAutomaton};

// An automaton for every scale, all of the kind that is wanted; of the faster one if none is.
function chooseAutomata(stages, wanted) {
  const make = kind => stages.map(stage => new kind(stage));
  if (KINDS[wanted]) return make(KINDS[wanted]);
  const plain = make(JavaScriptAutomaton);
  let gpu;
  try {
    gpu = make(WebGLAutomaton);
  } catch (error) {
    console.info(`running in JavaScript: ${error.message}`);
    return plain;
  }
  // Where a processor stands in for the GPU, it is better used directly.
  const largest = stages.reduce((a, b, i) => b.cells > stages[a].cells ? i : a, 0);
  const time = timeStep(gpu[largest], stages[largest], 3);
  if (time < FAST_ENOUGH || time < timeStep(plain[largest], stages[largest], 1)) return gpu;
  for (const automaton of gpu) automaton.release();
  return plain;
}

class Simulation {
  constructor(model, wanted) {
    this.model = model;
    this.angle = 0; // of the first cells, in radians, clockwise
    this.automata = chooseAutomata(model.stages, wanted);
    this.reset();
  }

  get backend() {
    return this.automata[0].constructor.title;
  }

  // Goes over to another automaton in the middle of a rollout on one grid.
  adopt(automaton) {
    automaton.load(this.automaton.read(0, this.model.count));
    this.automaton.release?.();
    [this.automaton, this.automata] = [automaton, [automaton]];
  }

  // The GPU can be taken away at any time.
  fallBack() {
    this.automata = chooseAutomata(this.model.stages, "javascript");
    this.reset();
  }

  reset(seed = this.model.seed) {
    this.seed = BigInt(seed);
    this.steps = 0;
    this.begin(this.angle ? steered(this.model.start, this.model, this.angle) : this.model.start);
    this.enter(0, this.starts[0]);
  }

  // Where each scale starts: what is left there of an erased cell if images are given.
  begin(first) {
    const {model} = this;
    this.first = first;
    this.starts = model.stages.map(stage => firstCells(first, model, stage, model.fixed));
  }

  // Goes over to a scale.
  enter(place, state) {
    this.stage = this.model.stages[place];
    this.automaton = this.automata[place];
    this.start = this.starts[place];
    this.automaton.load(state);
    this.place = place;
    this.leaveAt = place + 1 < this.automata.length ? this.steps + this.stage.steps : Infinity;
  }

  step(count = 1) {
    for (let i = 0; i < count; i++) {
      if (this.steps >= this.leaveAt) this.refine();
      this.automaton.step(fireKeys(this.seed, this.steps), this.steps * this.stage.timePerStep);
      this.steps++;
    }
  }

  // Goes on at the next scale: from the states of this one, with the image of that one.
  refine() {
    const {fixed, stages} = this.model;
    const next = stages[this.place + 1];
    const state = resize(this.automaton.read(0, this.model.count), this.stage, next);
    state.set(this.starts[this.place + 1].subarray(0, fixed * next.cells));
    this.enter(this.place + 1, state);
  }

  // Values of some channels at full size, all unless told otherwise: (channels, rows, columns), flat.
  state(first = 0, last = this.model.count) {
    const {model, stage} = this;
    const values = resize(this.automaton.read(first, last), stage, model);
    if (!isSameSize(stage, model)) {
      values.set(this.first.subarray(first * model.cells, Math.min(last, model.fixed) * model.cells));
    }
    return values;
  }

  // Turns cells and image by a right angle, clockwise.
  turn() {
    this.begin(turned(this.first, this.model));
    this.start = this.starts[this.place];
    this.automaton.load(turned(this.automaton.read(0, this.model.count), this.stage));
  }

  // Empties the cells whose middle is within a radius, and the one in the middle, however large.
  erase(column, row, radius) {
    const {rows, columns} = this.stage;
    const [down, across] = [rows / this.model.rows, columns / this.model.columns];
    this.blank ??= new Float32Array(this.model.count * this.model.cells);
    const source = this.model.fixed ? this.start : this.blank;
    for (let y = 0; y < rows; y++) {
      const half = Math.sqrt(radius * radius - ((y + 0.5) / down - 0.5 - row) ** 2);
      const first = Math.max(0, Math.ceil((column - half + 0.5) * across - 0.5));
      const last = Math.min(columns, Math.floor((column + half + 0.5) * across - 0.5) + 1);
      if (first < last) this.automaton.paint(y, first, last, source);
    }
    const [x, y] = [Math.floor((column + 0.5) * across), Math.floor((row + 0.5) * down)];
    if (x >= 0 && x < columns && y >= 0 && y < rows) this.automaton.paint(y, x, x + 1, source);
  }

  // Puts a seed into a cell, as GrowingNCAModel.make_seed does.
  plant(column, row) {
    const {model, stage} = this;
    if (model.fixed) throw new Error("this model looks at an image, it does not grow from a seed");
    if (!(column >= 0 && column < model.columns && row >= 0 && row < model.rows)) return;
    this.seeds ??= new Float32Array(model.count * model.cells);
    this.seeds.fill(1);
    this.seeds.fill(0, 0, Math.min(3, model.channels.image) * stage.cells);
    for (const c of model.angleChannels) {
      this.seeds.fill(1 + this.angle, c * stage.cells, (c + 1) * stage.cells);
    }
    const x = Math.floor((column + 0.5) * stage.columns / model.columns);
    const y = Math.floor((row + 0.5) * stage.rows / model.rows);
    this.automaton.paint(y, x, x + 1, this.seeds);
  }
}
