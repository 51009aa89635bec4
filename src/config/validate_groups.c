/*
 * Groups: that each stands once, that every reference leads to one and none goes round, and which
 * are empty or used by nobody.
 */
#include "validate_private.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "config/suggest.h"

enum { MAX_NESTING = 32, PATH_SIZE = 512 };

enum mark { MARK_NEW = 0, MARK_OPEN, MARK_DONE };

struct group_state {
    enum mark mark;
    bool used;
};

struct walk {
    struct checker *c;
    struct group_state *states; /* by group */
    size_t open[MAX_NESTING];   /* the groups on the way down */
    size_t depth;
};

static size_t number_of(const struct walk *walk, const struct config_group *group)
{
    return (size_t)(group - walk->c->config->groups);
}

/* where: "rules[2].from", "groups.a". */
static const struct config_group *resolve(struct walk *walk, const struct config_string *item,
                                          const char *where, size_t k)
{
    const struct config *config = walk->c->config;
    const struct config_group *group = config_find_group(config, item->text);
    if (group != NULL) {
        walk->states[number_of(walk, group)].used = true;
        return group;
    }
    struct suggest suggest;
    suggest_init(&suggest, item->text + strlen(CONFIG_GROUP_PREFIX));
    for (size_t i = 0; i < config->group_count; i++) {
        suggest_consider(&suggest, config->groups[i].name.text);
    }
    if (suggest.best != NULL) {
        diag_error(walk->c->diags, item->pos,
                   "%s[%zu]: unknown group \"%s\"; did you mean \"" CONFIG_GROUP_PREFIX "%s\"?",
                   where, k, item->text, suggest.best);
    } else {
        diag_error(walk->c->diags, item->pos,
                   "%s[%zu]: unknown group \"%s\"; groups are defined under `groups`", where, k,
                   item->text);
    }
    return NULL;
}

static void resolve_all(struct walk *walk, const struct config_strings *strings,
                        const char *section, size_t i, const char *key)
{
    for (size_t k = 0; k < strings->count; k++) {
        if (config_is_group_reference(strings->items[k].text)) {
            char where[PATH_SIZE];
            (void)snprintf(where, sizeof(where), "%s[%zu].%s", section, i, key);
            (void)resolve(walk, &strings->items[k], where, k);
        }
    }
}

/* "a, b, a": from the first of the way that is the group, down to it. */
static void report_cycle(struct walk *walk, const struct config_string *item, size_t group)
{
    const struct config *config = walk->c->config;
    char path[PATH_SIZE] = "";
    size_t len = 0;
    size_t at = 0;
    while (walk->open[at] != group) {
        at++;
    }
    for (; at < walk->depth && len < sizeof(path); at++) {
        int added = snprintf(path + len, sizeof(path) - len, "%s, ",
                             config->groups[walk->open[at]].name.text);
        len += added > 0 ? (size_t)added : 0;
    }
    diag_error(walk->c->diags, item->pos, "groups.%s: goes round: %s%s; take one of them out",
               config->groups[walk->open[walk->depth - 1]].name.text, path,
               config->groups[group].name.text);
}

static void descend(struct walk *walk, size_t number)
{
    const struct config_group *group = &walk->c->config->groups[number];
    char where[PATH_SIZE];
    (void)snprintf(where, sizeof(where), "groups.%s", group->name.text);
    walk->states[number].mark = MARK_OPEN;
    walk->open[walk->depth++] = number;
    for (size_t k = 0; k < group->members.count; k++) {
        const struct config_string *item = &group->members.items[k];
        const struct config_group *inner =
            config_is_group_reference(item->text) ? resolve(walk, item, where, k) : NULL;
        if (inner == NULL) {
            continue;
        }
        size_t next = number_of(walk, inner);
        if (walk->states[next].mark == MARK_OPEN) {
            report_cycle(walk, item, next);
        } else if (walk->states[next].mark == MARK_NEW && walk->depth == MAX_NESTING) {
            diag_error(walk->c->diags, item->pos, "%s[%zu]: groups nest deeper than %d levels",
                       where, k, (int)MAX_NESTING);
        } else if (walk->states[next].mark == MARK_NEW) {
            descend(walk, next);
        }
    }
    walk->depth--;
    walk->states[number].mark = MARK_DONE;
}

/* The first of two is the one that is used. */
static bool stands_twice(const struct config *config, size_t i)
{
    return i > 0 && strcmp(config->groups[i - 1].name.text, config->groups[i].name.text) == 0;
}

static void check_names(struct checker *c)
{
    const struct config *config = c->config;
    /* They are sorted by name; two of one file are a duplicate key, which was reported. */
    for (size_t i = 1; i < config->group_count; i++) {
        const struct config_string *first = &config->groups[i - 1].name;
        const struct config_string *name = &config->groups[i].name;
        if (stands_twice(config, i)) {
            diag_error(c->diags, name->pos, "groups.%s: stands in %s:%u already", name->text,
                       c->diags->files[first->pos.file], first->pos.line);
        }
    }
}

static void check_uses(struct walk *walk)
{
    const struct config *config = walk->c->config;
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        shown = config_rule_index(config, i, shown);
        resolve_all(walk, &config->rules[i].from, "rules", shown, "from");
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        resolve_all(walk, &config->listeners[i].expect, "listeners", i, "expect");
    }
}

void validate_groups(struct checker *c)
{
    const struct config *config = c->config;
    struct walk walk = {.c = c};
    walk.states = mem_alloc_array(config->group_count + 1, sizeof(*walk.states));
    check_names(c);
    for (size_t i = 0; i < config->group_count; i++) {
        if (walk.states[i].mark == MARK_NEW) {
            descend(&walk, i);
        }
    }
    check_uses(&walk);
    for (size_t i = 0; i < config->group_count; i++) {
        const struct config_group *group = &config->groups[i];
        if (validate_is_empty(&group->members)) {
            diag_warning(c->diags, group->members.pos, "groups.%s: is empty: it matches nobody",
                         group->name.text);
        } else if (!walk.states[i].used && !stands_twice(config, i)) {
            /* Another process may use what stands in a file that is shared. */
            (config_is_included(config, group->name.pos) ? diag_note : diag_warning)(
                c->diags, group->name.pos, "groups.%s: nobody uses it", group->name.text);
        }
    }
    mem_free(walk.states);
}
