/*
 * http_request: bytes to an HTTP/1.1 request, strictly. Pure; any thread.
 *
 * For an administration socket that is read by one server alone, and yet nothing is taken that two
 * readers could understand in two ways (RFC 9112 11.2, request smuggling): lines end with CR LF, a
 * body has one Content-Length, a target has one form and one spelling.
 */
#ifndef BULKHEAD_NET_HTTP_REQUEST_H
#define BULKHEAD_NET_HTTP_REQUEST_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    HTTP_HEAD_MAX = 8 * 1024, /* request line and header lines, with the empty line */
    HTTP_HEADERS_MAX = 64,
    HTTP_PARAMETERS_MAX = 32,
    HTTP_BODY_MAX = 1024 * 1024
};

enum http_method { HTTP_METHOD_GET, HTTP_METHOD_HEAD, HTTP_METHOD_POST };
#define HTTP_METHODS_ALLOWED "GET, HEAD, POST"

struct http_header {
    struct strview name; /* compare without regard to case: http_request_header */
    struct strview value;
};

/* One name of the query and its value, both decoded. */
struct http_parameter {
    struct strview name;
    struct strview value;
};

struct http_request {
    enum http_method method;
    bool is_http_1_0;
    struct strview
        path; /* decoded; begins with "/"; no empty, "." or ".." segment but an empty last */
    struct http_parameter parameters[HTTP_PARAMETERS_MAX]; /* no name twice */
    size_t parameter_count;
    struct strview host;                          /* empty when an HTTP/1.0 request has none */
    struct http_header headers[HTTP_HEADERS_MAX]; /* as they came, in the bytes parsed */
    size_t header_count;
    size_t body_len;          /* of the body that follows the head */
    char text[HTTP_HEAD_MAX]; /* what path and parameters point into: do not copy the struct */
};

enum http_head { HTTP_HEAD_MORE, HTTP_HEAD_WHOLE, HTTP_HEAD_BAD };
/*
 * Looks for the end of the head in what has come so far. *scanned is what earlier calls have seen
 * (0 at first). HTTP_HEAD_WHOLE: it ends at *scanned. HTTP_HEAD_BAD: it holds what no head may (a
 * bare CR or LF, NUL); then parsing it says which. More than HTTP_HEAD_MAX bytes is the caller's to
 * refuse, with 431.
 */
enum http_head http_head_scan(const char *data, size_t len, size_t *scanned);
/*
 * Parses a whole head, which stays the caller's and must live as long as the request is used.
 * Returns 0, or the status to refuse it with, and *why a sentence that is a constant:
 *   400 malformed, 405 method, 413 body, 417 Expect, 431 headers, 501 Transfer-Encoding, 505
 * version.
 */
int http_request_parse(const char *head, size_t len, struct http_request *out, const char **why);
/* The first header of that name, or NULL. */
const struct http_header *http_request_header(const struct http_request *request, const char *name);
/* The parameter's value, or NULL when it is not there. "a" and "a=" have an empty one. */
const struct strview *http_request_parameter(const struct http_request *request, const char *name);

#endif
