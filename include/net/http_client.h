/*
 * http_client: one blocking HTTP request over a Unix socket or TCP: for commands that ask the
 * running process. Any thread.
 */
#ifndef BULKHEAD_NET_HTTP_CLIENT_H
#define BULKHEAD_NET_HTTP_CLIENT_H

#include "base/errbuf.h"
#include "base/netaddr.h"
#include "base/strview.h"
#include "net/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_REPLY_HEAD_MAX = 16 * 1024, HTTP_REPLY_MAX = 64 * 1024 * 1024 };

/* An answer; the views point into the bytes it was parsed from. */
struct http_reply {
    int status;
    struct strview content_type; /* empty: none */
    struct strview body;
    bool is_chunked; /* the body still stands in its chunks; http_client_send joins them */
};

/*
 * Pure. What has come is complete with Content-Length, with the last chunk, or when the other side
 * has closed. HTTP_REPLY_BAD sets err: no HTTP/1.x answer, an interim one, a Transfer-Encoding
 * other than chunked, a chunk with an extension, trailers, lengths that disagree, larger than
 * HTTP_REPLY_MAX, or cut short.
 */
enum http_reply_state { HTTP_REPLY_MORE, HTTP_REPLY_WHOLE, HTTP_REPLY_BAD };
enum http_connection { HTTP_CONNECTION_OPEN, HTTP_CONNECTION_CLOSED };
/* method: of the request. The answer to a HEAD has no body, whatever its Content-Length says. */
enum http_reply_state http_reply_parse(const char *data, size_t len, enum http_method method,
                                       enum http_connection connection, struct http_reply *out,
                                       struct errbuf *err);

/* Of a status line without its end, "HTTP/1.1 200 OK" (RFC 9112 4): 100 to 999. 0: it is none. */
int http_reply_status(struct strview line);

struct http_client_request {
    const char *socket_path;       /* of a Unix socket; NULL: */
    const struct netaddr *address; /* TCP or Unix */
    enum http_method method;
    const char *target;       /* with its query, escaped */
    const char *headers;      /* more of them, each with its CR LF; NULL: none */
    const char *content_type; /* NULL when there is no body */
    const char *body;         /* NULL: none */
    size_t body_len;
    uint64_t timeout_ms; /* for all of it */
};
/* 0 with any status. *memory is what reply points into, the caller's to mem_free; NULL on -1. */
int http_client_send(const struct http_client_request *request, struct http_reply *reply,
                     char **memory, struct errbuf *err) __attribute__((warn_unused_result));

enum { HTTP_ESCAPED_PER_BYTE = 3 };
/* Escapes what may not stand in a path segment or in a parameter's name or value. out has room for
   three times the length of text, and a NUL. Returns out. */
char *http_escape(const char *text, char *out);

#endif
