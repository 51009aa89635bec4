/*
 * One function for start and `check`. Everything is looked at even after an error, so that all
 * errors are told at once; only what rests on a broken part is skipped, and only a file that can't
 * be read as YAML ends it. Whether there was an error is asked once, before the snapshot is built.
 */
#include "control/load.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/config.h"
#include "identity/file_source.h"
#include "policy/policy.h"
#include "proxy/snapshot.h"
#include "spiffe/credentials.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

#define SCHEME                   "spiffe://"
#define NAME_OF_A_REFUSED_DOMAIN "refused.invalid"

struct loaded {
    struct x509_svid *own;
    struct trust_bundle **bundles; /* NULL where one failed */
    size_t bundle_count;
};

static void loaded_fini(struct loaded *loaded)
{
    x509_svid_unref(loaded->own);
    for (size_t i = 0; i < loaded->bundle_count; i++) {
        trust_bundle_unref(loaded->bundles[i]);
    }
    mem_free(loaded->bundles);
}

static void check_pin(const struct config *config, const struct x509_svid *own,
                      struct diag_list *diags)
{
    const struct config_string *pin = &config->identity.spiffe_id;
    if (pin->text == NULL) {
        return;
    }
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse(strview_from(pin->text), &id, &why) != 0) {
        diag_error(diags, pin->pos, "identity.spiffe_id: \"%s\": %s", pin->text, why);
        return;
    }
    if (own != NULL && !strview_equal(id.text, x509_svid_id(own)->text)) {
        struct strview is = x509_svid_id(own)->text;
        diag_error(diags, pin->pos,
                   "identity.spiffe_id: the certificate in %s is \"%.*s\", not \"%s\"",
                   config->identity.certificate.text, (int)is.len, is.ptr, pin->text);
    }
}

/* Time alone never makes a valid file invalid: an expired SVID is a warning. */
static void warn_validity(const struct config *config, const struct x509_svid *own,
                          struct diag_list *diags)
{
    char text[CLOCK_TEXT_SIZE];
    struct config_pos pos = config->identity.certificate.pos;
    int64_t now = clock_wall_s();
    if (x509_svid_not_after(own) <= now) {
        diag_warning(diags, pos, "identity.files.certificate: %s expired at %s: peers refuse it",
                     config->identity.certificate.text,
                     clock_format_s(x509_svid_not_after(own), text));
    } else if (x509_svid_not_before(own) > now) {
        diag_warning(diags, pos, "identity.files.certificate: %s is valid only from %s",
                     config->identity.certificate.text,
                     clock_format_s(x509_svid_not_before(own), text));
    }
}

static void load_pair(const struct config *config, const struct crypto *crypto,
                      struct loaded *loaded, struct diag_list *diags)
{
    struct errbuf err;
    bool world_readable = false;
    loaded->own = file_source_load_svid(crypto, config->identity.certificate.text,
                                        config->identity.private_key.text, &world_readable, &err);
    if (loaded->own == NULL) {
        diag_error(diags, config->identity.certificate.pos, "identity.files: %s", err.text);
    } else {
        warn_validity(config, loaded->own, diags);
    }
    if (world_readable) {
        diag_warning(diags, config->identity.private_key.pos,
                     "identity.files.private_key: everyone on this host may read %s: chmod 0600",
                     config->identity.private_key.text);
    }
}

static void load_own(const struct config *config, const struct crypto *crypto,
                     struct loaded *loaded, struct diag_list *diags)
{
    if (config->identity.certificate.text != NULL && config->identity.private_key.text != NULL) {
        load_pair(config, crypto, loaded, diags);
    }
    check_pin(config, loaded->own, diags);
}

/* False when the domain's name is wrong, which is reported. */
static bool check_domain(const struct config_string *domain, struct diag_list *diags)
{
    const char *why = NULL;
    if (strview_starts_with(strview_from(domain->text), SCHEME)) {
        diag_error(diags, domain->pos, "trust: \"%s\": write the trust domain alone, without %s",
                   domain->text, SCHEME);
        return false;
    }
    if (spiffe_trust_domain_check(strview_from(domain->text), &why) != 0) {
        diag_error(diags, domain->pos, "trust: \"%s\": %s", domain->text, why);
        return false;
    }
    return true;
}

static void load_bundle(const struct config_trust *trust, const struct crypto *crypto,
                        struct trust_bundle **out, struct diag_list *diags)
{
    /* The file of a domain with a wrong name is read too, under a name that nobody asks for. */
    const char *domain =
        check_domain(&trust->domain, diags) ? trust->domain.text : NAME_OF_A_REFUSED_DOMAIN;
    if (trust->bundle.text == NULL) {
        return;
    }
    struct errbuf err;
    *out = file_source_load_bundle(crypto, domain, trust->bundle.text, &err);
    if (*out == NULL) {
        diag_error(diags, trust->bundle.pos, "trust.%s.bundle: %s", trust->domain.text, err.text);
    } else if (trust_bundle_count(*out) == 0) {
        diag_warning(diags, trust->bundle.pos,
                     "trust.%s.bundle: %s has no anchor, so every SVID of the domain is revoked "
                     "(SPIFFE bundle 4.1.3): its peers are refused",
                     trust->domain.text, trust->bundle.text);
    } else if (trust_bundle_count_valid(*out, clock_wall_s()) == 0) {
        diag_warning(diags, trust->bundle.pos,
                     "trust.%s.bundle: every anchor in %s has expired: its peers are refused",
                     trust->domain.text, trust->bundle.text);
    }
}

/* SPIFFE federation 4.2, 7.3: an anchor of two domains would let each mint the other's IDs. */
static void check_shared_anchors(const struct config *config, const struct loaded *loaded,
                                 struct diag_list *diags)
{
    char subject[160];
    for (size_t i = 0; i < loaded->bundle_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (loaded->bundles[i] != NULL && loaded->bundles[k] != NULL &&
                trust_bundle_shares_anchor(loaded->bundles[i], loaded->bundles[k], subject,
                                           sizeof(subject))) {
                diag_error(diags, config->trust[i].bundle.pos,
                           "trust.%s.bundle: the anchor \"%s\" also stands in the bundle of %s; "
                           "an anchor belongs to one trust domain: give each its own bundle file "
                           "(spiffe-helper merges them unless include_federated_domains is false)",
                           config->trust[i].domain.text, subject, config->trust[k].domain.text);
            }
        }
    }
}

static struct credentials *build_credentials(const struct config *config,
                                             const struct loaded *loaded, uint64_t generation,
                                             struct diag_list *diags)
{
    struct errbuf err;
    struct credentials_domain *domains =
        mem_alloc_array(loaded->bundle_count, sizeof(struct credentials_domain));
    for (size_t i = 0; i < loaded->bundle_count; i++) {
        domains[i].bundle = loaded->bundles[i];
    }
    struct credentials_parts parts = {.own = loaded->own,
                                      .domains = domains,
                                      .domain_count = loaded->bundle_count,
                                      .generation = generation,
                                      .identity_epoch = 1};
    struct credentials *credentials = credentials_build(&parts, &err);
    if (credentials == NULL) {
        diag_error(diags, config->identity.pos, "%s", err.text);
    }
    mem_free(domains);
    return credentials;
}

static struct credentials *load_credentials(const struct config *config,
                                            const struct crypto *crypto, uint64_t generation,
                                            struct diag_list *diags)
{
    size_t errors_before = diags->error_count;
    struct loaded loaded = {.bundle_count = config->trust_count};
    loaded.bundles = mem_alloc_array(config->trust_count, sizeof(struct trust_bundle *));
    load_own(config, crypto, &loaded, diags);
    for (size_t i = 0; i < config->trust_count; i++) {
        load_bundle(&config->trust[i], crypto, &loaded.bundles[i], diags);
    }
    check_shared_anchors(config, &loaded, diags);
    struct credentials *credentials = NULL;
    if (config->valid && diags->error_count == errors_before) {
        credentials = build_credentials(config, &loaded, generation, diags);
    }
    loaded_fini(&loaded);
    return credentials;
}

struct snapshot *snapshot_load(const char *path, const struct crypto *crypto, uint64_t generation,
                               struct diag_list *diags)
{
    struct config *config = config_load(path, diags);
    if (config == NULL) {
        return NULL;
    }
    struct policy *policy = policy_load(config, diags);
    struct credentials *credentials = load_credentials(config, crypto, generation, diags);
    if (diag_has_errors(diags) || policy == NULL || credentials == NULL) {
        policy_free(policy);
        credentials_unref(credentials);
        config_free(config);
        return NULL;
    }
    struct snapshot *snapshot =
        snapshot_build(config, policy, credentials, crypto, generation, diags);
    credentials_unref(credentials);
    return snapshot;
}
