/*
 *   leaf's own rules → its trust domain's bundle → path validation (libcrypto) → SPIFFE's rules
 *   for every signing certificate of the path → what the path says about time → CRLs
 *
 * The ID is read before anything is verified, only to choose the store; it counts after. A fresh
 * X509_STORE_CTX knows nothing of TLS: purpose, depth, security level and time are all set here.
 * Never X509_V_FLAG_PARTIAL_CHAIN (CVE-2024-2048), never a policy tree (CVE-2023-0464), never a
 * host name; X509_V_FLAG_X509_STRICT would refuse sound chains that lack key identifiers.
 */
#include "spiffe/svid_verify.h"

#include "base/assert.h"
#include "issuer_match.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto.h"
#include "spiffe/trust_bundle.h"
#include "x509_fields.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

enum {
    AUTH_LEVEL = 2,            /* 112 bits: at least RSA 2048, and no SHA-1 */
    SIGNATURE_BUDGET = 16,     /* of issuer_match: a longest chain twice over */
    DEPTH = SVID_CHAIN_MAX - 1 /* intermediates between leaf and anchor */
};

/* One verification. */
struct attempt {
    const struct crypto *crypto;
    const struct credentials_domain *domain;
    struct trust_bundle *bundle; /* the domain's */
    enum crl_moment moment;
    X509 *leaf;
    STACK_OF(X509) * untrusted; /* what may be used of it; no references of its own */
    enum svid_role role;
    int64_t now_s;
    struct svid_failure *failure;
    char dropped[160]; /* why an untrusted certificate was left out for its key; "" if none was */
};

/* libcrypto's verdicts in our words; what is not here is SVID_VERIFY_FAILED. */
static const struct {
    int error;
    enum reason reason;
} VERDICTS[] = {
    {X509_V_ERR_OUT_OF_MEM, REASON_OUT_OF_MEMORY},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_CERT_UNTRUSTED, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_CERT_REJECTED, REASON_SVID_UNTRUSTED},
    {X509_V_ERR_CERT_CHAIN_TOO_LONG, REASON_SVID_CHAIN_TOO_LONG},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, REASON_SVID_BAD_SIGNATURE},
    {X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE, REASON_SVID_BAD_SIGNATURE},
    {X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH, REASON_SVID_BAD_SIGNATURE},
    {X509_V_ERR_SIGNATURE_ALGORITHM_INCONSISTENCY, REASON_SVID_BAD_SIGNATURE},
    {X509_V_ERR_CERT_NOT_YET_VALID, REASON_SVID_NOT_YET_VALID},
    {X509_V_ERR_CERT_HAS_EXPIRED, REASON_SVID_EXPIRED},
    {X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD, REASON_SVID_MALFORMED},
    {X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD, REASON_SVID_MALFORMED},
    {X509_V_ERR_INVALID_EXTENSION, REASON_SVID_MALFORMED},
    {X509_V_ERR_INVALID_CA, REASON_SVID_ISSUER_NOT_CA},
    {X509_V_ERR_INVALID_NON_CA, REASON_SVID_ISSUER_NOT_CA},
    {X509_V_ERR_KEYUSAGE_NO_CERTSIGN, REASON_SVID_ISSUER_NOT_CA},
    {X509_V_ERR_PATH_LENGTH_EXCEEDED, REASON_SVID_ISSUER_NOT_CA},
    {X509_V_ERR_PROXY_CERTIFICATES_NOT_ALLOWED, REASON_SVID_ISSUER_NOT_CA},
    {X509_V_ERR_PERMITTED_VIOLATION, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_EXCLUDED_VIOLATION, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_SUBTREE_MINMAX, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, REASON_SVID_NAME_CONSTRAINTS},
    {X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION, REASON_SVID_CRITICAL_EXTENSION},
    {X509_V_ERR_INVALID_PURPOSE, REASON_SVID_PURPOSE},
    {X509_V_ERR_EE_KEY_TOO_SMALL, REASON_SVID_WEAK_KEY},
    {X509_V_ERR_CA_KEY_TOO_SMALL, REASON_SVID_WEAK_KEY},
    {X509_V_ERR_CA_MD_TOO_WEAK, REASON_SVID_WEAK_KEY},
    {X509_V_ERR_EC_KEY_EXPLICIT_PARAMS, REASON_SVID_WEAK_KEY},
    {X509_V_ERR_UNSUPPORTED_SIGNATURE_ALGORITHM, REASON_SVID_WEAK_KEY},
    {X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY, REASON_SVID_WEAK_KEY},
};

static enum reason verdict_reason(int error)
{
    for (size_t i = 0; i < sizeof(VERDICTS) / sizeof(VERDICTS[0]); i++) {
        if (VERDICTS[i].error == error) {
            return VERDICTS[i].reason;
        }
    }
    return REASON_SVID_VERIFY_FAILED;
}

/* A failure of the path: the texts that find the leaf, and the ID it claims. */
static enum reason refuse(struct attempt *attempt, const struct svid_verified *verified,
                          enum reason reason)
{
    struct svid_failure *failure = attempt->failure;
    failure->reason = reason;
    if (verified->id.text.len > 0) {
        x509_fields_copy_bytes((const unsigned char *)verified->id.text.ptr, verified->id.text.len,
                               failure->claimed, sizeof(failure->claimed));
    }
    x509_svid_describe(attempt->leaf, failure);
    return reason;
}

/*
 * Leaves out the leaf itself, and what has a key that would cost too much to use: no such
 * certificate is ever asked to verify anything. A needed one then shows as WEAK_KEY.
 */
static bool select_untrusted(struct attempt *attempt, const STACK_OF(X509) * all)
{
    attempt->untrusted = sk_X509_new_reserve(NULL, SVID_CHAIN_MAX);
    if (attempt->untrusted == NULL) {
        return false;
    }
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509 *certificate = sk_X509_value(all, i);
        char why[100];
        if (certificate == attempt->leaf) {
            continue;
        }
        if (!x509_fields_key_accepted(X509_get0_pubkey(certificate), why, sizeof(why))) {
            (void)snprintf(attempt->dropped, sizeof(attempt->dropped),
                           "certificate %d of the chain: %s", i, why);
            continue;
        }
        if (sk_X509_push(attempt->untrusted, certificate) <= 0) {
            return false;
        }
    }
    return true;
}

static bool set_parameters(X509_STORE_CTX *ctx, const struct attempt *attempt)
{
    const char *purpose = attempt->role == SVID_ROLE_CLIENT ? "ssl_client" : "ssl_server";
    if (X509_STORE_CTX_set_default(ctx, purpose) != 1) {
        return false;
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_depth(param, DEPTH);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    X509_VERIFY_PARAM_set_time(param, (time_t)attempt->now_s);
    /* X509-SVID 2: a common name is no name of ours, so DNS constraints don't reach it. */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return true;
}

/* Which certificate failed, and how libcrypto puts it. */
static void describe_error(X509_STORE_CTX *ctx, const struct attempt *attempt, int error)
{
    struct svid_failure *failure = attempt->failure;
    char name[128] = "";
    X509 *current = X509_STORE_CTX_get_current_cert(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    const char *text = X509_verify_cert_error_string(error);
    if (verdict_reason(error) != REASON_SVID_UNTRUSTED || current == NULL) {
        if (current != NULL) {
            x509_fields_name(X509_get_subject_name(current), name, sizeof(name));
        }
        (void)snprintf(failure->detail, sizeof(failure->detail), "certificate %d (%s): %s", depth,
                       name[0] != '\0' ? name : "empty subject", text);
        return;
    }
    x509_fields_name(X509_get_issuer_name(current), name, sizeof(name));
    struct strview domain = trust_bundle_domain(attempt->bundle);
    size_t anchors = trust_bundle_count(attempt->bundle);
    (void)snprintf(failure->detail, sizeof(failure->detail),
                   "certificate %d, issued by \"%s\": %s; the bundle of \"%.*s\" has %zu anchor%s",
                   depth, name, text, (int)domain.len, domain.ptr, anchors,
                   anchors == 1 ? "" : "s");
}

/* Could a namesake have been taken for the issuer? */
static bool is_ambiguous(const struct attempt *attempt)
{
    if (trust_bundle_has_namesakes(attempt->bundle)) {
        return true;
    }
    int count = sk_X509_num(attempt->untrusted);
    for (int i = 0; i < count; i++) {
        X509 *certificate = sk_X509_value(attempt->untrusted, i);
        if (trust_bundle_has_namesake_of(attempt->bundle, certificate)) {
            return true;
        }
        for (int j = i + 1; j < count; j++) {
            X509 *other = sk_X509_value(attempt->untrusted, j);
            if (X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_subject_name(other)) ==
                0) {
                return true;
            }
        }
    }
    return false;
}

/* One run of path validation; *path on success. The detail is written when describe is set. */
static enum reason run_path(struct attempt *attempt, struct issuer_match *match, bool describe,
                            STACK_OF(X509) * *path)
{
    enum reason reason = REASON_OUT_OF_MEMORY;
    X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(crypto_libctx(attempt->crypto), NULL);
    if (ctx == NULL ||
        X509_STORE_CTX_init(ctx, trust_bundle_store(attempt->bundle), attempt->leaf,
                            attempt->untrusted) != 1 ||
        !issuer_match_use(ctx, match) || !set_parameters(ctx, attempt)) {
        goto out;
    }
    int verdict = X509_verify_cert(ctx);
    int error = X509_STORE_CTX_get_error(ctx);
    /* Success is exactly this and nothing else (CVE-2021-4044, CVE-2021-3450). */
    if (verdict == 1 && error == X509_V_OK) {
        *path = X509_STORE_CTX_get1_chain(ctx);
        reason = *path != NULL ? REASON_NONE : REASON_OUT_OF_MEMORY;
        goto out;
    }
    reason = verdict == 0 ? verdict_reason(error) : REASON_SVID_VERIFY_FAILED;
    if (describe) {
        describe_error(ctx, attempt, error);
    }
out:
    X509_STORE_CTX_free(ctx);
    return reason;
}

/*
 * By names first, which is right and cheap nearly always; when that fails and some name occurs
 * twice, once more with signatures deciding between namesakes. The first run's fault is reported:
 * it is the one that a person can act on.
 */
static enum reason build_path(struct attempt *attempt, STACK_OF(X509) * *path)
{
    struct issuer_match match = {.by_signature = false, .budget = SIGNATURE_BUDGET};
    enum reason reason = run_path(attempt, &match, true, path);
    if (reason == REASON_NONE || reason == REASON_OUT_OF_MEMORY) {
        return reason;
    }
    match.by_signature = true;
    if (is_ambiguous(attempt) && run_path(attempt, &match, false, path) == REASON_NONE) {
        return REASON_NONE;
    }
    if (reason == REASON_SVID_UNTRUSTED && attempt->dropped[0] != '\0') {
        (void)snprintf(attempt->failure->detail, sizeof(attempt->failure->detail), "%s",
                       attempt->dropped);
        return REASON_SVID_WEAK_KEY;
    }
    return reason;
}

/* RFC 5280 6.1.5: without a policy tree an explicit policy cannot be processed, so it refuses. */
static bool demands_policy(const X509 *certificate)
{
    return x509_fields_extension_critical(certificate, NID_policy_constraints);
}

static enum reason check_path(struct attempt *attempt, const STACK_OF(X509) * path,
                              struct strview trust_domain)
{
    for (int i = 1; i < sk_X509_num(path); i++) {
        X509 *certificate = sk_X509_value(path, i);
        struct svid_failure fault;
        enum reason reason = x509_svid_check_signing(certificate, trust_domain, &fault);
        if (reason == REASON_NONE && demands_policy(certificate)) {
            reason = REASON_SVID_CRITICAL_EXTENSION;
            (void)snprintf(fault.detail, sizeof(fault.detail),
                           "critical policyConstraints are not supported");
            x509_svid_describe(certificate, &fault);
        }
        if (reason != REASON_NONE) {
            (void)snprintf(attempt->failure->detail, sizeof(attempt->failure->detail),
                           "certificate %d (%.120s): %.220s", i, fault.subject, fault.detail);
            return reason;
        }
    }
    return REASON_NONE;
}

static enum reason read_path(struct attempt *attempt, struct svid_verified *verified)
{
    verified->not_before = INT64_MIN;
    verified->not_after = INT64_MAX;
    int count = sk_X509_num(verified->path);
    for (int i = 0; i < count; i++) {
        int64_t from = 0;
        int64_t until = 0;
        if (x509_svid_validity(sk_X509_value(verified->path, i), &from, &until) < 0) {
            (void)snprintf(attempt->failure->detail, sizeof(attempt->failure->detail),
                           "certificate %d: its validity can't be read", i);
            return REASON_SVID_MALFORMED;
        }
        verified->not_before = from > verified->not_before ? from : verified->not_before;
        verified->not_after = until < verified->not_after ? until : verified->not_after;
    }
    if (!x509_fields_sha256(sk_X509_value(verified->path, count - 1), verified->anchor_sha256)) {
        return REASON_OUT_OF_MEMORY;
    }
    /* What vouched is in this bundle and nowhere else. */
    ASSERT(trust_bundle_has_anchor(attempt->bundle, verified->anchor_sha256));
    verified->bundle = attempt->bundle;
    return REASON_NONE;
}

static enum reason verify_chain(struct attempt *attempt, const STACK_OF(X509) * untrusted,
                                struct svid_verified *verified)
{
    if (!select_untrusted(attempt, untrusted)) {
        return REASON_OUT_OF_MEMORY;
    }
    enum reason reason = build_path(attempt, &verified->path);
    if (reason == REASON_NONE) {
        attempt->failure->detail[0] = '\0';
        reason = check_path(attempt, verified->path, verified->id.trust_domain);
    }
    if (reason == REASON_NONE) {
        reason = read_path(attempt, verified);
    }
    if (reason == REASON_NONE) {
        reason = crl_check_path(attempt->domain, verified->path, attempt->moment, attempt->now_s,
                                &verified->crl_window, attempt->failure);
    }
    return reason;
}

/* The leaf and what came with it; libssl's list holds the leaf too. */
static int count_sent(const X509 *leaf, const STACK_OF(X509) * untrusted)
{
    int sent = 1;
    for (int i = 0; i < sk_X509_num(untrusted); i++) {
        sent += sk_X509_value(untrusted, i) != leaf;
    }
    return sent;
}

static enum reason verify(struct attempt *attempt, const struct credentials *credentials,
                          const STACK_OF(X509) * untrusted, struct svid_verified *verified)
{
    struct svid_failure *failure = attempt->failure;
    int sent = count_sent(attempt->leaf, untrusted);
    if (sent > SVID_CHAIN_MAX) {
        (void)snprintf(failure->detail, sizeof(failure->detail),
                       "%d certificates; at most %d are accepted", sent, SVID_CHAIN_MAX);
        return refuse(attempt, verified, REASON_SVID_CHAIN_TOO_LONG);
    }
    enum reason reason =
        x509_svid_check_leaf(attempt->leaf, verified->id_text, &verified->id, failure);
    if (reason != REASON_NONE) {
        return reason;
    }
    struct strview domain = verified->id.trust_domain;
    attempt->domain = credentials_find(credentials, domain);
    if (attempt->domain == NULL) {
        (void)snprintf(failure->detail, sizeof(failure->detail), "trust domain \"%.*s\"",
                       (int)domain.len, domain.ptr);
        return refuse(attempt, verified, REASON_SVID_UNKNOWN_TRUST_DOMAIN);
    }
    attempt->bundle = attempt->domain->bundle;
    reason = verify_chain(attempt, untrusted, verified);
    sk_X509_free(attempt->untrusted);
    return reason == REASON_NONE ? reason : refuse(attempt, verified, reason);
}

/* Nothing of ours stays in the thread's queue: an old error must decide no connection. */
static enum reason run(struct attempt *attempt, const struct credentials *credentials,
                       const STACK_OF(X509) * untrusted, struct svid_verified *verified)
{
    memset(verified, 0, sizeof(*verified));
    memset(attempt->failure, 0, sizeof(*attempt->failure));
    ERR_set_mark();
    enum reason reason = verify(attempt, credentials, untrusted, verified);
    (void)ERR_pop_to_mark();
    if (reason != REASON_NONE) {
        svid_verified_fini(verified);
        memset(verified, 0, sizeof(*verified));
    }
    return reason;
}

enum reason svid_verify(const struct crypto *crypto, const struct credentials *credentials,
                        X509 *leaf, STACK_OF(X509) * untrusted, enum svid_role role, int64_t now_s,
                        struct svid_verified *verified, struct svid_failure *failure)
{
    struct attempt attempt = {.crypto = crypto,
                              .moment = CRL_ADMISSION,
                              .leaf = leaf,
                              .role = role,
                              .now_s = now_s,
                              .failure = failure};
    return run(&attempt, credentials, untrusted, verified);
}

enum reason svid_verify_standing(const struct crypto *crypto, const struct credentials *credentials,
                                 X509 *leaf, STACK_OF(X509) * untrusted, enum svid_role role,
                                 int64_t now_s, struct svid_verified *verified,
                                 struct svid_failure *failure)
{
    struct attempt attempt = {.crypto = crypto,
                              .moment = CRL_STANDING,
                              .leaf = leaf,
                              .role = role,
                              .now_s = now_s,
                              .failure = failure};
    return run(&attempt, credentials, untrusted, verified);
}

void svid_verified_fini(struct svid_verified *verified)
{
    sk_X509_pop_free(verified->path, X509_free);
    verified->path = NULL;
}
