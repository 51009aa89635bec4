/*
 * One write at a time, each by a thread of its own. Control looks now and then whether there is
 * something to write, and what came of the last one. What a write saw changes under it is written
 * by the next: it has noted before how much had changed.
 */
#include "control/first_seen.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "base/errbuf.h"
#include "base/memory.h"
#include "control/first_seen_file.h"
#include "control_private.h"
#include "net/loop.h"
#include "telemetry/peer_table.h"

enum { LOOK_MS = 2000, BETWEEN_MS = 60 * 1000, STOP_S = 3 };

struct first_seen {
    struct control *control;
    const struct peer_table *peers;
    char *path;
    struct timer *timer;
    uint64_t written; /* changes, by the last good write */
    uint64_t next_ms; /* no write before */
    bool failed;      /* which was said */
    /* The write under way. */
    bool running;
    pthread_t thread;
    uint64_t writing; /* changes that it holds at least */
    _Atomic bool done;
    int result; /* with err: the thread's until done */
    struct errbuf err;
};

static void *write_file(void *arg)
{
    struct first_seen *first_seen = arg;
    first_seen->result =
        first_seen_file_write(first_seen->path, first_seen->peers, &first_seen->err);
    atomic_store_explicit(&first_seen->done, true, memory_order_release);
    return NULL;
}

static void log_failed(struct first_seen *first_seen, const char *error)
{
    struct log *log = &first_seen->control->log;
    first_seen->failed = true;
    log_begin(log, LOG_ERROR, "first_seen_not_written");
    log_str(log, "file", first_seen->path);
    log_str(log, "error", error);
    log_end(log);
}

static void begin_write(struct first_seen *first_seen)
{
    sigset_t all;
    sigset_t before;
    first_seen->writing = peer_table_changes(first_seen->peers);
    first_seen->next_ms = clock_mono_ms() + BETWEEN_MS;
    atomic_store_explicit(&first_seen->done, false, memory_order_relaxed);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* they are control's business */
    int error = pthread_create(&first_seen->thread, NULL, write_file, first_seen);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    first_seen->running = error == 0;
    if (error != 0) {
        log_failed(first_seen, "no thread can be started");
    }
}

/* The thread has been joined. */
static void end_write(struct first_seen *first_seen)
{
    first_seen->running = false;
    if (first_seen->result != 0) {
        log_failed(first_seen, first_seen->err.text);
        return;
    }
    first_seen->written = first_seen->writing;
    if (first_seen->failed) {
        struct log *log = &first_seen->control->log;
        log_begin(log, LOG_INFO, "first_seen_written");
        log_str(log, "file", first_seen->path);
        log_end(log);
        first_seen->failed = false;
    }
}

static bool has_changed(const struct first_seen *first_seen)
{
    return first_seen->written != peer_table_changes(first_seen->peers);
}

static void on_look(void *arg)
{
    struct first_seen *first_seen = arg;
    if (first_seen->running && atomic_load_explicit(&first_seen->done, memory_order_acquire)) {
        (void)pthread_join(first_seen->thread, NULL); /* past its last line */
        end_write(first_seen);
    }
    if (!first_seen->running && has_changed(first_seen) && clock_mono_ms() >= first_seen->next_ms) {
        begin_write(first_seen);
    }
    timer_set(first_seen->timer, LOOK_MS);
}

static void log_refused(struct first_seen *first_seen, const char *error)
{
    struct log *log = &first_seen->control->log;
    log_begin(log, LOG_ERROR, "first_seen_refused");
    log_str(log, "file", first_seen->path);
    log_str(log, "error", error);
    log_end(log);
}

/* False: it stays as it is, and nothing may be written over it. */
static bool set_aside(struct first_seen *first_seen, size_t line, const char *why)
{
    struct log *log = &first_seen->control->log;
    char moved_to[FIRST_SEEN_PATH_SIZE];
    struct errbuf err;
    if (first_seen_file_set_aside(first_seen->path, moved_to, &err) != 0) {
        log_refused(first_seen, err.text);
        return false;
    }
    log_begin(log, LOG_ERROR, "first_seen_broken");
    log_str(log, "file", first_seen->path);
    log_u64(log, "line", line);
    log_str(log, "moved_to", moved_to);
    log_str(log, "error", why);
    log_end(log);
    first_seen->written = UINT64_MAX; /* what could be read of it is written at once */
    return true;
}

static bool read_file(struct first_seen *first_seen)
{
    struct errbuf err;
    size_t line = 0;
    switch (first_seen_file_read(first_seen->path, first_seen->control->peers, &line, &err)) {
    case FIRST_SEEN_WHOLE:
    case FIRST_SEEN_ABSENT:
        return true;
    case FIRST_SEEN_BROKEN:
        return set_aside(first_seen, line, err.text);
    case FIRST_SEEN_UNREADABLE:
        break;
    }
    log_refused(first_seen, err.text);
    return false;
}

static void free_all(struct first_seen *first_seen)
{
    timer_free(first_seen->timer);
    mem_free(first_seen->path);
    mem_free(first_seen);
}

struct first_seen *first_seen_start(struct control *control, const char *path)
{
    struct first_seen *first_seen = mem_alloc(sizeof(*first_seen));
    first_seen->control = control;
    first_seen->peers = control->peers;
    first_seen->path = mem_strdup(path);
    first_seen->timer = timer_new(control->loop, on_look, first_seen);
    if (!read_file(first_seen) || first_seen->timer == NULL) {
        free_all(first_seen);
        return NULL;
    }
    timer_set(first_seen->timer, LOOK_MS);
    return first_seen;
}

/* False: it does not end. */
static bool wait_for_write(struct first_seen *first_seen)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until); /* what pthread_timedjoin_np goes by */
    until.tv_sec += STOP_S;
    if (pthread_timedjoin_np(first_seen->thread, NULL, &until) != 0) {
        return false;
    }
    end_write(first_seen);
    return true;
}

bool first_seen_stop(struct first_seen *first_seen)
{
    if (first_seen == NULL) {
        return true;
    }
    bool ended = !first_seen->running || wait_for_write(first_seen);
    if (ended && has_changed(first_seen)) {
        begin_write(first_seen);
        ended = !first_seen->running || wait_for_write(first_seen);
    }
    if (!ended) {
        log_failed(first_seen, "the disk does not answer");
        return false; /* the thread still has all of it; the process ends */
    }
    free_all(first_seen);
    return true;
}
