/* grpc_http2: what is sent, and what becomes of anything that a server may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "../../../src/net/grpc_http2.h"
#include "unit/net/h2.h"

enum { ANSWER_MAX = 64 * 1024 };

static struct grpc_http2 *new_call(void)
{
    static const struct grpc_metadata metadata[] = {{"workload.spiffe.io", "true"}};
    const struct grpc_call_options options = {.path = "/SpiffeWorkloadAPI/FetchX509SVID",
                                              .metadata = metadata,
                                              .metadata_count = 1,
                                              .answer_max = ANSWER_MAX};
    struct grpc_http2 *http2 = grpc_http2_new(&options);
    assert_non_null(http2);
    return http2;
}

static void drain(struct grpc_http2 *http2, struct h2 *out)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    while ((len = grpc_http2_output(http2, &data)) > 0) {
        if (out != NULL) {
            h2_raw(out, data, len);
        }
    }
}

/* The request has left. */
static struct grpc_http2 *started_call(void)
{
    struct grpc_http2 *http2 = new_call();
    drain(http2, NULL);
    return http2;
}

/* In pieces of that size, each in memory of its own for the sanitizer. */
static void feed(struct grpc_http2 *http2, const struct h2 *bytes, size_t piece)
{
    for (size_t at = 0; at < bytes->len; at += piece) {
        size_t len = bytes->len - at < piece ? bytes->len - at : piece;
        uint8_t *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, bytes->data + at, len);
        grpc_http2_feed(http2, copy, len);
        free(copy);
        drain(http2, NULL);
    }
}

static void assert_answer(struct grpc_http2 *http2, const char *text)
{
    const uint8_t *message = NULL;
    size_t len = 0;
    assert_true(grpc_http2_answer(http2, &message, &len));
    assert_true(strview_equal_text((struct strview){(const char *)message, len}, text));
    assert_false(grpc_http2_answer(http2, &message, &len));
}

static void assert_no_answer(struct grpc_http2 *http2)
{
    const uint8_t *message = NULL;
    size_t len = 0;
    assert_false(grpc_http2_answer(http2, &message, &len));
}

static void assert_end(struct grpc_http2 *http2, enum grpc_status status, bool from_server,
                       const char *text)
{
    struct grpc_end end;
    char is[GRPC_TEXT_MAX + 1] = "";
    assert_true(grpc_http2_has_ended(http2, &end));
    memcpy(is, end.text.ptr, end.text.len);
    if (strstr(is, text) == NULL || end.status != status || end.from_server != from_server) {
        fail_msg("status %s, %s, \"%s\"; expected %s and \"%s\"", grpc_status_name(end.status),
                 end.from_server ? "from the server" : "ours", is, grpc_status_name(status), text);
    }
}

static void assert_open(struct grpc_http2 *http2)
{
    struct grpc_end end;
    if (grpc_http2_has_ended(http2, &end)) {
        fail_msg("ended: %.*s", (int)end.text.len, end.text.ptr);
    }
}

/* --- the request ----------------------------------------------------------------------------- */

struct seen {
    char headers[1024];
    uint8_t body[64];
    size_t body_len;
    bool ended;
    uint32_t window;
};

static int on_server_header(nghttp2_session *session, const nghttp2_frame *frame,
                            const uint8_t *name, size_t name_len, const uint8_t *value,
                            size_t value_len, uint8_t flags, void *arg)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct seen *seen = arg;
    size_t len = strlen(seen->headers);
    (void)snprintf(seen->headers + len, sizeof(seen->headers) - len, "%.*s: %.*s\n", (int)name_len,
                   (const char *)name, (int)value_len, (const char *)value);
    return 0;
}

static int on_server_data(nghttp2_session *session, uint8_t flags, int32_t stream,
                          const uint8_t *data, size_t len, void *arg)
{
    (void)session;
    (void)flags;
    (void)stream;
    struct seen *seen = arg;
    assert_true(seen->body_len + len <= sizeof(seen->body));
    memcpy(seen->body + seen->body_len, data, len);
    seen->body_len += len;
    return 0;
}

static int on_server_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct seen *seen = arg;
    seen->ended = seen->ended || (frame->hd.type == NGHTTP2_DATA &&
                                  (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
    return 0;
}

/* A real server's reading of what we send. */
static void read_as_server(const struct h2 *bytes, struct seen *seen)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_session *server = NULL;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_server_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_server_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_server_frame);
    assert_int_equal(nghttp2_session_server_new(&server, callbacks, seen), 0);
    assert_int_equal(nghttp2_session_mem_recv(server, bytes->data, bytes->len), bytes->len);
    seen->window =
        nghttp2_session_get_remote_settings(server, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    assert_true(nghttp2_session_get_remote_window_size(server) >= 1024 * 1024);
    assert_int_equal(nghttp2_session_get_remote_settings(server, NGHTTP2_SETTINGS_ENABLE_PUSH), 0);
    nghttp2_session_del(server);
    nghttp2_session_callbacks_del(callbacks);
}

static void test_sends_the_request(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = new_call();
    struct h2 out = {NULL, 0};
    struct seen seen = {.body_len = 0};
    drain(http2, &out);
    read_as_server(&out, &seen);
    assert_string_equal(seen.headers, ":method: POST\n"
                                      ":scheme: http\n"
                                      ":path: /SpiffeWorkloadAPI/FetchX509SVID\n"
                                      ":authority: localhost\n"
                                      "te: trailers\n"
                                      "content-type: application/grpc\n"
                                      "workload.spiffe.io: true\n");
    static const uint8_t nothing[GRPC_PREFIX_SIZE];
    assert_int_equal(seen.body_len, sizeof(nothing));
    assert_memory_equal(seen.body, nothing, sizeof(nothing));
    assert_true(seen.ended);
    assert_int_equal(seen.window, 1024 * 1024);
    h2_free(&out);
    grpc_http2_free(http2);
}

static void test_sends_a_request_that_is_not_empty(void **state)
{
    (void)state;
    uint8_t request[40];
    memset(request, 'r', sizeof(request));
    const struct grpc_call_options options = {
        .path = "/grpc.health.v1.Health/Check", .request = request, .request_len = sizeof(request)};
    struct grpc_http2 *http2 = grpc_http2_new(&options);
    assert_non_null(http2);
    struct h2 out = {NULL, 0};
    struct seen seen = {.body_len = 0};
    drain(http2, &out);
    read_as_server(&out, &seen);
    assert_int_equal(seen.body_len, GRPC_PREFIX_SIZE + sizeof(request));
    assert_int_equal(seen.body[4], sizeof(request));
    assert_memory_equal(seen.body + GRPC_PREFIX_SIZE, request, sizeof(request));
    h2_free(&out);
    grpc_http2_free(http2);
}

/* --- answers --------------------------------------------------------------------------------- */

static void test_takes_answers_in_any_pieces(void **state)
{
    (void)state;
    struct h2 bytes = {NULL, 0};
    h2_settings(&bytes);
    h2_frame(&bytes, H2_SETTINGS, H2_ACK, 0, NULL, 0);
    h2_response(&bytes);
    h2_data(&bytes, "\0\0\0", 3);
    h2_data(&bytes, "\0\7hel", 5);
    h2_data(&bytes, NULL, 0);
    h2_frame(&bytes, H2_DATA, H2_PADDED, 1, "\3lo 1???", 8);
    for (size_t piece = 1; piece <= bytes.len; piece += piece < 20 ? 1 : 13) {
        struct grpc_http2 *http2 = started_call();
        feed(http2, &bytes, piece);
        assert_open(http2);
        assert_false(grpc_http2_is_inside(http2));
        assert_answer(http2, "hello 1");
        struct h2 more = {NULL, 0};
        h2_data(&more, "\0\0\0\0\1", 5);
        feed(http2, &more, 1);
        assert_true(grpc_http2_is_inside(http2));
        assert_no_answer(http2);
        h2_free(&more);
        h2_data(&more, "2", 1);
        h2_trailers(&more, "14", "going away");
        feed(http2, &more, 1000);
        assert_answer(http2, "2");
        assert_end(http2, GRPC_UNAVAILABLE, true, "going away");
        h2_free(&more);
        grpc_http2_free(http2);
    }
    h2_free(&bytes);
}

static void test_of_answers_that_come_together_the_last_counts(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = started_call();
    struct h2 bytes = {NULL, 0};
    h2_settings(&bytes);
    h2_response(&bytes);
    h2_message(&bytes, "first", 5);
    h2_data(&bytes, "\0\0\0\0\6second\0\0\0\0\5third\0\0\0\0\3cu", 5 + 6 + 5 + 5 + 5 + 2);
    feed(http2, &bytes, 10000);
    assert_answer(http2, "third");
    assert_true(grpc_http2_is_inside(http2));
    assert_open(http2);
    h2_free(&bytes);
    grpc_http2_free(http2);
}

static void test_takes_the_largest_answer_and_no_larger(void **state)
{
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        struct grpc_http2 *http2 = started_call();
        struct h2 bytes = {NULL, 0};
        h2_settings(&bytes);
        h2_response(&bytes);
        uint8_t prefix[GRPC_PREFIX_SIZE] = {0, 0, 1, 0, (uint8_t)over};
        h2_data(&bytes, prefix, sizeof(prefix));
        uint8_t *piece = calloc(1, 16384);
        assert_non_null(piece);
        for (size_t i = 0; i < ANSWER_MAX / 16384; i++) {
            h2_data(&bytes, piece, 16384);
        }
        feed(http2, &bytes, 4096);
        const uint8_t *message = NULL;
        size_t len = 0;
        if (over == 0) {
            assert_open(http2);
            assert_true(grpc_http2_answer(http2, &message, &len));
            assert_int_equal(len, ANSWER_MAX);
        } else {
            assert_end(http2, GRPC_RESOURCE_EXHAUSTED, false,
                       "a message of 65537 bytes; at most 65536");
            assert_no_answer(http2);
        }
        free(piece);
        h2_free(&bytes);
        grpc_http2_free(http2);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

typedef void script_fn(struct h2 *bytes);

struct ending {
    const char *name;
    script_fn *script; /* behind the SETTINGS */
    enum grpc_status status;
    bool from_server;
    const char *text;
};

static void denied(struct h2 *bytes)
{
    h2_trailers_only(bytes, "7", "no%20identity issued%0A");
}

static void denied_later(struct h2 *bytes)
{
    h2_response(bytes);
    h2_message(bytes, "good", 4);
    h2_trailers(bytes, "7", NULL);
}

static void ok(struct h2 *bytes)
{
    h2_response(bytes);
    h2_trailers(bytes, "0", NULL);
}

static void no_status(struct h2 *bytes)
{
    h2_response(bytes);
    h2_trailers(bytes, NULL, "?");
}

static void no_trailers(struct h2 *bytes)
{
    h2_response(bytes);
    h2_frame(bytes, H2_DATA, H2_END_STREAM, 1, NULL, 0);
}

static void odd_status(struct h2 *bytes)
{
    h2_trailers_only(bytes, "seven", NULL);
}

static void http_403(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "403");
    h2_header(&block, "content-type", "text/html");
    h2_headers(bytes, &block, 0);
}

static void http_503_without_type(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "503");
    h2_headers(bytes, &block, H2_END_STREAM);
}

static void html(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "200");
    h2_header(&block, "content-type", "application/grpcish");
    h2_headers(bytes, &block, 0);
}

static void status_without_type(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "200");
    h2_header(&block, "grpc-status", "12");
    h2_headers(bytes, &block, H2_END_STREAM);
}

static void compressed(struct h2 *bytes)
{
    h2_response(bytes);
    h2_data(bytes, "\1\0\0\0\1x", 6);
}

static void refused_stream(struct h2 *bytes)
{
    h2_rst_stream(bytes, NGHTTP2_REFUSED_STREAM);
}

static void cancelled(struct h2 *bytes)
{
    h2_response(bytes);
    h2_rst_stream(bytes, NGHTTP2_CANCEL);
}

static void internal_reset(struct h2 *bytes)
{
    h2_rst_stream(bytes, NGHTTP2_INTERNAL_ERROR);
}

static void calm(struct h2 *bytes)
{
    h2_rst_stream(bytes, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void goaway(struct h2 *bytes)
{
    h2_response(bytes);
    h2_goaway(bytes, 1, NGHTTP2_NO_ERROR);
}

static void goaway_refusing(struct h2 *bytes)
{
    h2_goaway(bytes, 0, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void push(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    h2_frame(bytes, H2_SETTINGS, H2_ACK, 0, NULL, 0); /* it knows that we want none */
    h2_response(bytes);
    h2_number(&block, 2, 4);
    h2_header(&block, ":method", "GET");
    h2_frame(bytes, H2_PUSH, H2_END_HEADERS, 1, block.data, block.len);
    h2_free(&block);
}

static void huge_frame(struct h2 *bytes)
{
    h2_number(bytes, 16385, 3);
    h2_number(bytes, H2_DATA, 1);
    h2_number(bytes, 0, 1);
    h2_number(bytes, 1, 4);
}

static void data_on_no_stream(struct h2 *bytes)
{
    h2_frame(bytes, H2_DATA, 0, 0, "x", 1);
}

static void broken_hpack(struct h2 *bytes)
{
    h2_frame(bytes, H2_HEADERS, H2_END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6);
}

static void http1(struct h2 *bytes)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    h2_free(bytes);
    h2_raw(bytes, text, sizeof(text) - 1);
}

/* One header of 1,000 bytes that is remembered, and then meant by a byte each time. */
static void large_headers(struct h2 *bytes)
{
    struct h2 block = {NULL, 0};
    char value[1001];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    h2_header(&block, ":status", "200");
    h2_number(&block, 0x40, 1);
    h2_string(&block, "x", 1);
    h2_string(&block, value, strlen(value));
    for (int i = 0; i < 20; i++) {
        h2_number(&block, 0x80 | 62, 1);
    }
    h2_headers(bytes, &block, 0);
}

static const struct ending endings[] = {
    {"denied", denied, GRPC_PERMISSION_DENIED, true, "no identity issued\n"},
    {"denied later", denied_later, GRPC_PERMISSION_DENIED, true, ""},
    {"ok", ok, GRPC_OK, true, ""},
    {"no status", no_status, GRPC_UNKNOWN, false, "without a grpc-status"},
    {"no trailers", no_trailers, GRPC_UNKNOWN, false, "without a grpc-status"},
    {"odd status", odd_status, GRPC_UNKNOWN, true, ""},
    {"403", http_403, GRPC_PERMISSION_DENIED, false, "not gRPC: HTTP status 403"},
    {"503", http_503_without_type, GRPC_UNAVAILABLE, false, "not gRPC: HTTP status 503"},
    {"html", html, GRPC_UNKNOWN, false, "HTTP status 200, another content-type"},
    {"status without type", status_without_type, GRPC_UNIMPLEMENTED, true, ""},
    {"compressed", compressed, GRPC_INTERNAL, false, "a compressed message"},
    {"refused stream", refused_stream, GRPC_UNAVAILABLE, false, "REFUSED_STREAM"},
    {"cancelled", cancelled, GRPC_CANCELLED, false, "CANCEL"},
    {"internal reset", internal_reset, GRPC_INTERNAL, false, "INTERNAL_ERROR"},
    {"calm", calm, GRPC_RESOURCE_EXHAUSTED, false, "ENHANCE_YOUR_CALM"},
    {"goaway", goaway, GRPC_UNAVAILABLE, false, "GOAWAY"},
    {"goaway refusing", goaway_refusing, GRPC_UNAVAILABLE, false, ""},
    {"push", push, GRPC_INTERNAL, false, "the rules of HTTP/2"},
    {"huge frame", huge_frame, GRPC_INTERNAL, false, "HTTP/2"},
    {"data on no stream", data_on_no_stream, GRPC_INTERNAL, false, "HTTP/2"},
    {"broken hpack", broken_hpack, GRPC_INTERNAL, false, ""},
    {"http/1", http1, GRPC_INTERNAL, false, "HTTP/2"},
    {"large headers", large_headers, GRPC_RESOURCE_EXHAUSTED, false, "more than 16 KiB"},
};

static void test_every_end_is_told_by_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        const struct ending *row = &endings[i];
        for (size_t piece = 1; piece < 40000; piece *= 13) {
            struct grpc_http2 *http2 = started_call();
            struct h2 bytes = {NULL, 0};
            h2_settings(&bytes);
            row->script(&bytes);
            feed(http2, &bytes, piece);
            struct grpc_end end;
            if (!grpc_http2_has_ended(http2, &end)) {
                fail_msg("%s: not ended", row->name);
            }
            assert_end(http2, row->status, row->from_server, row->text);
            grpc_http2_feed_end(http2);
            assert_end(http2, row->status, row->from_server, row->text);
            h2_free(&bytes);
            grpc_http2_free(http2);
        }
    }
}

static void test_an_answer_before_the_end_is_not_lost(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = started_call();
    struct h2 bytes = {NULL, 0};
    h2_settings(&bytes);
    denied_later(&bytes);
    feed(http2, &bytes, bytes.len);
    assert_answer(http2, "good");
    assert_end(http2, GRPC_PERMISSION_DENIED, true, "");
    h2_free(&bytes);
    grpc_http2_free(http2);
}

static void test_a_closed_connection_is_an_end(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = started_call();
    struct h2 bytes = {NULL, 0};
    h2_settings(&bytes);
    h2_response(&bytes);
    h2_data(&bytes, "\0\0\0\0\5hal", 8);
    feed(http2, &bytes, bytes.len);
    assert_open(http2);
    grpc_http2_feed_end(http2);
    assert_end(http2, GRPC_UNAVAILABLE, false, "the connection was closed");
    assert_no_answer(http2);
    h2_free(&bytes);
    grpc_http2_free(http2);
}

static void test_answers_a_ping_and_sends_one(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = started_call();
    struct h2 bytes = {NULL, 0};
    struct h2 out = {NULL, 0};
    h2_settings(&bytes);
    h2_frame(&bytes, H2_PING, 0, 0, "pingping", 8);
    grpc_http2_feed(http2, bytes.data, bytes.len);
    drain(http2, &out);
    assert_non_null(memmem(out.data, out.len, "pingping", 8));
    h2_free(&out);
    grpc_http2_ping(http2);
    drain(http2, &out);
    assert_int_equal(out.len, 9 + 8);
    assert_int_equal(out.data[3], H2_PING);
    assert_open(http2);
    h2_free(&out);
    h2_free(&bytes);
    grpc_http2_free(http2);
}

/* A server that asks for answers and doesn't read them. */
static void test_answers_that_nobody_reads_are_bounded(void **state)
{
    (void)state;
    struct grpc_http2 *http2 = started_call();
    struct h2 bytes = {NULL, 0};
    h2_settings(&bytes);
    for (int i = 0; i < 1000; i++) {
        h2_frame(&bytes, H2_PING, 0, 0, "pingping", 8);
    }
    grpc_http2_feed(http2, bytes.data, bytes.len);
    assert_end(http2, GRPC_INTERNAL, false, "broken HTTP/2");
    h2_free(&bytes);
    grpc_http2_free(http2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sends_the_request),
        cmocka_unit_test(test_sends_a_request_that_is_not_empty),
        cmocka_unit_test(test_takes_answers_in_any_pieces),
        cmocka_unit_test(test_of_answers_that_come_together_the_last_counts),
        cmocka_unit_test(test_takes_the_largest_answer_and_no_larger),
        cmocka_unit_test(test_every_end_is_told_by_its_name),
        cmocka_unit_test(test_an_answer_before_the_end_is_not_lost),
        cmocka_unit_test(test_a_closed_connection_is_an_end),
        cmocka_unit_test(test_answers_a_ping_and_sends_one),
        cmocka_unit_test(test_answers_that_nobody_reads_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
