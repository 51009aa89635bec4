/* workload_stream: what is asked, what each end means, and when it is tried again. */
#include "unit/net/h2_peer.h"

#include "identity/workload_stream.h"

struct fixture {
    struct loop *loop;
    struct h2_peer peer;
    struct workload_times times;
    struct workload_stream *stream;
    unsigned messages;
    bool takes_none;  /* every message is a bad one */
    bool frees;       /* the stream, at the next message */
    unsigned stop_at; /* that many messages, or ends */
    unsigned ends;
    struct workload_news news;
    char text[256];
};

static bool on_message(void *arg, const uint8_t *message, size_t len)
{
    struct fixture *f = arg;
    assert_true(len == 4 && memcmp(message, "good", 4) == 0);
    if (++f->messages == f->stop_at) {
        loop_stop(f->loop);
    }
    if (f->frees) {
        workload_stream_free(f->stream);
        f->stream = NULL;
    }
    return !f->takes_none;
}

static void on_end(void *arg, const struct workload_news *news)
{
    struct fixture *f = arg;
    f->news = *news;
    assert_true(news->text.len < sizeof(f->text));
    memcpy(f->text, news->text.ptr, news->text.len);
    f->text[news->text.len] = '\0';
    if (++f->ends == f->stop_at) {
        loop_stop(f->loop);
    }
}

static const struct workload_handler handler = {.on_message = on_message, .on_end = on_end};

static void setup(struct fixture *f)
{
    *f = (struct fixture){.loop = new_loop(), .times = workload_times_default, .stop_at = 1};
    f->times.backoff_least_ms = 2;
    f->times.backoff_most_ms = 8;
    h2_peer_init(&f->peer, f->loop);
    h2_peer_listen(&f->peer);
    h2_settings(&f->peer.script);
}

static void start(struct fixture *f)
{
    f->stream = workload_stream_new(f->loop, &f->peer.address, &f->times, &handler, f);
    assert_non_null(f->stream);
}

static void teardown(struct fixture *f)
{
    workload_stream_free(f->stream);
    loop_run_deferred(f->loop);
    h2_peer_fini(&f->peer);
    loop_free(f->loop);
}

/* Until one more message or end has come. */
static void wait_for_one(struct fixture *f, unsigned so_far)
{
    f->stop_at = so_far + 1;
    run_loop(f->loop);
}

static void test_asks_as_the_standard_wants(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.messages, 1);
    assert_int_equal(f.ends, 0);
    /* An empty message, and the end of the request with it. */
    static const uint8_t empty[] = {0, 0, 5, H2_DATA, H2_END_STREAM, 0, 0, 0, 1, 0, 0, 0, 0, 0};
    assert_non_null(memmem(f.peer.heard.data, f.peer.heard.len, empty, sizeof(empty)));
    teardown(&f);
}

static void test_every_status_has_its_meaning(void **state)
{
    (void)state;
    for (int status = 0; status < GRPC_STATUSES; status++) {
        struct fixture f;
        char code[4];
        setup(&f);
        (void)snprintf(code, sizeof(code), "%d", status);
        h2_trailers_only(&f.peer.script, code, "why%21");
        start(&f);
        run_loop(f.loop);
        enum workload_end end = status == GRPC_PERMISSION_DENIED ? WORKLOAD_DENIED : WORKLOAD_LOST;
        if (status == GRPC_INVALID_ARGUMENT || status == GRPC_UNIMPLEMENTED) {
            end = WORKLOAD_GIVEN_UP;
        }
        assert_int_equal(f.news.end, end);
        assert_int_equal(f.news.status, status);
        assert_true(f.news.from_agent);
        assert_false(f.news.had_answer);
        assert_string_equal(f.text, "why!");
        if (end == WORKLOAD_GIVEN_UP) {
            assert_int_equal(f.news.retry_ms, 0);
            run_loop_ms(f.loop, 30);
            assert_int_equal(f.peer.connections, 1);
            workload_stream_retry(f.stream);
            wait_for_one(&f, f.ends);
            assert_int_equal(f.peer.connections, 2);
        } else {
            assert_true(f.news.retry_ms >= 1);
            wait_for_one(&f, f.ends);
            assert_true(f.peer.connections >= 2);
        }
        teardown(&f);
    }
}

/* A proxy in between, or a broken agent, takes no identity away. */
static void test_only_the_agents_word_withdraws(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    struct h2 block = {NULL, 0};
    h2_header(&block, ":status", "403");
    h2_headers(&f.peer.script, &block, H2_END_STREAM);
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.news.end, WORKLOAD_LOST);
    assert_int_equal(f.news.status, GRPC_PERMISSION_DENIED);
    assert_false(f.news.from_agent);
    teardown(&f);
}

static void test_an_agent_that_comes_later_is_found(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_peer_fini(&f.peer);
    h2_peer_init(&f.peer, f.loop);
    h2_settings(&f.peer.script);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    f.stop_at = 3;
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.news.end, WORKLOAD_LOST);
    assert_non_null(strstr(f.text, "no connection"));
    f.stop_at = 1;
    h2_peer_listen(&f.peer);
    run_loop(f.loop);
    assert_int_equal(f.messages, 1);
    teardown(&f);
}

static void test_after_a_good_stream_it_is_tried_at_once(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.times.backoff_least_ms = 600000;
    f.times.backoff_most_ms = 600000;
    f.times.steady_ms = 0;
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    start(&f);
    run_loop(f.loop);
    h2_peer_hang_up(&f.peer);
    run_loop(f.loop); /* the end */
    assert_int_equal(f.ends, 1);
    assert_true(f.news.had_answer);
    assert_int_equal(f.news.retry_ms, 0);
    wait_for_one(&f, 1);
    assert_int_equal(f.messages, 2);
    teardown(&f);
}

/* Else agent and proxy would run in a circle as fast as they can. */
static void test_a_short_stream_is_not_tried_at_once(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.times.backoff_least_ms = 1000;
    f.times.backoff_most_ms = 1000;
    f.times.steady_ms = 60000;
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    h2_trailers(&f.peer.script, "0", NULL);
    start(&f);
    run_loop(f.loop);
    if (f.ends == 0) {
        run_loop(f.loop);
    }
    assert_true(f.news.had_answer);
    assert_true(f.news.retry_ms >= 500);
    teardown(&f);
}

static void test_bad_messages_do_not_reset_the_backoff(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.takes_none = true;
    f.times.steady_ms = 0;
    f.times.backoff_least_ms = 4;
    f.times.backoff_most_ms = 64;
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    h2_trailers(&f.peer.script, "0", NULL);
    f.stop_at = 100;
    start(&f);
    while (f.news.retry_ms < 32) { /* 4, 8, 16, 32, 64: each at least half of it */
        run_loop_ms(f.loop, 5);
    }
    assert_false(f.news.had_answer);
    teardown(&f);
}

static void test_may_be_freed_from_its_message(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.frees = true;
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "good", 4);
    h2_trailers(&f.peer.script, "0", NULL);
    start(&f);
    run_loop(f.loop);
    run_loop_ms(f.loop, 20);
    assert_int_equal(f.messages, 1);
    assert_int_equal(f.ends, 0);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_as_the_standard_wants),
        cmocka_unit_test(test_every_status_has_its_meaning),
        cmocka_unit_test(test_only_the_agents_word_withdraws),
        cmocka_unit_test(test_an_agent_that_comes_later_is_found),
        cmocka_unit_test(test_after_a_good_stream_it_is_tried_at_once),
        cmocka_unit_test(test_a_short_stream_is_not_tried_at_once),
        cmocka_unit_test(test_bad_messages_do_not_reset_the_backoff),
        cmocka_unit_test(test_may_be_freed_from_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
