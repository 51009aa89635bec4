/*
 * A directory is read only for its names.
 */
#include "file_print.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"

/* The names that match, in whatever order, take the place of a file's size and time. */
static void take_names(const char *path, const char *pattern, struct file_print *print)
{
    DIR *dir = opendir(path);
    uint64_t sum = 0;
    const struct dirent *found = NULL;
    while (dir != NULL && (found = readdir(dir)) != NULL) {
        if (fnmatch(pattern, found->d_name, FNM_PERIOD) == 0) {
            sum += hash_bytes(found->d_name, strlen(found->d_name), 0);
            print->size++;
        }
    }
    print->modified.tv_sec = (time_t)sum;
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

void file_print_take(const char *path, const char *pattern, struct file_print *print)
{
    struct stat info;
    memset(print, 0, sizeof(*print));
    if (stat(path, &info) != 0) {
        return;
    }
    print->exists = true;
    print->device = info.st_dev;
    print->inode = info.st_ino;
    if (pattern != NULL) {
        take_names(path, pattern, print);
    } else {
        print->size = info.st_size;
        print->modified = info.st_mtim;
        print->changed = info.st_ctim;
    }
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool file_print_same_content(const struct file_print *a, const struct file_print *b)
{
    return a->exists == b->exists && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && same_time(a->modified, b->modified);
}

bool file_print_same(const struct file_print *a, const struct file_print *b)
{
    return file_print_same_content(a, b) && same_time(a->changed, b->changed);
}
