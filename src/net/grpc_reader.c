/* One message at a time: its five bytes of prefix, then memory for exactly as much as they say. */
#include "net/grpc_reader.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

enum { COMPRESSED_FLAG = 0, LENGTH_AT = 1, BYTE_BITS = 8 };

void grpc_reader_init(struct grpc_reader *reader, size_t max)
{
    *reader = (struct grpc_reader){.max = max};
}

void grpc_reader_next(struct grpc_reader *reader)
{
    if (reader->message != NULL) {
        explicit_bzero(reader->message, reader->have);
        mem_free(reader->message);
    }
    grpc_reader_init(reader, reader->max);
}

void grpc_reader_fini(struct grpc_reader *reader)
{
    grpc_reader_next(reader);
}

bool grpc_reader_is_inside(const struct grpc_reader *reader)
{
    return reader->prefix_len > 0 && (reader->message == NULL || reader->have < reader->len);
}

static enum grpc_read begin_message(struct grpc_reader *reader)
{
    if (reader->prefix[COMPRESSED_FLAG] != 0) {
        return GRPC_READ_COMPRESSED;
    }
    for (size_t i = LENGTH_AT; i < GRPC_PREFIX_SIZE; i++) {
        reader->len = reader->len << BYTE_BITS | reader->prefix[i];
    }
    if (reader->len > reader->max) {
        return GRPC_READ_TOO_LARGE;
    }
    reader->message = mem_try_alloc(reader->len);
    return reader->message == NULL ? GRPC_READ_NO_MEMORY : GRPC_READ_MORE;
}

/* As much of data as still fits into a piece of which have bytes are there. */
static size_t take_piece(uint8_t *piece, size_t *have, size_t size, const uint8_t *data, size_t len)
{
    size_t count = len < size - *have ? len : size - *have;
    if (count > 0) {
        memcpy(piece + *have, data, count);
        *have += count;
    }
    return count;
}

enum grpc_read grpc_reader_take(struct grpc_reader *reader, const uint8_t *data, size_t len,
                                size_t *used)
{
    ASSERT(reader->message == NULL || reader->have < reader->len);
    *used = 0;
    if (reader->message == NULL) {
        *used = take_piece(reader->prefix, &reader->prefix_len, GRPC_PREFIX_SIZE, data, len);
        if (reader->prefix_len < GRPC_PREFIX_SIZE) {
            return GRPC_READ_MORE;
        }
        enum grpc_read begun = begin_message(reader);
        if (begun != GRPC_READ_MORE) {
            return begun;
        }
    }
    *used += take_piece(reader->message, &reader->have, reader->len, data + *used, len - *used);
    return reader->have == reader->len ? GRPC_READ_MESSAGE : GRPC_READ_MORE;
}

const char *grpc_status_name(enum grpc_status status)
{
    static const char *const names[GRPC_STATUSES] = {
        [GRPC_OK] = "OK",
        [GRPC_CANCELLED] = "Cancelled",
        [GRPC_UNKNOWN] = "Unknown",
        [GRPC_INVALID_ARGUMENT] = "InvalidArgument",
        [GRPC_DEADLINE_EXCEEDED] = "DeadlineExceeded",
        [GRPC_NOT_FOUND] = "NotFound",
        [GRPC_ALREADY_EXISTS] = "AlreadyExists",
        [GRPC_PERMISSION_DENIED] = "PermissionDenied",
        [GRPC_RESOURCE_EXHAUSTED] = "ResourceExhausted",
        [GRPC_FAILED_PRECONDITION] = "FailedPrecondition",
        [GRPC_ABORTED] = "Aborted",
        [GRPC_OUT_OF_RANGE] = "OutOfRange",
        [GRPC_UNIMPLEMENTED] = "Unimplemented",
        [GRPC_INTERNAL] = "Internal",
        [GRPC_UNAVAILABLE] = "Unavailable",
        [GRPC_DATA_LOSS] = "DataLoss",
        [GRPC_UNAUTHENTICATED] = "Unauthenticated",
    };
    return names[status];
}

enum grpc_status grpc_status_parse(struct strview text)
{
    enum { TEN = 10, DIGITS_MAX = 2 };
    int code = 0;
    if (text.len == 0 || text.len > DIGITS_MAX) {
        return GRPC_UNKNOWN;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return GRPC_UNKNOWN;
        }
        code = code * TEN + (text.ptr[i] - '0');
    }
    return code < GRPC_STATUSES ? (enum grpc_status)code : GRPC_UNKNOWN;
}

enum grpc_status grpc_status_of_http(unsigned http_status)
{
    static const struct {
        unsigned http;
        enum grpc_status status;
    } rows[] = {
        {400, GRPC_INTERNAL},      {401, GRPC_UNAUTHENTICATED}, {403, GRPC_PERMISSION_DENIED},
        {404, GRPC_UNIMPLEMENTED}, {429, GRPC_UNAVAILABLE},     {502, GRPC_UNAVAILABLE},
        {503, GRPC_UNAVAILABLE},   {504, GRPC_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].http == http_status) {
            return rows[i].status;
        }
    }
    return GRPC_UNKNOWN;
}

static int hex_value(char c)
{
    enum { TEN = 10 };
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + TEN;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + TEN : -1;
}

size_t grpc_message_decode(struct strview text, char *out, size_t size)
{
    enum { HEX_BITS = 4, CODE_LEN = 3 };
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < size; i++) {
        char c = text.ptr[i];
        if (c == '%' && i + CODE_LEN <= text.len) {
            int high = hex_value(text.ptr[i + 1]);
            int low = hex_value(text.ptr[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (char)(high << HEX_BITS | low);
                i += CODE_LEN - 1;
            }
        }
        out[len++] = c;
    }
    return len;
}
