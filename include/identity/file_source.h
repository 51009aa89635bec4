/*
 * file_source: credentials from PEM files: our own SVID (certificate and key, read as one step)
 * and the bundle of a trust domain. Control thread and cli.
 *
 * What is read is checked whole before it is returned; messages name the file.
 */
#ifndef BULKHEAD_IDENTITY_FILE_SOURCE_H
#define BULKHEAD_IDENTITY_FILE_SOURCE_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct crl_set;
struct crypto;
struct trust_bundle;
struct x509_svid;

/* What is known of the key's file beside its content. */
struct file_key_facts {
    bool world_readable; /* anyone on this host may read it */
    bool at_fault;       /* the load failed by the key alone: the certificate could be read */
};
/* NULL with err, which names both files when neither can be read, or when they don't belong
 * together. */
struct x509_svid *file_source_load_svid(const struct crypto *crypto, const char *certificate_path,
                                        const char *key_path, struct file_key_facts *key,
                                        struct errbuf *err);

/* Of a file's content, so that one that was only touched is not taken for another. */
struct file_digest {
    bool known;
    uint8_t sha256[32];
};

/*
 * former and *digest are what the last call gave (NULL and not known at first): when the content
 * is the same, the result is another reference of former. *digest is set on success only. The
 * caller owns the result; NULL with err.
 */
struct trust_bundle *file_source_load_bundle(const struct crypto *crypto, const char *domain,
                                             const char *path, struct trust_bundle *former,
                                             struct file_digest *digest, struct errbuf *err);
struct crl_set *file_source_load_crls(const struct crypto *crypto, const char *path,
                                      struct crl_set *former, struct file_digest *digest,
                                      struct errbuf *err);

#endif
