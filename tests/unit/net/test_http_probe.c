/* http_probe: an application of every kind of manners, on the test's own loop. */
#include "unit/net/net_test.h"

#include <sys/un.h>

#include "net/http_probe.h"

struct app {
    struct loop *loop;
    struct netaddr addr;
    int listener;
    int fd; /* of the one that has come; -1 */
    struct io_watch *watch;
    struct io_watch *conn_watch;
    const char *answer;
    size_t answer_len;
    bool stays; /* sends its answer and does not close */
    bool slow;  /* a byte at a time */
    struct timer *timer;
    size_t sent;
    char request[2048];
    size_t request_len;
    unsigned accepted;
    /* What the probe said. */
    unsigned done;
    int status;
    const char *why;
};

static void close_conn(struct app *app)
{
    if (app->fd >= 0) {
        io_watch_free(app->conn_watch);
        assert_return_code(close(app->fd), errno);
        app->fd = -1;
    }
}

static void on_step(void *arg)
{
    struct app *app = arg;
    if (app->fd < 0) {
        return;
    }
    size_t step = app->slow ? 1 : app->answer_len;
    if (app->sent < app->answer_len) {
        (void)send(app->fd, app->answer + app->sent, step, MSG_NOSIGNAL);
        app->sent += step;
        timer_set(app->timer, 0);
    } else if (!app->stays) {
        close_conn(app);
    }
}

static void on_conn(void *arg, unsigned events)
{
    struct app *app = arg;
    (void)events;
    ssize_t got = recv(app->fd, app->request + app->request_len,
                       sizeof(app->request) - app->request_len - 1, MSG_DONTWAIT);
    if (got <= 0) {
        close_conn(app);
        return;
    }
    app->request_len += (size_t)got;
    app->request[app->request_len] = '\0';
    if (strstr(app->request, "\r\n\r\n") == NULL || app->answer == NULL) {
        return;
    }
    app->sent = 0;
    on_step(app);
}

static void on_newcomer(void *arg, unsigned events)
{
    struct app *app = arg;
    (void)events;
    close_conn(app);
    timer_cancel(app->timer); /* who is gone is told no more */
    app->fd = accept4(app->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_return_code(app->fd, errno);
    app->accepted++;
    app->conn_watch = io_watch_new(app->loop, app->fd, on_conn, app);
    assert_int_equal(io_watch_set(app->conn_watch, IO_READ), 0);
}

static void listen_at(struct app *app, const struct netaddr *addr)
{
    app->timer = timer_new(app->loop, on_step, app);
    socklen_t len = sizeof(app->addr.u);
    app->fd = -1;
    app->listener = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_return_code(bind(app->listener, &addr->u.sa, addr->len), errno);
    assert_return_code(listen(app->listener, 16), errno);
    assert_return_code(getsockname(app->listener, &app->addr.u.sa, &len), errno);
    app->addr.len = len;
    app->watch = io_watch_new(app->loop, app->listener, on_newcomer, app);
    assert_int_equal(io_watch_set(app->watch, IO_READ), 0);
}

static void stop_listening(struct app *app)
{
    close_conn(app);
    io_watch_free(app->watch);
    timer_free(app->timer);
    assert_return_code(close(app->listener), errno);
}

static void set_up(struct app *app)
{
    struct netaddr addr;
    *app = (struct app){.loop = new_loop()};
    assert_true(netaddr_from_ip(&addr, "127.0.0.1", 0));
    listen_at(app, &addr);
}

static void tear_down(struct app *app)
{
    stop_listening(app);
    loop_free(app->loop);
}

static void on_done(void *arg, int status, const char *why)
{
    struct app *app = arg;
    app->done++;
    app->status = status;
    app->why = why;
    loop_stop(app->loop);
}

static void ask(struct app *app, const char *target, uint64_t timeout_ms)
{
    app->done = 0;
    app->request_len = 0;
    app->request[0] = '\0';
    assert_non_null(http_probe_start(app->loop, &app->addr, target, timeout_ms, on_done, app));
    assert_int_equal(app->done, 0);
    while (app->done == 0) {
        run_loop(app->loop);
    }
    assert_int_equal(app->done, 1);
}

static void test_the_status_alone_counts(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int status;
        const char *why; /* NULL: none */
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, NULL},
        {"HTTP/1.0 200 OK\r\n\r\n", 200, NULL},
        {"HTTP/1.1 200\r\n\r\n", 200, NULL},
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, NULL},
        {"HTTP/1.1 200 OK\n", 200, NULL},
        {"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n", 302, NULL},
        {"HTTP/1.1 404 Not Found\r\n\r\n", 404, NULL},
        {"HTTP/1.1 503 No\r\n\r\n", 503, NULL},
        {"HTTP/1.1 599 Odd\r\n\r\n", 599, NULL},
        {"HTTP/1.1 600 Odd\r\n\r\n", 502, "no"},
        {"HTTP/1.1 199 Odd\r\n\r\n", 502, "no"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.1 000 Odd\r\n\r\n", 502, "no"},
        {"HTTP/1.1 20 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.1 2000 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.1 -20 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.1  200 OK\r\n\r\n", 502, "no"},
        {"HTTP/2 200 OK\r\n\r\n", 502, "no"},
        {"HTTP/1.x 200 OK\r\n\r\n", 502, "no"},
        {"http/1.1 200 OK\r\n\r\n", 502, "no"},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", 502, "no"},
        {"SSH-2.0-OpenSSH_9\r\n", 502, "no"},
        {"HTTP/1.1 200 OK", 502, "no"}, /* cut short */
        {"\x15\x03\x01\x00\x02\x02\x16", 502, "no"},
        {"", 502, "no"},
    };
    struct app app;
    set_up(&app);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int slow = 0; slow <= 1; slow++) {
            print_message("%s\n", rows[i].answer);
            app.answer = rows[i].answer;
            app.answer_len = strlen(rows[i].answer);
            app.slow = slow != 0 && i % 4 == 0;
            ask(&app, "/healthz", 10000);
            assert_int_equal(app.status, rows[i].status);
            assert_int_equal(app.why != NULL, rows[i].why != NULL);
        }
    }
    tear_down(&app);
}

static void test_the_question_is_ours(void **state)
{
    (void)state;
    struct app app;
    char wanted[512];
    char host[NETADDR_TEXT_SIZE];
    set_up(&app);
    app.answer = "HTTP/1.1 200 OK\r\n\r\n";
    app.answer_len = strlen(app.answer);
    ask(&app, "/a%20b?c=d", 10000);
    (void)snprintf(wanted, sizeof(wanted),
                   "GET /a%%20b?c=d HTTP/1.1\r\nHost: %s\r\nUser-Agent: bulkhead-probe\r\n"
                   "Accept: */*\r\nConnection: close\r\n\r\n",
                   netaddr_format(&app.addr, host));
    assert_string_equal(app.request, wanted);
    tear_down(&app);
}

/* No line of a head may grow without end, and a body is not waited for. */
static void test_an_answer_is_not_read_to_its_end(void **state)
{
    (void)state;
    static char answer[8192];
    struct app app;
    set_up(&app);
    app.stays = true;
    app.answer = "HTTP/1.1 200 OK\r\n";
    app.answer_len = strlen(app.answer);
    ask(&app, "/", 10000);
    assert_int_equal(app.status, 200);
    memset(answer, 'a', sizeof(answer));
    memcpy(answer, "HTTP/1.1 200 ", 13);
    app.answer = answer;
    app.answer_len = sizeof(answer);
    ask(&app, "/", 10000);
    assert_int_equal(app.status, 502);
    tear_down(&app);
}

static void test_an_application_that_says_nothing(void **state)
{
    (void)state;
    struct app app;
    set_up(&app);
    app.answer = NULL;
    ask(&app, "/", 50);
    assert_int_equal(app.status, 504);
    assert_non_null(strstr(app.why, "in time"));
    app.answer = "HTTP/1.1 2";
    app.answer_len = strlen(app.answer);
    app.stays = true;
    ask(&app, "/", 50);
    assert_int_equal(app.status, 504);
    tear_down(&app);
}

static void test_connecting_is_enough_where_no_more_is_asked(void **state)
{
    (void)state;
    struct app app;
    set_up(&app);
    ask(&app, NULL, 10000);
    assert_int_equal(app.status, 200);
    assert_null(app.why);
    stop_listening(&app);
    ask(&app, NULL, 10000);
    assert_int_equal(app.status, 503);
    assert_non_null(strstr(app.why, "refused"));
    ask(&app, "/", 10000);
    assert_int_equal(app.status, 503);
    loop_free(app.loop);
}

static void test_a_unix_socket_too(void **state)
{
    (void)state;
    struct app app = {.loop = new_loop()};
    struct netaddr addr;
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/bulkhead-probe-%d.sock", (int)getpid());
    assert_true(netaddr_from_path(&addr, path));
    listen_at(&app, &addr);
    app.addr = addr;
    app.answer = "HTTP/1.1 200 OK\r\n\r\n";
    app.answer_len = strlen(app.answer);
    ask(&app, "/x", 10000);
    assert_int_equal(app.status, 200);
    assert_non_null(strstr(app.request, "GET /x HTTP/1.1\r\nHost: localhost\r\n"));
    tear_down(&app);
    assert_return_code(unlink(path), errno);
}

static void test_one_that_is_given_up_says_nothing(void **state)
{
    (void)state;
    struct app app;
    set_up(&app);
    for (int turn = 0; turn < 3; turn++) {
        struct http_probe *probe = http_probe_start(app.loop, &app.addr, "/", 10000, on_done, &app);
        assert_non_null(probe);
        if (turn > 0) {
            run_loop_ms(app.loop, 5);
        }
        http_probe_free(probe);
        run_loop_ms(app.loop, 5);
    }
    http_probe_free(NULL);
    assert_int_equal(app.done, 0);
    tear_down(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_status_alone_counts),
        cmocka_unit_test(test_the_question_is_ours),
        cmocka_unit_test(test_an_answer_is_not_read_to_its_end),
        cmocka_unit_test(test_an_application_that_says_nothing),
        cmocka_unit_test(test_connecting_is_enough_where_no_more_is_asked),
        cmocka_unit_test(test_a_unix_socket_too),
        cmocka_unit_test(test_one_that_is_given_up_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
