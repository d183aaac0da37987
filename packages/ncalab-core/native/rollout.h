// A rollout of a group of samples: what it is given, and where cells stand.
//
// A grid has three axes, of which those that a model lacks come first and have one cell. It is
// stored with its frame: samples x (axis 0 + 2 frame 0) x ... x channels. A cell's channels are one
// row of memory; a line is all cells along the last axis.
#pragma once

#include "vectors.h"

namespace {

struct Program;

// Mirrored by ncalab.core.rollout.cpu.compiled.structures: every field takes eight bytes.
struct Rollout {
    int64_t samples;
    int64_t cells[3];  // on each axis
    int64_t frame[3];  // cells around the grid, on each axis
    int64_t channels;
    int64_t first_mutable;  // channels below are never changed
    int64_t alive_mask;
    int64_t threshold;           // a cell fires if 24 bits of its hash are below
    const uint32_t* keys;        // two for each step and sample
    int64_t keys_of_step;        // words between the keys of two steps
    const int32_t* first_cells;  // number of the first cell of every line
    int64_t framed;              // cells of the frame that repeat others, in one sample
    const int32_t* frame_cells;
    const int32_t* frame_sources;
    int64_t padded;          // cells of the whole frame, in one sample
    const int32_t* padding;  // which they are
    int64_t views;           // besides the cell's own state
    const int64_t* taps;     // views + 1 numbers: taps of view v are taps[v] ... taps[v + 1] - 1
    const int64_t* offsets;  // of every tap, in cells
    const REAL* factors;     // of every tap, one for each channel, in whole vectors
    int64_t activation;
    REAL slope;
    int64_t hidden;          // neurons, in whole vectors
    const REAL* into;        // perception to hidden: seen x hidden
    const REAL* into_back;   // its transpose: hidden x seen, in whole vectors
    const REAL* out;         // hidden to update: hidden x mutable channels, in whole vectors
    const REAL* out_back;    // its transpose: mutable channels x hidden
    int64_t context;         // numbers that all cells of a sample perceive alike, for a program
    const Program* program;  // the rule; null for a perceptron of two layers
    const REAL* bias;        // of the hidden neurons; for a program, the context
    int64_t bias_of_step;    // numbers between the biases of two steps; 0 if they share one
    int64_t bias_of_sample;  // numbers between the biases of two samples
    int64_t* spent;          // nanoseconds of each kind of work; null if nobody asks
    REAL alive_threshold;    // opacity above which a cell is visible, for the alive mask
};

INLINE int64_t lines_of(const Rollout& r) { return r.cells[0] * r.cells[1]; }
INLINE int64_t cells_of(const Rollout& r) { return lines_of(r) * r.cells[2]; }
INLINE int64_t framed_axis(const Rollout& r, int axis) { return r.cells[axis] + 2 * r.frame[axis]; }
INLINE int64_t framed_of(const Rollout& r) {
    return framed_axis(r, 0) * framed_axis(r, 1) * framed_axis(r, 2);
}
INLINE int64_t mutable_of(const Rollout& r) { return r.channels - r.first_mutable; }
INLINE int64_t seen_of(const Rollout& r) { return r.channels * (1 + r.views); }
INLINE int64_t chunks_of(const Rollout& r) { return (r.channels + LANES - 1) / LANES; }

// Where the first cell of a line stands in its sample.
INLINE int64_t line_at(const Rollout& r, int64_t i, int64_t j) {
    return ((i + r.frame[0]) * framed_axis(r, 1) + j + r.frame[1]) * framed_axis(r, 2) + r.frame[2];
}

// How far the bias of the sample that a cell belongs to, or its context, is from that of the first.
INLINE int64_t bias_offset(const Rollout& r, int32_t cell) {
    return r.bias_of_sample ? cell / framed_of(r) * r.bias_of_sample : 0;
}

// How many of the listed cells, from the first one on, belong to the same sample, if samples differ.
INLINE int64_t alike_of(const Rollout& r, const int32_t* cells, int64_t count) {
    if (!r.bias_of_sample) return count;
    const int64_t end = (cells[0] / framed_of(r) + 1) * framed_of(r);
    int64_t alike = count;
    // Most blocks lie within one sample; cells are listed sample by sample.
    while (cells[alike - 1] >= end) alike--;
    return alike;
}

// Cells [low, high) on every axis.
struct Box {
    int64_t low[3], high[3];

    bool empty() const { return high[0] <= low[0]; }
    int64_t size() const {
        return empty() ? 0 : (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2]);
    }
};

INLINE Box whole_box(const Rollout& r) {
    return Box{{0, 0, 0}, {r.cells[0], r.cells[1], r.cells[2]}};
}

INLINE Box grown(const Rollout& r, Box box, int64_t by) {
    if (box.empty()) return box;
    for (int axis = 0; axis < 3; axis++) {
        box.low[axis] = most(box.low[axis] - by, 0);
        box.high[axis] = least(box.high[axis] + by, r.cells[axis]);
    }
    return box;
}

// Grows around the cells that it is shown.
struct Bounds {
    Box box{{INT64_MAX, INT64_MAX, INT64_MAX}, {0, 0, 0}};

    void add(int64_t i, int64_t j, int64_t first, int64_t last) {
        const int64_t low[3] = {i, j, first}, high[3] = {i + 1, j + 1, last + 1};
        for (int axis = 0; axis < 3; axis++) {
            box.low[axis] = least(box.low[axis], low[axis]);
            box.high[axis] = most(box.high[axis], high[axis]);
        }
    }
    Box found() const { return box.high[0] ? box : Box{{0, 0, 0}, {0, 0, 0}}; }
};

// Rows are copied one vector at a time: what follows a row is written over by the next one, and
// every buffer ends with room for a vector.
INLINE void copy_row(REAL* to, const REAL* from, int64_t count) {
    for (int64_t c = 0; c < count; c += LANES) store(to + c, load(from + c));
}

// The same where what follows must stay.
INLINE void copy_exactly(REAL* to, const REAL* from, int64_t count) {
    int64_t c = 0;
    for (; c + LANES <= count; c += LANES) store(to + c, load(from + c));
    for (; c < count; c++) to[c] = from[c];
}

INLINE void add_exactly(REAL* to, const REAL* from, int64_t count) {
    int64_t c = 0;
    for (; c + LANES <= count; c += LANES) store(to + c, load(to + c) + load(from + c));
    for (; c < count; c++) to[c] += from[c];
}

// Fill the frame of every sample from the cells that it repeats.
void fill_frame(const Rollout& r, REAL* grid) {
    for (int64_t s = 0; s < r.samples; s++) {
        REAL* sample = grid + s * framed_of(r) * r.channels;
        for (int64_t n = 0; n < r.framed; n++)
            copy_exactly(sample + r.frame_cells[n] * r.channels,
                         sample + r.frame_sources[n] * r.channels, r.channels);
    }
}

// Add the frame's gradient to the cells that it repeats, and clear the frame.
void fold_frame(const Rollout& r, REAL* gradient) {
    for (int64_t s = 0; s < r.samples; s++) {
        REAL* sample = gradient + s * framed_of(r) * r.channels;
        for (int64_t n = 0; n < r.framed; n++)
            add_exactly(sample + r.frame_sources[n] * r.channels,
                        sample + r.frame_cells[n] * r.channels, r.channels);
        for (int64_t n = 0; n < r.padded; n++)
            memset(sample + r.padding[n] * r.channels, 0, r.channels * sizeof(REAL));
    }
}

// Copy states between samples x channels x cells and the framed grid.
void enter_grid(const Rollout& r, const REAL* states, REAL* grid) {
    const int64_t cells = cells_of(r);
    for (int64_t s = 0; s < r.samples; s++)
        for (int64_t i = 0; i < r.cells[0]; i++)
            for (int64_t j = 0; j < r.cells[1]; j++) {
                const REAL* from =
                    states + s * r.channels * cells + (i * r.cells[1] + j) * r.cells[2];
                REAL* to = grid + (s * framed_of(r) + line_at(r, i, j)) * r.channels;
                for (int64_t k = 0; k < r.cells[2]; k++)
                    for (int64_t c = 0; c < r.channels; c++)
                        to[k * r.channels + c] = from[c * cells + k];
            }
}

void leave_grid(const Rollout& r, const REAL* grid, REAL* states) {
    const int64_t cells = cells_of(r);
    for (int64_t s = 0; s < r.samples; s++)
        for (int64_t i = 0; i < r.cells[0]; i++)
            for (int64_t j = 0; j < r.cells[1]; j++) {
                REAL* to = states + s * r.channels * cells + (i * r.cells[1] + j) * r.cells[2];
                const REAL* from = grid + (s * framed_of(r) + line_at(r, i, j)) * r.channels;
                for (int64_t c = 0; c < r.channels; c++)
                    for (int64_t k = 0; k < r.cells[2]; k++)
                        to[c * cells + k] = from[k * r.channels + c];
            }
}

}  // namespace
