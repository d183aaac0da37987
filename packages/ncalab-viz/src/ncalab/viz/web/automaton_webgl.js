// The automaton on the GPU. A state is an array texture: a texel of a layer holds four channels
// of a cell. What is in a step, the other automaton says in plainer words.

const GLSL_HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;
`;

const COVER_GRID = `#version 300 es
void main() { // one triangle that covers the grid
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

const ACTIVATION_GLSL_HELPERS = `
// Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 7.1.26: exact to 1.5e-7.
float erf(float x) {
  float t = 1.0 / (1.0 + 0.3275911 * abs(x));
  float series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
    + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - series * exp(-x * x));
}
// Some drivers overflow for large arguments, where the value is 1 to the last bit.
float bounded_tanh(float x) { return tanh(clamp(x, -15.0, 15.0)); }
`;

// Whether a cell within some distance has an opacity above the threshold.
const VISIBLE_GLSL = `
bool visible(sampler2DArray grid, ivec2 cell, int reach) {
  for (int dy = -reach; dy <= reach; dy++) {
    for (int dx = -reach; dx <= reach; dx++) {
      ivec2 other = cell + ivec2(dx, dy);
      if (any(lessThan(other, ivec2(0))) || any(greaterThanEqual(other, SIZE))) continue;
      if (texelFetch(grid, ivec3(other, 0), 0).a > ALIVE_ABOVE) return true;
    }
  }
  return false;
}`;

// A function of a place on an axis that returns where its cell stands; -1 where there is none.
function placeGLSL(name, size, [before, after]) {
  if (before.length === 0) return `int ${name}(int place) { return place; }`;
  const list = (part, places) =>
    `const int ${name}_${part}[${places.length}] = int[${places.length}](${places.join(", ")});`;
  return `${list("before", before)}
${list("after", after)}
int ${name}(int place) {
  if (place < 0) return ${name}_before[place + ${before.length}];
  return place < ${size} ? place : ${name}_after[place - ${size}];
}`;
}

// Where the filters see a cell, from the one that is updated.
function placesGLSL(places) {
  const list = places.map(([down, right]) => `ivec2(${right}, ${down})`).join(", ");
  return `const ivec2 places[${places.length}] = ivec2[${places.length}](${list});`;
}

const UPDATE_GLSL = `
uniform sampler2DArray state;
uniform sampler2D weights; // a row for each hidden neuron
uniform sampler2D filters; // a row for each layer
uniform float time;

vec4 at(ivec2 cell, int layer) {
  ivec2 place = ivec2(column_of(cell.x), row_of(cell.y));
  if (any(lessThan(place, ivec2(0)))) return vec4(0.0);
  return texelFetch(state, ivec3(place, layer), 0);
}

void main() {
  ivec2 cell = ivec2(gl_FragCoord.xy);
  vec4 seen[SEEN];
  for (int l = 0; l < LAYERS; l++) seen[l] = texelFetch(state, ivec3(cell, l), 0);
  vec4 update[OUTPUTS];
  for (int o = 0; o < OUTPUTS; o++) update[o] = vec4(0.0);
  // Only the opacity of living cells and of their neighbours has an effect.
  if (fires(uint(cell.y * SIZE.x + cell.x)) && (!MASKED || visible(state, cell, 2))) {
    for (int i = LAYERS; i < SEEN; i++) seen[i] = vec4(0.0);
    for (int l = 0; l < LAYERS; l++) {
      for (int tap = 0; tap < PLACES; tap++) {
        vec4 value = at(cell + places[tap], l);
        for (int f = 0; f < FILTERS; f++) {
          vec4 weight = texelFetch(filters, ivec2(f * PLACES + tap, l), 0);
          seen[(FIRST_FILTER + f) * LAYERS + l] += value * weight;
        }
      }
    }
    COMBINE
    for (int j = 0; j < HIDDEN; j++) {
      vec4 sum = vec4(0.0);
      for (int i = 0; i < INPUTS; i++) sum += seen[i] * texelFetch(weights, ivec2(i, j), 0);
      vec4 other = texelFetch(weights, ivec2(INPUTS, j), 0); // bias, weight of the time
      float neuron = activation(dot(sum, vec4(1.0)) + other.x + other.y * time);
      for (int o = 0; o < OUTPUTS; o++) {
        update[o] += neuron * texelFetch(weights, ivec2(INPUTS + 1 + FIRST_OUTPUT + o, j), 0);
      }
    }
  }
  WRITE
}`;

const CLEAR_DEAD_GLSL = `
uniform sampler2DArray before;
uniform sampler2DArray after;

void main() {
  ivec2 cell = ivec2(gl_FragCoord.xy);
  bool alive = visible(before, cell, 1) && visible(after, cell, 1);
  WRITE
}`;

// The weights as texels of four channels: for every hidden neuron those of the inputs, then bias and
// weight of the time, then those of the outputs.
function packWeights(model) {
  const {count, inputs: blocks, hiddenSize, weights} = model;
  const layers = Math.ceil(count / 4);
  const inputs = layers * blocks;
  const width = (inputs + 1 + layers) * 4;
  const packed = new Float32Array(width * hiddenSize);
  for (let j = 0; j < hiddenSize; j++) {
    const row = j * width;
    for (let part = 0; part < blocks; part++) {
      for (let c = 0; c < count; c++) {
        packed[row + part * layers * 4 + c] =
          weights.first[(j * blocks + part) * count + c];
      }
    }
    packed[row + inputs * 4] = weights.bias[j];
    packed[row + inputs * 4 + 1] = weights.time[j];
    for (let c = 0; c < count; c++) {
      packed[row + (inputs + 1) * 4 + c] = weights.last[c * hiddenSize + j];
    }
  }
  return packed;
}

// The filters as texels, for every layer of four channels those of all places of all filters.
function packFilters(model) {
  const area = model.places.length;
  const taps = area * model.filters;
  const packed = new Float32Array(Math.ceil(model.count / 4) * taps * 4);
  for (let f = 0; f < model.filters; f++) {
    for (let c = 0; c < model.count; c++) {
      for (let tap = 0; tap < area; tap++) {
        const texel = (c >> 2) * taps + f * area + tap;
        packed[texel * 4 + (c & 3)] = model.weights.filters[(f * model.count + c) * area + tap];
      }
    }
  }
  return packed;
}

class WebGLAutomaton {
  static title = "WebGL2";

  constructor(model) {
    this.model = model;
    this.canvas = document.createElement("canvas");
    const gl = this.canvas.getContext("webgl2", {antialias: false, depth: false});
    if (!gl) throw new Error("WebGL2 is not available");
    this.gl = gl;
    if (!gl.getExtension("EXT_color_buffer_float")) throw new Error("no float textures");
    this.layers = Math.ceil(model.count / 4);
    this.inputs = this.layers * model.inputs;
    this.masked = model.aliveAbove !== null;
    this.checkSizes();
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    this.grids = Array.from({length: this.masked ? 3 : 2}, () => this.makeGrid());
    this.reader = gl.createFramebuffer();
    this.weights = this.makeTexture(this.inputs + 1 + this.layers, model.hiddenSize,
      packWeights(model));
    const taps = model.places.length * model.filters;
    this.filters = this.makeTexture(taps, this.layers, packFilters(model));
    // A pass writes as many layers as the device can write at once.
    this.passes = [];
    for (let first = 0; first < this.layers; first += this.writable) {
      const outputs = Math.min(this.writable, this.layers - first);
      this.passes.push({
        update: this.makeUpdate(first, outputs),
        clearDead: this.masked ? this.makeClearDead(first, outputs) : null,
        targets: this.grids.map(grid => this.makeTarget(grid, first, outputs)),
      });
    }
    gl.bindVertexArray(gl.createVertexArray());
    gl.viewport(0, 0, model.columns, model.rows);
  }

  checkSizes() {
    const {gl, model} = this;
    this.writable = Math.min(gl.getParameter(gl.MAX_DRAW_BUFFERS),
      gl.getParameter(gl.MAX_COLOR_ATTACHMENTS));
    const taps = model.places.length * model.filters;
    const sides = [model.rows, model.columns, model.hiddenSize, this.inputs + 1 + this.layers, taps];
    if (Math.max(...sides) > gl.getParameter(gl.MAX_TEXTURE_SIZE)
        || this.layers > gl.getParameter(gl.MAX_ARRAY_TEXTURE_LAYERS)) {
      throw new Error("the grid or the model is too large for a texture");
    }
  }

  // Textures

  makeTexture(width, height, data) {
    const {gl} = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, width, height);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RGBA, gl.FLOAT, data);
    this.sampleNearest(gl.TEXTURE_2D);
    return texture;
  }

  makeGrid() {
    const {gl, model, layers} = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, model.columns, model.rows, layers);
    this.sampleNearest(gl.TEXTURE_2D_ARRAY);
    return texture;
  }

  sampleNearest(kind) {
    const {gl} = this;
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  makeTarget(grid, first, outputs) {
    const {gl} = this;
    const target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    const places = Array.from({length: outputs}, (_, o) => gl.COLOR_ATTACHMENT0 + o);
    places.forEach((place, o) => {
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, grid, 0, first + o);
    });
    gl.drawBuffers(places);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      throw new Error("float textures cannot be written");
    }
    return target;
  }

  // Programs

  makeUpdate(first, outputs) {
    const {model} = this;
    const write = this.writeLayers(first, outputs,
      (old, o) => [old, `${old} + update[${o}]`], l => `seen[${l}]`);
    return this.makeProgram([
      this.constants(first, outputs), FIRES_GLSL, VISIBLE_GLSL, placesGLSL(model.places),
      placeGLSL("column_of", model.columns, model.border.columns),
      placeGLSL("row_of", model.rows, model.border.rows),
      ACTIVATION_GLSL_HELPERS, "#define tanh bounded_tanh",
      `float activation(float x) { return ${model.activation}; }`, "#undef tanh",
      UPDATE_GLSL.replace("WRITE", write)
        .replace("COMBINE", combineInShader(model, this.layers, "float", "vec4")),
    ], ["state", "weights", "filters"]);
  }

  makeClearDead(first, outputs) {
    const write = this.writeLayers(first, outputs,
      old => [old, `(alive ? ${old} : vec4(0.0))`], l => `texelFetch(after, ivec3(cell, ${l}), 0)`);
    return this.makeProgram(
      [this.constants(first, outputs), VISIBLE_GLSL, CLEAR_DEAD_GLSL.replace("WRITE", write)],
      ["before", "after"]);
  }

  // Fixed channels keep their value, whatever was computed for them.
  writeLayers(first, outputs, choose, oldOf) {
    return Array.from({length: outputs}, (_, o) => {
      const [kept, changed] = choose(oldOf(first + o), o);
      const mutable = [0, 1, 2, 3].map(c => (first + o) * 4 + c >= this.model.fixed);
      return `next${o} = mix(${kept}, ${changed}, bvec4(${mutable.join(", ")}));`;
    }).join("\n  ");
  }

  constants(first, outputs) {
    const {model} = this;
    const threshold = this.masked ? String(model.aliveAbove) : "0.0";
    const names = {
      SIZE: `ivec2(${model.columns}, ${model.rows})`, LAYERS: this.layers, INPUTS: this.inputs,
      SEEN: this.layers * (model.firstFilter + model.filters), FIRST_FILTER: model.firstFilter,
      FILTERS: model.filters, PLACES: model.places.length,
      HIDDEN: model.hiddenSize, FIRST_OUTPUT: first, OUTPUTS: outputs, MASKED: this.masked,
      ALIVE_ABOVE: threshold, FIRE_THRESHOLD: `${model.fireThreshold}u`,
    };
    const lines = Object.entries(names).map(([name, value]) => `#define ${name} ${value}`);
    for (let o = 0; o < outputs; o++) lines.push(`layout(location = ${o}) out vec4 next${o};`);
    return lines.join("\n");
  }

  makeProgram(parts, samplers) {
    const {gl} = this;
    const program = gl.createProgram();
    const sources = [[gl.VERTEX_SHADER, COVER_GRID],
      [gl.FRAGMENT_SHADER, GLSL_HEAD + parts.join("\n")]];
    for (const [kind, source] of sources) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
      }
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(`shaders: ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    samplers.forEach((name, unit) => gl.uniform1i(gl.getUniformLocation(program, name), unit));
    const locate = name => gl.getUniformLocation(program, name);
    return {program, keys: locate("keys"), time: locate("time")};
  }

  // States

  load(state) {
    for (let row = 0; row < this.model.rows; row++) this.paint(row, 0, this.model.columns, state);
  }

  read(first, last) {
    const {gl, model} = this;
    const {rows, columns} = model;
    const cells = rows * columns;
    const values = new Float32Array((last - first) * cells);
    const texels = new Float32Array(cells * 4);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.reader);
    for (let layer = first >> 2; layer * 4 < last; layer++) {
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, this.grids[0], 0, layer);
      gl.readPixels(0, 0, columns, rows, gl.RGBA, gl.FLOAT, texels);
      for (let c = Math.max(first, layer * 4); c < Math.min(last, layer * 4 + 4); c++) {
        const place = (c - first) * cells;
        for (let cell = 0; cell < cells; cell++) values[place + cell] = texels[cell * 4 + (c & 3)];
      }
    }
    return values;
  }

  paint(row, first, last, source) {
    const {gl, model} = this;
    const {rows, columns, count} = model;
    const texels = new Float32Array((last - first) * 4);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.grids[0]);
    for (let layer = 0; layer < this.layers; layer++) {
      for (let c = layer * 4; c < Math.min(count, layer * 4 + 4); c++) {
        const place = c * rows * columns + row * columns;
        for (let x = first; x < last; x++) texels[(x - first) * 4 + (c & 3)] = source[place + x];
      }
      for (let c = count; c < layer * 4 + 4; c++) {
        for (let x = 0; x < last - first; x++) texels[x * 4 + (c & 3)] = 0;
      }
      gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, first, row, layer, last - first, 1, 1,
        gl.RGBA, gl.FLOAT, texels);
    }
  }

  bind(unit, kind, texture) {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(kind, texture);
  }

  step(keys, time) {
    const {gl} = this;
    this.bind(1, gl.TEXTURE_2D, this.weights);
    this.bind(2, gl.TEXTURE_2D, this.filters);
    this.bind(0, gl.TEXTURE_2D_ARRAY, this.grids[0]);
    for (const {update, targets} of this.passes) {
      gl.useProgram(update.program);
      gl.uniform2ui(update.keys, keys[0] >>> 0, keys[1] >>> 0);
      gl.uniform1f(update.time, time);
      this.draw(targets[1]);
    }
    if (this.masked) {
      this.bind(1, gl.TEXTURE_2D_ARRAY, this.grids[1]);
      for (const {clearDead, targets} of this.passes) {
        gl.useProgram(clearDead.program);
        this.draw(targets[2]);
      }
    }
    // The newest state comes first.
    this.grids.unshift(this.grids.pop());
    for (const pass of this.passes) pass.targets.unshift(pass.targets.pop());
    gl.activeTexture(gl.TEXTURE0);
  }

  draw(target) {
    const {gl} = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // Gives the device back; browsers lend it to few.
  release() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  // Waits until the device has finished all its work.
  finish() {
    const {gl} = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.reader);
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, this.grids[0], 0, 0);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.FLOAT, new Float32Array(4));
  }
}
