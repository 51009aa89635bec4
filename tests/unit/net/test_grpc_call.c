/* grpc_call: over real sockets, with deadlines. */
#include "unit/net/h2_peer.h"

#include "net/grpc_call.h"

#include <poll.h>
#include <pthread.h>

#include "base/clock.h"

struct fixture {
    struct loop *loop;
    struct h2_peer peer;
    struct grpc_call_options options;
    struct grpc_call *call;
    unsigned answers;
    char answer[64];
    bool cancels;      /* at the first answer */
    bool stops;        /* the loop, at each answer */
    uint64_t takes_ms; /* an answer's time */
    struct h2 next;    /* what the peer says meanwhile */
    unsigned ends;
    struct grpc_end end;
    char text[GRPC_TEXT_MAX + 1];
};

static void on_answer(void *arg, const uint8_t *message, size_t len)
{
    struct fixture *f = arg;
    f->answers++;
    assert_true(len < sizeof(f->answer));
    memcpy(f->answer, message, len);
    f->answer[len] = '\0';
    if (f->next.len > 0) {
        h2_peer_say(&f->peer, &f->next);
    }
    for (uint64_t began_ms = clock_mono_ms(); clock_mono_ms() - began_ms < f->takes_ms;) {
    }
    if (f->cancels) {
        grpc_call_cancel(f->call);
        f->call = NULL;
    }
    if (f->stops) {
        loop_stop(f->loop);
    }
}

static void on_end(void *arg, const struct grpc_end *end)
{
    struct fixture *f = arg;
    f->ends++;
    f->end = *end;
    f->call = NULL;
    memcpy(f->text, end->text.ptr, end->text.len);
    f->text[end->text.len] = '\0';
    loop_stop(f->loop);
}

static const struct grpc_call_handler handler = {.on_answer = on_answer, .on_end = on_end};

static void setup(struct fixture *f)
{
    *f = (struct fixture){.loop = new_loop(), .stops = true};
    h2_peer_init(&f->peer, f->loop);
    h2_peer_listen(&f->peer);
    h2_settings(&f->peer.script);
    f->options = (struct grpc_call_options){
        .address = f->peer.address,
        .path = "/Service/Method",
        .answer_max = 1024,
        .connect_ms = 60000,
        .answer_ms = 60000,
        .ping_ms = 60000,
        .ping_answer_ms = 60000,
    };
}

static void start(struct fixture *f)
{
    f->call = grpc_call_start(f->loop, &f->options, &handler, f);
    assert_non_null(f->call);
    assert_int_equal(f->ends, 0);
}

static void teardown(struct fixture *f)
{
    if (f->call != NULL) {
        grpc_call_cancel(f->call);
    }
    loop_run_deferred(f->loop);
    h2_peer_fini(&f->peer);
    loop_free(f->loop);
}

static void assert_ended(const struct fixture *f, enum grpc_status status, bool from_server,
                         const char *text)
{
    assert_int_equal(f->ends, 1);
    if (f->end.status != status || f->end.from_server != from_server ||
        strstr(f->text, text) == NULL) {
        fail_msg("%s \"%s\"; expected %s \"%s\"", grpc_status_name(f->end.status), f->text,
                 grpc_status_name(status), text);
    }
}

static void test_tells_answers_and_the_end(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.answers, 1);
    assert_string_equal(f.answer, "one");
    struct h2 more = {NULL, 0};
    h2_message(&more, "two", 3);
    h2_trailers(&more, "7", "enough");
    h2_peer_say(&f.peer, &more);
    run_loop(f.loop);
    assert_int_equal(f.answers, 2);
    assert_string_equal(f.answer, "two");
    if (f.ends == 0) {
        run_loop(f.loop);
    }
    assert_ended(&f, GRPC_PERMISSION_DENIED, true, "enough");
    assert_non_null(memmem(f.peer.heard.data, f.peer.heard.len, "PRI * HTTP/2.0\r\n", 16));
    teardown(&f);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    assert_true(netaddr_from_path(&f.options.address, "/nonexistent/agent.sock"));
    start(&f);
    run_loop(f.loop);
    assert_ended(&f, GRPC_UNAVAILABLE, false, "no connection: No such file or directory");
    teardown(&f);
}

static void test_the_peer_hangs_up(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.peer.hangs_up = true;
    start(&f);
    run_loop(f.loop);
    assert_ended(&f, GRPC_UNAVAILABLE, false, "the connection was closed");
    teardown(&f);
}

static void test_no_answer_in_time(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.options.answer_ms = 20;
    h2_response(&f.peer.script);
    start(&f);
    run_loop(f.loop);
    assert_ended(&f, GRPC_DEADLINE_EXCEEDED, false, "connected, but no answer came");
    teardown(&f);
}

static void test_nothing_but_a_connection(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_free(&f.peer.script);
    f.options.answer_ms = 20;
    start(&f);
    run_loop(f.loop);
    assert_ended(&f, GRPC_DEADLINE_EXCEEDED, false, "connected, but no answer came");
    teardown(&f);
}

/* An open stream may be silent for ever, but not in the middle of an answer. */
static void test_an_answer_that_does_not_end(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    f.options.answer_ms = 40;
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.answers, 1);
    run_loop_ms(f.loop, 120);
    assert_int_equal(f.ends, 0);
    struct h2 more = {NULL, 0};
    h2_data(&more, "\0\0\0\0\3tw", 7);
    h2_peer_say(&f.peer, &more);
    run_loop(f.loop);
    assert_ended(&f, GRPC_DEADLINE_EXCEEDED, false, "an answer has begun and not ended");
    teardown(&f);
}

static void test_a_silent_server_is_asked(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    f.options.ping_ms = 10;
    f.peer.answers_pings = true;
    start(&f);
    run_loop(f.loop);
    while (f.peer.pings < 3) {
        run_loop_ms(f.loop, 5);
    }
    assert_int_equal(f.ends, 0);
    teardown(&f);
}

static void test_a_server_that_does_not_answer_is_dead(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    f.options.ping_ms = 10;
    f.options.ping_answer_ms = 30;
    start(&f);
    run_loop(f.loop);
    run_loop(f.loop);
    assert_ended(&f, GRPC_UNAVAILABLE, false, "doesn't answer a PING");
    assert_int_equal(f.peer.pings, 1);
    teardown(&f);
}

/* Says all of it, however long the other side takes. */
static void *say_all(void *arg)
{
    struct h2_peer *peer = arg;
    for (size_t at = 0; at < peer->script.len;) {
        struct pollfd ready = {.fd = peer->fd, .events = POLLOUT};
        (void)poll(&ready, 1, -1);
        ssize_t sent = send(peer->fd, peer->script.data + at, peer->script.len - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            break;
        }
        at += sent > 0 ? (size_t)sent : 0;
    }
    return NULL;
}

/* Frames that are no answer, as many as fit into a second, are no way to keep a thread busy. */
static void test_reading_rests_without_an_answer_too(void **state)
{
    enum { UNKNOWN_TYPE = 0xbb, FRAMES = 80, FRAME_SIZE = 16000, RESTS = 4, REST_MS = 20 };
    (void)state;
    static const uint8_t payload[FRAME_SIZE];
    struct fixture f;
    pthread_t thread;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.answers, 1);
    h2_free(&f.peer.script);
    for (unsigned i = 0; i < FRAMES; i++) { /* 1.2 MiB */
        h2_frame(&f.peer.script, UNKNOWN_TYPE, 0, 0, payload, sizeof(payload));
    }
    h2_trailers(&f.peer.script, "0", "");
    uint64_t began_ms = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, say_all, &f.peer), 0);
    run_loop(f.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ended(&f, GRPC_OK, true, "");
    assert_true(clock_mono_ms() - began_ms >= RESTS * REST_MS - 1);
    teardown(&f);
}

/* Of the thread's time an answer takes half at most, however long it takes to be looked at. */
static void test_reading_rests_as_long_as_an_answer_took(void **state)
{
    enum { TAKES_MS = 120 };
    (void)state;
    struct fixture f;
    setup(&f);
    f.takes_ms = TAKES_MS;
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    h2_message(&f.next, "two", 3);
    start(&f);
    run_loop(f.loop);
    assert_string_equal(f.answer, "one");
    uint64_t told_ms = clock_mono_ms();
    f.takes_ms = 0;
    run_loop(f.loop);
    assert_string_equal(f.answer, "two");
    assert_true(clock_mono_ms() - told_ms >= TAKES_MS - 1);
    teardown(&f);
}

static void test_cancel_is_silent(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "one", 3);
    h2_trailers(&f.peer.script, "0", NULL);
    f.cancels = true;
    start(&f);
    run_loop(f.loop);
    assert_int_equal(f.answers, 1);
    run_loop_ms(f.loop, 20);
    assert_int_equal(f.answers, 1);
    assert_int_equal(f.ends, 0);
    /* And at once. */
    f.cancels = false;
    start(&f);
    grpc_call_cancel(f.call);
    f.call = NULL;
    run_loop_ms(f.loop, 20);
    assert_int_equal(f.answers, 1);
    assert_int_equal(f.ends, 0);
    grpc_call_cancel(NULL);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_answers_and_the_end),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_the_peer_hangs_up),
        cmocka_unit_test(test_no_answer_in_time),
        cmocka_unit_test(test_nothing_but_a_connection),
        cmocka_unit_test(test_an_answer_that_does_not_end),
        cmocka_unit_test(test_a_silent_server_is_asked),
        cmocka_unit_test(test_a_server_that_does_not_answer_is_dead),
        cmocka_unit_test(test_reading_rests_without_an_answer_too),
        cmocka_unit_test(test_reading_rests_as_long_as_an_answer_took),
        cmocka_unit_test(test_cancel_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
