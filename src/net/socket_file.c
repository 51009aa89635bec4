/*
 * The mode of a socket file is that of the socket's own inode (fchmod before bind) less the umask,
 * which is out of force for the one call. There is no chmod by path afterwards: it would follow a
 * symbolic link that somebody has put there in between.
 *
 * O_PATH with O_NOFOLLOW opens the socket file itself, or the link that has taken its place. What
 * was opened is looked at, and only then changed, by descriptor: fchownat with AT_EMPTY_PATH, and
 * chmod of /proc/self/fd/N, because fchmod does not take an O_PATH descriptor.
 */
#include "net/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/listener.h"

int socket_file_bind(int fd, const struct netaddr *addr, mode_t mode)
{
    if (fchmod(fd, mode) != 0) {
        return -1;
    }
    mode_t before = umask(0);
    int result = bind(fd, &addr->u.sa, addr->len);
    int error = errno;
    (void)umask(before);
    errno = error;
    return result;
}

/* An O_PATH descriptor of the socket file at the path, with what it is; -1 with err. */
static int open_path(const char *path, struct stat *info, struct errbuf *err)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, info) != 0) {
        errbuf_set_errno(err, "cannot look at the socket %s", path);
    } else if (!S_ISSOCK(info->st_mode)) {
        errbuf_set(err, "somebody has put another file in the place of the socket %s", path);
    } else {
        return fd;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

static int set_owner(int fd, const char *path, const struct listen_options *options,
                     struct errbuf *err)
{
    bool asked = options->owner != (uid_t)-1 || options->group != (gid_t)-1;
    if (asked && fchownat(fd, "", options->owner, options->group, AT_EMPTY_PATH) != 0) {
        errbuf_set_errno(err, "cannot set the owner of %s", path);
        return -1;
    }
    return 0;
}

static int set_mode(int fd, const char *path, mode_t mode, struct errbuf *err)
{
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (chmod(link, mode) != 0) {
        errbuf_set_errno(err, "cannot set the mode of %s to %04o", path, (unsigned)mode);
        return -1;
    }
    return 0;
}

int socket_file_own(const char *path, const struct listen_options *options,
                    struct socket_file *file, struct errbuf *err)
{
    struct stat info;
    int fd = open_path(path, &info, err);
    if (fd < 0) {
        return -1;
    }
    /* bind() has made it in our name: a socket of somebody else is not the one. */
    int result = -1;
    if (info.st_uid != geteuid()) {
        errbuf_set(err, "somebody has put another socket in the place of %s", path);
    } else {
        file->device = info.st_dev;
        file->inode = info.st_ino;
        result = set_owner(fd, path, options, err);
    }
    (void)close(fd);
    return result;
}

static bool is_ours(const struct socket_file *file, const struct stat *info)
{
    return S_ISSOCK(info->st_mode) && info->st_dev == file->device && info->st_ino == file->inode;
}

int socket_file_set_access(const char *path, const struct socket_file *file,
                           const struct listen_options *options, struct errbuf *err)
{
    struct stat info;
    int fd = open_path(path, &info, err);
    if (fd < 0) {
        return -1;
    }
    int result = -1;
    if (!is_ours(file, &info)) {
        errbuf_set(err, "somebody has put another socket in the place of %s", path);
    } else {
        /* The owner first: a wider mode is meant for the new one. */
        result = set_owner(fd, path, options, err);
        if (result == 0) {
            result = set_mode(fd, path, options->mode, err);
        }
    }
    (void)close(fd);
    return result;
}

void socket_file_remove(const char *path, const struct socket_file *file)
{
    struct stat info;
    if (lstat(path, &info) == 0 && is_ours(file, &info)) {
        (void)unlink(path); /* if it stays, it is stale and the next start replaces it */
    }
}
