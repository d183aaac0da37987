// Which cells fire: the hash of ncalab.core.fire, which says where it comes from.
#pragma once

#include "vectors.h"

namespace {

typedef uint32_t Words __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t LooseWords __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

enum { WORDS = VECTOR_BYTES / 4 };

// Write 1 for each of `count` cells that fires, else 0, in whole vectors; cells count from `first`.
void mark_firing(uint32_t first, int64_t count, uint32_t key0, uint32_t key1, uint32_t threshold,
                 uint32_t* marks) {
    Words counts;
    UNROLL for (int i = 0; i < WORDS; i++) counts[i] = i;
    for (int64_t i = 0; i < count; i += WORDS) {
        Words x = counts + (first + (uint32_t)i + key0);
        x ^= x >> 16;
        x *= 0x7FEB352Du;
        x ^= key1;
        x ^= x >> 15;
        x *= 0x846CA68Bu;
        x ^= x >> 16;
        *(LooseWords*)(marks + i) = (Words)((x >> 8) < threshold) & 1u;
    }
}

}  // namespace
