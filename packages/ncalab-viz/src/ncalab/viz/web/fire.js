// Which cells fire at a step: a pure function of (seed, step, cell), the same as in training.

const WORD = (1n << 64n) - 1n;

function splitmix64(x) {
  x = (x + 0x9e3779b97f4a7c15n) & WORD;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & WORD;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & WORD;
  return x ^ (x >> 31n);
}

// The two 32-bit words that key the fire mask of a step; the sample's index is 0.
function fireKeys(seed, step) {
  const word = splitmix64(splitmix64(splitmix64(seed) ^ BigInt(step)));
  return [Number(word & 0xffffffffn) | 0, Number(word >> 32n) | 0];
}

function fires(cell, keys, threshold) {
  let x = (cell + keys[0]) | 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= keys[1];
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 8 < threshold;
}

const FIRES_GLSL = `
uniform uvec2 keys;
bool fires(uint cell) {
  uint x = cell + keys.x;
  x ^= x >> 16u;
  x *= 0x7feb352du;
  x ^= keys.y;
  x ^= x >> 15u;
  x *= 0x846ca68bu;
  x ^= x >> 16u;
  return (x >> 8u) < FIRE_THRESHOLD;
}`;
