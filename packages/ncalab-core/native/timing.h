// How long each kind of work takes, where somebody wants to know.
#pragma once

#include "rollout.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <time.h>
#endif

namespace {

// The order of ncalab.core.rollout.cpu.compiled.timing.KINDS.
enum Kind { LISTING, PERCEPTION, PRODUCTS, ACTIVATION, FILTERS_BACK, STATES, ALIVE_MASK, FRAME };

// What this thread has spent on the processor, where the system says so precisely.
inline int64_t nanoseconds() {
#if defined(_WIN32)
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (int64_t)(ticks.QuadPart * 1e9 / rate.QuadPart);
#else
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
#endif
}

// Adds the time until its end to a kind of work.
struct Timer {
    int64_t* spent;
    int64_t start;

    Timer(const Rollout& r, Kind kind)
        : spent(r.spent ? r.spent + kind : nullptr), start(r.spent ? nanoseconds() : 0) {}
    ~Timer() {
        if (spent) *spent += nanoseconds() - start;
    }
};

}  // namespace
