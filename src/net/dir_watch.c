/*
 * dir_watch: a table from inotify's watch numbers to who holds them.
 *
 * inotify gives the same number for the same inode, and never gives a number again while it lives,
 * so that a late event of a watch that is gone is told by its number. Two scopes on one inode are
 * one watch with the wider mask; when the last holder of DIR_WATCH_NAMES lets go, the watch is made
 * anew, because names in /tmp come and go all day.
 */
#include "dir_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

enum { BUFFER_SIZE = 64 * 1024 };

static const uint32_t self_mask = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW;
static const uint32_t names_mask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |
                                   IN_ATTRIB | IN_CLOSE_WRITE | IN_EXCL_UNLINK;

struct dir {
    int number;
    unsigned holders;
    unsigned name_holders; /* of them */
};

struct dir_watch {
    int fd;
    dir_watch_fn *fn;
    void *arg;
    struct dir *dirs;
    size_t count;
    size_t capacity;
    char *buffer;
};

struct dir_watch *dir_watch_new(dir_watch_fn *fn, void *arg)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    struct dir_watch *watch = mem_alloc(sizeof(*watch));
    watch->fd = fd;
    watch->fn = fn;
    watch->arg = arg;
    watch->buffer = mem_alloc(BUFFER_SIZE);
    return watch;
}

void dir_watch_free(struct dir_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    (void)close(watch->fd);
    mem_free(watch->dirs);
    mem_free(watch->buffer);
    mem_free(watch);
}

int dir_watch_fd(const struct dir_watch *watch)
{
    return watch->fd;
}

static struct dir *find(struct dir_watch *watch, int number)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->dirs[i].number == number) {
            return &watch->dirs[i];
        }
    }
    return NULL;
}

static struct dir *find_or_add(struct dir_watch *watch, int number)
{
    struct dir *dir = find(watch, number);
    if (dir != NULL) {
        return dir;
    }
    if (watch->count == watch->capacity) {
        size_t capacity = watch->capacity > 0 ? watch->capacity * 2 : 16;
        watch->dirs = mem_grow_array(watch->dirs, watch->capacity, capacity, sizeof(*watch->dirs));
        watch->capacity = capacity;
    }
    dir = &watch->dirs[watch->count++];
    *dir = (struct dir){.number = number};
    return dir;
}

static void forget(struct dir_watch *watch, struct dir *dir)
{
    *dir = watch->dirs[--watch->count];
}

int dir_watch_hold(struct dir_watch *watch, const char *path, enum dir_watch_scope scope)
{
    uint32_t mask = self_mask | IN_MASK_ADD | (scope == DIR_WATCH_NAMES ? names_mask : 0);
    int number = inotify_add_watch(watch->fd, path, mask);
    if (number < 0) {
        return -1;
    }
    struct dir *dir = find_or_add(watch, number);
    dir->holders++;
    dir->name_holders += scope == DIR_WATCH_NAMES;
    return number;
}

/* A mask can be narrowed by path alone, and the path may lead elsewhere by now: so the watch is
   given up, and those who still hold the directory hear that and hold it anew. */
static void drop(struct dir_watch *watch, struct dir *dir)
{
    int number = dir->number;
    (void)inotify_rm_watch(watch->fd, number); /* fails when the directory is gone: fine */
    forget(watch, dir);
    watch->fn(watch->arg, number, IN_IGNORED, NULL);
}

void dir_watch_let_go(struct dir_watch *watch, int number, enum dir_watch_scope scope)
{
    struct dir *dir = find(watch, number);
    if (dir == NULL) {
        return;
    }
    ASSERT(dir->holders > 0 && (scope == DIR_WATCH_SELF || dir->name_holders > 0));
    dir->holders--;
    if (scope == DIR_WATCH_NAMES) {
        dir->name_holders--;
    }
    if (dir->holders == 0) {
        (void)inotify_rm_watch(watch->fd, number); /* fails when the directory is gone: fine */
        forget(watch, dir);
    } else if (scope == DIR_WATCH_NAMES && dir->name_holders == 0) {
        drop(watch, dir);
    }
}

static void take_event(struct dir_watch *watch, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        watch->fn(watch->arg, DIR_WATCH_OVERFLOW, event->mask, NULL);
        return;
    }
    struct dir *dir = find(watch, event->wd);
    if (dir == NULL) {
        return; /* of a watch that is gone */
    }
    if ((event->mask & IN_IGNORED) != 0) {
        forget(watch, dir);
    }
    watch->fn(watch->arg, event->wd, event->mask, event->len > 0 ? event->name : NULL);
}

bool dir_watch_read(struct dir_watch *watch)
{
    ssize_t len = read(watch->fd, watch->buffer, BUFFER_SIZE);
    if (len <= 0) {
        return false; /* EAGAIN */
    }
    for (char *at = watch->buffer; at < watch->buffer + len;) {
        /* The kernel pads each name, so that the next event is aligned. */
        const struct inotify_event *event = (const void *)at;
        at += sizeof(*event) + event->len;
        take_event(watch, event);
    }
    return true;
}
