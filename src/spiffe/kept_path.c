/* One allocation: where each certificate and two of its fields stand, then the bytes. */
#include "kept_path.h"

#include "base/memory.h"
#include "der.h"
#include "pem.h"

/* Where a certificate of the path and two of its fields stand in the bytes. */
struct link_span {
    uint32_t der, der_len;
    uint32_t issuer, issuer_len;
    uint32_t serial, serial_len;
};

struct kept_path {
    size_t count;
    struct link_span links[]; /* then the DER */
};

static uint8_t *bytes_of(struct kept_path *path)
{
    return (uint8_t *)&path->links[path->count];
}

static const char *text_of(const struct kept_path *path)
{
    return (const char *)&path->links[path->count];
}

/*
 * RFC 5280 4.1: Certificate { TBSCertificate { [0] version, serial, signature, issuer, … } … }.
 * False for what is no DER: libcrypto also parses lengths that only BER knows.
 */
static bool find_fields(const uint8_t *base, struct link_span *link)
{
    struct der in = {base + link->der, link->der_len};
    struct der_value value;
    struct der_value serial;
    if (!der_next_tagged(&in, DER_SEQUENCE, &value) || in.len != 0) {
        return false;
    }
    in = value.body;
    if (!der_next_tagged(&in, DER_SEQUENCE, &value)) {
        return false;
    }
    in = value.body;
    (void)der_next_tagged(&in, DER_CONTEXT_0, &value);
    if (!der_next_tagged(&in, DER_INTEGER, &serial) ||
        !der_next_tagged(&in, DER_SEQUENCE, &value) || /* signature */
        !der_next_tagged(&in, DER_SEQUENCE, &value)) { /* issuer */
        return false;
    }
    link->serial = (uint32_t)(serial.body.ptr - base);
    link->serial_len = (uint32_t)serial.body.len;
    link->issuer = (uint32_t)(value.whole.ptr - base);
    link->issuer_len = (uint32_t)value.whole.len;
    return true;
}

/* The sum of the certificates' lengths; 0 when one can't be told. */
static size_t total_length(const STACK_OF(X509) * path, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        int len = i2d_X509(sk_X509_value(path, (int)i), NULL);
        if (len <= 0) {
            return 0;
        }
        total += (size_t)len;
    }
    return total;
}

static enum reason fill(struct kept_path *path, const STACK_OF(X509) * from)
{
    uint8_t *base = bytes_of(path);
    unsigned char *end = base;
    for (size_t i = 0; i < path->count; i++) {
        struct link_span *link = &path->links[i];
        link->der = (uint32_t)(end - base);
        if (i2d_X509(sk_X509_value(from, (int)i), &end) <= 0) {
            return REASON_OUT_OF_MEMORY;
        }
        link->der_len = (uint32_t)(end - base) - link->der;
        if (!find_fields(base, link)) {
            return REASON_SVID_MALFORMED;
        }
    }
    return REASON_NONE;
}

enum reason kept_path_new(const STACK_OF(X509) * path, struct kept_path **out)
{
    size_t count = (size_t)sk_X509_num(path) - 1; /* the anchor is the bundle's */
    size_t total = total_length(path, count);
    *out = NULL;
    if (total > SVID_CHAIN_BYTES_MAX) {
        return REASON_SVID_CHAIN_TOO_LONG;
    }
    if (count > 0 && total == 0) {
        return REASON_OUT_OF_MEMORY;
    }
    struct kept_path *kept =
        mem_try_alloc(sizeof(*kept) + count * sizeof(struct link_span) + total);
    if (kept == NULL) {
        return REASON_OUT_OF_MEMORY;
    }
    kept->count = count;
    enum reason reason = fill(kept, path);
    if (reason != REASON_NONE) {
        mem_free(kept);
        return reason;
    }
    *out = kept;
    return REASON_NONE;
}

void kept_path_free(struct kept_path *path)
{
    mem_free(path);
}

bool kept_path_link(const struct kept_path *path, size_t index, struct peer_chain_link *link)
{
    if (index >= path->count) {
        return false;
    }
    const char *base = text_of(path);
    const struct link_span *span = &path->links[index];
    *link = (struct peer_chain_link){.der = {base + span->der, span->der_len},
                                     .issuer = {base + span->issuer, span->issuer_len},
                                     .serial = {base + span->serial, span->serial_len}};
    return true;
}

STACK_OF(X509) * kept_path_parse(const struct crypto *crypto, const struct kept_path *path)
{
    STACK_OF(X509) *list = sk_X509_new_reserve(NULL, (int)path->count + 1);
    struct peer_chain_link link;
    for (size_t i = 0; list != NULL && kept_path_link(path, i, &link); i++) {
        X509 *certificate = pem_parse_der(crypto, link.der.ptr, link.der.len);
        if (certificate == NULL || sk_X509_push(list, certificate) <= 0) {
            X509_free(certificate);
            sk_X509_pop_free(list, X509_free);
            return NULL;
        }
    }
    return list;
}
