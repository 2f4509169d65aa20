#ifndef CSIMULATION_H
#define CSIMULATION_H

#include <stdint.h>

// Time and tasks of the simulator's one thread.
//
// Both are substituted where the process asks the system for them, so that no code, not that of a library and not
// the language's runtime, can see another clock or another thread by mistake.

/// From now on this thread's clocks show what `simulation_set_clock` says: `clock_gettime` is this file's. Other
/// threads keep the system's.
void simulation_enter(void);

/// Of the calling thread, in nanoseconds: the monotonic clock since an arbitrary moment, the same with the time in which
/// the machine was suspended, and the wall clock since 1970.
void simulation_set_clock(int64_t monotonic, int64_t boot, int64_t wall);

/// What this thread takes for random from now on.
void simulation_seed_random(uint64_t seed);

/// The system's monotonic clock, in nanoseconds.
int64_t simulation_system_clock(void);

/// Tasks that become ready are handed to `enqueue` instead of the runtime's thread pool. Of the whole process.
void simulation_take_tasks(void (*enqueue)(void *job));

/// Runs a task that was handed to `enqueue` until it suspends.
void simulation_run_task(void *job);

/// Standard output is written line by line, also where it is a file.
void simulation_print_lines(void);

#endif
