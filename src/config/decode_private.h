/*
 * decode_private: what the walk over maps and lists (decode.c) and the reader of single values
 * (decode_value.c) share. For src/config/ only.
 */
#ifndef BULKHEAD_CONFIG_DECODE_PRIVATE_H
#define BULKHEAD_CONFIG_DECODE_PRIVATE_H

#include "config/config.h"
#include "config/decode.h"

enum { DECODER_MAX_PATH = 256 };

struct decoder {
    struct diag_list *diags;
    uint32_t file;
    const char *directory;
    size_t path_len;
    char path[DECODER_MAX_PATH]; /* "listeners[2].alpn"; cut when it doesn't fit */
};

/* The table knows sizes, the compiler can't: values are stored by memcpy at base + offset. */
static inline void *decoder_at(void *base, size_t offset)
{
    return (char *)base + offset;
}

static inline struct config_pos decoder_pos(const struct decoder *d, const struct yaml_node *node)
{
    return (struct config_pos){d->file, node->line, node->column};
}

/* Append ".key" or "[index]" to the path and return its former length, for decoder_leave. For each
   value of the file: without printf, which costs as much as reading the value. */
size_t decoder_enter_key(struct decoder *d, const char *key);
size_t decoder_enter_index(struct decoder *d, size_t index);
void decoder_leave(struct decoder *d, size_t former);
void decoder_report(struct decoder *d, const struct yaml_node *node, const char *sentence);

/*
 * A field of every type but FIELD_STRUCT, FIELD_LIST and FIELD_MAP. What is wrong is reported and
 * leaves what base holds, except for texts, which are kept.
 */
void decode_value(struct decoder *d, const struct field *field, const struct yaml_node *node,
                  void *base);
/* A map's key that must be a name. */
void decode_name_check(struct decoder *d, const struct yaml_node *key);
/* Frees what the value of such a field owns. */
void decode_value_release(const struct field *field, void *base);
void decode_string_release(struct config_string *string);
/* Takes over text. */
void decode_string_store(struct config_string *out, char *text, struct config_pos pos);

#endif
