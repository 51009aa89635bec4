/*
 * clock_watch: told when the wall clock is set. Nobody here may set it: the timer is replaced by an
 * eventfd, which becomes readable as a cancelled timer does.
 */
#include "net/clock_watch.h"

#include "unit/net/net_test.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int timer_fd;
static int create_error;
static int arm_error;
static unsigned armed;
static unsigned told;

int timerfd_create(clockid_t clock, int flags)
{
    assert_int_equal(clock, CLOCK_REALTIME);
    assert_int_equal(flags, TFD_NONBLOCK | TFD_CLOEXEC);
    errno = create_error;
    return create_error != 0 ? -1 : (timer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *former)
{
    (void)former;
    assert_int_equal(fd, timer_fd);
    assert_int_equal(flags, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
    assert_true(value->it_value.tv_sec > INT32_MAX); /* never */
    armed++;
    errno = arm_error;
    return arm_error != 0 ? -1 : 0;
}

static void on_set(void *arg)
{
    told++;
    loop_stop(arg);
}

static void set_clock(void)
{
    const uint64_t one = 1;
    assert_int_equal(write(timer_fd, &one, sizeof(one)), sizeof(one));
}

static void test_each_step_is_told_once(void **state)
{
    (void)state;
    struct errbuf err;
    struct loop *loop = new_loop();
    struct clock_watch *watch = clock_watch_new(loop, on_set, loop, &err);
    assert_non_null(watch);
    assert_int_equal(armed, 1);
    run_loop_ms(loop, 5);
    assert_int_equal(told, 0);
    for (unsigned step = 1; step <= 3; step++) {
        set_clock();
        run_loop(loop);
        run_loop_ms(loop, 5); /* once, not as long as it is readable */
        assert_int_equal(told, step);
        assert_int_equal(armed, 1 + step); /* the next one is told too */
    }
    clock_watch_free(watch);
    clock_watch_free(NULL);
    loop_free(loop);
}

static void test_without_a_timer_there_is_no_watch(void **state)
{
    (void)state;
    struct errbuf err;
    struct loop *loop = new_loop();
    create_error = EMFILE;
    assert_null(clock_watch_new(loop, on_set, loop, &err));
    assert_non_null(strstr(err.text, "can't watch the clock: Too many open files"));
    create_error = 0;
    arm_error = EINVAL;
    assert_null(clock_watch_new(loop, on_set, loop, &err));
    assert_non_null(strstr(err.text, "can't watch the clock"));
    arm_error = 0;
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_step_is_told_once),
        cmocka_unit_test(test_without_a_timer_there_is_no_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
