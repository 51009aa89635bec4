/*
 * material: parts that fit together, out of which a snapshot is composed: a setup, our SVID, the
 * bundles and CRLs, and the credentials that they make. Parts are shared between one material and
 * the next where nothing has changed, so that "changed" is a comparison of pointers.
 *
 * Control thread and cli.
 */
#ifndef BULKHEAD_CONTROL_MATERIAL_H
#define BULKHEAD_CONTROL_MATERIAL_H

#include "identity/file_source.h"
#include "proxy/setup.h"
#include "spiffe/credentials.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crl_set;
struct quarantine;
struct snapshot;
struct trust_bundle;
struct x509_svid;

struct material_domain {
    char *name;
    struct trust_bundle *bundle; /* NULL: none could be read yet; its peers are refused */
    struct file_digest bundle_digest;
    int64_t bundle_loaded_s; /* when what it holds now was read; 0: never */
    struct crl_set *crls;    /* NULL: none configured, or none could be read yet */
    struct file_digest crl_digest;
    int64_t crls_loaded_s;
    enum crl_check crl_check;
};

struct material {
    struct setup *setup;
    struct x509_svid *own; /* NULL: the Workload API has given none, or taken it away */
    int64_t own_loaded_s;
    struct material_domain *domains; /* in the order of the configuration, then the API's */
    size_t domain_count;
    struct credentials *credentials;
    struct quarantine *quarantine;        /* what decides: both of its sources */
    struct quarantine *quarantine_inline; /* of `quarantine` in the configuration's files */
    struct quarantine *quarantine_file;   /* of `quarantine_file` */
    uint64_t identity_epoch;              /* raised when our own SPIFFE ID changes */
    size_t failed_tests; /* of the setup's: a start goes on with them, a reload does not */
};

/* The parts of `former`, each counted once more; for NULL an empty one. */
struct material *material_new(const struct material *former);
/* Another reference of each of its parts. */
void material_domain_copy(struct material_domain *to, const struct material_domain *from);
void material_drop_domains(struct material *material);
void material_free(struct material *material); /* NULL is fine */
const struct material_domain *material_find_domain(const struct material *material,
                                                   const char *name);
/* Takes both over: they are the sources of the quarantine from now on. What holds the same as
   before stays the same object. */
void material_set_quarantine(struct material *material, struct quarantine *in_files,
                             struct quarantine *in_file);
/* Adds what the other holds in quarantine, and takes nothing away. */
void material_add_quarantine(struct material *material, const struct material *other);
/* A snapshot of it. */
struct snapshot *material_compose(const struct material *material, uint64_t generation);
/* Is there nothing to bring into force in one that is not in the other? */
bool material_same(const struct material *a, const struct material *b);

#endif
