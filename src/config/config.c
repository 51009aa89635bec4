/*
 * text → tree (yaml_doc) → struct (decode, by field_table) → variables expanded (variables) → what
 * belongs together (validate).
 * Each step goes on after errors as far as it can see, so that one run names every mistake.
 */
#include "config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "config/decode.h"
#include "config/field_table.h"
#include "config/include.h"
#include "config/validate.h"
#include "config/variables.h"
#include "config/yaml_doc.h"

/* decode stores the value of a choice as an int. */
static_assert(sizeof(enum config_truncation) == sizeof(int), "choices are ints");
static_assert(sizeof(enum config_proxy_protocol) == sizeof(int), "choices are ints");
static_assert(sizeof(enum config_action) == sizeof(int), "choices are ints");
static_assert(sizeof(enum config_mode) == sizeof(int), "choices are ints");
static_assert(sizeof(enum config_enforcement) == sizeof(int), "choices are ints");

/* The least file that loads, on one line: shown for an empty one. */
#define LEAST_FILE                                                                     \
    "{version: 1, identity: {files: {certificate: svid.pem, private_key: svid.key}}, " \
    "trust: {prod.example: {bundle: prod.pem}}, "                                      \
    "listeners: [{name: orders, accept: 'mtls://0.0.0.0:8443', "                       \
    "forward: 'tcp://127.0.0.1:8080'}], "                                              \
    "rules: [{name: web, from: spiffe://prod.example/web, to: orders}]}"

bool config_scheme_is_mtls(enum config_scheme scheme)
{
    return scheme == CONFIG_SCHEME_MTLS || scheme == CONFIG_SCHEME_MTLS_UNIX;
}

bool config_has_identity_files(const struct config *config)
{
    return config->identity.certificate.text != NULL || config->identity.private_key.text != NULL;
}

bool config_scheme_is_unix(enum config_scheme scheme)
{
    return scheme == CONFIG_SCHEME_UNIX || scheme == CONFIG_SCHEME_MTLS_UNIX;
}

const char *config_kind_name(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_KIND_TERMINATE:
        return "terminate";
    case CONFIG_KIND_ORIGINATE:
        return "originate";
    case CONFIG_KIND_BRIDGE:
        return "bridge";
    }
    ASSERT(false);
    return "";
}

bool config_is_included(const struct config *config, struct config_pos pos)
{
    return pos.file != config->first_file;
}

const struct config_listener *config_find_listener(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const char *own = config->listeners[i].name.text;
        if (own != NULL && strcmp(own, name) == 0) {
            return &config->listeners[i];
        }
    }
    return NULL;
}

static int compare_groups(const void *left, const void *right)
{
    const struct config_group *a = left;
    const struct config_group *b = right;
    int order = strcmp(a->name.text, b->name.text);
    if (order == 0) {
        order = (a->name.pos.file > b->name.pos.file) - (a->name.pos.file < b->name.pos.file);
    }
    return order;
}

bool config_is_group_reference(const char *text)
{
    return strncmp(text, CONFIG_GROUP_PREFIX, strlen(CONFIG_GROUP_PREFIX)) == 0;
}

const struct config_group *config_find_group(const struct config *config, const char *reference)
{
    const char *name = reference + strlen(CONFIG_GROUP_PREFIX);
    size_t low = 0;
    size_t high = config->group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(config->groups[middle].name.text, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < config->group_count && strcmp(config->groups[low].name.text, name) == 0;
    return found ? &config->groups[low] : NULL;
}

static void take_default(uint64_t *value, uint64_t from)
{
    /* No timeout can be written as 0: it means that the listener has none of its own. */
    if (*value == 0) {
        *value = from;
    }
}

/* What follows from other keys. */
static void complete_listener(const struct config *config, struct config_listener *listener)
{
    take_default(&listener->timeouts.handshake_ms, config->timeouts.handshake_ms);
    take_default(&listener->timeouts.connect_ms, config->timeouts.connect_ms);
    take_default(&listener->timeouts.idle_ms, config->timeouts.idle_ms);
    take_default(&listener->timeouts.half_close_ms, config->timeouts.half_close_ms);
    if (listener->enforcement_pos.line == 0) {
        listener->enforcement = config->enforcement;
    }
    bool accepts_mtls = config_scheme_is_mtls(listener->accept.scheme);
    bool forwards_mtls = config_scheme_is_mtls(listener->forward.scheme);
    if (accepts_mtls) {
        listener->kind = forwards_mtls ? CONFIG_KIND_BRIDGE : CONFIG_KIND_TERMINATE;
    } else {
        listener->kind = CONFIG_KIND_ORIGINATE;
    }
}

/* "/etc/bulkhead" of "/etc/bulkhead/main.yaml"; "" when there is no directory in the name. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mem_strdup("");
    }
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static struct config *build(const char *name, const char *text, size_t len,
                            const struct yaml_node *root, uint32_t file,
                            const struct config_options *options, struct diag_list *diags)
{
    struct config *config = mem_alloc(sizeof *config);
    char *directory = directory_of(name);
    config->path = mem_strdup(name);
    config->from_text = options != NULL && options->text != NULL;
    config->files = mem_alloc(sizeof *config->files);
    config->files[config->file_count++] = mem_strdup(name);
    config->first_file = file;
    decode_tree(field_table_root(), root, file, directory, diags, config);
    mem_free(directory);
    config->text_hash[0] = hash_bytes(text, len, 0);
    config->text_hash[1] = hash_bytes(text, len, 1);
    include_read(config, diags);
    variables_expand(config, options, diags);
    if (config->group_count > 1) {
        qsort(config->groups, config->group_count, sizeof *config->groups, compare_groups);
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        complete_listener(config, &config->listeners[i]);
    }
    validate_config(config, file, diags);
    return config;
}

static struct config *parse(const char *name, const char *text, size_t len, uint32_t file,
                            const struct config_options *options, struct diag_list *diags)
{
    size_t errors = diags->error_count;
    struct config *config = NULL;
    struct yaml_node *root = yaml_doc_parse(text, len, file, diags);
    if (root != NULL) {
        config = build(name, text, len, root, file, options, diags);
        yaml_node_free(root);
    } else if (diags->error_count == errors) {
        diag_error(diags, (struct config_pos){file, 0, 0},
                   "the file is empty; the least that works is " LEAST_FILE);
    }
    diag_sort(diags);
    if (config != NULL) {
        config->valid = diags->error_count == errors;
    }
    return config;
}

struct config *config_parse(const char *name, const char *text, size_t len,
                            const struct config_options *options, struct diag_list *diags)
{
    return parse(name, text, len, diag_add_file(diags, name), options, diags);
}

struct config *config_load(const char *path, const struct config_options *options,
                           struct diag_list *diags)
{
    struct errbuf err;
    char *text = NULL;
    size_t len = 0;
    uint32_t file = diag_add_file(diags, path);
    if (options != NULL && options->text != NULL) {
        return parse(path, options->text, options->text_len, file, options, diags);
    }
    if (file_read(path, CONFIG_MAX_BYTES, &text, &len, &err) != 0) {
        diag_error(diags, (struct config_pos){file, 0, 0}, "%s", err.text);
        return NULL;
    }
    struct config *config = parse(path, text, len, file, options, diags);
    mem_free(text);
    return config;
}

static struct config_string copy_string(const struct config_string *from)
{
    return (struct config_string){.text = from->text == NULL ? NULL : mem_strdup(from->text),
                                  .pos = from->pos};
}

/* What included files need of the main one: their names, and the values of variables. */
static void copy_main(struct config *config, const struct config *former)
{
    config->include.items = mem_alloc_array(former->include.count, sizeof(*config->include.items));
    config->include.count = former->include.count;
    for (size_t i = 0; i < former->include.count; i++) {
        config->include.items[i] = copy_string(&former->include.items[i]);
    }
    config->variables = mem_alloc_array(former->variable_count, sizeof(*config->variables));
    config->variable_count = former->variable_count;
    for (size_t i = 0; i < former->variable_count; i++) {
        config->variables[i].name = copy_string(&former->variables[i].name);
        config->variables[i].value = copy_string(&former->variables[i].value);
    }
}

struct config *config_load_included(const struct config *former,
                                    const struct config_options *options, struct diag_list *diags)
{
    struct config *config = mem_alloc(sizeof *config);
    config->path = mem_strdup(former->path);
    config->files = mem_alloc(sizeof *config->files);
    config->files[config->file_count++] = mem_strdup(former->path);
    ASSERT(diags->file_count > 0);
    config->first_file = (uint32_t)diags->file_count - 1; /* that config_load could not read */
    copy_main(config, former);
    include_read(config, diags);
    variables_expand(config, options, diags);
    return config;
}

void config_free(struct config *config)
{
    if (config == NULL) {
        return;
    }
    decode_release(field_table_root(), config);
    for (size_t i = 0; i < config->file_count; i++) {
        mem_free(config->files[i]);
    }
    for (size_t i = 0; i < config->directory_count; i++) {
        mem_free(config->directories[i].path);
        mem_free(config->directories[i].pattern);
    }
    mem_free(config->files);
    mem_free(config->directories);
    mem_free(config->path);
    mem_free(config);
}
