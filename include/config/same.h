/*
 * same: do two decoded configurations say the same? By the key tables, so that a new key is
 * compared without a word here. Places in the file and remarks (`owner`, `note`) don't count. Any
 * thread.
 */
#ifndef BULKHEAD_CONFIG_SAME_H
#define BULKHEAD_CONFIG_SAME_H

#include "config/config.h"

#include <stdbool.h>

/* Read from files of the same path and text. */
bool config_same_text(const struct config *a, const struct config *b);
bool config_same_listener(const struct config_listener *a, const struct config_listener *b);
bool config_same_group(const struct config_group *a, const struct config_group *b);
bool config_same_rule(const struct config_rule *a, const struct config_rule *b);
/* For each key that can't change in a running process and has: its path, such as "workers". */
typedef void config_fixed_fn(void *arg, const char *key);
void config_each_fixed_change(const struct config *a, const struct config *b, config_fixed_fn *fn,
                              void *arg);

#endif
