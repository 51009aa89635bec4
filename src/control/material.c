#include "control/material.h"

#include <string.h>

#include "base/memory.h"
#include "control/quarantine_source.h"
#include "policy/quarantine.h"
#include "proxy/snapshot.h"
#include "spiffe/crl.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

void material_domain_copy(struct material_domain *to, const struct material_domain *from)
{
    *to = *from;
    to->name = mem_strdup(from->name);
    to->bundle = from->bundle == NULL ? NULL : trust_bundle_ref(from->bundle);
    to->crls = from->crls == NULL ? NULL : crl_set_ref(from->crls);
}

struct material *material_new(const struct material *former)
{
    struct material *material = mem_alloc(sizeof(*material));
    if (former == NULL) {
        return material;
    }
    material->setup = setup_ref(former->setup);
    material->own = former->own == NULL ? NULL : x509_svid_ref(former->own);
    material->own_loaded_s = former->own_loaded_s;
    material->credentials = credentials_ref(former->credentials);
    material->quarantine = quarantine_ref(former->quarantine);
    material->quarantine_inline = quarantine_ref(former->quarantine_inline);
    material->quarantine_file = quarantine_ref(former->quarantine_file);
    material->identity_epoch = former->identity_epoch;
    material->failed_tests = former->failed_tests;
    material->domain_count = former->domain_count;
    material->domains = mem_alloc_array(former->domain_count, sizeof(*material->domains));
    for (size_t i = 0; i < former->domain_count; i++) {
        material_domain_copy(&material->domains[i], &former->domains[i]);
    }
    return material;
}

void material_drop_domains(struct material *material)
{
    for (size_t i = 0; i < material->domain_count; i++) {
        trust_bundle_unref(material->domains[i].bundle);
        crl_set_unref(material->domains[i].crls);
        mem_free(material->domains[i].name);
    }
    mem_free(material->domains);
    material->domains = NULL;
    material->domain_count = 0;
}

void material_free(struct material *material)
{
    if (material == NULL) {
        return;
    }
    material_drop_domains(material);
    credentials_unref(material->credentials);
    quarantine_unref(material->quarantine);
    quarantine_unref(material->quarantine_inline);
    quarantine_unref(material->quarantine_file);
    x509_svid_unref(material->own);
    setup_unref(material->setup);
    mem_free(material);
}

const struct material_domain *material_find_domain(const struct material *material,
                                                   const char *name)
{
    for (size_t i = 0; i < material->domain_count; i++) {
        if (strcmp(material->domains[i].name, name) == 0) {
            return &material->domains[i];
        }
    }
    return NULL;
}

/* Takes `now` over. */
static void replace_quarantine(struct quarantine **place, struct quarantine *now)
{
    if (*place != NULL && quarantine_same(*place, now)) {
        quarantine_unref(now);
        return;
    }
    quarantine_unref(*place);
    *place = now;
}

void material_set_quarantine(struct material *material, struct quarantine *in_files,
                             struct quarantine *in_file)
{
    replace_quarantine(&material->quarantine_inline, in_files);
    replace_quarantine(&material->quarantine_file, in_file);
    replace_quarantine(&material->quarantine, quarantine_source_join(material->quarantine_inline,
                                                                     material->quarantine_file));
}

void material_add_quarantine(struct material *material, const struct material *other)
{
    material_set_quarantine(
        material, quarantine_source_join(material->quarantine_inline, other->quarantine_inline),
        quarantine_source_join(material->quarantine_file, other->quarantine_file));
}

struct snapshot *material_compose(const struct material *material, uint64_t generation)
{
    return snapshot_new(material->setup, material->credentials, material->quarantine, generation);
}

bool material_same(const struct material *a, const struct material *b)
{
    return a->setup == b->setup && a->credentials == b->credentials &&
           a->quarantine == b->quarantine && a->quarantine_inline == b->quarantine_inline &&
           a->quarantine_file == b->quarantine_file;
}
