/*
 * listener: how an address becomes listening sockets.
 *
 * TCP, several sockets: the first is bound and listens without SO_REUSEPORT, which the kernel
 * grants only to an exclusive owner of the address; then the option is set on it and on the
 * others, which join. The address is never let go in between, so nobody can slip in, and port 0 is
 * chosen once. SO_REUSEADDR is on all: connections of a former process in TIME_WAIT don't count, a
 * socket that listens does.
 *
 * Unix: a socket file outlives its process. It is stale when connecting to it is refused; then it
 * is removed. Between bind() and listen() nobody can connect, so the owner is set there. At the
 * end the file is removed only if it is still the one that we made: another process may have
 * replaced it.
 *
 * Adopted: one socket that the service manager keeps too. It has no file of ours.
 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/socket.h"
#include "net/socket_file.h"

/* The kernel cuts it to net.core.somaxconn. */
enum { LISTEN_BACKLOG = 4096, PRIVILEGED_PORTS = 1024 };

struct listen_sockets {
    struct netaddr addr; /* as bound */
    size_t count;
    bool adopted;
    int *fds;            /* one for each worker; where they share one, all are the same */
    _Atomic size_t open; /* workers that have not closed theirs */
    _Atomic bool has_file;
    struct socket_file file;       /* while has_file */
    struct listen_options options; /* of the file */
};

/* bind() and listen() speak of the same address; what would be right depends on the error. */
static void explain(struct errbuf *err, const struct netaddr *addr, int error)
{
    char text[NETADDR_TEXT_SIZE];
    (void)netaddr_format(addr, text);
    if (error == EADDRINUSE) {
        errbuf_set(err, "another process listens on %s: stop it or choose another address", text);
    } else if (error == EADDRNOTAVAIL && !netaddr_is_unix(addr)) {
        errbuf_set(err, "cannot listen on %s: no interface of this host has that address", text);
    } else if (error == EACCES && netaddr_is_unix(addr)) {
        errbuf_set(err, "cannot listen on %s: no permission to make a socket in that directory",
                   text);
    } else if (error == EACCES && netaddr_port(addr) < PRIVILEGED_PORTS) {
        errbuf_set(err,
                   "cannot listen on %s: ports below net.ipv4.ip_unprivileged_port_start (%d by "
                   "default) need CAP_NET_BIND_SERVICE",
                   text, PRIVILEGED_PORTS);
    } else if (error == ENOENT) {
        errbuf_set(err, "cannot listen on %s: its directory does not exist", text);
    } else {
        errno = error;
        errbuf_set_errno(err, "cannot listen on %s", text);
    }
}

static int fail(int fd, struct errbuf *err, const struct netaddr *addr)
{
    explain(err, addr, errno);
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

static int new_socket(const struct netaddr *addr)
{
    return socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int enable(int fd, int level, int option)
{
    const int on = 1;
    return setsockopt(fd, level, option, &on, sizeof(on));
}

/* A listening TCP socket that either owns the address alone or joins the sockets of ours. */
enum sharing { SHARING_ALONE, SHARING_JOINS };
static int open_tcp(const struct netaddr *addr, enum sharing sharing, struct errbuf *err)
{
    int fd = new_socket(addr);
    if (fd < 0 || enable(fd, SOL_SOCKET, SO_REUSEADDR) != 0) {
        return fail(fd, err, addr);
    }
    /* One listener is one family, whatever net.ipv6.bindv6only says: [::]:80 beside 0.0.0.0:80. */
    if (addr->u.sa.sa_family == AF_INET6 && enable(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0) {
        return fail(fd, err, addr);
    }
    if (sharing == SHARING_JOINS && enable(fd, SOL_SOCKET, SO_REUSEPORT) != 0) {
        return fail(fd, err, addr);
    }
    if (bind(fd, &addr->u.sa, addr->len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        return fail(fd, err, addr);
    }
    return fd;
}

static int open_all_tcp(struct listen_sockets *sockets, struct errbuf *err)
{
    sockets->fds[0] = open_tcp(&sockets->addr, SHARING_ALONE, err);
    if (sockets->fds[0] < 0) {
        return -1;
    }
    socket_local_address(sockets->fds[0], &sockets->addr);
    if (sockets->count > 1 && enable(sockets->fds[0], SOL_SOCKET, SO_REUSEPORT) != 0) {
        explain(err, &sockets->addr, errno);
        return -1;
    }
    for (size_t i = 1; i < sockets->count; i++) {
        sockets->fds[i] = open_tcp(&sockets->addr, SHARING_JOINS, err);
        if (sockets->fds[i] < 0) {
            return -1;
        }
    }
    return 0;
}

/* 0 when somebody accepts connections there, else the errno of connect(). */
static int probe_unix(const struct netaddr *addr)
{
    int fd = new_socket(addr);
    if (fd < 0) {
        return errno;
    }
    int error = connect(fd, &addr->u.sa, addr->len) == 0 ? 0 : errno;
    (void)close(fd);
    /* unix(7): EAGAIN is a listening socket whose queue is full. */
    return error == EAGAIN ? 0 : error;
}

/* Removes a socket file that nobody serves. 0 when the path is free now. */
static int clear_stale_file(const struct netaddr *addr, struct errbuf *err)
{
    const char *path = addr->u.un.sun_path;
    struct stat info;
    if (lstat(path, &info) != 0) {
        return 0; /* free, or bind() will say what is wrong */
    }
    if (!S_ISSOCK(info.st_mode)) {
        errbuf_set(err,
                   "cannot listen on unix:%s: the path exists and is not a socket: remove it "
                   "or choose another path",
                   path);
        return -1;
    }
    int error = probe_unix(addr);
    if (error == 0) {
        explain(err, addr, EADDRINUSE);
        return -1;
    }
    if (error != ECONNREFUSED && error != ENOENT) {
        errno = error;
        errbuf_set_errno(err,
                         "cannot listen on unix:%s: cannot tell whether the socket that is "
                         "there is in use",
                         path);
        return -1;
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        errbuf_set_errno(err, "cannot remove the stale socket %s", path);
        return -1;
    }
    return 0;
}

static int open_unix(struct listen_sockets *sockets, const struct listen_options *options,
                     struct errbuf *err)
{
    const struct netaddr *addr = &sockets->addr;
    const char *path = addr->u.un.sun_path;
    if (clear_stale_file(addr, err) != 0) {
        return -1;
    }
    int fd = new_socket(addr);
    if (fd < 0 || socket_file_bind(fd, addr, options->mode) != 0) {
        return fail(fd, err, addr);
    }
    for (size_t i = 0; i < sockets->count; i++) {
        sockets->fds[i] = fd;
    }
    int owned = socket_file_own(path, options, &sockets->file, err);
    sockets->has_file = sockets->file.inode != 0;
    if (owned != 0) {
        return -1;
    }
    sockets->options = *options;
    if (listen(fd, LISTEN_BACKLOG) != 0) {
        explain(err, addr, errno);
        return -1;
    }
    return 0;
}

struct listen_sockets *listen_sockets_open(const struct netaddr *addr, size_t count,
                                           const struct listen_options *options, struct errbuf *err)
{
    ASSERT(count > 0 && (options != NULL || !netaddr_is_unix(addr)));
    struct listen_sockets *sockets = mem_alloc(sizeof(*sockets));
    sockets->addr = *addr;
    sockets->count = count;
    atomic_init(&sockets->open, count);
    sockets->fds = mem_alloc_array(count, sizeof(*sockets->fds));
    for (size_t i = 0; i < count; i++) {
        sockets->fds[i] = -1;
    }
    int result =
        netaddr_is_unix(addr) ? open_unix(sockets, options, err) : open_all_tcp(sockets, err);
    if (result != 0) {
        listen_sockets_close(sockets);
        return NULL;
    }
    return sockets;
}

/* -1 with err. */
static int check_adopted(int fd, struct errbuf *err)
{
    int type = 0;
    int listens = 0;
    int family = 0;
    socklen_t len = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0) {
        errbuf_set_errno(err, "descriptor %d is no socket", fd);
        return -1;
    }
    if (type != SOCK_STREAM || (family != AF_INET && family != AF_INET6 && family != AF_UNIX)) {
        errbuf_set(err, "it is no stream socket of TCP or Unix (ListenStream=)");
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || listens == 0) {
        errbuf_set(err, "it does not listen: Accept=yes passes single connections; say Accept=no");
        return -1;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        errbuf_set_errno(err, "cannot set it up");
        return -1;
    }
    return 0;
}

struct listen_sockets *listen_sockets_adopt(int fd, size_t count, struct errbuf *err)
{
    ASSERT(count > 0);
    if (check_adopted(fd, err) != 0) {
        (void)close(fd);
        return NULL;
    }
    struct listen_sockets *sockets = mem_alloc(sizeof(*sockets));
    sockets->adopted = true;
    sockets->count = count;
    atomic_init(&sockets->open, count);
    sockets->fds = mem_alloc_array(count, sizeof(*sockets->fds));
    for (size_t i = 0; i < count; i++) {
        sockets->fds[i] = fd;
    }
    socket_local_address(fd, &sockets->addr);
    return sockets;
}

bool listen_sockets_outlive(const struct listen_sockets *sockets)
{
    return sockets->adopted;
}

/* Have all workers the same one? */
static bool is_shared(const struct listen_sockets *sockets)
{
    return sockets->adopted || netaddr_is_unix(&sockets->addr);
}

size_t listen_sockets_descriptors(const struct listen_sockets *sockets)
{
    return is_shared(sockets) ? 1 : sockets->count;
}

int listen_sockets_set_options(struct listen_sockets *sockets, const struct listen_options *options,
                               struct errbuf *err)
{
    if (!netaddr_is_unix(&sockets->addr) || sockets->adopted) {
        return 0;
    }
    /* What is not asked to change need not be there: a reload must not fail for its sake. */
    const struct listen_options *now = &sockets->options;
    if (now->mode == options->mode && now->owner == options->owner &&
        now->group == options->group) {
        return 0;
    }
    const char *path = sockets->addr.u.un.sun_path;
    if (socket_file_set_access(path, &sockets->file, options, err) != 0) {
        return -1;
    }
    sockets->options = *options;
    return 0;
}

void listen_sockets_withdraw(struct listen_sockets *sockets)
{
    const char *path = sockets->addr.u.un.sun_path;
    if (atomic_exchange(&sockets->has_file, false)) {
        socket_file_remove(path, &sockets->file);
    }
}

void listen_sockets_close(struct listen_sockets *sockets)
{
    if (sockets == NULL) {
        return;
    }
    listen_sockets_withdraw(sockets);
    if (is_shared(sockets)) {
        if (sockets->open > 0 && sockets->fds[0] >= 0) {
            (void)close(sockets->fds[0]);
        }
    } else {
        for (size_t i = 0; i < sockets->count; i++) {
            if (sockets->fds[i] >= 0) {
                (void)close(sockets->fds[i]);
            }
        }
    }
    mem_free(sockets->fds);
    mem_free(sockets);
}

void listen_sockets_close_one(struct listen_sockets *sockets, size_t index)
{
    ASSERT(index < sockets->count && sockets->fds[index] >= 0);
    bool last = atomic_fetch_sub(&sockets->open, 1) == 1;
    if (!is_shared(sockets)) {
        (void)close(sockets->fds[index]);
        sockets->fds[index] = -1;
    } else if (last) {
        (void)close(sockets->fds[0]);
    }
}

int listen_sockets_fd(const struct listen_sockets *sockets, size_t index)
{
    ASSERT(index < sockets->count);
    return sockets->fds[index];
}

const struct netaddr *listen_sockets_address(const struct listen_sockets *sockets)
{
    return &sockets->addr;
}
