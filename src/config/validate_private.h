/*
 * validate_private: what the checks of listeners and trust (validate.c), of rules
 * (validate_rules.c), groups (validate_groups.c), tests (validate_tests.c) and probes
 * (validate_probes.c) share. For src/config/ only.
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

/* The listeners by name: there may be many rules and many listeners. */
struct validate_targets {
    const struct config_listener **sorted;
    size_t count;
    bool complete; /* every listener's name could be read */
};
void validate_targets_init(struct validate_targets *targets, const struct config *config);
void validate_targets_fini(struct validate_targets *targets);
const struct config_listener *validate_find_listener(const struct validate_targets *targets,
                                                     const char *name);
struct suggest;
/* Shows it all their names. */
void validate_suggest_listeners(const struct validate_targets *targets, struct suggest *suggest);

void validate_rules(struct checker *c, const struct validate_targets *targets);
void validate_groups(struct checker *c);
void validate_identity(struct checker *c);
void validate_probes(struct checker *c);
void validate_tests(struct checker *c, const struct validate_targets *targets);

#endif
