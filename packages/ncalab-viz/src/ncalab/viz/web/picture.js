// From channels to colours.

const OVERLAY_OPACITY = 0.55;
// So that the class of a dim cell can be seen.
const LEAST_BRIGHTNESS = 0.4;

// Blue below zero, red above, the middle almost white; from -1 to 1.
const DIVERGING = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];

function divergingColor(value) {
  const place = Math.min(Math.max(Number.isNaN(value) ? 0 : value, -1), 1) * 2 + 2;
  const [low, part] = [Math.min(Math.floor(place), 3), place - Math.min(Math.floor(place), 3)];
  return [0, 1, 2].map(i => DIVERGING[low][i] * (1 - part) + DIVERGING[low + 1][i] * part);
}

const DIVERGING_TABLE = Array.from({length: 257}, (_, i) => divergingColor(i / 128 - 1));

function classOf(logits, cell, cells, count) {
  if (count === 1) return logits[cell] > 0 ? 1 : 0;
  let best = 0;
  for (let k = 1; k < count; k++) {
    if (logits[k * cells + cell] > logits[best * cells + cell]) best = k;
  }
  return best;
}

// The last channel of an image of one channel or four: how bright or opaque a cell is.
function brightness(image, cells) {
  const last = image.length / cells - 1;
  return last === 0 || last === 3 ? image.subarray(last * cells) : null;
}

// Which cells of an image show something: all of them if none does.
function visibleCells(image, cells, visibleAbove) {
  const threshold = Math.fround(visibleAbove);
  const values = brightness(image, cells);
  const marks = new Uint8Array(cells).fill(1);
  return values?.some(value => value > threshold)
    ? marks.map((_, cell) => values[cell] > threshold ? 1 : 0) : marks;
}

class Picture {
  constructor(canvas, simulation, background) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.simulation = simulation;
    this.background = background;
    this.views = this.listViews();
    this.show(simulation.model.overlay ? "prediction" : "picture");
  }

  // What can be shown: name, label, and the channels of each tile.
  listViews() {
    const {channels, overlay, count} = this.simulation.model;
    const views = [["picture", "Picture"]];
    if (overlay) views.push(["prediction", "Picture and prediction"]);
    if (count > 1) views.push(["all", "All channels"]);
    const kinds = [["image", channels.image], ["hidden", channels.hidden], ["output", channels.output]];
    let c = 0;
    for (const [kind, size] of kinds) {
      for (let i = 0; i < size; i++, c++) views.push([String(c), `Channel ${c} (${kind} ${i})`]);
    }
    return views;
  }

  show(view) {
    const {rows, columns, count} = this.simulation.model;
    this.view = view;
    const tiles = view === "all" ? count : 1;
    this.across = Math.ceil(Math.sqrt(tiles * rows / columns));
    const down = Math.ceil(tiles / this.across);
    // A line of one cell between tiles.
    this.canvas.width = this.across * (columns + 1) - 1;
    this.canvas.height = down * (rows + 1) - 1;
    this.pixels = this.context.createImageData(this.canvas.width, this.canvas.height);
  }

  // The cell at a place of the canvas, in parts of its width and height; whichever tile it is in.
  cellAt(x, y) {
    const {rows, columns} = this.simulation.model;
    const column = Math.floor(x * this.canvas.width) % (columns + 1);
    const row = Math.floor(y * this.canvas.height) % (rows + 1);
    return [Math.min(column, columns - 1), Math.min(row, rows - 1)];
  }

  draw() {
    const {image, hidden} = this.simulation.model.channels;
    this.shares = null;
    this.dead = false;
    if (this.view === "all") {
      this.drawTiles(this.simulation.state());
    } else if (this.view === "picture") {
      this.drawImage(this.simulation.state(0, image));
    } else if (this.view === "prediction") {
      const shown = this.simulation.state(0, image);
      this.drawImage(shown);
      this.drawClasses(this.simulation.state(image + hidden), shown);
    } else {
      this.drawTiles(this.simulation.state(Number(this.view), Number(this.view) + 1));
    }
    this.context.putImageData(this.pixels, 0, 0);
  }

  // Four channels are colours times opacity, and the opacity; three are colours; else, the first
  // one is grey.
  drawImage(values) {
    const {cells, fixed, channels: {image}} = this.simulation.model;
    const {aliveAbove} = this.simulation.stage;
    const {data} = this.pixels;
    // Without a visible cell, none lives, nor will.
    if (aliveAbove !== null && !fixed) {
      this.dead = !values.subarray(3 * cells, 4 * cells).some(opacity => opacity > aliveAbove);
    }
    for (let cell = 0; cell < cells; cell++) {
      const behind = image === 4 ? 1 - Math.min(Math.max(values[3 * cells + cell], 0), 1) : 0;
      for (let i = 0; i < 3; i++) {
        const value = values[image === 3 || image === 4 ? i * cells + cell : cell];
        // The array rounds, and clips to 0 to 255.
        data[cell * 4 + i] = Math.min(Math.max(value, 0), 1) * 255 + behind * this.background[i];
      }
      data[cell * 4 + 3] = 255;
    }
  }

  // Tints the cells of every class but the background, or all visible ones if the cells vote.
  drawClasses(logits, image) {
    const {cells, channels: {output}, votes, visibleAbove, classColors} = this.simulation.model;
    const {data} = this.pixels;
    const visible = votes ? visibleCells(image, cells, visibleAbove) : null;
    const bright = votes ? brightness(image, cells) : null;
    const counts = new Array(Math.max(2, output)).fill(0);
    for (let cell = 0; cell < cells; cell++) {
      const k = classOf(logits, cell, cells, output);
      if (visible && !visible[cell]) continue;
      counts[k]++;
      if (k === 0 && !votes) continue;
      // A cell of an image in colour is tinted, another one has the colour of its class.
      const share = bright ? Math.min(Math.max(bright[cell], LEAST_BRIGHTNESS), 1) : OVERLAY_OPACITY;
      for (let i = 0; i < 3; i++) {
        const behind = bright ? this.background[i] : data[cell * 4 + i];
        data[cell * 4 + i] = behind + (classColors[k][i] - behind) * share;
      }
    }
    const all = counts.reduce((a, b) => a + b);
    this.shares = counts.map(count => count / all);
  }

  drawTiles(values) {
    const {rows, columns, cells} = this.simulation.model;
    const {data} = this.pixels;
    for (let c = 0; c * cells < values.length; c++) {
      const left = (c % this.across) * (columns + 1);
      const top = Math.floor(c / this.across) * (rows + 1);
      for (let cell = 0; cell < cells; cell++) {
        const value = Math.min(Math.max(values[c * cells + cell], -1), 1);
        const color = DIVERGING_TABLE[Math.round((value + 1) * 128)] ?? DIVERGING_TABLE[128];
        const row = top + Math.floor(cell / columns);
        const place = (row * this.canvas.width + left + (cell % columns)) * 4;
        for (let i = 0; i < 3; i++) data[place + i] = color[i];
        data[place + 3] = 255;
      }
    }
  }
}
