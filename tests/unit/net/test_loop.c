/* loop: order of timers and deferred functions, readiness, and what must not spin. */
#include "unit/net/net_test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"

/* libevent's clock is this program's: ahead of the true one when a test says so. */
static time_t coarse_ahead_s;

int clock_gettime(clockid_t id, struct timespec *now)
{
    long result = syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_MONOTONIC_COARSE) {
        now->tv_sec += coarse_ahead_s;
    }
    return (int)result;
}

struct trace {
    struct loop *loop;
    char text[64];
};

struct step {
    struct trace *trace;
    char name;
    bool last;
    struct timer *timer;
    struct loop_deferred deferred;
};

static void on_step(void *arg)
{
    struct step *step = arg;
    size_t used = strlen(step->trace->text);
    assert_true(used + 1 < sizeof(step->trace->text));
    step->trace->text[used] = step->name;
    step->trace->text[used + 1] = '\0';
    if (step->last) {
        loop_stop(step->trace->loop);
    }
}

static void test_timers_fire_in_order_of_time(void **state)
{
    (void)state;
    struct trace trace = {.loop = new_loop()};
    struct step steps[] = {{.trace = &trace, .name = 'c', .last = true},
                           {.trace = &trace, .name = 'a'},
                           {.trace = &trace, .name = 'b'}};
    static const uint64_t delays[] = {60, 5, 30};
    for (size_t i = 0; i < 3; i++) {
        steps[i].timer = timer_new(trace.loop, on_step, &steps[i]);
        assert_false(timer_is_set(steps[i].timer));
        timer_set(steps[i].timer, delays[i]);
        assert_true(timer_is_set(steps[i].timer));
    }
    run_loop(trace.loop);
    assert_string_equal(trace.text, "abc");
    for (size_t i = 0; i < 3; i++) {
        assert_false(timer_is_set(steps[i].timer));
        timer_free(steps[i].timer);
    }
    loop_free(trace.loop);
}

static void test_timer_cancelled_is_silent_and_set_again_fires_once(void **state)
{
    (void)state;
    struct trace trace = {.loop = new_loop()};
    struct step cancelled = {.trace = &trace, .name = 'x'};
    struct step moved = {.trace = &trace, .name = 'm', .last = true};
    cancelled.timer = timer_new(trace.loop, on_step, &cancelled);
    moved.timer = timer_new(trace.loop, on_step, &moved);
    timer_set(cancelled.timer, 1);
    timer_cancel(cancelled.timer);
    timer_cancel(cancelled.timer);
    assert_false(timer_is_set(cancelled.timer));
    timer_set(moved.timer, 100000000);
    timer_set(moved.timer, 10);
    run_loop(trace.loop);
    assert_string_equal(trace.text, "m");
    run_loop_ms(trace.loop, 20);
    assert_string_equal(trace.text, "m");
    timer_free(cancelled.timer);
    timer_free(moved.timer);
    timer_free(NULL);
    loop_free(trace.loop);
}

struct early {
    struct loop *loop;
    struct timer *timer;
    uint64_t due_ms;
    unsigned left;
};

static void on_early(void *arg)
{
    struct early *early = arg;
    assert_true(loop_now_ms(early->loop) >= early->due_ms);
    assert_true(clock_mono_ms() >= early->due_ms);
    if (--early->left == 0) {
        loop_stop(early->loop);
        return;
    }
    early->due_ms = loop_now_ms(early->loop) + early->left % 5;
    timer_set(early->timer, early->left % 5);
}

static void test_timer_never_fires_early(void **state)
{
    (void)state;
    struct early early = {.loop = new_loop(), .left = 100};
    early.timer = timer_new(early.loop, on_early, &early);
    early.due_ms = loop_now_ms(early.loop) + 3;
    timer_set(early.timer, 3);
    run_loop(early.loop);
    timer_free(early.timer);
    loop_free(early.loop);
}

static void put_libevent_ahead(void *arg)
{
    (void)arg;
    coarse_ahead_s = 3600;
}

static void test_timer_waits_for_our_clock_though_libevent_is_ahead(void **state)
{
    (void)state;
    struct early early = {.loop = new_loop(), .left = 1};
    early.timer = timer_new(early.loop, on_early, &early);
    early.due_ms = loop_now_ms(early.loop) + 60;
    timer_set(early.timer, 60);
    struct timer *ahead = timer_new(early.loop, put_libevent_ahead, NULL);
    timer_set(ahead, 1);
    run_loop(early.loop);
    coarse_ahead_s = 0;
    timer_free(ahead);
    timer_free(early.timer);
    loop_free(early.loop);
}

static void free_own_timer(void *arg)
{
    struct early *early = arg;
    timer_free(early->timer);
    early->timer = NULL;
    loop_stop(early->loop);
}

static void test_timer_freed_in_its_own_callback(void **state)
{
    (void)state;
    struct early early = {.loop = new_loop()};
    early.timer = timer_new(early.loop, free_own_timer, &early);
    timer_set(early.timer, 0);
    run_loop(early.loop);
    assert_null(early.timer);
    loop_free(early.loop);
}

static void test_timer_takes_any_delay(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    struct timer *timer = timer_new(loop, stop_loop, loop);
    timer_set(timer, UINT64_MAX);
    assert_true(timer_is_set(timer));
    run_loop_ms(loop, 5);
    assert_true(timer_is_set(timer));
    timer_free(timer);
    loop_free(loop);
}

struct nest {
    struct trace trace;
    struct step first;
    struct step second;
    struct step third;
};

static void defer_third(void *arg)
{
    struct nest *nest = arg;
    on_step(&nest->second);
    loop_defer(nest->trace.loop, &nest->third.deferred, on_step, &nest->third);
}

static void defer_two(void *arg)
{
    struct nest *nest = arg;
    loop_defer(nest->trace.loop, &nest->second.deferred, defer_third, nest);
    on_step(&nest->first);
    loop_stop(nest->trace.loop);
}

static void test_deferred_run_in_order_before_the_turn_ends(void **state)
{
    (void)state;
    struct nest nest = {.trace = {.loop = new_loop()}};
    nest.first = (struct step){.trace = &nest.trace, .name = '1'};
    nest.second = (struct step){.trace = &nest.trace, .name = '2'};
    nest.third = (struct step){.trace = &nest.trace, .name = '3'};
    struct timer *timer = timer_new(nest.trace.loop, defer_two, &nest);
    timer_set(timer, 0);
    run_loop(nest.trace.loop);
    /* Though the loop was stopped in the first. */
    assert_string_equal(nest.trace.text, "123");
    timer_free(timer);
    loop_free(nest.trace.loop);
}

struct again {
    struct loop *loop;
    unsigned left;
    struct loop_deferred deferred;
};

static void defer_again(void *arg)
{
    struct again *again = arg;
    if (again->left-- == 0) {
        loop_stop(again->loop);
        return;
    }
    loop_defer(again->loop, &again->deferred, defer_again, again);
}

static void test_deferred_may_defer_itself_again_and_comes_before_the_wait(void **state)
{
    (void)state;
    struct again again = {.loop = new_loop(), .left = 5};
    loop_defer(again.loop, &again.deferred, defer_again, &again);
    loop_run(again.loop); /* nothing is watched: waiting first would be for ever */
    assert_int_equal(again.left, UINT32_MAX);
    loop_free(again.loop);
}

static void free_deferred(void *arg)
{
    free(arg);
}

static void test_loop_free_runs_what_is_deferred(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    struct step *step = calloc(1, sizeof(*step));
    assert_non_null(step);
    loop_defer(loop, &step->deferred, free_deferred, step);
    struct trace trace = {.loop = loop};
    struct step flushed = {.trace = &trace, .name = 'f'};
    loop_defer(loop, &flushed.deferred, on_step, &flushed);
    loop_run_deferred(loop);
    assert_string_equal(trace.text, "f");
    struct step late = {.trace = &trace, .name = 'l'};
    loop_defer(loop, &late.deferred, on_step, &late);
    loop_free(loop);
    assert_string_equal(trace.text, "fl");
    loop_free(NULL);
}

static void spin_in_turn(void *arg)
{
    struct loop *loop = arg;
    uint64_t before = loop_now_ms(loop);
    uint64_t until = clock_mono_ms() + 5;
    while (clock_mono_ms() < until) {
    }
    assert_int_equal(loop_now_ms(loop), before);
    loop_stop(loop);
}

static void test_the_clock_stands_still_within_a_turn(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    uint64_t before = clock_mono_ms();
    assert_true(loop_now_ms(loop) >= before);
    struct timer *timer = timer_new(loop, spin_in_turn, loop);
    timer_set(timer, 0);
    run_loop(loop);
    assert_true(loop_now_ms(loop) >= before + 5);
    timer_free(timer);
    loop_free(loop);
}

static void test_stop_before_run_returns_at_once(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    loop_stop(loop);
    loop_run(loop);
    run_loop_ms(loop, 1); /* and may run again */
    loop_free(loop);
}

struct seen {
    struct loop *loop;
    struct io_watch *watch;
    unsigned reads;
    unsigned writes;
    unsigned stop_on;
    bool free_self;
};

static void on_seen(void *arg, unsigned events)
{
    struct seen *seen = arg;
    assert_true(events == IO_READ || events == IO_WRITE);
    seen->reads += events == IO_READ;
    seen->writes += events == IO_WRITE;
    if (seen->free_self) {
        io_watch_free(seen->watch);
        seen->watch = NULL;
    }
    if ((events & seen->stop_on) != 0) {
        loop_stop(seen->loop);
    }
}

struct seen_pair {
    struct seen seen;
    int fds[2];
};

static void open_pair(struct seen_pair *pair)
{
    *pair = (struct seen_pair){.seen = {.loop = new_loop()}};
    tcp_pair(pair->fds);
    pair->seen.watch = io_watch_new(pair->seen.loop, pair->fds[0], on_seen, &pair->seen);
    assert_non_null(pair->seen.watch);
    assert_int_equal(io_watch_get(pair->seen.watch), 0);
}

static void close_pair(struct seen_pair *pair)
{
    io_watch_free(pair->seen.watch);
    (void)close(pair->fds[0]);
    (void)close(pair->fds[1]);
    loop_free(pair->seen.loop);
}

static void test_io_reports_what_is_asked_for(void **state)
{
    (void)state;
    struct seen_pair pair;
    open_pair(&pair);
    assert_int_equal(write(pair.fds[1], "x", 1), 1);
    pair.seen.stop_on = IO_READ;
    assert_int_equal(io_watch_set(pair.seen.watch, IO_READ), 0);
    assert_int_equal(io_watch_get(pair.seen.watch), IO_READ);
    run_loop(pair.seen.loop);
    assert_int_equal(pair.seen.reads, 1);
    assert_int_equal(pair.seen.writes, 0);
    pair.seen.stop_on = IO_WRITE;
    assert_int_equal(io_watch_set(pair.seen.watch, IO_WRITE), 0);
    run_loop(pair.seen.loop);
    assert_int_equal(pair.seen.reads, 1);
    assert_int_equal(pair.seen.writes, 1);
    assert_int_equal(io_watch_set(pair.seen.watch, IO_READ | IO_WRITE), 0);
    assert_int_equal(io_watch_set(pair.seen.watch, IO_READ | IO_WRITE), 0);
    assert_int_equal(io_watch_get(pair.seen.watch), IO_READ | IO_WRITE);
    run_loop(pair.seen.loop);
    assert_int_equal(pair.seen.reads, 2);
    assert_int_equal(io_watch_set(pair.seen.watch, 0), 0);
    run_loop_ms(pair.seen.loop, 10);
    assert_int_equal(pair.seen.reads, 2);
    close_pair(&pair);
}

static void test_io_watch_freed_in_its_own_callback(void **state)
{
    (void)state;
    struct seen_pair pair;
    open_pair(&pair);
    pair.seen.stop_on = IO_READ | IO_WRITE;
    pair.seen.free_self = true;
    assert_int_equal(write(pair.fds[1], "x", 1), 1);
    wait_for(pair.fds[0], POLLIN);
    /* Both directions are ready in the same turn; only the first may be called. */
    assert_int_equal(io_watch_set(pair.seen.watch, IO_READ | IO_WRITE), 0);
    run_loop(pair.seen.loop);
    assert_int_equal(pair.seen.reads + pair.seen.writes, 1);
    io_watch_free(NULL);
    close_pair(&pair);
}

static void reset_peer(int fds[2])
{
    struct linger linger = {.l_onoff = 1};
    assert_return_code(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), errno);
    assert_return_code(close(fds[1]), errno);
    fds[1] = -1;
    wait_for(fds[0], 0);
}

static void test_an_error_shows_as_what_is_watched(void **state)
{
    (void)state;
    static const unsigned events[] = {IO_READ, IO_WRITE};
    for (size_t i = 0; i < 2; i++) {
        struct seen_pair pair;
        open_pair(&pair);
        reset_peer(pair.fds);
        pair.seen.stop_on = events[i];
        assert_int_equal(io_watch_set(pair.seen.watch, events[i]), 0);
        run_loop(pair.seen.loop);
        assert_int_equal(events[i] == IO_READ ? pair.seen.writes : pair.seen.reads, 0);
        close_pair(&pair);
    }
}

static uint64_t thread_cpu_us(void)
{
    struct timespec now;
    assert_return_code(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), errno);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_a_reset_socket_that_is_not_watched_does_not_spin(void **state)
{
    (void)state;
    struct seen_pair pair;
    open_pair(&pair);
    assert_int_equal(io_watch_set(pair.seen.watch, IO_READ), 0);
    assert_int_equal(io_watch_set(pair.seen.watch, 0), 0);
    reset_peer(pair.fds);
    uint64_t before = thread_cpu_us();
    run_loop_ms(pair.seen.loop, 300);
    assert_true(thread_cpu_us() - before < 100000);
    assert_int_equal(pair.seen.reads + pair.seen.writes, 0);
    close_pair(&pair);
}

static void test_what_the_kernel_refuses_to_watch_is_an_error(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    int fd = memfd_create("regular", MFD_CLOEXEC); /* epoll(7): EPERM for files */
    assert_return_code(fd, errno);
    struct seen seen = {.loop = loop};
    struct io_watch *watch = io_watch_new(loop, fd, on_seen, &seen);
    assert_int_equal(io_watch_set(watch, IO_READ), -1);
    assert_int_equal(io_watch_get(watch), 0);
    assert_int_equal(io_watch_set(watch, IO_READ | IO_WRITE), -1);
    assert_int_equal(io_watch_get(watch), 0);
    io_watch_free(watch);
    (void)close(fd);
    loop_free(loop);
}

struct signal_test {
    struct loop *loop;
    int numbers[4];
    size_t count;
};

static void on_test_signal(void *arg, int number)
{
    struct signal_test *test = arg;
    assert_true(test->count < 4);
    test->numbers[test->count++] = number;
    loop_stop(test->loop);
}

static void test_signals_are_events(void **state)
{
    (void)state;
    struct errbuf err;
    struct signal_test test = {.loop = new_loop()};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    /* One that comes before anybody looks waits. */
    assert_return_code(kill(getpid(), SIGUSR2), errno);
    struct signal_watch *watch = signal_watch_new(test.loop, &set, on_test_signal, &test, &err);
    assert_non_null(watch);
    run_loop(test.loop);
    /* Those of one number merge, those of two don't. */
    for (int i = 0; i < 3; i++) {
        assert_return_code(kill(getpid(), SIGUSR1), errno);
        assert_return_code(kill(getpid(), SIGUSR2), errno);
    }
    run_loop(test.loop);
    run_loop(test.loop);
    assert_int_equal(test.count, 3);
    assert_int_equal(test.numbers[0], SIGUSR2);
    assert_int_equal(test.numbers[1], SIGUSR1);
    assert_int_equal(test.numbers[2], SIGUSR2);
    signal_watch_free(watch);
    /* Nobody looks now: it waits, and ends nothing. */
    assert_return_code(kill(getpid(), SIGUSR1), errno);
    sigset_t pending;
    assert_return_code(sigpending(&pending), errno);
    assert_int_equal(sigismember(&pending, SIGUSR1), 1);
    assert_int_equal(sigismember(&pending, SIGUSR2), 0);
    signal_watch_free(NULL);
    loop_free(test.loop);
}

static void test_versions_are_known(void **state)
{
    (void)state;
    assert_int_equal(strncmp(loop_build_version(), "2.1", 3), 0);
    assert_int_equal(strncmp(loop_run_version(), "2.1", 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_in_order_of_time),
        cmocka_unit_test(test_timer_cancelled_is_silent_and_set_again_fires_once),
        cmocka_unit_test(test_timer_never_fires_early),
        cmocka_unit_test(test_timer_waits_for_our_clock_though_libevent_is_ahead),
        cmocka_unit_test(test_timer_freed_in_its_own_callback),
        cmocka_unit_test(test_timer_takes_any_delay),
        cmocka_unit_test(test_deferred_run_in_order_before_the_turn_ends),
        cmocka_unit_test(test_deferred_may_defer_itself_again_and_comes_before_the_wait),
        cmocka_unit_test(test_loop_free_runs_what_is_deferred),
        cmocka_unit_test(test_the_clock_stands_still_within_a_turn),
        cmocka_unit_test(test_stop_before_run_returns_at_once),
        cmocka_unit_test(test_io_reports_what_is_asked_for),
        cmocka_unit_test(test_io_watch_freed_in_its_own_callback),
        cmocka_unit_test(test_an_error_shows_as_what_is_watched),
        cmocka_unit_test(test_a_reset_socket_that_is_not_watched_does_not_spin),
        cmocka_unit_test(test_what_the_kernel_refuses_to_watch_is_an_error),
        cmocka_unit_test(test_signals_are_events),
        cmocka_unit_test(test_versions_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
