// The automaton as compute shaders. A grid is a buffer of layers, (layers, rows, columns); each cell
// of a layer holds four channels. The packed weights are those of the WebGL2 automaton.

const FIRES_WGSL = `
fn fires(cell: u32) -> bool {
  var x = cell + now.keys.x;
  x ^= x >> 16u;
  x *= 0x7feb352du;
  x ^= now.keys.y;
  x ^= x >> 15u;
  x *= 0x846ca68bu;
  x ^= x >> 16u;
  return (x >> 8u) < FIRE_THRESHOLD;
}`;

const ACTIVATION_WGSL_HELPERS = `
// Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 7.1.26: exact to 1.5e-7.
fn erf(x: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.3275911 * abs(x));
  let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
    + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - series * exp(-x * x));
}
// Some drivers overflow for large arguments, where the value is 1 to the last bit.
fn bounded_tanh(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }
`;

// A function of a place on an axis that returns where its cell stands; -1 where there is none.
function placeWgsl(name, size, [before, after]) {
  if (before.length === 0) return `fn ${name}(place: i32) -> i32 { return place; }`;
  const list = (part, places) =>
    `var<private> ${name}_${part} = array<i32, ${places.length}>(${places.join(", ")});`;
  return `${list("before", before)}
${list("after", after)}
fn ${name}(place: i32) -> i32 {
  if (place < 0) { return ${name}_before[place + ${before.length}]; }
  if (place < ${size}) { return place; }
  return ${name}_after[place - ${size}];
}`;
}

const visibleWgsl = (name, grid) => `
fn ${name}(cell: vec2i, reach: i32) -> bool {
  for (var dy = -reach; dy <= reach; dy++) {
    for (var dx = -reach; dx <= reach; dx++) {
      let other = cell + vec2i(dx, dy);
      if (any(other < vec2i(0)) || any(other >= SIZE)) { continue; }
      if (${grid}[other.y * SIZE.x + other.x].w > ALIVE_ABOVE) { return true; }
    }
  }
  return false;
}`;

// Where the filters see a cell, from the one that is updated.
function placesWgsl(places) {
  const list = places.map(([down, right]) => `vec2i(${right}, ${down})`).join(", ");
  return `var<private> places: array<vec2i, ${places.length}> = array<vec2i, ${places.length}>(${list});`;
}

const UPDATE_WGSL = `
struct Step { keys: vec2u, time: f32 }
@group(0) @binding(0) var<storage, read> state: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>; // a row for each hidden neuron
@group(0) @binding(3) var<storage, read> filters: array<vec4f>; // a row for each layer
@group(0) @binding(4) var<uniform> now: Step;

fn at(cell: vec2i, layer: i32) -> vec4f {
  let place = vec2i(column_of(cell.x), row_of(cell.y));
  if (any(place < vec2i(0))) { return vec4f(0.0); }
  return state[layer * CELLS + place.y * SIZE.x + place.x];
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let cell = vec2i(id.xy);
  if (any(cell >= SIZE)) { return; }
  let place = cell.y * SIZE.x + cell.x;
  var seen: array<vec4f, SEEN>;
  var update: array<vec4f, LAYERS>;
  for (var l = 0; l < LAYERS; l++) { seen[l] = state[l * CELLS + place]; }
  // Only the opacity of living cells and of their neighbours has an effect.
  if (fires(u32(place)) && (!MASKED || visible(cell, 2))) {
    for (var l = 0; l < LAYERS; l++) {
      for (var tap = 0; tap < PLACES; tap++) {
        let value = at(cell + places[tap], l);
        for (var f = 0; f < FILTERS; f++) {
          seen[(FIRST_FILTER + f) * LAYERS + l] += value * filters[(l * FILTERS + f) * PLACES + tap];
        }
      }
    }
    COMBINE
    for (var j = 0; j < HIDDEN; j++) {
      let row = j * WIDTH;
      var sum = vec4f(0.0);
      for (var i = 0; i < INPUTS; i++) { sum += seen[i] * weights[row + i]; }
      let other = weights[row + INPUTS]; // bias, weight of the time
      let neuron = activation(dot(sum, vec4f(1.0)) + other.x + other.y * now.time);
      for (var l = 0; l < LAYERS; l++) { update[l] += neuron * weights[row + INPUTS + 1 + l]; }
    }
  }
  for (var l = 0; l < LAYERS; l++) {
    result[l * CELLS + place] = seen[l] + select(vec4f(0.0), update[l], is_mutable(l));
  }
}`;

const CLEAR_DEAD_WGSL = `
@group(0) @binding(0) var<storage, read> before: array<vec4f>;
@group(0) @binding(1) var<storage, read> after: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4f>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let cell = vec2i(id.xy);
  if (any(cell >= SIZE)) { return; }
  let alive = visible_before(cell, 1) && visible_after(cell, 1);
  for (var l = 0; l < LAYERS; l++) {
    let place = l * CELLS + cell.y * SIZE.x + cell.x;
    result[place] = select(after[place], vec4f(0.0), is_mutable(l) & vec4<bool>(!alive));
  }
}`;

const SIDE = 8; // of a work group

class WebGPUAutomaton {
  static title = "WebGPU";

  // An automaton on the computer's GPU, or an error that says why there is none.
  static async create(model) {
    if (!navigator.gpu) throw new Error("the browser has no WebGPU");
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error("no WebGPU adapter was found");
    const device = await adapter.requestDevice();
    device.pushErrorScope("validation");
    const automaton = new WebGPUAutomaton(model, device);
    const error = await device.popErrorScope();
    if (error) throw new Error(`WebGPU: ${error.message}`);
    return automaton;
  }

  constructor(model, device) {
    this.model = model;
    this.device = device;
    this.layers = Math.ceil(model.count / 4);
    this.inputs = this.layers * model.inputs;
    this.masked = model.aliveAbove !== null;
    const {STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ} = GPUBufferUsage;
    this.bytes = this.layers * model.cells * 16;
    const makeGrid = () => this.makeBuffer(this.bytes, STORAGE | COPY_SRC | COPY_DST);
    this.grids = Array.from({length: this.masked ? 3 : 2}, makeGrid);
    this.copy = this.makeBuffer(this.bytes, MAP_READ | COPY_DST);
    this.now = this.makeBuffer(16, UNIFORM | COPY_DST);
    this.weights = this.fillBuffer(packWeights(model));
    this.filters = this.fillBuffer(packFilters(model));
    this.update = this.makePipeline([
      FIRES_WGSL, visibleWgsl("visible", "state"), placesWgsl(model.places),
      placeWgsl("column_of", model.columns, model.border.columns),
      placeWgsl("row_of", model.rows, model.border.rows),
      ACTIVATION_WGSL_HELPERS,
      `fn activation(x: f32) -> f32 { return ${model.activation.replaceAll("tanh", "bounded_tanh")}; }`,
      UPDATE_WGSL.replace("COMBINE", combineInShader(model, this.layers, "let", "let")),
    ]);
    this.clearDead = this.masked && this.makePipeline([
      visibleWgsl("visible_before", "before"), visibleWgsl("visible_after", "after"),
      CLEAR_DEAD_WGSL,
    ]);
    // What has come over from the device, and of which state that is.
    this.mirror = new Float32Array(this.layers * model.cells * 4);
    [this.version, this.seenVersion] = [0, 0];
    this.whenSeen = () => {};
  }

  makeBuffer(size, usage) {
    return this.device.createBuffer({size, usage});
  }

  fillBuffer(data) {
    const buffer = this.makeBuffer(data.byteLength, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
    this.device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }

  makePipeline(parts) {
    const code = [this.constants(), ...parts].join("\n");
    const module = this.device.createShaderModule({code});
    return this.device.createComputePipeline({layout: "auto", compute: {module, entryPoint: "main"}});
  }

  constants() {
    const {model} = this;
    const values = {
      "SIZE": `vec2i(${model.columns}, ${model.rows})`, "CELLS: i32": model.cells,
      "LAYERS: i32": this.layers, "INPUTS: i32": this.inputs, "FILTERS: i32": model.filters,
      "SEEN: i32": this.layers * (model.firstFilter + model.filters),
      "FIRST_FILTER: i32": model.firstFilter,
      "PLACES: i32": model.places.length, "HIDDEN: i32": model.hiddenSize,
      "WIDTH: i32": this.inputs + 1 + this.layers, "MASKED": this.masked,
      "ALIVE_ABOVE: f32": model.aliveAbove ?? 0, "FIRE_THRESHOLD": `${model.fireThreshold}u`,
    };
    const lines = Object.entries(values).map(([name, value]) => `const ${name} = ${value};`);
    // Fixed channels keep their value, whatever was computed for them.
    lines.push(`fn is_mutable(layer: i32) -> vec4<bool> {
  return vec4i(layer * 4) + vec4i(0, 1, 2, 3) >= vec4i(${model.fixed});
}`);
    return lines.join("\n");
  }

  bind(pipeline, buffers) {
    const entries = buffers.map((buffer, binding) => ({binding, resource: {buffer}}));
    return this.device.createBindGroup({layout: pipeline.getBindGroupLayout(0), entries});
  }

  step(keys, time) {
    const {device, grids, masked} = this;
    const data = new ArrayBuffer(16);
    new Int32Array(data).set(keys);
    new Float32Array(data)[2] = time;
    device.queue.writeBuffer(this.now, 0, data);
    const encoder = device.createCommandEncoder();
    this.dispatch(encoder, this.update, [grids[0], grids[1], this.weights, this.filters, this.now]);
    if (masked) this.dispatch(encoder, this.clearDead, grids);
    device.queue.submit([encoder.finish()]);
    // The newest state comes first.
    grids.unshift(grids.pop());
    this.version++;
  }

  dispatch(encoder, pipeline, buffers) {
    const {columns, rows} = this.model;
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, this.bind(pipeline, buffers));
    pass.dispatchWorkgroups(Math.ceil(columns / SIDE), Math.ceil(rows / SIDE));
    pass.end();
  }

  load(state) {
    for (let row = 0; row < this.model.rows; row++) this.paint(row, 0, this.model.columns, state);
  }

  paint(row, first, last, source) {
    const {rows, columns, count, cells} = this.model;
    const texels = new Float32Array((last - first) * 4);
    for (let layer = 0; layer < this.layers; layer++) {
      texels.fill(0);
      for (let c = layer * 4; c < Math.min(count, layer * 4 + 4); c++) {
        const place = c * rows * columns + row * columns;
        for (let x = first; x < last; x++) texels[(x - first) * 4 + (c & 3)] = source[place + x];
      }
      const place = layer * cells + row * columns + first;
      this.device.queue.writeBuffer(this.grids[0], place * 16, texels);
    }
    this.version++;
  }

  // Values as they were when they last came over; if there are newer ones, those come, and
  // whenSeen is called.
  read(first, last) {
    const {cells} = this.model;
    if (this.seenVersion !== this.version) this.bring();
    const values = new Float32Array((last - first) * cells);
    for (let c = first; c < last; c++) {
      const layer = (c >> 2) * cells;
      for (let cell = 0; cell < cells; cell++) {
        values[(c - first) * cells + cell] = this.mirror[(layer + cell) * 4 + (c & 3)];
      }
    }
    return values;
  }

  bring() {
    this.coming ??= this.copyState().finally(() => { this.coming = null; });
    return this.coming;
  }

  async copyState() {
    const {version, device} = this;
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.grids[0], 0, this.copy, 0, this.bytes);
    device.queue.submit([encoder.finish()]);
    await this.copy.mapAsync(GPUMapMode.READ);
    this.mirror.set(new Float32Array(this.copy.getMappedRange()));
    this.copy.unmap();
    this.seenVersion = version;
    this.whenSeen();
  }

  // Waits until what is read is the newest state.
  async settle() {
    while (this.seenVersion !== this.version) await this.bring();
  }

  release() {
    this.device.destroy();
  }
}
