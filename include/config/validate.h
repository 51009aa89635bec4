/*
 * validate: what a configuration must keep beyond single values: how the keys of a listener fit
 * together, names that are unique, references between sections. Cold path.
 */
#ifndef BULKHEAD_CONFIG_VALIDATE_H
#define BULKHEAD_CONFIG_VALIDATE_H

#include "config/config.h"
#include "config/yaml_doc.h"

/*
 * config was decoded from root, perhaps with errors: what is missing in it is not reported a
 * second time. Sets nothing.
 */
void validate_config(const struct config *config, const struct yaml_node *root, uint32_t file,
                     struct diag_list *diags);

#endif
