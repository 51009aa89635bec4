/*
 * Fuzz target: grpc_http2: the bytes of a server, in pieces whose sizes the input's first byte
 * chooses. No answer is larger than allowed, after the end nothing comes, what is sent is bounded.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/grpc_http2.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER_MAX = 4096 };

static size_t drain(struct grpc_http2 *http2)
{
    const uint8_t *bytes = NULL;
    size_t total = 0;
    size_t len = 0;
    while ((len = grpc_http2_output(http2, &bytes)) > 0) {
        ASSERT(bytes != NULL);
        total += len;
    }
    return total;
}

static void look(struct grpc_http2 *http2)
{
    struct grpc_end end;
    const uint8_t *message = NULL;
    size_t len = 0;
    size_t sum = 0;
    if (grpc_http2_answer(http2, &message, &len)) {
        ASSERT(len <= ANSWER_MAX);
        for (size_t i = 0; i < len; i++) {
            sum += message[i];
        }
        ASSERT(sum <= len * UINT8_MAX);
        ASSERT(!grpc_http2_answer(http2, &message, &len));
    }
    if (grpc_http2_has_ended(http2, &end)) {
        ASSERT((int)end.status >= 0 && (int)end.status < GRPC_STATUSES);
        ASSERT(end.text.len <= GRPC_TEXT_MAX);
        ASSERT(end.from_server || end.text.len > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct grpc_metadata metadata[] = {{"workload.spiffe.io", "true"}};
    const struct grpc_call_options options = {.path = "/SpiffeWorkloadAPI/FetchX509SVID",
                                              .metadata = metadata,
                                              .metadata_count = 1,
                                              .answer_max = ANSWER_MAX};
    if (size == 0) {
        return 0;
    }
    size_t most = data[0] == 0 ? size : data[0];
    struct grpc_http2 *http2 = grpc_http2_new(&options);
    ASSERT(http2 != NULL);
    size_t sent = drain(http2);
    ASSERT(sent < 1024);
    for (size_t at = 1; at < size; at += most) {
        size_t len = size - at < most ? size - at : most;
        struct grpc_end end;
        bool had_ended = grpc_http2_has_ended(http2, &end);
        uint8_t *piece = malloc(len);
        ASSERT(piece != NULL);
        memcpy(piece, data + at, len);
        grpc_http2_feed(http2, piece, len);
        free(piece);
        const uint8_t *message = NULL;
        size_t message_len = 0;
        ASSERT(!had_ended || !grpc_http2_answer(http2, &message, &message_len));
        /* Acknowledgements of SETTINGS and PING, window updates, resets, a GOAWAY. */
        sent += drain(http2);
        ASSERT(sent <= 1024 + 4 * (at + len));
        look(http2);
    }
    grpc_http2_feed_end(http2);
    struct grpc_end end;
    ASSERT(grpc_http2_has_ended(http2, &end));
    look(http2);
    grpc_http2_free(http2);
    return 0;
}
