/*
 * policy: may this peer use this listener; may this listener talk to this server.
 *
 * Pure and immutable after policy_load: any thread, no I/O, no clock (now is an input). In this
 * order: the quarantine refuses; a deny rule wins wherever it stands; an allow rule admits; what
 * no rule matched is denied, or, under `enforcement: audit`, admitted and marked as such.
 */
#ifndef BULKHEAD_POLICY_POLICY_H
#define BULKHEAD_POLICY_POLICY_H

#include "base/reason.h"
#include "config/config.h"
#include "policy/quarantine.h"
#include "spiffe/spiffe_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;

enum verdict { VERDICT_DENY = 0, VERDICT_ALLOW };

#define POLICY_NEVER INT64_MAX
/* For policy_input.now_s: before every `expires`. */
#define POLICY_BEFORE_ALL INT64_MIN

struct policy_rule {
    const char *name;
    enum config_action action;
    enum config_mode mode;
    int64_t ends_s; /* from then on it is not there; POLICY_NEVER */
    struct config_pos pos;
};

/* What shadow rules would do, told beside what is done. */
struct shadow_result {
    const struct policy_rule *allow; /* the first shadow rule of each action that matched, */
    const struct policy_rule *deny;  /* or NULL */
    enum verdict verdict;            /* the decision if shadow rules were enforced, and audit not */
    const struct policy_rule *rule;  /* that would decide then; NULL: none would match */
};

struct decision {
    enum verdict verdict;
    enum reason reason;             /* REASON_NONE when allowed */
    const struct policy_rule *rule; /* that decided; NULL: none matched, or `expect` did */
    const char *quarantine;         /* the entry that holds the peer, or NULL */
    bool would_deny;                /* allowed by `enforcement: audit` alone: no rule matched */
    int64_t until_s;                /* allowed by a rule that ends then; POLICY_NEVER */
    struct shadow_result shadow;    /* allow and deny NULL: no shadow rule matched */
};

/* What is asked about. Fields of later protocols (HTTP method, path) will stand here too. */
struct policy_input {
    const struct spiffe_id *id; /* verified; NULL: none (a downstream in plaintext) */
    const uint8_t *leaf_sha256; /* of the leaf's DER, 32 bytes; NULL: not known */
    size_t listener;            /* index in config->listeners */
    int64_t now_s;
    const struct quarantine *quarantine; /* in force; NULL: none */
};

/*
 * Checks every pattern of `rules` and `expect` and compiles them, and every ID of `tests`. Errors
 * and warnings go to diags; NULL when there is an error. Of a config that is not valid it only
 * looks at the patterns: what comes back must not decide anything. Keeps pointers into config: it
 * must outlive the policy.
 */
struct policy *policy_load(const struct config *config, struct diag_list *diags);
void policy_free(struct policy *policy);
size_t policy_rule_count(const struct policy *policy);
/* i < policy_rule_count: config->rules[i], disabled and expired ones too. */
const struct policy_rule *policy_rule(const struct policy *policy, size_t i);
/* The number of a rule that this policy has decided by. */
size_t policy_rule_index(const struct policy *policy, const struct policy_rule *rule);

/* The shadow rule that a line of the log names beside the decision; NULL: none matched. */
const struct policy_rule *policy_shadow_rule(const struct shadow_result *shadow);
/* The downstream's ID → listener, by `quarantine` and `rules`. */
void policy_decide(const struct policy *policy, const struct policy_input *input,
                   struct decision *decision);
/* listener → the server's ID, by `quarantine` and `expect`. */
void policy_decide_upstream(const struct policy *policy, const struct policy_input *input,
                            struct decision *decision);

#endif
