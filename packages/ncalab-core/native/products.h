// Products of small matrices, sized so that what they read again stays in the first caches.
#pragma once

#include "vectors.h"

namespace {

enum Start { FROM_ZERO, FROM_BIAS, FROM_RESULT };

// One tile of result = start + a b, held in registers: ROWS rows, COLUMNS vectors.
//
// a is read as a[row * a_row + k * a_k], b and result row by row.
template <int ROWS, int COLUMNS>
INLINE void multiply_tile(int64_t inner, const REAL* a, int64_t a_row, int64_t a_k, const REAL* b,
                          int64_t b_row, REAL* result, int64_t result_row, Start start,
                          const REAL* bias, bool relu) {
    Vector sums[ROWS][COLUMNS];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int j = 0; j < COLUMNS; j++) {
        sums[i][j] = start == FROM_ZERO   ? Vector{}
                     : start == FROM_BIAS ? load(bias + j * LANES)
                                          : load(result + i * result_row + j * LANES);
    }
    for (int64_t k = 0; k < inner; k++) {
        Vector columns[COLUMNS];
        UNROLL for (int j = 0; j < COLUMNS; j++) columns[j] = load(b + k * b_row + j * LANES);
        UNROLL for (int i = 0; i < ROWS; i++) {
            const Vector factor = all(a[i * a_row + k * a_k]);
            UNROLL for (int j = 0; j < COLUMNS; j++) sums[i][j] += factor * columns[j];
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int j = 0; j < COLUMNS; j++) {
        // Not a maximum with zero: a NaN must stay one.
        if (relu) sums[i][j] = sums[i][j] < 0 ? Vector{} : sums[i][j];
        store(result + i * result_row + j * LANES, sums[i][j]);
    }
}

template <int ROWS, int COLUMNS>
void multiply_panel(int64_t rows, int64_t inner, const REAL* a, int64_t a_row, int64_t a_k,
                    const REAL* b, int64_t b_row, REAL* result, int64_t result_row, Start start,
                    const REAL* bias, bool relu) {
    for (int64_t i = 0; i < rows; i += ROWS)
        multiply_tile<ROWS, COLUMNS>(inner, a + i * a_row, a_row, a_k, b, b_row,
                                     result + i * result_row, result_row, start, bias, relu);
}

// Rows are computed in whole tiles: buffers must have room for this many more, whose content does
// not matter.
enum { TILE_ROWS = 12 };

// result = start + a b, with `vectors` vectors of columns.
void multiply(int64_t rows, int64_t vectors, int64_t inner, const REAL* a, int64_t a_row,
              int64_t a_k, const REAL* b, int64_t b_row, REAL* result, int64_t result_row,
              Start start, const REAL* bias = nullptr, bool relu = false) {
#define PANEL(R, N)                                                                               \
    multiply_panel<R, N>(rows, inner, a, a_row, a_k, b + j, b_row, result + j, result_row, start, \
                         bias ? bias + j : bias, relu)
    int64_t j = 0;
    while (vectors > 0) {
        int64_t taken;
#if WIDE_TILES
        if (vectors >= 4) PANEL(6, 4), taken = 4;
        else if (vectors == 3) PANEL(6, 3), taken = 3;
        else if (vectors == 2) PANEL(12, 2), taken = 2;
        else PANEL(12, 1), taken = 1;
#else
        if (vectors >= 2) PANEL(6, 2), taken = 2;
        else PANEL(12, 1), taken = 1;
#endif
        j += taken * LANES;
        vectors -= taken;
    }
#undef PANEL
}

}  // namespace
