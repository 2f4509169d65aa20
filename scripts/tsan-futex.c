// Tells the thread sanitizer of contended Mutexes (Synchronization): they are acquired and released by the
// kernel (PI futexes), called from a library that is not instrumented, so what they guard looks like a race.
// Preloaded by sanitize.py; does nothing in processes without the sanitizer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>

extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

long syscall(long number, ...) {
  static long (*next)(long, ...);
  if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  va_list list;
  va_start(list, number);
  long words[6];
  for (int index = 0; index < 6; index++) words[index] = va_arg(list, long);
  va_end(list);
  int operation = number == SYS_futex ? (int)words[1] & FUTEX_CMD_MASK : -1;
  if (operation == FUTEX_UNLOCK_PI && __tsan_release) __tsan_release((void *)words[0]);
  long result = next(number, words[0], words[1], words[2], words[3], words[4], words[5]);
  int took = operation == FUTEX_LOCK_PI || operation == FUTEX_TRYLOCK_PI;
  if (took && result == 0 && __tsan_acquire) __tsan_acquire((void *)words[0]);
  return result;
}
