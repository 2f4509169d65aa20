#include "block_cache.h"

#include <bson/bson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCK_MIN = 64 * 1024,       /* smaller blocks are left to malloc */
  BLOCK_MAX = 4 * 1024 * 1024, /* larger ones are too rare to keep */
  CACHE_BYTES = 8 * 1024 * 1024,
  CACHE_BLOCKS = 16,
};

/* Under `lock`: `blocks[0..<count]` are free blocks that the cache owns, most recently used last;
 * `bytes` is the sum of their sizes. */
static struct {
  pthread_mutex_t lock;
  void *blocks[CACHE_BLOCKS];
  int count;
  size_t bytes;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Removes and returns a cached block of at least `size` and less than about five times `size` bytes,
 * or NULL. */
static void *take(size_t size) {
  void *found = NULL;
  pthread_mutex_lock(&cache.lock);
  for (int i = cache.count - 1; i >= 0; i--) {
    size_t usable = malloc_usable_size(cache.blocks[i]);
    if (usable >= size && usable / 4 <= size) {
      found = cache.blocks[i];
      cache.count--;
      memmove(&cache.blocks[i], &cache.blocks[i + 1],
              (size_t)(cache.count - i) * sizeof cache.blocks[0]);
      cache.bytes -= usable;
      break;
    }
  }
  pthread_mutex_unlock(&cache.lock);
  return found;
}

static bool keep(void *block, size_t usable) {
  bool kept = false;
  pthread_mutex_lock(&cache.lock);
  if (cache.count < CACHE_BLOCKS && cache.bytes + usable <= CACHE_BYTES) {
    cache.blocks[cache.count++] = block;
    cache.bytes += usable;
    kept = true;
  }
  pthread_mutex_unlock(&cache.lock);
  return kept;
}

static void *cached_malloc(size_t size) {
  if (size >= BLOCK_MIN && size <= BLOCK_MAX) {
    void *block = take(size);
    if (block != NULL) return block;
  }
  return malloc(size);
}

static void cached_free(void *block) {
  if (block == NULL) return;
  size_t usable = malloc_usable_size(block);
  if (usable >= BLOCK_MIN && usable <= BLOCK_MAX && keep(block, usable)) return;
  free(block);
}

static void *cached_realloc(void *block, size_t size) {
  if (block == NULL) return cached_malloc(size);
  size_t usable = malloc_usable_size(block);
  if (size > usable && size >= BLOCK_MIN && size <= BLOCK_MAX) {
    void *larger = take(size);
    if (larger != NULL) {
      memcpy(larger, block, usable);
      cached_free(block);
      return larger;
    }
  }
  return realloc(block, size);
}

void tailrace_block_cache_install(void) {
  static const bson_mem_vtable_t table = {
      .malloc = cached_malloc,
      .calloc = calloc,
      .realloc = cached_realloc,
      .free = cached_free,
      .aligned_alloc = aligned_alloc,
  };
  bson_mem_set_vtable(&table);
}
