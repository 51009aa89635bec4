/*
 * policy: may this peer use this listener; may this listener talk to this server.
 *
 * Pure and immutable after policy_load: any thread, no I/O, no clock (now is an input). Default
 * deny; a deny rule wins wherever it stands.
 */
#ifndef BULKHEAD_POLICY_POLICY_H
#define BULKHEAD_POLICY_POLICY_H

#include "base/reason.h"
#include "config/config.h"
#include "spiffe/spiffe_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;

enum verdict { VERDICT_DENY = 0, VERDICT_ALLOW };

struct policy_rule {
    const char *name;
    enum config_action action;
    struct config_pos pos;
};

struct decision {
    enum verdict verdict;
    enum reason reason;             /* REASON_NONE when allowed */
    const struct policy_rule *rule; /* that decided; NULL: none matched, or `expect` did */
};

/* What is asked about. Fields of later protocols (HTTP method, path) will stand here too. */
struct policy_input {
    const struct spiffe_id *id; /* the downstream's verified ID; NULL: none (originate) */
    size_t listener;            /* index in config->listeners */
    int64_t now_s;
};

/*
 * Checks every pattern of `rules` and `expect` and compiles them. Errors and warnings go to diags;
 * NULL when there is an error. Of a config that is not valid it only looks at the patterns: what
 * comes back must not decide anything. Keeps pointers into config: it must outlive the policy.
 */
struct policy *policy_load(const struct config *config, struct diag_list *diags);
void policy_free(struct policy *policy);
size_t policy_rule_count(const struct policy *policy);

void policy_decide(const struct policy *policy, const struct policy_input *input,
                   struct decision *decision);
/* listener → server ID, by `expect`. */
void policy_decide_upstream(const struct policy *policy, size_t listener,
                            const struct spiffe_id *server, struct decision *decision);

#endif
