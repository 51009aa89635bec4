/*
 * libyaml's events, one after the other, into a tree in an arena. A recursive builder, at most
 * YAML_DOC_MAX_DEPTH deep. What YAML allows and we refuse is reported where it stands and the
 * walk goes on, so that one run shows every mistake; only an error of syntax, of nesting or of
 * memory ends it.
 */
#include "config/yaml_doc.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/arena.h"
#include "base/memory.h"
#include "config/yaml_problem.h"

struct builder {
    yaml_parser_t parser;
    struct yaml_source source;
    struct arena arena;
};

/* What the root that is given out stands in. */
struct yaml_doc {
    struct yaml_node root;
    struct arena arena;
};

static void report(struct builder *b, const yaml_mark_t *mark, const char *message)
{
    struct config_pos pos = {b->source.file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1};
    diag_error(b->source.diags, pos, "%s", message);
}

/* False when the text can't be read any further; that was reported. */
static bool next_event(struct builder *b, yaml_event_t *event)
{
    if (yaml_parser_parse(&b->parser, event) == 0) {
        yaml_problem_report(&b->source, &b->parser);
        return false;
    }
    return true;
}

static struct yaml_node *new_node(struct builder *b, enum yaml_kind kind, const yaml_mark_t *mark)
{
    struct yaml_node *node = arena_alloc(&b->arena, sizeof *node);
    node->kind = kind;
    node->line = (uint32_t)mark->line + 1;
    node->column = (uint32_t)mark->column + 1;
    return node;
}

static void check_decorations(struct builder *b, const yaml_event_t *event,
                              const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        report(b, &event->start_mark,
               "anchors are refused; if \"&\" starts the text, quote the whole value");
    }
    if (tag != NULL) {
        report(b, &event->start_mark,
               "tags are refused; if \"!\" starts the text, quote the whole value");
    }
}

static struct yaml_node *build_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    check_decorations(b, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (memchr(text, '\0', len) != NULL) {
        report(b, &event->start_mark, "a value must not hold a NUL byte");
        return new_node(b, YAML_KIND_BROKEN, &event->start_mark);
    }
    struct yaml_node *node = new_node(b, YAML_KIND_SCALAR, &event->start_mark);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->u.text = arena_strndup(&b->arena, text, len);
    node->count = len;
    return node;
}

static bool is_power_of_two(size_t n)
{
    return (n & (n - 1)) == 0;
}

/* Makes room for one more: the capacity is always the next power of two. */
static void *grow(struct builder *b, void *array, size_t count, size_t size)
{
    if (!is_power_of_two(count)) {
        return array;
    }
    void *larger = arena_alloc(&b->arena, (count == 0 ? 1 : count * 2) * size);
    if (count > 0) {
        memcpy(larger, array, count * size);
    }
    return larger;
}

static struct yaml_node *build_node(struct builder *b, yaml_event_t *event, unsigned depth);

static bool fill_list(struct builder *b, struct yaml_node *list, unsigned depth)
{
    yaml_event_t event;
    for (;;) {
        if (!next_event(b, &event)) {
            return false;
        }
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        struct yaml_node *item = build_node(b, &event, depth);
        if (item == NULL) {
            return false;
        }
        list->u.items = grow(b, list->u.items, list->count, sizeof *list->u.items);
        list->u.items[list->count++] = item;
    }
}

static void add_pair(struct builder *b, struct yaml_node *map, struct yaml_node *key,
                     struct yaml_node *value)
{
    struct config_pos pos = {b->source.file, key->line, key->column};
    bool good = key->kind == YAML_KIND_SCALAR;
    if (key->kind == YAML_KIND_LIST || key->kind == YAML_KIND_MAP) {
        diag_error(b->source.diags, pos, "a key must be a word, not a list or a map");
    } else if (good && key->plain && strcmp(key->u.text, "<<") == 0) {
        diag_error(b->source.diags, pos, "merge keys (\"<<\") are refused; write the keys out");
        good = false;
    }
    if (!good) {
        return;
    }
    map->u.pairs = grow(b, map->u.pairs, map->count, sizeof *map->u.pairs);
    map->u.pairs[map->count++] = (struct yaml_pair){key, value};
}

static bool fill_map(struct builder *b, struct yaml_node *map, unsigned depth)
{
    yaml_event_t event;
    for (;;) {
        if (!next_event(b, &event)) {
            return false;
        }
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        struct yaml_node *key = build_node(b, &event, depth);
        if (key == NULL) {
            return false;
        }
        struct yaml_node *value = NULL;
        if (next_event(b, &event)) {
            value = build_node(b, &event, depth);
        }
        if (value == NULL) {
            return false;
        }
        add_pair(b, map, key, value);
    }
}

struct ranked_pair {
    struct yaml_pair pair;
    size_t rank;
};

static int compare_keys(const void *left, const void *right)
{
    const struct ranked_pair *a = left;
    const struct ranked_pair *b = right;
    int order = strcmp(a->pair.key->u.text, b->pair.key->u.text);
    return order != 0 ? order : (a->rank > b->rank) - (a->rank < b->rank);
}

/* Most maps are small, and have none. */
static bool is_small_without_duplicates(const struct yaml_node *map)
{
    enum { SMALL = 12 };
    for (size_t i = 1; i < map->count && map->count <= SMALL; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(map->u.pairs[i].key->u.text, map->u.pairs[k].key->u.text) == 0) {
                return false;
            }
        }
    }
    return map->count <= SMALL;
}

/* YAML 1.2 3.2.1.3: keys are unique; libyaml leaves the check to us. Sorting keeps a file with a
   million keys in one map from costing a million times a million. */
static void drop_duplicates(struct builder *b, struct yaml_node *map)
{
    if (is_small_without_duplicates(map)) {
        return;
    }
    struct ranked_pair *sorted = mem_alloc_array(map->count, sizeof *sorted);
    for (size_t i = 0; i < map->count; i++) {
        sorted[i] = (struct ranked_pair){map->u.pairs[i], i};
    }
    qsort(sorted, map->count, sizeof *sorted, compare_keys);
    const struct yaml_node *first = sorted[0].pair.key;
    for (size_t i = 1; i < map->count; i++) {
        struct yaml_pair *pair = &sorted[i].pair;
        if (strcmp(first->u.text, pair->key->u.text) != 0) {
            first = pair->key;
            continue;
        }
        struct config_pos pos = {b->source.file, pair->key->line, pair->key->column};
        diag_error(b->source.diags, pos, "duplicate key \"%s\": it stands on line %u already",
                   pair->key->u.text, first->line);
        map->u.pairs[sorted[i].rank] = (struct yaml_pair){NULL, NULL};
    }
    mem_free(sorted);
    size_t kept = 0;
    for (size_t i = 0; i < map->count; i++) {
        if (map->u.pairs[i].key != NULL) {
            map->u.pairs[kept++] = map->u.pairs[i];
        }
    }
    map->count = kept;
}

static struct yaml_node *build_collection(struct builder *b, const yaml_event_t *event,
                                          unsigned depth)
{
    if (depth == YAML_DOC_MAX_DEPTH) {
        report(b, &event->start_mark, "nested deeper than 32 levels");
        return NULL;
    }
    bool is_list = event->type == YAML_SEQUENCE_START_EVENT;
    if (is_list) {
        check_decorations(b, event, event->data.sequence_start.anchor,
                          event->data.sequence_start.tag);
    } else {
        check_decorations(b, event, event->data.mapping_start.anchor,
                          event->data.mapping_start.tag);
    }
    struct yaml_node *node =
        new_node(b, is_list ? YAML_KIND_LIST : YAML_KIND_MAP, &event->start_mark);
    if (!(is_list ? fill_list(b, node, depth + 1) : fill_map(b, node, depth + 1))) {
        return NULL;
    }
    if (!is_list) {
        drop_duplicates(b, node);
    }
    return node;
}

/* The node that starts with event, which is deleted here. NULL: reading can't go on. */
static struct yaml_node *build_node(struct builder *b, yaml_event_t *event, unsigned depth)
{
    struct yaml_node *node = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        node = build_scalar(b, event);
    } else if (event->type == YAML_ALIAS_EVENT) {
        report(b, &event->start_mark,
               "aliases are refused; if \"*\" starts the text, quote the whole value");
        node = new_node(b, YAML_KIND_BROKEN, &event->start_mark);
    } else {
        node = build_collection(b, event, depth);
    }
    yaml_event_delete(event);
    return node;
}

static void check_directives(struct builder *b, const yaml_event_t *event)
{
    if (event->data.document_start.version_directive != NULL ||
        event->data.document_start.tag_directives.start !=
            event->data.document_start.tag_directives.end) {
        report(b, &event->start_mark, "directives (lines that start with \"%\") are refused");
    }
}

/* After the document: its end, then the end of the stream. False after an error of syntax. A second
   document is not read any further, and takes nothing away from the first. */
static bool finish_stream(struct builder *b)
{
    yaml_event_t event;
    for (;;) {
        if (!next_event(b, &event)) {
            return false;
        }
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT) {
            report(b, &event.start_mark, "a second document starts here; a file holds one");
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT || type == YAML_DOCUMENT_START_EVENT) {
            return true;
        }
    }
}

static struct yaml_node *build_document(struct builder *b)
{
    yaml_event_t event;
    for (;;) {
        if (!next_event(b, &event)) {
            return NULL;
        }
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT) {
            check_directives(b, &event);
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT) {
            break;
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) {
            return NULL;
        }
    }
    struct yaml_node *root = build_node(b, &event, 0);
    return root != NULL && finish_stream(b) ? root : NULL;
}

struct yaml_node *yaml_doc_parse(const char *text, size_t len, uint32_t file,
                                 struct diag_list *diags)
{
    struct builder b = {.source = {text, len, file, diags}};
    if (!yaml_source_check_encoding(&b.source)) {
        return NULL;
    }
    if (yaml_parser_initialize(&b.parser) == 0) {
        diag_error(diags, (struct config_pos){file, 0, 0}, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)b.source.text, b.source.len);
    struct yaml_node *root = build_document(&b);
    yaml_parser_delete(&b.parser);
    if (root == NULL || yaml_node_is_null(root)) {
        arena_free(&b.arena);
        return NULL;
    }
    struct yaml_doc *doc = mem_alloc(sizeof *doc);
    doc->root = *root;
    doc->arena = b.arena;
    return &doc->root;
}

void yaml_node_free(struct yaml_node *root)
{
    if (root != NULL) {
        struct yaml_doc *doc = (struct yaml_doc *)root; /* its first member */
        arena_free(&doc->arena);
        mem_free(doc);
    }
}

bool yaml_node_is_null(const struct yaml_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != YAML_KIND_SCALAR || !node->plain) {
        return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(node->u.text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

const struct yaml_node *yaml_node_find(const struct yaml_node *node, const char *key)
{
    if (node == NULL || node->kind != YAML_KIND_MAP) {
        return NULL;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (strcmp(node->u.pairs[i].key->u.text, key) == 0) {
            return node->u.pairs[i].value;
        }
    }
    return NULL;
}

const char *yaml_doc_run_version(void)
{
    return yaml_get_version_string();
}
