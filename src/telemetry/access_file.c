/*
 * A file that is there keeps its mode: its owner has chosen it. One that we make gets ours by
 * descriptor, so that the umask of the process, which is for keys, does not keep the group out.
 */
#include "telemetry/access_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { FLAGS = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, FILE_MODE = 0640 };

static int fail(const char *path, struct errbuf *err)
{
    errbuf_set_errno(err, "can't open the access log \"%s\"", path);
    return -1;
}

static int open_or_make(const char *path)
{
    /* Non-blocking only for the time of open: a FIFO without a reader must not hold the start up.
       This description is ours alone, so the flag may be taken back. */
    int fd = open(path, FLAGS | O_NONBLOCK);
    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    fd = open(path, FLAGS | O_NONBLOCK | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno == EEXIST) {
        /* Somebody was faster, or the path is a link to nothing. */
        return open(path, FLAGS | O_NONBLOCK | O_CREAT, FILE_MODE);
    }
    if (fd >= 0 && fchmod(fd, FILE_MODE) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int access_file_open(const char *path, struct errbuf *err)
{
    int fd = open_or_make(path);
    if (fd < 0) {
        return fail(path, err);
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        errbuf_set_errno(err, "can't set up the access log \"%s\"", path);
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Whether a file could be made in the directory that the path names. */
static int check_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = mem_strdup(slash == NULL ? "." : path);
    if (slash != NULL) {
        directory[slash == path ? 1 : slash - path] = '\0';
    }
    struct stat info;
    int result = stat(directory, &info);
    if (result == 0 && !S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        result = -1;
    }
    if (result == 0) {
        result = faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS);
    }
    int error = errno;
    mem_free(directory);
    errno = error;
    return result;
}

int access_file_check(const char *path, struct errbuf *err)
{
    struct stat info;
    int result;
    if (stat(path, &info) != 0) {
        result = errno == ENOENT ? check_directory(path) : -1;
    } else if (S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        result = -1;
    } else {
        /* Opening a FIFO for the question's sake would look like an end to its reader. */
        result = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
    }
    return result == 0 ? 0 : fail(path, err);
}
