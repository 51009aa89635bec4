/*
 * policy_tests: the `tests` of a configuration, held against its policy.
 *
 * A test says what the rules must mean, so it is judged by them alone: without the quarantine, as
 * if `enforcement` were `enforce`, and before every `expires` unless it says `at`. Then neither an
 * incident nor time makes a test fail that was good yesterday. Pure; control thread and cli.
 *
 *   f.yaml:60:3: error: tests[0]: "spiffe://prod.example/web" to "orders" must be allowed, but is
 *   denied: no rule matched; nearest: rule "api" differs in segment 1: "web", not "api"
 *   f.yaml:61:3: error: tests[1]: "spiffe://prod.example/x" to "orders" must be denied, but is
 *   allowed: rule "all" allows it (f.yaml:50)
 */
#ifndef BULKHEAD_POLICY_POLICY_TESTS_H
#define BULKHEAD_POLICY_POLICY_TESTS_H

#include "policy/policy.h"

struct policy_tests_result {
    size_t passed;
    size_t failed;
    size_t skipped; /* of an included file, about a listener or trust domain that is not here */
};

/* Of a policy whose configuration is valid. One that fails goes to diags as DIAG_TEST, one that is
   skipped as a note. */
struct policy_tests_result policy_tests_run(const struct policy *policy, struct diag_list *diags);

#endif
