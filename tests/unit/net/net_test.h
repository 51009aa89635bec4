/*
 * net_test: what the tests of net/ share: a loop with a guard, and connected pairs of sockets.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_NET_TEST_H
#define BULKHEAD_TESTS_UNIT_NET_NET_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/errbuf.h"
#include "base/netaddr.h"
#include "net/loop.h"

enum { GUARD_MS = 20000 };

/* As in the integration tests: how much longer what must happen may take (under valgrind, say). */
static inline int guard_ms(void)
{
    const char *scale = getenv("BULKHEAD_TEST_SCALE");
    double factor = scale != NULL ? strtod(scale, NULL) : 1;
    return factor > 1 && factor <= 100 ? (int)((double)GUARD_MS * factor) : GUARD_MS;
}

static inline struct loop *new_loop(void)
{
    struct errbuf err;
    struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    return loop;
}

static inline void on_guard(void *arg)
{
    (void)arg;
    (void)fprintf(stderr, "the loop was not stopped in %d ms\n", guard_ms());
    abort();
}

/* Runs until something calls loop_stop; what never happens is a failure. */
static inline void run_loop(struct loop *loop)
{
    struct timer *guard = timer_new(loop, on_guard, NULL);
    assert_non_null(guard);
    timer_set(guard, (uint64_t)guard_ms());
    loop_run(loop);
    timer_free(guard);
}

static inline void stop_loop(void *arg)
{
    loop_stop(arg);
}

/* Runs for about this long: for what must not happen. */
static inline void run_loop_ms(struct loop *loop, uint64_t ms)
{
    struct timer *timer = timer_new(loop, stop_loop, loop);
    assert_non_null(timer);
    timer_set(timer, ms);
    run_loop(loop);
    timer_free(timer);
}

static inline void set_nonblocking(int fd)
{
    assert_return_code(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), errno);
}

/* Waits until fd is ready for events; the kernel is quick, the deadline only for failures. */
static inline short wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    assert_int_equal(poll(&poll_fd, 1, guard_ms()), 1);
    return poll_fd.revents;
}

/* A listening socket on a free port of ip. */
static inline int listen_on(const char *ip, int backlog, struct netaddr *addr)
{
    assert_true(netaddr_from_ip(addr, ip, 0));
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(bind(fd, &addr->u.sa, addr->len), errno);
    assert_return_code(listen(fd, backlog), errno);
    socklen_t len = sizeof(addr->u);
    assert_return_code(getsockname(fd, &addr->u.sa, &len), errno);
    return fd;
}

/* Two connected, non-blocking TCP sockets. */
static inline void tcp_pair(int fds[2])
{
    struct netaddr addr;
    int listener = listen_on("127.0.0.1", 1, &addr);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fds[0], errno);
    assert_return_code(connect(fds[0], &addr.u.sa, addr.len), errno);
    fds[1] = accept(listener, NULL, NULL);
    assert_return_code(fds[1], errno);
    assert_return_code(close(listener), errno);
    set_nonblocking(fds[0]);
    set_nonblocking(fds[1]);
}

static inline void unix_pair(int fds[2])
{
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                       errno);
}

#endif
