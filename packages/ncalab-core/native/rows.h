// Steps whose updates somebody else computes, from rows of perceptions: any rule that treats each
// cell by itself.
#pragma once

#include "backward.h"

namespace {

// Copy the perceptions of the cells [first, first + count) of the list to rows of `row` numbers.
void see_rows(const Rollout& r, const REAL* grid, const Scratch& scratch, int64_t first,
              int64_t count, REAL* rows, int64_t row, REAL* buffer) {
    const int64_t seen = seen_of(r);
    for (int64_t n = 0; n < count; n += BLOCK) {
        const int64_t some = least(BLOCK, count - n);
        perceive(r, grid, scratch.fired + first + n, some, buffer);
        for (int64_t i = 0; i < some; i++)
            copy_exactly(rows + (n + i) * row, buffer + i * seen_row(r), seen);
    }
}

// Take the gradient of those rows back to the states, and to the factors of the taps.
void see_rows_back(const Rollout& r, const REAL* grid, const Scratch& scratch, int64_t first,
                   int64_t count, const REAL* d_rows, int64_t row, REAL* buffer, REAL* d_factors,
                   REAL* gradient) {
    const int64_t seen = seen_of(r), wide = seen_row(r);
    for (int64_t n = 0; n < count; n += BLOCK) {
        const int64_t some = least(BLOCK, count - n);
        const int32_t* cells = scratch.fired + first + n;
        for (int64_t i = 0; i < some; i++)
            copy_exactly(buffer + i * wide, d_rows + (n + i) * row, seen);
        if (d_factors) factors_back(r, grid, buffer, wide, cells, some, d_factors);
        perceive_back(r, buffer, wide, cells, some, gradient);
    }
}

}  // namespace
