/*
 * explain: the sentence that says why, for the access log and for people. One function makes it
 * everywhere. Any thread.
 *
 *   rule "web-uses-orders" allows it
 *   deny rule "no-canary" matched
 *   quarantine holds it: "spiffe://prod.example/ns/shop/sa/wiki"
 *   no rule matched; nearest: rule "web-uses-orders" differs in segment 4: "web-canary", not "web"
 *   no rule matched; rule "web-uses-orders" allows this ID, but not on listener "admin"
 *   no rule matched; rule "batch" allowed it until 2027-01-31T00:00:00Z
 *   no rule names listener "orders"
 *   the server's ID is not in `expect`: differs in segment 4: "x", not "payments"
 */
#ifndef BULKHEAD_POLICY_EXPLAIN_H
#define BULKHEAD_POLICY_EXPLAIN_H

#include "policy/findings.h"
#include "policy/policy.h"

void explain_decision(const struct policy *policy, const struct policy_input *input,
                      const struct decision *decision, char *out, size_t size);
/* entry: of the quarantine that holds the peer. */
void explain_quarantine(const char *entry, char *out, size_t size);
void explain_upstream(const struct policy *policy, const struct policy_input *input,
                      const struct decision *decision, char *out, size_t size);
/*
 * Of one rule: the clause that does not hold, and how; of one that matches, what became of it.
 *
 *   differs in segment 4: "web-canary", not "web"
 *   does not name listener "admin"
 *   ended at 2027-01-31T00:00:00Z
 *   is disabled
 *   matches; the deny wins
 */
void explain_finding(const struct policy *policy, const struct policy_input *input,
                     const struct decision *decision, const struct finding *finding, char *out,
                     size_t size);

#endif
