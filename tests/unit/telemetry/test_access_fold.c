/* access_fold: what is equal, when it is told, and that no refusal is told twice or never. */
#include "telemetry/access_fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

enum { WINDOW = 10000 };

static int setup(void **state)
{
    *state = access_fold_new();
    return 0;
}

static int teardown(void **state)
{
    access_fold_free(*state);
    return 0;
}

static struct access_record refusal(enum reason reason, const char *listener, const char *id,
                                    const char *address)
{
    return (struct access_record){.event = "deny",
                                  .decision = "deny",
                                  .reason = reason,
                                  .listener = listener,
                                  .kind = "terminate",
                                  .downstream_id = strview_from(id),
                                  .downstream = address};
}

#define WEB "spiffe://prod.example/web"

static void test_access_fold_first_is_told_at_once(void **state)
{
    struct access_fold *fold = *state;
    struct access_record told;
    struct access_record record = refusal(REASON_POLICY_NO_RULE, "in", WEB, "127.0.0.1:1");
    record.rule = "no-web";
    assert_true(access_fold_due(fold) == ACCESS_FOLD_NEVER);
    assert_false(access_fold_takes(fold, &record, 1000, WINDOW));
    assert_true(access_fold_due(fold) == 1000 + WINDOW);
    for (uint64_t i = 1; i <= 5; i++) {
        record.session = i;
        assert_true(access_fold_takes(fold, &record, 1000 + i, WINDOW));
    }
    assert_false(access_fold_next(fold, 1000 + WINDOW - 1, WINDOW, false, &told));
    assert_true(access_fold_next(fold, 1000 + WINDOW, WINDOW, false, &told));
    assert_string_equal(told.event, "deny");
    assert_string_equal(told.decision, "deny");
    assert_string_equal(told.listener, "in");
    assert_string_equal(told.kind, "terminate");
    assert_string_equal(told.rule, "no-web");
    assert_int_equal(told.reason, REASON_POLICY_NO_RULE);
    assert_true(strview_equal_text(told.downstream_id, WEB));
    assert_string_equal(told.downstream, "");
    assert_int_equal(told.session, 5);
    assert_int_equal(told.repeats, 5);
    assert_int_equal(told.duration_ms, WINDOW);
    assert_false(access_fold_next(fold, 1000 + WINDOW, WINDOW, false, &told));
}

/* As long as they come they are told in numbers; after a window without any the next is a first. */
static void test_access_fold_goes_on_and_ends(void **state)
{
    struct access_fold *fold = *state;
    struct access_record told;
    struct access_record record = refusal(REASON_POLICY_NO_RULE, "in", WEB, "127.0.0.1:1");
    assert_false(access_fold_takes(fold, &record, 0, WINDOW));
    assert_true(access_fold_takes(fold, &record, 1, WINDOW));
    assert_true(access_fold_next(fold, WINDOW, WINDOW, false, &told));
    assert_true(access_fold_takes(fold, &record, WINDOW + 1, WINDOW));
    assert_true(access_fold_takes(fold, &record, WINDOW + 2, WINDOW));
    assert_true(access_fold_due(fold) == 2 * WINDOW);
    assert_true(access_fold_next(fold, 2 * WINDOW, WINDOW, false, &told));
    assert_int_equal(told.repeats, 2);
    assert_false(access_fold_next(fold, 3 * WINDOW, WINDOW, false, &told));
    assert_true(access_fold_due(fold) == ACCESS_FOLD_NEVER);
    assert_false(access_fold_takes(fold, &record, 3 * WINDOW, WINDOW));
}

static void test_access_fold_tells_apart(void **state)
{
    struct access_fold *fold = *state;
    const struct access_record records[] = {
        refusal(REASON_POLICY_NO_RULE, "in", WEB, "127.0.0.1:1"),
        refusal(REASON_POLICY_DENY_RULE, "in", WEB, "127.0.0.1:1"),
        refusal(REASON_POLICY_NO_RULE, "other", WEB, "127.0.0.1:1"),
        refusal(REASON_POLICY_NO_RULE, "in", WEB "2", "127.0.0.1:1"),
        refusal(REASON_SVID_EXPIRED, "in", NULL, "127.0.0.1:1"),
        refusal(REASON_SVID_EXPIRED, "in", NULL, "127.0.0.2:1"),
        refusal(REASON_SVID_EXPIRED, "in", NULL, "[::1]:1"),
        refusal(REASON_SVID_EXPIRED, "in", NULL, "unix:/a"),
        refusal(REASON_SVID_EXPIRED, "i", NULL, "n127.0.0.1:1"),
    };
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        assert_false(access_fold_takes(fold, &records[i], 0, WINDOW));
    }
    /* what a refused certificate claims; not the same as who is verified */
    struct access_record claims = records[4];
    claims.claimed_id = strview_from(WEB);
    assert_false(access_fold_takes(fold, &claims, 0, WINDOW));
    claims.claimed_id = strview_from(WEB "2");
    assert_false(access_fold_takes(fold, &claims, 0, WINDOW));
    struct access_record verified = refusal(REASON_SVID_EXPIRED, "in", WEB, "127.0.0.1:1");
    assert_false(access_fold_takes(fold, &verified, 0, WINDOW));
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        assert_true(access_fold_takes(fold, &records[i], 0, WINDOW));
    }
}

/* Who tries a rule in shadow mode looks for these lines. */
static void test_access_fold_tells_what_shadow_rules_would_do(void **state)
{
    struct access_fold *fold = *state;
    struct access_record told;
    struct access_record plain = refusal(REASON_POLICY_NO_RULE, "in", WEB, "127.0.0.1:1");
    struct access_record shadowed = plain;
    shadowed.shadow_decision = "allow";
    shadowed.shadow_rule = "web-tries";
    shadowed.rule = "enforced";
    struct access_record other = shadowed;
    other.shadow_rule = "another";
    assert_false(access_fold_takes(fold, &shadowed, 0, WINDOW));
    assert_false(access_fold_takes(fold, &plain, 0, WINDOW));
    assert_false(access_fold_takes(fold, &other, 0, WINDOW));
    assert_true(access_fold_takes(fold, &shadowed, 0, WINDOW));
    assert_true(access_fold_next(fold, 0, WINDOW, true, &told));
    assert_string_equal(told.shadow_decision, "allow");
    assert_string_equal(told.shadow_rule, "web-tries");
    assert_string_equal(told.rule, "enforced");
    assert_int_equal(told.repeats, 1);
    assert_false(access_fold_next(fold, 0, WINDOW, true, &told));
}

static void test_access_fold_what_makes_no_difference(void **state)
{
    struct access_fold *fold = *state;
    struct access_record told;
    struct access_record a = refusal(REASON_SVID_EXPIRED, "in", NULL, "[::1]:1");
    struct access_record b = refusal(REASON_SVID_EXPIRED, "in", NULL, "[::1]:65535");
    a.claimed_id = b.claimed_id = strview_from("spiffe://x/y");
    b.detail = "another";
    assert_false(access_fold_takes(fold, &a, 0, WINDOW));
    assert_true(access_fold_takes(fold, &b, 0, WINDOW));
    assert_true(access_fold_next(fold, 0, WINDOW, true, &told));
    assert_string_equal(told.downstream, "[::1]");
    assert_true(strview_equal_text(told.claimed_id, "spiffe://x/y"));
    assert_int_equal(told.downstream_id.len, 0);
    /* the verified ID, wherever it calls from */
    a = refusal(REASON_POLICY_NO_RULE, "in", WEB, "127.0.0.1:1");
    b = refusal(REASON_POLICY_NO_RULE, "in", WEB, "192.0.2.7:1");
    assert_false(access_fold_takes(fold, &a, 0, WINDOW));
    assert_true(access_fold_takes(fold, &b, 0, WINDOW));
}

static uint64_t tell_all(struct access_fold *fold, uint64_t now_ms, bool everything, size_t *lines)
{
    uint64_t sum = 0;
    struct access_record told;
    while (access_fold_next(fold, now_ms, WINDOW, everything, &told)) {
        char line[ACCESS_LINE_SIZE];
        assert_true(access_log_format(&told, line) > 0);
        sum += told.repeats;
        (*lines)++;
    }
    return sum;
}

/* Whoever comes from ever new addresses fills no disk: lines have a bound, the sum stays right. */
static void test_access_fold_of_too_many_kinds(void **state)
{
    struct access_fold *fold = *state;
    uint64_t refusals = 0;
    uint64_t firsts = 0;
    uint64_t counted = 0;
    size_t lines = 0;
    for (uint64_t window = 0; window < 5; window++) {
        size_t lines_before = lines;
        uint64_t firsts_before = firsts;
        for (unsigned i = 0; i < 100000; i++) {
            char address[64];
            (void)snprintf(address, sizeof(address), "[2001:db8::%x:%x]:1", (unsigned)window,
                           i % 50000);
            enum reason reason = i % 3 == 0 ? REASON_TLS_NOT_TLS : REASON_HANDSHAKE_CLOSED;
            struct access_record record = refusal(reason, "in", NULL, address);
            refusals++;
            firsts += access_fold_takes(fold, &record, window * WINDOW, WINDOW) ? 0 : 1;
        }
        counted += tell_all(fold, (window + 1) * WINDOW, false, &lines);
        assert_true(firsts - firsts_before + lines - lines_before <= 2 * ACCESS_FOLD_KINDS + 2);
    }
    counted += tell_all(fold, 5 * WINDOW, true, &lines);
    assert_true(firsts > 0 && firsts + counted == refusals);
    assert_true(access_fold_due(fold) == ACCESS_FOLD_NEVER);
}

static void test_access_fold_adds_up(void **state)
{
    struct access_fold *fold = *state;
    uint64_t refusals = 0;
    uint64_t firsts = 0;
    uint64_t counted = 0;
    size_t lines = 0;
    for (unsigned i = 0; i < 300000; i++) {
        char address[32];
        uint64_t now = i / 10;
        (void)snprintf(address, sizeof(address), "10.0.%u.%u:1", i % 7, i * 31 % 97);
        struct access_record record = refusal(REASON_TLS_NOT_TLS, "in", NULL, address);
        refusals++;
        firsts += access_fold_takes(fold, &record, now, 100) ? 0 : 1;
        if (i % 1000 == 0) {
            counted += tell_all(fold, now, false, &lines);
        }
    }
    counted += tell_all(fold, 1 << 20, true, &lines);
    assert_true(firsts + counted == refusals);
    assert_true(access_fold_due(fold) == ACCESS_FOLD_NEVER);
}

static void test_access_fold_everything_ends_all_windows(void **state)
{
    struct access_fold *fold = *state;
    struct access_record told;
    struct access_record quiet = refusal(REASON_TLS_NOT_TLS, "in", NULL, "10.0.0.1:1");
    struct access_record loud = refusal(REASON_TLS_NOT_TLS, "in", NULL, "10.0.0.2:1");
    assert_false(access_fold_takes(fold, &quiet, 0, WINDOW));
    assert_false(access_fold_takes(fold, &loud, 0, WINDOW));
    assert_true(access_fold_takes(fold, &loud, 0, WINDOW));
    assert_true(access_fold_next(fold, 1, WINDOW, true, &told));
    assert_string_equal(told.downstream, "10.0.0.2");
    assert_int_equal(told.duration_ms, 1);
    assert_false(access_fold_next(fold, 1, WINDOW, true, &told));
    assert_false(access_fold_takes(fold, &quiet, 1, WINDOW));
    assert_false(access_fold_takes(fold, &loud, 1, WINDOW));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_access_fold_first_is_told_at_once),
        T(test_access_fold_goes_on_and_ends),
        T(test_access_fold_tells_apart),
        T(test_access_fold_tells_what_shadow_rules_would_do),
        T(test_access_fold_what_makes_no_difference),
        T(test_access_fold_of_too_many_kinds),
        T(test_access_fold_adds_up),
        T(test_access_fold_everything_ends_all_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
