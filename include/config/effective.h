/*
 * effective: a decoded configuration for people and machines, key by key as the tables have them:
 * what holds, whether that is the default, and whether a reload can change it.
 *
 * It is written in units, each of bounded size where the file's own is: a hundred thousand rules
 * never stand in memory at once. Any thread.
 */
#ifndef BULKHEAD_CONFIG_EFFECTIVE_H
#define BULKHEAD_CONFIG_EFFECTIVE_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

struct json_writer;

/* A unit: a key at the top, or one item of a list or map there. All zero is the first. */
struct effective_cursor {
    size_t field;
    size_t item;
};

bool effective_is_end(const struct effective_cursor *cursor);
void effective_advance(const struct config *config, struct effective_cursor *cursor);
/*
 * The unit's keys, an object each, into an open array:
 *
 *     {"key": "listeners[orders].timeouts.idle", "value": "1h", "default": true,
 *      "reloadable": true}
 *
 * value is as in the file, with variables expanded and paths whole; null with a "note" in words
 * where the default is no constant. "default": the value is the one that leaving the key out would
 * give. Of what may stand in included files too, keys that were left out and have no value are not
 * written.
 */
void effective_write(const struct config *config, const struct effective_cursor *cursor,
                     struct json_writer *w);

#endif
