/*
 * telemetry: what one session adds by being counted and logged, without the session: the counts,
 * the looks at the clock, the access line and its way into the ring, by CPU time of the thread.
 * On a machine that others use it is what `make bench-telemetry` can only bound.
 *
 *     build/release/bench/telemetry [--rounds N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "telemetry/access_log.h"
#include "telemetry/log_writer.h"
#include "telemetry/metrics.h"
#include "telemetry/peer_table.h"

enum { ROUNDS = 9, ROUNDS_MAX = 99, SESSIONS = 100000, LINES_PER_PAUSE = 100, PACED_LINES = 300 };

static uint64_t thread_ns(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* As session.c, exchange.c, upstream.c and count.c do it for one session of mtls → tcp. */
static void count_session(struct metrics_block *block, struct peer_table *peers)
{
    uint64_t accepted_us = clock_mono_us();
    metrics_add(block, METRIC_CELL_CONNECTIONS_ACCEPTED, 1);
    metrics_add(block, METRIC_CELL_CONNECTIONS_ACTIVE, 1);
    metrics_add(block, METRIC_CELL_CONNECTIONS_HALF_OPEN, 1);
    metrics_add(block, METRIC_CELL_HANDSHAKES + METRIC_FULL, 1);
    metrics_observe(block, METRIC_HANDSHAKE_DURATION, METRIC_CELL_HANDSHAKE_DURATION,
                    clock_mono_us() - accepted_us);
    metrics_subtract(block, METRIC_CELL_CONNECTIONS_HALF_OPEN, 1);
    metrics_add(block, METRIC_CELL_DECISIONS + METRIC_ALLOW, 1);
    const struct peer_sight sight = {.id = strview_from("spiffe://prod.example/ns/shop/sa/web"),
                                     .calls = true,
                                     .allowed = true,
                                     .now_ms = clock_wall_ms()};
    (void)peer_table_note(peers, &sight);
    uint64_t began_us = clock_mono_us();
    metrics_add(block, METRIC_CELL_UPSTREAM_DIALS + METRIC_DIAL_OK, 1);
    metrics_dialled(block, METRIC_DIAL_OK, 1);
    metrics_observe(block, METRIC_CONNECT_DURATION, METRIC_CELL_CONNECT_DURATION,
                    clock_mono_us() - began_us);
    metrics_add(block, METRIC_CELL_RELAYED_BYTES + METRIC_UP, 16);
    metrics_add(block, METRIC_CELL_RELAYED_BYTES + METRIC_DOWN, 16);
    metrics_add(block, METRIC_CELL_SESSIONS_ENDED + REASON_CLOSED, 1);
    metrics_observe(block, METRIC_SESSION_DURATION, METRIC_CELL_SESSION_DURATION,
                    clock_mono_us() - accepted_us);
    metrics_subtract(block, METRIC_CELL_CONNECTIONS_ACTIVE, 1);
}

static double counting_ns(struct metrics_block *block, struct peer_table *peers)
{
    uint64_t before = thread_ns();
    for (int i = 0; i < SESSIONS; i++) {
        count_session(block, peers);
    }
    return (double)(thread_ns() - before) / SESSIONS;
}

static double piece_ns(struct metrics_block *block)
{
    uint64_t before = thread_ns();
    for (int i = 0; i < SESSIONS; i++) {
        metrics_add(block, METRIC_CELL_RELAYED_BYTES + METRIC_UP, 65536);
        __asm__ volatile("" ::: "memory"); /* one addition each time */
    }
    return (double)(thread_ns() - before) / SESSIONS;
}

static void write_line(struct log_ring *ring)
{
    const struct access_record record = {
        .wall_ms = clock_wall_ms(),
        .event = "close",
        .session = 123456,
        .listener = "orders",
        .kind = "terminate",
        .downstream_id = strview_from("spiffe://prod.example/ns/shop/sa/web"),
        .own_id = strview_from("spiffe://prod.example/ns/shop/sa/orders"),
        .downstream = "10.0.0.17:41234",
        .upstream = "127.0.0.1:8080",
        .upstream_local = "127.0.0.1:51022",
        .decision = "allow",
        .rule = "storefront-uses-orders",
        .reason = REASON_CLOSED,
        .has_bytes = true,
        .bytes_up = 16,
        .bytes_down = 16,
        .duration_ms = 12,
        .downstream_tls = {"TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "h2", false},
    };
    char line[ACCESS_LINE_SIZE];
    log_ring_write(ring, LOG_CHANNEL_ACCESS, line, access_log_format(&record, line));
}

/* A pause now and then, so that the writer keeps up and no line is dropped. */
static double line_ns(struct log_ring *ring)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t spent = 0;
    for (int i = 0; i < SESSIONS / 10; i += LINES_PER_PAUSE) {
        uint64_t before = thread_ns();
        for (int k = 0; k < LINES_PER_PAUSE; k++) {
            write_line(ring);
        }
        spent += thread_ns() - before;
        (void)nanosleep(&pause, NULL);
    }
    return (double)spent / (SESSIONS / 10.0);
}

static uint64_t process_ns(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* All threads' time for a line each millisecond, less that of the pauses alone. */
static double paced_ns(struct log_ring *ring)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t spent[2];
    for (int with_lines = 0; with_lines < 2; with_lines++) {
        uint64_t before = process_ns();
        for (int i = 0; i < PACED_LINES; i++) {
            if (with_lines != 0) {
                write_line(ring);
            }
            (void)nanosleep(&pause, NULL);
        }
        spent[with_lines] = process_ns() - before;
    }
    return ((double)spent[1] - (double)spent[0]) / PACED_LINES;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static void print_row(const char *what, double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare);
    printf("| %s | %.1f (%.1f) |\n", what, values[count / 2], values[0]);
}

int main(int argc, char **argv)
{
    struct errbuf err;
    double counting[ROUNDS_MAX];
    double pieces[ROUNDS_MAX];
    double lines[ROUNDS_MAX];
    double woken[ROUNDS_MAX];
    double lingering[ROUNDS_MAX];
    int rounds = argc == 3 && strcmp(argv[1], "--rounds") == 0 ? atoi(argv[2]) : ROUNDS;
    rounds = rounds < 1 || rounds > ROUNDS_MAX ? ROUNDS : rounds;
    const struct metrics_listener listener = {.name = "orders", .has_side = {true, false}};
    struct metrics *metrics = metrics_new(1, 1);
    struct peer_table *peers = peer_table_new(1000);
    struct log_writer *writer = log_writer_start("/dev/null", 1, &err);
    ASSERT(writer != NULL);
    metrics_follow(metrics, &listener, 1);
    struct metrics_block *block = metrics_blocks(metrics, 0)[0];
    for (int i = 0; i < rounds; i++) {
        counting[i] = counting_ns(block, peers);
        pieces[i] = piece_ns(block);
        lines[i] = line_ns(log_writer_ring(writer, 0));
        log_writer_set_linger(writer, 0);
        woken[i] = paced_ns(log_writer_ring(writer, 0));
        log_writer_set_linger(writer, LOG_LINGER_MS);
        lingering[i] = paced_ns(log_writer_ring(writer, 0));
    }
    uint64_t dropped = log_writer_dropped(writer);
    puts("| CPU of the worker's thread, ns | median (least) |\n|---|---|");
    print_row("counting one session, peers too", counting, rounds);
    print_row("counting one piece of data (up to 64 KiB)", pieces, rounds);
    print_row("one access line, into the ring", lines, rounds);
    puts("\n| CPU of all threads, a line a millisecond, ns a line | median (least) |\n|---|---|");
    print_row("the writer woken for each", woken, rounds);
    print_row("the writer lingering", lingering, rounds);
    printf("%llu lines dropped\n", (unsigned long long)dropped);
    (void)log_writer_stop(writer, 1000);
    peer_table_free(peers);
    metrics_free(metrics);
    return 0;
}
