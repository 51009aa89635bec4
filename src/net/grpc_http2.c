/*
 * nghttp2 knows HTTP/2, this file what gRPC makes of it: one request, its answer's headers, DATA
 * (messages), and trailers, which may be the headers themselves.
 *
 * What may hold a key: the caller's buffer, into which nghttp2's callback for DATA points (it keeps
 * nothing of it), and the message, which grpc_reader wipes. So that nothing hangs on the insides
 * of a version of nghttp2, everything that it frees is wiped as well.
 *
 * The first thing that ends the call stands (end_call); what comes later is not looked at.
 */
#include "grpc_http2.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/assert.h"
#include "base/memory.h"

enum {
    WINDOW = 1024 * 1024,
    HEADER_LIST_MAX = 16 * 1024, /* of one block, as HTTP/2 counts (RFC 9113 6.5.2) */
    HEADER_OVERHEAD = 32,
    ACKS_MAX = 100,    /* that wait to be sent: who doesn't read them is no server */
    SETTINGS_MAX = 32, /* entries in one frame */
    FIXED_HEADERS = 6,
    HTTP_OK = 200
};

/* Of the answer's headers and trailers. */
struct answer_head {
    unsigned http_status;
    bool is_grpc;
    bool has_status;
    enum grpc_status status;
    char text[GRPC_TEXT_MAX];
    size_t text_len;
    size_t bytes;
};

struct grpc_http2 {
    nghttp2_session *session;
    int32_t stream;
    uint8_t request[GRPC_PREFIX_SIZE + GRPC_REQUEST_MAX];
    size_t request_len;
    size_t request_sent;
    struct answer_head head;
    struct grpc_reader reader;
    bool unary;
    bool answered;
    uint8_t *answer; /* whole and not told of; NULL: none */
    size_t answer_len;
    bool answer_given; /* told of, to be wiped at the next call */
    bool ended;
    bool end_from_server;
    enum grpc_status end_status;
    char end_text[GRPC_TEXT_MAX];
    size_t end_text_len;
};

/* --- nghttp2's memory ------------------------------------------------------------------------ */

static void *on_malloc(size_t size, void *arg)
{
    (void)arg;
    return malloc(size);
}

static void *on_calloc(size_t count, size_t size, void *arg)
{
    (void)arg;
    return calloc(count, size);
}

static void on_free(void *block, void *arg)
{
    (void)arg;
    if (block != NULL) {
        explicit_bzero(block, malloc_usable_size(block));
        free(block);
    }
}

static void *on_realloc(void *block, size_t size, void *arg)
{
    void *moved = malloc(size);
    if (moved != NULL && block != NULL) {
        size_t held = malloc_usable_size(block);
        memcpy(moved, block, held < size ? held : size);
        on_free(block, arg);
    }
    return moved;
}

/* --- the end --------------------------------------------------------------------------------- */

static void end_call(struct grpc_http2 *http2, enum grpc_status status, bool from_server,
                     struct strview text)
{
    if (http2->ended) {
        return;
    }
    http2->ended = true;
    http2->end_status = status;
    http2->end_from_server = from_server;
    http2->end_text_len = text.len < sizeof(http2->end_text) ? text.len : sizeof(http2->end_text);
    if (http2->end_text_len > 0) {
        memcpy(http2->end_text, text.ptr, http2->end_text_len);
    }
}

static void end_by_us(struct grpc_http2 *http2, enum grpc_status status, const char *text)
{
    end_call(http2, status, false, strview_from(text));
}

static void end_by_status(struct grpc_http2 *http2)
{
    const struct answer_head *head = &http2->head;
    end_call(http2, head->status, true, (struct strview){head->text, head->text_len});
}

/* An answer by something else than a gRPC server. It is not the server's word (from_server): only
   a grpc-status is worth taking an identity away. */
static void end_by_http(struct grpc_http2 *http2)
{
    char text[GRPC_TEXT_MAX];
    unsigned status = http2->head.http_status;
    (void)snprintf(text, sizeof(text), "the answer is not gRPC: HTTP status %u%s", status,
                   status == HTTP_OK ? ", another content-type than application/grpc" : "");
    end_by_us(http2, grpc_status_of_http(status), text);
}

/* gRPC's "HTTP2 Transport Mapping", Errors. */
static void end_by_reset(struct grpc_http2 *http2, uint32_t code)
{
    enum grpc_status status = GRPC_INTERNAL;
    char text[GRPC_TEXT_MAX];
    if (code == NGHTTP2_REFUSED_STREAM) {
        status = GRPC_UNAVAILABLE;
    } else if (code == NGHTTP2_CANCEL) {
        status = GRPC_CANCELLED;
    } else if (code == NGHTTP2_ENHANCE_YOUR_CALM) {
        status = GRPC_RESOURCE_EXHAUSTED;
    }
    (void)snprintf(text, sizeof(text), "the stream was reset: %s", nghttp2_http2_strerror(code));
    end_by_us(http2, status, text);
}

/* --- headers --------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    (void)frame;
    struct grpc_http2 *http2 = arg;
    http2->head.bytes = 0;
    return 0;
}

static void take_status(struct answer_head *head, struct strview value)
{
    enum { DIGITS = 3, TEN = 10 };
    head->http_status = 0;
    for (size_t i = 0; i < value.len && i < DIGITS; i++) { /* nghttp2 has seen that it is three */
        head->http_status = head->http_status * TEN + (unsigned)(value.ptr[i] - '0');
    }
}

/* "application/grpc", alone or with "+proto" or a parameter behind it. */
static bool is_grpc_type(struct strview value)
{
    static const char TYPE[] = "application/grpc";
    if (!strview_starts_with(value, TYPE)) {
        return false;
    }
    char next = value.len > sizeof(TYPE) - 1 ? value.ptr[sizeof(TYPE) - 1] : ';';
    return next == ';' || next == '+';
}

static void take_header(struct answer_head *head, struct strview name, struct strview value)
{
    if (strview_equal_text(name, ":status")) {
        take_status(head, value);
    } else if (strview_equal_text(name, "content-type")) {
        head->is_grpc = is_grpc_type(value);
    } else if (strview_equal_text(name, "grpc-status")) {
        head->has_status = true;
        head->status = grpc_status_parse(value);
    } else if (strview_equal_text(name, "grpc-message")) {
        head->text_len = grpc_message_decode(value, head->text, sizeof(head->text));
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)session;
    (void)flags;
    struct grpc_http2 *http2 = arg;
    http2->head.bytes += name_len + value_len + HEADER_OVERHEAD;
    if (http2->head.bytes > HEADER_LIST_MAX) {
        end_by_us(http2, GRPC_RESOURCE_EXHAUSTED, "its headers are more than 16 KiB");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.stream_id == http2->stream) {
        take_header(&http2->head, (struct strview){(const char *)name, name_len},
                    (struct strview){(const char *)value, value_len});
    }
    return 0;
}

static void on_headers_whole(struct grpc_http2 *http2, const nghttp2_frame *frame)
{
    const struct answer_head *head = &http2->head;
    bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->headers.cat == NGHTTP2_HCAT_RESPONSE) {
        if (head->http_status != HTTP_OK || !head->is_grpc) {
            /* A server that says its status as gRPC does is believed all the same. */
            if (head->has_status) {
                end_by_status(http2);
            } else {
                end_by_http(http2);
            }
            return;
        }
    }
    if (is_last && head->has_status) {
        end_by_status(http2); /* a clean end of the stream may come in a frame of its own */
    } else if (is_last) {
        end_by_us(http2, GRPC_UNKNOWN, "the answer has ended without a grpc-status");
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct grpc_http2 *http2 = arg;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.stream_id == http2->stream) {
        on_headers_whole(http2, frame);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        char text[GRPC_TEXT_MAX];
        (void)snprintf(text, sizeof(text), "the server takes its leave (GOAWAY): %s",
                       nghttp2_http2_strerror(frame->goaway.error_code));
        end_by_us(http2, GRPC_UNAVAILABLE, text);
    }
    return 0;
}

/* --- answers --------------------------------------------------------------------------------- */

static void drop_answer(struct grpc_http2 *http2)
{
    if (http2->answer != NULL) {
        explicit_bzero(http2->answer, http2->answer_len);
        mem_free(http2->answer);
        http2->answer = NULL;
    }
    http2->answer_given = false;
}

/* The reader's message becomes the answer that is told next. */
static void keep_answer(struct grpc_http2 *http2)
{
    drop_answer(http2);
    http2->answer = http2->reader.message;
    http2->answer_len = http2->reader.len;
    grpc_reader_init(&http2->reader, http2->reader.max);
}

static void end_by_reader(struct grpc_http2 *http2, enum grpc_read read)
{
    char text[GRPC_TEXT_MAX];
    if (read == GRPC_READ_COMPRESSED) {
        end_by_us(http2, GRPC_INTERNAL, "a compressed message, which nobody asked for");
    } else if (read == GRPC_READ_NO_MEMORY) {
        end_by_us(http2, GRPC_RESOURCE_EXHAUSTED, "memory is out");
    } else {
        (void)snprintf(text, sizeof(text), "a message of %zu bytes; at most %zu are taken",
                       http2->reader.len, http2->reader.max);
        end_by_us(http2, GRPC_RESOURCE_EXHAUSTED, text);
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)session;
    (void)flags;
    struct grpc_http2 *http2 = arg;
    if (stream != http2->stream) {
        return 0;
    }
    while (len > 0 && !http2->ended) {
        size_t used = 0;
        enum grpc_read read = grpc_reader_take(&http2->reader, data, len, &used);
        data += used;
        len -= used;
        if (read == GRPC_READ_MESSAGE && http2->unary && http2->answered) {
            end_by_us(http2, GRPC_INTERNAL, "a second answer, where there is one");
        } else if (read == GRPC_READ_MESSAGE) {
            http2->answered = true;
            keep_answer(http2);
        } else if (read != GRPC_READ_MORE) {
            end_by_reader(http2, read);
        }
    }
    return http2->ended ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    (void)session;
    struct grpc_http2 *http2 = arg;
    if (stream != http2->stream) {
        return 0;
    }
    if (http2->head.has_status) {
        end_by_status(http2);
    } else if (code != NGHTTP2_NO_ERROR) {
        end_by_reset(http2, code);
    } else {
        end_by_us(http2, GRPC_UNKNOWN, "the answer has ended without a grpc-status");
    }
    return 0;
}

/* --- the request ----------------------------------------------------------------------------- */

static ssize_t on_request_read(nghttp2_session *session, int32_t stream, uint8_t *out, size_t size,
                               uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)stream;
    (void)source;
    struct grpc_http2 *http2 = arg;
    size_t left = http2->request_len - http2->request_sent;
    size_t len = left < size ? left : size;
    memcpy(out, http2->request + http2->request_sent, len);
    http2->request_sent += len;
    if (http2->request_sent == http2->request_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)len;
}

static void make_request(struct grpc_http2 *http2, const struct grpc_call_options *options)
{
    enum { BYTE = 8, BYTE_MASK = 0xff };
    ASSERT(options->request_len <= GRPC_REQUEST_MAX);
    http2->request[GRPC_PREFIX_SIZE - 2] = (uint8_t)(options->request_len >> BYTE);
    http2->request[GRPC_PREFIX_SIZE - 1] = (uint8_t)(options->request_len & BYTE_MASK);
    if (options->request_len > 0) {
        memcpy(http2->request + GRPC_PREFIX_SIZE, options->request, options->request_len);
    }
    http2->request_len = GRPC_PREFIX_SIZE + options->request_len;
}

/* nghttp2's structs are not const, though it does not write. */
static nghttp2_nv header_of(const char *name, const char *value)
{
    union {
        const char *text;
        uint8_t *bytes;
    } n = {.text = name}, v = {.text = value};
    return (nghttp2_nv){.name = n.bytes,
                        .value = v.bytes,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

static int submit_request(struct grpc_http2 *http2, const struct grpc_call_options *options)
{
    nghttp2_nv headers[FIXED_HEADERS + GRPC_METADATA_MAX] = {
        header_of(":method", "POST"),      header_of(":scheme", "http"),
        header_of(":path", options->path), header_of(":authority", "localhost"),
        header_of("te", "trailers"),       header_of("content-type", "application/grpc"),
    };
    size_t count = FIXED_HEADERS;
    ASSERT(options->metadata_count <= GRPC_METADATA_MAX);
    for (size_t i = 0; i < options->metadata_count; i++) {
        headers[count++] = header_of(options->metadata[i].name, options->metadata[i].value);
    }
    make_request(http2, options);
    const nghttp2_data_provider body = {.read_callback = on_request_read};
    http2->stream = nghttp2_submit_request(http2->session, NULL, headers, count, &body, NULL);
    return http2->stream < 0 ? -1 : 0;
}

static int submit_settings(nghttp2_session *session)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX},
    };
    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
                                sizeof(settings) / sizeof(settings[0])) != 0) {
        return -1;
    }
    return nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, WINDOW);
}

/* --- the object ------------------------------------------------------------------------------ */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    return callbacks;
}

static nghttp2_option *make_option(void)
{
    nghttp2_option *option = NULL;
    if (nghttp2_option_new(&option) != 0) {
        return NULL;
    }
    nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
    nghttp2_option_set_max_settings(option, SETTINGS_MAX);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    return option;
}

static int make_session(struct grpc_http2 *http2)
{
    nghttp2_mem memory = {NULL, on_malloc, on_free, on_calloc, on_realloc};
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = make_option();
    int result = -1;
    if (callbacks != NULL && option != NULL) {
        result = nghttp2_session_client_new3(&http2->session, callbacks, http2, option, &memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return result;
}

struct grpc_http2 *grpc_http2_new(const struct grpc_call_options *options)
{
    struct grpc_http2 *http2 = mem_try_alloc(sizeof(*http2));
    if (http2 == NULL) {
        return NULL;
    }
    grpc_reader_init(&http2->reader, options->answer_max);
    http2->unary = options->unary;
    if (make_session(http2) != 0 || submit_settings(http2->session) != 0 ||
        submit_request(http2, options) != 0) {
        grpc_http2_free(http2);
        return NULL;
    }
    return http2;
}

void grpc_http2_free(struct grpc_http2 *http2)
{
    if (http2 == NULL) {
        return;
    }
    nghttp2_session_del(http2->session);
    drop_answer(http2);
    grpc_reader_fini(&http2->reader);
    mem_free(http2);
}

void grpc_http2_feed(struct grpc_http2 *http2, const uint8_t *data, size_t len)
{
    if (http2->ended) {
        return;
    }
    ssize_t used = nghttp2_session_mem_recv(http2->session, data, len);
    if (used < 0 && !http2->ended) {
        char text[GRPC_TEXT_MAX];
        (void)snprintf(text, sizeof(text), "broken HTTP/2: %s", nghttp2_strerror((int)used));
        end_by_us(http2, GRPC_INTERNAL, text);
    }
}

void grpc_http2_feed_end(struct grpc_http2 *http2)
{
    end_by_us(http2, GRPC_UNAVAILABLE, "the connection was closed");
}

size_t grpc_http2_output(struct grpc_http2 *http2, const uint8_t **data)
{
    ssize_t len = nghttp2_session_mem_send(http2->session, data);
    if (len < 0) {
        end_by_us(http2, GRPC_INTERNAL, nghttp2_strerror((int)len));
        return 0;
    }
    if (len == 0 && !http2->ended && nghttp2_session_want_read(http2->session) == 0) {
        /* nghttp2 has said what it thinks of the server (GOAWAY), and that was the last of it. */
        end_by_us(http2, GRPC_INTERNAL, "the server has broken the rules of HTTP/2");
    }
    return (size_t)len;
}

void grpc_http2_ping(struct grpc_http2 *http2)
{
    /* Fails only without memory: then no answer comes, and the call ends by that. */
    (void)nghttp2_submit_ping(http2->session, NGHTTP2_FLAG_NONE, NULL);
}

bool grpc_http2_answer(struct grpc_http2 *http2, const uint8_t **message, size_t *len)
{
    if (http2->answer_given) {
        drop_answer(http2);
    }
    if (http2->answer == NULL) {
        return false;
    }
    http2->answer_given = true;
    *message = http2->answer;
    *len = http2->answer_len;
    return true;
}

bool grpc_http2_is_inside(const struct grpc_http2 *http2)
{
    return grpc_reader_is_inside(&http2->reader);
}

bool grpc_http2_has_ended(const struct grpc_http2 *http2, struct grpc_end *end)
{
    if (http2->ended) {
        *end = (struct grpc_end){
            .status = http2->end_status,
            .from_server = http2->end_from_server,
            .text = {.ptr = http2->end_text, .len = http2->end_text_len},
        };
    }
    return http2->ended;
}

const char *grpc_call_build_version(void)
{
    return NGHTTP2_VERSION;
}

const char *grpc_call_run_version(void)
{
    return nghttp2_version(0)->version_str;
}
