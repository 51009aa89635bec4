/*
 * crl_check: does a trust domain's CRL set speak against a path? (RFC 5280 6.3, complete CRLs)
 *
 * Once a domain has CRLs, an issuer whose CRL is demanded (the leaf's, or every one with
 * CRL_CHECK_CHAIN) must have one that covers the certificate; a CRL that is there for another
 * issuer of the path counts too. A CRL is an issuer's when it bears its name and the signature is
 * by its key, so that several CAs of one name each need their own. One that bears the name and
 * nobody's signature refuses. Of several CRLs of one key and scope the newest that has begun
 * replaces older ones; those yet to begin count too, as far as they revoke. Nothing is fetched, no
 * delta CRLs. Pure but for the library; any thread.
 */
#ifndef BULKHEAD_SPIFFE_CRL_CHECK_H
#define BULKHEAD_SPIFFE_CRL_CHECK_H

#include "base/reason.h"
#include "spiffe/x509_svid.h"

#include <stdint.h>

struct credentials_domain;
struct stack_st_X509;
struct x509_st;

enum crl_moment {
    CRL_ADMISSION = 0, /* the CRLs must be in force now */
    CRL_STANDING       /* a session lives: their dates don't count (revocations do) */
};

/* While the CRLs that let a path pass are in force: from <= now < until. */
struct crl_window {
    int64_t from;
    int64_t until;
};

/*
 * path is leaf … anchor, verified. Only REASON_NONE is success, and then *window is filled; the
 * reasons are SVID_REVOKED and SVID_CRL_*, with failure's reason and detail filled.
 */
enum reason crl_check_path(const struct credentials_domain *domain, struct stack_st_X509 *path,
                           enum crl_moment moment, int64_t now_s, struct crl_window *window,
                           struct svid_failure *failure) __attribute__((warn_unused_result));
/* Could this issuer's certificates be admitted now, as far as CRLs go? failure as above. */
enum reason crl_check_issuer(const struct credentials_domain *domain, struct x509_st *issuer,
                             int64_t now_s, struct svid_failure *failure)
    __attribute__((warn_unused_result));
/* Checks each CRL's signature against the anchors of its name, so that no handshake has to. */
void crl_check_prepare(const struct credentials_domain *domain);

#endif
