// The steps of a rollout.
#pragma once

#include "activations.h"
#include "alive.h"
#include "fire.h"
#include "perceive.h"
#include "products.h"
#include "program.h"
#include "timing.h"

namespace {

// What the backward pass needs of some steps: the states that they replaced.
//
// A step leaves the mutable channels of all cells that it changed: those that fired, in the order
// of their lines, then those that died without having fired. With an alive mask, it also leaves
// the box that it worked on and what became of the box's cells.
struct Tape {
    REAL* rows;
    int64_t rows_room, rows_used;
    uint8_t* fates;
    int64_t fates_room, fates_used;
    int64_t* boxes;   // six numbers for each step and sample
    int64_t* starts;  // of each step: its first row, and its first fate
};

enum Fate : uint8_t { ALIVE = 1, FIRED = 2, DIED = 4 };

INLINE int64_t update_row(const Rollout& r) { return round_up(mutable_of(r), LANES); }

// Memory for the steps of some cells of a group, from one allocation.
//
// `blocks` is whether blocks of cells go through the products here.
struct Scratch {
    // Without a backward pass, and where derivatives follow from values, values take the place of
    // what they were made of.
    REAL *seen, *hidden, *active, *d_seen, *d_hidden, *slots, *slopes, *updates;
    int32_t* fired;   // the cells that a step updates
    int64_t* bounds;  // where those of each sample begin, and where the last ones end
    Box* boxes;       // where a step works in each sample
    int64_t boxed;    // cells in all boxes
    uint32_t* marks;
    uint8_t *visible, *around, *may_live, *matters, *line;
    void* memory;

    Scratch(const Rollout& r, int64_t cells, bool backward, bool blocks = true) {
        const int64_t rows = BLOCK + TILE_ROWS, neurons = blocks ? r.hidden : 0;
        const int64_t planes = r.alive_mask ? plane_of(r) : 0;
        const bool split = backward && !derives_from_value(r.activation);
        const int64_t slotted = blocks && r.program ? program_bytes(*r.program) : 0;
        int64_t bytes = 0;
        auto room = [&](int64_t size) {
            const int64_t at = bytes;
            bytes += round_up(size + VECTOR_BYTES, 64);
            return at;
        };
        const int64_t at[] = {
            room(rows * seen_row(r) * sizeof(REAL)),
            room(rows * neurons * sizeof(REAL)),
            room(split ? rows * neurons * sizeof(REAL) : 0),
            room(backward ? rows * seen_row(r) * sizeof(REAL) : 0),
            room(backward ? rows * neurons * sizeof(REAL) : 0),
            room(slotted),
            room(backward ? slotted : 0),
            room(blocks ? (cells + TILE_ROWS) * update_row(r) * sizeof(REAL) : 0),
            room(cells * sizeof(int32_t)),
            room((r.samples + 1) * sizeof(int64_t)),
            room(r.samples * sizeof(Box)),
            room((r.cells[2] + WORDS) * sizeof(uint32_t)),
            room(planes),
            room(planes),
            room(planes * r.samples),
            room(planes),
            room(r.cells[2] + 2),
        };
        memory = claim(bytes);
        if (!memory) return;
        char* base = (char*)memory;
        // What rows end with is read, though it does not matter: it must be numbers.
        memset(base, 0, at[7]);
        memset(base + at[12], 0, bytes - at[12]);
        seen = (REAL*)(base + at[0]);
        hidden = (REAL*)(base + at[1]);
        active = split ? (REAL*)(base + at[2]) : hidden;
        d_seen = (REAL*)(base + at[3]);
        d_hidden = (REAL*)(base + at[4]);
        slots = (REAL*)(base + at[5]);
        slopes = (REAL*)(base + at[6]);
        updates = (REAL*)(base + at[7]);
        fired = (int32_t*)(base + at[8]);
        bounds = (int64_t*)(base + at[9]);
        boxes = (Box*)(base + at[10]);
        marks = (uint32_t*)(base + at[11]);
        visible = (uint8_t*)(base + at[12]);
        around = (uint8_t*)(base + at[13]);
        may_live = (uint8_t*)(base + at[14]);
        matters = (uint8_t*)(base + at[15]);
        line = (uint8_t*)(base + at[16]);
    }
    ~Scratch() { release(memory); }
    Scratch(const Scratch&) = delete;
};

// List the cells of a box that fire, and that matter if a plane says which do.
int64_t list_firing(const Rollout& r, int64_t step, int64_t sample, Box box, const uint8_t* matters,
                    uint32_t* marks, int32_t* cells) {
    Timer timer(r, LISTING);
    const uint32_t* key = r.keys + step * r.keys_of_step + 2 * sample;
    const bool all_fire = r.threshold >= 1 << 24;
    const int64_t first = box.low[2], count = box.high[2] - first;
    int64_t listed = 0;
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++) {
            const int32_t at = sample * framed_of(r) + line_at(r, i, j) + first;
            if (!all_fire)
                mark_firing(r.first_cells[i * r.cells[1] + j] + first, count, key[0], key[1],
                            r.threshold, marks);
            if (matters) {
                const uint8_t* own = matters + plane_at(r, i, j, first);
                for (int64_t k = 0; k < count; k++) {
                    cells[listed] = at + k;
                    listed += own[k] && (all_fire || marks[k]);
                }
            } else if (all_fire) {
                for (int64_t k = 0; k < count; k++) cells[listed + k] = at + k;
                listed += count;
            } else {
                for (int64_t k = 0; k < count; k++) {
                    cells[listed] = at + k;
                    listed += marks[k];
                }
            }
        }
    return listed;
}

// Find the cells of a sample that may live after the step, and those beside them.
void find_candidates(const Rollout& r, int64_t sample, Box box, const REAL* grid,
                     Scratch& scratch) {
    Timer timer(r, ALIVE_MASK);
    uint8_t* may_live = scratch.may_live + sample * plane_of(r);
    clear_around(r, box, scratch.visible);
    mark_visible(r, grid + sample * framed_of(r) * r.channels, grown(r, box, 1), scratch.visible);
    collect_flags(r, scratch.visible, box, scratch.around, scratch.line);
    clear_around(r, box, may_live);
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++) {
            const int64_t at = plane_at(r, i, j, 0);
            for (int64_t k = box.low[2]; k < box.high[2]; k++)
                // Something visible beside it, and nothing undefined.
                may_live[at + k] = scratch.around[at + k] == VISIBLE;
        }
    // What fires beside a cell that may live decides whether it does.
    collect_flags(r, may_live, box, scratch.matters, scratch.line);
}

// List the cells of a sample that fire and may live, or stand beside one that may.
int64_t list_living(const Rollout& r, int64_t step, int64_t sample, Box box, const REAL* grid,
                    Scratch& scratch, int32_t* cells) {
    if (box.empty()) return 0;
    find_candidates(r, sample, box, grid, scratch);
    return list_firing(r, step, sample, box, scratch.matters, scratch.marks, cells);
}

// The bias of a step, for the first sample.
INLINE const REAL* bias_at(const Rollout& r, int64_t step) {
    return r.bias + step * r.bias_of_step;
}

// Compute the hidden neurons of a block of cells, each with the bias of its sample.
void think(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t count,
           const REAL* bias, Scratch& scratch) {
    {
        Timer timer(r, PERCEPTION);
        perceive(r, grid, cells, count, scratch.seen);
    }
    Timer timer(r, PRODUCTS);
    Start start = FROM_BIAS;
    if (alike_of(r, cells, count) < count) {
        start = FROM_RESULT;
        for (int64_t n = 0; n < count; n++)
            copy_row(scratch.hidden + n * r.hidden, bias + bias_offset(r, cells[n]), r.hidden);
    } else {
        bias += bias_offset(r, cells[0]);
    }
    multiply(count, r.hidden / LANES, seen_of(r), scratch.seen, seen_row(r), 1, r.into, r.hidden,
             scratch.hidden, r.hidden, start, bias, r.activation == RELU);
}

// The same by the program of another rule.
void run_blocks(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t count,
                const REAL* context, Scratch& scratch, REAL* updates) {
    const Columns& result = r.program->result;
    const int64_t row = update_row(r);
    for (int64_t n = 0; n < count; n += PROGRAM_BLOCK) {
        const int64_t rows = least(PROGRAM_BLOCK, count - n);
        run_program(r, grid, cells + n, rows, context, scratch.slots);
        const REAL* from = scratch.slots + offset_of(result);
        for (int64_t i = 0; i < rows; i++)
            copy_exactly(updates + (n + i) * row, from + i * result.row, mutable_of(r));
    }
}

// Compute the updates of the listed cells.
void update(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t count,
            const REAL* bias, Scratch& scratch, REAL* updates) {
    const int64_t row = update_row(r);
    if (r.program) return run_blocks(r, grid, cells, count, bias, scratch, updates);
    for (int64_t n = 0; n < count; n += BLOCK) {
        const int64_t rows = least(BLOCK, count - n);
        think(r, grid, cells + n, rows, bias, scratch);
        {
            Timer timer(r, ACTIVATION);
            activate(r, scratch.hidden, rows * r.hidden, scratch.hidden);
        }
        Timer timer(r, PRODUCTS);
        multiply(rows, row / LANES, r.hidden, scratch.hidden, r.hidden, 1, r.out, row,
                 updates + n * row, row, FROM_ZERO);
    }
}

// Add the updates to the listed cells; leave their former states on the tape.
void commit(const Rollout& r, REAL* grid, const int32_t* cells, int64_t count, const REAL* updates,
            int64_t row, REAL* tape) {
    Timer timer(r, STATES);
    const int64_t changed = mutable_of(r);
    for (int64_t n = 0; n < count; n++) {
        REAL* own = grid + cells[n] * r.channels + r.first_mutable;
        if (tape) copy_row(tape + n * changed, own, changed);
        add_exactly(own, updates + n * row, changed);
    }
}

// Clear the cells of a sample that do not live. Returns how many rows that leaves on the tape.
int64_t clear_dead(const Rollout& r, int64_t sample, Box* living, Box box, REAL* grid,
                   Scratch& scratch, uint8_t* fates, REAL* tape) {
    Timer timer(r, ALIVE_MASK);
    const uint8_t* may_live = scratch.may_live + sample * plane_of(r);
    REAL* first = grid + sample * framed_of(r) * r.channels;
    const int64_t changed = mutable_of(r);
    int64_t left = 0;
    Bounds bounds;
    if (box.empty()) return 0;
    clear_around(r, box, scratch.visible);
    mark_visible(r, first, grown(r, box, 1), scratch.visible);
    collect_flags(r, scratch.visible, box, scratch.around, scratch.line);
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++) {
            const int64_t at = plane_at(r, i, j, 0);
            int64_t leftmost = -1, rightmost = -1;
            for (int64_t k = box.low[2]; k < box.high[2]; k++) {
                REAL* own = first + (line_at(r, i, j) + k) * r.channels + r.first_mutable;
                uint8_t fate = fates ? *fates : 0;
                if (may_live[at + k] && scratch.around[at + k] == VISIBLE) {
                    fate |= ALIVE;
                    if (leftmost < 0) leftmost = k;
                    rightmost = k;
                } else {
                    bool empty = true;
                    for (int64_t c = 0; c < changed; c++) empty &= own[c] == 0;
                    if (!empty) {
                        if (fates && !(fate & FIRED)) {
                            fate |= DIED;
                            copy_row(tape + left++ * changed, own, changed);
                        }
                        for (int64_t c = 0; c < changed; c++) own[c] = 0;
                    }
                }
                if (fates) *fates++ = fate;
            }
            if (rightmost >= 0) bounds.add(i, j, leftmost, rightmost);
        }
    *living = bounds.found();
    return left;
}

// Note which cells of a box fired.
void mark_fired(const Rollout& r, int64_t sample, Box box, const int32_t* cells, int64_t count,
                uint8_t* fates) {
    Timer timer(r, ALIVE_MASK);
    memset(fates, 0, box.size());
    const int64_t width = box.high[2] - box.low[2];
    int64_t n = 0, first = 0;
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++, first += width) {
            const int64_t at = sample * framed_of(r) + line_at(r, i, j) + box.low[2];
            for (; n < count && cells[n] < at + width; n++) fates[first + cells[n] - at] = FIRED;
        }
}

void refresh_frame(const Rollout& r, REAL* grid) {
    Timer timer(r, FRAME);
    fill_frame(r, grid);
}

// List the cells that a step updates, and where it works. Returns how many they are.
int64_t list_step(const Rollout& r, int64_t step, const REAL* grid, const Box* living,
                  Scratch& scratch) {
    int64_t listed = 0;
    scratch.boxed = 0;
    for (int64_t s = 0; s < r.samples; s++) {
        scratch.bounds[s] = listed;
        int32_t* cells = scratch.fired + listed;
        // Life spreads by a cell a step, and what fires beside it decides whether it lives on.
        const Box box = r.alive_mask ? grown(r, living[s], 2) : whole_box(r);
        listed += r.alive_mask ? list_living(r, step, s, box, grid, scratch, cells)
                               : list_firing(r, step, s, box, nullptr, scratch.marks, cells);
        scratch.boxes[s] = box;
        scratch.boxed += box.size();
    }
    return scratch.bounds[r.samples] = listed;
}

// Whether a tape has room for what the listed step may leave on it.
bool has_room(const Rollout& r, const Scratch& scratch, const Tape& tape) {
    // With an alive mask, each cell of the boxes may change: it fires, or it dies.
    const int64_t rows = r.alive_mask ? scratch.boxed : scratch.bounds[r.samples];
    return tape.rows_used + rows <= tape.rows_room &&
           (!r.alive_mask || tape.fates_used + rows <= tape.fates_room);
}

// Clear the cells that do not live after a step.
void clear_step(const Rollout& r, REAL* grid, Box* living, Scratch& scratch, Tape* tape,
                int64_t tape_step) {
    for (int64_t s = 0; s < r.samples; s++) {
        const Box& box = scratch.boxes[s];
        uint8_t* fates = nullptr;
        REAL* dead = nullptr;
        if (tape) {
            fates = tape->fates + tape->fates_used;
            mark_fired(r, s, box, scratch.fired + scratch.bounds[s],
                       scratch.bounds[s + 1] - scratch.bounds[s], fates);
            memcpy(tape->boxes + 6 * (tape_step * r.samples + s), &box, sizeof(Box));
            tape->fates_used += box.size();
            dead = tape->rows + tape->rows_used * mutable_of(r);
        }
        const int64_t left = clear_dead(r, s, living + s, box, grid, scratch, fates, dead);
        if (tape) tape->rows_used += left;
    }
}

// Add the updates of the listed cells, rows of `row` numbers, to their states, and finish the step.
void finish_step(const Rollout& r, REAL* grid, Box* living, const REAL* updates, int64_t row,
                 Scratch& scratch, Tape* tape, int64_t tape_step) {
    const int64_t listed = scratch.bounds[r.samples];
    REAL* rows = nullptr;
    if (tape) {
        tape->starts[2 * tape_step] = tape->rows_used;
        tape->starts[2 * tape_step + 1] = tape->fates_used;
        rows = tape->rows + tape->rows_used * mutable_of(r);
        tape->rows_used += listed;
    }
    commit(r, grid, scratch.fired, listed, updates, row, rows);
    if (r.alive_mask) clear_step(r, grid, living, scratch, tape, tape_step);
    refresh_frame(r, grid);
}

// Take one step in place. Returns false, before anything has changed, where the tape is full.
bool step_forward(const Rollout& r, int64_t step, REAL* grid, Box* living, Scratch& scratch,
                  Tape* tape, int64_t tape_step) {
    const int64_t listed = list_step(r, step, grid, living, scratch), row = update_row(r);
    if (tape && !has_room(r, scratch, *tape)) return false;
    update(r, grid, scratch.fired, listed, bias_at(r, step), scratch, scratch.updates);
    finish_step(r, grid, living, scratch.updates, row, scratch, tape, tape_step);
    return true;
}

// Take steps in place. Returns how many, fewer than asked for where the tape is full.
int64_t run_forward(const Rollout& r, int64_t first_step, int64_t steps, REAL* grid, Box* living,
                    Tape* tape) {
    Scratch scratch(r, r.samples * cells_of(r), false);
    if (!scratch.memory) return -1;
    for (int64_t n = 0; n < steps; n++)
        if (!step_forward(r, first_step + n, grid, living, scratch, tape, n)) return n;
    return steps;
}

}  // namespace
