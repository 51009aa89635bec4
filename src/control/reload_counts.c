/*
 * A change of credentials is read without the configuration: that it went well says nothing of a
 * configuration that was refused before.
 */
#include "reload_counts.h"

#include "base/clock.h"

void reload_counts_init(struct reload_counts *counts, uint64_t generation)
{
    *counts = (struct reload_counts){.generation = generation, .success_wall_ms = clock_wall_ms()};
}

void reload_counts_add(struct reload_counts *counts, const struct reload_outcome *outcome,
                       bool credentials_only)
{
    bool wrong = outcome->result == RELOAD_REFUSED || outcome->result == RELOAD_QUARANTINE_ALONE ||
                 outcome->config_refused || diag_has_errors(outcome->diags);
    if (outcome->kind != RELOAD_APPLY) {
        return;
    }
    counts->results[outcome->result]++;
    counts->credentials_wrong = wrong;
    counts->files_wrong = credentials_only ? counts->files_wrong : wrong;
    if (outcome->result == RELOAD_IN_FORCE || outcome->result == RELOAD_QUARANTINE_ALONE) {
        counts->duration_ms = outcome->took_ms;
        counts->generation = outcome->generation;
    }
    if (reload_counts_all_well(counts)) {
        counts->success_wall_ms = clock_wall_ms();
    }
}

bool reload_counts_all_well(const struct reload_counts *counts)
{
    return !counts->files_wrong && !counts->credentials_wrong;
}
