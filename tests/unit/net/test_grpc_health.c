/* grpc_health: its two messages, and the call with peers of every kind. */
#include "unit/net/h2_peer.h"

#include "net/grpc_health.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static void test_the_request(void **state)
{
    (void)state;
    uint8_t out[GRPC_HEALTH_REQUEST_MAX];
    assert_int_equal(grpc_health_encode("", out), 0);
    assert_int_equal(grpc_health_encode("orders", out), 8);
    assert_memory_equal(out, "\x0a\x06orders", 8);
    char name[GRPC_HEALTH_SERVICE_MAX + 1] = {0};
    memset(name, 'a', 127);
    assert_int_equal(grpc_health_encode(name, out), 129);
    assert_memory_equal(out,
                        "\x0a\x7f"
                        "a",
                        3);
    memset(name, 'a', 128);
    assert_int_equal(grpc_health_encode(name, out), 131);
    assert_memory_equal(out,
                        "\x0a\x80\x01"
                        "a",
                        4);
    memset(name, 'a', GRPC_HEALTH_SERVICE_MAX);
    assert_int_equal(grpc_health_encode(name, out), GRPC_HEALTH_REQUEST_MAX);
    assert_memory_equal(out,
                        "\x0a\xc8\x01"
                        "a",
                        4);
}

static void test_the_response(void **state)
{
    (void)state;
    static const struct {
        const uint8_t *bytes;
        size_t len;
        enum grpc_health_state state;
    } rows[] = {
        {BYTES(""), GRPC_HEALTH_UNKNOWN},
        {BYTES("\x08\x00"), GRPC_HEALTH_UNKNOWN},
        {BYTES("\x08\x01"), GRPC_HEALTH_SERVING},
        {BYTES("\x08\x02"), GRPC_HEALTH_NOT_SERVING},
        {BYTES("\x08\x03"), GRPC_HEALTH_SERVICE_UNKNOWN},
        {BYTES("\x08\x81\x00"), GRPC_HEALTH_SERVING},
        /* No state that there is, not even by its low bits. */
        {BYTES("\x08\x04"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x81\x80\x80\x80\x10"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), GRPC_HEALTH_NO_STATE},
        /* The last one counts. */
        {BYTES("\x08\x01\x08\x02"), GRPC_HEALTH_NOT_SERVING},
        {BYTES("\x08\x02\x08\x01"), GRPC_HEALTH_SERVING},
        {BYTES("\x08\x01\x08\x00"), GRPC_HEALTH_UNKNOWN},
        /* Fields that are not ours. */
        {BYTES("\x12\x02\x08\x01"), GRPC_HEALTH_UNKNOWN},
        {BYTES("\x10\x01"), GRPC_HEALTH_UNKNOWN},
        {BYTES("\x12\x01x\x08\x01\x1d\1\2\3\4\x21\1\2\3\4\5\6\7\x08"), GRPC_HEALTH_SERVING},
        /* Ours of another type, and broken bytes, before the state and behind it. */
        {BYTES("\x0a\x01\x01"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x0d\1\0\0\0"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x09\1\0\0\0\0\0\0\0"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x81"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x01\x12"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x01\x12\x02x"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x01\x0b"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x01\x0f\x00"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x01\x00"), GRPC_HEALTH_NO_STATE},
        {BYTES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), GRPC_HEALTH_NO_STATE},
        {BYTES("SSH-2.0-x\r\n"), GRPC_HEALTH_NO_STATE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        /* Exactly as many bytes as there are, for the sanitizer. */
        uint8_t *copy = malloc(rows[i].len + (rows[i].len == 0));
        assert_non_null(copy);
        memcpy(copy, rows[i].bytes, rows[i].len);
        enum grpc_health_state found = grpc_health_decode(copy, rows[i].len);
        free(copy);
        if (found != rows[i].state) {
            fail_msg("row %zu: %d, expected %d", i, (int)found, (int)rows[i].state);
        }
    }
}

/* --- the call -------------------------------------------------------------------------------- */

struct fixture {
    struct loop *loop;
    struct h2_peer peer;
    struct grpc_health *health;
    unsigned done;
    int status;
    const char *why;
};

static void on_done(void *arg, int status, const char *why)
{
    struct fixture *f = arg;
    f->health = NULL;
    f->done++;
    f->status = status;
    f->why = why;
    loop_stop(f->loop);
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.loop = new_loop()};
    h2_peer_init(&f->peer, f->loop);
    h2_peer_listen(&f->peer);
    h2_settings(&f->peer.script);
}

static void ask(struct fixture *f, const char *service, uint64_t timeout_ms)
{
    f->health = grpc_health_start(f->loop, &f->peer.address, service, timeout_ms, on_done, f);
    assert_non_null(f->health);
    assert_int_equal(f->done, 0);
    run_loop(f->loop);
    assert_int_equal(f->done, 1);
}

static void teardown(struct fixture *f)
{
    grpc_health_free(f->health);
    loop_run_deferred(f->loop);
    h2_peer_fini(&f->peer);
    loop_free(f->loop);
}

static void assert_why(const struct fixture *f, const char *part)
{
    assert_int_equal(f->status, 503);
    assert_non_null(f->why);
    if (strstr(f->why, part) == NULL) {
        fail_msg("\"%s\"; expected \"%s\"", f->why, part);
    }
}

static void test_serving(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "\x08\x01", 2);
    h2_trailers(&f.peer.script, "0", NULL);
    ask(&f, "orders", 60000);
    assert_int_equal(f.status, 200);
    assert_null(f.why);
    assert_non_null(memmem(f.peer.heard.data, f.peer.heard.len, "\0\0\0\0\x08\x0a\x06orders", 13));
    assert_null(memmem(f.peer.heard.data, f.peer.heard.len, "spiffe", 6));
    teardown(&f);
}

/* What the call ends with counts more than what it said before. */
static void test_serving_is_not_believed_alone(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        const char *why;
    } rows[] = {{"2", "status other than OK"},          {"5", "does not know this service"},
                {"12", "has no gRPC health"},           {"14", "status other than OK"},
                {"99", "status other than OK"},         {"", "status other than OK"},
                {NULL, "did not answer as gRPC health"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        setup(&f);
        h2_response(&f.peer.script);
        h2_message(&f.peer.script, "\x08\x01", 2);
        if (rows[i].status != NULL) {
            h2_trailers(&f.peer.script, rows[i].status, "secret");
        } else {
            h2_rst_stream(&f.peer.script, 2);
        }
        ask(&f, "", 60000);
        assert_why(&f, rows[i].why);
        assert_null(strstr(f.why, "secret"));
        teardown(&f);
    }
}

static void test_two_answers_are_none(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "\x08\x02", 2);
    h2_message(&f.peer.script, "\x08\x01", 2);
    h2_trailers(&f.peer.script, "0", NULL);
    ask(&f, "", 60000);
    assert_why(&f, "did not answer as gRPC health");
    teardown(&f);
}

static void test_ok_without_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_trailers_only(&f.peer.script, "0", NULL);
    ask(&f, "", 60000);
    assert_why(&f, "did not answer with a state");
    teardown(&f);
}

static void test_half_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_data(&f.peer.script, "\0\0\0\0\2\x08", 6);
    h2_trailers(&f.peer.script, "0", NULL);
    ask(&f, "", 60000);
    assert_why(&f, "did not answer with a state");
    teardown(&f);
}

static void test_an_answer_that_is_too_large(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_data(&f.peer.script, "\0\0\0\4\1\x08\x01", 7);
    ask(&f, "", 60000);
    assert_why(&f, "did not answer as gRPC health");
    teardown(&f);
}

/* SERVING came, the end didn't: one deadline for all. */
static void test_a_call_that_does_not_end(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    h2_response(&f.peer.script);
    h2_message(&f.peer.script, "\x08\x01", 2);
    ask(&f, "", 50);
    assert_why(&f, "did not answer in time");
    teardown(&f);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    assert_true(netaddr_from_path(&f.peer.address, "/nonexistent/app.sock"));
    ask(&f, "", 60000);
    assert_why(&f, "could not be reached");
    teardown(&f);
}

static void test_free_is_silent(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.health = grpc_health_start(f.loop, &f.peer.address, "", 10, on_done, &f);
    grpc_health_free(f.health);
    f.health = NULL;
    run_loop_ms(f.loop, 30);
    assert_int_equal(f.done, 0);
    grpc_health_free(NULL);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_request),
        cmocka_unit_test(test_the_response),
        cmocka_unit_test(test_serving),
        cmocka_unit_test(test_serving_is_not_believed_alone),
        cmocka_unit_test(test_two_answers_are_none),
        cmocka_unit_test(test_ok_without_an_answer),
        cmocka_unit_test(test_half_an_answer),
        cmocka_unit_test(test_an_answer_that_is_too_large),
        cmocka_unit_test(test_a_call_that_does_not_end),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_free_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
