/*
 * file_watch: says when one of a set of files has changed in a way that counts.
 *
 * A file counts as replaced at once when that was atomic: a rename over its name, or a symbolic
 * link on the way to it that leads elsewhere now (Kubernetes swaps `..data`). One that is written
 * in place may be half written at any moment (a prefix of a PEM bundle is valid and means less), so
 * it counts when it has been still for a while. inotify tells at once, a poll finds what inotify
 * does not tell (network file systems, limits). What a report means is for the caller to find out
 * by reading: a touch without change of content is reported too, and a rename onto the same
 * content.
 *
 * Files are looked at (lstat, stat, readlink) and never opened. The thread of the
 * loop only; memory out aborts (cold path).
 */
#ifndef BULKHEAD_NET_FILE_WATCH_H
#define BULKHEAD_NET_FILE_WATCH_H

#include "base/errbuf.h"
#include "net/loop.h"

#include <stddef.h>
#include <stdint.h>

struct file_watch_entry {
    const char *path;  /* relative ones by the working directory of the moment */
    uint64_t still_ms; /* for FILE_WRITTEN */
    void *tag;         /* the caller's */
    /* Not NULL: path is a directory, and what counts is which names in it match (fnmatch, no
       leading dot), not what those files hold. A name that was renamed into it is FILE_REPLACED,
       any other change among the names FILE_WRITTEN. */
    const char *pattern;
};

enum file_change {
    /*
     * Atomically: a rename put the file (or a link or, where nothing was, a directory on the way)
     * in place, or the path without links has become another one. Reported after settling, so that
     * a certificate and a key that are renamed one after the other come in one turn of the loop;
     * gather them with loop_defer.
     */
    FILE_REPLACED,
    /*
     * In any other way: written, touched, removed and made anew, a directory exchanged, or seen by
     * the poll alone. Reported when size, times and inode have not changed, and nothing has
     * happened to it, for still_ms, or at last when that has not come in thirty times still_ms. A
     * write in place soon after a rename makes it this one.
     */
    FILE_WRITTEN,
    /* No longer there, after settling; once. It is one of the above when it is back. A file that
       was never there is not reported as gone. */
    FILE_GONE
};

struct file_watch;
/* entry: as set, good until the callback returns or sets anew. May call file_watch_set and
   file_watch_free. */
typedef void file_watch_fn(void *arg, const struct file_watch_entry *entry,
                           enum file_change change);

enum file_watch_method { FILE_WATCH_INOTIFY_AND_POLL, FILE_WATCH_POLL };
struct file_watch_options {
    enum file_watch_method method;
    uint64_t poll_ms;   /* 0: 10 s */
    uint64_t settle_ms; /* 0: 50 ms; a series of replacements is reported after ten times that */
};

/* options: NULL for the defaults; copied. When the kernel gives no inotify the poll works alone
   (file_watch_limit). NULL with err: memory is out. */
struct file_watch *file_watch_new(struct loop *loop, const struct file_watch_options *options,
                                  file_watch_fn *on_change, void *arg, struct errbuf *err);
/* No callback any more. Also from inside the callback. NULL is fine. */
void file_watch_free(struct file_watch *watch);
/*
 * The whole new set; copied. A path that was there before keeps its state (what is pending too) and
 * gets the new still_ms and tag; the same path may be there several times. A new one is taken as it
 * is now: set first, then read, and no change is missed.
 */
void file_watch_set(struct file_watch *watch, const struct file_watch_entry *entries, size_t count);
/* NULL when inotify watches everything (or was not wanted); else why some changes are seen by the
   poll alone, valid until the next call of this module. May change at every poll. */
const char *file_watch_limit(const struct file_watch *watch);

#endif
