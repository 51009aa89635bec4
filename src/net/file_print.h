/*
 * file_print: what can be seen of a file without opening it, or of the names in a directory, to
 * tell one look from another. Private to file_watch.
 */
#ifndef BULKHEAD_NET_FILE_PRINT_H
#define BULKHEAD_NET_FILE_PRINT_H

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

/* What stat says of a file; compared as a whole. */
struct file_print {
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

/* Of a path; with a pattern, of the names in that directory which match (fnmatch, no leading dot). */
void file_print_take(const char *path, const char *pattern, struct file_print *print);
/* Whether the content may be another. Mode, owner and names do not count. */
bool file_print_same_content(const struct file_print *a, const struct file_print *b);
bool file_print_same(const struct file_print *a, const struct file_print *b);

#endif
