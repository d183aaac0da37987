// Short vectors of numbers in the compiler's own notation (GCC and Clang), for any processor.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Placement new; the standard library is not linked.
inline void* operator new(size_t, void* place) noexcept { return place; }

// Bytes of a vector register and how many registers there are, chosen by what is compiled for.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define WIDE_TILES 1
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define WIDE_TILES 0
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define WIDE_TILES 1
#else
#define VECTOR_BYTES 16
#define WIDE_TILES 0
#endif

#define INLINE inline __attribute__((always_inline))
// The optimiser must unroll loops over registers, or they become arrays in memory.
#define UNROLL _Pragma("GCC unroll 24")

namespace {

typedef REAL Vector __attribute__((vector_size(VECTOR_BYTES)));
// Anywhere in memory.
typedef REAL Loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

enum { LANES = VECTOR_BYTES / sizeof(REAL) };

INLINE Vector load(const REAL* from) { return *(const Loose*)from; }
INLINE void store(REAL* to, Vector value) { *(Loose*)to = value; }
INLINE Vector all(REAL value) { return value - Vector{}; }

// Aligned memory, or null.
inline void* claim(int64_t bytes) {
    char* memory = (char*)malloc(bytes + 128);
    if (!memory) return nullptr;
    char* aligned = (char*)(((uintptr_t)memory + 127) & ~(uintptr_t)63);
    ((void**)aligned)[-1] = memory;
    return aligned;
}
inline void release(void* aligned) {
    if (aligned) free(((void**)aligned)[-1]);
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace
