// Whether WebGPU runs a simulation: if it computes what JavaScript does, and faster than what runs.

// So many of a thousand values may be others: a cell at the threshold lives in one, not in the other.
const FEW = 1;

// How many of a thousand values differ from those of JavaScript after some steps.
async function differingValues(automaton, model) {
  const noise = Float32Array.from({length: model.count * model.cells},
    (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 8) / (1 << 24));
  const plain = new JavaScriptAutomaton(model);
  for (const each of [automaton, plain]) {
    each.load(noise);
    for (let step = 0; step < 3; step++) each.step(fireKeys(7n, step), step * model.timePerStep);
  }
  await automaton.settle();
  const [found, expected] = [automaton, plain].map(each => each.read(0, model.count));
  const differs = (value, i) => !(Math.abs(value - expected[i]) <= 1e-3 * Math.max(1, Math.abs(expected[i])));
  return found.filter(differs).length * 1000 / found.length;
}

// Milliseconds of a step when every cell is alive.
async function timeDevice(automaton, steps = 20) {
  const {model, device} = automaton;
  automaton.load(new Float32Array(model.count * model.cells).fill(0.5));
  automaton.step(fireKeys(0n, 0), 0);
  await device.queue.onSubmittedWorkDone();
  const start = performance.now();
  for (let step = 1; step <= steps; step++) automaton.step(fireKeys(0n, step), 0);
  await device.queue.onSubmittedWorkDone();
  return (performance.now() - start) / steps;
}

// Goes over to WebGPU if it serves; returns why not, or how much faster it is.
async function offerWebGPU(simulation, isWanted) {
  if (simulation.model.stages.length > 1) return "it does not run several scales";
  const [model] = simulation.model.stages;
  let automaton;
  try {
    automaton = await WebGPUAutomaton.create(model);
    const differing = await differingValues(automaton, model);
    if (differing > FEW) throw new Error(`it computes other values (${differing.toFixed(1)} of 1000)`);
    const time = await timeDevice(automaton);
    const current = simulation.automaton.time ?? timeStep(new JavaScriptAutomaton(model), model, 1);
    const times = `${time.toFixed(2)} ms a step, ${simulation.backend} ${current.toFixed(2)} ms`;
    if (time >= current && !isWanted) throw new Error(`it is slower: ${times}`);
    simulation.adopt(automaton);
    return times;
  } catch (error) {
    automaton?.release();
    return error.message;
  }
}
