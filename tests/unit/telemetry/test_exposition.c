/* exposition: both formats to the byte, escaping, numbers, pieces, and what an Accept header asks.
 */
#include "telemetry/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct metric_label label(const char *name, const char *value)
{
    return (struct metric_label){name, strview_from(value)};
}

static void expect(struct bytebuf *out, const char *text)
{
    assert_true(bytebuf_append(out, "", 1));
    assert_string_equal((const char *)bytebuf_data(out), text);
    bytebuf_clear(out);
}

static void test_a_counter_in_both_formats(void **state)
{
    (void)state;
    struct bytebuf out = {0};
    const struct metric_label labels[] = {label("result", "refused")};
    struct exposition e = {.format = EXPOSITION_TEXT, .out = &out};
    exposition_family(&e, METRIC_PROCESS_CPU);
    exposition_us(&e, NULL, 0, 12345678);
    exposition_family(&e, METRIC_RELOADS);
    exposition_u64(&e, labels, 1, UINT64_MAX);
    exposition_end(&e);
    expect(&out, "# HELP process_cpu_seconds_total User and system CPU time spent.\n"
                 "# TYPE process_cpu_seconds_total counter\n"
                 "process_cpu_seconds_total 12.345678\n"
                 "# HELP bulkhead_reloads_total Reloads since the start, by result: in_force, "
                 "unchanged, refused, quarantine_alone (refused, but for what the quarantine has "
                 "gained). A changed credential file counts as one.\n"
                 "# TYPE bulkhead_reloads_total counter\n"
                 "bulkhead_reloads_total{result=\"refused\"} 18446744073709551615\n");
    e = (struct exposition){.format = EXPOSITION_OPENMETRICS, .out = &out};
    exposition_family(&e, METRIC_PROCESS_CPU);
    exposition_us(&e, NULL, 0, 2000000);
    exposition_end(&e);
    expect(&out, "# HELP process_cpu_seconds User and system CPU time spent.\n"
                 "# TYPE process_cpu_seconds counter\n"
                 "process_cpu_seconds_total 2\n"
                 "# EOF\n");
    assert_false(e.failed);
}

static void test_a_family_without_samples_leaves_nothing(void **state)
{
    (void)state;
    struct bytebuf out = {0};
    struct exposition e = {.out = &out};
    exposition_family(&e, METRIC_RELOADS);
    exposition_family(&e, METRIC_GENERATION);
    exposition_end(&e);
    assert_int_equal(bytebuf_len(&out), 0);
}

static void test_label_values_and_help_are_escaped(void **state)
{
    (void)state;
    struct bytebuf out = {0};
    const struct metric_label labels[] = {label("peer", "a\\b\"c\nd\\"), label("decision", ""),
                                          label("mode", "\"")};
    struct exposition e = {.format = EXPOSITION_TEXT, .out = &out};
    exposition_family(&e, METRIC_PEER_DECISIONS);
    exposition_u64(&e, labels, 3, 1);
    assert_true(bytebuf_append(&out, "", 1));
    const char *text = (const char *)bytebuf_data(&out);
    assert_non_null(strstr(text, "\nbulkhead_peer_decisions_total{peer=\"a\\\\b\\\"c\\nd\\\\\","
                                 "decision=\"\",mode=\"\\\"\"} 1\n"));
    assert_non_null(strstr(text, "count as \"other\"."));
    bytebuf_clear(&out);
    e.format = EXPOSITION_OPENMETRICS;
    exposition_family(&e, METRIC_PEER_DECISIONS);
    exposition_u64(&e, labels, 3, 1);
    assert_true(bytebuf_append(&out, "", 1));
    assert_non_null(strstr((const char *)bytebuf_data(&out), "count as \\\"other\\\"."));
    bytebuf_clear(&out);
}

static void test_a_histogram_is_cumulative(void **state)
{
    (void)state;
    struct bytebuf out = {0};
    uint64_t cells[METRIC_SHORT_CELLS] = {1, 0, 2};
    const struct metric_label labels[] = {label("side", "upstream")};
    cells[METRIC_SHORT_BOUNDS] = 4;
    cells[METRIC_SHORT_BOUNDS + 1] = 40000500;
    struct exposition e = {.format = EXPOSITION_OPENMETRICS, .out = &out};
    exposition_family(&e, METRIC_HANDSHAKE_DURATION);
    exposition_histogram(&e, labels, 1, cells);
    assert_true(bytebuf_append(&out, "", 1));
    const char *text = strchr(strchr((const char *)bytebuf_data(&out), '\n') + 1, '\n') + 1;
#define NAME "bulkhead_handshake_duration_seconds"
    assert_string_equal(text, NAME "_bucket{side=\"upstream\",le=\"0.0005\"} 1\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.001\"} 1\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.002\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.005\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.01\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.02\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.05\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.1\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.2\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"0.5\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"1.0\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"2.0\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"5.0\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"10.0\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"30.0\"} 3\n" NAME
                                   "_bucket{side=\"upstream\",le=\"+Inf\"} 7\n" NAME
                                   "_sum{side=\"upstream\"} 40.0005\n" NAME
                                   "_count{side=\"upstream\"} 7\n");
    bytebuf_clear(&out);
    e.format = EXPOSITION_TEXT;
    exposition_family(&e, METRIC_CONNECT_DURATION);
    exposition_histogram(&e, NULL, 0, cells);
    assert_true(bytebuf_append(&out, "", 1));
    assert_non_null(strstr((const char *)bytebuf_data(&out), "_seconds_bucket{le=\"1\"} 3\n"));
    assert_non_null(strstr((const char *)bytebuf_data(&out), "_seconds_bucket{le=\"10\"} 3\n"));
    bytebuf_clear(&out);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "0.000001"},
        {100000, "0.1"},
        {1000000, "1"},
        {10000000, "10"},
        {10000001, "10.000001"},
        {UINT64_MAX, "18446744073709.551615"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytebuf out = {0};
        struct exposition e = {.out = &out, .family = METRIC_PROCESS_CPU, .has_head = true};
        char line[128];
        exposition_us(&e, NULL, 0, cases[i].us);
        (void)snprintf(line, sizeof(line), "process_cpu_seconds_total %s\n", cases[i].text);
        expect(&out, line);
    }
    struct bytebuf out = {0};
    struct exposition e = {.out = &out, .family = METRIC_GENERATION, .has_head = true};
    exposition_i64(&e, NULL, 0, INT64_MIN);
    expect(&out, "bulkhead_generation -9223372036854775808\n");
}

/* The head comes once, whatever buffer the samples go to. */
static void test_pieces(void **state)
{
    (void)state;
    struct bytebuf first = {0};
    struct bytebuf second = {0};
    const struct metric_label labels[] = {label("listener", "a")};
    struct exposition e = {.out = &first};
    exposition_family(&e, METRIC_CONNECTIONS_ACCEPTED);
    exposition_u64(&e, labels, 1, 1);
    e.out = &second;
    exposition_u64(&e, labels, 1, 2);
    expect(&second, "bulkhead_connections_accepted_total{listener=\"a\"} 2\n");
    assert_true(bytebuf_len(&first) > 0);
    bytebuf_clear(&first);
}

static void test_accept(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum exposition_format format;
    } cases[] = {
        {NULL, EXPOSITION_TEXT},
        {"", EXPOSITION_TEXT},
        {"*/*", EXPOSITION_TEXT},
        {"application/*", EXPOSITION_TEXT},
        {"text/html", EXPOSITION_TEXT},
        {"application/openmetrics-text", EXPOSITION_OPENMETRICS},
        {"Application/OpenMetrics-Text ; Version=1.0.0 ; charset=utf-8", EXPOSITION_OPENMETRICS},
        {"application/openmetrics-text;version=0.0.1", EXPOSITION_TEXT},
        {"application/openmetrics-text;version=2.0.0", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0.0", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0.001", EXPOSITION_OPENMETRICS},
        {"application/openmetrics-text;q=1.1", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=2", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0.5x", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=-1", EXPOSITION_TEXT},
        {"application/openmetrics-text;q", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=", EXPOSITION_TEXT},
        {"application/openmetrics-text-x", EXPOSITION_TEXT},
        {"xapplication/openmetrics-text", EXPOSITION_TEXT},
        {"text/plain,application/openmetrics-text", EXPOSITION_OPENMETRICS},
        {"text/plain;q=0.9,application/openmetrics-text;q=0.8", EXPOSITION_TEXT},
        {"text/plain;version=1.0.0;q=0.9,application/openmetrics-text;q=0.8",
         EXPOSITION_OPENMETRICS},
        {",;,=,;q=1,,application/openmetrics-text,", EXPOSITION_OPENMETRICS},
        /* Prometheus 2.42 and 3.4. */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q="
         "0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         EXPOSITION_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/"
         "openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
         "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
         EXPOSITION_OPENMETRICS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct strview accept = strview_from(cases[i].accept);
        if (exposition_choose(accept) != cases[i].format) {
            fail_msg("%s", cases[i].accept);
        }
    }
    assert_string_equal(exposition_content_type(EXPOSITION_TEXT),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(exposition_content_type(EXPOSITION_OPENMETRICS),
                        "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_counter_in_both_formats),
        cmocka_unit_test(test_a_family_without_samples_leaves_nothing),
        cmocka_unit_test(test_label_values_and_help_are_escaped),
        cmocka_unit_test(test_a_histogram_is_cumulative),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
