#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cmongoc.h"

typedef struct {
    char name[16]; /* the kernel's limit for thread names */
  void (*body)(void *context);
  void *context;
} start;

static void *run(void *argument) {
  start own = *(start *)argument;
  free(argument);
  pthread_setname_np(pthread_self(), own.name);
  own.body(own.context);
  return NULL;
}

int tailrace_thread_start(const char *name, void (*body)(void *context), void *context) {
  start *own = calloc(1, sizeof *own);
  pthread_attr_t attributes;
  if (own == NULL || pthread_attr_init(&attributes) != 0) {
    free(own);
    return ENOMEM;
  }
  strncpy(own->name, name, sizeof own->name - 1);
  own->body = body;
  own->context = context;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);

    /* The new thread inherits the mask, so it never handles a signal. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  int result = pthread_create(&thread, &attributes, run, own);
  pthread_sigmask(SIG_SETMASK, &before, NULL);

  pthread_attr_destroy(&attributes);
  if (result != 0) free(own);
  return result;
}
