/*
 * The hook is the store's check_issued, which libcrypto asks for each candidate, among the
 * anchors and among what the peer sent. What it asks of names and key identifiers stays as it is.
 */
#include "issuer_match.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static bool names_fit(X509 *issuer, X509 *subject)
{
    int code = X509_check_issued(issuer, subject);
    /* An issuer without keyCertSign is found all the same: path validation then names the fault. */
    return code == X509_V_OK || code == X509_V_ERR_KEYUSAGE_NO_CERTSIGN;
}

static bool signature_fits(struct issuer_match *match, X509 *issuer, X509 *subject)
{
    if (match->budget == 0) {
        return false;
    }
    match->budget--;
    ERR_set_mark();
    bool fits = X509_verify(subject, X509_get0_pubkey(issuer)) == 1;
    (void)ERR_pop_to_mark();
    return fits;
}

static int on_check_issued(X509_STORE_CTX *ctx, X509 *subject, X509 *issuer)
{
    if (!names_fit(issuer, subject)) {
        return 0;
    }
    struct issuer_match *match = X509_STORE_CTX_get_app_data(ctx);
    return match == NULL || !match->by_signature || signature_fits(match, issuer, subject);
}

void issuer_match_install(X509_STORE *store)
{
    X509_STORE_set_check_issued(store, on_check_issued);
}

bool issuer_match_use(X509_STORE_CTX *ctx, struct issuer_match *match)
{
    return X509_STORE_CTX_set_app_data(ctx, match) == 1;
}
