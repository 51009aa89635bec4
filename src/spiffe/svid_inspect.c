/*
 * Reads the chain, describes its first certificate and collects faults: the leaf's own rules (or
 * the signing ones), the rest of the chain, time, and path validation where there is a bundle.
 */
#include "spiffe/svid_inspect.h"

#include "pem.h"
#include "spiffe/credentials.h"
#include "spiffe/svid_verify.h"
#include "x509_fields.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { CERTIFICATES_MAX = 1000 }; /* in one file */

static int push(STACK_OF(X509) * chain, X509 *certificate, struct errbuf *err)
{
    if (certificate == NULL) {
        return -1;
    }
    if (sk_X509_num(chain) >= CERTIFICATES_MAX || sk_X509_push(chain, certificate) <= 0) {
        X509_free(certificate);
        errbuf_set(err, "more than %d certificates", CERTIFICATES_MAX);
        return -1;
    }
    return 0;
}

static int read_pem(const struct crypto *crypto, struct strview text, STACK_OF(X509) * chain,
                    struct errbuf *err)
{
    struct pem_reader reader = {.pem = text};
    struct pem_block block;
    bool has_key = false;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        has_key = has_key || pem_is_private_key(&block);
        if (strview_equal_text(block.label, "CERTIFICATE") &&
            push(chain, pem_certificate(crypto, &block, err), err) < 0) {
            return -1;
        }
    }
    if (status == 0 && sk_X509_num(chain) == 0) {
        errbuf_set(err, "no PEM certificate in it%s", has_key ? " but a private key" : "");
        return -1;
    }
    return status;
}

static int read_chain(const struct crypto *crypto, const void *data, size_t len,
                      STACK_OF(X509) * chain, struct errbuf *err)
{
    enum { DER_SEQUENCE = 0x30 };
    const unsigned char *bytes = data;
    if (len == 0 || bytes[0] != DER_SEQUENCE) {
        return read_pem(crypto, (struct strview){data, len}, chain, err);
    }
    X509 *certificate = pem_parse_der(crypto, data, len);
    if (certificate == NULL) {
        errbuf_set(err, "neither PEM nor one DER certificate");
        return -1;
    }
    return push(chain, certificate, err);
}

static void add_fault(struct svid_inspection *inspection, const struct svid_failure *fault)
{
    for (size_t i = 0; i < inspection->fault_count; i++) {
        if (inspection->faults[i].reason == fault->reason &&
            strcmp(inspection->faults[i].detail, fault->detail) == 0) {
            return;
        }
    }
    if (inspection->fault_count < SVID_INSPECT_FAULTS_MAX) {
        inspection->faults[inspection->fault_count++] = *fault;
    }
}

static void add_reason(struct svid_inspection *inspection, enum reason reason, const char *detail)
{
    struct svid_failure fault = {.reason = reason};
    (void)snprintf(fault.detail, sizeof(fault.detail), "%s", detail);
    add_fault(inspection, &fault);
}

static void describe_claim(struct svid_inspection *inspection, const X509 *certificate)
{
    GENERAL_NAMES *names = NULL;
    if (x509_fields_san(certificate, &names) != X509_FIELDS_FOUND) {
        return; /* a text less: the rules are checked elsewhere */
    }
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const ASN1_IA5STRING *uri = x509_fields_uri(sk_GENERAL_NAME_value(names, i));
        if (uri != NULL) {
            x509_fields_copy_bytes(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri),
                                   inspection->claimed, sizeof(inspection->claimed));
            break;
        }
    }
    GENERAL_NAMES_free(names);
}

static void describe(struct svid_inspection *inspection, X509 *certificate)
{
    certificate_facts_read(certificate, &inspection->facts);
    describe_claim(inspection, certificate);
}

/* A CA is judged as one, unless it bears a workload's ID: then it is a leaf gone wrong. */
static enum svid_kind kind_of(const struct svid_inspection *inspection, X509 *certificate)
{
    struct spiffe_id id;
    const char *why = NULL;
    if ((X509_get_extension_flags(certificate) & EXFLAG_CA) == 0) {
        return SVID_KIND_LEAF;
    }
    return spiffe_id_parse(strview_from(inspection->claimed), &id, &why) == 0 && id.path.len > 0
               ? SVID_KIND_LEAF
               : SVID_KIND_SIGNING;
}

static void check_signing(struct svid_inspection *inspection, X509 *certificate, int index,
                          struct strview trust_domain)
{
    struct svid_failure fault;
    if (x509_svid_check_signing(certificate, trust_domain, &fault) == REASON_NONE) {
        return;
    }
    if (index > 0) {
        char detail[sizeof(fault.detail)];
        memcpy(detail, fault.detail, sizeof(detail));
        (void)snprintf(fault.detail, sizeof(fault.detail), "certificate %d (%.120s): %.220s", index,
                       fault.subject, detail);
    }
    add_fault(inspection, &fault);
}

static void check_own_rules(struct svid_inspection *inspection, STACK_OF(X509) * chain)
{
    X509 *first = sk_X509_value(chain, 0);
    struct spiffe_id id = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    const char *why = NULL;
    bool has_id = spiffe_id_parse(strview_from(inspection->claimed), &id, &why) == 0;

    if (inspection->kind == SVID_KIND_SIGNING) {
        check_signing(inspection, first, 0, id.trust_domain);
        return;
    }
    inspection->fault_count =
        x509_svid_leaf_faults(first, inspection->faults, SVID_INSPECT_FAULTS_MAX);
    for (int i = 1; has_id && i < sk_X509_num(chain); i++) {
        check_signing(inspection, sk_X509_value(chain, i), i, id.trust_domain);
    }
    if (sk_X509_num(chain) > SVID_CHAIN_MAX) {
        add_reason(inspection, REASON_SVID_CHAIN_TOO_LONG, "");
    }
}

static void check_time(struct svid_inspection *inspection, int64_t now_s)
{
    if (!inspection->facts.has_validity) {
        add_reason(inspection, REASON_SVID_MALFORMED, "the validity can't be read");
    } else if (now_s < inspection->facts.not_before) {
        add_reason(inspection, REASON_SVID_NOT_YET_VALID, "");
    } else if (now_s >= inspection->facts.not_after) {
        add_reason(inspection, REASON_SVID_EXPIRED, "");
    }
}

/* As a handshake would, in either role; only what the rules above have not said yet. */
static void check_path(struct svid_inspection *inspection, const struct crypto *crypto,
                       const struct credentials *credentials, STACK_OF(X509) * chain, int64_t now_s)
{
    static const enum svid_role ROLES[] = {SVID_ROLE_CLIENT, SVID_ROLE_SERVER};
    for (size_t i = 0; i < sizeof(ROLES) / sizeof(ROLES[0]); i++) {
        struct svid_verified verified;
        struct svid_failure fault;
        enum reason reason = svid_verify(crypto, credentials, sk_X509_value(chain, 0), chain,
                                         ROLES[i], now_s, &verified, &fault);
        if (reason == REASON_NONE) {
            svid_verified_fini(&verified);
        } else {
            add_fault(inspection, &fault);
        }
    }
}

int svid_inspect(const struct crypto *crypto, const void *data, size_t len,
                 const struct credentials *credentials, int64_t now_s,
                 struct svid_inspection *inspection, struct errbuf *err)
{
    memset(inspection, 0, sizeof(*inspection));
    STACK_OF(X509) *chain = sk_X509_new_null();
    if (chain == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    int result = read_chain(crypto, data, len, chain, err);
    if (result == 0) {
        ERR_set_mark();
        X509 *first = sk_X509_value(chain, 0);
        inspection->chain_length = (size_t)sk_X509_num(chain);
        describe(inspection, first);
        inspection->kind = kind_of(inspection, first);
        check_own_rules(inspection, chain);
        if (credentials != NULL && inspection->kind == SVID_KIND_LEAF &&
            inspection->fault_count == 0) {
            check_path(inspection, crypto, credentials, chain, now_s);
        } else {
            check_time(inspection, now_s);
        }
        (void)ERR_pop_to_mark();
    }
    sk_X509_pop_free(chain, X509_free);
    return result;
}
