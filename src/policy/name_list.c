/*
 * A file may hold a million IDs and many listeners and trust domains, so names are sorted by
 * length, then by bytes, and found by halves.
 */
#include "name_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/config.h"

static int compare_names(const void *a, const void *b)
{
    const struct strview *left = &((const struct name *)a)->text;
    const struct strview *right = &((const struct name *)b)->text;
    if (left->len != right->len) {
        return left->len < right->len ? -1 : 1;
    }
    return left->len == 0 ? 0 : memcmp(left->ptr, right->ptr, left->len);
}

static void add(struct name_list *list, const struct config_string *string, size_t index)
{
    list->items[list->count++] = (struct name){strview_from(string->text), index};
}

static void sort(struct name_list *list)
{
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof(*list->items), compare_names);
    }
}

void name_list_of_domains(struct name_list *list, const struct config *config)
{
    *list = (struct name_list){mem_alloc_array(config->trust_count, sizeof(*list->items)), 0};
    for (size_t i = 0; i < config->trust_count; i++) {
        add(list, &config->trust[i].domain, i);
    }
    sort(list);
}

void name_list_of_listeners(struct name_list *list, const struct config *config)
{
    *list = (struct name_list){mem_alloc_array(config->listener_count, sizeof(*list->items)), 0};
    for (size_t i = 0; i < config->listener_count; i++) {
        add(list, &config->listeners[i].name, i);
    }
    sort(list);
}

void name_list_fini(struct name_list *list)
{
    mem_free(list->items);
    *list = (struct name_list){NULL, 0};
}

const struct name *name_list_find(const struct name_list *list, struct strview text)
{
    struct name wanted = {.text = text};
    return list->count == 0
               ? NULL
               : bsearch(&wanted, list->items, list->count, sizeof(*list->items), compare_names);
}
