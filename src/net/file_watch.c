/*
 * file_watch: events and the poll only say "look"; what has changed is found by looking.
 *
 *     event ──► evidence of an entry ─┐
 *     poll ───────────────────────────┴─► look: walk the path, hold its directories, stat
 *                                             │
 *     NONE ◄─► REPLACED, GONE (settling together) / WRITTEN (until still) ──► report, NONE
 *
 * Evidence is what looking can't show: that a name was renamed into its place (MOVED), or that the
 * file was written (WRITTEN; two writes within one tick of the file system's clock leave the same
 * times). The later one counts. An inode number proves nothing: after unlink and create it is as a
 * rule the same, after a rename another one, and either may be otherwise.
 *
 * Directories are held before the names in them are looked up, so that what changes after the look
 * is an event. A directory on the way is watched for its own going alone. While the file is missing
 * its whole way is watched by name: a removed directory that another process still uses does not
 * tell that it is gone.
 *
 * Before any deadline is acted on, what inotify has queued is read and the entry is looked at
 * again.
 */
#include "net/file_watch.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>

#include "base/assert.h"
#include "base/memory.h"
#include "dir_watch.h"
#include "file_print.h"
#include "net/path_trail.h"

enum {
    FILE_WATCH_MAGIC = 0x66777463,
    DEFAULT_POLL_MS = 10 * 1000,
    DEFAULT_SETTLE_MS = 50,
    SETTLE_AT_MOST = 10, /* times settle_ms */
    STILL_AT_MOST = 30,  /* times still_ms: a file that is never left alone counts at last */
    READS_PER_TURN = 16
};

static const uint64_t never = UINT64_MAX;

enum evidence { EVIDENCE_NONE, EVIDENCE_MOVED, EVIDENCE_WRITTEN };
enum pending { PENDING_NONE, PENDING_REPLACED, PENDING_WRITTEN, PENDING_GONE };

/* A directory on the way, held; name: what happens to it there counts. */
struct hold {
    int dir;
    enum path_step step;
    char *name;      /* NULL: the directory itself */
    bool is_pattern; /* name is one */
};

struct holds {
    struct hold *items;
    size_t count;
    size_t capacity;
};

struct entry {
    struct file_watch_entry given; /* its path and pattern are the next */
    char *path;
    char *pattern; /* or NULL */
    struct holds holds;
    struct file_print known; /* as last reported, or as first seen */
    struct file_print seen;  /* as last looked at */
    char *resolved;          /* of the last look that found it; "" before */
    enum pending pending;    /* difference between known and seen */
    uint64_t still_due_ms;   /* PENDING_WRITTEN */
    uint64_t still_end_ms;   /* PENDING_WRITTEN: at the latest */
    enum evidence evidence;
    bool touched;             /* something happened: look */
    bool is_new;              /* not looked at yet */
    enum pending reported_as; /* in the report that is under way */
};

struct file_watch {
    unsigned magic;
    struct loop *loop;
    struct file_watch_options options;
    file_watch_fn *on_change;
    void *arg;
    struct dir_watch *dirs; /* NULL: poll alone */
    struct io_watch *io;
    struct timer *timer; /* the earliest of all that is due */
    struct entry *entries;
    size_t count;
    unsigned set_number;    /* changes when entries does */
    uint64_t settle_due_ms; /* `never`: nothing settles */
    uint64_t settle_end_ms; /* at the latest */
    uint64_t poll_due_ms;
    int start_error;          /* why there is no inotify */
    int hold_error;           /* why not everything is watched, from the last poll or set on */
    bool freed;               /* the memory goes at the end of the turn */
    struct loop_deferred end; /* of it */
};

/* ---- Looking ---- */

struct holding {
    struct file_watch *watch;
    struct holds holds;
};

static enum dir_watch_scope scope_of(const struct hold *hold)
{
    return hold->name != NULL ? DIR_WATCH_NAMES : DIR_WATCH_SELF;
}

static void hold_step(struct holding *holding, struct hold hold, const char *dir, const char *name)
{
    struct file_watch *watch = holding->watch;
    struct holds *holds = &holding->holds;
    if (watch->dirs == NULL) {
        return;
    }
    hold.dir = dir_watch_hold(watch->dirs, dir, name != NULL ? DIR_WATCH_NAMES : DIR_WATCH_SELF);
    if (hold.dir < 0) {
        /* A directory that has just gone, or may not be read, is not inotify's limit. */
        watch->hold_error = errno == ENOSPC || errno == ENOMEM ? errno : watch->hold_error;
        return;
    }
    hold.name = name != NULL ? mem_strdup(name) : NULL;
    if (holds->count == holds->capacity) {
        size_t capacity = holds->capacity + 8;
        holds->items =
            mem_grow_array(holds->items, holds->capacity, capacity, sizeof(*holds->items));
        holds->capacity = capacity;
    }
    holds->items[holds->count++] = hold;
}

static void on_step(void *arg, enum path_step step, const char *dir, const char *name)
{
    hold_step(arg, (struct hold){.step = step}, dir, name);
}

static void let_go(struct file_watch *watch, struct holds *holds)
{
    for (size_t i = 0; i < holds->count; i++) {
        dir_watch_let_go(watch->dirs, holds->items[i].dir, scope_of(&holds->items[i]));
        mem_free(holds->items[i].name);
    }
    mem_free(holds->items);
    *holds = (struct holds){0};
}

static bool hold_along(struct file_watch *watch, const struct entry *entry, enum path_names names,
                       struct holds *holds, char resolved[PATH_MAX])
{
    struct holding holding = {.watch = watch};
    bool found = path_trail_walk(entry->path, names, on_step, &holding, resolved);
    if (found && entry->pattern != NULL) {
        hold_step(&holding, (struct hold){.step = PATH_STEP_FILE, .is_pattern = true}, resolved,
                  entry->pattern);
    }
    *holds = holding.holds;
    return found;
}

/*
 * Every name on the way is watched only where the file is not found. The new directories are held
 * before the old ones are let go: what stays is never unwatched. That goes for both walks of a file
 * that is not there too: else each look would give up a watch, hear of it, and look again for ever.
 */
static void walk(struct file_watch *watch, struct entry *entry, char resolved[PATH_MAX])
{
    struct holds holds;
    if (!hold_along(watch, entry, PATH_NAMES_LINKS, &holds, resolved)) {
        struct holds links = holds;
        (void)hold_along(watch, entry, PATH_NAMES_ALL, &holds, resolved);
        let_go(watch, &links);
    }
    struct holds old = entry->holds;
    entry->holds = holds;
    let_go(watch, &old);
}

static void pend_settling(struct file_watch *watch, struct entry *entry, enum pending pending)
{
    uint64_t now = loop_now_ms(watch->loop);
    entry->pending = pending;
    if (watch->settle_due_ms == never) {
        watch->settle_end_ms = now + SETTLE_AT_MOST * watch->options.settle_ms;
    }
    uint64_t due = now + watch->options.settle_ms;
    watch->settle_due_ms = due < watch->settle_end_ms ? due : watch->settle_end_ms;
}

static void pend_written(struct file_watch *watch, struct entry *entry)
{
    uint64_t now = loop_now_ms(watch->loop);
    if (entry->pending != PENDING_WRITTEN) {
        entry->still_end_ms = now + STILL_AT_MOST * entry->given.still_ms;
    }
    entry->pending = PENDING_WRITTEN;
    uint64_t due = now + entry->given.still_ms;
    entry->still_due_ms = due < entry->still_end_ms ? due : entry->still_end_ms;
}

/* A rename's result may still change its mode, owner or names. */
static bool has_changed(const struct entry *entry, const struct file_print *now)
{
    return entry->pending == PENDING_REPLACED ? !file_print_same_content(now, &entry->seen)
                                              : !file_print_same(now, &entry->seen);
}

static void judge(struct file_watch *watch, struct entry *entry, enum evidence evidence,
                  const struct file_print *now, const char *resolved)
{
    if (!now->exists) {
        if (!entry->known.exists) {
            entry->pending = PENDING_NONE;
        } else if (entry->pending != PENDING_GONE) {
            pend_settling(watch, entry, PENDING_GONE);
        }
        return;
    }
    /* Before a write: what was written is the file that the way led to before. */
    bool elsewhere = entry->resolved[0] != '\0' && strcmp(resolved, entry->resolved) != 0;
    /* Names that go from a directory undo no rename into it. */
    bool stays_replaced = entry->pattern != NULL && entry->pending == PENDING_REPLACED &&
                          evidence != EVIDENCE_WRITTEN && has_changed(entry, now);
    if (evidence == EVIDENCE_MOVED || elsewhere || stays_replaced) {
        pend_settling(watch, entry, PENDING_REPLACED);
    } else if (evidence == EVIDENCE_NONE && entry->pending == PENDING_GONE &&
               file_print_same(now, &entry->known)) {
        entry->pending = PENDING_NONE; /* hidden for a moment: a link taken away and put back */
    } else if (evidence == EVIDENCE_WRITTEN || has_changed(entry, now)) {
        pend_written(watch, entry);
    }
}

static void look(struct file_watch *watch, struct entry *entry)
{
    enum evidence evidence = entry->evidence;
    bool touched = entry->touched;
    entry->evidence = EVIDENCE_NONE;
    entry->touched = false;
    char resolved[PATH_MAX];
    struct file_print now;
    walk(watch, entry, resolved);
    file_print_take(entry->path, entry->pattern, &now);
    judge(watch, entry, evidence, &now, resolved);
    if (touched && entry->pending == PENDING_WRITTEN) {
        pend_written(watch, entry); /* whatever it was, the file was not left alone */
    }
    entry->seen = now;
    if (now.exists && strcmp(resolved, entry->resolved) != 0) {
        mem_free(entry->resolved);
        entry->resolved = mem_strdup(resolved);
    }
}

/* Letting go may touch others (dir_watch makes a watch anew), which then hold it again. */
static void look_at_touched(struct file_watch *watch)
{
    bool again = true;
    while (again) {
        again = false;
        for (size_t i = 0; i < watch->count; i++) {
            if (watch->entries[i].touched) {
                look(watch, &watch->entries[i]);
                again = true;
            }
        }
    }
}

/* ---- Events ---- */

static void note_event(struct file_watch *watch, struct entry *entry, const struct hold *hold,
                       uint32_t mask)
{
    static const uint32_t names = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
    bool is_file = hold->step == PATH_STEP_FILE && hold->name != NULL;
    if (hold->is_pattern && mask != 0 && (mask & names) == 0) {
        return; /* what the files hold is not asked for */
    }
    if ((mask & IN_MOVED_TO) != 0 && hold->name != NULL) {
        entry->evidence = EVIDENCE_MOVED;
    } else if (is_file && (mask & (IN_MODIFY | IN_CREATE)) != 0) {
        entry->evidence = EVIDENCE_WRITTEN;
        if ((mask & IN_MODIFY) != 0 && entry->pending == PENDING_WRITTEN && !entry->touched) {
            entry->evidence = EVIDENCE_NONE; /* a long write costs no looks */
            pend_written(watch, entry);
            return;
        }
    }
    entry->touched = true;
}

static bool concerns(const struct hold *hold, int dir, const char *name)
{
    if (hold->dir != dir || name == NULL || hold->name == NULL) {
        return hold->dir == dir && name == NULL;
    }
    return hold->is_pattern ? fnmatch(hold->name, name, FNM_PERIOD) == 0
                            : strcmp(hold->name, name) == 0;
}

static void on_dir_event(void *arg, int dir, uint32_t mask, const char *name)
{
    struct file_watch *watch = arg;
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    for (size_t i = 0; i < watch->count; i++) {
        struct entry *entry = &watch->entries[i];
        if (dir == DIR_WATCH_OVERFLOW) {
            entry->touched = true;
            continue;
        }
        for (size_t j = 0; j < entry->holds.count; j++) {
            const struct hold *hold = &entry->holds.items[j];
            if (concerns(hold, dir, name)) {
                note_event(watch, entry, hold, name != NULL ? mask : 0);
            }
        }
    }
}

static void read_events(struct file_watch *watch)
{
    if (watch->dirs == NULL) {
        return;
    }
    for (unsigned i = 0; i < READS_PER_TURN && dir_watch_read(watch->dirs); i++) {
    }
    look_at_touched(watch);
}

/* ---- Reporting ---- */

static void schedule(struct file_watch *watch)
{
    uint64_t now = loop_now_ms(watch->loop);
    uint64_t due = watch->poll_due_ms;
    due = watch->settle_due_ms < due ? watch->settle_due_ms : due;
    for (size_t i = 0; i < watch->count; i++) {
        const struct entry *entry = &watch->entries[i];
        if (entry->pending == PENDING_WRITTEN && entry->still_due_ms < due) {
            due = entry->still_due_ms;
        }
    }
    timer_set(watch->timer, due > now ? due - now : 0);
}

static bool is_settling(const struct entry *entry)
{
    return entry->pending == PENDING_REPLACED || entry->pending == PENDING_GONE;
}

static enum file_change change_of(enum pending pending)
{
    switch (pending) {
    case PENDING_REPLACED:
        return FILE_REPLACED;
    case PENDING_GONE:
        return FILE_GONE;
    case PENDING_NONE:
    case PENDING_WRITTEN:
        break;
    }
    return FILE_WRITTEN;
}

static void report_one(struct file_watch *watch, struct entry *entry)
{
    enum file_change change = change_of(entry->pending);
    entry->pending = PENDING_NONE;
    entry->known = entry->seen;
    watch->on_change(watch->arg, &entry->given, change);
}

/* A look since it was marked, from a file_watch_set in a callback, may have found otherwise. */
static bool unmark(const struct file_watch *watch, struct entry *entry)
{
    enum pending marked = entry->reported_as;
    entry->reported_as = PENDING_NONE;
    return marked != PENDING_NONE && entry->pending == marked &&
           (marked != PENDING_WRITTEN || entry->still_due_ms <= loop_now_ms(watch->loop));
}

/* Each callback may set anew (entries that stay are still marked, at another place) or free. */
static void report(struct file_watch *watch)
{
    unsigned set_number = watch->set_number;
    for (size_t i = 0; !watch->freed && i < watch->count;) {
        if (unmark(watch, &watch->entries[i])) {
            report_one(watch, &watch->entries[i]);
        }
        bool anew = set_number != watch->set_number;
        set_number = watch->set_number;
        i = anew ? 0 : i + 1;
    }
}

/* Looks again at what settles, and marks it when that has brought nothing new. */
static void mark_settled(struct file_watch *watch)
{
    uint64_t now = loop_now_ms(watch->loop);
    if (watch->settle_due_ms > now) {
        return;
    }
    for (size_t i = 0; i < watch->count; i++) {
        if (is_settling(&watch->entries[i])) {
            look(watch, &watch->entries[i]);
        }
    }
    look_at_touched(watch);
    if (watch->settle_due_ms > now) {
        return;
    }
    watch->settle_due_ms = never;
    for (size_t i = 0; i < watch->count; i++) {
        if (is_settling(&watch->entries[i])) {
            watch->entries[i].reported_as = watch->entries[i].pending;
        }
    }
}

static void mark_still(struct file_watch *watch)
{
    uint64_t now = loop_now_ms(watch->loop);
    for (size_t i = 0; i < watch->count; i++) {
        struct entry *entry = &watch->entries[i];
        if (entry->pending != PENDING_WRITTEN || entry->still_due_ms > now) {
            continue;
        }
        struct file_print now_print;
        file_print_take(entry->path, entry->pattern, &now_print);
        if (!file_print_same(&now_print, &entry->seen)) {
            look(watch, entry);
        }
        if (entry->pending == PENDING_WRITTEN && entry->still_due_ms <= now) {
            entry->reported_as = PENDING_WRITTEN;
        }
    }
    look_at_touched(watch);
}

static void look_at_all(struct file_watch *watch)
{
    watch->hold_error = 0;
    watch->poll_due_ms = loop_now_ms(watch->loop) + watch->options.poll_ms;
    for (size_t i = 0; i < watch->count; i++) {
        look(watch, &watch->entries[i]);
    }
    look_at_touched(watch);
}

static void on_due(void *arg)
{
    struct file_watch *watch = arg;
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    read_events(watch);
    if (watch->poll_due_ms <= loop_now_ms(watch->loop)) {
        look_at_all(watch);
    }
    mark_still(watch);
    mark_settled(watch);
    report(watch);
    if (!watch->freed) {
        schedule(watch);
    }
}

static void on_readable(void *arg, unsigned events)
{
    struct file_watch *watch = arg;
    (void)events;
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    read_events(watch);
    schedule(watch);
}

/* ---- The set ---- */

static void free_entries(struct file_watch *watch, struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        let_go(watch, &entries[i].holds);
        mem_free(entries[i].resolved);
        mem_free(entries[i].path);
        mem_free(entries[i].pattern);
    }
    mem_free(entries);
}

static bool same_pattern(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* One of the old entries that nobody has taken yet; with the same tag if there is one. */
static struct entry *find_old(struct entry *old, size_t count, const struct file_watch_entry *given)
{
    struct entry *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (old[i].path == NULL || strcmp(old[i].path, given->path) != 0 ||
            !same_pattern(old[i].pattern, given->pattern)) {
            continue;
        }
        if (old[i].given.tag == given->tag) {
            return &old[i];
        }
        found = found != NULL ? found : &old[i];
    }
    return found;
}

static void take_old(struct entry *entry, struct entry *old, const struct file_watch_entry *given)
{
    *entry = *old;
    *old = (struct entry){0};
    entry->given.tag = given->tag;
    if (entry->pending == PENDING_WRITTEN) {
        entry->still_due_ms = entry->still_due_ms - entry->given.still_ms + given->still_ms;
        entry->still_end_ms += STILL_AT_MOST * (given->still_ms - entry->given.still_ms);
    }
    entry->given.still_ms = given->still_ms;
}

static void take_new(struct entry *entry, const struct file_watch_entry *given)
{
    entry->path = mem_strdup(given->path);
    entry->given = *given;
    entry->given.path = entry->path;
    entry->pattern = given->pattern != NULL ? mem_strdup(given->pattern) : NULL;
    entry->given.pattern = entry->pattern;
    entry->resolved = mem_strdup("");
    entry->is_new = true;
}

/* What it finds is how it is: nothing is pending. */
static void look_first(struct file_watch *watch, struct entry *entry)
{
    look(watch, entry);
    entry->is_new = false;
    entry->known = entry->seen;
    entry->pending = PENDING_NONE;
}

void file_watch_set(struct file_watch *watch, const struct file_watch_entry *entries, size_t count)
{
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    ASSERT(!watch->freed);
    read_events(watch); /* of before: they say nothing of what is new */
    struct entry *old = watch->entries;
    size_t old_count = watch->count;
    watch->entries = mem_alloc_array(count, sizeof(*watch->entries));
    watch->count = count;
    watch->set_number++;
    for (size_t i = 0; i < count; i++) {
        struct entry *match = find_old(old, old_count, &entries[i]);
        if (match != NULL) {
            take_old(&watch->entries[i], match, &entries[i]);
        } else {
            take_new(&watch->entries[i], &entries[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (watch->entries[i].is_new) {
            look_first(watch, &watch->entries[i]);
        }
    }
    free_entries(watch, old, old_count);
    look_at_touched(watch);
    schedule(watch);
}

/* ---- Life ---- */

static void start_inotify(struct file_watch *watch)
{
    watch->dirs = dir_watch_new(on_dir_event, watch);
    if (watch->dirs == NULL) {
        watch->start_error = errno;
        return;
    }
    watch->io = io_watch_new(watch->loop, dir_watch_fd(watch->dirs), on_readable, watch);
    if (watch->io == NULL || io_watch_set(watch->io, IO_READ) != 0) {
        watch->start_error = ENOMEM;
        io_watch_free(watch->io);
        dir_watch_free(watch->dirs);
        watch->io = NULL;
        watch->dirs = NULL;
    }
}

struct file_watch *file_watch_new(struct loop *loop, const struct file_watch_options *options,
                                  file_watch_fn *on_change, void *arg, struct errbuf *err)
{
    ASSERT(on_change != NULL);
    struct file_watch *watch = mem_alloc(sizeof(*watch));
    watch->magic = FILE_WATCH_MAGIC;
    watch->loop = loop;
    if (options != NULL) {
        watch->options = *options;
    }
    if (watch->options.poll_ms == 0) {
        watch->options.poll_ms = DEFAULT_POLL_MS;
    }
    if (watch->options.settle_ms == 0) {
        watch->options.settle_ms = DEFAULT_SETTLE_MS;
    }
    watch->on_change = on_change;
    watch->arg = arg;
    watch->settle_due_ms = never;
    watch->poll_due_ms = loop_now_ms(loop) + watch->options.poll_ms;
    watch->timer = timer_new(loop, on_due, watch);
    if (watch->timer == NULL) {
        errbuf_set(err, "cannot watch files: out of memory");
        mem_free(watch);
        return NULL;
    }
    if (watch->options.method == FILE_WATCH_INOTIFY_AND_POLL) {
        start_inotify(watch);
    }
    return watch;
}

static void destroy(void *arg)
{
    struct file_watch *watch = arg;
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    watch->magic = 0;
    mem_free(watch);
}

void file_watch_free(struct file_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    ASSERT(!watch->freed);
    watch->freed = true;
    struct entry *entries = watch->entries;
    size_t count = watch->count;
    watch->entries = NULL;
    watch->count = 0;
    free_entries(watch, entries, count);
    timer_free(watch->timer);
    io_watch_free(watch->io);
    dir_watch_free(watch->dirs);
    loop_defer(watch->loop, &watch->end, destroy, watch);
}

const char *file_watch_limit(const struct file_watch *watch)
{
    CHECK_MAGIC(watch, FILE_WATCH_MAGIC);
    switch (watch->start_error != 0 ? watch->start_error : watch->hold_error) {
    case 0:
        return NULL;
    case EMFILE:
        return "inotify is not available: fs.inotify.max_user_instances or the limit of "
               "descriptors is reached";
    case ENOSPC:
        return "fs.inotify.max_user_watches is reached";
    case ENOMEM:
        return "inotify has no memory";
    default:
        return "this kernel has no inotify";
    }
}
