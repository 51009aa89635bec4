/*
 * Every report of a turn of the loop makes one request, so that a certificate and its key, renamed
 * one after the other, come in one reload.
 */
#include "control/watching.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "config/include.h"
#include "control/reload.h"
#include "control/sources.h"
#include "control_private.h"
#include "net/file_watch.h"
#include "proxy/setup.h"

enum {
    STILL_CONFIG_MS = 500,
    STILL_CREDENTIALS_MS = 200, /* a pair that doesn't match waits for its other half anyway */
    STILL_QUARANTINE_MS = 200,  /* somebody is waiting for it to take effect */
    STILL_TRUST_MS = 2000       /* a prefix of a bundle is a bundle with fewer anchors */
};

struct watching {
    struct control *control;
    struct file_watch *files;
    struct loop_deferred deferred;
    bool deferred_pending;
    bool config_changed;
    bool said_limit;
};

static char tag_config;
static char tag_included;
static char tag_directory;
static char tag_credentials;
static char tag_quarantine;

static void on_turn_end(void *arg)
{
    struct watching *watching = arg;
    struct reload_request request = {
        .kind = RELOAD_APPLY,
        .scope = watching->config_changed ? SOURCES_ALL : SOURCES_CREDENTIALS,
        .trigger = RELOAD_TRIGGER_WATCH,
    };
    watching->deferred_pending = false;
    watching->config_changed = false;
    if (watching->control->reload != NULL) {
        reload_start(watching->control->reload, &request);
    }
}

static void log_file(struct watching *watching, enum log_level level, const char *event,
                     const char *path, const char *error)
{
    struct log *log = &watching->control->log;
    log_begin(log, level, event);
    log_str(log, "file", path);
    log_str(log, "error", error);
    log_end(log);
}

static void say_written(struct watching *watching, const char *path)
{
    log_file(watching, LOG_WARN, "configuration_written", path,
             "it was written in place, not replaced by a rename: reload with SIGHUP or `ctl "
             "reload` when it is complete");
}

static const char *without_dot(const char *path)
{
    return strncmp(path, "./", 2) == 0 ? path + 2 : path;
}

static bool is_in_force(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->file_count; i++) {
        if (strcmp(without_dot(config->files[i]), without_dot(path)) == 0) {
            return true;
        }
    }
    return false;
}

/* The names in a directory have changed, and none by a rename into it: what is new there? */
static void say_new_files(struct watching *watching, const struct file_watch_entry *entry)
{
    struct include_list list;
    struct errbuf err;
    if (include_list_load(entry->path, entry->pattern, &list, &err) != 0) {
        log_file(watching, LOG_WARN, "directory_failed", entry->path, err.text);
        return;
    }
    for (size_t i = 0; i < list.count; i++) {
        if (!is_in_force(control_config(watching->control), list.paths[i])) {
            say_written(watching, list.paths[i]);
        }
    }
    include_list_fini(&list);
}

/* What a change of the configuration causes: true for a reload. */
static bool config_counts(struct watching *watching, const struct file_watch_entry *entry,
                          enum file_change change)
{
    if (control_config(watching->control)->reload.watch == CONFIG_WATCH_NONE) {
        return false;
    }
    if (change == FILE_WRITTEN && entry->tag == &tag_directory) {
        say_new_files(watching, entry);
    } else if (change == FILE_WRITTEN) {
        say_written(watching, entry->path);
    }
    /* A file that a pattern has found may go as it came: the rest is the configuration. */
    return change == FILE_REPLACED || (change == FILE_GONE && entry->tag == &tag_included);
}

static bool is_of_config(const struct file_watch_entry *entry)
{
    return entry->tag == &tag_config || entry->tag == &tag_included || entry->tag == &tag_directory;
}

static void on_change(void *arg, const struct file_watch_entry *entry, enum file_change change)
{
    struct watching *watching = arg;
    bool is_config = is_of_config(entry);
    if (change == FILE_GONE && entry->tag != &tag_included) {
        log_file(watching, LOG_WARN, "file_gone", entry->path,
                 "it was removed; the last good state is kept");
        return;
    }
    if (is_config && !config_counts(watching, entry, change)) {
        return;
    }
    watching->config_changed = watching->config_changed || is_config;
    if (!watching->deferred_pending) {
        watching->deferred_pending = true;
        loop_defer(watching->control->loop, &watching->deferred, on_turn_end, watching);
    }
}

struct watching *watching_new(struct control *control, struct errbuf *err)
{
    struct watching *watching = mem_alloc(sizeof(*watching));
    watching->control = control;
    watching->files = file_watch_new(control->loop, NULL, on_change, watching, err);
    if (watching->files == NULL) {
        mem_free(watching);
        return NULL;
    }
    watching_update(watching);
    return watching;
}

void watching_free(struct watching *watching)
{
    if (watching != NULL) {
        file_watch_free(watching->files);
        loop_run_deferred(watching->control->loop);
        mem_free(watching);
    }
}

static void add(struct file_watch_entry *entries, size_t *count, const char *path,
                uint64_t still_ms, void *tag)
{
    if (path != NULL) {
        entries[(*count)++] =
            (struct file_watch_entry){.path = path, .still_ms = still_ms, .tag = tag};
    }
}

/* Does a pattern find the file? One that an entry of `include` names in full must be there. */
static bool comes_by_pattern(const struct config *config, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    for (size_t i = 0; i < config->directory_count; i++) {
        const struct config_directory *directory = &config->directories[i];
        const char *name = slash == NULL ? path : slash + 1;
        if (strlen(directory->path) == len && strncmp(directory->path, path, len) == 0 &&
            fnmatch(directory->pattern, name, FNM_PERIOD) == 0) {
            return true;
        }
    }
    return false;
}

/* The main file, those that it includes, and the directories where more may come. */
static void add_config(const struct config *config, struct file_watch_entry *entries, size_t *count)
{
    add(entries, count, config->from_text ? NULL : config->path, STILL_CONFIG_MS, &tag_config);
    for (size_t i = 1; i < config->file_count; i++) {
        bool by_pattern = comes_by_pattern(config, config->files[i]);
        add(entries, count, config->files[i], STILL_CONFIG_MS,
            by_pattern ? &tag_included : &tag_config);
    }
    for (size_t i = 0; i < config->directory_count; i++) {
        const char *path = config->directories[i].path;
        add(entries, count, path[0] == '\0' ? "." : path, STILL_CONFIG_MS, &tag_directory);
        entries[*count - 1].pattern = config->directories[i].pattern;
    }
}

static void say_limit(struct watching *watching)
{
    const char *limit = file_watch_limit(watching->files);
    if (limit == NULL || watching->said_limit) {
        return;
    }
    watching->said_limit = true;
    log_begin(&watching->control->log, LOG_WARN, "watch_limited");
    log_str(&watching->control->log, "error", limit);
    log_end(&watching->control->log);
}

void watching_update(struct watching *watching)
{
    const struct config *config = control_config(watching->control);
    size_t most = 3 + config->file_count + config->directory_count + 2 * config->trust_count;
    struct file_watch_entry *entries = mem_alloc_array(most, sizeof(*entries));
    size_t count = 0;
    add_config(config, entries, &count);
    add(entries, &count, config->identity.certificate.text, STILL_CREDENTIALS_MS, &tag_credentials);
    add(entries, &count, config->identity.private_key.text, STILL_CREDENTIALS_MS, &tag_credentials);
    for (size_t i = 0; i < config->trust_count; i++) {
        add(entries, &count, config->trust[i].bundle.text, STILL_TRUST_MS, &tag_credentials);
        add(entries, &count, config->trust[i].crl.text, STILL_TRUST_MS, &tag_credentials);
    }
    add(entries, &count, config->quarantine_file.text, STILL_QUARANTINE_MS, &tag_quarantine);
    file_watch_set(watching->files, entries, count);
    mem_free(entries);
    say_limit(watching);
}
