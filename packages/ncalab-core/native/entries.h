// The functions that Python calls, for one type of number. Negative results mean that there was no
// memory.
#pragma once

#include "bands.h"
#include "rows.h"

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
enum { INTERFACE = 1 };
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

// Steps whose updates the caller computes. First, and last: the memory that they need.
ENTRY(open_rows)(const Rollout* r) {
    void* memory = malloc(sizeof(Scratch));
    if (!memory) return 0;
    Scratch* scratch = new (memory) Scratch(*r, r->samples * cells_of(*r), true, false);
    if (scratch->memory) return (int64_t)(intptr_t)scratch;
    free(memory);
    return 0;
}

ENTRY(close_rows)(Scratch* scratch) {
    scratch->~Scratch();
    free(scratch);
    return 0;
}

// List the cells that a step updates; writes where each sample's begin. Returns how many they are.
ENTRY(list_rows)(const Rollout* r, Scratch* scratch, int64_t step, const REAL* grid,
                 const int64_t* living, int64_t* bounds) {
    const int64_t listed = list_step(*r, step, grid, (const Box*)living, *scratch);
    memcpy(bounds, scratch->bounds, (r->samples + 1) * sizeof(int64_t));
    return listed;
}

// Whether a tape has room for the listed step.
ENTRY(room_for_rows)(const Rollout* r, const Scratch* scratch, const Tape* tape) {
    return has_room(*r, *scratch, *tape);
}

// Copy perceptions of listed cells to rows of `row` numbers.
ENTRY(see_rows)(const Rollout* r, Scratch* scratch, const REAL* grid, int64_t first, int64_t count,
                REAL* rows, int64_t row) {
    see_rows(*r, grid, *scratch, first, count, rows, row, scratch->seen);
    return 0;
}

// Add updates, rows of `row` numbers, and finish the step.
ENTRY(finish_rows)(const Rollout* r, Scratch* scratch, REAL* grid, int64_t* living,
                   const REAL* updates, int64_t row, Tape* tape, int64_t tape_step) {
    finish_step(*r, grid, (Box*)living, updates, row, *scratch, tape, tape_step);
    return 0;
}

// Undo a step; list the cells whose gradient matters, and collect that of their updates.
ENTRY(undo_rows)(const Rollout* r, Scratch* scratch, int64_t step, REAL* grid, const Tape* tape,
                 int64_t tape_step, int64_t* bounds) {
    const int64_t listed = go_back(*r, step, grid, *scratch, *tape, tape_step);
    memcpy(bounds, scratch->bounds, (r->samples + 1) * sizeof(int64_t));
    return listed;
}

ENTRY(begin_rows_back)(const Rollout* r, Scratch* scratch, REAL* gradient, int64_t* reached,
                       const Tape* tape, int64_t tape_step, REAL* d_updates, int64_t row) {
    begin_back(*r, gradient, (Box*)reached, *scratch, *tape, tape_step, d_updates, row);
    return 0;
}

// Take the gradient of perceptions back to the states.
ENTRY(see_rows_back)(const Rollout* r, Scratch* scratch, const REAL* grid, int64_t first,
                     int64_t count, const REAL* d_rows, int64_t row, REAL* d_factors,
                     REAL* gradient) {
    see_rows_back(*r, grid, *scratch, first, count, d_rows, row, scratch->d_seen, d_factors,
                  gradient);
    return 0;
}

ENTRY(end_rows_back)(const Rollout* r, REAL* gradient) {
    end_back(*r, gradient);
    return 0;
}
