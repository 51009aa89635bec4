/*
 * Our own SVID first, and the bundle of its domain; then those of the other SVIDs, which may be of
 * other domains, then the federated ones. Bundles are taken apart each time and compared with the
 * former ones, so that "unchanged" is a comparison of pointers for everybody behind this.
 */
#include "identity/workload_update.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "identity/workload_response.h"
#include "spiffe/crl.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

/* The update, with what its users need not see. */
struct counted {
    struct workload_update update;
    atomic_size_t refs;
};

struct maker {
    const struct crypto *crypto;
    const struct workload_response *response;
    const struct workload_update *former;
    struct workload_update *update;
    size_t svid_domains; /* of the update's: they come first, and come before federated ones */
    struct errbuf *err;
};

static struct counted *counted_of(struct workload_update *update)
{
    return (struct counted *)(void *)update; /* its first member */
}

static struct workload_update *update_new(size_t domains_max)
{
    struct counted *counted = mem_alloc(sizeof(*counted));
    atomic_init(&counted->refs, 1);
    counted->update.domains = mem_alloc_array(domains_max, sizeof(struct workload_domain));
    return &counted->update;
}

static void note(struct workload_update *update, const char *text)
{
    if (update->note[0] == '\0') {
        (void)snprintf(update->note, sizeof(update->note), "%s", text);
    }
}

static const struct workload_domain *find_domain(const struct workload_update *update,
                                                 struct strview name)
{
    for (size_t i = 0; update != NULL && i < update->domain_count; i++) {
        if (strview_equal_text(name, update->domains[i].name)) {
            return &update->domains[i];
        }
    }
    return NULL;
}

/* --- our own SVID ---------------------------------------------------------------------------- */

static bool is_asked(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* Workload API 5.2.1: the first is the default, and the first of those with one hint. */
static const struct workload_svid *choose(const struct workload_response *response,
                                          const struct workload_choice *choice)
{
    for (size_t i = 0; i < response->svid_count; i++) {
        const struct workload_svid *svid = &response->svids[i];
        bool id_fits =
            !is_asked(choice->spiffe_id) || strview_equal_text(svid->spiffe_id, choice->spiffe_id);
        bool hint_fits = !is_asked(choice->hint) || strview_equal_text(svid->hint, choice->hint);
        if (id_fits && hint_fits) {
            return svid;
        }
    }
    return NULL;
}

static void note_absent(const struct maker *maker, const struct workload_choice *choice)
{
    struct strview first = maker->response->svids[0].spiffe_id;
    char text[WORKLOAD_NOTE_SIZE];
    (void)snprintf(text, sizeof(text), "none of the agent's %zu SVIDs has%s%.128s%s%.128s; %s%.*s",
                   maker->response->svid_count, is_asked(choice->spiffe_id) ? " the ID " : "",
                   is_asked(choice->spiffe_id) ? choice->spiffe_id : "",
                   is_asked(choice->hint) ? " the hint " : "",
                   is_asked(choice->hint) ? choice->hint : "", "the first is ",
                   (int)(first.len < 128 ? first.len : 128), first.ptr);
    note(maker->update, text);
}

/* Workload API 5.1 and what go-spiffe checks: ID, leaf and key are of one another. */
static int make_own(const struct maker *maker, const struct workload_svid *svid)
{
    struct x509_svid *own = x509_svid_from_der(maker->crypto, svid->chain.ptr, svid->chain.len,
                                               svid->key.ptr, svid->key.len, maker->err);
    if (own == NULL) {
        errbuf_prefix(maker->err, "the SVID %.*s",
                      (int)(svid->spiffe_id.len < 256 ? svid->spiffe_id.len : 256),
                      svid->spiffe_id.ptr);
        return -1;
    }
    struct strview id = x509_svid_id(own)->text;
    if (!strview_equal(id, svid->spiffe_id)) {
        errbuf_set(maker->err, "the SVID is said to be %.*s, and its certificate is %.*s",
                   (int)(svid->spiffe_id.len < 256 ? svid->spiffe_id.len : 256),
                   svid->spiffe_id.ptr, (int)(id.len < 256 ? id.len : 256), id.ptr);
        x509_svid_unref(own);
        return -1;
    }
    struct x509_svid *former = maker->former == NULL ? NULL : maker->former->own;
    if (former != NULL && x509_svid_same(former, own)) {
        x509_svid_unref(own);
        own = x509_svid_ref(former);
    }
    maker->update->own = own;
    return 0;
}

/* --- bundles --------------------------------------------------------------------------------- */

static struct trust_bundle *make_bundle(const struct maker *maker, const char *name,
                                        struct strview anchors)
{
    struct trust_bundle *bundle =
        trust_bundle_from_der(maker->crypto, name, anchors.ptr, anchors.len, maker->err);
    const struct workload_domain *former = find_domain(maker->former, strview_from(name));
    if (bundle != NULL && former != NULL && trust_bundle_same(bundle, former->bundle)) {
        trust_bundle_unref(bundle);
        return trust_bundle_ref(former->bundle);
    }
    return bundle;
}

static void put_domain(struct workload_update *update, const char *name,
                       struct trust_bundle *bundle)
{
    update->domains[update->domain_count++] =
        (struct workload_domain){.name = mem_strdup(name), .bundle = bundle};
}

/*
 * SPIFFE federation 4.2, 7.3: a CA's key belongs to one trust domain. Whose it is, the SVIDs say:
 * CA certificates are public, and who copies ours into its bundle must not take ours out of force.
 */
static bool is_apart(const struct maker *maker, const struct trust_bundle *bundle,
                     struct errbuf *err)
{
    enum { SUBJECT_SIZE = 160 };
    char subject[SUBJECT_SIZE];
    for (size_t i = 0; i < maker->svid_domains; i++) {
        const struct workload_domain *domain = &maker->update->domains[i];
        if (trust_bundle_shares_anchor(bundle, domain->bundle, subject, sizeof(subject))) {
            errbuf_set(err, "the key of its anchor \"%s\" is also in the bundle of %s", subject,
                       domain->name);
            return false;
        }
    }
    return true;
}

/* What the former has of the domain, or nothing. */
static void keep_domain(const struct maker *maker, const char *name)
{
    char text[WORKLOAD_NOTE_SIZE];
    struct errbuf ignored;
    const struct workload_domain *former = find_domain(maker->former, strview_from(name));
    if (former != NULL && !is_apart(maker, former->bundle, &ignored)) {
        former = NULL;
    }
    (void)snprintf(text, sizeof(text), "the bundle of %s: %.300s; %s", name, maker->err->text,
                   former != NULL ? "the former one is kept" : "the domain has none");
    note(maker->update, text);
    maker->update->kept++;
    if (former != NULL) {
        put_domain(maker->update, name, trust_bundle_ref(former->bundle));
    }
}

static int compare_twice(const struct maker *maker, const struct workload_domain *domain,
                         struct strview anchors)
{
    struct trust_bundle *other = make_bundle(maker, domain->name, anchors);
    bool same = other != NULL && trust_bundle_same(other, domain->bundle);
    trust_bundle_unref(other);
    if (!same) {
        errbuf_set(maker->err, "two bundles for %s in one message, and they differ", domain->name);
    }
    return same ? 0 : -1;
}

static int add_domain(const struct maker *maker, struct strview trust_domain,
                      struct strview anchors, bool is_own)
{
    const struct workload_domain *twice = find_domain(maker->update, trust_domain);
    if (twice != NULL) {
        return compare_twice(maker, twice, anchors);
    }
    char *name = mem_strndup(trust_domain.ptr, trust_domain.len);
    struct trust_bundle *bundle = make_bundle(maker, name, anchors);
    int result = 0;
    if (bundle != NULL && !is_own && !is_apart(maker, bundle, maker->err)) {
        trust_bundle_unref(bundle);
        bundle = NULL;
    }
    if (bundle != NULL) {
        put_domain(maker->update, name, bundle);
    } else if (is_own) {
        errbuf_prefix(maker->err, "the bundle of %s", name);
        result = -1;
    } else {
        keep_domain(maker, name);
    }
    mem_free(name);
    return result;
}

static int parse_id(const struct maker *maker, struct strview text, bool with_path,
                    struct spiffe_id *id)
{
    const char *why = NULL;
    int result = spiffe_id_parse(text, id, &why);
    if (result == 0 && (id->path.len > 0) != with_path) {
        why = with_path ? "a workload's ID has a path" : "a trust domain's ID has no path";
        result = -1;
    }
    if (result != 0) {
        errbuf_set(maker->err, "\"%.*s\": %s", (int)(text.len < 256 ? text.len : 256), text.ptr,
                   why);
    }
    return result;
}

static int add_svid_domain(struct maker *maker, const struct workload_svid *svid, bool is_own)
{
    struct spiffe_id id;
    if (parse_id(maker, svid->spiffe_id, true, &id) != 0) {
        return -1;
    }
    int result = add_domain(maker, id.trust_domain, svid->bundle, is_own);
    maker->svid_domains = maker->update->domain_count;
    return result;
}

static int add_domains(struct maker *maker, const struct workload_svid *own)
{
    const struct workload_response *response = maker->response;
    if (own != NULL && add_svid_domain(maker, own, true) != 0) {
        return -1;
    }
    for (size_t i = 0; i < response->svid_count; i++) {
        if (&response->svids[i] != own && add_svid_domain(maker, &response->svids[i], false) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < response->bundle_count; i++) {
        struct spiffe_id id;
        if (parse_id(maker, response->bundles[i].trust_domain, false, &id) != 0 ||
            add_domain(maker, id.trust_domain, response->bundles[i].anchors, false) != 0) {
            return -1;
        }
    }
    return 0;
}

/* --- CRLs ------------------------------------------------------------------------------------ */

static void take_crls(const struct maker *maker, struct workload_domain *domain,
                      struct crl_set *crls)
{
    const struct workload_domain *former = find_domain(maker->former, strview_from(domain->name));
    domain->crls = crls;
    if (crls != NULL && former != NULL && former->crls != NULL &&
        crl_set_same(crls, former->crls)) {
        crl_set_unref(crls);
        domain->crls = crl_set_ref(former->crls);
    }
}

/* Whose each list is, its signature says, and the time that takes is bounded. */
static int sort_crls(const struct maker *maker, const struct crl_set *all,
                     struct trust_bundle *const *bundles, struct crl_set **sets)
{
    struct workload_update *update = maker->update;
    size_t checks = crl_set_sort_checks(all, bundles, update->domain_count);
    if (checks > WORKLOAD_CRL_CHECKS_MAX) {
        errbuf_set(maker->err,
                   "too many CRLs: to say whose each of the %zu is takes %zu signatures; at most "
                   "%d are checked",
                   maker->response->crl_count, checks, WORKLOAD_CRL_CHECKS_MAX);
        return -1;
    }
    update->loose_crls = crl_set_sort(all, bundles, update->domain_count, sets);
    for (size_t i = 0; i < update->domain_count; i++) {
        take_crls(maker, &update->domains[i], sets[i]);
    }
    return 0;
}

static int add_crls(const struct maker *maker)
{
    const struct workload_update *update = maker->update;
    const struct workload_response *response = maker->response;
    if (response->crl_count == 0) {
        return 0;
    }
    struct crl_set *all =
        crl_set_from_der(maker->crypto, response->crls, response->crl_count, maker->err);
    if (all == NULL) {
        return -1;
    }
    size_t count = update->domain_count;
    struct trust_bundle **bundles = mem_alloc_array(count, sizeof(struct trust_bundle *));
    struct crl_set **sets = mem_alloc_array(count, sizeof(struct crl_set *));
    for (size_t i = 0; i < count; i++) {
        bundles[i] = update->domains[i].bundle;
    }
    int result = sort_crls(maker, all, bundles, sets);
    mem_free(bundles);
    mem_free(sets);
    crl_set_unref(all);
    return result;
}

/* --- the object ------------------------------------------------------------------------------ */

struct workload_update *workload_update_new(const struct crypto *crypto,
                                            const struct workload_response *response,
                                            const struct workload_choice *choice,
                                            const struct workload_update *former,
                                            struct errbuf *err)
{
    struct maker maker = {
        .crypto = crypto,
        .response = response,
        .former = former,
        .update = update_new(response->svid_count + response->bundle_count),
        .err = err,
    };
    maker.update->svid_count = response->svid_count;
    const struct workload_svid *own = choose(response, choice);
    if (own == NULL) {
        note_absent(&maker, choice);
    }
    if ((own != NULL && make_own(&maker, own) != 0) || add_domains(&maker, own) != 0 ||
        add_crls(&maker) != 0) {
        workload_update_unref(maker.update);
        return NULL;
    }
    return maker.update;
}

struct workload_update *workload_update_withdrawn(const struct workload_update *former,
                                                  const char *why)
{
    size_t count = former == NULL ? 0 : former->domain_count;
    struct workload_update *update = update_new(count);
    for (size_t i = 0; i < count; i++) {
        const struct workload_domain *domain = &former->domains[i];
        put_domain(update, domain->name, trust_bundle_ref(domain->bundle));
        update->domains[i].crls = domain->crls == NULL ? NULL : crl_set_ref(domain->crls);
    }
    note(update, why);
    return update;
}

struct workload_update *workload_update_ref(struct workload_update *update)
{
    atomic_fetch_add_explicit(&counted_of(update)->refs, 1, memory_order_relaxed);
    return update;
}

void workload_update_unref(struct workload_update *update)
{
    if (update == NULL ||
        atomic_fetch_sub_explicit(&counted_of(update)->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < update->domain_count; i++) {
        trust_bundle_unref(update->domains[i].bundle);
        crl_set_unref(update->domains[i].crls);
        mem_free(update->domains[i].name);
    }
    mem_free(update->domains);
    x509_svid_unref(update->own);
    mem_free(counted_of(update));
}

bool workload_update_same(const struct workload_update *a, const struct workload_update *b)
{
    if (a == NULL || b == NULL || a->own != b->own || a->domain_count != b->domain_count) {
        return a == b;
    }
    for (size_t i = 0; i < a->domain_count; i++) {
        const struct workload_domain *one = &a->domains[i];
        const struct workload_domain *other = find_domain(b, strview_from(one->name));
        if (other == NULL || one->bundle != other->bundle || one->crls != other->crls) {
            return false;
        }
    }
    return true;
}
