// Which cells live: flags of cells, one byte each, in planes with an empty border of one cell.
#pragma once

#include "rollout.h"

namespace {

enum { ALPHA = 3 };
enum Sight : uint8_t { HIDDEN = 0, VISIBLE = 1, UNDEFINED = 2 };

INLINE int64_t plane_of(const Rollout& r) {
    return (r.cells[0] + 2) * (r.cells[1] + 2) * (r.cells[2] + 2);
}
INLINE int64_t plane_at(const Rollout& r, int64_t i, int64_t j, int64_t k) {
    return ((i + 1) * (r.cells[1] + 2) + j + 1) * (r.cells[2] + 2) + k + 1;
}

// Mark the cells of a box whose opacity is above the threshold, or not a number.
void mark_visible(const Rollout& r, const REAL* sample, Box box, uint8_t* plane) {
    const REAL threshold = r.alive_threshold;
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++) {
            const REAL* line = sample + line_at(r, i, j) * r.channels + ALPHA;
            uint8_t* to = plane + plane_at(r, i, j, 0);
            for (int64_t k = box.low[2]; k < box.high[2]; k++) {
                const REAL opacity = line[k * r.channels];
                to[k] = opacity > threshold ? VISIBLE : opacity == opacity ? HIDDEN : UNDEFINED;
            }
        }
}

// Collect the flags of every cell's neighbourhood, which has three cells on each axis.
void collect_flags(const Rollout& r, const uint8_t* plane, Box box, uint8_t* around,
                   uint8_t* line) {
    const int64_t along[2] = {(r.cells[1] + 2) * (r.cells[2] + 2), r.cells[2] + 2};
    const int64_t first = box.low[2] - 1, count = box.high[2] - box.low[2] + 2;
    for (int64_t i = box.low[0]; i < box.high[0]; i++)
        for (int64_t j = box.low[1]; j < box.high[1]; j++) {
            const uint8_t* from = plane + plane_at(r, i, j, first);
            memset(line, 0, count);
            for (int64_t a = -1; a <= 1; a++)
                for (int64_t b = -1; b <= 1; b++) {
                    // An axis of one cell has an empty border: nothing to read.
                    if ((a && r.cells[0] == 1) || (b && r.cells[1] == 1)) continue;
                    const uint8_t* other = from + a * along[0] + b * along[1];
                    for (int64_t k = 0; k < count; k++) line[k] |= other[k];
                }
            uint8_t* to = around + plane_at(r, i, j, box.low[2]);
            for (int64_t k = 0; k < count - 2; k++) to[k] = line[k] | line[k + 1] | line[k + 2];
        }
}

// Clear a box of a plane, and a border of one cell around it.
void clear_around(const Rollout& r, Box box, uint8_t* plane) {
    for (int64_t i = box.low[0] - 1; i <= box.high[0]; i++)
        for (int64_t j = box.low[1] - 1; j <= box.high[1]; j++)
            memset(plane + plane_at(r, i, j, box.low[2] - 1), 0, box.high[2] - box.low[2] + 2);
}

}  // namespace
