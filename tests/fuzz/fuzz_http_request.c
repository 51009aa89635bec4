/*
 * Fuzz target: http_request. What is accepted obeys the rules by another reading, and written out
 * anew in the one canonical way it is accepted again and means the same.
 */
#include "base/assert.h"
#include "net/http_client.h"
#include "net/http_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_SIZE = 4 * HTTP_HEAD_MAX };

struct writer {
    char text[OUT_SIZE];
    size_t len;
};

static void put(struct writer *out, const char *text, size_t len)
{
    ASSERT(len <= OUT_SIZE - out->len);
    if (len > 0) {
        memcpy(out->text + out->len, text, len);
        out->len += len;
    }
}

static void put_text(struct writer *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_escaped(struct writer *out, struct strview text)
{
    char copy[HTTP_HEAD_MAX + 1];
    char escaped[HTTP_ESCAPED_PER_BYTE * HTTP_HEAD_MAX + 1];
    ASSERT(text.len <= HTTP_HEAD_MAX && memchr(text.ptr, '\0', text.len) == NULL);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    put_text(out, http_escape(copy, escaped));
}

static void put_path(struct writer *out, struct strview path)
{
    for (size_t at = 0; at < path.len;) {
        ASSERT(path.ptr[at] == '/');
        put_text(out, "/");
        size_t end = ++at;
        while (end < path.len && path.ptr[end] != '/') {
            end++;
        }
        put_escaped(out, (struct strview){.ptr = path.ptr + at, .len = end - at});
        at = end;
    }
}

static void write_request(const struct http_request *request, struct writer *out)
{
    static const char *const methods[] = {"GET ", "HEAD ", "POST "};
    put_text(out, methods[request->method]);
    put_path(out, request->path);
    for (size_t i = 0; i < request->parameter_count; i++) {
        put_text(out, i == 0 ? "?" : "&");
        put_escaped(out, request->parameters[i].name);
        put_text(out, "=");
        put_escaped(out, request->parameters[i].value);
    }
    put_text(out, request->is_http_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
    for (size_t i = 0; i < request->header_count; i++) {
        put(out, request->headers[i].name.ptr, request->headers[i].name.len);
        put_text(out, ": ");
        put(out, request->headers[i].value.ptr, request->headers[i].value.len);
        put_text(out, "\r\n");
    }
    put_text(out, "\r\n");
}

static void check_same(const struct http_request *a, const struct http_request *b)
{
    ASSERT(a->method == b->method && a->is_http_1_0 == b->is_http_1_0);
    ASSERT(a->body_len == b->body_len && strview_equal(a->path, b->path));
    ASSERT(a->parameter_count == b->parameter_count && a->header_count == b->header_count);
    for (size_t i = 0; i < a->parameter_count; i++) {
        ASSERT(strview_equal(a->parameters[i].name, b->parameters[i].name));
        ASSERT(strview_equal(a->parameters[i].value, b->parameters[i].value));
    }
    for (size_t i = 0; i < a->header_count; i++) {
        ASSERT(strview_equal(a->headers[i].name, b->headers[i].name));
        ASSERT(strview_equal(a->headers[i].value, b->headers[i].value));
    }
}

static void check_rules(const char *head, size_t len, const struct http_request *request)
{
    ASSERT(len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0);
    ASSERT(memchr(head, '\0', len) == NULL);
    for (size_t i = 0; i < len; i++) {
        ASSERT((head[i] == '\r') == (i + 1 < len && head[i + 1] == '\n'));
        ASSERT(head[i] != '\n' || i + 1 == len || (head[i + 1] != ' ' && head[i + 1] != '\t'));
    }
    ASSERT(request->path.len > 0 && request->path.ptr[0] == '/');
    ASSERT(memmem(request->path.ptr, request->path.len, "//", 2) == NULL);
    ASSERT(memmem(request->path.ptr, request->path.len, "/../", 4) == NULL);
    ASSERT(request->body_len <= HTTP_BODY_MAX);
    ASSERT(request->body_len == 0 || request->method == HTTP_METHOD_POST);
    ASSERT(http_request_header(request, "Transfer-Encoding") == NULL);
    ASSERT(request->is_http_1_0 || http_request_header(request, "host") != NULL);
    const struct http_header *length = http_request_header(request, "content-length");
    ASSERT(length != NULL || request->body_len == 0);
    ASSERT(length == NULL || strtoull(length->value.ptr, NULL, 10) == request->body_len);
}

/* However the bytes come in, the end of the head is found at the same place. */
static enum http_head scan(const char *data, size_t len, size_t step, size_t *scanned)
{
    enum http_head found = HTTP_HEAD_MORE;
    *scanned = 0;
    for (size_t have = step; found == HTTP_HEAD_MORE && have < len + step; have += step) {
        found = http_head_scan(data, have < len ? have : len, scanned);
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    static struct http_request request;
    static struct http_request again;
    static struct writer out;
    const char *why = NULL;
    size_t scanned = 0;
    size_t scanned_bytes = 0;
    enum http_head found = scan(text, size, size + 1, &scanned);
    ASSERT(scan(text, size, 1, &scanned_bytes) == found && scanned_bytes == scanned);
    size_t len = found == HTTP_HEAD_MORE ? size : scanned;
    int status = http_request_parse(text, len, &request, &why);
    ASSERT((status == 0) == (why == NULL));
    ASSERT(status == 0 || (status >= 400 && status <= 505));
    ASSERT(found == HTTP_HEAD_WHOLE || status != 0);
    if (status == 0) {
        check_rules(text, len, &request);
        out.len = 0;
        write_request(&request, &out);
        if (out.len <= HTTP_HEAD_MAX) {
            ASSERT(http_request_parse(out.text, out.len, &again, &why) == 0);
            check_same(&request, &again);
        }
    }
    /* The client's parser, on the same bytes. */
    struct http_reply reply;
    struct errbuf err;
    for (unsigned i = 0; i < 4; i++) {
        enum http_connection connection =
            i % 2 == 0 ? HTTP_CONNECTION_OPEN : HTTP_CONNECTION_CLOSED;
        enum http_reply_state state = http_reply_parse(
            text, size, i < 2 ? HTTP_METHOD_GET : HTTP_METHOD_HEAD, connection, &reply, &err);
        ASSERT(state != HTTP_REPLY_MORE || connection == HTTP_CONNECTION_OPEN);
        ASSERT(state != HTTP_REPLY_WHOLE || reply.body.len <= size);
    }
    return 0;
}
