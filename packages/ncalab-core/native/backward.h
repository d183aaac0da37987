// The adjoint of the steps of a rollout.
#pragma once

#include "forward.h"

namespace {

// Where gradients are added up; null where none is wanted.
struct Gradients {
    REAL* into;      // seen x hidden, in whole tiles of rows
    REAL* out_back;  // mutable channels x hidden, in whole tiles of rows
    REAL* bias;      // laid out as the bias is
    REAL* factors;   // laid out as the factors of the taps are
    REAL* program;   // laid out as the program's constants are, then its matrices
};

// Put back the former states of the listed cells.
void put_back(const Rollout& r, const int32_t* cells, int64_t count, const REAL* rows, REAL* grid) {
    Timer timer(r, STATES);
    const int64_t changed = mutable_of(r);
    for (int64_t n = 0; n < count; n++)
        copy_exactly(grid + cells[n] * r.channels + r.first_mutable, rows + n * changed, changed);
}

// Collect the gradient of the updates of the listed cells.
void collect_updates(const Rollout& r, const int32_t* cells, int64_t count, const REAL* gradient,
                     REAL* d_updates, int64_t row) {
    Timer timer(r, STATES);
    for (int64_t n = 0; n < count; n++)
        copy_exactly(d_updates + n * row, gradient + cells[n] * r.channels + r.first_mutable,
                     mutable_of(r));
}

// Go through a step's tape: put back the former states, and list the cells whose gradient matters.
int64_t undo_step(const Rollout& r, int64_t step, REAL* grid, Scratch& scratch, const Tape& tape,
                  int64_t tape_step) {
    int64_t* bounds = scratch.bounds;
    const int64_t changed = mutable_of(r);
    const REAL* rows = tape.rows + tape.starts[2 * tape_step] * changed;
    int64_t listed = 0;
    if (!r.alive_mask) {
        for (int64_t s = 0; s < r.samples; s++) {
            bounds[s] = listed;
            listed += list_firing(r, step, s, whole_box(r), nullptr, scratch.marks,
                                  scratch.fired + listed);
        }
        bounds[r.samples] = listed;
        put_back(r, scratch.fired, listed, rows, grid);
        return listed;
    }
    Timer timer(r, STATES);
    // The rows of cells that fired come first, then those of cells that died.
    const uint8_t kinds[2] = {FIRED, DIED};
    for (const uint8_t which : kinds) {
        const uint8_t* fates = tape.fates + tape.starts[2 * tape_step + 1];
        for (int64_t s = 0; s < r.samples; s++) {
            const Box box = ((const Box*)tape.boxes)[tape_step * r.samples + s];
            if (which == FIRED) bounds[s] = listed;
            if (box.empty()) continue;
            for (int64_t i = box.low[0]; i < box.high[0]; i++)
                for (int64_t j = box.low[1]; j < box.high[1]; j++) {
                    const int64_t at = s * framed_of(r) + line_at(r, i, j);
                    for (int64_t k = box.low[2]; k < box.high[2]; k++) {
                        const uint8_t fate = *fates++;
                        if (!(fate & which)) continue;
                        if (which == FIRED && fate & ALIVE) scratch.fired[listed++] = at + k;
                        copy_exactly(grid + (at + k) * r.channels + r.first_mutable, rows, changed);
                        rows += changed;
                    }
                }
        }
    }
    bounds[r.samples] = listed;
    return listed;
}

// Clear the gradient of the mutable channels of a sample's cells that did not live.
void clear_gradient(const Rollout& r, int64_t sample, const Box& box, const uint8_t* fates,
                    Box* reached, REAL* gradient) {
    Timer timer(r, ALIVE_MASK);
    const int64_t changed = mutable_of(r);
    for (int64_t i = reached->low[0]; i < reached->high[0]; i++)
        for (int64_t j = reached->low[1]; j < reached->high[1]; j++)
            for (int64_t k = reached->low[2]; k < reached->high[2]; k++) {
                const int64_t at[3] = {i, j, k};
                bool inside = true;
                for (int axis = 0; axis < 3; axis++)
                    inside &= box.low[axis] <= at[axis] && at[axis] < box.high[axis];
                if (inside) {
                    const int64_t n =
                        ((i - box.low[0]) * (box.high[1] - box.low[1]) + j - box.low[1]) *
                            (box.high[2] - box.low[2]) +
                        k - box.low[2];
                    if (fates[n] & ALIVE) continue;
                }
                REAL* own = gradient + (sample * framed_of(r) + line_at(r, i, j) + k) * r.channels;
                memset(own + r.first_mutable, 0, changed * sizeof(REAL));
            }
    // A step hands gradients on to what its cells perceive, around the border of the grid, too.
    *reached = grown(r, box, 0);
    for (int axis = 0; axis < 3; axis++) {
        const int64_t reach = r.frame[axis];
        if (box.empty()) break;
        reached->low[axis] = box.low[axis] - reach;
        reached->high[axis] = box.high[axis] + reach;
        if (reached->low[axis] < 0 || reached->high[axis] > r.cells[axis]) {
            reached->low[axis] = 0;
            reached->high[axis] = r.cells[axis];
        }
    }
}

// Take the gradient of a block of cells back to what they perceived and to the parameters.
void block_back(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t rows,
                const REAL* bias, const REAL* d_updates, Scratch& scratch, const Gradients& wanted,
                REAL* d_bias, REAL* gradient) {
    const int64_t neurons = r.hidden / LANES, changed = mutable_of(r), row = update_row(r);
    think(r, grid, cells, rows, bias, scratch);
    {
        Timer timer(r, ACTIVATION);
        activate(r, scratch.hidden, rows * r.hidden, scratch.active);
    }
    {
        Timer timer(r, PRODUCTS);
        if (wanted.out_back)
            multiply(changed, neurons, rows, d_updates, 1, row, scratch.active, r.hidden,
                     wanted.out_back, r.hidden, FROM_RESULT);
        multiply(rows, neurons, changed, d_updates, row, 1, r.out_back, r.hidden, scratch.d_hidden,
                 r.hidden, FROM_ZERO);
    }
    {
        Timer timer(r, ACTIVATION);
        for (int64_t n = 0, alike; n < rows; n += alike) {
            alike = alike_of(r, cells + n, rows - n);
            activate_back(r, scratch.hidden + n * r.hidden, scratch.d_hidden + n * r.hidden, alike,
                          d_bias + bias_offset(r, cells[n]));
        }
    }
    {
        Timer timer(r, PRODUCTS);
        if (wanted.into)
            multiply(seen_of(r), neurons, rows, scratch.seen, 1, seen_row(r), scratch.d_hidden,
                     r.hidden, wanted.into, r.hidden, FROM_RESULT);
        const int64_t seen = round_up(seen_of(r), LANES);
        multiply(rows, seen / LANES, r.hidden, scratch.d_hidden, r.hidden, 1, r.into_back, seen,
                 scratch.d_seen, seen_row(r), FROM_ZERO);
    }
    Timer timer(r, FILTERS_BACK);
    if (wanted.factors)
        factors_back(r, grid, scratch.d_seen, seen_row(r), cells, rows, wanted.factors);
    perceive_back(r, scratch.d_seen, seen_row(r), cells, rows, gradient);
}

// The same by the program of another rule.
void program_block_back(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t rows,
                        const REAL* context, const REAL* d_updates, Scratch& scratch,
                        const Gradients& wanted, REAL* d_context, REAL* gradient) {
    run_program(r, grid, cells, rows, context, scratch.slots);
    program_back(r, cells, rows, d_updates, update_row(r), scratch.slots, scratch.slopes, d_context,
                 wanted.program);
    Timer timer(r, FILTERS_BACK);
    if (wanted.factors)
        factors_back(r, grid, scratch.slopes, seen_row(r), cells, rows, wanted.factors);
    perceive_back(r, scratch.slopes, seen_row(r), cells, rows, gradient);
}

// The same for the cells [first, last) of the list.
void blocks_back(const Rollout& r, const REAL* grid, int64_t first, int64_t last, const REAL* bias,
                 Scratch& scratch, const Gradients& wanted, REAL* d_bias, REAL* gradient) {
    for (int64_t n = first; r.program && n < last; n += PROGRAM_BLOCK)
        program_block_back(r, grid, scratch.fired + n, least(PROGRAM_BLOCK, last - n), bias,
                           scratch.updates + n * update_row(r), scratch, wanted, d_bias, gradient);
    if (r.program) return;
    for (int64_t n = first; n < last; n += BLOCK)
        block_back(r, grid, scratch.fired + n, least(BLOCK, last - n), bias,
                   scratch.updates + n * update_row(r), scratch, wanted, d_bias, gradient);
}

// Put the states back to those before a step, and list the cells whose gradient matters.
int64_t go_back(const Rollout& r, int64_t step, REAL* grid, Scratch& scratch, const Tape& tape,
                int64_t tape_step) {
    const int64_t listed = undo_step(r, step, grid, scratch, tape, tape_step);
    refresh_frame(r, grid);
    return listed;
}

// Collect the gradient of the listed cells' updates, after the adjoint of the alive mask.
void begin_back(const Rollout& r, REAL* gradient, Box* reached, Scratch& scratch, const Tape& tape,
                int64_t tape_step, REAL* d_updates, int64_t row) {
    if (r.alive_mask) {
        const uint8_t* fates = tape.fates + tape.starts[2 * tape_step + 1];
        for (int64_t s = 0; s < r.samples; s++) {
            const Box& box = ((const Box*)tape.boxes)[tape_step * r.samples + s];
            clear_gradient(r, s, box, fates, reached + s, gradient);
            fates += box.size();
        }
    }
    // All at once: cells add to the gradients of their neighbours.
    collect_updates(r, scratch.fired, scratch.bounds[r.samples], gradient, d_updates, row);
}

void end_back(const Rollout& r, REAL* gradient) {
    Timer timer(r, FRAME);
    fold_frame(r, gradient);
}

// Undo one step in place, and take the gradient back over it in place.
void step_backward(const Rollout& r, int64_t step, REAL* grid, REAL* gradient, Box* reached,
                   Scratch& scratch, const Tape& tape, int64_t tape_step, const Gradients& wanted) {
    const int64_t listed = go_back(r, step, grid, scratch, tape, tape_step);
    begin_back(r, gradient, reached, scratch, tape, tape_step, scratch.updates, update_row(r));
    blocks_back(r, grid, 0, listed, bias_at(r, step), scratch, wanted,
                wanted.bias + step * r.bias_of_step, gradient);
    end_back(r, gradient);
}

// Take a gradient back over the steps of a tape; the grid holds the states after them.
int64_t run_backward(const Rollout& r, int64_t first_step, int64_t steps, REAL* grid,
                     REAL* gradient, Box* reached, const Tape& tape, const Gradients& wanted) {
    Scratch scratch(r, r.samples * cells_of(r), true);
    if (!scratch.memory) return -1;
    for (int64_t n = steps - 1; n >= 0; n--)
        step_backward(r, first_step + n, grid, gradient, reached, scratch, tape, n, wanted);
    return steps;
}

}  // namespace
