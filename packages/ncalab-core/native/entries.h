// The functions that Python calls, for one type of number. Negative results mean that there was no
// memory.
#pragma once

#include "bands.h"

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif
#define NAMED_(name, type) ncalab_##name##_##type
#define NAMED(name, type) NAMED_(name, type)
#define ENTRY(name) extern "C" EXPORTED int64_t NAMED(name, REAL)

// A number that changes with what the functions take, so that a library of another version is not
// called: the size of a structure, and the number of changes that left it the same.
enum { INTERFACE = 0 };
ENTRY(interface)() { return 1000 * INTERFACE + (int64_t)sizeof(Rollout); }

// Numbers of a vector.
ENTRY(lanes)() { return LANES; }

// Copy states (samples x channels x cells) into a framed grid, and back.
ENTRY(enter)(const Rollout* r, const REAL* states, REAL* grid) {
    enter_grid(*r, states, grid);
    fill_frame(*r, grid);
    return 0;
}

ENTRY(leave)(const Rollout* r, const REAL* grid, REAL* states) {
    leave_grid(*r, grid, states);
    return 0;
}

ENTRY(forward)(const Rollout* r, int64_t first_step, int64_t steps, REAL* grid, int64_t* living,
               Tape* tape) {
    return run_forward(*r, first_step, steps, grid, (Box*)living, tape);
}

ENTRY(backward)(const Rollout* r, int64_t first_step, int64_t steps, REAL* grid, REAL* gradient,
                int64_t* reached, const Tape* tape, const Gradients* wanted) {
    return run_backward(*r, first_step, steps, grid, gradient, (Box*)reached, *tape, *wanted);
}

// Make, and free, what threads need to work on one grid in bands.
ENTRY(open_bands)(const Rollout* r, int64_t count, int64_t backward) {
    void* memory = malloc(sizeof(Bands));
    if (!memory) return 0;
    Bands* bands = new (memory) Bands(*r, count, backward);
    if (bands->complete()) return (int64_t)(intptr_t)bands;
    bands->~Bands();
    free(bands);
    return 0;
}

ENTRY(close_bands)(Bands* bands) {
    bands->~Bands();
    free(bands);
    return 0;
}

ENTRY(forward_in_bands)(const Rollout* r, Bands* bands, Team* team, int64_t first_step,
                        int64_t steps, REAL* grid, Tape* tapes) {
    run_bands_forward(*r, *bands, *team, first_step, steps, grid, tapes);
    return 0;
}

ENTRY(backward_in_bands)(const Rollout* r, Bands* bands, Team* team, int64_t first_step,
                         int64_t steps, REAL* grid, REAL* gradient, const Tape* tapes,
                         const Gradients* wanted) {
    run_bands_backward(*r, *bands, *team, first_step, steps, grid, gradient, tapes, wanted);
    return 0;
}
