/*
 * Shims between libmongoc and Swift.
 *
 * libbson aligns bson_t to 128 bytes, so Swift can't put one on its stack, and its builders are
 * variadic macros. So commands are built and run here, and replies are returned as plain bytes.
 * There are no decisions here: policy is in Swift.
 */
#ifndef TAILRACE_CMONGOC_H
#define TAILRACE_CMONGOC_H

#include <mongoc/mongoc.h>
#include <stdbool.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* --- process ---------------------------------------------------------------------------- */

/* Receives libmongoc's log lines. Called from any thread that uses libmongoc. */
typedef void (*tailrace_log_handler)(mongoc_log_level_t level, const char *message);

/* Initializes libmongoc. Call once, before anything else here. */
void tailrace_mongo_start(tailrace_log_handler handler);

/* --- threads ---------------------------------------------------------------------------- */

/* Runs `body(context)` on a new detached thread with that name. All signals are blocked: the main
 * program handles them, and a blocked SIGPIPE can't end the process. Returns 0 or an errno value. */
int tailrace_thread_start(const char *name, void (*body)(void *context), void *context);

/* --- errors ----------------------------------------------------------------------------- */

/* The text of an error; valid as long as the error is. */
const char *tailrace_error_message(const bson_error_t *error);

/* --- servers ---------------------------------------------------------------------------- */

/* "host:port"; valid as long as the description is. */
const char *tailrace_server_host(mongoc_server_description_t *server);

/* --- sessions --------------------------------------------------------------------------- */

/* An explicit session without causal consistency. A cursor belongs to the session that opened it,
 * so find and getMore must name the same one. NULL and an error if the server has no sessions. */
mongoc_client_session_t *_Nullable tailrace_session_new(mongoc_client_t *client,
                                                        bson_error_t *error);

/* --- commands --------------------------------------------------------------------------- */

bson_t *tailrace_command_hello(void);
bson_t *tailrace_command_build_info(void);

/* Tails local.oplog.rs from the first entry at or after (seconds, increment). */
bson_t *tailrace_command_tail(uint32_t seconds, uint32_t increment, bool majority, int32_t batch);

/* The next entries of a cursor on local.oplog.rs, waiting up to `wait_ms` for the first. */
bson_t *tailrace_command_more(int64_t cursor, int32_t batch, int64_t wait_ms);

/* Frees a cursor on local.oplog.rs. */
bson_t *tailrace_command_kill_cursor(int64_t cursor);

/* The first entry at or after (seconds, increment): position fields only. */
bson_t *tailrace_command_entry(uint32_t seconds, uint32_t increment, bool majority);

/* The entry at exactly that position, if it is a user's applyOps command. */
bson_t *tailrace_command_apply_ops(uint32_t seconds, uint32_t increment, bool majority);

/* The oldest entry of the oplog: position fields only. */
bson_t *tailrace_command_oldest(void);

/* A copy of a command that Swift wrote as BSON. NULL if the bytes aren't one document. */
bson_t *_Nullable tailrace_command_from(const uint8_t *bytes, uint32_t length);

/* One BSON document. The holder owns it and frees it with `tailrace_reply_free`. */
typedef struct tailrace_reply {
  uint8_t *_Nullable bytes;
  uint32_t length;
} tailrace_reply;

/* Runs `command` (and frees it) on that server, in `session` if given. On success `reply` owns the
 * whole answer; otherwise it is empty and `error` is set. */
bool tailrace_run(mongoc_client_t *client, mongoc_client_session_t *_Nullable session,
                  uint32_t server_id, const char *database, bson_t *command,
                  tailrace_reply *reply, bson_error_t *error);

void tailrace_reply_free(uint8_t *bytes);

#pragma clang assume_nonnull end

#endif
