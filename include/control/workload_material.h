/*
 * workload_material: how what the Workload API has given comes into a material, beside what the
 * configuration's files say. Control thread and cli.
 *
 * Of `trust` the API's domains are added; `crl` and `crl_check` count for them too. A domain for
 * which both have a bundle, and not the same, trusts only what stands in both, and an error says so
 * at each load: neither side can widen what the other grants.
 */
#ifndef BULKHEAD_CONTROL_WORKLOAD_MATERIAL_H
#define BULKHEAD_CONTROL_WORKLOAD_MATERIAL_H

#include "config/config.h"
#include "config/diag.h"

#include <stdbool.h>

struct material;
struct workload_update;

struct workload_load {
    const struct config *config;
    const struct workload_update *update; /* NULL: nothing has come yet */
    const struct material *former;        /* NULL: a start */
    struct material *material;            /* being made */
    struct diag_list *diags;
};

/* The address of the API that the configuration, or SPIFFE_ENDPOINT_SOCKET, names. NULL: our SVID
   comes from files, or nobody says from where. */
const char *workload_material_address(const struct config *config);
/* Adds an error when there is no source of an SVID, or an address that is none. */
void workload_material_check(const struct config *config, struct diag_list *diags);
/* Our own SVID; without an update the one in force stays, as far as identity.spiffe_id allows. */
void workload_material_own(const struct workload_load *load);
/* When those of the configuration are in the material already. */
void workload_material_domains(const struct workload_load *load);

#endif
