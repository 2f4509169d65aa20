#include "cmongoc.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block_cache.h"

static tailrace_log_handler log_handler;

// libmongoc initializes itself when it is loaded, before main, and then logs through its default handler,
// which writes to standard error in its own format. This definition replaces it: the executable's symbols
// take precedence over a library's. Log lines before main are discarded.
void mongoc_log_default_handler(mongoc_log_level_t level, const char *domain, const char *message,
                                void *context) {
  (void)domain;
  (void)context;
  if (log_handler != NULL) log_handler(level, message);
}

// The performance counters in shared memory aren't used, and a killed process would leave their file
// behind. They stay mapped after the unlink.
static void unlink_counters(void) {
  char name[32];
  snprintf(name, sizeof name, "/mongoc-%u", (unsigned)getpid());
  shm_unlink(name);
}

void tailrace_mongo_start(tailrace_log_handler handler) {
  log_handler = handler;
  mongoc_log_set_handler(mongoc_log_default_handler, NULL);
  tailrace_block_cache_install();
  mongoc_init();
  unlink_counters();
}

const char *tailrace_error_message(const bson_error_t *error) { return error->message; }

const char *tailrace_server_host(mongoc_server_description_t *server) {
  return mongoc_server_description_host(server)->host_and_port;
}

mongoc_client_session_t *tailrace_session_new(mongoc_client_t *client, bson_error_t *error) {
  mongoc_session_opt_t *options = mongoc_session_opts_new();
  mongoc_session_opts_set_causal_consistency(options, false);
  mongoc_client_session_t *session = mongoc_client_start_session(client, options, error);
  mongoc_session_opts_destroy(options);
  return session;
}

static const char *level(bool majority) { return majority ? "majority" : "local"; }

bson_t *tailrace_command_hello(void) { return BCON_NEW("hello", BCON_INT32(1)); }

bson_t *tailrace_command_build_info(void) { return BCON_NEW("buildInfo", BCON_INT32(1)); }

bson_t *tailrace_command_tail(uint32_t seconds, uint32_t increment, bool majority,
                              int32_t batch) {
  return BCON_NEW(
      "find", BCON_UTF8("oplog.rs"),
      "filter", "{", "ts", "{", "$gte", BCON_TIMESTAMP(seconds, increment), "}", "}",
      "tailable", BCON_BOOL(true), "awaitData", BCON_BOOL(true),
      "batchSize", BCON_INT32(batch),
      "readConcern", "{", "level", BCON_UTF8(level(majority)), "}");
}

bson_t *tailrace_command_more(int64_t cursor, int32_t batch, int64_t wait_ms) {
  return BCON_NEW(
      "getMore", BCON_INT64(cursor), "collection", BCON_UTF8("oplog.rs"),
      "batchSize", BCON_INT32(batch), "maxTimeMS", BCON_INT64(wait_ms));
}

bson_t *tailrace_command_kill_cursor(int64_t cursor) {
  return BCON_NEW(
      "killCursors", BCON_UTF8("oplog.rs"), "cursors", "[", BCON_INT64(cursor), "]");
}

bson_t *tailrace_command_entry(uint32_t seconds, uint32_t increment, bool majority) {
  return BCON_NEW(
      "find", BCON_UTF8("oplog.rs"),
      "filter", "{", "ts", "{", "$gte", BCON_TIMESTAMP(seconds, increment), "}", "}",
      "limit", BCON_INT32(1), "singleBatch", BCON_BOOL(true),
      "projection", "{", "ts", BCON_INT32(1), "t", BCON_INT32(1), "wall", BCON_INT32(1),
      "prevOpTime", BCON_INT32(1), "}",
      "readConcern", "{", "level", BCON_UTF8(level(majority)), "}");
}

bson_t *tailrace_command_apply_ops(uint32_t seconds, uint32_t increment, bool majority) {
  return BCON_NEW(
      "find", BCON_UTF8("oplog.rs"),
      "filter", "{", "ts", BCON_TIMESTAMP(seconds, increment), "op", BCON_UTF8("c"),
      "o.applyOps", "{", "$exists", BCON_BOOL(true), "}",
      "txnNumber", "{", "$exists", BCON_BOOL(false), "}", "}",
      "limit", BCON_INT32(1), "singleBatch", BCON_BOOL(true),
      "projection", "{", "ts", BCON_INT32(1), "}",
      "readConcern", "{", "level", BCON_UTF8(level(majority)), "}");
}

bson_t *tailrace_command_oldest(void) {
  return BCON_NEW(
      "find", BCON_UTF8("oplog.rs"), "sort", "{", "$natural", BCON_INT32(1), "}",
      "limit", BCON_INT32(1), "singleBatch", BCON_BOOL(true),
      "projection", "{", "ts", BCON_INT32(1), "t", BCON_INT32(1), "wall", BCON_INT32(1), "}");
}

bson_t *tailrace_command_from(const uint8_t *bytes, uint32_t length) {
  return bson_new_from_data(bytes, length);
}

bool tailrace_run(mongoc_client_t *client, mongoc_client_session_t *session, uint32_t server_id,
                  const char *database, bson_t *command, tailrace_reply *reply,
                  bson_error_t *error) {
  reply->bytes = NULL;
  reply->length = 0;

  bson_t options = BSON_INITIALIZER;
  BSON_APPEND_INT32(&options, "serverId", (int32_t)server_id);
  bool ok = session == NULL || mongoc_client_session_append(session, &options, error);
  if (ok) {
    bson_t answer;
    ok = mongoc_client_command_with_opts(client, database, command,
                                         mongoc_client_get_read_prefs(client), &options, &answer,
                                         error);
    if (ok) {
            /* Takes the buffer without a copy (except for tiny answers). */
      reply->bytes = bson_destroy_with_steal(&answer, true, &reply->length);
    } else {
      bson_destroy(&answer);
    }
  }
  bson_destroy(&options);
  bson_destroy(command);
  return ok;
}

void tailrace_reply_free(uint8_t *bytes) { bson_free(bytes); }
