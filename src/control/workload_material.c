/*
 * An update is complete: its own SVID, or that there is none, and its domains replace what the last
 * one had. Before the first one nothing is known: a process that serves already (it has moved from
 * files to the API) goes on with what it has.
 */
#include "control/workload_material.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "control/material.h"
#include "identity/workload_address.h"
#include "identity/workload_update.h"
#include "spiffe/crl.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

const char *workload_material_address(const struct config *config)
{
    if (config_has_identity_files(config)) {
        return NULL;
    }
    const char *text = config->identity.workload_api.text;
    return text != NULL ? text : getenv(WORKLOAD_ADDRESS_VARIABLE);
}

void workload_material_check(const struct config *config, struct diag_list *diags)
{
    struct netaddr address;
    const char *why = NULL;
    const char *text = workload_material_address(config);
    bool is_written = config->identity.workload_api.text != NULL;
    struct config_pos pos = is_written ? config->identity.workload_api.pos : config->identity.pos;
    if (config_has_identity_files(config)) {
        return;
    }
    if (text == NULL) {
        diag_error(diags, pos,
                   "identity: nothing says where our SVID comes from: write `files` or "
                   "`workload_api`, or set " WORKLOAD_ADDRESS_VARIABLE);
    } else if (!workload_address_parse(text, &address, &why)) {
        diag_error(diags, pos, "%s: \"%s\": %s",
                   is_written ? "identity.workload_api" : WORKLOAD_ADDRESS_VARIABLE, text, why);
    }
}

/* --- our own SVID ---------------------------------------------------------------------------- */

static bool fits_pin(const struct workload_load *load, const struct x509_svid *own)
{
    const struct config_string *pin = &load->config->identity.spiffe_id;
    if (pin->text == NULL || strview_equal_text(x509_svid_id(own)->text, pin->text)) {
        return true;
    }
    struct strview is = x509_svid_id(own)->text;
    diag_warning(load->diags, pin->pos,
                 "identity.spiffe_id: our SVID is \"%.*s\", not \"%s\": it is not used, and the "
                 "Workload API is asked for the other",
                 (int)is.len, is.ptr, pin->text);
    return false;
}

/* A valid SVID is never replaced by one that has expired. */
static bool is_step_back(const struct workload_load *load, const struct x509_svid *own)
{
    const struct x509_svid *in_force = load->material->own;
    int64_t now = clock_wall_s();
    if (in_force == NULL || in_force == own || x509_svid_not_after(own) > now ||
        x509_svid_not_after(in_force) <= now) {
        return false;
    }
    diag_error(load->diags, load->config->identity.pos,
               "identity: the SVID of the Workload API has expired and the one in force has not; "
               "the last good state is kept");
    return true;
}

static bool is_same_id(const struct x509_svid *a, const struct x509_svid *b)
{
    return a != NULL && b != NULL && strview_equal(x509_svid_id(a)->text, x509_svid_id(b)->text);
}

/* own may be NULL: we have none any more. */
static void set_own(struct material *material, struct x509_svid *own)
{
    if (material->own == own) {
        return;
    }
    if (!is_same_id(material->own, own)) {
        material->identity_epoch++;
    }
    x509_svid_unref(material->own);
    material->own = own == NULL ? NULL : x509_svid_ref(own);
    material->own_loaded_s = clock_wall_s();
}

void workload_material_own(const struct workload_load *load)
{
    struct x509_svid *own = load->update == NULL ? load->material->own : load->update->own;
    if (own != NULL && !fits_pin(load, own)) {
        own = NULL;
    }
    if (own != NULL && is_step_back(load, own)) {
        return;
    }
    set_own(load->material, own);
}

/* --- trust domains --------------------------------------------------------------------------- */

static const struct config_trust *trust_of(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->trust_count; i++) {
        if (strcmp(config->trust[i].domain.text, name) == 0) {
            return &config->trust[i];
        }
    }
    return NULL;
}

static struct material_domain *find(struct material *material, const char *name)
{
    for (size_t i = 0; i < material->domain_count; i++) {
        if (strcmp(material->domains[i].name, name) == 0) {
            return &material->domains[i];
        }
    }
    return NULL;
}

static struct material_domain *append(struct material *material)
{
    material->domains = mem_grow_array(material->domains, material->domain_count,
                                       material->domain_count + 1, sizeof(struct material_domain));
    return &material->domains[material->domain_count++];
}

/* The file and the API don't agree: what both trust, or nobody. */
static void narrow_bundle(const struct workload_load *load, const struct config_trust *trust,
                          struct material_domain *domain, const struct trust_bundle *other)
{
    struct errbuf err = {""};
    struct trust_bundle *common = trust_bundle_common(domain->bundle, other, &err);
    diag_error(load->diags, trust->bundle.pos,
               "trust.%s.bundle: the Workload API has another bundle for this domain; %zu anchors "
               "that are in both count, and no other: take `bundle` out here, or the domain out of "
               "what the API gives%s%s",
               domain->name, common == NULL ? 0 : trust_bundle_count(common),
               common == NULL ? "; nobody of it is let in: " : "", err.text);
    trust_bundle_unref(domain->bundle);
    domain->bundle = common;
    domain->bundle_digest = (struct file_digest){.known = false};
}

static void bring_bundle(const struct workload_load *load, const struct config_trust *trust,
                         struct material_domain *domain, struct trust_bundle *bundle)
{
    if (trust == NULL || trust->bundle.text == NULL) {
        trust_bundle_unref(domain->bundle);
        domain->bundle = trust_bundle_ref(bundle);
        domain->bundle_loaded_s = clock_wall_s();
        domain->bundle_digest = (struct file_digest){.known = false};
    } else if (domain->bundle != NULL && !trust_bundle_same(domain->bundle, bundle)) {
        narrow_bundle(load, trust, domain, bundle);
    }
}

static void join_crls(const struct workload_load *load, const struct config_trust *trust,
                      struct material_domain *domain, struct crl_set *crls)
{
    if (domain->crls == NULL) {
        return; /* those of the file could not be read: its peers are refused, these or no others */
    }
    struct crl_set *joined = crl_set_join(domain->crls, crls);
    if (joined == NULL) {
        diag_error(load->diags, trust->crl.pos,
                   "trust.%s.crl: with those of the Workload API there are more than %d CRLs; the "
                   "domain's peers are refused",
                   domain->name, CRL_COUNT_MAX);
    }
    crl_set_unref(domain->crls);
    domain->crls = joined;
    domain->crl_digest = (struct file_digest){.known = false};
}

static void bring_crls(const struct workload_load *load, const struct config_trust *trust,
                       struct material_domain *domain, struct crl_set *crls)
{
    if (trust != NULL && trust->crl.text != NULL) {
        if (crls != NULL) {
            join_crls(load, trust, domain, crls);
        }
        return;
    }
    crl_set_unref(domain->crls);
    domain->crls = crls == NULL ? NULL : crl_set_ref(crls);
    domain->crls_loaded_s = crls == NULL ? 0 : clock_wall_s();
    domain->crl_check = crls == NULL ? CRL_CHECK_NONE : CRL_CHECK_PRESENT;
    if (trust != NULL && trust->crl_check != CONFIG_CRL_CHECK_UNSET) {
        domain->crl_check =
            trust->crl_check == CONFIG_CRL_CHECK_CHAIN ? CRL_CHECK_CHAIN : CRL_CHECK_LEAF;
    }
}

/* What is as it was has been there since then. */
static void keep_times(const struct workload_load *load, struct material_domain *domain)
{
    const struct material_domain *former =
        load->former == NULL ? NULL : material_find_domain(load->former, domain->name);
    if (former != NULL && former->bundle == domain->bundle) {
        domain->bundle_loaded_s = former->bundle_loaded_s;
    }
    if (former != NULL && former->crls == domain->crls) {
        domain->crls_loaded_s = former->crls_loaded_s;
    }
}

static void bring_domain(const struct workload_load *load, const struct workload_domain *from)
{
    const struct config_trust *trust = trust_of(load->config, from->name);
    struct material_domain *domain = find(load->material, from->name);
    if (domain == NULL) {
        domain = append(load->material);
        domain->name = mem_strdup(from->name);
    }
    bring_bundle(load, trust, domain, from->bundle);
    bring_crls(load, trust, domain, from->crls);
    keep_times(load, domain);
}

/* Options for a domain whose bundle the API should bring, and doesn't. */
static void warn_missing(const struct workload_load *load)
{
    for (size_t i = 0; i < load->config->trust_count; i++) {
        const struct config_trust *trust = &load->config->trust[i];
        const struct material_domain *domain = find(load->material, trust->domain.text);
        if (trust->bundle.text == NULL && domain != NULL && domain->bundle == NULL) {
            diag_warning(load->diags, trust->pos,
                         "trust.%s: no `bundle` here, and the Workload API gives none: its peers "
                         "are refused",
                         trust->domain.text);
        }
    }
}

/* Until the first update has come: what we serve with, beside what the configuration now has. */
static void keep_former(const struct workload_load *load)
{
    const struct material *former = load->former;
    for (size_t i = 0; i < former->domain_count; i++) {
        struct material_domain *domain = find(load->material, former->domains[i].name);
        if (domain == NULL) {
            material_domain_copy(append(load->material), &former->domains[i]);
        } else if (domain->bundle == NULL && former->domains[i].bundle != NULL) {
            domain->bundle = trust_bundle_ref(former->domains[i].bundle);
        }
    }
}

void workload_material_domains(const struct workload_load *load)
{
    if (load->update == NULL) {
        if (load->former != NULL && load->former->own != NULL) {
            keep_former(load);
        }
        return;
    }
    for (size_t i = 0; i < load->update->domain_count; i++) {
        bring_domain(load, &load->update->domains[i]);
    }
    warn_missing(load);
}
