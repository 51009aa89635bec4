/*
 * rule_totals: what rules have done since the start, by their names: the counts of all workers
 * (proxy/rule_hits.h) and, for a rule that was there before under other setups, those too.
 *
 * A rule that goes and comes back under its name begins anew. Control thread.
 */
#ifndef BULKHEAD_CONTROL_RULE_TOTALS_H
#define BULKHEAD_CONTROL_RULE_TOTALS_H

#include <stddef.h>
#include <stdint.h>

struct rule_hits;
struct rule_totals;
struct setup;

struct rule_total {
    uint64_t enforced; /* connections that it decided */
    uint64_t shadow;   /* connections that it matched first of the shadow rules */
    uint64_t last_ms;  /* of either; 0: never */
};

struct rule_totals *rule_totals_new(struct setup *setup, unsigned worker_count);
/* No worker runs any more. NULL is fine. */
void rule_totals_free(struct rule_totals *totals);
/* What each worker counts into from its start on, by its index. */
struct rule_hits *rule_totals_hits(const struct rule_totals *totals, unsigned worker);
/*
 * A setup is being brought into force: what each worker counts into from its swap on, by its index;
 * NULL when the setup is the same, and so are the counts. To be followed by rule_totals_settle.
 */
struct rule_hits *const *rule_totals_prepare(struct rule_totals *totals, struct setup *setup);
/* Every worker has swapped. */
void rule_totals_settle(struct rule_totals *totals);
/* The setup whose rules and listeners are counted, by config index. */
struct setup *rule_totals_setup(const struct rule_totals *totals);
/* How many setups there were before it: whether an index still means the same. */
uint64_t rule_totals_epoch(const struct rule_totals *totals);
struct rule_total rule_totals_rule(const struct rule_totals *totals, size_t index);
/* What audit let through on that listener. */
uint64_t rule_totals_would_deny(const struct rule_totals *totals, size_t index);

#endif
