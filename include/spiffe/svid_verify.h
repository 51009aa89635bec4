/*
 * svid_verify: is this chain an X509-SVID that the peer's own trust domain vouches for?
 *
 * Reads the leaf's ID (not yet trusted), chooses the bundle of that trust domain and no other,
 * runs RFC 5280 path validation against it, then the SPIFFE checks on the path that was built,
 * then the domain's CRLs. No host name, no policy tree, no delta CRL, no fetch. Pure but for the
 * library; any thread.
 */
#ifndef BULKHEAD_SPIFFE_SVID_VERIFY_H
#define BULKHEAD_SPIFFE_SVID_VERIFY_H

#include "base/reason.h"
#include "spiffe/crl_check.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/x509_svid.h"

#include <stddef.h>
#include <stdint.h>

struct credentials;
struct trust_bundle;
struct crypto;
struct x509_st;
struct stack_st_X509;

enum svid_role { SVID_ROLE_CLIENT = 0, SVID_ROLE_SERVER }; /* the peer's role in this handshake */

enum {
    SVID_CHAIN_MAX = 6,          /* certificates in a chain as sent, leaf included */
    SVID_CHAIN_BYTES_MAX = 32768 /* SSL_CTX_set_max_cert_list */
};

/* What a successful verification learned; id views into id_text. */
struct svid_verified {
    char id_text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    struct trust_bundle *bundle;  /* that vouched; no reference taken */
    int64_t not_before;           /* the latest along the path, anchor included */
    int64_t not_after;            /* the earliest along the path, anchor included */
    struct crl_window crl_window; /* in which the CRLs that were asked are in force */
    uint8_t anchor_sha256[32];
    struct stack_st_X509 *path; /* leaf … anchor; owned by the caller: svid_verified_fini */
};

/*
 * leaf is not in untrusted or may be (it is ignored there). now_s decides validity. Only
 * REASON_NONE is success; any other value has *failure filled and *verified cleared.
 */
enum reason svid_verify(const struct crypto *crypto, const struct credentials *credentials,
                        struct x509_st *leaf, struct stack_st_X509 *untrusted, enum svid_role role,
                        int64_t now_s, struct svid_verified *verified, struct svid_failure *failure)
    __attribute__((warn_unused_result));
/*
 * The same for a chain that was admitted before and has a session: CRLs past their nextUpdate don't
 * speak against it. now_s must lie within the validity that it was admitted with.
 */
enum reason svid_verify_standing(const struct crypto *crypto, const struct credentials *credentials,
                                 struct x509_st *leaf, struct stack_st_X509 *untrusted,
                                 enum svid_role role, int64_t now_s, struct svid_verified *verified,
                                 struct svid_failure *failure) __attribute__((warn_unused_result));
void svid_verified_fini(struct svid_verified *verified);

#endif
