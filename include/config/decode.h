/*
 * decode: a YAML tree into C structs, by the rows of config/field_table.h. Cold path.
 */
#ifndef BULKHEAD_CONFIG_DECODE_H
#define BULKHEAD_CONFIG_DECODE_H

#include "config/diag.h"
#include "config/field_table.h"
#include "config/yaml_doc.h"

/*
 * Fills base, a zeroed struct that fits the table: defaults first, then what the file says. Every
 * error goes to diags; what it belongs to keeps its default. directory: where relative paths
 * start; "" leaves them. decode_release frees whatever was filled in, also after errors.
 */
void decode_tree(const struct field_table *table, const struct yaml_node *root, uint32_t file,
                 const char *directory, struct diag_list *diags, void *base);
void decode_release(const struct field_table *table, void *base);

#endif
