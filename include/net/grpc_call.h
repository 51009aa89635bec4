/*
 * grpc_call: one gRPC call of a client, over a connection of its own: HTTP/2 without TLS, to a Unix
 * socket or an IP address. One request message; any number of answers, each of which replaces the
 * one before it: of those that come together only the last is told.
 *
 * The thread of its loop; never blocks. The server is not trusted: headers, frames and messages are
 * bounded, answers of a stream are told at most some fifty times a second, and for half of the time
 * at most, and twelve megabytes a second are read, whatever they are. Answers may hold a private
 * key, so every buffer that they pass through is wiped.
 */
#ifndef BULKHEAD_NET_GRPC_CALL_H
#define BULKHEAD_NET_GRPC_CALL_H

#include "base/netaddr.h"
#include "net/grpc_reader.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grpc_call;

struct grpc_metadata {
    const char *name; /* lower case */
    const char *value;
};

struct grpc_call_options {
    struct netaddr address;
    const char *path; /* "/Service/Method"; a constant, like the metadata */
    const struct grpc_metadata *metadata;
    size_t metadata_count;  /* at most GRPC_METADATA_MAX */
    const uint8_t *request; /* a message; copied. NULL with 0: an empty one */
    size_t request_len;     /* at most GRPC_REQUEST_MAX */
    size_t answer_max;      /* bytes of a message */
    bool unary;             /* a second answer ends the call: GRPC_INTERNAL */
    uint64_t connect_ms;
    /* For the first answer from the connect on; for each further one from its first byte on. */
    uint64_t answer_ms;
    /* After so long without a byte a PING is sent; without a byte for ping_answer_ms more the
       server is dead. Servers resent a PING more often than every five minutes (gRPC's default). */
    uint64_t ping_ms;
    uint64_t ping_answer_ms;
};

enum { GRPC_METADATA_MAX = 8, GRPC_REQUEST_MAX = 1024, GRPC_TEXT_MAX = 512 };

struct grpc_end {
    enum grpc_status status;
    bool from_server;    /* false: we have found it out: no connection, too late, a broken answer */
    struct strview text; /* a sentence; from the server: any bytes; escape it */
};

struct grpc_call_handler {
    /* Valid during the call, which may cancel. */
    void (*on_answer)(void *arg, const uint8_t *message, size_t len);
    /* The call is over and gone. Not from inside grpc_call_start, nor after grpc_call_cancel. */
    void (*on_end)(void *arg, const struct grpc_end *end);
};

/* Copies options but for its constants. handler outlives the call. NULL: memory is out. */
struct grpc_call *grpc_call_start(struct loop *loop, const struct grpc_call_options *options,
                                  const struct grpc_call_handler *handler, void *arg);
/* No callback any more. NULL is fine. */
void grpc_call_cancel(struct grpc_call *call);

/* Build-time and run-time version texts of nghttp2. */
const char *grpc_call_build_version(void);
const char *grpc_call_run_version(void);

#endif
