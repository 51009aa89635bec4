/*
 * validate_private: what the checks of listeners and trust (validate.c) and those of rules
 * (validate_rules.c) share. For src/config/ only.
 */
#ifndef BULKHEAD_CONFIG_VALIDATE_PRIVATE_H
#define BULKHEAD_CONFIG_VALIDATE_PRIVATE_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct checker {
    const struct config *config;
    uint32_t file; /* the main one */
    struct diag_list *diags;
};

bool validate_is_present(struct config_pos pos);
/* Written as an empty list; one that could not be read is something else. */
bool validate_is_empty(const struct config_strings *strings);
/* Both addresses could be read; the pairs of schemes make sense only then. */
bool validate_has_addresses(const struct config_listener *listener);

struct validate_entry {
    const char *text;
    struct config_pos pos;
    size_t order; /* among all: the first of two that are alike is the good one */
    size_t index; /* in the list of its file */
};
/* Reports those that stand twice; sorts entries. "rules[3].name: the name "x" stands …" */
void validate_unique(struct checker *c, struct validate_entry *entries, size_t count,
                     const char *list, const char *key, const char *what);

void validate_rules(struct checker *c);
void validate_groups(struct checker *c);

#endif
