#define _GNU_SOURCE
#include "csimulation.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

static _Thread_local bool is_simulated = false;
static _Thread_local int64_t monotonic_now = 0;
static _Thread_local int64_t boot_now = 0;
static _Thread_local int64_t wall_now = 0;

typedef int (*clock_function)(clockid_t, struct timespec *);

static clock_function system_function(void) {
  // Threads may look at once; all find the same.
  static clock_function known;
  clock_function found = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (found) return found;
  found = (clock_function)dlsym(RTLD_NEXT, "clock_gettime");
  if (!found) abort();
  __atomic_store_n(&known, found, __ATOMIC_RELAXED);
  return found;
}

// Takes the place of libc's for everything in the process: the linker resolves it here first.
int clock_gettime(clockid_t clock, struct timespec *time) {
  if (!is_simulated || clock == CLOCK_THREAD_CPUTIME_ID || clock == CLOCK_PROCESS_CPUTIME_ID)
    return system_function()(clock, time);
  int64_t now = monotonic_now;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now = wall_now;
  if (clock == CLOCK_BOOTTIME) now = boot_now;
  time->tv_sec = now / 1000000000;
  time->tv_nsec = now % 1000000000;
  return 0;
}

void simulation_enter(void) { is_simulated = true; }

void simulation_set_clock(int64_t monotonic, int64_t boot, int64_t wall) {
  monotonic_now = monotonic;
  boot_now = boot;
  wall_now = wall;
}

int64_t simulation_system_clock(void) {
  struct timespec time;
  system_function()(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// The runtime's own extension points (stdlib/public/Concurrency). Their calling convention is Swift's.
#define SWIFT_CALL __attribute__((swiftcall))
extern SWIFT_CALL void (*swift_task_enqueueGlobal_hook)(void *job, void *original);
extern SWIFT_CALL void (*swift_task_enqueueMainExecutor_hook)(void *job, void *original);
extern SWIFT_CALL void swift_job_run(void *job, void *identity, void *implementation);

static void (*enqueue_function)(void *job);

static SWIFT_CALL void enqueue(void *job, void *original) {
  (void)original;
  enqueue_function(job);
}

void simulation_take_tasks(void (*function)(void *job)) {
  enqueue_function = function;
  swift_task_enqueueGlobal_hook = enqueue;
  swift_task_enqueueMainExecutor_hook = enqueue;
}

// The generic executor has neither identity nor implementation.
void simulation_run_task(void *job) { swift_job_run(job, NULL, NULL); }

static _Thread_local uint64_t random_state = 0;

void simulation_seed_random(uint64_t seed) { random_state = seed; }

typedef long (*syscall_function)(long, long, long, long, long, long, long);

static syscall_function system_call(void) {
  static syscall_function found;
  if (!found) found = (syscall_function)dlsym(RTLD_NEXT, "syscall");
  if (!found) abort();
  return found;
}

// Swift's library gets its random numbers by the system call itself. SplitMix64.
static long random_bytes(unsigned char *out, size_t count) {
  for (size_t done = 0; done < count;) {
    random_state += 0x9E3779B97F4A7C15u;
    uint64_t mixed = random_state;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    mixed ^= mixed >> 31;
    for (int i = 0; i < 8 && done < count; i++) out[done++] = (unsigned char)(mixed >> (8 * i));
  }
  return (long)count;
}

long syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  long values[6];
  for (int i = 0; i < 6; i++) values[i] = va_arg(arguments, long);
  va_end(arguments);
  if (is_simulated && number == SYS_getrandom)
    return random_bytes((unsigned char *)values[0], (size_t)values[1]);
  return system_call()(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

void simulation_print_lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
