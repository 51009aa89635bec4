/* handshakes: who may give way, and who goes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/handshakes.h"
#include "proxy/session.h"

static void add(struct handshakes *handshakes, struct session *session, enum session_state state,
                uint64_t entered_ms)
{
    session->state = state;
    session->entered_ms = entered_ms;
    handshakes_add(handshakes, session);
}

static void test_handshakes_none(void **state)
{
    (void)state;
    struct handshakes handshakes;
    handshakes_init(&handshakes);
    assert_null(handshakes_overdue(&handshakes, UINT64_MAX));
}

static void test_handshakes_have_their_time(void **state)
{
    (void)state;
    static const struct {
        enum session_state state;
        uint64_t time_ms;
    } rows[] = {
        {SESSION_HELLO, HANDSHAKES_HELLO_MS},
        {SESSION_HANDSHAKE, HANDSHAKES_ANSWER_MS},
    };
    for (size_t i = 0; i < 2; i++) {
        struct handshakes handshakes;
        struct session session = {.state = SESSION_NEW};
        handshakes_init(&handshakes);
        add(&handshakes, &session, rows[i].state, 5000);
        assert_int_equal(handshakes_due_ms(&session), 5000 + rows[i].time_ms);
        assert_null(handshakes_overdue(&handshakes, 5000));
        assert_null(handshakes_overdue(&handshakes, 5000 + rows[i].time_ms - 1));
        assert_ptr_equal(handshakes_overdue(&handshakes, 5000 + rows[i].time_ms), &session);
        handshakes_remove(&handshakes, &session);
        assert_null(handshakes_overdue(&handshakes, UINT64_MAX));
    }
}

/* Each row: what stands there and since when, in the order in which they must go. */
static void test_handshakes_the_longest_overdue_goes_first(void **state)
{
    (void)state;
    enum { LATER = 1000000 };
    static const struct {
        struct {
            enum session_state state;
            uint64_t entered_ms;
        } order[3];
    } rows[] = {
        /* A flood of silence does not cost a client its round trip of 700 ms. */
        {{{SESSION_HELLO, 9000}, {SESSION_HELLO, 9010}, {SESSION_HANDSHAKE, 8700}}},
        /* Hellos with nothing behind them do not hold their places against those who may come. */
        {{{SESSION_HANDSHAKE, 1000}, {SESSION_HELLO, 9000}, {SESSION_HANDSHAKE, 9000}}},
        {{{SESSION_HANDSHAKE, 1000}, {SESSION_HANDSHAKE, 1001}, {SESSION_HELLO, 1902}}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct handshakes handshakes;
        struct session sessions[3] = {{.state = SESSION_NEW}};
        handshakes_init(&handshakes);
        for (size_t j = 0; j < 3; j++) {
            add(&handshakes, &sessions[j], rows[i].order[j].state, rows[i].order[j].entered_ms);
        }
        for (size_t j = 0; j < 3; j++) {
            assert_ptr_equal(handshakes_overdue(&handshakes, LATER), &sessions[j]);
            handshakes_remove(&handshakes, &sessions[j]);
        }
    }
}

/* The first due is not overdue: nobody behind it is. */
static void test_handshakes_in_time_do_not_give_way(void **state)
{
    (void)state;
    struct handshakes handshakes;
    struct session sessions[3] = {{.state = SESSION_NEW}};
    handshakes_init(&handshakes);
    add(&handshakes, &sessions[0], SESSION_HANDSHAKE, 8001);
    add(&handshakes, &sessions[1], SESSION_HELLO, 8901);
    add(&handshakes, &sessions[2], SESSION_HELLO, 9000);
    assert_null(handshakes_overdue(&handshakes, 9000));
    assert_non_null(handshakes_overdue(&handshakes, 9001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes_none),
        cmocka_unit_test(test_handshakes_have_their_time),
        cmocka_unit_test(test_handshakes_the_longest_overdue_goes_first),
        cmocka_unit_test(test_handshakes_in_time_do_not_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
