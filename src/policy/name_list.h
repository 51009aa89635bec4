/*
 * name_list: names that are looked up often, sorted once. For src/policy/ only.
 */
#ifndef BULKHEAD_POLICY_NAME_LIST_H
#define BULKHEAD_POLICY_NAME_LIST_H

#include "base/strview.h"

#include <stddef.h>

struct config;

struct name {
    struct strview text; /* somebody else's */
    size_t index;        /* what it stands for */
};

struct name_list {
    struct name *items;
    size_t count;
};

/* Of the configuration's trust domains, and of its listeners, by their index. */
void name_list_of_domains(struct name_list *list, const struct config *config);
void name_list_of_listeners(struct name_list *list, const struct config *config);
void name_list_fini(struct name_list *list);
/* NULL: not in it. */
const struct name *name_list_find(const struct name_list *list, struct strview text);

#endif
