/*
 * Every report of a turn of the loop makes one request, so that a certificate and its key, renamed
 * one after the other, come in one reload.
 */
#include "control/watching.h"

#include <stdbool.h>

#include "base/memory.h"
#include "control/reload.h"
#include "control/sources.h"
#include "control_private.h"
#include "net/file_watch.h"
#include "proxy/setup.h"

enum {
    STILL_CONFIG_MS = 500,
    STILL_CREDENTIALS_MS = 200, /* a pair that doesn't match waits for its other half anyway */
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
static char tag_credentials;

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

/* What a change of the configuration causes: true for a reload. */
static bool config_counts(struct watching *watching, const struct file_watch_entry *entry,
                          enum file_change change)
{
    if (control_config(watching->control)->reload.watch == CONFIG_WATCH_NONE) {
        return false;
    }
    if (change == FILE_WRITTEN) {
        log_file(watching, LOG_WARN, "configuration_written", entry->path,
                 "it was written in place, not replaced by a rename: reload with SIGHUP or `ctl "
                 "reload` when it is complete");
    }
    return change == FILE_REPLACED;
}

static void on_change(void *arg, const struct file_watch_entry *entry, enum file_change change)
{
    struct watching *watching = arg;
    bool is_config = entry->tag == &tag_config;
    if (change == FILE_GONE) {
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
    size_t most = 3 + 2 * config->trust_count;
    struct file_watch_entry *entries = mem_alloc_array(most, sizeof(*entries));
    size_t count = 0;
    add(entries, &count, config->path, STILL_CONFIG_MS, &tag_config);
    add(entries, &count, config->identity.certificate.text, STILL_CREDENTIALS_MS, &tag_credentials);
    add(entries, &count, config->identity.private_key.text, STILL_CREDENTIALS_MS, &tag_credentials);
    for (size_t i = 0; i < config->trust_count; i++) {
        add(entries, &count, config->trust[i].bundle.text, STILL_TRUST_MS, &tag_credentials);
        add(entries, &count, config->trust[i].crl.text, STILL_TRUST_MS, &tag_credentials);
    }
    file_watch_set(watching->files, entries, count);
    mem_free(entries);
    say_limit(watching);
}
