/*
 * An included file goes the way of the main file, text → tree → struct, by a table of fewer keys.
 * It is decoded into a configuration of its own, whose rules and groups then move over.
 */
#include "config/include.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "config/decode.h"
#include "config/field_table.h"
#include "config/yaml_doc.h"

static char *join(const char *directory, const char *name)
{
    if (directory[0] == '\0' || name[0] == '/') {
        return mem_strdup(name);
    }
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = mem_alloc(size);
    const char *joint = strcmp(directory, "/") == 0 ? "" : "/";
    (void)snprintf(path, size, "%s%s%s", directory, joint, name);
    return path;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_add(struct include_list *list, char *path)
{
    list->paths = mem_grow_array(list->paths, list->count, list->count + 1, sizeof(*list->paths));
    list->paths[list->count++] = path;
}

int include_list_load(const char *directory, const char *pattern, struct include_list *list,
                      struct errbuf *err)
{
    *list = (struct include_list){0};
    DIR *dir = opendir(directory[0] == '\0' ? "." : directory);
    if (dir == NULL) {
        if (errno == ENOENT) {
            return 0;
        }
        errbuf_set(err, "%s: %s", directory, strerror(errno));
        return -1;
    }
    const struct dirent *entry = NULL;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0) {
            list_add(list, join(directory, entry->d_name));
        }
        errno = 0;
    }
    int error = errno;
    (void)closedir(dir);
    if (error != 0) {
        include_list_fini(list);
        errbuf_set(err, "%s: %s", directory, strerror(error));
        return -1;
    }
    if (list->count > 1) {
        qsort(list->paths, list->count, sizeof(*list->paths), compare_paths);
    }
    return 0;
}

void include_list_fini(struct include_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->paths[i]);
    }
    mem_free(list->paths);
    *list = (struct include_list){0};
}

/* --- one file -------------------------------------------------------------------------------- */

static bool was_read(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->file_count; i++) {
        if (strcmp(config->files[i], path) == 0) {
            return true;
        }
    }
    return false;
}

static void move_rules(struct config *to, struct config *from)
{
    to->rules = mem_grow_array(to->rules, to->rule_count, to->rule_count + from->rule_count,
                               sizeof(*to->rules));
    memcpy(&to->rules[to->rule_count], from->rules, from->rule_count * sizeof(*from->rules));
    to->rule_count += from->rule_count;
    mem_free(from->rules);
    from->rules = NULL;
    from->rule_count = 0;
}

static void move_groups(struct config *to, struct config *from)
{
    to->groups = mem_grow_array(to->groups, to->group_count, to->group_count + from->group_count,
                                sizeof(*to->groups));
    memcpy(&to->groups[to->group_count], from->groups, from->group_count * sizeof(*from->groups));
    to->group_count += from->group_count;
    mem_free(from->groups);
    from->groups = NULL;
    from->group_count = 0;
}

static void move_tests(struct config *to, struct config *from)
{
    to->tests = mem_grow_array(to->tests, to->test_count, to->test_count + from->test_count,
                               sizeof(*to->tests));
    memcpy(&to->tests[to->test_count], from->tests, from->test_count * sizeof(*from->tests));
    to->test_count += from->test_count;
    mem_free(from->tests);
    from->tests = NULL;
    from->test_count = 0;
}

static void move_quarantine(struct config_strings *to, struct config_strings *from)
{
    to->items = mem_grow_array(to->items, to->count, to->count + from->count, sizeof(*to->items));
    memcpy(&to->items[to->count], from->items, from->count * sizeof(*from->items));
    to->count += from->count;
    mem_free(from->items);
    from->items = NULL;
    from->count = 0;
}

/* A file with nothing but comments has no rules, and is no mistake. */
static void decode_file(struct config *config, const char *text, size_t len, uint32_t file,
                        struct diag_list *diags)
{
    struct yaml_node *root = yaml_doc_parse(text, len, file, diags);
    if (root == NULL) {
        return;
    }
    struct config part = {.valid = false};
    decode_tree(field_table_included(), root, file, "", diags, &part);
    yaml_node_free(root);
    if (part.rule_count > 0) {
        move_rules(config, &part);
    }
    if (part.group_count > 0) {
        move_groups(config, &part);
    }
    if (part.test_count > 0) {
        move_tests(config, &part);
    }
    if (part.quarantine.count > 0) {
        move_quarantine(&config->quarantine, &part.quarantine);
    }
    config->quarantine.broken |= part.quarantine.broken;
    decode_release(field_table_included(), &part);
}

static void take_file(struct config *config, const struct config_string *entry, const char *path,
                      struct diag_list *diags)
{
    struct errbuf err;
    char *text = NULL;
    size_t len = 0;
    if (was_read(config, path)) {
        return;
    }
    uint32_t file = diag_add_file(diags, path);
    config->files = mem_grow_array(config->files, config->file_count, config->file_count + 1,
                                   sizeof(*config->files));
    config->files[config->file_count++] = mem_strdup(path);
    if (file_read(path, CONFIG_MAX_BYTES, &text, &len, &err) != 0) {
        diag_error(diags, entry->pos, "include: %s", err.text);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        config->text_hash[i] = hash_bytes(path, strlen(path), config->text_hash[i]);
        config->text_hash[i] = hash_bytes(text, len, config->text_hash[i]);
    }
    decode_file(config, text, len, file, diags);
    mem_free(text);
}

/* --- one entry ------------------------------------------------------------------------------- */

static bool is_pattern(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* Takes both over. */
static void add_directory(struct config *config, char *path, char *pattern)
{
    config->directories = mem_grow_array(config->directories, config->directory_count,
                                         config->directory_count + 1, sizeof(*config->directories));
    config->directories[config->directory_count++] = (struct config_directory){path, pattern};
}

static void take_pattern(struct config *config, const struct config_string *entry,
                         const char *directory, const char *pattern, struct diag_list *diags)
{
    struct errbuf err;
    struct include_list list;
    if (include_list_load(directory, pattern, &list, &err) != 0) {
        diag_error(diags, entry->pos, "include: %s", err.text);
        return;
    }
    if (list.count == 0) {
        diag_warning(diags, entry->pos, "include: no file matches \"%s\"", entry->text);
    }
    for (size_t i = 0; i < list.count; i++) {
        take_file(config, entry, list.paths[i], diags);
    }
    include_list_fini(&list);
}

static void take_entry(struct config *config, const char *base, const struct config_string *entry,
                       struct diag_list *diags)
{
    char *path = join(base, entry->text);
    char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char *directory = slash == NULL   ? mem_strdup("")
                      : slash == path ? mem_strdup("/")
                                      : mem_strndup(path, (size_t)(slash - path));
    if (strstr(entry->text, "${") != NULL) {
        diag_error(diags, entry->pos,
                   "include: \"%s\" holds a variable, which stands for the trust domain of a "
                   "SPIFFE ID only; write it out",
                   entry->text);
        mem_free(directory);
    } else if (is_pattern(directory)) {
        diag_error(diags, entry->pos,
                   "include: \"%s\": only the file's name may be a pattern, not a directory; "
                   "name each directory in an entry of its own",
                   entry->text);
        mem_free(directory);
    } else if (!is_pattern(name)) {
        take_file(config, entry, path, diags);
        mem_free(directory);
    } else {
        take_pattern(config, entry, directory, name, diags);
        add_directory(config, directory, mem_strdup(name));
    }
    mem_free(path);
}

void include_read(struct config *config, struct diag_list *diags)
{
    const char *slash = strrchr(config->path, '/');
    char *base = slash == NULL ? mem_strdup("")
                 : slash == config->path
                     ? mem_strdup("/")
                     : mem_strndup(config->path, (size_t)(slash - config->path));
    for (size_t i = 0; i < config->include.count; i++) {
        take_entry(config, base, &config->include.items[i], diags);
    }
    mem_free(base);
}
