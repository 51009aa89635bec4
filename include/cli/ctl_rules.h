/* ctl_rules: `bulkhead ctl rules`: what each rule has done, from as many pages as there are. */
#ifndef BULKHEAD_CLI_CTL_RULES_H
#define BULKHEAD_CLI_CTL_RULES_H

#include <stdbool.h>

struct netaddr;

/* Prints; returns the exit code. */
int ctl_rules(const struct netaddr *server, bool as_json);

#endif
