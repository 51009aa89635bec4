/*
 * socket: every option that can be refused is advice; only the questions have answers.
 */
#include "net/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* all of struct tcp_info; not together with netinet/tcp.h */
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

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

/*
 * An idle peer that vanished is found by these probes (the kernel's own time is 2 h); one that
 * vanished with our data on the way by whoever looks at socket_acks. TCP_USER_TIMEOUT would find
 * both, but it also ends a connection whose peer has shut its window for that long, though it
 * answers every window probe (tcp_probe_timer in Linux): a live peer that does not read.
 */
static void set_keepalive(int fd, uint64_t keepalive_ms)
{
    enum { MAX_KERNEL_IDLE_S = 32767, PROBES = 3, INTERVALS = 12 };
    int idle_s = clamp_int(keepalive_ms / 1000, 1, MAX_KERNEL_IDLE_S);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, idle_s / INTERVALS > 0 ? idle_s / INTERVALS : 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
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

void socket_acks(int fd, struct socket_acks *acks)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);
    *acks = (struct socket_acks){0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked)) {
        return; /* Unix; or a kernel older than 4.1 */
    }
    /* A receiver without room acknowledges, again and again, what it had before: an answer too.
       Both the probes and the repetitions that it answers come ever more rarely, up to 2 min apart.
     */
    bool unanswered = info.tcpi_last_ack_recv > info.tcpi_last_data_sent;
    acks->awaited = (info.tcpi_unacked > 0 && unanswered) || info.tcpi_probes > 0;
    acks->silent_ms = info.tcpi_last_ack_recv;
    acks->acked_bytes = info.tcpi_bytes_acked;
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

int socket_peek_error(int fd)
{
    char byte;
    ssize_t got;
    do {
        got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got >= 0 || errno == EAGAIN ? 0 : errno;
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
