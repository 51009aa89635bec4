/*
 *     Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature,
 *                     issuer, validity, subject SEQUENCE OF SET OF SEQUENCE { type, value }, …
 */
#include "spiffe/common_name.h"

#include "base/utf8.h"
#include "der.h"

#include <stdbool.h>
#include <string.h>

enum {
    UTF8_STRING = 0x0c,
    PRINTABLE_STRING = 0x13,
    IA5_STRING = 0x16,
    DER_SET = 0x31,
    CHARACTERS_MAX = 64,
    ASCII_MAX = 0x7f
};

static bool find_subject(struct strview certificate, struct der *subject)
{
    struct der in = {(const uint8_t *)certificate.ptr, certificate.len};
    struct der_value value;
    if (!der_next_tagged(&in, DER_SEQUENCE, &value)) {
        return false;
    }
    in = value.body;
    if (!der_next_tagged(&in, DER_SEQUENCE, &value)) {
        return false;
    }
    in = value.body;
    if (der_next_is(&in, DER_CONTEXT_0) && !der_next(&in, &value)) {
        return false;
    }
    bool found = der_next_tagged(&in, DER_INTEGER, &value) &&  /* serialNumber */
                 der_next_tagged(&in, DER_SEQUENCE, &value) && /* signature */
                 der_next_tagged(&in, DER_SEQUENCE, &value) && /* issuer */
                 der_next_tagged(&in, DER_SEQUENCE, &value) && /* validity */
                 der_next_tagged(&in, DER_SEQUENCE, &value);
    *subject = value.body;
    return found;
}

static bool is_common_name(const struct der_value *type)
{
    static const uint8_t oid[] = {0x55, 0x04, 0x03}; /* 2.5.4.3 */
    return type->tag == DER_OBJECT && type->body.len == sizeof(oid) &&
           memcmp(type->body.ptr, oid, sizeof(oid)) == 0;
}

/* Looks through one RDN. False: something in it can't be read. */
static bool look_through(struct der rdn, struct der_value *found, size_t *count)
{
    while (rdn.len > 0) {
        struct der_value pair;
        struct der_value type;
        struct der_value value;
        if (!der_next_tagged(&rdn, DER_SEQUENCE, &pair) || !der_next(&pair.body, &type) ||
            !der_next(&pair.body, &value)) {
            return false;
        }
        if (is_common_name(&type)) {
            *found = value;
            (*count)++;
        }
    }
    return true;
}

static bool is_plain_text(struct strview text, bool ascii)
{
    size_t characters = 0;
    for (size_t at = 0; at < text.len; characters++) {
        uint32_t code = 0;
        size_t len = utf8_decode(text.ptr + at, text.len - at, &code);
        if (len == 0 || utf8_is_deceptive(code) || (ascii && code > ASCII_MAX)) {
            return false;
        }
        at += len;
    }
    return characters <= CHARACTERS_MAX;
}

struct strview common_name_read(struct strview certificate)
{
    static const struct strview none = {NULL, 0};
    struct der subject = {NULL, 0};
    struct der_value value = {0};
    size_t count = 0;
    if (!find_subject(certificate, &subject)) {
        return none;
    }
    while (subject.len > 0) {
        struct der_value rdn;
        if (!der_next_tagged(&subject, DER_SET, &rdn) || !look_through(rdn.body, &value, &count)) {
            return none;
        }
    }
    bool readable =
        value.tag == UTF8_STRING || value.tag == PRINTABLE_STRING || value.tag == IA5_STRING;
    if (count != 1 || !readable || value.body.len > COMMON_NAME_MAX) {
        return none;
    }
    struct strview text = {(const char *)value.body.ptr, value.body.len};
    return is_plain_text(text, value.tag != UTF8_STRING) ? text : none;
}
