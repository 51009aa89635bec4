/*
 * socket: every option that can be refused is advice; only the questions have answers.
 */
#include "net/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEEPALIVE_PROBES = 3 };

static void set_int(int fd, int level, int name, int value)
{
    /* The connection works without it: see the header. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static int clamp_int(uint64_t value, int low, int high)
{
    if (value > (uint64_t)high) {
        return high;
    }
    return value < (uint64_t)low ? low : (int)value;
}

/* An idle peer that vanished is found by probes, one that vanished with our data on the way by
   TCP_USER_TIMEOUT (tcp(7)); the kernel's own limits are 2 h and about 15 min. */
static void set_keepalive(int fd, uint64_t keepalive_ms)
{
    enum { MAX_KERNEL_IDLE_S = 32767 };
    int idle_s = clamp_int(keepalive_ms / 1000, 1, MAX_KERNEL_IDLE_S);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, idle_s / 4 > 0 ? idle_s / 4 : 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, clamp_int(keepalive_ms, 1, INT32_MAX));
}

void socket_apply_options(int fd, bool is_unix, const struct socket_options *options)
{
    if (is_unix) {
        return;
    }
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (options->keepalive_ms > 0) {
        set_keepalive(fd, options->keepalive_ms);
    }
    if (options->tcp_congestion != NULL) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->tcp_congestion,
                         (socklen_t)strlen(options->tcp_congestion));
    }
}

bool socket_congestion_usable(const char *name)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (fd < 0) {
        return false;
    }
    int result = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    (void)close(fd);
    return result == 0;
}

void socket_set_reset_on_close(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    /* Fails for nothing but a descriptor that is no socket. */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

unsigned socket_outstanding(int fd)
{
    int bytes = 0;
    if (ioctl(fd, SIOCOUTQ, &bytes) != 0 || bytes < 0) {
        return 0;
    }
    return (unsigned)bytes;
}

unsigned socket_unsent(int fd)
{
    /* A Unix socket's SIOCOUTQ counts the kernel's bookkeeping, not bytes. */
    int family = AF_UNSPEC;
    socklen_t size = sizeof(family);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0 || family == AF_UNIX) {
        return 0;
    }
    return socket_outstanding(fd);
}

enum socket_peer socket_peer(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = 0};
    if (poll(&poll_fd, 1, 0) <= 0) {
        return SOCKET_PEER_THERE;
    }
    if ((poll_fd.revents & (POLLERR | POLLNVAL)) != 0) {
        return SOCKET_PEER_BROKEN;
    }
    return (poll_fd.revents & POLLHUP) != 0 ? SOCKET_PEER_LEFT : SOCKET_PEER_THERE;
}

bool socket_has_input(int fd)
{
    char byte;
    ssize_t got;
    do {
        got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got >= 0;
}

void socket_local_address(int fd, struct netaddr *addr)
{
    *addr = (struct netaddr){0};
    socklen_t len = sizeof(addr->u);
    if (getsockname(fd, &addr->u.sa, &len) == 0) {
        addr->len = len < sizeof(addr->u) ? len : (socklen_t)sizeof(addr->u);
    }
}

void socket_peer_address(int fd, struct netaddr *addr)
{
    *addr = (struct netaddr){0};
    socklen_t len = sizeof(addr->u);
    if (getpeername(fd, &addr->u.sa, &len) == 0) {
        addr->len = len < sizeof(addr->u) ? len : (socklen_t)sizeof(addr->u);
    }
}
