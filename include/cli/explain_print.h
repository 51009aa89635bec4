/*
 * explain_print: what `bulkhead explain` found, for people and for machines.
 */
#ifndef BULKHEAD_CLI_EXPLAIN_PRINT_H
#define BULKHEAD_CLI_EXPLAIN_PRINT_H

#include "policy/findings.h"
#include "policy/policy.h"

enum {
    EXPLAIN_DETAIL_SIZE = 512, /* as in the access log */
    EXPLAIN_NEAR_SHOWN = 10,   /* rules that came near, to people */
    EXPLAIN_NEAR_MAX = 1000    /* the same in JSON */
};

/* One decision: about the caller, or about the server. */
struct explain_answer {
    bool asked;
    const char *id; /* as given */
    struct policy_input input;
    struct decision decision;
    char detail[EXPLAIN_DETAIL_SIZE];
    bool known_domain; /* `trust` has a bundle for the ID's trust domain */
};

struct explain_report {
    const char *file; /* the main one */
    const struct config *config;
    const struct policy *policy;
    const struct diag_list *diags;
    struct explain_answer caller;
    struct explain_answer server;
    struct findings findings; /* of the caller */
    bool quarantine_known;    /* all of it could be read */
};

/* Would the connection come about, as far as was asked? */
bool explain_is_allowed(const struct explain_report *report);
void explain_print_text(const struct explain_report *report);
/* False when it does not fit, which was said. */
bool explain_print_json(const struct explain_report *report);

#endif
