/*
 * stepped_clock: the wall clock of one test program, ahead of the real one by as much as the test
 * wants. Included once; libssl's own clock goes along, or stays behind when a test wants to show
 * that nothing rests on it.
 */
#ifndef BULKHEAD_TESTS_UNIT_TLS_STEPPED_CLOCK_H
#define BULKHEAD_TESTS_UNIT_TLS_STEPPED_CLOCK_H

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long clock_ahead_s;
static long libssl_ahead_s;

/* In place of libc's. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    long failed = syscall(SYS_clock_gettime, id, ts);
    if (failed == 0 && id == CLOCK_REALTIME) {
        ts->tv_sec += clock_ahead_s;
    }
    return (int)failed;
}

/* Nothing but libcrypto and libssl asks for it. */
time_t time(time_t *out)
{
    struct timespec ts;
    (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts);
    time_t now = ts.tv_sec + libssl_ahead_s;
    if (out != NULL) {
        *out = now;
    }
    return now;
}

#endif
