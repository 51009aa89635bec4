/* The listeners that rules and tests name, and the nearest of them to a name that is none. */
#include "validate_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/suggest.h"

static int compare_listeners(const void *left, const void *right)
{
    const struct config_listener *const *a = left;
    const struct config_listener *const *b = right;
    return strcmp((*a)->name.text, (*b)->name.text);
}

void validate_targets_init(struct validate_targets *targets, const struct config *config)
{
    targets->count = 0;
    targets->sorted = mem_alloc_array(config->listener_count + 1, sizeof(*targets->sorted));
    targets->complete = config->listener_count > 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].name.text != NULL) {
            targets->sorted[targets->count++] = &config->listeners[i];
        } else {
            targets->complete = false;
        }
    }
    if (targets->count > 1) {
        qsort(targets->sorted, targets->count, sizeof(*targets->sorted), compare_listeners);
    }
}

void validate_targets_fini(struct validate_targets *targets)
{
    mem_free(targets->sorted);
}

const struct config_listener *validate_find_listener(const struct validate_targets *targets,
                                                     const char *name)
{
    size_t low = 0;
    size_t high = targets->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(targets->sorted[middle]->name.text, name);
        if (order == 0) {
            return targets->sorted[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void validate_suggest_listeners(const struct validate_targets *targets, struct suggest *suggest)
{
    for (size_t i = 0; i < targets->count; i++) {
        suggest_consider(suggest, targets->sorted[i]->name.text);
    }
}
