/*
 * socket_file: the file of a listening Unix socket: its mode, its owner, and whether what stands
 * at the path is still the one that we made.
 *
 * Whoever may write to the directory may put something else at the path at any moment. So nothing
 * here changes what a path leads to without looking: the mode is given by bind() itself, and later
 * changes go through a descriptor of the file, after it has been compared with ours.
 *
 * Control thread only: the umask belongs to the whole process, and no other thread makes files.
 */
#ifndef BULKHEAD_NET_SOCKET_FILE_H
#define BULKHEAD_NET_SOCKET_FILE_H

#include "base/errbuf.h"
#include "base/netaddr.h"

#include <sys/types.h>

struct listen_options;

/* Which file is ours. */
struct socket_file {
    dev_t device;
    ino_t inode;
};

/* bind() to a Unix path; the file has exactly that mode from its first moment. -1 with errno. */
int socket_file_bind(int fd, const struct netaddr *addr, mode_t mode)
    __attribute__((warn_unused_result));
/* After socket_file_bind: notes which file it is and sets its owner. */
int socket_file_own(const char *path, const struct listen_options *options,
                    struct socket_file *file, struct errbuf *err)
    __attribute__((warn_unused_result));
/* Another mode or owner for the file, which must still be ours. */
int socket_file_set_access(const char *path, const struct socket_file *file,
                           const struct listen_options *options, struct errbuf *err)
    __attribute__((warn_unused_result));
/* Removes it if it is still ours. */
void socket_file_remove(const char *path, const struct socket_file *file);

#endif
