/*
 * include: the files that the main file's `include` names, read into one configuration.
 *
 * An entry is a path, or a path whose last component is a pattern (*, ? and [ ] as in a shell; a
 * leading dot is never matched). A path must be there; a pattern may match nothing. Included files
 * hold rules, groups, quarantine and tests alone, and include no others. Cold path.
 */
#ifndef BULKHEAD_CONFIG_INCLUDE_H
#define BULKHEAD_CONFIG_INCLUDE_H

#include "base/errbuf.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Reads what config->include names, in the order of the entries and, for a pattern, of the names,
 * each file once. config->path and the main file's content are there already. Fills files and
 * directories and adds to the rules, groups, quarantine, tests and text_hash.
 */
void include_read(struct config *config, struct diag_list *diags);

struct include_list {
    char **paths; /* sorted */
    size_t count;
};
/* The names in the directory that match, as paths. A directory that is missing has none. -1 with
   err: it can't be read. */
int include_list_load(const char *directory, const char *pattern, struct include_list *list,
                      struct errbuf *err) __attribute__((warn_unused_result));
void include_list_fini(struct include_list *list);

#endif
