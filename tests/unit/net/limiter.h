/*
 * limiter: sets this process's limit of descriptors from outside, by a process of its own. Under
 * valgrind setrlimit only pretends: the kernel still accepts, and valgrind closes what came and
 * says EMFILE, so that a connection that should stay queued is gone. The helper is there before a
 * limit is low.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_LIMITER_H
#define BULKHEAD_TESTS_UNIT_NET_LIMITER_H

#include "unit/net/net_test.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct limiter {
    pid_t pid;
    int fd; /* a limit goes out, a byte comes back: 0 when it is set */
};

static inline void limiter_serve(pid_t parent, int fd)
{
    rlim_t wanted;
    while (read(fd, &wanted, sizeof(wanted)) == (ssize_t)sizeof(wanted)) {
        struct rlimit limit;
        bool ok = prlimit(parent, RLIMIT_NOFILE, NULL, &limit) == 0;
        limit.rlim_cur = wanted;
        ok = ok && prlimit(parent, RLIMIT_NOFILE, &limit, NULL) == 0;
        char answer = ok ? 0 : 1;
        if (write(fd, &answer, 1) != 1) {
            break;
        }
    }
    _exit(0);
}

static inline void limiter_start(struct limiter *limiter)
{
    int fds[2];
    pid_t parent = getpid();
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), errno);
    limiter->pid = fork();
    assert_return_code(limiter->pid, errno);
    if (limiter->pid == 0) {
        (void)close(fds[0]);
        limiter_serve(parent, fds[1]);
    }
    (void)close(fds[1]);
    limiter->fd = fds[0];
}

static inline void limiter_set(const struct limiter *limiter, rlim_t wanted)
{
    char answer = 1;
    assert_int_equal(write(limiter->fd, &wanted, sizeof(wanted)), sizeof(wanted));
    assert_int_equal(read(limiter->fd, &answer, 1), 1);
    assert_int_equal(answer, 0);
}

static inline void limiter_stop(const struct limiter *limiter)
{
    int status;
    (void)close(limiter->fd);
    assert_int_equal(waitpid(limiter->pid, &status, 0), limiter->pid);
    assert_int_equal(status, 0);
}

#endif
