/* loop: late watches come behind the others of a turn, each in its time. */
#include "unit/net/net_test.h"

#include "base/clock.h"

enum { SOURCES = 4, TEXT_SIZE = 64 };

struct place;

struct source {
    struct place *place;
    char name;
    struct io_watch *watch;
    int fds[2];
    unsigned spin_us;     /* how long its callback takes */
    bool keeps;           /* does not take what is there to be read */
    struct source *wake;  /* made readable by its callback */
    struct source *end;   /* whose watch its callback frees */
    struct source *hush;  /* which its callback makes watch nothing */
    struct source *hurry; /* which its callback makes late no more */
};

struct place {
    struct loop *loop;
    char text[TEXT_SIZE]; /* who was called, in order */
    size_t stop_after;
    struct source sources[SOURCES];
};

static void make_readable(struct source *source)
{
    assert_int_equal(write(source->fds[1], "x", 1), 1);
    wait_for(source->fds[0], POLLIN);
}

static void spin(unsigned us)
{
    uint64_t until = clock_mono_us() + us;
    while (clock_mono_us() < until) {
    }
}

static void act_on_others(const struct source *source)
{
    if (source->wake != NULL) {
        make_readable(source->wake);
    }
    if (source->end != NULL) {
        io_watch_free(source->end->watch);
        source->end->watch = NULL;
    }
    if (source->hush != NULL) {
        assert_int_equal(io_watch_set(source->hush->watch, 0), 0);
    }
    if (source->hurry != NULL) {
        io_watch_set_late(source->hurry->watch, false);
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct source *source = arg;
    struct place *place = source->place;
    assert_int_equal(events, IO_READ);
    size_t used = strlen(place->text);
    assert_true(used + 1 < sizeof(place->text));
    place->text[used] = source->name;
    char byte;
    if (!source->keeps) {
        assert_int_equal(read(source->fds[0], &byte, 1), 1);
    }
    spin(source->spin_us);
    act_on_others(source);
    if (used + 1 == place->stop_after) {
        loop_stop(place->loop);
    }
}

/* Names in capitals are late. */
static void open_place(struct place *place, const char *names, size_t stop_after)
{
    *place = (struct place){.loop = new_loop(), .stop_after = stop_after};
    assert_true(strlen(names) <= SOURCES);
    for (size_t i = 0; names[i] != '\0'; i++) {
        struct source *source = &place->sources[i];
        source->place = place;
        source->name = names[i];
        tcp_pair(source->fds);
        source->watch = io_watch_new(place->loop, source->fds[0], on_ready, source);
        assert_non_null(source->watch);
        assert_int_equal(io_watch_set(source->watch, IO_READ), 0);
        io_watch_set_late(source->watch, names[i] >= 'A' && names[i] <= 'Z');
    }
}

static void close_place(struct place *place)
{
    for (size_t i = 0; i < SOURCES && place->sources[i].place != NULL; i++) {
        io_watch_free(place->sources[i].watch);
        (void)close(place->sources[i].fds[0]);
        (void)close(place->sources[i].fds[1]);
    }
    loop_free(place->loop);
}

static void test_others_of_the_turn_come_first(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "LaMb", 4);
    for (size_t i = 0; i < 4; i++) {
        make_readable(&place.sources[i]);
    }
    run_loop(place.loop);
    assert_string_equal(place.text, "abLM");
    close_place(&place);
}

/* Of three that take long each is followed by a look at who else is there. */
static void test_what_takes_long_does_not_stall_others(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "LMNa", 4);
    for (size_t i = 0; i < 3; i++) {
        place.sources[i].spin_us = 2 * LOOP_LATE_MIN_US;
        make_readable(&place.sources[i]);
    }
    place.sources[0].wake = &place.sources[3];
    run_loop(place.loop);
    assert_string_equal(place.text, "LaMN");
    close_place(&place);
}

/* Who is busy for long gives the late ones as long: newcomers are not starved by data. */
static void test_late_ones_have_as_much_as_the_others_took(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    struct place place;
    open_place(&place, "aLMN", 4);
    place.sources[0].keeps = true;
    place.sources[0].spin_us = MANY * LOOP_LATE_MIN_US;
    for (size_t i = 0; i < 4; i++) {
        place.sources[i].spin_us =
            place.sources[i].spin_us != 0 ? place.sources[i].spin_us : LOOP_LATE_MIN_US;
        make_readable(&place.sources[i]);
    }
    run_loop(place.loop);
    assert_string_equal(place.text, "aLMN");
    close_place(&place);
}

static void test_each_has_its_call_though_one_stays_ready(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "LMN", 9);
    for (size_t i = 0; i < 3; i++) {
        place.sources[i].keeps = true;
        place.sources[i].spin_us = 2 * LOOP_LATE_MIN_US;
        make_readable(&place.sources[i]);
    }
    run_loop(place.loop);
    assert_string_equal(place.text, "LMNLMNLMN");
    close_place(&place);
}

static void test_who_waits_may_go_be_silenced_or_be_late_no_more(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "LMNO", 2);
    place.sources[0].end = &place.sources[1];
    place.sources[0].hush = &place.sources[2];
    place.sources[0].hurry = &place.sources[3];
    for (size_t i = 0; i < 4; i++) {
        make_readable(&place.sources[i]);
    }
    run_loop(place.loop);
    assert_string_equal(place.text, "LO");
    /* What was silenced is still there, and has not been forgotten. */
    place.stop_after = 3;
    assert_int_equal(io_watch_set(place.sources[2].watch, IO_READ), 0);
    run_loop(place.loop);
    assert_string_equal(place.text, "LON");
    close_place(&place);
}

static void test_what_is_left_at_a_stop_comes_in_the_next_run(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "LM", 1);
    place.sources[0].spin_us = 2 * LOOP_LATE_MIN_US;
    make_readable(&place.sources[0]);
    make_readable(&place.sources[1]);
    run_loop(place.loop);
    assert_string_equal(place.text, "L");
    place.stop_after = 2;
    run_loop(place.loop);
    assert_string_equal(place.text, "LM");
    close_place(&place);
}

static void test_freed_in_its_own_late_callback(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, "L", 1);
    place.sources[0].end = &place.sources[0];
    make_readable(&place.sources[0]);
    run_loop(place.loop);
    assert_null(place.sources[0].watch);
    close_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_of_the_turn_come_first),
        cmocka_unit_test(test_what_takes_long_does_not_stall_others),
        cmocka_unit_test(test_late_ones_have_as_much_as_the_others_took),
        cmocka_unit_test(test_each_has_its_call_though_one_stays_ready),
        cmocka_unit_test(test_who_waits_may_go_be_silenced_or_be_late_no_more),
        cmocka_unit_test(test_what_is_left_at_a_stop_comes_in_the_next_run),
        cmocka_unit_test(test_freed_in_its_own_late_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
