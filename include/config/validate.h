/*
 * validate: what a configuration must keep beyond single values: how the keys of a listener fit
 * together, names that are unique, references between sections. Cold path.
 */
#ifndef BULKHEAD_CONFIG_VALIDATE_H
#define BULKHEAD_CONFIG_VALIDATE_H

#include "config/config.h"

/*
 * config was decoded, perhaps with errors: what is missing in it is not reported a second time.
 * file: where things are reported that have no place. Sets nothing.
 */
void validate_config(const struct config *config, uint32_t file, struct diag_list *diags);

#endif
