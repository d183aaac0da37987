// What views make of the values of their filters. What a cell perceives lies in blocks of one value
// for each channel; on a GPU, in vectors of four of them.

const LEAST = 1e-8; // under the root, as ncalab.core.perception.isotropic has it

function combineBlocks(perceived, {kind, along, across, determinants, into, angle}, count) {
  const [a, b] = [along * count, across * count];
  if (kind === "steerable") {
    const [cosine, sine] = [Math.cos(perceived[angle]), Math.sin(perceived[angle])];
    for (let c = 0; c < count; c++) {
      const [x, y] = [perceived[a + c], perceived[b + c]];
      perceived[a + c] = cosine * x + sine * y;
      perceived[b + c] = cosine * y - sine * x;
    }
    return;
  }
  for (let i = 0, place = into * count; i < determinants; i++) {
    for (let j = i + 1; j < determinants; j++, place++) {
      perceived[place] = perceived[a + i] * perceived[b + j] - perceived[b + i] * perceived[a + j];
    }
  }
  for (let c = 0; c < count; c++) {
    const [x, y] = [perceived[a + c], perceived[b + c]];
    perceived[a + c] = Math.sqrt(x * x + y * y + LEAST);
  }
}

// The same as statements on vectors "seen", in a language of shaders that declares a number or a
// vector by the given words.
function combineInShader({combinations, count}, layers, number, vector) {
  const at = (block, c) => `seen[${block * layers + (c >> 2)}].${"xyzw"[c & 3]}`;
  const lines = [];
  combinations.forEach(({kind, along, across, determinants, into, angle}, place) => {
    if (kind === "steerable") {
      lines.push(`${number} cosine${place} = cos(${at(0, angle)});`,
        `${number} sine${place} = sin(${at(0, angle)});`);
    }
    for (let i = 0, next = into * count; i < determinants; i++) {
      for (let j = i + 1; j < determinants; j++, next++) {
        lines.push(`${at(Math.floor(next / count), next % count)} = `
          + `${at(along, i)} * ${at(across, j)} - ${at(across, i)} * ${at(along, j)};`);
      }
    }
    for (let layer = 0; layer < layers; layer++) {
      const [x, y] = [along, across].map(block => `seen[${block * layers + layer}]`);
      if (kind === "isotropic") {
        lines.push(`${x} = sqrt(${x} * ${x} + ${y} * ${y} + ${LEAST.toFixed(8)});`);
        continue;
      }
      const [cosine, sine, ahead] = ["cosine", "sine", `ahead${layer}_`].map(name => name + place);
      lines.push(`${vector} ${ahead} = ${cosine} * ${x} + ${sine} * ${y};`,
        `${y} = ${cosine} * ${y} - ${sine} * ${x};`, `${x} = ${ahead};`);
    }
  });
  return lines.join("\n    ");
}
