/*
 * findings: for each rule, whether it matches a peer, or the first clause in which it doesn't: for
 * who asks why (`bulkhead explain`). Looks at one rule after the other, with nothing of what
 * policy_decide is made fast by. Pure; cold path.
 */
#ifndef BULKHEAD_POLICY_FINDINGS_H
#define BULKHEAD_POLICY_FINDINGS_H

#include "policy/id_matcher.h"
#include "policy/policy.h"

/* In the order in which a rule is read. */
enum clause {
    CLAUSE_FROM = 0,
    CLAUSE_TO,
    CLAUSE_MODE, /* disabled */
    CLAUSE_EXPIRES,
    CLAUSE_NONE /* it matches */
};

struct finding {
    const struct policy_rule *rule;
    enum clause failed;  /* the first that does not hold */
    struct id_near near; /* of CLAUSE_FROM: where the entry that came closest differs */
    const char *entry;   /* the entry of `from` that matches or came closest; NULL: there is none */
};

struct findings {
    struct finding *items; /* nearest first; those that match before all others */
    size_t count;
    size_t far; /* rules of which neither the ID nor, of those for the listener, the trust domain
                   agrees: not among the items */
};

/* input->id is not NULL. */
void findings_collect(struct findings *findings, const struct policy *policy,
                      const struct policy_input *input);
void findings_fini(struct findings *findings);
const char *clause_name(enum clause clause); /* "from", …; "" for CLAUSE_NONE */

#endif
