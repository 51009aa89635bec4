/*
 * environment: what the service manager says in variables: each is taken out of the environment,
 * because it is for this process alone. Before there are threads.
 */
#ifndef BULKHEAD_CONTROL_ENVIRONMENT_H
#define BULKHEAD_CONTROL_ENVIRONMENT_H

#include <stdbool.h>
#include <stdint.h>

/* Its value, the caller's (mem_free), and the variable is gone. NULL: it was not there. */
char *environment_take(const char *name);
/* Decimal digits alone. False: it is none, or too large. */
bool environment_number(const char *text, uint64_t *number);

#endif
