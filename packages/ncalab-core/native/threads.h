// Several threads that share the work of one rollout, phase after phase.
//
// A phase has one task for each band of the grid. Whoever is free takes the next task, and waits
// only for tasks of earlier phases, each of which some thread is working on: a thread that never
// comes is not missed, and one that the system has put aside holds up the others no longer than
// its own task.
#pragma once

#include "vectors.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sched.h>
#include <time.h>
#endif

namespace {

// Shared by the threads; mirrored by ncalab.core.rollout.cpu.compiled.structures.
struct Team {
    int64_t bands;
    int64_t taken;  // tasks taken, of all phases
    int64_t done;   // tasks done
};

// Wait until that many tasks are done: at first without giving up the processor, for a phase may
// last a few microseconds only.
inline void wait_for(Team& team, int64_t tasks) {
    for (int64_t tries = 0; __atomic_load_n(&team.done, __ATOMIC_ACQUIRE) < tasks; tries++) {
        if (tries < 2000) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
            continue;
        }
#if defined(_WIN32)
        if (tries < 2100) SwitchToThread();
        else Sleep(1);
#else
        const timespec moment = {0, 50000};
        if (tries < 2100) sched_yield();
        else nanosleep(&moment, nullptr);
#endif
    }
}

// Call work(phase, band) for the tasks that this thread takes, until all phases are taken.
template <class Work>
void share_phases(Team& team, int64_t phases, Work work) {
    for (;;) {
        const int64_t task = __atomic_fetch_add(&team.taken, 1, __ATOMIC_RELAXED);
        const int64_t phase = task / team.bands;
        if (phase >= phases) break;
        wait_for(team, phase * team.bands);
        work(phase, task % team.bands);
        __atomic_fetch_add(&team.done, 1, __ATOMIC_RELEASE);
    }
}

}  // namespace
