/*
 * lint: what is probably not meant in rules that are valid. Every finding is a warning or a note:
 * nothing here refuses a load. Pure (now is an input); control thread and cli.
 *
 * At every load, what costs nothing: a rule whose time is over or ends within two weeks, a pattern
 * that admits a whole trust domain. For `check` all of it, and the instant of every `expires`.
 */
#ifndef BULKHEAD_POLICY_LINT_H
#define BULKHEAD_POLICY_LINT_H

#include "policy/policy.h"

enum lint_scope { LINT_LOAD = 0, LINT_CHECK };

enum { LINT_SOON_S = 14 * 86400, LINT_VERY_SOON_S = 2 * 86400 };

/* Of a policy whose configuration is valid. */
void lint_run(const struct policy *policy, int64_t now_s, enum lint_scope scope,
              struct diag_list *diags);

#endif
