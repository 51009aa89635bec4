/*
 * h2: writes what a server of HTTP/2 and gRPC sends, good and broken, frame by frame. For tests;
 * knows nothing of the client that it tests.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_H2_H
#define BULKHEAD_TESTS_UNIT_NET_H2_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A zeroed struct is empty. */
struct h2 {
    uint8_t *data;
    size_t len;
};

enum { H2_DATA = 0, H2_HEADERS, H2_RST_STREAM = 3, H2_SETTINGS, H2_PUSH, H2_PING, H2_GOAWAY };
enum { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4, H2_PADDED = 8 };

static inline void h2_raw(struct h2 *h2, const void *data, size_t len)
{
    h2->data = realloc(h2->data, h2->len + len + 1);
    assert(h2->data != NULL);
    if (len > 0) {
        memcpy(h2->data + h2->len, data, len);
    }
    h2->len += len;
}

static inline void h2_number(struct h2 *h2, uint64_t number, unsigned bytes)
{
    while (bytes-- > 0) {
        uint8_t byte = (uint8_t)(number >> (8 * bytes));
        h2_raw(h2, &byte, 1);
    }
}

static inline void h2_free(struct h2 *h2)
{
    free(h2->data);
    *h2 = (struct h2){NULL, 0};
}

static inline void h2_frame(struct h2 *h2, unsigned type, unsigned flags, uint32_t stream,
                            const void *payload, size_t len)
{
    h2_number(h2, len, 3);
    h2_number(h2, type, 1);
    h2_number(h2, flags, 1);
    h2_number(h2, stream, 4);
    h2_raw(h2, payload, len);
}

/* RFC 7541 5.2, without Huffman. */
static inline void h2_string(struct h2 *block, const char *text, size_t len)
{
    if (len < 127) {
        h2_number(block, len, 1);
    } else {
        h2_number(block, 127, 1);
        size_t rest = len - 127;
        while (rest >= 128) {
            h2_number(block, rest % 128 + 128, 1);
            rest /= 128;
        }
        h2_number(block, rest, 1);
    }
    h2_raw(block, text, len);
}

/* RFC 7541 6.2.2: a literal that nobody remembers. */
static inline void h2_header(struct h2 *block, const char *name, const char *value)
{
    h2_number(block, 0, 1);
    h2_string(block, name, strlen(name));
    h2_string(block, value, strlen(value));
}

/* Takes the block. */
static inline void h2_headers(struct h2 *h2, struct h2 *block, unsigned flags)
{
    h2_frame(h2, H2_HEADERS, flags | H2_END_HEADERS, 1, block->data, block->len);
    h2_free(block);
}

static inline void h2_settings(struct h2 *h2)
{
    h2_frame(h2, H2_SETTINGS, 0, 0, NULL, 0);
}

static inline void h2_response(struct h2 *h2)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "200");
    h2_header(&block, "content-type", "application/grpc");
    h2_headers(h2, &block, 0);
}

static inline void h2_data(struct h2 *h2, const void *data, size_t len)
{
    h2_frame(h2, H2_DATA, 0, 1, data, len);
}

/* A gRPC message in one DATA frame. */
static inline void h2_message(struct h2 *h2, const void *message, size_t len)
{
    struct h2 framed = {NULL, 0};
    h2_number(&framed, 0, 1);
    h2_number(&framed, len, 4);
    h2_raw(&framed, message, len);
    h2_data(h2, framed.data, framed.len);
    h2_free(&framed);
}

/* NULL: none. */
static inline void h2_trailers(struct h2 *h2, const char *status, const char *message)
{
    struct h2 block = {NULL, 0};
    if (status != NULL) {
        h2_header(&block, "grpc-status", status);
    }
    if (message != NULL) {
        h2_header(&block, "grpc-message", message);
    }
    h2_headers(h2, &block, H2_END_STREAM);
}

static inline void h2_trailers_only(struct h2 *h2, const char *status, const char *message)
{
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "200");
    h2_header(&block, "content-type", "application/grpc");
    h2_header(&block, "grpc-status", status);
    if (message != NULL) {
        h2_header(&block, "grpc-message", message);
    }
    h2_headers(h2, &block, H2_END_STREAM);
}

static inline void h2_rst_stream(struct h2 *h2, uint32_t code)
{
    uint8_t payload[4] = {0, 0, 0, (uint8_t)code};
    h2_frame(h2, H2_RST_STREAM, 0, 1, payload, sizeof(payload));
}

static inline void h2_goaway(struct h2 *h2, uint8_t last_stream, uint8_t code)
{
    uint8_t payload[8] = {0, 0, 0, last_stream, 0, 0, 0, code};
    h2_frame(h2, H2_GOAWAY, 0, 0, payload, sizeof(payload));
}

#endif
