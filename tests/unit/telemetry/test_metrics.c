/* metrics: sums over workers, histograms, listeners that go and come back, the table itself. */
#include "telemetry/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { WORKERS = 3, SLOTS = 8 };

static void follow(struct metrics *metrics, const char *first, size_t first_slot,
                   const char *second, size_t second_slot)
{
    const struct metrics_listener listeners[] = {
        {.name = first, .slot = first_slot, .has_side = {true, false}},
        {.name = second, .slot = second_slot, .has_side = {true, true}},
    };
    metrics_follow(metrics, listeners, second == NULL ? 1 : 2);
}

static const struct metrics_name *find(const struct metrics *metrics, const char *text)
{
    for (size_t i = 0; i < metrics_name_count(metrics); i++) {
        const struct metrics_name *name = metrics_name(metrics, i);
        if (name != NULL && strcmp(metrics_name_text(name), text) == 0) {
            return name;
        }
    }
    return NULL;
}

static uint64_t count_of(const struct metrics *metrics, const char *text, size_t cell)
{
    const struct metrics_name *name = find(metrics, text);
    assert_non_null(name);
    return metrics_read(metrics, name, cell);
}

static struct metrics_block *block(const struct metrics *metrics, size_t worker, size_t slot)
{
    struct metrics_block *found = metrics_blocks(metrics, worker)[slot];
    assert_non_null(found);
    return found;
}

static void test_counts_are_summed_over_workers(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(WORKERS, SLOTS);
    follow(metrics, "a", 0, "b", 1);
    for (size_t w = 0; w < WORKERS; w++) {
        metrics_add(block(metrics, w, 0), METRIC_CELL_CONNECTIONS_ACCEPTED, w + 1);
        metrics_add(block(metrics, w, 1), METRIC_CELL_RELAYED_BYTES + (size_t)METRIC_DOWN, 100);
    }
    assert_int_equal(count_of(metrics, "a", METRIC_CELL_CONNECTIONS_ACCEPTED), 6);
    assert_int_equal(count_of(metrics, "b", METRIC_CELL_CONNECTIONS_ACCEPTED), 0);
    assert_int_equal(count_of(metrics, "b", METRIC_CELL_RELAYED_BYTES + (size_t)METRIC_DOWN), 300);
    assert_int_equal(count_of(metrics, "b", METRIC_CELL_RELAYED_BYTES + (size_t)METRIC_UP), 0);
    assert_int_equal(metrics_total(metrics, METRIC_CELL_CONNECTIONS_ACCEPTED), 6);
    assert_null(metrics_blocks(metrics, 0)[2]);
    metrics_free(metrics);
}

static void test_a_gauge_goes_down_again(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(WORKERS, SLOTS);
    follow(metrics, "a", 3, NULL, 0);
    metrics_add(block(metrics, 0, 3), METRIC_CELL_CONNECTIONS_ACTIVE, 2);
    metrics_add(block(metrics, 2, 3), METRIC_CELL_CONNECTIONS_ACTIVE, 1);
    metrics_subtract(block(metrics, 0, 3), METRIC_CELL_CONNECTIONS_ACTIVE, 2);
    assert_int_equal(count_of(metrics, "a", METRIC_CELL_CONNECTIONS_ACTIVE), 1);
    metrics_subtract(block(metrics, 2, 3), METRIC_CELL_CONNECTIONS_ACTIVE, 1);
    assert_int_equal(count_of(metrics, "a", METRIC_CELL_CONNECTIONS_ACTIVE), 0);
    metrics_free(metrics);
}

static void test_large_counts_stay_exact(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2, SLOTS);
    follow(metrics, "a", 0, NULL, 0);
    const uint64_t much = UINT64_C(1) << 62;
    metrics_add(block(metrics, 0, 0), METRIC_CELL_RELAYED_BYTES, much + 1);
    metrics_add(block(metrics, 1, 0), METRIC_CELL_RELAYED_BYTES, much + 2);
    assert_true(count_of(metrics, "a", METRIC_CELL_RELAYED_BYTES) == 2 * much + 3);
    metrics_free(metrics);
}

static void test_a_name_that_comes_back_goes_on(void **state)
{
    (void)state;
    const size_t cell = METRIC_CELL_CONNECTIONS_ACCEPTED;
    struct metrics *metrics = metrics_new(2, SLOTS);
    follow(metrics, "a", 0, "b", 1);
    metrics_add(block(metrics, 0, 0), cell, 5);
    metrics_add(block(metrics, 1, 0), cell, 6);
    follow(metrics, "b", 1, NULL, 0);
    assert_false(metrics_name_is_present(find(metrics, "a")));
    metrics_add(block(metrics, 0, 0), cell, 1); /* a session that ends by its listener's removal */
    assert_int_equal(count_of(metrics, "a", cell), 12);
    follow(metrics, "c", 0, "b", 1); /* another name takes its slot */
    assert_int_equal(count_of(metrics, "a", cell), 12);
    assert_int_equal(count_of(metrics, "c", cell), 0);
    metrics_add(block(metrics, 0, 0), cell, 100);
    assert_int_equal(count_of(metrics, "c", cell), 100);
    follow(metrics, "a", 2, "c", 0); /* back, in another slot */
    assert_true(metrics_name_is_present(find(metrics, "a")));
    metrics_add(block(metrics, 1, 2), cell, 1);
    assert_int_equal(count_of(metrics, "a", cell), 13);
    follow(metrics, "c", 2, "a", 0); /* they change places */
    assert_int_equal(count_of(metrics, "a", cell), 13);
    assert_int_equal(count_of(metrics, "c", cell), 100);
    metrics_add(block(metrics, 0, 0), cell, 1);
    assert_int_equal(count_of(metrics, "a", cell), 14);
    assert_int_equal(metrics_total(metrics, cell), 114);
    metrics_free(metrics);
}

static void test_only_the_oldest_removed_names_are_forgotten(void **state)
{
    (void)state;
    char text[METRICS_NAME_SIZE];
    struct metrics *metrics = metrics_new(1, SLOTS);
    for (int i = 0; i <= METRICS_REMOVED_MAX + 1; i++) {
        (void)snprintf(text, sizeof(text), "listener-%d", i);
        follow(metrics, text, 0, NULL, 0);
        metrics_add(block(metrics, 0, 0), METRIC_CELL_CONNECTIONS_ACCEPTED, 1);
    }
    assert_null(find(metrics, "listener-0"));
    assert_int_equal(count_of(metrics, "listener-1", METRIC_CELL_CONNECTIONS_ACCEPTED), 1);
    follow(metrics, "listener-0", 0, NULL, 0);
    assert_int_equal(count_of(metrics, "listener-0", METRIC_CELL_CONNECTIONS_ACCEPTED), 0);
    assert_int_equal(metrics_total(metrics, METRIC_CELL_CONNECTIONS_ACCEPTED),
                     METRICS_REMOVED_MAX + 2);
    metrics_free(metrics);
}

static void test_the_last_dial_of_any_worker_counts(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2, SLOTS);
    follow(metrics, "a", 0, NULL, 0);
    assert_int_equal(metrics_upstream(metrics, find(metrics, "a")), METRICS_UP_UNKNOWN);
    metrics_dialled(block(metrics, 0, 0), METRIC_DIAL_OK, 1000);
    assert_int_equal(metrics_upstream(metrics, find(metrics, "a")), METRICS_UP_YES);
    metrics_dialled(block(metrics, 1, 0), METRIC_DIAL_FAILED, 1001);
    assert_int_equal(metrics_upstream(metrics, find(metrics, "a")), METRICS_UP_NO);
    metrics_dialled(block(metrics, 0, 0), METRIC_DIAL_OK, 1002);
    assert_int_equal(metrics_upstream(metrics, find(metrics, "a")), METRICS_UP_YES);
    follow(metrics, "b", 0, NULL, 0); /* what another's upstream did says nothing of this one */
    assert_int_equal(metrics_upstream(metrics, find(metrics, "b")), METRICS_UP_UNKNOWN);
    assert_int_equal(metrics_upstream(metrics, find(metrics, "a")), METRICS_UP_UNKNOWN);
    metrics_free(metrics);
}

/* A value at a bound belongs to it (le). */
static void test_histogram_bounds(void **state)
{
    (void)state;
    static const enum metric histograms[] = {METRIC_HANDSHAKE_DURATION, METRIC_CONNECT_DURATION,
                                             METRIC_SESSION_DURATION};
    static const size_t cells[] = {METRIC_CELL_HANDSHAKE_DURATION, METRIC_CELL_CONNECT_DURATION,
                                   METRIC_CELL_SESSION_DURATION};
    for (size_t h = 0; h < sizeof(histograms) / sizeof(histograms[0]); h++) {
        struct metrics *metrics = metrics_new(1, 1);
        size_t count = 0;
        const uint64_t *bounds = metric_bounds(histograms[h], &count);
        uint64_t sum = 0;
        follow(metrics, "a", 0, NULL, 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(i == 0 || bounds[i] > bounds[i - 1]);
            metrics_observe(block(metrics, 0, 0), histograms[h], cells[h], bounds[i]);
            metrics_observe(block(metrics, 0, 0), histograms[h], cells[h], bounds[i] + 1);
            sum += 2 * bounds[i] + 1;
        }
        assert_int_equal(count_of(metrics, "a", cells[h]), 1);
        for (size_t i = 1; i < count; i++) {
            assert_int_equal(count_of(metrics, "a", cells[h] + i), 2);
        }
        assert_int_equal(count_of(metrics, "a", cells[h] + count), 1); /* above the last */
        assert_true(count_of(metrics, "a", cells[h] + count + 1) == sum);
        metrics_observe(block(metrics, 0, 0), histograms[h], cells[h], 0);
        assert_int_equal(count_of(metrics, "a", cells[h]), 2);
        metrics_free(metrics);
    }
}

/* A worker that counts while control reads: what is read never goes down. Of use under TSan. */
enum { ADDITIONS = 200000 };

static void *count_up(void *arg)
{
    for (int i = 0; i < ADDITIONS; i++) {
        metrics_add(arg, METRIC_CELL_CONNECTIONS_ACCEPTED, 1);
    }
    return NULL;
}

static void test_reading_while_workers_count(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2, 1);
    pthread_t threads[2];
    follow(metrics, "a", 0, NULL, 0);
    for (size_t w = 0; w < 2; w++) {
        assert_int_equal(pthread_create(&threads[w], NULL, count_up, block(metrics, w, 0)), 0);
    }
    uint64_t last = 0;
    while (last < 1000) {
        uint64_t now = count_of(metrics, "a", METRIC_CELL_CONNECTIONS_ACCEPTED);
        assert_true(now >= last);
        last = now;
    }
    for (size_t w = 0; w < 2; w++) {
        assert_int_equal(pthread_join(threads[w], NULL), 0);
    }
    assert_int_equal(count_of(metrics, "a", METRIC_CELL_CONNECTIONS_ACCEPTED), 2 * ADDITIONS);
    metrics_free(metrics);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* Prometheus' naming rules. */
static void test_the_table_keeps_the_naming_rules(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric)i);
        size_t bounds = 0;
        bool is_counter = info->type == METRIC_TYPE_COUNTER;
        assert_int_equal(ends_with(info->name, "_total"), is_counter);
        assert_true(strncmp(info->name, "bulkhead_", 9) == 0 ||
                    strncmp(info->name, "process_", 8) == 0);
        assert_int_equal(metric_bounds((enum metric)i, &bounds) != NULL,
                         info->type == METRIC_TYPE_HISTOGRAM);
        assert_true(ends_with(info->help, "."));
        assert_null(strchr(info->help, '\n'));
        for (int other = 0; other < i; other++) {
            assert_string_not_equal(info->name, metric_info((enum metric)other)->name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_are_summed_over_workers),
        cmocka_unit_test(test_a_gauge_goes_down_again),
        cmocka_unit_test(test_large_counts_stay_exact),
        cmocka_unit_test(test_a_name_that_comes_back_goes_on),
        cmocka_unit_test(test_only_the_oldest_removed_names_are_forgotten),
        cmocka_unit_test(test_the_last_dial_of_any_worker_counts),
        cmocka_unit_test(test_histogram_bounds),
        cmocka_unit_test(test_reading_while_workers_count),
        cmocka_unit_test(test_the_table_keeps_the_naming_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
