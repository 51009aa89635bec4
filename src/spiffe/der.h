/*
 * der: reads DER values one after the other (X.690 8.1, 10.1). Nothing is copied.
 *
 * Stricter than libcrypto: only definite lengths in their shortest form, only tags of one byte.
 * For structures that are too large to be turned into objects. Pure, any thread.
 */
#ifndef BULKHEAD_SPIFFE_DER_H
#define BULKHEAD_SPIFFE_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else owns; as a reader's argument, those that are left. */
struct der {
    const uint8_t *ptr;
    size_t len;
};

/* Tags with class and form, as they stand in the first byte. */
enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OBJECT = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_CONTEXT_0 = 0xa0 /* [0], constructed */
};

struct der_value {
    uint8_t tag;
    struct der whole; /* with tag and length */
    struct der body;
};

/* Takes the next value off in. False, and in is unchanged, at the end and for what is no DER. */
bool der_next(struct der *in, struct der_value *value);
/* The same, when its tag is this one. */
bool der_next_tagged(struct der *in, uint8_t tag, struct der_value *value);
/* Is the next value there and of this tag? */
bool der_next_is(const struct der *in, uint8_t tag);
bool der_equal(struct der a, struct der b);

#endif
