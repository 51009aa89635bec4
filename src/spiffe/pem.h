/*
 * pem: the blocks of a PEM text (RFC 7468), and certificates from them.
 *
 * Stricter than the library's reader, which skips what it does not know: a BEGIN without its END,
 * an END without its BEGIN and binary bytes are errors with their line. Explanatory text between
 * blocks is allowed (RFC 7468 2). Nothing is decoded twice and no text is kept. Any thread.
 */
#ifndef BULKHEAD_SPIFFE_PEM_H
#define BULKHEAD_SPIFFE_PEM_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stddef.h>

struct crypto;
struct x509_st;

struct pem_block {
    struct strview label; /* "CERTIFICATE" */
    struct strview text;  /* from the first '-' of BEGIN to the end of the END line */
    size_t line;          /* of BEGIN, from 1 */
};

/* Start it zeroed but for pem. */
struct pem_reader {
    struct strview pem;
    size_t offset;
    size_t line;
};

/* 1 with the next block, 0 at the end, -1 with err when the text is broken. */
int pem_next(struct pem_reader *reader, struct pem_block *block, struct errbuf *err)
    __attribute__((warn_unused_result));
/* True for every label under which private keys travel. */
int pem_is_private_key(const struct pem_block *block);
/* What the block's base64 holds, with OPENSSL_free for the caller. -1 with err. */
int pem_decode(const struct pem_block *block, unsigned char **der, size_t *len, struct errbuf *err)
    __attribute__((warn_unused_result));
/* The certificate of a CERTIFICATE block, the caller's to free (X509_free). NULL with err. */
struct x509_st *pem_certificate(const struct crypto *crypto, const struct pem_block *block,
                                struct errbuf *err) __attribute__((warn_unused_result));
/* From exactly len bytes of DER; NULL when they are no certificate. */
struct x509_st *pem_parse_der(const struct crypto *crypto, const void *der, size_t len)
    __attribute__((warn_unused_result));

#endif
