/*
 * A load reads the configuration, then what it names. Everything is looked at even after an error,
 * so that all errors are told at once; only what rests on a broken part is skipped.
 *
 * The same functions serve start, `check` and reload. What differs is `former`: with one, a part
 * that is broken is replaced by its last good state; without, it is missing, and the load fails.
 */
#include "control/sources.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/config.h"
#include "config/same.h"
#include "control/places.h"
#include "control/quarantine_source.h"
#include "control/workload_material.h"
#include "identity/workload_update.h"
#include "policy/lint.h"
#include "policy/policy.h"
#include "policy/policy_tests.h"
#include "policy/quarantine.h"
#include "proxy/snapshot.h"
#include "spiffe/crl.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

#define NAME_OF_A_REFUSED_DOMAIN "refused.invalid"

struct sources {
    char *path;
    struct config_options options;
    const struct crypto *crypto;
    struct tls_session_store *sessions;
    struct material *in_force;
    struct workload_update *workload; /* NULL: none has come */
    uint64_t credentials_generation;  /* of the last credentials that were built */
};

/* One load. */
struct loader {
    const struct config_options *options;
    const struct crypto *crypto;
    struct tls_session_store *sessions;
    const struct config *config;   /* whose names and places count */
    const struct material *former; /* NULL: a start */
    struct material *material;     /* being made */
    const struct workload_update *workload;
    struct diag_list *diags;
    struct quarantine *quarantine;   /* that the configuration's files hold now; NULL: not read */
    uint64_t credentials_generation; /* for new credentials */
};

static bool uses_workload_api(const struct loader *loader)
{
    return workload_material_address(loader->config) != NULL;
}

static struct workload_load workload_load_of(const struct loader *loader)
{
    return (struct workload_load){.config = loader->config,
                                  .update = loader->workload,
                                  .former = loader->former,
                                  .material = loader->material,
                                  .diags = loader->diags};
}

static const char *kept_note(bool has_last_good)
{
    return has_last_good ? "; the last good state is kept" : "";
}

/* --- our own SVID ---------------------------------------------------------------------------- */

/* Whether the SVID is the one that identity.spiffe_id asks for. */
static bool fits_pin(const struct config *config, const struct x509_svid *own,
                     struct diag_list *diags)
{
    const struct config_string *pin = &config->identity.spiffe_id;
    if (pin->text == NULL || own == NULL ||
        strview_equal(strview_from(pin->text), x509_svid_id(own)->text)) {
        return true;
    }
    struct strview is = x509_svid_id(own)->text;
    diag_error(diags, pin->pos, "identity.spiffe_id: the certificate in %s is \"%.*s\", not \"%s\"",
               config->identity.certificate.text, (int)is.len, is.ptr, pin->text);
    return false;
}

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

static struct x509_svid *read_own(struct loader *loader)
{
    const struct config *config = loader->config;
    struct errbuf err;
    struct file_key_facts key;
    if (config->identity.certificate.text == NULL || config->identity.private_key.text == NULL) {
        return NULL;
    }
    struct x509_svid *own = file_source_load_svid(loader->crypto, config->identity.certificate.text,
                                                  config->identity.private_key.text, &key, &err);
    if (key.world_readable) {
        diag_warning(loader->diags, config->identity.private_key.pos,
                     "identity.files.private_key: everyone on this host may read %s: chmod 0600",
                     config->identity.private_key.text);
    }
    if (own == NULL && key.at_fault) {
        diag_error(loader->diags, config->identity.private_key.pos,
                   "identity.files.private_key: %s%s", err.text, kept_note(loader->former != NULL));
    } else if (own == NULL) {
        diag_error(loader->diags, config->identity.certificate.pos, "identity.files: %s%s",
                   err.text, kept_note(loader->former != NULL));
    } else {
        warn_validity(config, own, loader->diags);
    }
    if (!fits_pin(config, own, loader->diags)) {
        x509_svid_unref(own);
        return NULL;
    }
    return own;
}

/* A valid SVID is never replaced by one that has expired: that is a mistake of whoever wrote it. */
static bool is_step_back(struct loader *loader, const struct x509_svid *own)
{
    int64_t now = clock_wall_s();
    if (loader->former == NULL || loader->former->own == NULL || x509_svid_not_after(own) > now ||
        x509_svid_not_after(loader->former->own) <= now) {
        return false;
    }
    diag_error(loader->diags, loader->config->identity.certificate.pos,
               "identity.files.certificate: %s has expired and the one in force has not%s",
               loader->config->identity.certificate.text, kept_note(true));
    return true;
}

static void load_own(struct loader *loader)
{
    struct material *material = loader->material;
    if (uses_workload_api(loader)) {
        const struct workload_load load = workload_load_of(loader);
        workload_material_own(&load);
        return;
    }
    struct x509_svid *own = read_own(loader);
    if (own == NULL || is_step_back(loader, own)) {
        x509_svid_unref(own);
        return; /* what material_new has taken over from the former stays */
    }
    if (material->own != NULL && x509_svid_same(own, material->own)) {
        x509_svid_unref(own);
        return;
    }
    if (material->own != NULL &&
        !strview_equal(x509_svid_id(own)->text, x509_svid_id(material->own)->text)) {
        material->identity_epoch++;
    }
    x509_svid_unref(material->own);
    material->own = own;
    material->own_loaded_s = clock_wall_s();
}

/* --- trust domains --------------------------------------------------------------------------- */

static void check_domain_name(const struct config_string *domain, struct diag_list *diags)
{
    const char *why = NULL;
    if (spiffe_trust_domain_check(strview_from(domain->text), &why) != 0) {
        diag_error(diags, domain->pos, "trust: \"%s\": %s", domain->text, why);
    }
}

static void warn_bundle(const struct config_trust *trust, const struct trust_bundle *bundle,
                        struct diag_list *diags)
{
    if (trust_bundle_count(bundle) == 0) {
        diag_warning(diags, trust->bundle.pos,
                     "trust.%s.bundle: %s has no anchor, so every SVID of the domain is revoked "
                     "(SPIFFE bundle 4.1.3): its peers are refused",
                     trust->domain.text, trust->bundle.text);
    } else if (trust_bundle_count_valid(bundle, clock_wall_s()) == 0) {
        diag_warning(diags, trust->bundle.pos,
                     "trust.%s.bundle: every anchor in %s has expired: its peers are refused",
                     trust->domain.text, trust->bundle.text);
    }
}

static void load_bundle(struct loader *loader, const struct config_trust *trust,
                        struct material_domain *domain)
{
    const char *why = NULL;
    bool good_name = spiffe_trust_domain_check(strview_from(trust->domain.text), &why) == 0;
    /* The file of a domain with a wrong name is read too, under a name that nobody asks for. */
    const char *name = good_name ? trust->domain.text : NAME_OF_A_REFUSED_DOMAIN;
    struct errbuf err;
    if (trust->bundle.text == NULL) {
        trust_bundle_unref(domain->bundle); /* the Workload API's, which has its own way */
        domain->bundle = NULL;
        domain->bundle_digest = (struct file_digest){.known = false};
        return;
    }
    struct trust_bundle *bundle = file_source_load_bundle(
        loader->crypto, name, trust->bundle.text, domain->bundle, &domain->bundle_digest, &err);
    if (bundle == NULL && strstr(err.text, NAME_OF_A_REFUSED_DOMAIN) != NULL) {
        return; /* nobody wrote that name: whether an anchor is of this domain can't be said */
    }
    if (bundle == NULL) {
        diag_error(loader->diags, trust->bundle.pos, "trust.%s.bundle: %s%s", trust->domain.text,
                   err.text, kept_note(domain->bundle != NULL));
        return;
    }
    warn_bundle(trust, bundle, loader->diags);
    if (bundle != domain->bundle) {
        domain->bundle_loaded_s = clock_wall_s();
    }
    trust_bundle_unref(domain->bundle);
    domain->bundle = bundle;
}

static void load_crls(struct loader *loader, const struct config_trust *trust,
                      struct material_domain *domain)
{
    struct errbuf err;
    if (trust->crl.text == NULL) {
        crl_set_unref(domain->crls);
        domain->crls = NULL;
        domain->crl_digest = (struct file_digest){.known = false};
        domain->crls_loaded_s = 0;
        domain->crl_check = CRL_CHECK_NONE;
        return;
    }
    domain->crl_check =
        trust->crl_check == CONFIG_CRL_CHECK_CHAIN ? CRL_CHECK_CHAIN : CRL_CHECK_LEAF;
    struct crl_set *crls = file_source_load_crls(loader->crypto, trust->crl.text, domain->crls,
                                                 &domain->crl_digest, &err);
    if (crls == NULL) {
        diag_error(loader->diags, trust->crl.pos, "trust.%s.crl: %s%s", trust->domain.text,
                   err.text, kept_note(domain->crls != NULL));
        return;
    }
    if (crls != domain->crls) {
        domain->crls_loaded_s = clock_wall_s();
    }
    crl_set_unref(domain->crls);
    domain->crls = crls;
}

/* The domains of the configuration, each starting from what the former material has of it. */
static void load_domains(struct loader *loader)
{
    const struct config *config = loader->config;
    struct material made = {.domain_count = config->trust_count};
    made.domains = mem_alloc_array(config->trust_count, sizeof(*made.domains));
    for (size_t i = 0; i < config->trust_count; i++) {
        const struct config_trust *trust = &config->trust[i];
        struct material_domain *domain = &made.domains[i];
        const struct material_domain *same =
            loader->former == NULL ? NULL
                                   : material_find_domain(loader->former, trust->domain.text);
        if (same != NULL) {
            material_domain_copy(domain, same);
        } else {
            domain->name = mem_strdup(trust->domain.text);
        }
        load_bundle(loader, trust, domain);
        load_crls(loader, trust, domain);
    }
    material_drop_domains(loader->material);
    loader->material->domains = made.domains;
    loader->material->domain_count = made.domain_count;
    if (uses_workload_api(loader)) {
        const struct workload_load load = workload_load_of(loader);
        workload_material_domains(&load);
    }
}

/* The Workload API's stand in no file. */
static struct config_pos bundle_pos(const struct loader *loader, size_t domain)
{
    const struct config *config = loader->config;
    return domain < config->trust_count ? config->trust[domain].bundle.pos : config->identity.pos;
}

/* SPIFFE federation 4.2, 7.3: the holder of a CA key in two bundles could mint the IDs of both. */
static void check_shared_anchors(struct loader *loader)
{
    const struct material *material = loader->material;
    char subject[160];
    for (size_t i = 0; i < material->domain_count; i++) {
        const struct material_domain *one = &material->domains[i];
        for (size_t k = 0; k < i; k++) {
            const struct material_domain *other = &material->domains[k];
            if (one->bundle != NULL && other->bundle != NULL &&
                trust_bundle_shares_anchor(one->bundle, other->bundle, subject, sizeof(subject))) {
                diag_error(
                    loader->diags, bundle_pos(loader, i),
                    "trust.%s.bundle: the key of the anchor \"%s\" is also in the bundle of %s; "
                    "a CA's key belongs to one trust domain: give each a CA and a bundle file of "
                    "its own (spiffe-helper merges them unless include_federated_domains is "
                    "false)%s",
                    one->name, subject, other->name, kept_note(loader->former != NULL));
            }
        }
    }
}

static bool same_trust(const struct material *a, const struct material *b)
{
    if (a->domain_count != b->domain_count) {
        return false;
    }
    for (size_t i = 0; i < a->domain_count; i++) {
        const struct material_domain *one = &a->domains[i];
        const struct material_domain *other = material_find_domain(b, one->name);
        if (other == NULL || one->bundle != other->bundle || one->crls != other->crls ||
            one->crl_check != other->crl_check) {
            return false;
        }
    }
    return true;
}

static struct credentials *build(struct loader *loader, struct errbuf *err)
{
    const struct material *material = loader->material;
    struct credentials_domain *domains = mem_alloc_array(material->domain_count, sizeof(*domains));
    size_t count = 0;
    for (size_t i = 0; i < material->domain_count; i++) {
        const struct material_domain *domain = &material->domains[i];
        if (domain->bundle != NULL) {
            domains[count++] = (struct credentials_domain){
                .bundle = domain->bundle, .crls = domain->crls, .crl_check = domain->crl_check};
        }
    }
    const struct credentials_parts parts = {
        .own = material->own,
        .domains = domains,
        .domain_count = count,
        .generation = loader->credentials_generation,
        .identity_epoch = material->identity_epoch,
    };
    struct credentials *credentials = credentials_build(&parts, err);
    mem_free(domains);
    return credentials;
}

/* True when it had changed. */
static bool keep_former_bundle(struct loader *loader, struct material_domain *domain)
{
    const struct material_domain *former = material_find_domain(loader->former, domain->name);
    struct trust_bundle *last_good = former == NULL ? NULL : former->bundle;
    if (domain->bundle == last_good) {
        return false;
    }
    trust_bundle_unref(domain->bundle);
    domain->bundle = last_good == NULL ? NULL : trust_bundle_ref(last_good);
    domain->bundle_digest = (struct file_digest){.known = false};
    domain->bundle_loaded_s = 0;
    if (last_good != NULL) {
        domain->bundle_loaded_s = former->bundle_loaded_s;
        domain->bundle_digest = former->bundle_digest;
    }
    return true;
}

/*
 * Two bundles that don't go together: what has changed of them stays as it was, and the other
 * domains' bundles go through. True when that changed anything: then there may be others.
 */
static bool keep_two_apart(struct loader *loader)
{
    struct material *material = loader->material;
    char subject[160];
    for (size_t i = 0; i < material->domain_count; i++) {
        for (size_t k = 0; k < i; k++) {
            struct material_domain *one = &material->domains[i];
            struct material_domain *other = &material->domains[k];
            if (one->bundle == NULL || other->bundle == NULL ||
                !trust_bundle_shares_anchor(one->bundle, other->bundle, subject, sizeof(subject))) {
                continue;
            }
            bool kept_one = keep_former_bundle(loader, one);
            bool kept_other = keep_former_bundle(loader, other);
            if (kept_one || kept_other) {
                return true;
            }
        }
    }
    return false;
}

/* Says which anchors' certificates will be refused, before the first of them comes. */
static void warn_crl_gaps(struct loader *loader)
{
    const struct config *config = loader->config;
    for (size_t i = 0; i < config->trust_count; i++) {
        const struct config_trust *trust = &config->trust[i];
        struct strview name = strview_from(trust->domain.text);
        struct svid_failure gap;
        size_t cursor = 0;
        while (credentials_next_crl_gap(loader->material->credentials, name, clock_wall_s(),
                                        &cursor, &gap)) {
            diag_warning(
                loader->diags, trust->crl.pos,
                "trust.%s.crl: what the anchor \"%s\" (serial %s) issues is refused: %s%s%s",
                trust->domain.text, gap.subject, gap.serial, reason_sentence(gap.reason),
                gap.detail[0] == '\0' ? "" : ": ", gap.detail);
        }
    }
}

static void make_credentials(struct loader *loader)
{
    struct material *material = loader->material;
    const struct material *former = loader->former;
    check_shared_anchors(loader);
    while (former != NULL && keep_two_apart(loader)) {
    }
    if (former != NULL && material->own == former->own && same_trust(material, former)) {
        return; /* material_new has taken the former's over */
    }
    struct errbuf err;
    struct credentials *credentials = build(loader, &err);
    if (credentials == NULL) {
        diag_error(loader->diags, loader->config->identity.pos, "%s%s", err.text,
                   kept_note(former != NULL));
        return;
    }
    credentials_unref(material->credentials);
    material->credentials = credentials;
    warn_crl_gaps(loader);
}

/* --- the configuration ----------------------------------------------------------------------- */

/* The IDs that the configuration itself holds: a wrong one is the configuration's fault. */
static void check_names(const struct config *config, enum sources_check what,
                        struct diag_list *diags)
{
    struct spiffe_id id;
    const char *why = NULL;
    const struct config_string *pin = &config->identity.spiffe_id;
    if (pin->text != NULL && spiffe_id_parse(strview_from(pin->text), &id, &why) != 0) {
        diag_error(diags, pin->pos, "identity.spiffe_id: \"%s\": %s", pin->text, why);
    } else if (pin->text != NULL && id.path.len == 0) {
        diag_error(diags, pin->pos,
                   "identity.spiffe_id: \"%s\": no SVID has an ID without a path (X509-SVID 5.2); "
                   "write the workload's own, such as %s/ns/shop/sa/orders",
                   pin->text, pin->text);
    }
    for (size_t i = 0; i < config->trust_count; i++) {
        check_domain_name(&config->trust[i].domain, diags);
    }
    if (config->valid && what == SOURCES_CHECK_ALL) {
        workload_material_check(config, diags);
    }
}

/* What the rules of a valid configuration look like; how many of its tests fail. */
static size_t judge_rules(const struct config *config, const struct policy *policy,
                          enum lint_scope lint, struct diag_list *diags)
{
    if (policy == NULL || !config->valid) {
        return 0;
    }
    lint_run(policy, clock_wall_s(), lint, diags);
    return policy_tests_run(policy, diags).failed;
}

/* NULL when anything is wrong with it, which is reported. */
static struct setup *make_setup(struct loader *loader, struct config *config, struct policy *policy,
                                size_t errors_before)
{
    if (policy == NULL || loader->diags->error_count != errors_before) {
        policy_free(policy);
        config_free(config);
        return NULL;
    }
    const struct setup *former = loader->former == NULL ? NULL : loader->former->setup;
    const struct setup_parts parts = {.crypto = loader->crypto, .sessions = loader->sessions};
    return setup_build(config, policy, former, &parts, loader->diags);
}

static void load_quarantine(struct loader *loader, bool config_refused)
{
    quarantine_source_bring(loader->material, loader->config, loader->quarantine, config_refused,
                            loader->diags);
    loader->quarantine = NULL;
}

static void load_files(struct loader *loader)
{
    load_own(loader);
    load_domains(loader);
    if (loader->former != NULL || !diag_has_errors(loader->diags)) {
        make_credentials(loader);
    } else {
        check_shared_anchors(loader);
    }
}

/* --- the object ------------------------------------------------------------------------------ */

struct sources *sources_new(const char *path, const struct config_options *options,
                            const struct crypto *crypto, struct tls_session_store *sessions)
{
    struct sources *sources = mem_alloc(sizeof(*sources));
    sources->path = mem_strdup(path);
    if (options != NULL) {
        sources->options = *options;
    }
    sources->crypto = crypto;
    sources->sessions = sessions;
    return sources;
}

void sources_free(struct sources *sources)
{
    if (sources != NULL) {
        material_free(sources->in_force);
        workload_update_unref(sources->workload);
        mem_free(sources->path);
        mem_free(sources);
    }
}

const struct material *sources_in_force(const struct sources *sources)
{
    return sources->in_force;
}

/* What lies outside the configuration's files. */
static void load_outside(struct loader *loader)
{
    places_check_logs(loader->config, loader->diags);
    places_warn_sockets(loader->config, loader->diags);
    load_quarantine(loader, false);
    load_files(loader);
}

static bool load(struct sources *sources, enum lint_scope lint, enum sources_check what,
                 struct diag_list *diags)
{
    struct config *config = config_load(sources->path, &sources->options, diags);
    if (config == NULL) {
        return false;
    }
    struct loader loader = {
        .crypto = sources->crypto,
        .sessions = sources->sessions,
        .config = config,
        .material = material_new(NULL),
        .diags = diags,
        .credentials_generation = ++sources->credentials_generation,
    };
    check_names(config, what, diags);
    struct policy *policy = policy_load(config, diags);
    loader.quarantine = quarantine_source_inline(config, diags);
    loader.material->failed_tests = judge_rules(config, policy, lint, diags);
    if (what == SOURCES_CHECK_ALL) {
        load_outside(&loader);
    } else {
        material_set_quarantine(loader.material, loader.quarantine, quarantine_build(NULL, 0));
    }
    loader.material->setup = make_setup(&loader, config, policy, 0);
    if (diag_has_errors(diags) || loader.material->setup == NULL) {
        material_free(loader.material);
        return false;
    }
    sources->in_force = loader.material;
    return true;
}

bool sources_load(struct sources *sources, struct diag_list *diags)
{
    return load(sources, LINT_LOAD, SOURCES_CHECK_ALL, diags);
}

bool sources_check(struct sources *sources, enum sources_check what, struct diag_list *diags)
{
    return load(sources, LINT_CHECK, what, diags);
}

/* A pin that no SVID that we have or can read fits would leave us with one that it forbids. */
static void check_new_pin(struct loader *loader, const struct config *config)
{
    const struct config_string *pin = &config->identity.spiffe_id;
    const struct x509_svid *in_force = loader->former->own;
    if (pin->text == NULL || config->identity.certificate.text == NULL ||
        (in_force != NULL &&
         strview_equal(strview_from(pin->text), x509_svid_id(in_force)->text))) {
        return;
    }
    const struct config *former = loader->config;
    loader->config = config;
    struct x509_svid *own = read_own(loader);
    loader->config = former;
    x509_svid_unref(own);
}

/* The main file can't be read: those that it included say what they hold all the same. */
static struct quarantine *included_quarantine(const struct loader *loader)
{
    struct config *config =
        config_load_included(loader->former->setup->config, loader->options, loader->diags);
    struct quarantine *quarantine = quarantine_source_inline(config, loader->diags);
    config_free(config);
    return quarantine;
}

/* The setup of the file as it is now, or NULL: the former one is kept. */
static struct setup *read_setup(struct loader *loader, const char *path)
{
    size_t errors_before = loader->diags->error_count;
    struct config *config = config_load(path, loader->options, loader->diags);
    if (config == NULL) {
        loader->quarantine = included_quarantine(loader);
        return NULL;
    }
    loader->quarantine = quarantine_source_inline(config, loader->diags);
    check_names(config, SOURCES_CHECK_ALL, loader->diags);
    places_warn_sockets(config, loader->diags);
    if (config->valid) {
        check_new_pin(loader, config);
    }
    struct policy *policy = policy_load(config, loader->diags);
    if (judge_rules(config, policy, LINT_LOAD, loader->diags) > 0) {
        policy_free(policy);
        config_free(config);
        return NULL; /* a start has no choice, a reload has the former rules */
    }
    return make_setup(loader, config, policy, errors_before);
}

/* The setup that is to replace the former; NULL: that one stays. */
static struct setup *new_setup(struct loader *loader, const char *path,
                               const struct sources_request *request, bool *refused)
{
    struct setup *setup = read_setup(loader, path);
    *refused = setup == NULL;
    if (loader->options->text != NULL) {
        diag_warning(
            loader->diags, (struct config_pos){0, 0, 0},
            "its text came from standard input or the environment and can't be read again; "
            "the files that it names and includes have been read");
    }
    if (setup != NULL && config_same_text(setup->config, loader->former->setup->config)) {
        setup_unref(setup); /* nothing has changed in it: no session need be judged */
        return NULL;
    }
    if (setup != NULL && request->can_serve != NULL &&
        !request->can_serve(request->arg, setup, loader->diags)) {
        *refused = true;
        setup_unref(setup);
        return NULL;
    }
    return setup;
}

struct material *sources_prepare(const struct sources *sources,
                                 const struct sources_request *request, struct diag_list *diags,
                                 bool *config_refused)
{
    const struct material *former = sources->in_force;
    struct config_options options = sources->options;
    if (request->config_path != NULL) {
        options.text = NULL; /* of ours, not of that file */
    }
    struct loader loader = {
        .options = &options,
        .crypto = sources->crypto,
        .sessions = sources->sessions,
        .former = former,
        .material = material_new(former),
        .workload = sources->workload,
        .diags = diags,
        .credentials_generation = sources->credentials_generation + 1,
    };
    struct setup *setup = NULL;
    *config_refused = false;
    if (request->scope == SOURCES_ALL) {
        const char *path = request->config_path == NULL ? sources->path : request->config_path;
        setup = new_setup(&loader, path, request, config_refused);
    } else {
        /* The places of credentials are places in the configuration. */
        (void)diag_add_file(diags, former->setup->config->path);
    }
    if (setup != NULL) {
        setup_unref(loader.material->setup);
        loader.material->setup = setup;
        loader.material->failed_tests = 0; /* or it were refused */
    }
    loader.config = loader.material->setup->config;
    load_quarantine(&loader, *config_refused);
    load_files(&loader);
    return loader.material;
}

struct material *sources_quarantine_alone(const struct sources *sources,
                                          const struct material *candidate)
{
    struct material *material = material_new(sources->in_force);
    material_add_quarantine(material, candidate);
    return material;
}

void sources_set_workload(struct sources *sources, struct workload_update *update)
{
    struct workload_update *former = sources->workload;
    sources->workload = update == NULL ? NULL : workload_update_ref(update);
    workload_update_unref(former);
}

void sources_commit(struct sources *sources, struct material *candidate)
{
    if (candidate->credentials != sources->in_force->credentials) {
        sources->credentials_generation = credentials_generation(candidate->credentials);
    }
    material_free(sources->in_force);
    sources->in_force = candidate;
}
