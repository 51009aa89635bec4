/*
 * reload_counts: how reloads went, for whoever asks later. Control thread.
 */
#ifndef BULKHEAD_CONTROL_RELOAD_COUNTS_H
#define BULKHEAD_CONTROL_RELOAD_COUNTS_H

#include "control/reload.h"

#include <stdbool.h>
#include <stdint.h>

struct reload_counts {
    uint64_t results[RELOAD_RESULTS]; /* by enum reload_result */
    bool files_wrong;       /* something was refused when all files were last read, */
    bool credentials_wrong; /* or the credentials */
    uint64_t success_wall_ms;
    uint64_t duration_ms; /* of the last one that changed something; 0: none has */
    uint64_t generation;  /* in force */
};

/* The start counts as a success. */
void reload_counts_init(struct reload_counts *counts, uint64_t generation);
/* A reload has ended. credentials_only: it has not read the configuration. */
void reload_counts_add(struct reload_counts *counts, const struct reload_outcome *outcome,
                       bool credentials_only);
bool reload_counts_all_well(const struct reload_counts *counts);

#endif
