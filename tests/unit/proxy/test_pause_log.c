/* pause_log: which pauses are one, and which lines come when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/pause_log.h"

/* One step of a row: what happens, when, and what is to be logged then. */
enum what { END = 0, PAUSE, RESUME, LOOK };
struct step {
    enum what what;
    uint64_t now_ms;
    enum pause_line line;
    uint64_t lasted_ms;
};
enum { MAX_STEPS = 12 };

static void run(const struct step *steps)
{
    struct pause_log log = {.open = false};
    for (size_t i = 0; steps[i].what != END; i++) {
        const struct step *step = &steps[i];
        uint64_t lasted_ms = 0;
        if (step->what == PAUSE) {
            pause_log_pause(&log, step->now_ms);
        } else if (step->what == RESUME) {
            pause_log_resume(&log, step->now_ms);
        }
        if (pause_log_due(&log, step->now_ms, &lasted_ms) != step->line ||
            lasted_ms != step->lasted_ms) {
            fail_msg("at %llu ms", (unsigned long long)step->now_ms);
        }
        assert_int_equal(pause_log_due(&log, step->now_ms, &lasted_ms), PAUSE_LINE_NONE);
    }
    assert_false(log.open);
}

static void test_pause_log(void **state)
{
    (void)state;
    static const struct step rows[][MAX_STEPS] = {
        {{LOOK, 0, PAUSE_LINE_NONE, 0}, {LOOK, 100000, PAUSE_LINE_NONE, 0}},
        /* A pause, at once; its end when it has been quiet, with its own length. */
        {{PAUSE, 5000, PAUSE_LINE_PAUSED, 0},
         {LOOK, 8000, PAUSE_LINE_NONE, 0},
         {RESUME, 9000, PAUSE_LINE_NONE, 0},
         {LOOK, 9999, PAUSE_LINE_NONE, 0},
         {LOOK, 10000, PAUSE_LINE_RESUMED, 4000},
         {LOOK, 20000, PAUSE_LINE_NONE, 0}},
        /* Pauses close to each other are one. */
        {{PAUSE, 5000, PAUSE_LINE_PAUSED, 0},
         {RESUME, 5020, PAUSE_LINE_NONE, 0},
         {PAUSE, 5021, PAUSE_LINE_NONE, 0},
         {RESUME, 5500, PAUSE_LINE_NONE, 0},
         {PAUSE, 6499, PAUSE_LINE_NONE, 0},
         {RESUME, 30000, PAUSE_LINE_NONE, 0},
         {LOOK, 31000, PAUSE_LINE_RESUMED, 25000}},
        /* The next comes too early and is over too early: nothing. */
        {{PAUSE, 5000, PAUSE_LINE_PAUSED, 0},
         {RESUME, 5001, PAUSE_LINE_NONE, 0},
         {LOOK, 6100, PAUSE_LINE_RESUMED, 1},
         {PAUSE, 7000, PAUSE_LINE_NONE, 0},
         {RESUME, 13000, PAUSE_LINE_NONE, 0},
         {LOOK, 16000, PAUSE_LINE_NONE, 0},
         {PAUSE, 16001, PAUSE_LINE_PAUSED, 0},
         {RESUME, 16002, PAUSE_LINE_NONE, 0},
         {LOOK, 17002, PAUSE_LINE_RESUMED, 1}},
        /* It comes too early and lasts: told when it may be, with its own beginning. */
        {{PAUSE, 5000, PAUSE_LINE_PAUSED, 0},
         {RESUME, 5001, PAUSE_LINE_NONE, 0},
         {LOOK, 6100, PAUSE_LINE_RESUMED, 1},
         {PAUSE, 7000, PAUSE_LINE_NONE, 0},
         {LOOK, 14999, PAUSE_LINE_NONE, 0},
         {LOOK, 15000, PAUSE_LINE_PAUSED, 0},
         {RESUME, 15001, PAUSE_LINE_NONE, 0},
         {LOOK, 16001, PAUSE_LINE_RESUMED, 8001}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run(rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pause_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
