// Writes GIFs, version 89a (CompuServe, 1990). Every frame has colours of
// its own: those that it has, or if these are more than 256, those that most of its pixels are near.

const COLORS = 256;

// Bytes of the colour table, and the place in it of every pixel.
function indexColors(pixels) {
  const colors = new Uint32Array(pixels.buffer, pixels.byteOffset, pixels.length / 4);
  const distinct = new Map();
  for (const color of colors) distinct.set(color, (distinct.get(color) ?? 0) + 1);
  const kept = distinct.size <= COLORS ? [...distinct.keys()] : usualColors(distinct);
  const table = new Uint8Array(COLORS * 3);
  kept.forEach((color, i) => { table.set(splitColor(color), i * 3); });
  const places = new Map();
  for (const color of distinct.keys()) places.set(color, nearestColor(table, kept.length, color));
  return {table, indices: Uint8Array.from(colors, color => places.get(color))};
}

const splitColor = color => [color & 255, (color >> 8) & 255, (color >> 16) & 255];

// The middles of the most frequent bins of 5 bits a channel.
function usualColors(distinct) {
  const bins = new Map();
  for (const [color, count] of distinct) {
    const bin = color & 0xf8f8f8;
    bins.set(bin, (bins.get(bin) ?? 0) + count);
  }
  const frequent = [...bins].sort((a, b) => b[1] - a[1]).slice(0, COLORS);
  return frequent.map(([bin]) => bin | 0x040404);
}

function nearestColor(table, count, color) {
  const [red, green, blue] = splitColor(color);
  let [best, least] = [0, Infinity];
  for (let i = 0; i < count && least > 0; i++) {
    const distance = (table[i * 3] - red) ** 2 + (table[i * 3 + 1] - green) ** 2
      + (table[i * 3 + 2] - blue) ** 2;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

const [CLEAR, END, FULL] = [256, 257, 4096];

// Lempel-Ziv-Welch codes of 9 to 12 bits.
function compressIndices(indices) {
  const bytes = [];
  let [bits, filled, size, next] = [0, 0, 9, END + 1];
  const known = new Map(); // (code of the beginning, next index) to code
  const emit = code => {
    bits |= code << filled;
    for (filled += size; filled >= 8; filled -= 8) {
      bytes.push(bits & 255);
      bits >>>= 8;
    }
  };
  emit(CLEAR);
  let beginning = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const longer = known.get(beginning << 8 | indices[i]);
    if (longer !== undefined) {
      beginning = longer;
      continue;
    }
    emit(beginning);
    if (next < FULL) {
      known.set(beginning << 8 | indices[i], next++);
      if (next > 1 << size) size++;
    } else {
      emit(CLEAR);
      known.clear();
      [size, next] = [9, END + 1];
    }
    beginning = indices[i];
  }
  emit(beginning);
  emit(END);
  if (filled > 0) bytes.push(bits & 255);
  return bytes;
}

const word = number => [number & 255, number >> 8];
const letters = text => [...text].map(letter => letter.charCodeAt(0));

class GifWriter {
  constructor(width, height) {
    [this.width, this.height, this.count] = [width, height, 0];
    const screen = [...word(width), ...word(height), 0x70, 0, 0]; // 8 bits a channel, no colours yet
    const forEver = [0x21, 0xff, 11, ...letters("NETSCAPE2.0"), 3, 1, 0, 0, 0];
    this.blocks = [Uint8Array.from([...letters("GIF89a"), ...screen, ...forEver])];
  }

  // Pixels are RGBA, opaque; the time is in milliseconds, at least the 20 that browsers keep to.
  add(pixels, time) {
    const {table, indices} = indexColors(pixels);
    const delay = Math.min(Math.max(2, Math.round(time / 10)), 0xffff);
    const control = [0x21, 0xf9, 4, 0, ...word(delay), 0, 0];
    const image = [0x2c, 0, 0, 0, 0, ...word(this.width), ...word(this.height), 0x87];
    this.blocks.push(Uint8Array.from([...control, ...image]), table, Uint8Array.of(8));
    const codes = compressIndices(indices);
    for (let first = 0; first < codes.length; first += 255) {
      const part = codes.slice(first, first + 255);
      this.blocks.push(Uint8Array.from([part.length, ...part]));
    }
    this.blocks.push(Uint8Array.of(0));
    this.count++;
  }

  parts() {
    return [...this.blocks, Uint8Array.of(0x3b)];
  }
}
