/*
 * lint_private: the parts of lint, each a file of its own. For src/policy/lint*.c only.
 *
 * What compares many rules or IDs with each other has a bound on its work, and says so when it
 * stops there.
 */
#ifndef BULKHEAD_POLICY_LINT_PRIVATE_H
#define BULKHEAD_POLICY_LINT_PRIVATE_H

#include "name_list.h"
#include "policy/lint.h"
#include "policy_impl.h"

struct lint {
    const struct policy *policy;
    const struct config *config;
    int64_t now_s;
    struct diag_list *diags;
    struct name_list listeners;
    size_t *shown;    /* by rule: its number in the `rules` of its file */
    bool *never;      /* by rule: it lets nobody in, which was told */
    uint64_t work;    /* steps of comparing, so far */
    bool out_of_work; /* LINT_WORK_MAX was reached */
};

enum { LINT_WORK_MAX = 40 * 1000 * 1000 };

/* Counts; false when the bound is reached. */
static inline bool lint_work(struct lint *lint, uint64_t steps)
{
    lint->work += steps;
    lint->out_of_work = lint->out_of_work || lint->work > LINT_WORK_MAX;
    return !lint->out_of_work;
}

static inline bool lint_has_ended(const struct lint *lint, size_t rule)
{
    int64_t ends_s = lint->policy->rules[rule].ends_s;
    return ends_s != POLICY_NEVER && ends_s <= lint->now_s;
}

/* The last second of the rule: what still holds then holds all its time. */
static inline int64_t lint_last_second(const struct policy_rule *rule)
{
    return rule->ends_s == POLICY_NEVER ? INT64_MAX : rule->ends_s - 1;
}

struct lint_place {
    char text[400];
};
/* "f.yaml:12" */
struct lint_place lint_place(const struct diag_list *diags, struct config_pos pos);

/* Rules over all of which denies stand, and shadow rules that change nothing. */
void lint_effects(struct lint *lint);
/* Rules that another rule makes needless. */
void lint_covers(struct lint *lint);
/* IDs that differ from another one by a slip of the finger. */
void lint_slips(struct lint *lint);

#endif
