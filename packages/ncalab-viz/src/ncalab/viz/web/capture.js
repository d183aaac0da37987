// Pictures, films and GIFs of the cells, to keep.

// A copy with cells of whole pixels, of a size to look at; several canvases side by side.
function enlarged(canvases) {
  const copy = document.createElement("canvas");
  const largest = Math.max(...canvases.flatMap(({width, height}) => [width, height]));
  const scale = Math.max(1, Math.round(512 / largest));
  const gap = Math.round(8 / scale) * scale;
  const width = canvases.reduce((sum, canvas) => sum + canvas.width * scale + gap, -gap);
  const height = Math.max(...canvases.map(canvas => canvas.height)) * scale;
  // Even sides, which encoders of video ask for.
  [copy.width, copy.height] = [width + width % 2, height + height % 2];
  enlarge(canvases, copy, scale, gap);
  return copy;
}

function enlarge(canvases, copy, scale, gap) {
  const context = copy.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingEnabled = false;
  let left = 0;
  for (const canvas of canvases) {
    context.drawImage(canvas, left, 0, canvas.width * scale, canvas.height * scale);
    left += canvas.width * scale + gap;
  }
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Records from one click of its button to the next.
class Recorder {
  constructor(button, canvases) {
    this.button = button;
    this.canvases = canvases;
    this.label = button.textContent;
    this.running = false;
  }

  toggle() {
    this.running = !this.running;
    this.button.textContent = this.running ? "Stop" : this.label;
    this.button.classList.toggle("main", this.running);
    if (this.running) this.start();
    else this.finish();
  }

  // Is called after every picture.
  add() {}
}

class FilmRecorder extends Recorder {
  start() {
    const film = enlarged(this.canvases);
    const copy = () => {
      film.getContext("2d").drawImage(enlarged(this.canvases), 0, 0);
      if (this.running) requestAnimationFrame(copy);
    };
    const parts = [];
    const mimeType = ["video/webm", "video/mp4"].find(type => MediaRecorder.isTypeSupported(type));
    this.recorder = new MediaRecorder(film.captureStream(), {mimeType});
    this.recorder.ondataavailable = event => parts.push(event.data);
    this.recorder.onstop = () => {
      download(new Blob(parts, {type: mimeType}), `cells.${mimeType.slice(6)}`);
    };
    this.recorder.start();
    copy();
  }

  finish() {
    this.recorder.stop();
  }
}

// As many as a file holds that can be sent.
const MOST_FRAMES = 600;

class GifRecorder extends Recorder {
  start() {
    const {width, height} = enlarged(this.canvases);
    this.gif = new GifWriter(width, height);
    this.pending = null;
    this.add();
  }

  // A frame is written when its time is known: when the next one comes.
  add() {
    if (!this.running) return;
    this.writePending();
    const copy = enlarged(this.canvases);
    const {width, height} = this.gif;
    // All channels take other room than one picture, and a GIF has one size.
    const fits = copy.width === width && copy.height === height;
    if (fits) {
      const {data} = copy.getContext("2d").getImageData(0, 0, width, height);
      this.pending = {data, since: performance.now()};
    }
    if (!fits || this.gif.count >= MOST_FRAMES) this.toggle();
  }

  writePending() {
    if (!this.pending) return;
    this.gif.add(this.pending.data, performance.now() - this.pending.since);
    this.pending = null;
  }

  finish() {
    this.writePending();
    download(new Blob(this.gif.parts(), {type: "image/gif"}), "cells.gif");
  }
}
