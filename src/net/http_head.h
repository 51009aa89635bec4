/*
 * http_head: the head of an answer as text. Pure but for the date.
 */
#ifndef BULKHEAD_NET_HTTP_HEAD_H
#define BULKHEAD_NET_HTTP_HEAD_H

#include "net/http_server.h"

#include <stdbool.h>
#include <stddef.h>

/* How the client knows where the body ends (RFC 9112 6.3). */
enum http_framing { HTTP_FRAMING_LENGTH = 0, HTTP_FRAMING_CHUNKS, HTTP_FRAMING_CLOSE };

/* Appends it. body_len counts with HTTP_FRAMING_LENGTH only. False: memory is out. */
bool http_head_append(struct bytebuf *out, const struct http_answer *answer,
                      enum http_framing framing, size_t body_len);

#endif
