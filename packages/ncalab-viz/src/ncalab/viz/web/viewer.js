// The page: what runs when, and what each control does.

const element = id => document.getElementById(id);

// Milliseconds that the steps of a frame may take, so that the page stays responsive.
const FRAME_TIME = 20;
const FASTEST = Infinity;

// The most steps that the address of the page may ask for: some seconds of computing.
const FARTHEST = 2000;

class Viewer {
  constructor(model, address) {
    document.body.classList.toggle("compact", address.has("compact"));
    this.simulation = new Simulation(model, address.get("backend"));
    this.picture = new Picture(element("grid"), this.simulation, this.readBackground());
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
    requestAnimationFrame(now => { this.then = now; this.frame(now); });
  }

  // Goes to the seed and the step that the address names.
  follow(address) {
    const [seed, step] = [address.get("seed"), Number(address.get("step"))];
    if (/^\d{1,19}$/.test(seed ?? "")) this.simulation.reset(seed);
    if (step > 0) {
      this.simulation.step(Math.min(Math.floor(step), FARTHEST));
      this.play(false);
    }
  }

  readBackground() {
    const color = getComputedStyle(document.documentElement).getPropertyValue("--cells").trim();
    return [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
  }

  // Time

  frame(now) {
    requestAnimationFrame(next => this.frame(next));
    if (this.playing) {
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
      this.simulation.step(steps);
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
    this.simulation.step();
    this.draw();
    const start = performance.now();
    for (let step = 0; step < steps; step++) {
      this.simulation.step();
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
    this.simulation.step();
    this.changed = true;
  }

  reset() {
    this.simulation.reset(this.simulation.seed);
    this.disturbed = false;
    this.pauseAt = this.simulation.model.pauseAfter || Infinity;
    this.measured.steps = 0;
    this.changed = true;
    if (this.finished) this.play(true);
  }

  // What is seen

  draw() {
    this.picture.draw();
    this.changed = false;
    this.describe();
    this.listClasses();
    this.hint();
  }

  // What to do next, below the cells.
  hint() {
    const {fixed} = this.simulation.model;
    const dead = this.picture.dead && "All cells are dead: place a seed, or reset.";
    const first = fixed ? "Drag over the cells to make them forget" : "Drag over the cells to cut them";
    const text = dead || (this.touched ? "" : first);
    element("hint").textContent = text;
    element("hint").hidden = !text;
  }

  describe() {
    const {steps, backend, stage} = this.simulation;
    const rate = this.playing ? `${this.measured.rate} steps a second` : "paused";
    element("status").textContent =
      `Step ${steps} · ${rate} · ${stage.columns} × ${stage.rows} cells · ${backend}`;
  }

  listClasses() {
    const {classNames, classColors, votes} = this.simulation.model;
    const first = votes ? 0 : 1; // after the background
    const shares = this.picture.shares?.slice(first) ?? [];
    const list = element("classes");
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
    this.picture.show(element("view").value);
    const {width, height} = element("grid");
    element("grid").style.setProperty("--ratio", width / height);
    const named = ["picture", "prediction"].includes(this.picture.view);
    element("colors").hidden = named;
    this.changed = true;
  }

  // Controls

  fillControls(model) {
    for (const [value, label] of this.picture.views) element("view").add(new Option(label, value));
    element("view").value = this.picture.view;
    element("seed-tool").hidden = model.fixed > 0;
    const speed = element("speed");
    speed.max = this.speeds.length - 1;
    speed.value = this.speeds.indexOf(model.speed);
    const radius = element("radius");
    radius.max = Math.max(2, Math.round(Math.min(model.rows, model.columns) / 3));
    radius.value = Math.max(1, Math.round(Math.min(model.rows, model.columns) / 10));
    this.readRanges();
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
    element("record").onclick = () => this.record();
    element("record").hidden = !window.MediaRecorder;
    element("step").onclick = () => this.step();
    element("reset").onclick = () => this.reset();
    element("speed").oninput = element("radius").oninput = () => this.readRanges();
    element("view").onchange = () => this.changeView();
    const keys = {" ": () => this.toggle(), s: () => this.step(), r: () => this.reset()};
    document.addEventListener("keydown", event => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (!plain || !keys[event.key] || event.target.matches("button, input, select")) return;
      event.preventDefault();
      keys[event.key]();
    });
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
      this.picture.background = this.readBackground();
      this.changed = true;
    });
  }

  connectPointer() {
    const grid = element("grid");
    let last = null;
    grid.addEventListener("pointerdown", event => {
      grid.setPointerCapture(event.pointerId);
      last = this.touch(event, null);
    });
    grid.addEventListener("pointermove", event => {
      if (last) last = this.touch(event, last);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      grid.addEventListener(end, () => { last = null; });
    }
  }

  // Uses the tool on the cell under the pointer and on the way there; returns that cell.
  touch(event, from) {
    const box = element("grid").getBoundingClientRect();
    const inside = (place, size) => Math.min(Math.max(place / size, 0), 1 - 1e-9);
    const to = this.picture.cellAt(
      inside(event.clientX - box.left, box.width), inside(event.clientY - box.top, box.height));
    if (document.querySelector("[name=tool]:checked").value === "seed") {
      this.simulation.plant(...to);
    } else {
      this.erasePath(from ?? to, to);
    }
    this.changed = this.touched = this.disturbed = true;
    if (this.finished) this.play(true); // to see it come back
    return to;
  }

  erasePath(from, to) {
    const distance = Math.hypot(to[0] - from[0], to[1] - from[1]);
    // In the view of all channels, the pointer may have gone over to another tile.
    const parts = this.picture.view === "all" ? 1 : Math.max(1, Math.ceil(distance / this.radius));
    for (let i = 1; i <= parts; i++) {
      const at = axis => from[axis] + (to[axis] - from[axis]) * i / parts;
      this.simulation.erase(at(0), at(1), this.radius);
    }
  }

  // Taking it with one

  copyLink() {
    const address = new URL(location.href);
    const {seed, steps} = this.simulation;
    address.hash = new URLSearchParams({seed, step: Math.min(steps, FARTHEST)});
    history.replaceState(null, "", address);
    const button = element("link");
    const say = text => {
      button.textContent = text;
      setTimeout(() => { button.textContent = "Copy link"; }, 1500);
    };
    // Without the clipboard, the bar of the browser has it.
    const copied = navigator.clipboard?.writeText(address.href) ?? Promise.reject();
    copied.then(() => say("Copied"), () => say("It is in the address"));
  }

  save() {
    enlarged(element("grid")).toBlob(blob => download(blob, `step-${this.simulation.steps}.png`));
  }

  // Starts a film of the cells, or ends it.
  record() {
    const button = element("record");
    if (this.recorder) {
      this.recorder.stop();
      return;
    }
    const film = enlarged(element("grid"));
    const copy = () => {
      enlarge(element("grid"), film);
      if (this.recorder) requestAnimationFrame(copy);
    };
    const parts = [];
    const mimeType = ["video/webm", "video/mp4"].find(type => MediaRecorder.isTypeSupported(type));
    this.recorder = new MediaRecorder(film.captureStream(), {mimeType});
    this.recorder.ondataavailable = event => parts.push(event.data);
    this.recorder.onstop = () => {
      this.recorder = null;
      button.textContent = "Record";
      download(new Blob(parts, {type: mimeType}), `cells.${mimeType.slice(6)}`);
    };
    this.recorder.start();
    button.textContent = "Stop recording";
    copy();
  }

  watchDevice() {
    for (const {canvas} of this.simulation.automata) {
      canvas?.addEventListener("webglcontextlost", () => {
        if (this.simulation.automaton.canvas) this.simulation.fallBack();
        this.changed = true;
      });
    }
  }
}

// A copy with cells of whole pixels, of a size to look at.
function enlarged(grid) {
  const scale = Math.max(1, Math.round(512 / Math.max(grid.width, grid.height)));
  const copy = document.createElement("canvas");
  // Even sides, which encoders of video ask for.
  copy.width = grid.width * scale + (grid.width * scale) % 2;
  copy.height = grid.height * scale + (grid.height * scale) % 2;
  enlarge(grid, copy);
  return copy;
}

function enlarge(grid, copy) {
  const context = copy.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(grid, 0, 0, copy.width, copy.height);
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const viewer = new Viewer(
  decodeModel(JSON.parse(element("model").textContent)),
  new URLSearchParams(location.hash.slice(1)),
);

// For scripts and tests. States are (channels, rows, columns), flat; x is a column, y a row.
window.ncalab = {
  step: (count = 1) => { viewer.simulation.step(count); viewer.changed = true; },
  state: () => viewer.simulation.state(),
  reset: seed => { viewer.reset(); viewer.simulation.reset(seed); viewer.changed = true; },
  erase: (x, y, radius) => { viewer.simulation.erase(x, y, radius); viewer.changed = true; },
  plant: (x, y) => { viewer.simulation.plant(x, y); viewer.changed = true; },
  play: playing => viewer.play(playing),
  measure: (steps = 60) => viewer.measureStep(steps),
  show: view => { element("view").value = view; viewer.changeView(); viewer.draw(); },
  get seed() { return String(viewer.simulation.seed); },
  get dead() { return viewer.picture.dead; },
  get steps() { return viewer.simulation.steps; },
  get backend() { return viewer.simulation.backend; },
};
