/*
 * session_query: which sessions match, how many are described, which are ended, and that a query
 * is of the moment at which it came.
 */
#include "proxy_test.h"

#include "proxy/session_query.h"

enum { WAITING = 3 };

/* One session in relay by the rule "peers", and some that wait in their handshake. */
struct scene {
    struct backend backend;
    struct site *site;
    struct peer peer;
    int waiting[WAITING];
    size_t waiting_count;
};

static void scene_start(struct scene *scene)
{
    char text[1024];
    backend_open(&scene->backend);
    (void)snprintf(
        text, sizeof(text),
        "listeners:\n"
        "  - {name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'}\n"
        "  - {name: other, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'}\n" ALLOW_PEER,
        scene->backend.host_port, scene->backend.host_port);
    scene->site = site_new(text);
    scene->waiting_count = 0;
    struct world *world = &scene->site->world;
    const struct peer_options options = {.show = &world->peer};
    peer_init(world, &scene->peer, &options, site_dial(scene->site, 0));
    run_until(world, backend_accepted, &scene->backend);
    run_until(world, peer_is_done, &scene->peer);
    run_until(world, is_relaying, scene->site);
}

static bool all_wait(void *arg)
{
    const struct scene *scene = arg;
    return scene->site->worker->session_count == 1 + scene->waiting_count;
}

static void some_wait(struct scene *scene, size_t listener)
{
    while (scene->waiting_count < WAITING) {
        scene->waiting[scene->waiting_count++] = site_dial(scene->site, listener);
        run_until(&scene->site->world, all_wait, scene);
    }
}

static void scene_end(struct scene *scene)
{
    for (size_t i = 0; i < scene->waiting_count; i++) {
        (void)close(scene->waiting[i]);
    }
    peer_fini(&scene->peer);
    backend_hang_up(&scene->backend);
    site_free(scene->site);
    (void)close(scene->backend.listening);
}

static bool is_answered(void *arg)
{
    struct site *site = arg;
    run_loop_ms(site->control_loop, 1);
    return site->said_queried > 0;
}

static void wait_for_answer(struct scene *scene)
{
    run_until(&scene->site->world, is_answered, scene->site);
    assert_int_equal(scene->site->said_queried, 1);
    scene->site->said_queried = 0;
    assert_false(scene->site->query_failed);
}

static struct session_query query_by(const char *identity, const char *rule, const char *listener)
{
    struct session_query query = {.rule = rule, .listener = listener, .limit = 1000};
    const char *why = NULL;
    if (identity != NULL) {
        query.has_identity = true;
        assert_int_equal(id_pattern_parse(strview_from(identity), &query.identity, &why), 0);
    }
    return query;
}

static uint64_t count_of(struct scene *scene, const struct session_query *query)
{
    worker_query(scene->site->worker, query);
    wait_for_answer(scene);
    return scene->site->matched;
}

static void test_query_matches_all_that_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *identity;
        const char *rule;
        const char *listener;
        unsigned matched;
    } rows[] = {
        {NULL, NULL, NULL, 1 + WAITING},
        {PEER_ID, NULL, NULL, 1},
        {"spiffe://" DOMAIN "/*", NULL, NULL, 1},
        {"spiffe://" DOMAIN "/**", NULL, NULL, 1},
        {"spiffe://" DOMAIN "/peer/*", NULL, NULL, 0},
        {"spiffe://other.example/peer", NULL, NULL, 0},
        {OURS_ID, NULL, NULL, 0},
        {NULL, "peers", NULL, 1},
        {NULL, "peer", NULL, 0},
        {NULL, "expect", NULL, 0},
        {NULL, NULL, "in", 1},
        {NULL, NULL, "other", WAITING},
        {NULL, NULL, "none", 0},
        {PEER_ID, "peers", "in", 1},
        {PEER_ID, "peers", "other", 0},
        {PEER_ID, "none", "in", 0},
        {OURS_ID, "peers", "in", 0},
    };
    struct scene scene;
    scene_start(&scene);
    some_wait(&scene, 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct session_query query = query_by(rows[i].identity, rows[i].rule, rows[i].listener);
        assert_int_equal(count_of(&scene, &query), rows[i].matched);
        assert_int_equal(scene.site->survey->count, rows[i].matched);
    }
    struct session_query query = query_by(NULL, NULL, NULL);
    query.session = site_session(scene.site)->id;
    assert_int_equal(count_of(&scene, &query), 1);
    query.session += 1000;
    assert_int_equal(count_of(&scene, &query), 0);
    scene_end(&scene);
}

static void test_query_describes_the_oldest(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene);
    some_wait(&scene, 1);
    struct session_query query = query_by(NULL, NULL, NULL);
    query.limit = 2;
    assert_int_equal(count_of(&scene, &query), 1 + WAITING);
    const struct session_survey *survey = scene.site->survey;
    assert_int_equal(survey->count, 2);
    assert_true(survey->sessions[0].id < survey->sessions[1].id);
    const struct session_brief *brief = &survey->sessions[0];
    assert_string_equal(survey_text(survey, brief->downstream.id), PEER_ID);
    assert_string_equal(brief->downstream.tls_version, "TLSv1.3");
    assert_false(brief->downstream.resumed);
    assert_string_equal(survey_text(survey, brief->upstream_address), scene.backend.host_port);
    assert_null(survey_text(survey, brief->upstream.id));
    assert_null(brief->upstream.tls_version);
    brief = &survey->sessions[1];
    assert_string_equal(brief->state, "handshake");
    assert_null(survey_text(survey, brief->downstream.id));
    assert_null(survey_text(survey, brief->upstream_address));
    scene_end(&scene);
}

static void test_query_ends_what_matches_and_nothing_else(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene);
    some_wait(&scene, 1);
    struct session_query query = query_by(PEER_ID, NULL, NULL);
    query.kind = SESSION_QUERY_TERMINATE;
    assert_int_equal(count_of(&scene, &query), 1);
    assert_null(scene.site->survey);
    assert_int_equal(wait_for_end(scene.site, scene.backend.fd), ECONNRESET);
    assert_line_has(scene.site, "\"reason\":\"terminated\"");
    assert_line_has(scene.site, "\"event\":\"close\"");
    assert_int_equal(scene.site->worker->session_count, WAITING);
    assert_int_equal(count_of(&scene, &query), 0);
    query.has_identity = false;
    query.listener = "other";
    assert_int_equal(count_of(&scene, &query), WAITING);
    assert_int_equal(scene.site->worker->session_count, 0);
    assert_int_equal(site_ended(scene.site, REASON_TERMINATED), 1 + WAITING);
    scene_end(&scene);
}

/* Whoever dials again at once is not chased. */
static void test_query_leaves_whoever_comes_later(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene);
    struct site *site = scene.site;
    struct session_query query = query_by(NULL, NULL, NULL);
    query.kind = SESSION_QUERY_TERMINATE;
    session_query_start(site->worker, &query);
    const struct setup_listener *listener = &site->snapshot->setup->listeners[1];
    int pair[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(limits_reserve(&site->limits, listener), LIMITS_NONE);
    const struct netaddr nobody = {.len = 0};
    session_accept(site->worker, listener, pair[0], &nobody);
    wait_for_answer(&scene);
    assert_int_equal(site->matched, 1);
    assert_int_equal(site->worker->session_count, 1);
    assert_int_equal(site_session(site)->state, SESSION_HELLO);
    (void)close(pair[1]);
    scene_end(&scene);
}

/* Leaks are the sanitizer's to find. */
static void test_query_ends_with_its_worker(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene);
    struct session_query query = query_by(NULL, NULL, NULL);
    query.kind = SESSION_QUERY_TERMINATE;
    assert_int_equal(count_of(&scene, &query), 1);
    query.kind = SESSION_QUERY_LIST;
    peer_fini(&scene.peer);
    backend_hang_up(&scene.backend);
    run_until(&scene.site->world, site_is_quiet, scene.site);
    session_query_start(scene.site->worker, &query);
    site_free(scene.site);
    (void)close(scene.backend.listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_matches_all_that_it_says),
        cmocka_unit_test(test_query_describes_the_oldest),
        cmocka_unit_test(test_query_ends_what_matches_and_nothing_else),
        cmocka_unit_test(test_query_leaves_whoever_comes_later),
        cmocka_unit_test(test_query_ends_with_its_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
