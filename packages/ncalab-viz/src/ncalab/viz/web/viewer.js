// The page: runs one model, or several beside each other, and connects the controls.

const element = id => document.getElementById(id);

// Milliseconds that the steps of a frame may take, so that the page stays responsive.
const FRAME_TIME = 20;
const FASTEST = Infinity;

// The most steps that the address of the page may ask for: some seconds of computing.
const FARTHEST = 2000;

class Viewer {
  constructor(models, address) {
    document.body.classList.toggle("compact", address.has("compact"));
    const [model] = models;
    this.panels = models.map(each => this.addPanel(each, address.get("backend")));
    // What holds for all of them is asked of the first.
    [{simulation: this.simulation, picture: this.picture}] = this.panels;
    this.simulations = this.panels.map(panel => panel.simulation);
    this.recorders = this.makeRecorders();
    this.playing = true;
    this.due = 0; // steps that should have been taken
    this.limit = 1; // steps of a frame
    this.pauseAt = model.pauseAfter || Infinity;
    this.measured = {since: performance.now(), steps: 0, rate: 0};
    this.speeds = [...new Set([1, 2, 5, 10, 20, 30, 60, 120, model.speed])].sort((a, b) => a - b);
    this.speeds.push(FASTEST);
    this.fillControls(model);
    this.connectControls();
    this.connectPointer();
    this.watchDevice();
    this.follow(address);
    this.changeView();
    const wanted = address.get("backend");
    this.ready = wanted === null || wanted === "webgpu" ? this.tryWebGPU(wanted) : null;
    requestAnimationFrame(now => { this.then = now; this.frame(now); });
  }

  addPanel(model, wanted) {
    const [figure, canvas] = [document.createElement("figure"), document.createElement("canvas")];
    canvas.ariaLabel = `The cells${model.name && ` of ${model.name}`}. Touch or drag to change them.`;
    const caption = document.createElement("figcaption");
    caption.textContent = model.name;
    figure.append(canvas, caption);
    element("grids").append(figure);
    const simulation = new Simulation(model, wanted);
    const picture = new Picture(canvas, simulation, this.readBackground());
    return {canvas, simulation, picture};
  }

  // Goes to the seed and the step that the address names.
  follow(address) {
    const [seed, step] = [address.get("seed"), Number(address.get("step"))];
    if (/^\d{1,3}$/.test(address.get("angle") ?? "")) this.steer(Number(address.get("angle")));
    if (/^\d{1,19}$/.test(seed ?? "")) this.restart(seed);
    if (step > 0) {
      this.advance(Math.min(Math.floor(step), FARTHEST));
      this.play(false);
    }
  }

  advance(steps = 1) {
    for (const simulation of this.simulations) simulation.step(steps);
  }

  restart(seed = this.simulation.seed) {
    for (const simulation of this.simulations) simulation.reset(seed);
  }

  // Starts again with first cells that look in another direction, in degrees.
  steer(degrees) {
    for (const simulation of this.simulations) simulation.angle = degrees * Math.PI / 180;
    element("angle").value = degrees;
    element("angle-value").textContent = `${degrees}°`;
    this.reset();
  }

  async turn() {
    if (element("turn-row").hidden) return;
    await Promise.all(this.simulations.map(({automaton}) => automaton.settle?.()));
    for (const simulation of this.simulations) simulation.turn();
    this.disturb();
  }

  // Something was done to the cells.
  disturb() {
    this.changed = this.disturbed = true;
    if (this.finished) this.play(true); // to see it come back
  }

  readBackground() {
    const color = getComputedStyle(document.documentElement).getPropertyValue("--cells").trim();
    return [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
  }

  // Time

  frame(now) {
    requestAnimationFrame(next => this.frame(next));
    // What is on its way from the device is shown before there is more.
    if (this.playing && !this.simulations.some(simulation => simulation.automaton.coming)) {
      this.due = Math.min(this.due + (now - this.then) / 1000 * this.speed, this.limit);
      this.run(Math.min(Math.floor(this.due), this.pauseAt - this.simulation.steps));
    }
    this.then = now;
    if (this.changed) this.draw();
    this.measure(now);
  }

  run(steps) {
    const start = performance.now();
    if (steps > 0) {
      this.advance(steps);
      this.due -= steps;
      this.draw(); // which waits for the device
    }
    const late = performance.now() - start > FRAME_TIME;
    this.limit = late ? Math.max(1, Math.floor(steps / 2)) : Math.max(this.limit, steps + 1);
    if (this.simulation.steps >= this.pauseAt) {
      this.play(false);
      this.finished = true;
      this.name();
    }
  }

  measure(now) {
    const {since, steps} = this.measured;
    if (now - since < 500) return;
    const rate = (this.simulation.steps - steps) * 1000 / (now - since);
    this.measured = {since: now, steps: this.simulation.steps, rate: Math.max(0, Math.round(rate))};
    this.describe();
  }

  // Milliseconds that a step takes, its picture included.
  measureStep(steps) {
    this.advance();
    this.draw();
    const start = performance.now();
    for (let step = 0; step < steps; step++) {
      this.advance();
      this.draw();
    }
    return (performance.now() - start) / steps;
  }

  play(playing) {
    const {simulation} = this;
    if (playing && simulation.steps >= this.pauseAt) this.extend();
    this.playing = playing;
    this.finished = false;
    this.due = 0;
    this.name();
    this.describe();
  }

  // Says on the main button what it does.
  name() {
    const text = this.finished ? "Play again" : "Play";
    element("play").textContent = this.playing ? "Pause" : text;
  }

  toggle() {
    if (this.finished && !this.disturbed) this.reset();
    else this.play(!this.playing);
  }

  extend() {
    this.pauseAt = this.simulation.steps + this.simulation.model.pauseAfter;
  }

  step() {
    this.play(false);
    this.advance();
    this.changed = true;
  }

  reset() {
    this.restart();
    this.disturbed = false;
    this.pauseAt = this.simulation.model.pauseAfter || Infinity;
    this.measured.steps = 0;
    this.changed = true;
    if (this.finished) this.play(true);
  }

  // What is seen

  draw() {
    for (const {picture} of this.panels) picture.draw();
    this.changed = false;
    for (const recorder of this.recorders) recorder.add();
    this.describe();
    this.listClasses();
    this.hint();
  }

  // What to do next, below the cells.
  hint() {
    const {fixed} = this.simulation.model;
    const dead = this.panels.every(({picture}) => picture.dead) && "All cells are dead: place a seed, or reset.";
    const first = fixed ? "Drag over the cells to make them forget" : "Drag over the cells to cut them";
    const text = dead || (this.touched ? "" : first);
    element("hint").textContent = text;
    element("hint").hidden = !text;
  }

  describe() {
    const {steps, stage} = this.simulation;
    const backend = [...new Set(this.simulations.map(simulation => simulation.backend))].join(", ");
    const rate = this.playing ? `${this.measured.rate} steps a second` : "paused";
    element("status").textContent =
      `Step ${steps} · ${rate} · ${stage.columns} × ${stage.rows} cells · ${backend}`;
  }

  listClasses() {
    const {classNames, classColors, votes} = this.simulation.model;
    const first = votes ? 0 : 1; // after the background
    // Of several models, the shares differ.
    const shares = this.panels.length > 1 ? [] : this.picture.shares?.slice(first) ?? [];
    const list = element("classes");
    list.classList.toggle("votes", votes);
    if (list.children.length !== shares.length) {
      list.replaceChildren(...shares.map((_, i) => {
        const [item, swatch] = [document.createElement("li"), document.createElement("i")];
        swatch.style.background = `rgb(${classColors[first + i]})`;
        item.append(swatch, "");
        return item;
      }));
    }
    shares.forEach((share, i) => {
      const usual = votes || shares.length > 1 ? `Class ${first + i}` : "Foreground";
      const name = classNames ? classNames[first + i] : usual;
      const part = `${(100 * share).toFixed(1)} % of the ${votes ? "votes" : "cells"}`;
      list.children[i].lastChild.data = `${name}: ${part}`;
      list.children[i].classList.toggle("most", votes && share === Math.max(...shares));
    });
  }

  changeView() {
    for (const {picture, canvas} of this.panels) {
      picture.show(element("view").value);
      canvas.style.setProperty("--ratio", canvas.width / canvas.height);
    }
    const {width, height} = this.panels[0].canvas;
    element("frame").style.setProperty("--ratio", width / height);
    element("frame").style.setProperty("--panels", this.panels.length);
    const named = ["picture", "prediction"].includes(this.picture.view);
    element("colors").hidden = named;
    this.changed = true;
  }

  // Controls

  fillControls(model) {
    const common = value => this.panels.every(({picture}) => picture.views.some(view => view[0] === value));
    for (const [value, label] of this.picture.views) {
      if (common(value)) element("view").add(new Option(label, value));
    }
    element("view").value = this.picture.view;
    element("seed-tool").hidden = model.fixed > 0;
    this.fillRotation(this.panels.map(({simulation}) => simulation.model));
    const speed = element("speed");
    speed.max = this.speeds.length - 1;
    speed.value = this.speeds.indexOf(model.speed);
    const radius = element("radius");
    radius.max = Math.max(2, Math.round(Math.min(model.rows, model.columns) / 3));
    radius.value = Math.max(1, Math.round(Math.min(model.rows, model.columns) / 10));
    this.readRanges();
  }

  // Models that know no direction can be turned, beside others too; an image only if it is square.
  fillRotation(models) {
    const turns = models.some(model => model.knowsNoDirection);
    element("turn-row").hidden = !turns || models.some(({fixed, rows, columns}) => fixed && rows !== columns);
    element("angle-row").hidden = !models.some(model => model.angleChannels.length);
    if (models[0].fixed) element("angle-row").firstChild.textContent = "Angle of the cells";
  }

  readRanges() {
    this.speed = this.speeds[element("speed").value];
    element("speed-value").textContent = this.speed === FASTEST ? "max" : this.speed;
    this.radius = Number(element("radius").value);
    element("radius-value").textContent = this.radius;
  }

  connectControls() {
    element("play").onclick = () => this.toggle();
    element("link").onclick = () => this.copyLink();
    element("save").onclick = () => this.save();
    for (const recorder of this.recorders) recorder.button.onclick = () => recorder.toggle();
    element("step").onclick = () => this.step();
    element("reset").onclick = () => this.reset();
    element("speed").oninput = element("radius").oninput = () => this.readRanges();
    element("turn").onclick = () => this.turn();
    element("angle").oninput = () => this.steer(Number(element("angle").value));
    element("view").onchange = () => this.changeView();
    const keys = {" ": () => this.toggle(), s: () => this.step(), r: () => this.reset(), t: () => this.turn()};
    document.addEventListener("keydown", event => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (!plain || !keys[event.key] || event.target.matches("button, input, select")) return;
      event.preventDefault();
      keys[event.key]();
    });
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
      for (const {picture} of this.panels) picture.background = this.readBackground();
      this.changed = true;
    });
  }

  connectPointer() {
    for (const {canvas} of this.panels) {
      let last = null;
      canvas.addEventListener("pointerdown", event => {
        canvas.setPointerCapture(event.pointerId);
        last = this.touch(event, null);
      });
      canvas.addEventListener("pointermove", event => {
        if (last) last = this.touch(event, last);
      });
      for (const end of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(end, () => { last = null; });
      }
    }
  }

  // Uses the tool on the cell under the pointer and on the way there, in every model; returns that
  // cell.
  touch(event, from) {
    const box = event.target.getBoundingClientRect();
    const inside = (place, size) => Math.min(Math.max(place / size, 0), 1 - 1e-9);
    const to = this.picture.cellAt(
      inside(event.clientX - box.left, box.width), inside(event.clientY - box.top, box.height));
    if (document.querySelector("[name=tool]:checked").value === "seed") {
      this.plant(...to);
    } else {
      this.erasePath(from ?? to, to);
    }
    this.touched = true;
    this.disturb();
    return to;
  }

  erasePath(from, to) {
    const distance = Math.hypot(to[0] - from[0], to[1] - from[1]);
    // In the view of all channels, the pointer may have gone over to another tile.
    const parts = this.picture.view === "all" ? 1 : Math.max(1, Math.ceil(distance / this.radius));
    for (let i = 1; i <= parts; i++) {
      const at = axis => from[axis] + (to[axis] - from[axis]) * i / parts;
      this.erase(at(0), at(1), this.radius);
    }
  }

  erase(column, row, radius) {
    for (const simulation of this.simulations) simulation.erase(column, row, radius);
  }

  plant(column, row) {
    for (const simulation of this.simulations) simulation.plant(column, row);
  }

  // Taking it with one

  copyLink() {
    const address = new URL(location.href);
    const {seed, steps, angle} = this.simulation;
    const turned = angle ? {angle: element("angle").value} : {};
    address.hash = new URLSearchParams({seed, step: Math.min(steps, FARTHEST), ...turned});
    history.replaceState(null, "", address);
    const button = element("link");
    const say = text => {
      button.textContent = text;
      setTimeout(() => { button.textContent = "Link"; }, 1500);
    };
    // Without the clipboard, the bar of the browser has it.
    const copied = navigator.clipboard?.writeText(address.href) ?? Promise.reject();
    copied.then(() => say("Copied"), () => say("It is in the address"));
  }

  save() {
    const name = `step-${this.simulation.steps}.png`;
    enlarged(this.panels.map(panel => panel.canvas)).toBlob(blob => download(blob, name));
  }

  makeRecorders() {
    const canvases = this.panels.map(panel => panel.canvas);
    const recorders = [new GifRecorder(element("gif"), canvases)];
    element("record").hidden = !window.MediaRecorder;
    if (window.MediaRecorder) recorders.push(new FilmRecorder(element("record"), canvases));
    return recorders;
  }

  // WebGPU answers later than the page opens.
  async tryWebGPU(wanted) {
    const words = [];
    for (const simulation of this.simulations) {
      words.push(await offerWebGPU(simulation, wanted !== null));
      const {automaton} = simulation;
      if (!(automaton instanceof WebGPUAutomaton)) continue;
      automaton.whenSeen = () => { this.changed = true; };
      automaton.device.lost.then(() => this.loseDevice(simulation, automaton));
    }
    element("engine").textContent = `WebGPU: ${[...new Set(words)].join("; ")}.`;
    this.changed = true;
  }

  loseDevice(simulation, automaton) {
    if (simulation.automaton !== automaton) return;
    simulation.fallBack();
    this.reset();
  }

  watchDevice() {
    for (const simulation of this.simulations) {
      for (const {canvas} of simulation.automata) {
        canvas?.addEventListener("webglcontextlost", () => {
          if (simulation.automata.some(automaton => automaton.canvas === canvas)) {
            this.loseDevice(simulation, simulation.automaton);
          }
        });
      }
    }
  }
}

const viewer = new Viewer(
  decodePage(JSON.parse(element("models").textContent)),
  new URLSearchParams(location.hash.slice(1)),
);

// For scripts and tests. States are (channels, rows, columns), flat; x is a column, y a row.
window.ncalab = {
  step: (count = 1) => { viewer.advance(count); viewer.changed = true; },
  state: (place = 0) => viewer.simulations[place].state(),
  // Resolves when the state is that of the last step; only WebGPU takes its time.
  settle: () => Promise.all(viewer.simulations.map(({automaton}) => automaton.settle?.())),
  reset: seed => { viewer.reset(); viewer.restart(seed); viewer.changed = true; },
  erase: (x, y, radius) => { viewer.erase(x, y, radius); viewer.changed = true; },
  plant: (x, y) => { viewer.plant(x, y); viewer.changed = true; },
  turn: () => viewer.turn(),
  steer: degrees => viewer.steer(degrees),
  play: playing => viewer.play(playing),
  measure: (steps = 60) => viewer.measureStep(steps),
  show: view => { element("view").value = view; viewer.changeView(); viewer.draw(); },
  get seed() { return String(viewer.simulation.seed); },
  get dead() { return viewer.picture.dead; },
  get steps() { return viewer.simulation.steps; },
  get backend() { return viewer.simulation.backend; },
};
