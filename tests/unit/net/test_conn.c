/* conn and plain_conn: back-pressure, the order of data and ends, and closing from anywhere. */
#include "unit/net/net_test.h"

#include "net/plain_conn.h"

enum { BULK = 8 * 1024 * 1024 };

struct end {
    struct loop *loop;
    struct plain_thread *thread;
    struct conn *conn;
    int peer; /* the other side, used raw */
    unsigned readable;
    unsigned drained;
    unsigned failed;
    enum conn_end failed_with;
    size_t received;
    enum conn_end ended;
    bool close_in_callback;
    bool abort_in_callback;
    bool stop_at_end;
};

static void leave(struct end *end)
{
    if (end->close_in_callback) {
        conn_close(end->conn);
        end->conn = NULL;
    } else if (end->abort_in_callback) {
        conn_abort(end->conn);
        end->conn = NULL;
    }
}

static void on_readable(void *arg)
{
    struct end *end = arg;
    end->readable++;
    struct conn_input input;
    conn_read(end->conn, PLAIN_READ_MAX, &input);
    end->received += input.len;
    end->ended = input.end;
    leave(end);
    if (input.end != CONN_END_NONE || !end->stop_at_end) {
        if (end->conn != NULL) {
            assert_int_equal(conn_want_read(end->conn, false), 0);
        }
        loop_stop(end->loop);
    }
}

static void on_drained(void *arg)
{
    struct end *end = arg;
    assert_false(conn_is_blocked(end->conn));
    end->drained++;
    leave(end);
    loop_stop(end->loop);
}

static void on_write_failed(void *arg, enum conn_end why)
{
    struct end *end = arg;
    end->failed++;
    end->failed_with = why;
    leave(end);
    loop_stop(end->loop);
}

static const struct conn_handler handler = {
    .on_readable = on_readable, .on_drained = on_drained, .on_write_failed = on_write_failed};

enum kind { KIND_TCP, KIND_UNIX };

static void open_end(struct end *end, enum kind kind)
{
    int fds[2];
    if (kind == KIND_TCP) {
        tcp_pair(fds);
    } else {
        unix_pair(fds);
    }
    *end = (struct end){.loop = new_loop(), .thread = plain_thread_new(), .peer = fds[1]};
    end->conn = plain_conn_new(end->thread, end->loop, fds[0], kind == KIND_UNIX);
    assert_non_null(end->conn);
    assert_int_equal(conn_fd(end->conn), fds[0]);
    conn_set_handler(end->conn, &handler, end);
}

static void close_end(struct end *end)
{
    conn_close(end->conn);
    if (end->peer >= 0) {
        (void)close(end->peer);
    }
    loop_free(end->loop);
    plain_thread_free(end->thread);
}

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 31 + (position >> 12));
}

static uint8_t *make_bulk(void)
{
    uint8_t *bulk = malloc(BULK);
    assert_non_null(bulk);
    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = byte_at(i);
    }
    return bulk;
}

/* Reads what is there and checks it. False at the end of the stream. */
static bool read_bulk(int fd, size_t *position)
{
    uint8_t piece[65536];
    for (;;) {
        ssize_t got = read(fd, piece, sizeof(piece));
        if (got < 0) {
            assert_int_equal(errno, EAGAIN);
            return true;
        }
        for (ssize_t i = 0; i < got; i++) {
            if (piece[i] != byte_at(*position)) {
                fail_msg("byte %zu is wrong", *position);
            }
            *position += 1;
        }
        if (got == 0) {
            return false;
        }
    }
}

struct reader {
    struct end *end;
    struct io_watch *watch;
    size_t position;
    bool at_end;
};

static void on_peer_readable(void *arg, unsigned events)
{
    struct reader *reader = arg;
    (void)events;
    if (!read_bulk(reader->end->peer, &reader->position)) {
        reader->at_end = true;
        loop_stop(reader->end->loop);
    }
}

static void start_reader(struct reader *reader, struct end *end)
{
    *reader = (struct reader){.end = end};
    reader->watch = io_watch_new(end->loop, end->peer, on_peer_readable, reader);
    assert_int_equal(io_watch_set(reader->watch, IO_READ), 0);
}

static void check_back_pressure(enum kind kind)
{
    struct end end;
    open_end(&end, kind);
    uint8_t *bulk = make_bulk();
    assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
    assert_true(conn_is_blocked(end.conn));
    size_t pending = conn_pending(end.conn);
    assert_true(pending > 0 && pending < BULK); /* some was sent at once */
    assert_false(conn_is_flushed(end.conn));
    struct reader reader;
    start_reader(&reader, &end);
    run_loop(end.loop);
    assert_int_equal(end.drained, 1);
    assert_false(conn_is_blocked(end.conn));
    while (reader.position < BULK) {
        wait_for(end.peer, POLLIN);
        assert_true(read_bulk(end.peer, &reader.position));
    }
    assert_int_equal(reader.position, BULK);
    assert_int_equal(end.failed, 0);
    assert_int_equal(end.readable, 0);
    io_watch_free(reader.watch);
    free(bulk);
    close_end(&end);
}

static void test_back_pressure_keeps_order_and_content(void **state)
{
    (void)state;
    check_back_pressure(KIND_TCP);
    check_back_pressure(KIND_UNIX);
}

static void test_many_writes_while_blocked_come_in_order(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_UNIX);
    uint8_t *bulk = make_bulk();
    struct reader reader;
    start_reader(&reader, &end);
    size_t position = 0;
    for (size_t size = 1; position < BULK; size = size * 7 % 1048583) {
        size_t len = size < BULK - position ? size : BULK - position;
        assert_int_equal(conn_write(end.conn, bulk + position, len), CONN_END_NONE);
        position += len;
        /* The kernel has room again before the loop has seen it: nothing may overtake. */
        assert_true(read_bulk(end.peer, &reader.position));
    }
    assert_int_equal(conn_write(end.conn, bulk, 0), CONN_END_NONE);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_NONE);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_NONE); /* once is enough */
    while (!reader.at_end) {
        run_loop(end.loop);
    }
    assert_int_equal(reader.position, BULK);
    assert_int_equal(end.drained, 1);
    io_watch_free(reader.watch);
    free(bulk);
    close_end(&end);
}

static void test_end_stream_sends_all_then_fin_and_reading_goes_on(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    uint8_t *bulk = make_bulk();
    assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_NONE);
    assert_true(conn_is_blocked(end.conn));
    struct reader reader;
    start_reader(&reader, &end);
    while (!reader.at_end) {
        run_loop(end.loop);
    }
    assert_int_equal(reader.position, BULK);
    io_watch_free(reader.watch);
    /* Half-closed: the other direction still works. */
    assert_int_equal(write(end.peer, "answer", 6), 6);
    assert_int_equal(conn_want_read(end.conn, true), 0);
    run_loop(end.loop);
    assert_int_equal(end.received, 6);
    assert_int_equal(end.ended, CONN_END_NONE);
    /* What a TLS library would still say after its end is not sent. */
    assert_int_equal(conn_send_raw(end.conn, bulk, 1), CONN_END_NONE);
    assert_false(conn_is_blocked(end.conn));
    free(bulk);
    close_end(&end);
}

static void test_end_stream_with_nothing_pending_is_a_fin_at_once(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_NONE);
    wait_for(end.peer, POLLIN);
    char byte;
    assert_int_equal(read(end.peer, &byte, 1), 0);
    assert_false(conn_is_gone(end.conn));
    close_end(&end);
}

static void test_fin_reads_as_a_clean_end_after_all_data(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    assert_int_equal(write(end.peer, "12345", 5), 5);
    assert_return_code(shutdown(end.peer, SHUT_WR), errno);
    end.stop_at_end = true;
    assert_int_equal(conn_want_read(end.conn, true), 0);
    run_loop(end.loop);
    assert_int_equal(end.received, 5);
    assert_int_equal(end.ended, CONN_END_CLEAN);
    close_end(&end);
}

static void test_read_is_bounded_and_says_whether_there_is_more(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_UNIX);
    struct conn_input input;
    conn_read(end.conn, 10, &input);
    assert_int_equal(input.len, 0);
    assert_int_equal(input.end, CONN_END_NONE);
    assert_false(input.more);
    assert_int_equal(write(end.peer, "abcdefg", 7), 7);
    conn_read(end.conn, 4, &input);
    assert_int_equal(input.len, 4);
    assert_memory_equal(input.data, "abcd", 4);
    assert_true(input.more);
    conn_read(end.conn, 4, &input);
    assert_int_equal(input.len, 3);
    assert_memory_equal(input.data, "efg", 3);
    assert_false(input.more);
    uint8_t *bulk = make_bulk();
    assert_true(write(end.peer, bulk, 100000) > PLAIN_READ_MAX);
    conn_read(end.conn, SIZE_MAX, &input);
    assert_int_equal(input.len, PLAIN_READ_MAX);
    assert_true(input.more);
    free(bulk);
    close_end(&end);
}

static void reset_by_peer(struct end *end)
{
    struct linger linger = {.l_onoff = 1};
    assert_return_code(setsockopt(end->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)),
                       errno);
    assert_return_code(close(end->peer), errno);
    end->peer = -1;
    wait_for(conn_fd(end->conn), 0);
}

static void test_reset_is_seen_when_reading(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    assert_false(conn_is_gone(end.conn));
    reset_by_peer(&end);
    assert_true(conn_is_gone(end.conn));
    assert_int_equal(conn_want_read(end.conn, true), 0);
    run_loop(end.loop);
    assert_int_equal(end.ended, CONN_END_RESET);
    close_end(&end);
}

static void test_reset_is_seen_when_writing_and_stays(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    reset_by_peer(&end);
    assert_int_equal(conn_write(end.conn, (const uint8_t *)"x", 1), CONN_END_RESET);
    assert_int_equal(conn_write(end.conn, (const uint8_t *)"x", 1), CONN_END_RESET);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_RESET);
    assert_false(conn_is_blocked(end.conn));
    assert_int_equal(end.failed, 0);
    close_end(&end);
}

static void test_end_stream_of_a_reset_conn_says_so(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    reset_by_peer(&end);
    assert_int_equal(conn_end_stream(end.conn), CONN_END_RESET);
    close_end(&end);
}

static void test_reset_while_blocked_is_reported_once(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    uint8_t *bulk = make_bulk();
    assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
    assert_true(conn_is_blocked(end.conn));
    reset_by_peer(&end);
    run_loop(end.loop);
    assert_int_equal(end.failed, 1);
    assert_int_equal(end.failed_with, CONN_END_RESET);
    assert_int_equal(conn_pending(end.conn), 0);
    run_loop_ms(end.loop, 10);
    assert_int_equal(end.failed, 1);
    assert_int_equal(end.drained, 0);
    assert_int_equal(conn_write(end.conn, bulk, 1), CONN_END_RESET);
    free(bulk);
    close_end(&end);
}

static void test_without_a_handler_nothing_breaks(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    conn_set_handler(end.conn, NULL, NULL);
    uint8_t *bulk = make_bulk();
    assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
    reset_by_peer(&end);
    run_loop_ms(end.loop, 10);
    assert_int_equal(conn_write(end.conn, bulk, 1), CONN_END_RESET);
    free(bulk);
    close_end(&end);
}

/* What the peer reads after what it can read: 0 (FIN) or the error. */
static int end_at_peer(struct end *end)
{
    uint8_t piece[65536];
    for (;;) {
        wait_for(end->peer, POLLIN);
        ssize_t got = read(end->peer, piece, sizeof(piece));
        if (got <= 0) {
            return got == 0 ? 0 : errno;
        }
    }
}

static void test_abort_is_a_reset_and_close_is_a_fin(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        bool abort;
        int expected;
    } rows[] = {
        {KIND_TCP, false, 0},
        {KIND_TCP, true, ECONNRESET},
        {KIND_UNIX, false, 0},
        {KIND_UNIX, true, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct end end;
        open_end(&end, rows[i].kind);
        assert_int_equal(conn_write(end.conn, (const uint8_t *)"last", 4), CONN_END_NONE);
        if (rows[i].abort) {
            conn_abort(end.conn);
        } else {
            conn_close(end.conn);
        }
        end.conn = NULL;
        assert_int_equal(end_at_peer(&end), rows[i].expected);
        close_end(&end);
    }
    conn_abort(NULL);
}

static void test_flushed_is_when_the_peer_has_it_all(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    assert_true(conn_is_flushed(end.conn));
    uint8_t *bulk = make_bulk();
    assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
    assert_false(conn_is_flushed(end.conn));
    struct reader reader;
    start_reader(&reader, &end);
    run_loop(end.loop);
    while (reader.position < BULK) {
        wait_for(end.peer, POLLIN);
        assert_true(read_bulk(end.peer, &reader.position));
    }
    for (int i = 0; !conn_is_flushed(end.conn) && i < 1000; i++) {
        run_loop_ms(end.loop, 1); /* the acknowledgement may be delayed */
    }
    assert_true(conn_is_flushed(end.conn));
    io_watch_free(reader.watch);
    free(bulk);
    close_end(&end);
}

static void test_reading_is_off_until_wanted(void **state)
{
    (void)state;
    struct end end;
    open_end(&end, KIND_TCP);
    assert_int_equal(write(end.peer, "x", 1), 1);
    run_loop_ms(end.loop, 10);
    assert_int_equal(end.readable, 0);
    assert_int_equal(conn_want_read(end.conn, true), 0);
    assert_int_equal(conn_want_read(end.conn, false), 0);
    run_loop_ms(end.loop, 10);
    assert_int_equal(end.readable, 0);
    close_end(&end);
}

static void test_closing_inside_on_readable(void **state)
{
    (void)state;
    for (int abort = 0; abort < 2; abort++) {
        struct end end;
        open_end(&end, KIND_TCP);
        end.close_in_callback = abort == 0;
        end.abort_in_callback = abort == 1;
        assert_int_equal(write(end.peer, "x", 1), 1);
        assert_int_equal(conn_want_read(end.conn, true), 0);
        run_loop(end.loop);
        assert_null(end.conn);
        assert_int_equal(end.readable, 1);
        assert_int_equal(end_at_peer(&end), abort ? ECONNRESET : 0);
        close_end(&end);
    }
}

static void test_closing_inside_on_drained_and_on_write_failed(void **state)
{
    (void)state;
    uint8_t *bulk = make_bulk();
    for (int reset = 0; reset < 2; reset++) {
        struct end end;
        open_end(&end, KIND_TCP);
        end.close_in_callback = true;
        assert_int_equal(conn_write(end.conn, bulk, BULK), CONN_END_NONE);
        /* Readable as well: the closed conn must not be called again in the same turn. */
        assert_int_equal(conn_want_read(end.conn, true), 0);
        struct reader reader = {0};
        if (reset) {
            reset_by_peer(&end);
        } else {
            start_reader(&reader, &end);
        }
        run_loop(end.loop);
        assert_null(end.conn);
        assert_int_equal(end.drained + end.failed + end.readable, 1);
        assert_true(reset || end.drained == 1);
        io_watch_free(reader.watch);
        close_end(&end);
    }
    free(bulk);
}

struct pair_of_conns {
    struct end a;
    struct end b;
};

static void close_both(void *arg)
{
    struct pair_of_conns *pair = arg;
    conn_close(pair->a.conn);
    conn_close(pair->b.conn);
    pair->a.conn = NULL;
    pair->b.conn = NULL;
    loop_stop(pair->a.loop);
}

static void test_closing_another_conn_that_is_ready_in_the_same_turn(void **state)
{
    (void)state;
    static const struct conn_handler both = {.on_readable = close_both};
    struct pair_of_conns pair;
    open_end(&pair.a, KIND_UNIX);
    int fds[2];
    unix_pair(fds);
    pair.b = (struct end){.loop = pair.a.loop, .peer = fds[1]};
    pair.b.conn = plain_conn_new(pair.a.thread, pair.a.loop, fds[0], true);
    assert_non_null(pair.b.conn);
    conn_set_handler(pair.a.conn, &both, &pair);
    conn_set_handler(pair.b.conn, &both, &pair);
    assert_int_equal(conn_want_read(pair.a.conn, true), 0);
    assert_int_equal(conn_want_read(pair.b.conn, true), 0);
    assert_int_equal(write(pair.a.peer, "x", 1), 1);
    assert_int_equal(write(pair.b.peer, "x", 1), 1);
    run_loop(pair.a.loop);
    assert_null(pair.a.conn);
    (void)close(pair.b.peer);
    close_end(&pair.a);
}

/* ---- ops of our own: what conn.c promises to plain_conn and tls_conn ---- */

struct own_conn {
    struct conn conn;
    unsigned *destroyed;
    unsigned ends;
};

static enum conn_end own_end_stream(struct conn *conn)
{
    ((struct own_conn *)conn)->ends++;
    return conn_send_raw(conn, (const uint8_t *)"bye", 3);
}

static void own_destroy(struct conn *conn)
{
    *((struct own_conn *)conn)->destroyed += 1;
    free(conn);
}

static void test_conn_is_freed_at_the_end_of_the_turn_and_ends_in_order(void **state)
{
    (void)state;
    static const struct conn_ops ops = {
        .write = conn_send_raw, .end_stream = own_end_stream, .destroy = own_destroy};
    int fds[2];
    unix_pair(fds);
    struct loop *loop = new_loop();
    unsigned destroyed = 0;
    struct own_conn *own = calloc(1, sizeof(*own));
    assert_non_null(own);
    own->destroyed = &destroyed;
    assert_int_equal(conn_init(&own->conn, loop, fds[0], &ops), 0);
    assert_int_equal(conn_write(&own->conn, (const uint8_t *)"hi ", 3), CONN_END_NONE);
    assert_int_equal(conn_end_stream(&own->conn), CONN_END_NONE);
    assert_int_equal(conn_end_stream(&own->conn), CONN_END_NONE);
    assert_int_equal(own->ends, 1);
    conn_close(&own->conn);
    assert_int_equal(destroyed, 0);
    loop_run_deferred(loop);
    assert_int_equal(destroyed, 1);
    char text[16] = "";
    assert_int_equal(read(fds[1], text, sizeof(text) - 1), 6);
    assert_string_equal(text, "hi bye");
    assert_int_equal(read(fds[1], text, sizeof(text)), 0);
    (void)close(fds[1]);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_back_pressure_keeps_order_and_content),
        cmocka_unit_test(test_many_writes_while_blocked_come_in_order),
        cmocka_unit_test(test_end_stream_sends_all_then_fin_and_reading_goes_on),
        cmocka_unit_test(test_end_stream_with_nothing_pending_is_a_fin_at_once),
        cmocka_unit_test(test_fin_reads_as_a_clean_end_after_all_data),
        cmocka_unit_test(test_read_is_bounded_and_says_whether_there_is_more),
        cmocka_unit_test(test_reset_is_seen_when_reading),
        cmocka_unit_test(test_reset_is_seen_when_writing_and_stays),
        cmocka_unit_test(test_end_stream_of_a_reset_conn_says_so),
        cmocka_unit_test(test_reset_while_blocked_is_reported_once),
        cmocka_unit_test(test_without_a_handler_nothing_breaks),
        cmocka_unit_test(test_abort_is_a_reset_and_close_is_a_fin),
        cmocka_unit_test(test_flushed_is_when_the_peer_has_it_all),
        cmocka_unit_test(test_reading_is_off_until_wanted),
        cmocka_unit_test(test_closing_inside_on_readable),
        cmocka_unit_test(test_closing_inside_on_drained_and_on_write_failed),
        cmocka_unit_test(test_closing_another_conn_that_is_ready_in_the_same_turn),
        cmocka_unit_test(test_conn_is_freed_at_the_end_of_the_turn_and_ends_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
