// What cells perceive, and its adjoint.
#pragma once

#include "products.h"
#include "rollout.h"

namespace {

// Rows that go through the products at once: a multiple of a tile.
enum { BLOCK = 96, ABREAST = 4 };

// Numbers between the perceptions of two cells: room for a vector that is written beyond, and for
// the whole tiles in which the gradient of the weights reads them.
INLINE int64_t seen_row(const Rollout& r) {
    const int64_t all = seen_of(r) + r.context;
    return round_up(most(all + LANES, round_up(all, TILE_ROWS)), LANES);
}

// Collect the perceptions of some cells.
void perceive(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t count, REAL* seen) {
    const int64_t row = seen_row(r), channels = r.channels, chunks = chunks_of(r);
    for (int64_t n = 0; n < count; n += ABREAST) {
        const REAL* own[ABREAST];
        // The last cell stands in for those that are missing: their rows are not read.
        for (int a = 0; a < ABREAST; a++) own[a] = grid + cells[least(n + a, count - 1)] * channels;
        REAL* to = seen + n * row;
        for (int a = 0; a < ABREAST; a++) copy_row(to + a * row, own[a], channels);
        for (int64_t view = 0; view < r.views; view++) {
            to += channels;
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                Vector sums[ABREAST] = {};
                for (int64_t tap = r.taps[view]; tap < r.taps[view + 1]; tap++) {
                    const Vector factor = load(r.factors + (tap * chunks + chunk) * LANES);
                    const int64_t at = r.offsets[tap] * channels + chunk * LANES;
                    UNROLL for (int a = 0; a < ABREAST; a++) sums[a] += factor * load(own[a] + at);
                }
                UNROLL for (int a = 0; a < ABREAST; a++)
                    store(to + a * row + chunk * LANES, sums[a]);
            }
        }
    }
}

// Add what the gradient of perceptions gives to the states of the cells and their neighbours.
void perceive_back(const Rollout& r, const REAL* d_seen, int64_t row, const int32_t* cells,
                   int64_t count, REAL* gradient) {
    const int64_t channels = r.channels, chunks = chunks_of(r);
    for (int64_t n = 0; n < count; n++) {
        const REAL* from = d_seen + n * row;
        REAL* own = gradient + cells[n] * channels;
        add_exactly(own, from, channels);
        for (int64_t view = 0; view < r.views; view++) {
            from += channels;
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                const Vector slope = load(from + chunk * LANES);
                for (int64_t tap = r.taps[view]; tap < r.taps[view + 1]; tap++) {
                    // Beyond the channels, factors are 0: the next cell stays as it is.
                    const Vector factor = load(r.factors + (tap * chunks + chunk) * LANES);
                    REAL* to = own + r.offsets[tap] * channels + chunk * LANES;
                    store(to, load(to) + factor * slope);
                }
            }
        }
    }
}

// Add the gradient of the taps' factors.
void factors_back(const Rollout& r, const REAL* grid, const REAL* d_seen, int64_t row,
                  const int32_t* cells, int64_t count, REAL* d_factors) {
    const int64_t channels = r.channels, chunks = chunks_of(r);
    for (int64_t view = 0; view < r.views; view++)
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int64_t tap = r.taps[view]; tap < r.taps[view + 1]; tap++) {
                const REAL* from = grid + r.offsets[tap] * channels + chunk * LANES;
                const REAL* slope = d_seen + (1 + view) * channels + chunk * LANES;
                Vector sums[ABREAST] = {};
                int64_t n = 0;
                for (; n + ABREAST <= count; n += ABREAST)
                    UNROLL for (int a = 0; a < ABREAST; a++) sums[a] +=
                        load(from + cells[n + a] * channels) * load(slope + (n + a) * row);
                for (; n < count; n++)
                    sums[0] += load(from + cells[n] * channels) * load(slope + n * row);
                REAL* to = d_factors + (tap * chunks + chunk) * LANES;
                store(to, load(to) + sums[0] + sums[1] + sums[2] + sums[3]);
            }
}

}  // namespace
