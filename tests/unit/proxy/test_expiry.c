/*
 * expiry: when sessions end by time, by a wall clock that the test turns (the test hook of
 * base/clock, compiled in here).
 */
#define BULKHEAD_TEST_CLOCK
#include "../../../src/base/clock.c"

#include "proxy_test.h"

static _Atomic int64_t ahead;

static void turn_clock(int64_t hours)
{
    test_offset_ms = &ahead;
    ahead = hours * HOUR * 1000;
}

struct scene {
    struct backend backend;
    struct site *site;
    struct peer peer;
};

/* more: further keys of the listener; also: further sections. */
static void scene_start(struct scene *scene, const char *more, const char *also)
{
    char text[1024];
    backend_open(&scene->backend);
    (void)snprintf(text, sizeof(text),
                   "listeners: [{name: in, accept: 'mtls://127.0.0.1:0', forward: "
                   "'tcp://%s'%s}]\n%s" ALLOW_PEER,
                   scene->backend.host_port, more, also);
    scene->site = site_new(text);
}

static void connect_peer(struct scene *scene, const struct identity *identity)
{
    struct site *site = scene->site;
    const struct peer_options options = {.show = identity};
    peer_init(&site->world, &scene->peer, &options, site_dial(site, 0));
    run_until(&site->world, backend_accepted, &scene->backend);
    run_until(&site->world, peer_is_done, &scene->peer);
    run_until(&site->world, is_relaying, site);
}

static void scene_end(struct scene *scene)
{
    turn_clock(0);
    peer_fini(&scene->peer);
    backend_hang_up(&scene->backend);
    site_free(scene->site);
    (void)close(scene->backend.listening);
}

static enum reason cause;

static uint64_t hours_left(const struct site *site)
{
    uint64_t end_ms = expiry_wall_ms(site_session(site), &cause);
    uint64_t now_ms = clock_wall_ms();
    return end_ms <= now_ms ? 0 : (end_ms - now_ms + HOUR * 500) / (HOUR * 1000);
}

static void test_expiry_of_the_peers_certificate(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, "", "");
    connect_peer(&scene, &scene.site->world.peer);
    assert_int_equal(hours_left(scene.site), 1);
    turn_clock(2);
    expiry_clock_set(scene.site->worker->expiry);
    assert_ended(scene.site, REASON_PEER_EXPIRED, "close");
    assert_int_equal(wait_for_end(scene.site, scene.backend.fd), ECONNRESET);
    scene_end(&scene);
}

/* Nobody tells it that the clock was set: it looks itself, once a second. */
static void test_expiry_looks_at_the_clock_by_itself(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, "", "");
    connect_peer(&scene, &scene.site->world.peer);
    turn_clock(2);
    uint64_t began = clock_mono_ms();
    assert_ended(scene.site, REASON_PEER_EXPIRED, "close");
    assert_in_range(clock_mono_ms() - began, 0, 5000);
    scene_end(&scene);
}

static void test_expiry_after_a_step_with_nobody_there(void **state)
{
    (void)state;
    struct scene scene;
    turn_clock(100);
    scene_start(&scene, "", "");
    turn_clock(0);
    connect_peer(&scene, &scene.site->world.peer);
    assert_int_equal(hours_left(scene.site), 1);
    scene_end(&scene);
}

static void test_expiry_follows_a_step_back_and_forward(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, "", "");
    struct identity longer =
        make_identity(&scene.site->world.anchor, PEER_ID, false, -100 * HOUR, 10 * HOUR);
    connect_peer(&scene, &longer);
    /* The path ends with its anchor, in an hour. */
    assert_int_equal(hours_left(scene.site), 1);
    turn_clock(-20);
    run_loop_ms(scene.site->world.loop, 1500);
    assert_int_equal(hours_left(scene.site), 21);
    turn_clock(0);
    run_loop_ms(scene.site->world.loop, 1500);
    assert_int_equal(hours_left(scene.site), 1);
    assert_true(is_relaying(scene.site));
    turn_clock(1);
    assert_ended(scene.site, REASON_PEER_EXPIRED, "close");
    free_identity(&longer);
    scene_end(&scene);
}

static void test_expiry_max_age(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, ", max_age: 1s, close_on_expiry: false", "");
    uint64_t began = clock_mono_ms();
    connect_peer(&scene, &scene.site->world.peer);
    turn_clock(2); /* neither an age nor an end here */
    assert_ended(scene.site, REASON_MAX_AGE, "close");
    assert_in_range(clock_mono_ms() - began, 899, 5000);
    scene_end(&scene);
}

static void test_expiry_of_our_own_svid(void **state)
{
    (void)state;
    static const struct {
        const char *own_expiry;
        bool ends;
    } rows[] = {{"own_expiry: close\n", true}, {"own_expiry: refuse_new\n", false}};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        scene_start(&scene, ", max_age: 100h, close_on_expiry: false", rows[i].own_expiry);
        connect_peer(&scene, &scene.site->world.peer);
        assert_int_equal(hours_left(scene.site), rows[i].ends ? 1 : 100);
        turn_clock(2);
        if (rows[i].ends) {
            assert_ended(scene.site, REASON_OWN_EXPIRED, "close");
        } else {
            run_loop_ms(scene.site->world.loop, 1500);
            assert_true(is_relaying(scene.site));
        }
        scene_end(&scene);
    }
}

/* A site whose rules admit the peer until each of those hours from now. */
static void scene_start_ending(struct scene *scene, const int *hours, size_t count)
{
    char text[1024];
    char rules[512] = "";
    for (size_t i = 0; i < count; i++) {
        char moment[CLOCK_TEXT_SIZE];
        size_t len = strlen(rules);
        (void)snprintf(rules + len, sizeof(rules) - len,
                       "%s{name: r%zu, from: '" PEER_ID "', to: in, expires: '%s'}",
                       i > 0 ? ", " : "", i,
                       clock_format_s(clock_wall_s() + hours[i] * HOUR, moment));
    }
    backend_open(&scene->backend);
    (void)snprintf(text, sizeof(text),
                   "listeners: [{name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s', "
                   "close_on_expiry: false}]\nrules: [%s]\n",
                   scene->backend.host_port, rules);
    scene->site = site_new(text);
}

static void test_expiry_of_a_rule(void **state)
{
    (void)state;
    static const int hours[] = {1};
    struct scene scene;
    scene_start_ending(&scene, hours, 1);
    connect_peer(&scene, &scene.site->world.peer);
    assert_int_equal(hours_left(scene.site), 1);
    assert_int_equal(cause, REASON_RULE_EXPIRED);
    turn_clock(2);
    expiry_clock_set(scene.site->worker->expiry);
    assert_ended(scene.site, REASON_RULE_EXPIRED, "close");
    assert_line_has(scene.site, "rule \\\"r0\\\" ended at ");
    assert_int_equal(wait_for_end(scene.site, scene.backend.fd), ECONNRESET);
    scene_end(&scene);
}

/* The deadline follows from rule to rule, the clock forth and back. */
static void test_expiry_of_one_rule_after_another(void **state)
{
    (void)state;
    static const int hours[] = {1, 9, 5};
    struct scene scene;
    scene_start_ending(&scene, hours, 3);
    connect_peer(&scene, &scene.site->world.peer);
    const struct decision *decision = &site_session(scene.site)->exchange.decision;
    assert_string_equal(decision->rule->name, "r0");
    turn_clock(2);
    run_loop_ms(scene.site->world.loop, 1500);
    assert_string_equal(decision->rule->name, "r1"); /* it stands before r2, which ends sooner */
    assert_int_equal(hours_left(scene.site), 7);
    turn_clock(-30);
    run_loop_ms(scene.site->world.loop, 1500);
    assert_int_equal(hours_left(scene.site), 39);
    assert_true(is_relaying(scene.site));
    turn_clock(10);
    assert_ended(scene.site, REASON_RULE_EXPIRED, "close");
    scene_end(&scene);
}

/* It has no end but its rule's: nothing is early. */
static void test_expiry_of_a_rule_looks_for_no_quiet_moment(void **state)
{
    (void)state;
    static const int hours[] = {1};
    struct scene scene;
    scene_start_ending(&scene, hours, 1);
    connect_peer(&scene, &scene.site->world.peer);
    const uint64_t end_ms = (uint64_t)site_session(scene.site)->exchange.decision.until_s * 1000;
    test_offset_ms = &ahead;
    ahead = HOUR * 1000 - 4000; /* all of it quiet; a tenth of what is left would be early */
    run_until(&scene.site->world, site_has_none, scene.site);
    assert_in_range(clock_wall_ms(), end_ms, end_ms + 5000);
    assert_ended(scene.site, REASON_RULE_EXPIRED, "close");
    scene_end(&scene);
}

static bool has_answer(void *arg)
{
    struct backend *backend = arg;
    char byte;
    return recv(backend->fd, &byte, 1, 0) == 1;
}

/* Bytes every few milliseconds leave no quiet moment: it has all its time. */
static void test_expiry_a_busy_session_has_all_its_time(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, ", max_age: 2s", "");
    uint64_t began = clock_mono_ms();
    connect_peer(&scene, &scene.site->world.peer);
    while (clock_mono_ms() - began < 1900) {
        peer_write(&scene.peer, "x", 1);
        run_until(&scene.site->world, has_answer, &scene.backend);
        assert_true(is_relaying(scene.site));
    }
    assert_ended(scene.site, REASON_MAX_AGE, "close");
    assert_in_range(clock_mono_ms() - began, 1900, 5000);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry_of_the_peers_certificate),
        cmocka_unit_test(test_expiry_looks_at_the_clock_by_itself),
        cmocka_unit_test(test_expiry_after_a_step_with_nobody_there),
        cmocka_unit_test(test_expiry_follows_a_step_back_and_forward),
        cmocka_unit_test(test_expiry_max_age),
        cmocka_unit_test(test_expiry_of_our_own_svid),
        cmocka_unit_test(test_expiry_of_a_rule),
        cmocka_unit_test(test_expiry_of_one_rule_after_another),
        cmocka_unit_test(test_expiry_of_a_rule_looks_for_no_quiet_moment),
        cmocka_unit_test(test_expiry_a_busy_session_has_all_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
