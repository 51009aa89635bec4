/*
 * vars: the `--var NAME=VALUE` options of a command line.
 */
#ifndef BULKHEAD_CLI_VARS_H
#define BULKHEAD_CLI_VARS_H

#include "config/config.h"

#include <stdbool.h>

/* Starts zeroed. */
struct vars {
    struct config_variable_value *items;
    char **names; /* the items', owned */
    size_t count;
};

/* text, which must stay, is the option's argument. False: it is wrong, which was printed. */
bool vars_add(struct vars *vars, const char *command, const char *text);
/* For config_load and what leads there; good until vars_fini. */
struct config_options vars_options(const struct vars *vars);
void vars_fini(struct vars *vars);

#endif
