/*
 * What is in force is told, with the moment at which it was read: a file that has changed since and
 * could not be read shows as an old `loaded`.
 */
#include "admin_identity.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "admin_json.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "config/config.h"
#include "control/material.h"
#include "control/sources.h"
#include "control/workload_material.h"
#include "control/workload_source.h"
#include "control_private.h"
#include "proxy/setup.h"
#include "spiffe/certificate_facts.h"
#include "spiffe/credentials.h"
#include "spiffe/crl.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

static const struct material *material_of(const struct control *control)
{
    return sources_in_force(control->sources);
}

static void field_time(struct json_writer *w, const char *key, bool known, int64_t s)
{
    char text[CLOCK_TEXT_SIZE];
    json_field_string(w, key, known ? clock_format_s(s, text) : NULL);
}

static void write_certificate(struct json_writer *w, struct x509_st *certificate)
{
    struct certificate_facts facts;
    certificate_facts_read(certificate, &facts);
    json_object_begin(w);
    json_field_string(w, "subject", facts.subject);
    json_field_string(w, "issuer", facts.issuer);
    json_field_string(w, "serial", facts.serial);
    json_field_string(w, "sha256", facts.sha256);
    json_field_string(w, "key_type", facts.key);
    field_time(w, "not_before", facts.has_validity, facts.not_before);
    field_time(w, "not_after", facts.has_validity, facts.not_after);
    json_object_end(w);
}

/* --- our own --------------------------------------------------------------------------------- */

static void write_own(struct json_writer *w, const struct material *material)
{
    const struct config *config = material->setup->config;
    const struct x509_svid *own = material->own;
    struct certificate_facts leaf;
    certificate_facts_read(x509_svid_leaf(own), &leaf);
    json_object_begin(w);
    json_field_strview(w, "spiffe_id", x509_svid_id(own)->text);
    const char *address = workload_material_address(config);
    json_field_string(w, "source", address == NULL ? "files" : "workload_api");
    json_field_string(w, "address", address);
    json_field_string(w, "file", config->identity.certificate.text);
    field_time(w, "loaded", material->own_loaded_s != 0, material->own_loaded_s);
    field_time(w, "not_before", true, x509_svid_not_before(own));
    field_time(w, "not_after", true, x509_svid_not_after(own));
    json_field_string(w, "serial", leaf.serial);
    json_field_string(w, "sha256", leaf.sha256);
    json_field_string(w, "key_type", leaf.key);
    json_key(w, "chain");
    json_array_begin(w);
    write_certificate(w, x509_svid_leaf(own));
    for (size_t i = 0; i < x509_svid_intermediate_count(own); i++) {
        write_certificate(w, x509_svid_intermediate(own, i));
    }
    json_array_end(w);
    json_object_end(w);
}

static void write_identity(struct json_writer *w, const void *arg)
{
    const struct control *control = arg;
    json_object_begin(w);
    json_field_u64(w, "generation", control->reloads.generation);
    json_key(w, "identities");
    json_array_begin(w);
    bool has_one = material_of(control)->own != NULL;
    if (has_one) {
        write_own(w, material_of(control));
    }
    json_array_end(w);
    json_field_string(w, "missing", has_one ? NULL : workload_source_problem(control->workload));
    json_object_end(w);
}

char *admin_identity_json(const struct control *control, size_t *len)
{
    return admin_json_render(write_identity, control, len);
}

/* --- whom we trust --------------------------------------------------------------------------- */

static void write_number(struct json_writer *w, const char *key, bool known, uint64_t value)
{
    json_key(w, key);
    if (known) {
        json_u64(w, value);
    } else {
        json_none(w);
    }
}

static void write_anchors(struct json_writer *w, const struct trust_bundle *bundle)
{
    uint64_t number = 0;
    bool known = bundle != NULL && trust_bundle_sequence(bundle, &number);
    write_number(w, "sequence", known, number);
    known = bundle != NULL && trust_bundle_refresh_hint_s(bundle, &number);
    write_number(w, "refresh_hint_s", known, number);
    json_key(w, "anchors");
    json_array_begin(w);
    for (size_t i = 0; bundle != NULL && i < trust_bundle_count(bundle); i++) {
        write_certificate(w, trust_bundle_anchor(bundle, i));
    }
    json_array_end(w);
}

static void write_crl(struct json_writer *w, const struct crl_set *crls, size_t index)
{
    struct crl_facts facts;
    crl_set_facts(crls, index, &facts);
    json_object_begin(w);
    json_field_string(w, "issuer", facts.issuer);
    field_time(w, "this_update", true, facts.this_update);
    field_time(w, "next_update", true, facts.next_update);
    json_field_u64(w, "revoked", facts.revoked);
    json_field_bool(w, "replaced", facts.replaced);
    json_object_end(w);
}

/* Anchors whose peers are refused for want of a CRL. */
static void write_gaps(struct json_writer *w, const struct material *material, const char *domain)
{
    struct svid_failure gap;
    size_t cursor = 0;
    json_key(w, "anchors_without_crl");
    json_array_begin(w);
    while (credentials_next_crl_gap(material->credentials, strview_from(domain), clock_wall_s(),
                                    &cursor, &gap)) {
        json_object_begin(w);
        json_field_string(w, "subject", gap.subject);
        json_field_string(w, "serial", gap.serial);
        json_field_string(w, "reason", reason_label(gap.reason));
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_crls(struct json_writer *w, const struct material *material,
                       const struct material_domain *domain, const struct config_trust *trust)
{
    static const char *const checks[] = {[CRL_CHECK_NONE] = "none",
                                         [CRL_CHECK_PRESENT] = "present",
                                         [CRL_CHECK_LEAF] = "leaf",
                                         [CRL_CHECK_CHAIN] = "chain"};
    json_field_string(w, "crl", trust == NULL ? NULL : trust->crl.text);
    json_field_string(w, "crl_check", checks[domain->crl_check]);
    field_time(w, "crl_loaded", domain->crls_loaded_s != 0, domain->crls_loaded_s);
    json_key(w, "crls");
    json_array_begin(w);
    for (size_t i = 0; domain->crls != NULL && i < crl_set_count(domain->crls); i++) {
        write_crl(w, domain->crls, i);
    }
    json_array_end(w);
    write_gaps(w, material, domain->name);
}

static const struct config_trust *trust_of(const struct config *config, const char *domain)
{
    for (size_t i = 0; i < config->trust_count; i++) {
        if (strcmp(config->trust[i].domain.text, domain) == 0) {
            return &config->trust[i];
        }
    }
    return NULL;
}

static void write_domain(struct json_writer *w, const struct material *material,
                         const struct material_domain *domain)
{
    const struct config_trust *trust = trust_of(material->setup->config, domain->name);
    json_object_begin(w);
    json_field_string(w, "trust_domain", domain->name);
    json_field_string(w, "bundle", trust == NULL ? NULL : trust->bundle.text);
    field_time(w, "loaded", domain->bundle_loaded_s != 0, domain->bundle_loaded_s);
    write_anchors(w, domain->bundle);
    write_crls(w, material, domain, trust);
    json_object_end(w);
}

static void write_trust(struct json_writer *w, const void *arg)
{
    const struct control *control = arg;
    const struct material *material = material_of(control);
    json_object_begin(w);
    json_field_u64(w, "generation", control->reloads.generation);
    json_key(w, "domains");
    json_array_begin(w);
    for (size_t i = 0; i < material->domain_count; i++) {
        write_domain(w, material, &material->domains[i]);
    }
    json_array_end(w);
    json_object_end(w);
}

char *admin_trust_json(const struct control *control, size_t *len)
{
    return admin_json_render(write_trust, control, len);
}
