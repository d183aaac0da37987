// One sample, whose grid several threads work on in bands.
//
// Without an alive mask: then what a cell does depends on its neighbours before the step only.
#pragma once

#include "backward.h"
#include "threads.h"

namespace {

struct Band {
    Scratch scratch;
    Box box;
    int64_t middle;  // where the cells of the second half stand
    int64_t listed = 0, first_half = 0;

    Band(const Rollout& r, int axis, int64_t low, int64_t high, bool backward)
        : scratch(r, cells_of(r) / r.cells[axis] * (high - low), backward), box(whole_box(r)) {
        box.low[axis] = low;
        box.high[axis] = high;
        int64_t stride = 1;
        for (int later = axis + 1; later < 3; later++) stride *= framed_axis(r, later);
        middle = ((low + high) / 2 + r.frame[axis]) * stride;
    }
    Band(const Band&) = delete;

    // List the cells that fire at a step.
    void list(const Rollout& r, int64_t step) {
        listed = list_firing(r, step, 0, box, nullptr, scratch.marks, scratch.fired);
    }
};

// The bands of one grid, cut along the first axis that has several cells.
struct Bands {
    Band** bands;
    int64_t count;

    Bands(const Rollout& r, int64_t wanted, bool backward) : count(wanted) {
        int axis = 0;
        while (axis < 2 && r.cells[axis] == 1) axis++;
        bands = (Band**)calloc(count, sizeof(Band*));
        for (int64_t n = 0; bands && n < count; n++) {
            void* memory = malloc(sizeof(Band));
            if (!memory) continue;
            const int64_t low = r.cells[axis] * n / count, high = r.cells[axis] * (n + 1) / count;
            bands[n] = new (memory) Band(r, axis, low, high, backward);
        }
    }
    ~Bands() {
        for (int64_t n = 0; bands && n < count; n++) {
            if (!bands[n]) continue;
            bands[n]->~Band();
            free(bands[n]);
        }
        free(bands);
    }
    Bands(const Bands&) = delete;

    bool complete() const {
        for (int64_t n = 0; bands && n < count; n++)
            if (!bands[n] || !bands[n]->scratch.memory) return false;
        return bands;
    }
};

// Take steps in place, beside other threads. Tapes, one for each band, must have room for all.
void run_bands_forward(const Rollout& r, Bands& bands, Team& team, int64_t first_step,
                       int64_t steps, REAL* grid, Tape* tapes) {
    share_phases(team, 3 * steps, [&](int64_t phase, int64_t n) {
        Band& band = *bands.bands[n];
        const int64_t step = first_step + phase / 3;
        if (phase % 3 == 0) {
            band.list(r, step);
            update(r, grid, band.scratch.fired, band.listed, bias_at(r, step), band.scratch,
                   band.scratch.updates);
        } else if (phase % 3 == 1) {
            REAL* rows = nullptr;
            if (tapes) {
                tapes[n].starts[2 * (phase / 3)] = tapes[n].rows_used;
                rows = tapes[n].rows + tapes[n].rows_used * mutable_of(r);
                tapes[n].rows_used += band.listed;
            }
            commit(r, grid, band.scratch.fired, band.listed, band.scratch.updates, update_row(r),
                   rows);
        } else if (n == 0) {
            fill_frame(r, grid);
        }
    });
}

// Take a gradient back over the steps of the tapes, beside other threads.
//
// Cells add to the gradients of their neighbours. The first halves of all bands take their turn
// before the second ones, so that no two threads add to the same cell, and sums do not depend on
// which thread is the faster.
void run_bands_backward(const Rollout& r, Bands& bands, Team& team, int64_t first_step,
                        int64_t steps, REAL* grid, REAL* gradient, const Tape* tapes,
                        const Gradients* wanted) {
    enum { PHASES = 5 };
    share_phases(team, PHASES * steps, [&](int64_t phase, int64_t n) {
        Band& band = *bands.bands[n];
        const int64_t tape_step = steps - 1 - phase / PHASES, step = first_step + tape_step;
        const auto blocks = [&](int64_t first, int64_t last) {
            blocks_back(r, grid, first, last, bias_at(r, step), band.scratch, wanted[n],
                        wanted[n].bias + step * r.bias_of_step, gradient);
        };
        switch (phase % PHASES) {
            case 0:
                band.list(r, step);
                put_back(r, band.scratch.fired, band.listed,
                         tapes[n].rows + tapes[n].starts[2 * tape_step] * mutable_of(r), grid);
                collect_updates(r, band.scratch.fired, band.listed, gradient, band.scratch.updates,
                                update_row(r));
                band.first_half = 0;
                while (band.first_half < band.listed &&
                       band.scratch.fired[band.first_half] < band.middle)
                    band.first_half++;
                break;
            case 1:
                if (n == 0) fill_frame(r, grid);
                break;
            case 2:
                blocks(0, band.first_half);
                break;
            case 3:
                blocks(band.first_half, band.listed);
                break;
            case 4:
                if (n == 0) fold_frame(r, gradient);
        }
    });
}

}  // namespace
