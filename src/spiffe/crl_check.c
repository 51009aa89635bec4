/*
 * For each certificate of the path, with its issuer at hand:
 *
 *     CRLs of the issuer's name → those whose scope covers it → those signed by the issuer's key
 *         none: missing (or bad signature), where one is demanded
 *     → without those that a newer one replaces → is the serial in one? → is one in force?
 *
 * A CRL that is not signed by this issuer's key may be a namesake's: another anchor's, or another
 * intermediate's that we have never seen, which its key identifier tells. What is nobody's is
 * taken for a forged or damaged CRL, and refuses even where none is demanded: it may be the one
 * that revokes.
 */
#include "spiffe/crl_check.h"

#include "base/clock.h"
#include "crl_private.h"
#include "spiffe/credentials.h"
#include "spiffe/trust_bundle.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

/* One certificate and its issuer. */
struct link {
    const struct credentials_domain *domain;
    X509 *certificate; /* NULL: any that the issuer may issue */
    X509 *issuer;
    int index; /* in the path */
    enum crl_moment moment;
    int64_t now_s;
    struct svid_failure *failure;
};

/* CRLs that are the issuer's and cover the certificate. */
struct crl_list {
    struct crl *items[CRL_COUNT_MAX];
    size_t count;
};

static enum reason fault(const struct link *link, enum reason reason, const char *what)
{
    char issuer[128];
    char place[32] = "";
    x509_fields_name(X509_get_subject_name(link->issuer), issuer, sizeof(issuer));
    if (link->certificate != NULL) {
        (void)snprintf(place, sizeof(place), "certificate %d, ", link->index);
    }
    link->failure->reason = reason;
    (void)snprintf(link->failure->detail, sizeof(link->failure->detail), "%sissued by \"%s\": %s",
                   place, issuer, what);
    return reason;
}

static enum reason fault_at(const struct link *link, enum reason reason, const char *what,
                            int64_t at_s)
{
    char text[128];
    char time[CLOCK_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%s %s", what, clock_format_s(at_s, time));
    return fault(link, reason, text);
}

static bool names_meet(const GENERAL_NAMES *a, const GENERAL_NAMES *b)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(a); i++) {
        for (int j = 0; j < sk_GENERAL_NAME_num(b); j++) {
            if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(a, i), sk_GENERAL_NAME_value(b, j)) == 0) {
                return true;
            }
        }
    }
    return false;
}

enum coverage {
    COVERAGE_UNKNOWN = 0, /* memory is out */
    COVERAGE_YES,
    COVERAGE_NO
};

/* RFC 5280 6.3.3 (b)(2)(i): does the certificate name the CRL's distribution point? */
static enum coverage names_point(X509 *certificate, const GENERAL_NAMES *point)
{
    void *value = NULL;
    if (x509_fields_read(certificate, NID_crl_distribution_points, &value) ==
        X509_FIELDS_UNREADABLE) {
        return COVERAGE_UNKNOWN;
    }
    bool found = false;
    CRL_DIST_POINTS *points = value;
    for (int i = 0; !found && i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT_NAME *name = sk_DIST_POINT_value(points, i)->distpoint;
        found = name != NULL && name->type == 0 && names_meet(name->name.fullname, point);
    }
    CRL_DIST_POINTS_free(points);
    return found ? COVERAGE_YES : COVERAGE_NO;
}

static enum coverage coverage(const struct crl *crl, X509 *certificate)
{
    if (certificate == NULL) {
        return COVERAGE_YES;
    }
    bool is_ca = (X509_get_extension_flags(certificate) & EXFLAG_CA) != 0;
    if ((crl->only_leaves && is_ca) || (crl->only_cas && !is_ca)) {
        return COVERAGE_NO;
    }
    return crl->point == NULL ? COVERAGE_YES : names_point(certificate, crl->point);
}

/* RFC 5280 6.3.3 (f): keyUsage, where it is there, must have cRLSign. */
static bool may_sign_crls(X509 *issuer)
{
    return (X509_get_key_usage(issuer) & X509v3_KU_CRL_SIGN) != 0;
}

/* False when the key identifiers say that another key signed; true also when they are silent. */
static bool key_id_fits(const struct crl *crl, X509 *issuer)
{
    const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(issuer);
    return own == NULL || crl->key_id == NULL || ASN1_OCTET_STRING_cmp(own, crl->key_id) == 0;
}

/* By the key of an anchor that bears the CRL's name? *namesake: is there such an anchor at all? */
static bool signed_by_an_anchor(const struct credentials_domain *domain, struct crl *crl,
                                bool *namesake)
{
    X509 *anchor = NULL;
    *namesake = false;
    for (size_t i = 0; (anchor = trust_bundle_anchor(domain->bundle, i)) != NULL; i++) {
        if (X509_NAME_cmp(X509_get_subject_name(anchor), crl->issuer) != 0) {
            continue;
        }
        *namesake = true;
        if (crl_signed_by(domain->crls, crl, anchor) == CRL_SIGNATURE_GOOD) {
            return true;
        }
    }
    return false;
}

/* Whose is a CRL of the issuer's name that the issuer's key did not sign? True: nobody's. */
static bool is_nobodys(const struct link *link, struct crl *crl, bool issuer_has_another)
{
    bool namesake = false;
    if (signed_by_an_anchor(link->domain, crl, &namesake)) {
        return false;
    }
    if (key_id_fits(crl, link->issuer)) {
        return true;
    }
    /* Another key's, as it says: a retired CA's, or an intermediate's that is not at hand. */
    return namesake && !issuer_has_another;
}

/* Puts a CRL of the issuer's name where it belongs; what can't be told now refuses. */
static enum reason sort_one(const struct link *link, struct crl *crl, bool loose,
                            struct crl_list *mine, struct crl_list *others)
{
    enum coverage covers = coverage(crl, link->certificate);
    if (covers == COVERAGE_NO) {
        return REASON_NONE;
    }
    enum crl_signature signature = crl_signed_by(link->domain->crls, crl, link->issuer);
    if (covers == COVERAGE_UNKNOWN || signature == CRL_SIGNATURE_UNKNOWN) {
        return fault(link, REASON_OUT_OF_MEMORY, "no memory for its CRL");
    }
    if (signature == CRL_SIGNATURE_BAD && loose) {
        return REASON_NONE; /* not this issuer's, and perhaps not even of its domain */
    }
    if (signature == CRL_SIGNATURE_BAD) {
        others->items[others->count++] = crl;
        return REASON_NONE;
    }
    if (!may_sign_crls(link->issuer)) {
        return fault(link, REASON_SVID_CRL_BAD_SIGNATURE,
                     "its CRL does not count, because its keyUsage lacks cRLSign");
    }
    mine->items[mine->count++] = crl;
    return REASON_NONE;
}

static enum reason collect(const struct link *link, struct crl_list *mine)
{
    const struct crl_set *set = link->domain->crls;
    struct crl_list others = {.count = 0};
    const X509_NAME *name = X509_get_subject_name(link->issuer);
    enum reason reason = REASON_NONE;
    mine->count = 0;
    for (size_t i = 0; reason == REASON_NONE && i < set->count; i++) {
        if (X509_NAME_cmp(set->crls[i]->issuer, name) == 0) {
            bool loose = i >= set->count - set->loose;
            reason = sort_one(link, set->crls[i], loose, mine, &others);
        }
    }
    for (size_t i = 0; reason == REASON_NONE && i < others.count; i++) {
        if (is_nobodys(link, others.items[i], mine->count > 0)) {
            reason = fault(link, REASON_SVID_CRL_BAD_SIGNATURE,
                           "a CRL of this name is not signed with its key");
        }
    }
    return reason;
}

/* By a newer one of the same scope that has begun. */
static bool is_replaced(const struct crl_list *list, const struct crl *crl, int64_t now_s)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct crl *other = list->items[i];
        if (other->this_update > crl->this_update && other->this_update <= now_s &&
            der_equal(other->idp, crl->idp)) {
            return true;
        }
    }
    return false;
}

static void drop_replaced(struct crl_list *list, int64_t now_s)
{
    struct crl_list kept = {.count = 0};
    for (size_t i = 0; i < list->count; i++) {
        if (!is_replaced(list, list->items[i], now_s)) {
            kept.items[kept.count++] = list->items[i];
        }
    }
    memcpy(list->items, kept.items, kept.count * sizeof(kept.items[0]));
    list->count = kept.count;
}

static const char *reason_code_text(int code)
{
    static const char *const TEXTS[] = {
        "unspecified",   "keyCompromise",        "cACompromise",    "affiliationChanged",
        "superseded",    "cessationOfOperation", "certificateHold", "reserved",
        "removeFromCRL", "privilegeWithdrawn",   "aACompromise"};
    return code >= 0 && (size_t)code < sizeof(TEXTS) / sizeof(TEXTS[0]) ? TEXTS[code]
                                                                        : "no reason given";
}

static enum reason revoked(const struct link *link, const struct crl_entry *entry)
{
    char serial[64];
    char text[200];
    char time[CLOCK_TEXT_SIZE] = "at an unreadable date";
    int64_t date = 0;
    x509_fields_serial(link->certificate, serial, sizeof(serial));
    if (crl_entry_date(entry, &date)) {
        (void)clock_format_s(date, time);
    }
    (void)snprintf(text, sizeof(text), "serial %s revoked %s (%s)", serial, time,
                   reason_code_text(entry->reason_code));
    return fault(link, REASON_SVID_REVOKED, text);
}

static enum reason look_up(const struct link *link, const struct crl_list *list)
{
    unsigned char *bytes = NULL;
    if (link->certificate == NULL) {
        return REASON_NONE;
    }
    int len = i2d_ASN1_INTEGER(X509_get0_serialNumber(link->certificate), &bytes);
    if (len <= 0) {
        return fault(link, REASON_OUT_OF_MEMORY, "its serial can't be read");
    }
    enum reason reason = REASON_NONE;
    struct der in = {bytes, (size_t)len};
    struct der_value serial;
    struct crl_entry entry;
    if (!der_next_tagged(&in, DER_INTEGER, &serial)) {
        reason = fault(link, REASON_SVID_MALFORMED, "its serial can't be read");
    }
    for (size_t i = 0; reason == REASON_NONE && i < list->count; i++) {
        if (crl_find(list->items[i], serial.body, &entry)) {
            reason = revoked(link, &entry);
        }
    }
    OPENSSL_free(bytes);
    return reason;
}

/* One of them must be in force; *window narrows to the time in which one is. */
static enum reason check_dates(const struct link *link, const struct crl_list *list,
                               struct crl_window *window)
{
    const struct crl *best = NULL;
    const struct crl *expired = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct crl *crl = list->items[i];
        if (crl->this_update > link->now_s) {
            continue;
        }
        if (crl->next_update <= link->now_s) {
            expired = crl;
        } else if (best == NULL || crl->next_update > best->next_update) {
            best = crl;
        }
    }
    if (best != NULL) {
        window->from = best->this_update > window->from ? best->this_update : window->from;
        window->until = best->next_update < window->until ? best->next_update : window->until;
        return REASON_NONE;
    }
    if (link->moment == CRL_STANDING) {
        window->until = INT64_MIN; /* no admission rests on it */
        return REASON_NONE;
    }
    if (expired != NULL) {
        return fault_at(link, REASON_SVID_CRL_EXPIRED, "its CRL was to be replaced by",
                        expired->next_update);
    }
    return fault_at(link, REASON_SVID_CRL_NOT_YET_VALID, "its CRL begins",
                    list->items[0]->this_update);
}

static enum reason check_link(const struct link *link, bool demanded, struct crl_window *window)
{
    struct crl_list list;
    if (link->domain->crls == NULL) {
        return fault(link, REASON_SVID_CRL_MISSING,
                     "the CRL file of its trust domain could not be loaded");
    }
    enum reason reason = collect(link, &list);
    if (reason != REASON_NONE) {
        return reason;
    }
    if (list.count == 0) {
        return demanded ? fault(link, REASON_SVID_CRL_MISSING,
                                "the trust domain's file has no CRL of this issuer that covers it")
                        : REASON_NONE;
    }
    drop_replaced(&list, link->now_s);
    reason = look_up(link, &list);
    return reason == REASON_NONE ? check_dates(link, &list, window) : reason;
}

static bool is_demanded(const struct credentials_domain *domain, int index)
{
    return domain->crl_check == CRL_CHECK_CHAIN ||
           (domain->crl_check == CRL_CHECK_LEAF && index == 0);
}

enum reason crl_check_path(const struct credentials_domain *domain, STACK_OF(X509) * path,
                           enum crl_moment moment, int64_t now_s, struct crl_window *window,
                           struct svid_failure *failure)
{
    enum reason reason = REASON_NONE;
    *window = (struct crl_window){.from = INT64_MIN, .until = INT64_MAX};
    if (domain->crl_check == CRL_CHECK_NONE) {
        return REASON_NONE;
    }
    ERR_set_mark();
    for (int i = 0; reason == REASON_NONE && i + 1 < sk_X509_num(path); i++) {
        struct link link = {.domain = domain,
                            .certificate = sk_X509_value(path, i),
                            .issuer = sk_X509_value(path, i + 1),
                            .index = i,
                            .moment = moment,
                            .now_s = now_s,
                            .failure = failure};
        reason = check_link(&link, is_demanded(domain, i), window);
    }
    (void)ERR_pop_to_mark();
    return reason;
}

enum reason crl_check_issuer(const struct credentials_domain *domain, X509 *issuer, int64_t now_s,
                             struct svid_failure *failure)
{
    struct crl_window window = {.from = INT64_MIN, .until = INT64_MAX};
    struct link link = {.domain = domain, .issuer = issuer, .now_s = now_s, .failure = failure};
    if (domain->crl_check == CRL_CHECK_NONE) {
        return REASON_NONE;
    }
    ERR_set_mark();
    enum reason reason = check_link(&link, is_demanded(domain, 0), &window);
    (void)ERR_pop_to_mark();
    return reason;
}

void crl_check_prepare(const struct credentials_domain *domain)
{
    bool namesake = false;
    for (size_t i = 0; domain->crls != NULL && i < domain->crls->count; i++) {
        (void)signed_by_an_anchor(domain, domain->crls->crls[i], &namesake);
    }
}
