#include "base/protobuf.h"

enum { VARINT_BYTES_MAX = 10, SMALL_VARINT_BYTES_MAX = 5, TYPE_BITS = 3, FIXED64 = 8, FIXED32 = 4 };

/* False: cut off, longer than max_bytes, or more than 64 bits. */
static bool take_varint(struct protobuf_wire *in, size_t max_bytes, uint64_t *value)
{
    enum { PAYLOAD_BITS = 7, PAYLOAD = 0x7f, MORE = 0x80, LAST_OF_64_BITS = 1 };
    *value = 0;
    for (size_t i = 0; i < max_bytes && i < in->left; i++) {
        uint8_t byte = in->at[i];
        if (i == VARINT_BYTES_MAX - 1 && byte > LAST_OF_64_BITS) {
            return false;
        }
        *value |= (uint64_t)(byte & PAYLOAD) << (PAYLOAD_BITS * i);
        if ((byte & MORE) == 0) {
            in->at += i + 1;
            in->left -= i + 1;
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct protobuf_wire *in, uint64_t count, struct protobuf_wire *bytes)
{
    if (count > in->left) {
        return false;
    }
    *bytes = (struct protobuf_wire){.at = in->at, .left = (size_t)count};
    in->at += count;
    in->left -= (size_t)count;
    return true;
}

static bool take_value(struct protobuf_wire *in, unsigned type, struct protobuf_field *field)
{
    uint64_t number = 0;
    switch (type) {
    case PROTOBUF_VARINT:
        return take_varint(in, VARINT_BYTES_MAX, &field->varint);
    case PROTOBUF_FIXED64:
        return take_bytes(in, FIXED64, &field->value);
    case PROTOBUF_FIXED32:
        return take_bytes(in, FIXED32, &field->value);
    case PROTOBUF_BYTES:
        return take_varint(in, SMALL_VARINT_BYTES_MAX, &number) &&
               take_bytes(in, number, &field->value);
    default:
        return false;
    }
}

int protobuf_take(struct protobuf_wire *in, struct protobuf_field *field, struct errbuf *err)
{
    enum { TYPE = (1 << TYPE_BITS) - 1 };
    uint64_t tag = 0;
    *field = (struct protobuf_field){.number = 0};
    if (!take_varint(in, SMALL_VARINT_BYTES_MAX, &tag) || tag > UINT32_MAX) {
        errbuf_set(err, "a field's tag is cut off or too long");
        return -1;
    }
    unsigned type = (unsigned)tag & TYPE;
    field->number = tag >> TYPE_BITS;
    field->type = (enum protobuf_type)type;
    if (field->number == 0) {
        errbuf_set(err, "field number 0");
        return -1;
    }
    if (type == PROTOBUF_GROUP_START || type == PROTOBUF_GROUP_END) {
        errbuf_set(err, "field %u is a group", (unsigned)field->number);
        return -1;
    }
    if (!take_value(in, type, field)) {
        errbuf_set(err, "field %u: its value (wire type %u) is cut off or broken",
                   (unsigned)field->number, type);
        return -1;
    }
    return 0;
}
