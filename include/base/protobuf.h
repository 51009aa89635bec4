/*
 * protobuf: reads protobuf's wire format a field at a time, and copies nothing. Groups, which no
 * message of today has, are refused. Pure; any thread.
 */
#ifndef BULKHEAD_BASE_PROTOBUF_H
#define BULKHEAD_BASE_PROTOBUF_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left to read; text is UTF-8 or any bytes. */
struct protobuf_wire {
    const uint8_t *at;
    size_t left;
};

enum protobuf_type {
    PROTOBUF_VARINT = 0,
    PROTOBUF_FIXED64 = 1,
    PROTOBUF_BYTES = 2,
    PROTOBUF_GROUP_START = 3,
    PROTOBUF_GROUP_END = 4,
    PROTOBUF_FIXED32 = 5
};

struct protobuf_field {
    uint64_t number;
    enum protobuf_type type;
    struct protobuf_wire value; /* of all types but VARINT; inside the message */
    uint64_t varint;            /* of VARINT, else 0 */
};

/* The next field, whatever its number and type. -1 with err: the bytes are broken. */
int protobuf_take(struct protobuf_wire *in, struct protobuf_field *field, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
