/*
 * swap and authority: what becomes of a session when another snapshot comes, at each stage of its
 * life; and what control hears of it.
 */
#include "proxy_test.h"

#include "proxy/authority.h"

struct scene {
    struct backend backend;
    struct site *site;
    struct peer peer;
    int fd; /* of a client that only dials; or -1 */
};

#define LISTENER "{name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://HERE'}"

/* The text with the backend's address in each place of "HERE". */
static const char *text_of(const struct scene *scene, const char *pattern, char text[1024])
{
    size_t len = 0;
    for (const char *at = pattern; *at != '\0';) {
        bool here = strncmp(at, "HERE", 4) == 0;
        len += (size_t)snprintf(text + len, 1024 - len, "%.*s", here ? NETADDR_TEXT_SIZE : 1,
                                here ? scene->backend.host_port : at);
        at += here ? 4 : 1;
        assert_true(len < 1024);
    }
    return text;
}

static void scene_start(struct scene *scene)
{
    char text[1024];
    backend_open(&scene->backend);
    scene->site = site_new(text_of(scene, "listeners: [" LISTENER "]\n" ALLOW_PEER, text));
    scene->fd = -1;
}

static void relay_stands(struct scene *scene)
{
    struct site *site = scene->site;
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &scene->peer, &options, site_dial(site, 0));
    run_until(&site->world, backend_accepted, &scene->backend);
    run_until(&site->world, peer_is_done, &scene->peer);
    run_until(&site->world, is_relaying, site);
}

static bool is_there(void *arg)
{
    return site_session(arg) != NULL;
}

static void handshake_waits(struct scene *scene)
{
    scene->fd = site_dial(scene->site, 0);
    run_until(&scene->site->world, is_there, scene->site);
}

static void scene_end(struct scene *scene)
{
    if (scene->fd >= 0) {
        (void)close(scene->fd);
    } else {
        peer_fini(&scene->peer);
    }
    backend_hang_up(&scene->backend);
    site_free(scene->site);
    (void)close(scene->backend.listening);
}

static bool is_in_force(void *arg)
{
    struct site *site = arg;
    run_loop_ms(site->control_loop, 1);
    return site->said_in_force > 0;
}

static struct credentials *other_credentials(struct site *site, const struct identity *own,
                                             const struct identity *anchor, uint64_t epoch)
{
    struct credentials *plain = make_credentials(site->world.crypto, own, anchor, 2);
    const struct credentials_domain *domain = credentials_find(plain, strview_from(DOMAIN));
    const struct credentials_parts parts = {
        .own = credentials_own(plain),
        .domains = domain,
        .domain_count = 1,
        .generation = 2,
        .identity_epoch = epoch,
    };
    struct errbuf err;
    struct credentials *made = credentials_build(&parts, &err);
    assert_non_null(made);
    credentials_unref(plain);
    return made;
}

/* Brings a snapshot into force in the worker. credentials NULL: those that are. */
static struct snapshot *swap_to(struct scene *scene, const char *text,
                                struct credentials *credentials)
{
    struct site *site = scene->site;
    struct snapshot *former = site->worker->snapshot;
    struct snapshot *next = site_compose(
        site, text, credentials != NULL ? credentials : former->credentials, 2, former->setup);
    site->said_in_force = 0;
    site_follow_metrics(site, next->setup);
    const struct worker_next order = {.snapshot = next, .sockets = site->sockets};
    worker_swap(site->worker, &order);
    run_until(&site->world, is_in_force, site);
    assert_ptr_equal(site->worker->snapshot, next);
    snapshot_unref(next); /* the worker has its own */
    return next;
}

struct swap_case {
    const char *text;
    enum reason relaying;
    enum reason waiting; /* in its handshake */
    const char *detail;
};

static const struct swap_case cases[] = {
    {"listeners: [" LISTENER "]\n" ALLOW_PEER, REASON_NONE, REASON_NONE, ""},
    {"listeners: [" LISTENER "]\nrules: [{name: b, from: 'spiffe://" DOMAIN "/**', to: in}]\n",
     REASON_NONE, REASON_NONE, ""},
    {"listeners: [" LISTENER "]\n", REASON_RULE_REMOVED, REASON_NONE, "no rule"},
    {"listeners: [" LISTENER "]\nrules: [{name: b, from: 'spiffe://" DOMAIN "/**', to: in},\n"
     "  {name: no, action: deny, from: " PEER_ID ", to: in}]\n",
     REASON_RULE_DENIES, REASON_NONE, "\\\"no\\\""},
    {"listeners: [{name: other, accept: 'mtls://127.0.0.1:0', forward: 'tcp://HERE'}]\n" ALLOW_PEER,
     REASON_LISTENER_REMOVED, REASON_LISTENER_REMOVED, ""},
    {"listeners: [{name: in, accept: 'mtls://127.0.0.1:0', forward: "
     "'tcp://127.0.0.1:9'}]\n" ALLOW_PEER,
     REASON_LISTENER_CHANGED, REASON_LISTENER_CHANGED, ""},
    {"listeners: [{name: in, accept: 'mtls://127.0.0.1:0', forward: 'mtls://HERE',\n"
     "  expect: '" PEER_ID "'}]\n" ALLOW_PEER,
     REASON_LISTENER_CHANGED, REASON_LISTENER_CHANGED, ""},
};

static void assert_fate(struct scene *scene, const struct snapshot *now, enum reason reason,
                        const char *event)
{
    struct site *site = scene->site;
    assert_int_equal(site->swapped.judged, 1);
    if (reason == REASON_NONE) {
        struct session *session = site_session(site);
        assert_non_null(session);
        assert_ptr_equal(session->snapshot, now);
        assert_ptr_equal(session->listener, &now->setup->listeners[0]);
        return;
    }
    assert_int_equal(site->swapped.ended[reason], 1);
    assert_ended(site, reason, event);
}

static void test_swap_judges_live_sessions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene scene;
        char text[1024];
        scene_start(&scene);
        relay_stands(&scene);
        const struct snapshot *now = swap_to(&scene, text_of(&scene, cases[i].text, text), NULL);
        assert_fate(&scene, now, cases[i].relaying, "close");
        if (cases[i].relaying != REASON_NONE) {
            assert_line_has(scene.site, cases[i].detail);
            assert_int_equal(wait_for_end(scene.site, scene.backend.fd), ECONNRESET);
        }
        scene_end(&scene);
    }
}

static void test_swap_judges_handshakes_by_their_listener(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene scene;
        char text[1024];
        scene_start(&scene);
        handshake_waits(&scene);
        const struct snapshot *now = swap_to(&scene, text_of(&scene, cases[i].text, text), NULL);
        assert_fate(&scene, now, cases[i].waiting, "deny");
        scene_end(&scene);
    }
}

/* The same setup and credentials, and that entry in quarantine (NULL: none). */
static struct snapshot *swap_quarantine(struct scene *scene, const char *entry)
{
    struct site *site = scene->site;
    struct snapshot *former = site->worker->snapshot;
    struct quarantine *quarantine = quarantine_build(&entry, entry != NULL);
    struct snapshot *next = snapshot_new(former->setup, former->credentials, quarantine, 2);
    const struct worker_next order = {.snapshot = next}; /* the listeners stay as they are */
    quarantine_unref(quarantine);
    site->said_in_force = 0;
    worker_swap(site->worker, &order);
    run_until(&site->world, is_in_force, site);
    snapshot_unref(next);
    return next;
}

static void test_swap_of_the_quarantine_alone(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        bool held;
    } rows[] = {
        {PEER_ID, true},
        {"spiffe://" DOMAIN "/**", true},
        {"spiffe://other.example/**", false},
        {"spiffe://" DOMAIN "/nobody", false},
        {"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", false},
        {NULL, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scene scene;
        scene_start(&scene);
        relay_stands(&scene);
        const struct policy_rule *rule = site_session(scene.site)->exchange.decision.rule;
        const struct snapshot *now = swap_quarantine(&scene, rows[i].entry);
        assert_fate(&scene, now, rows[i].held ? REASON_QUARANTINED : REASON_NONE, "close");
        if (rows[i].held) {
            assert_line_has(scene.site, rows[i].entry);
            assert_int_equal(wait_for_end(scene.site, scene.backend.fd), ECONNRESET);
        } else {
            assert_ptr_equal(site_session(scene.site)->exchange.decision.rule, rule);
        }
        scene_end(&scene);
    }
}

static void test_swap_of_the_quarantine_in_a_handshake(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene);
    struct site *site = scene.site;
    int fd = site_dial(site, 0);
    run_until(&site->world, is_there, site);
    (void)swap_quarantine(&scene, PEER_ID);
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &scene.peer, &options, fd);
    assert_ended(site, REASON_POLICY_QUARANTINE, "deny");
    assert_false(backend_accepted(&scene.backend));
    scene_end(&scene);
}

/* The handshake goes on under what came meanwhile. */
static void test_swap_a_handshake_that_ends_later_is_decided_anew(void **state)
{
    (void)state;
    struct scene scene;
    char text[1024];
    scene_start(&scene);
    struct site *site = scene.site;
    int fd = site_dial(site, 0);
    run_until(&site->world, is_there, site);
    (void)swap_to(&scene, text_of(&scene, "listeners: [" LISTENER "]\n", text), NULL);
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &scene.peer, &options, fd);
    assert_ended(site, REASON_POLICY_NO_RULE, "deny");
    assert_false(backend_accepted(&scene.backend));
    scene_end(&scene);
}

struct trust_case {
    bool other_anchor;
    bool rotated;
    uint64_t epoch;
    enum reason reason;
};

static void run_trust_case(const struct trust_case *c, bool relaying)
{
    struct scene scene;
    char text[1024];
    scene_start(&scene);
    struct site *site = scene.site;
    (relaying ? relay_stands : handshake_waits)(&scene);
    struct identity anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    struct identity own = make_identity(&site->world.anchor, OURS_ID, false, -HOUR, HOUR);
    struct credentials *credentials =
        other_credentials(site, c->rotated ? &own : &site->world.ours,
                          c->other_anchor ? &anchor : &site->world.anchor, c->epoch);
    const char *same = text_of(&scene, "listeners: [" LISTENER "]\n" ALLOW_PEER, text);
    const struct snapshot *now = swap_to(&scene, same, credentials);
    /* A handshake has shown nothing yet: only our own identity, under which it began, counts. */
    enum reason reason =
        relaying || c->reason == REASON_OWN_IDENTITY_CHANGED ? c->reason : REASON_NONE;
    assert_fate(&scene, now, reason, relaying ? "close" : "deny");
    credentials_unref(credentials);
    free_identity(&anchor);
    free_identity(&own);
    scene_end(&scene);
}

static void test_swap_of_credentials(void **state)
{
    (void)state;
    static const struct trust_case rows[] = {
        {false, false, 0, REASON_NONE},
        {false, true, 0, REASON_NONE},
        {true, false, 0, REASON_BUNDLE_WITHDRAWN},
        {true, true, 0, REASON_BUNDLE_WITHDRAWN},
        {false, true, 1, REASON_OWN_IDENTITY_CHANGED},
        {true, true, 1, REASON_OWN_IDENTITY_CHANGED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_trust_case(&rows[i], true);
        run_trust_case(&rows[i], false);
    }
}

/* Judged under a snapshot that never comes: nothing of the session changes. */
static void test_authority_a_look_changes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    char text[1024];
    struct authority_verdict verdict;
    scene_start(&scene);
    relay_stands(&scene);
    struct session *session = site_session(scene.site);
    struct snapshot *before = session->snapshot;
    struct snapshot *other =
        site_compose(scene.site, text_of(&scene, "listeners: [" LISTENER "]\n", text),
                     before->credentials, 2, before->setup);
    authority_judge(session, other, AUTHORITY_ALL, &verdict);
    assert_int_equal(verdict.reason, REASON_RULE_REMOVED);
    authority_judge(session, before, AUTHORITY_ALL, &verdict);
    assert_int_equal(verdict.reason, REASON_NONE);
    assert_ptr_equal(session->snapshot, before);
    assert_int_equal(authority_catch_up(session, &verdict), REASON_NONE);
    snapshot_unref(other);
    assert_true(is_relaying(scene.site));
    scene_end(&scene);
}

/* The worker is freed before its swap has ended: both snapshots are given back. */
static void test_swap_cut_off_by_the_end(void **state)
{
    (void)state;
    struct scene scene;
    char text[1024];
    scene_start(&scene);
    relay_stands(&scene);
    struct snapshot *former = scene.site->worker->snapshot;
    struct snapshot *next =
        site_compose(scene.site, text_of(&scene, "listeners: [" LISTENER "]\n" ALLOW_PEER, text),
                     former->credentials, 2, former->setup);
    site_follow_metrics(scene.site, next->setup);
    const struct worker_next order = {.snapshot = next, .sockets = scene.site->sockets};
    worker_swap(scene.site->worker, &order);
    snapshot_unref(next);
    worker_order(scene.site->worker, WORKER_CUT, REASON_STOPPED);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swap_judges_live_sessions),
        cmocka_unit_test(test_swap_judges_handshakes_by_their_listener),
        cmocka_unit_test(test_swap_of_the_quarantine_alone),
        cmocka_unit_test(test_swap_of_the_quarantine_in_a_handshake),
        cmocka_unit_test(test_swap_a_handshake_that_ends_later_is_decided_anew),
        cmocka_unit_test(test_swap_of_credentials),
        cmocka_unit_test(test_authority_a_look_changes_nothing),
        cmocka_unit_test(test_swap_cut_off_by_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
