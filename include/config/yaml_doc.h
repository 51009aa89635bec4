/*
 * yaml_doc: one YAML document as a tree of nodes with their places.
 *
 * Built from libyaml's events, not from its document API, which accepts duplicate keys, cyclic
 * aliases and NUL bytes. Refused here: aliases, anchors, tags, merge keys, directives, NUL bytes,
 * duplicate keys, keys that are no scalars, a second document, more than YAML_DOC_MAX_DEPTH
 * levels, what is no UTF-8. Nothing is typed: a scalar is its text and whether it was quoted.
 * Cold path, one thread at a time.
 */
#ifndef BULKHEAD_CONFIG_YAML_DOC_H
#define BULKHEAD_CONFIG_YAML_DOC_H

#include "config/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { YAML_DOC_MAX_DEPTH = 32 };

enum yaml_kind {
    YAML_KIND_BROKEN = 0, /* already reported (an alias); to be skipped silently */
    YAML_KIND_SCALAR,
    YAML_KIND_LIST,
    YAML_KIND_MAP
};

struct yaml_node;

struct yaml_pair {
    struct yaml_node *key; /* always a scalar */
    struct yaml_node *value;
};

struct yaml_node {
    enum yaml_kind kind;
    bool plain; /* a scalar without quotes and not in block style */
    uint32_t line;
    uint32_t column;
    size_t count; /* bytes of text, items or pairs */
    union {
        char *text; /* NUL-terminated, no NUL inside */
        struct yaml_node **items;
        struct yaml_pair *pairs; /* keys are unique, in the order of the file */
    } u;
};

/*
 * The root node, to be freed by the caller; NULL when the text can't be read as a tree. Errors go
 * to diags with the place in file: a tree may come back although errors were reported (a
 * duplicate key, an anchor, a second document), so that the rest can be looked at too. An empty
 * document is NULL without any error.
 */
struct yaml_node *yaml_doc_parse(const char *text, size_t len, uint32_t file,
                                 struct diag_list *diags);
/* The whole tree, of a root that yaml_doc_parse gave. NULL is fine. */
void yaml_node_free(struct yaml_node *root);
/* A plain scalar that YAML reads as nothing: empty, ~ or null. */
bool yaml_node_is_null(const struct yaml_node *node);
/* The value of a key; NULL when node is no map or has no such key. */
const struct yaml_node *yaml_node_find(const struct yaml_node *node, const char *key);
/* The version of libyaml that is running; its headers don't tell the one of the build. */
const char *yaml_doc_run_version(void);

#endif
