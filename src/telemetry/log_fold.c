/*
 * The slots are searched one after the other: the process log is a few lines a second, and one that
 * is more is what this is for. A slot is freed when its period is over; when none is free, that of
 * the oldest line is taken.
 */
#include "telemetry/log_fold.h"

#include <string.h>

#include "base/strview.h"

/* base/log.h begins every line with the time, of one length in either format, and then the level;
   {0, 0}: it is no such line. */
static struct strview without_time(const char *line, size_t len)
{
    static const char level[] = "level";
    const char *from = memmem(line, len, level, sizeof(level) - 1);
    struct strview rest = {line, 0};
    if (from != NULL && len > 0 && line[len - 1] == '\n') {
        rest = (struct strview){from, len - 1 - (size_t)(from - line)};
    }
    return rest;
}

/* The lower_snake word behind `key`, in either format. */
static struct strview word_behind(struct strview text, const char *key)
{
    const char *end = text.ptr + text.len;
    const char *at = memmem(text.ptr, text.len, key, strlen(key));
    at = at == NULL ? end : at + strlen(key);
    while (at < end && (*at == '"' || *at == ':' || *at == '=')) {
        at++;
    }
    size_t len = 0;
    while (at + len < end && ((at[len] >= 'a' && at[len] <= 'z') || at[len] == '_' ||
                              (at[len] >= '0' && at[len] <= '9'))) {
        len++;
    }
    return (struct strview){at, len};
}

static enum log_level level_of(struct strview text)
{
    struct strview word = word_behind(text, "level");
    for (int level = LOG_ERROR; level < LOG_DEBUG; level++) {
        if (strview_equal_text(word, log_level_name((enum log_level)level))) {
            return (enum log_level)level;
        }
    }
    return LOG_DEBUG;
}

/* Whatever the log's level is by now: what was counted was to be written when it came. */
static void say(struct log_fold_slot *slot, struct log *log)
{
    struct strview text = {slot->text, slot->len};
    if (slot->folded == 0) {
        return;
    }
    enum log_level level = level_of(text);
    enum log_level most = log->level;
    log_set_level(log, level > most ? level : most);
    log_begin(log, level, "repeated");
    log_strview(log, "of", word_behind(text, "event"));
    log_u64(log, "count", slot->folded);
    log_u64(log, "within_ms", LOG_FOLD_PERIOD_MS);
    log_strview(log, "line", text);
    log_end(log);
    log_set_level(log, most);
    slot->folded = 0;
}

static void free_slot(struct log_fold_slot *slot, struct log *log)
{
    say(slot, log);
    slot->len = 0;
}

static bool is_over(const struct log_fold_slot *slot, uint64_t now_ms)
{
    return now_ms - slot->began_ms >= LOG_FOLD_PERIOD_MS;
}

/* The line's slot, or one for it: a free one, or that of the oldest line. */
static struct log_fold_slot *slot_for(struct log_fold *fold, struct strview text)
{
    struct log_fold_slot *best = &fold->slots[0];
    for (size_t i = 0; i < LOG_FOLD_SLOTS; i++) {
        struct log_fold_slot *slot = &fold->slots[i];
        if (slot->len == text.len && memcmp(slot->text, text.ptr, text.len) == 0) {
            return slot;
        }
        bool better = slot->len == 0 || slot->began_ms < best->began_ms;
        best = best->len != 0 && better ? slot : best;
    }
    return best;
}

bool log_fold_takes(struct log_fold *fold, const char *line, size_t len, uint64_t now_ms,
                    struct log *log)
{
    struct strview text = without_time(line, len);
    if (text.len == 0 || text.len > LOG_LINE_SIZE) {
        return false;
    }
    struct log_fold_slot *slot = slot_for(fold, text);
    bool same = slot->len == text.len && memcmp(slot->text, text.ptr, text.len) == 0;
    if (!same || is_over(slot, now_ms)) {
        free_slot(slot, log);
        memmove(slot->text, text.ptr, text.len);
        slot->len = text.len;
        slot->began_ms = now_ms;
        slot->seen = 0;
    }
    slot->seen++;
    slot->folded += slot->seen > LOG_FOLD_BURST;
    return slot->seen > LOG_FOLD_BURST;
}

uint64_t log_fold_report(struct log_fold *fold, uint64_t now_ms, struct log *log)
{
    uint64_t next = LOG_FOLD_NEVER;
    for (size_t i = 0; i < LOG_FOLD_SLOTS; i++) {
        struct log_fold_slot *slot = &fold->slots[i];
        if (slot->len == 0) {
            continue;
        }
        if (is_over(slot, now_ms)) {
            free_slot(slot, log);
        } else if (slot->folded > 0 && slot->began_ms + LOG_FOLD_PERIOD_MS < next) {
            next = slot->began_ms + LOG_FOLD_PERIOD_MS;
        }
    }
    return next;
}

void log_fold_report_all(struct log_fold *fold, struct log *log)
{
    for (size_t i = 0; i < LOG_FOLD_SLOTS; i++) {
        if (fold->slots[i].len != 0) {
            free_slot(&fold->slots[i], log);
        }
    }
}
