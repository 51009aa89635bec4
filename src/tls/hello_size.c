/*
 *     record header (5) → its bytes: message header (4) → its bytes → the next message …
 *
 * A message may begin and end anywhere in records, and records anywhere in what is fed. What is no
 * handshake record is passed over; the first one of application data is where encryption begins.
 * Everything else that is wrong with records is libssl's business.
 */
#include "hello_size.h"

enum { TYPE_HANDSHAKE = 22, TYPE_APPLICATION_DATA = 23, CLIENT_HELLO = 1 };

/* Takes what is missing of a header; true when it is whole. */
static bool gather(uint8_t *header, uint8_t *have, uint8_t size, const uint8_t **data, size_t *len)
{
    while (*have<size && * len> 0) {
        header[(*have)++] = **data;
        (*data)++;
        (*len)--;
    }
    return *have == size;
}

static uint32_t skip(uint32_t *left, const uint8_t **data, size_t *len)
{
    uint32_t step = *len < *left ? (uint32_t)*len : *left;
    *left -= step;
    *data += step;
    *len -= step;
    return step;
}

/* Bytes of a handshake record. */
static bool feed_messages(struct hello_size *size, const uint8_t *data, size_t len)
{
    while (len > 0) {
        if (size->message_left > 0) {
            (void)skip(&size->message_left, &data, &len);
            continue;
        }
        if (!gather(size->message, &size->message_len, sizeof(size->message), &data, &len)) {
            return true;
        }
        size->message_len = 0;
        size->message_left = (uint32_t)size->message[1] << 16 | (uint32_t)size->message[2] << 8 |
                             (uint32_t)size->message[3];
        if (size->message[0] == CLIENT_HELLO && size->message_left > HELLO_SIZE_MAX) {
            return false;
        }
    }
    return true;
}

bool hello_size_feed(struct hello_size *size, const uint8_t *data, size_t len)
{
    while (len > 0 && !size->over) {
        if (size->record_left > 0) {
            const uint8_t *part = data;
            uint32_t step = skip(&size->record_left, &data, &len);
            if (size->header[0] == TYPE_HANDSHAKE && !feed_messages(size, part, step)) {
                return false;
            }
            continue;
        }
        if (!gather(size->header, &size->header_len, sizeof(size->header), &data, &len)) {
            return true;
        }
        size->header_len = 0;
        size->record_left = (uint32_t)size->header[3] << 8 | (uint32_t)size->header[4];
        size->over = size->header[0] == TYPE_APPLICATION_DATA;
    }
    return true;
}
