/* walk: every session once, in slices, whatever begins and ends meanwhile. */
#include "unit/net/net_test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "proxy/session.h"
#include "proxy/walk.h"
#include "proxy/worker.h"

enum { MANY = 2000 };

struct fixture {
    struct worker worker;
    struct walk *walk;
    struct session sessions[MANY + 1];
    unsigned visits[MANY + 1];
    size_t visited;
    size_t end_at; /* at this visit the next session ends; 0: never */
    size_t new_at; /* at this visit one begins; 0: never */
    size_t more_rounds;
    uint64_t cost_us; /* of one visit */
    unsigned done;
    uint64_t longest_us;
};

static void end_session(struct fixture *f, struct session *session)
{
    walk_pass_by(&f->worker, session);
    TAILQ_REMOVE(&f->worker.sessions, session, link);
}

static void on_visit(void *arg, struct session *session)
{
    struct fixture *f = arg;
    f->visits[session - f->sessions]++;
    f->visited++;
    uint64_t until = clock_mono_us() + f->cost_us;
    while (f->cost_us != 0 && clock_mono_us() < until) {
    }
    if (f->visited == f->end_at) {
        end_session(f, TAILQ_NEXT(session, link)); /* the one that is next */
        end_session(f, session);                   /* and the one that is visited */
    }
    if (f->visited == f->new_at) {
        TAILQ_INSERT_TAIL(&f->worker.sessions, &f->sessions[MANY], link);
    }
}

static void on_done(void *arg)
{
    struct fixture *f = arg;
    f->done++;
    f->longest_us = f->walk->longest_us;
    assert_true(TAILQ_EMPTY(&f->worker.walks));
    if (f->more_rounds > 0) {
        f->more_rounds--;
        walk_start(f->walk, on_visit, on_done, f);
        return;
    }
    walk_free(f->walk); /* allowed here */
    f->walk = NULL;
    loop_stop(f->worker.loop);
}

static struct fixture *new_fixture(size_t count)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    f->worker.loop = new_loop();
    TAILQ_INIT(&f->worker.sessions);
    TAILQ_INIT(&f->worker.walks);
    for (size_t i = 0; i < count; i++) {
        TAILQ_INSERT_TAIL(&f->worker.sessions, &f->sessions[i], link);
    }
    f->walk = walk_new(&f->worker);
    assert_non_null(f->walk);
    return f;
}

static void run(struct fixture *f)
{
    walk_start(f->walk, on_visit, on_done, f);
    assert_int_equal(f->visited, 0); /* never from inside */
    run_loop(f->worker.loop);
}

static void end(struct fixture *f)
{
    walk_free(f->walk);
    loop_free(f->worker.loop);
    mem_free(f);
}

static void test_walk_visits_each_once(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(MANY);
    run(f);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(f->visits[i], 1);
    }
    assert_int_equal(f->done, 1);
    end(f);
}

static void test_walk_of_nothing_is_done(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(0);
    run(f);
    assert_int_equal(f->done, 1);
    end(f);
}

static void test_walk_passes_by_what_ends(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(MANY);
    f->end_at = 10;
    run(f);
    assert_int_equal(f->visits[9], 1);
    assert_int_equal(f->visits[10], 0);
    assert_int_equal(f->visited, MANY - 1);
    end(f);
}

static void test_walk_visits_what_begins(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(MANY);
    f->new_at = MANY - 1;
    run(f);
    assert_int_equal(f->visits[MANY], 1);
    end(f);
}

static void test_walk_may_begin_again_when_done(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(5);
    f->more_rounds = 2;
    run(f);
    assert_int_equal(f->visited, 15);
    end(f);
}

static void count_turn(void *arg)
{
    unsigned *turns = arg;
    (*turns)++;
}

/* Two hundred visits of a tenth of a millisecond: the loop gets its turn in between. */
static void test_walk_lets_the_loop_live(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(200);
    unsigned turns = 0;
    f->cost_us = 100;
    struct timer *timer = timer_new(f->worker.loop, count_turn, &turns);
    walk_start(f->walk, on_visit, on_done, f);
    while (f->done == 0) {
        unsigned before = turns;
        size_t visited = f->visited;
        timer_set(timer, 0);
        while (turns == before && f->done == 0) {
            run_loop_ms(f->worker.loop, 1);
        }
        assert_in_range(f->visited - visited, 0, 60);
    }
    assert_true(turns >= 4);
    assert_true(f->longest_us >= 500);
    timer_free(timer);
    end(f);
}

static void test_walk_freed_under_way_is_silent(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(MANY);
    walk_start(f->walk, on_visit, on_done, f);
    walk_free(f->walk);
    f->walk = NULL;
    run_loop_ms(f->worker.loop, 5);
    assert_int_equal(f->visited + f->done, 0);
    assert_true(TAILQ_EMPTY(&f->worker.walks));
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_visits_each_once),
        cmocka_unit_test(test_walk_of_nothing_is_done),
        cmocka_unit_test(test_walk_passes_by_what_ends),
        cmocka_unit_test(test_walk_visits_what_begins),
        cmocka_unit_test(test_walk_may_begin_again_when_done),
        cmocka_unit_test(test_walk_lets_the_loop_live),
        cmocka_unit_test(test_walk_freed_under_way_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
