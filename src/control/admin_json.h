/*
 * admin_json: the answers of the admin socket. Each is one JSON text in memory of the caller's
 * (mem_free, or admin_json_answer); NULL: too large, or memory is out. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_JSON_H
#define BULKHEAD_CONTROL_ADMIN_JSON_H

#include "control/reload.h"

#include <stddef.h>

struct http_call;
struct json_writer;

typedef void admin_json_fn(struct json_writer *w, const void *arg);
/* Whatever it writes; called until there is room for it. */
char *admin_json_render(admin_json_fn *write, const void *arg, size_t *len);
/* Answers the call with the text and takes that over; NULL: refuses the call, and says why. */
void admin_json_answer(struct http_call *call, int status, char *text, size_t len, const char *why);
/* What a reload did, or would do. */
char *admin_json_reload(const struct reload_outcome *outcome, size_t *len);

#endif
