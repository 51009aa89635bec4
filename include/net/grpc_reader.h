/*
 * grpc_reader: the messages of a gRPC stream, put together from the pieces that its DATA frames
 * bring (gRPC over HTTP/2, "Length-Prefixed-Message"); and gRPC's words for what went wrong.
 *
 * A message may hold a private key: its memory is wiped before it is given back. Pure; any thread.
 */
#ifndef BULKHEAD_NET_GRPC_READER_H
#define BULKHEAD_NET_GRPC_READER_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GRPC_PREFIX_SIZE = 5 };

struct grpc_reader {
    uint8_t prefix[GRPC_PREFIX_SIZE];
    size_t prefix_len;
    uint8_t *message; /* NULL: none has begun, or the prefix is not whole */
    size_t len;       /* that the prefix says */
    size_t have;
    size_t max;
};

enum grpc_read {
    GRPC_READ_MORE = 0,
    GRPC_READ_MESSAGE,    /* message and len, until grpc_reader_next; also of no bytes */
    GRPC_READ_COMPRESSED, /* nobody asked for that */
    GRPC_READ_TOO_LARGE,  /* more than max */
    GRPC_READ_NO_MEMORY
};

/* Messages of at most max bytes. */
void grpc_reader_init(struct grpc_reader *reader, size_t max);
void grpc_reader_fini(struct grpc_reader *reader); /* again is fine */
/* Takes bytes up to the end of a message; *used: how many. After a failure only fini. */
enum grpc_read grpc_reader_take(struct grpc_reader *reader, const uint8_t *data, size_t len,
                                size_t *used) __attribute__((warn_unused_result));
/* Has a message begun that is not whole? */
bool grpc_reader_is_inside(const struct grpc_reader *reader);
/* Wipes the message that was whole. */
void grpc_reader_next(struct grpc_reader *reader);

/* The codes of gRPC. */
enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED
};
enum { GRPC_STATUSES = GRPC_UNAUTHENTICATED + 1 };
const char *grpc_status_name(enum grpc_status status); /* "PermissionDenied", … */
/* Of the header `grpc-status`; what is no code is GRPC_UNKNOWN. */
enum grpc_status grpc_status_parse(struct strview text);
/* What an answer that is not of gRPC means (gRPC's "HTTP to gRPC Status Code Mapping"). */
enum grpc_status grpc_status_of_http(unsigned http_status);
/*
 * Of the header `grpc-message`, which is percent-encoded; what is no such code stays as it is, as
 * gRPC wants it. The result may hold any byte: escape it. Cut at size; returns its length.
 */
size_t grpc_message_decode(struct strview text, char *out, size_t size);

#endif
