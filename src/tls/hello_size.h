/*
 * hello_size: how long a ClientHello the client announces, told before libssl hears of it.
 *
 * libssl takes 131,396 bytes, and makes room for what the first four bytes of the message announce
 * as soon as they are there: 150 KiB of memory for nine bytes from anybody. It has no setting.
 * The largest that clients send (post-quantum shares, several tickets) have a few KiB.
 *
 * Pure. Fed with the records of a client in the clear, cut up in any way.
 */
#ifndef BULKHEAD_TLS_HELLO_SIZE_H
#define BULKHEAD_TLS_HELLO_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HELLO_SIZE_MAX = 16 * 1024 };

/* Zeroed at the start. */
struct hello_size {
    uint8_t header[5];      /* of the record that is being read */
    uint8_t header_len;     /* how much of it has come */
    uint8_t message[4];     /* the same of the handshake message */
    uint8_t message_len;
    uint32_t record_left;   /* bytes of the record that have not come */
    uint32_t message_left;  /* the same of the message */
    bool over;              /* what comes is encrypted: nothing is looked at any more */
};

/* False: a ClientHello of more than HELLO_SIZE_MAX is announced. */
bool hello_size_feed(struct hello_size *size, const uint8_t *data, size_t len);

#endif
