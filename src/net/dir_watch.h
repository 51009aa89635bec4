/*
 * dir_watch: counted inotify watches of directories. Private to file_watch.
 *
 * Each directory (an inode, whatever paths lead to it) is watched once, for as long as somebody
 * holds it. One thread.
 */
#ifndef BULKHEAD_NET_DIR_WATCH_H
#define BULKHEAD_NET_DIR_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum dir_watch_scope {
    DIR_WATCH_SELF, /* that the directory goes or moves */
    DIR_WATCH_NAMES /* and what happens to the names in it */
};

enum { DIR_WATCH_OVERFLOW = -1 };
/* mask: inotify's. dir: DIR_WATCH_OVERFLOW when events were lost. name: NULL for the directory
   itself. IN_IGNORED: nobody holds it any more. From dir_watch_read and dir_watch_let_go; must not
   call any function of this module. */
typedef void dir_watch_fn(void *arg, int dir, uint32_t mask, const char *name);

struct dir_watch;
/* NULL with errno: the kernel gives none. */
struct dir_watch *dir_watch_new(dir_watch_fn *fn, void *arg);
/* NULL is fine. */
void dir_watch_free(struct dir_watch *watch);
/* To be polled for reading. */
int dir_watch_fd(const struct dir_watch *watch);
/* The directory's number, held once more; -1 with errno. Links are not followed. */
int dir_watch_hold(struct dir_watch *watch, const char *path, enum dir_watch_scope scope);
/* With the scope of its dir_watch_hold. A directory that is gone has let go by itself. */
void dir_watch_let_go(struct dir_watch *watch, int dir, enum dir_watch_scope scope);
/* Gives fn what has happened, a bounded number of events. False when none was left. */
bool dir_watch_read(struct dir_watch *watch);

#endif
