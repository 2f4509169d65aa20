/*
 * Caches libbson's large buffers.
 *
 * Each reply takes two buffers of up to a megabyte. malloc returns memory of that size to the kernel
 * when it is freed, so that every batch causes hundreds of page faults: measured, 0.6 of the 0.8
 * microseconds CPU per oplog entry. The cache keeps at most CACHE_BYTES.
 */
#ifndef TAILRACE_BLOCK_CACHE_H
#define TAILRACE_BLOCK_CACHE_H

/* Makes libbson allocate through the cache, process-wide. Blocks come from malloc, so buffers allocated
 * before this call may be freed after it. */
void tailrace_block_cache_install(void);

#endif
