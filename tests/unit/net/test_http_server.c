/*
 * http_server: requests over a Unix socket on the test's own loop, clients that are slow, that send
 * too much, that go, and big answers.
 */
#include "unit/net/net_test.h"

#include <dirent.h>

#include "base/bytebuf.h"
#include "base/clock.h"
#include "net/http_server.h"
#include "net/listener.h"

struct fixture {
    struct loop *loop;
    struct listen_sockets *sockets;
    struct http_server *server;
    char path[128];
    unsigned calls;
    unsigned gone;
    struct http_call *kept; /* of a request to /later */
    struct bytebuf body;    /* of the last POST */
    struct bytebuf big;     /* the answer of /big */
    bool free_in_handler;
    unsigned pieces; /* of /stream, each of piece_size bytes; the last one empty or not */
    size_t piece_size;
    bool last_is_empty;
    unsigned fail_at; /* the piece that can't be made; 0: none */
    unsigned asked;   /* for pieces */
    unsigned done;    /* streams that heard of their end */
};

static enum http_piece on_next_piece(void *arg, struct bytebuf *out)
{
    struct fixture *fixture = arg;
    assert_int_equal(fixture->done, 0);
    assert_int_equal(bytebuf_len(out), 0);
    fixture->asked++;
    bool last = fixture->asked == fixture->pieces;
    if (fixture->asked == fixture->fail_at) {
        return HTTP_PIECE_FAILED;
    }
    for (size_t i = 0; i < fixture->piece_size && !(last && fixture->last_is_empty); i++) {
        char byte = (char)('a' + fixture->asked % 26);
        assert_true(bytebuf_append(out, &byte, 1));
    }
    return last ? HTTP_PIECE_LAST : HTTP_PIECE_MORE;
}

static void on_stream_done(void *arg)
{
    ((struct fixture *)arg)->done++;
}

static void on_gone(void *arg)
{
    struct fixture *fixture = arg;
    fixture->gone++;
    fixture->kept = NULL;
    loop_stop(fixture->loop);
}

static void answer_text(struct http_call *call, int status, const char *text)
{
    struct bytebuf body = {0};
    assert_true(bytebuf_append(&body, text, strlen(text)));
    http_call_answer(
        call, &(struct http_answer){.status = status, .content_type = "text/plain", .body = &body});
    assert_int_equal(bytebuf_len(&body), 0);
}

static void on_call(void *arg, struct http_call *call)
{
    struct fixture *fixture = arg;
    const struct http_request *request = http_call_request(call);
    fixture->calls++;
    if (fixture->free_in_handler) {
        http_server_free(fixture->server);
        fixture->server = NULL;
        loop_stop(fixture->loop);
    } else if (strview_equal_text(request->path, "/later")) {
        fixture->kept = call;
        http_call_on_gone(call, on_gone, fixture);
        loop_stop(fixture->loop);
    } else if (strview_equal_text(request->path, "/big")) {
        struct bytebuf body = {0};
        assert_true(bytebuf_append(&body, bytebuf_data(&fixture->big), bytebuf_len(&fixture->big)));
        http_call_answer(call, &(struct http_answer){.status = 200, .body = &body});
    } else if (strview_equal_text(request->path, "/stream")) {
        const struct http_stream stream = {
            .next = on_next_piece, .done = on_stream_done, .arg = fixture};
        http_call_answer(call, &(struct http_answer){
                                   .status = 200, .content_type = "text/plain", .stream = &stream});
    } else if (strview_equal_text(request->path, "/none")) {
        http_call_refuse(call, 404, "no such \"thing\"\n");
    } else if (strview_equal_text(request->path, "/empty")) {
        http_call_answer(call, &(struct http_answer){.status = 299});
    } else if (request->method == HTTP_METHOD_POST) {
        struct strview body = http_call_body(call);
        bytebuf_clear(&fixture->body);
        assert_true(bytebuf_append(&fixture->body, body.ptr, body.len));
        assert_non_null(http_request_header(request, "Host"));
        answer_text(call, 200, "taken");
    } else {
        const struct strview *name = http_request_parameter(request, "name");
        assert_int_equal(http_call_body(call).len, 0);
        answer_text(call, 200, name != NULL && strview_equal_text(*name, "a b") ? "a b!" : "hello");
    }
}

static void set_up_with(struct fixture *fixture, const struct http_server_options *options)
{
    static unsigned number;
    struct errbuf err;
    struct netaddr addr;
    const struct listen_options listen_options = {
        .mode = 0660, .owner = (uid_t)-1, .group = (gid_t)-1};
    *fixture = (struct fixture){.loop = new_loop()};
    (void)snprintf(fixture->path, sizeof(fixture->path), "/tmp/bulkhead-http-%d-%u.sock",
                   (int)getpid(), number++);
    assert_true(netaddr_from_path(&addr, fixture->path));
    fixture->sockets = listen_sockets_open(&addr, 1, &listen_options, &err);
    assert_non_null(fixture->sockets);
    fixture->server = http_server_new(fixture->loop, listen_sockets_fd(fixture->sockets, 0),
                                      options, on_call, fixture, &err);
    assert_non_null(fixture->server);
}

static void set_up(struct fixture *fixture)
{
    set_up_with(fixture, NULL);
}

static void tear_down(struct fixture *fixture)
{
    http_server_free(fixture->server);
    listen_sockets_close(fixture->sockets);
    bytebuf_clear(&fixture->body);
    bytebuf_clear(&fixture->big);
    loop_free(fixture->loop);
}

/* ---- A client on the same loop ---- */

struct client {
    struct fixture *fixture;
    int fd;
    struct io_watch *watch;
    struct timer *timer;
    struct bytebuf in;
    bool closed;       /* by the server */
    bool reset;        /* and not in order */
    uint64_t pause_ms; /* between reads of at most 64 KiB */
};

static void on_client_readable(void *arg, unsigned events)
{
    struct client *client = arg;
    (void)events;
    char bytes[65536];
    ssize_t got = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got > 0) {
        assert_true(bytebuf_append(&client->in, bytes, (size_t)got));
        if (client->pause_ms > 0) {
            assert_int_equal(io_watch_set(client->watch, 0), 0);
            timer_set(client->timer, client->pause_ms);
        }
    } else if (got == 0 || errno != EAGAIN) {
        client->closed = true;
        client->reset = got < 0;
        assert_int_equal(io_watch_set(client->watch, 0), 0);
        loop_stop(client->fixture->loop);
    }
}

static void on_client_pause_over(void *arg)
{
    struct client *client = arg;
    assert_int_equal(io_watch_set(client->watch, IO_READ), 0);
}

static void client_connect(struct client *client, struct fixture *fixture)
{
    struct netaddr addr;
    *client = (struct client){.fixture = fixture};
    assert_true(netaddr_from_path(&addr, fixture->path));
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_return_code(client->fd, errno);
    assert_return_code(connect(client->fd, &addr.u.sa, addr.len), errno);
    client->watch = io_watch_new(fixture->loop, client->fd, on_client_readable, client);
    client->timer = timer_new(fixture->loop, on_client_pause_over, client);
    assert_int_equal(io_watch_set(client->watch, IO_READ), 0);
}

static void client_close(struct client *client)
{
    io_watch_free(client->watch);
    timer_free(client->timer);
    assert_return_code(close(client->fd), errno);
    bytebuf_clear(&client->in);
}

static void client_send(struct client *client, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            run_loop_ms(client->fixture->loop, 1);
            continue;
        }
        assert_return_code((int)sent, errno);
        data += sent;
        len -= (size_t)sent;
    }
}

static void client_send_text(struct client *client, const char *text)
{
    client_send(client, text, strlen(text));
}

static void client_wait_closed(struct client *client)
{
    while (!client->closed) {
        run_loop(client->fixture->loop);
    }
}

/* The answer as text, good until the client is closed. */
static const char *client_answer(struct client *client)
{
    client_wait_closed(client);
    assert_false(client->reset);
    assert_true(bytebuf_append(&client->in, "", 1));
    return (const char *)bytebuf_data(&client->in);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void expect_answer(struct fixture *fixture, const char *request, const char *start,
                          const char *part, const char *body)
{
    struct client client;
    client_connect(&client, fixture);
    client_send_text(&client, request);
    const char *answer = client_answer(&client);
    if (strncmp(answer, start, strlen(start)) != 0 || !has(answer, part) ||
        strcmp(body_of(answer), body) != 0) {
        fail_msg("\"%s\" gave \"%s\"", request, answer);
    }
    assert_true(has(answer, "\r\nConnection: close\r\n"));
    client_close(&client);
}

#define HOST "Host: x\r\n"

static void test_answers(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect_answer(&fixture, "GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\nDate: ",
                  "\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n", "hello");
    expect_answer(&fixture, "GET /?name=a%20b HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n",
                  " GMT\r\n", "a b!");
    expect_answer(&fixture, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                  "HTTP/1.1 200 OK\r\n", "\r\nCache-Control: no-store\r\n", "hello");
    expect_answer(&fixture, "HEAD / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n",
                  "\r\nContent-Length: 5\r\n", "");
    expect_answer(&fixture, "GET /none HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 Not Found\r\n",
                  "\r\nContent-Type: application/json\r\n",
                  "{\"error\":\"no such \\\"thing\\\"\\n\"}\n");
    expect_answer(&fixture, "HEAD /none HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 Not Found\r\n",
                  "\r\nContent-Length: 32\r\n", "");
    expect_answer(&fixture, "GET /empty HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 299 \r\n",
                  "\r\nContent-Length: 0\r\n", "");
    expect_answer(&fixture, "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody",
                  "HTTP/1.1 200 OK\r\n", "", "taken");
    assert_int_equal(bytebuf_len(&fixture.body), 4);
    assert_memory_equal(bytebuf_data(&fixture.body), "body", 4);
    expect_answer(&fixture, "POST / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "", "taken");
    assert_int_equal(fixture.calls, 9);
    tear_down(&fixture);
}

static void test_refusals_never_reach_the_handler(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    static const struct {
        const char *request;
        const char *start;
        const char *part;
    } rows[] = {
        {"GET /../x HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 400 Bad Request\r\n", "segment"},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "Host"},
        {"GET / HTTP/1.1\n", "HTTP/1.1 400 Bad Request\r\n",
         "CR LF"}, /* without waiting for more */
        {"PUT / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405 Method Not Allowed\r\n",
         "\r\nAllow: GET, HEAD, POST\r\n"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\n",
         "HTTP/1.1 413 Content Too Large\r\n", "1 MiB"},
        {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
         "HTTP/1.1 417 Expectation Failed\r\n", "expectation"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 501 Not Implemented\r\n", "Content-Length"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n", "Transfer-Encoding"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported\r\n", "1.1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client client;
        client_connect(&client, &fixture);
        client_send_text(&client, rows[i].request);
        const char *answer = client_answer(&client);
        if (strncmp(answer, rows[i].start, strlen(rows[i].start)) != 0 ||
            !has(answer, rows[i].part) || !has(body_of(answer), "{\"error\":")) {
            fail_msg("\"%s\" gave \"%s\"", rows[i].request, answer);
        }
        client_close(&client);
    }
    struct client client;
    client_connect(&client, &fixture);
    client_send(&client, "\x16\x03\x01\x02\x00\x01", 6); /* TLS */
    assert_true(has(client_answer(&client), "HTTP/1.1 400 "));
    client_close(&client);
    assert_int_equal(fixture.calls, 0);
    tear_down(&fixture);
}

static void test_headers_that_are_too_large(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    client_connect(&client, &fixture);
    char line[102];
    memset(line, 'a', sizeof(line));
    client_send_text(&client, "GET / HTTP/1.1\r\n" HOST "X: ");
    for (unsigned i = 0; i < 200; i++) {
        client_send(&client, line, sizeof(line));
    }
    assert_true(has(client_answer(&client), "HTTP/1.1 431 "));
    assert_int_equal(fixture.calls, 0);
    client_close(&client);
    tear_down(&fixture);
}

static void test_one_byte_at_a_time(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    client_connect(&client, &fixture);
    static const char request[] = "POST /?name=x HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n"
                                  "\r\n\r\n012345";
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        assert_int_equal(fixture.calls, 0);
        client_send(&client, request + i, 1);
        run_loop_ms(fixture.loop, 1);
    }
    assert_true(has(client_answer(&client), "\r\n\r\ntaken"));
    assert_int_equal(bytebuf_len(&fixture.body), 10);
    assert_memory_equal(bytebuf_data(&fixture.body), "\r\n\r\n012345", 10);
    client_close(&client);
    tear_down(&fixture);
}

static void fill(char *data, size_t len)
{
    uint32_t x = 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = (char)(x >> 24);
    }
}

static void test_a_body_of_full_size(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    client_connect(&client, &fixture);
    char *body = malloc(HTTP_BODY_MAX);
    assert_non_null(body);
    fill(body, HTTP_BODY_MAX);
    client_send_text(&client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1048576\r\n\r\n");
    client_send(&client, body, HTTP_BODY_MAX);
    assert_true(has(client_answer(&client), "\r\n\r\ntaken"));
    assert_int_equal(bytebuf_len(&fixture.body), HTTP_BODY_MAX);
    assert_memory_equal(bytebuf_data(&fixture.body), body, HTTP_BODY_MAX);
    free(body);
    client_close(&client);
    tear_down(&fixture);
}

/* Who sends more than it announced, or a second request, gets one answer and the end. */
static void test_a_second_request_is_not_read(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect_answer(&fixture, "GET / HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n",
                  "HTTP/1.1 200 OK\r\n", "", "hello");
    expect_answer(&fixture,
                  "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n1GET / HTTP/1.1\r\n\r\n",
                  "HTTP/1.1 200 OK\r\n", "", "taken");
    assert_int_equal(fixture.calls, 2);
    /* Also while the answer is still made. */
    struct client client;
    client_connect(&client, &fixture);
    client_send_text(&client, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    run_loop(fixture.loop);
    for (unsigned i = 0; i < 50; i++) {
        client_send_text(&client, "GET / HTTP/1.1\r\n" HOST "\r\n");
    }
    run_loop_ms(fixture.loop, 10);
    assert_int_equal(fixture.gone, 0);
    answer_text(fixture.kept, 202, "done");
    assert_string_equal(body_of(client_answer(&client)), "done");
    assert_int_equal(fixture.calls, 3);
    client_close(&client);
    tear_down(&fixture);
}

static void test_a_slow_request_is_ended(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, &(struct http_server_options){.request_ms = 100});
    static const char *const starts[] = {"", "GET / HTTP", "GET / HTTP/1.1\r\n" HOST,
                                         "POST / HTTP/1.1\r\n" HOST
                                         "Content-Length: 5\r\n\r\n1234"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct client client;
        uint64_t start = clock_mono_ms();
        client_connect(&client, &fixture);
        client_send_text(&client, starts[i]);
        assert_true(has(client_answer(&client), "HTTP/1.1 408 "));
        assert_true(clock_mono_ms() - start >= 99);
        client_close(&client);
    }
    /* In all, however often something comes. */
    struct client client;
    client_connect(&client, &fixture);
    for (unsigned i = 0; i < 1000 && !client.closed; i++) {
        (void)send(client.fd, "G", 1, MSG_NOSIGNAL);
        run_loop_ms(fixture.loop, 10);
    }
    assert_true(has(client_answer(&client), "HTTP/1.1 408 "));
    client_close(&client);
    assert_int_equal(fixture.calls, 0);
    tear_down(&fixture);
}

static void test_a_client_that_goes_before_its_request_is_whole(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    static const char *const starts[] = {"", "GET /", "GET / HTTP/1.1\r\n" HOST,
                                         "POST / HTTP/1.1\r\n" HOST
                                         "Content-Length: 5\r\n\r\n1234"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct client client;
        client_connect(&client, &fixture);
        client_send_text(&client, starts[i]);
        assert_return_code(shutdown(client.fd, SHUT_WR), errno);
        client_wait_closed(&client);
        assert_int_equal(bytebuf_len(&client.in), 0);
        client_close(&client);
    }
    assert_int_equal(fixture.calls + fixture.gone, 0);
    tear_down(&fixture);
}

static void test_a_client_that_goes_before_the_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    for (unsigned i = 1; i <= 3; i++) {
        client_connect(&client, &fixture);
        client_send_text(&client, "GET /later HTTP/1.1\r\n" HOST "\r\n");
        run_loop(fixture.loop);
        assert_non_null(fixture.kept);
        client_close(&client);
        run_loop(fixture.loop);
        assert_int_equal(fixture.gone, i);
        assert_null(fixture.kept);
    }
    /* One that has only shut its sending side waits for the answer, and may go later. */
    for (unsigned goes = 0; goes < 2; goes++) {
        client_connect(&client, &fixture);
        client_send_text(&client, "GET /later HTTP/1.1\r\n" HOST "\r\n");
        assert_return_code(shutdown(client.fd, SHUT_WR), errno);
        run_loop(fixture.loop);
        run_loop_ms(fixture.loop, 20);
        assert_int_equal(fixture.gone, 3);
        if (goes == 0) {
            answer_text(fixture.kept, 200, "late");
            fixture.kept = NULL;
            assert_string_equal(body_of(client_answer(&client)), "late");
            client_close(&client);
        } else {
            client_close(&client);
            run_loop(fixture.loop);
            assert_int_equal(fixture.gone, 4);
        }
    }
    tear_down(&fixture);
}

static void test_a_big_answer_to_a_slow_reader(void **state)
{
    (void)state;
    enum { BIG = 8 * 1024 * 1024 };
    struct fixture fixture;
    struct client client;
    set_up_with(&fixture, &(struct http_server_options){.stall_ms = 2000});
    char *data = malloc(BIG);
    assert_non_null(data);
    fill(data, BIG);
    assert_true(bytebuf_append(&fixture.big, data, BIG));
    client_connect(&client, &fixture);
    client.pause_ms = 2;
    client_send_text(&client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    client_wait_closed(&client);
    size_t len = bytebuf_len(&client.in);
    assert_true(len > BIG);
    assert_memory_equal(bytebuf_data(&client.in) + len - BIG, data, BIG);
    client_close(&client);
    /* Others are served meanwhile. */
    client_connect(&client, &fixture);
    assert_int_equal(io_watch_set(client.watch, 0), 0);
    client_send_text(&client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(&fixture, "GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "", "hello");
    client_close(&client);
    free(data);
    tear_down(&fixture);
}

static void set_stream(struct fixture *fixture, unsigned pieces, size_t piece_size)
{
    fixture->pieces = pieces;
    fixture->piece_size = piece_size;
    fixture->asked = 0;
    fixture->done = 0;
}

static void test_a_stream_is_chunked(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    set_stream(&fixture, 3, 2);
    expect_answer(&fixture, "GET /stream HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n",
                  "\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nCache-Control",
                  "2\r\nbb\r\n2\r\ncc\r\n2\r\ndd\r\n0\r\n\r\n");
    assert_int_equal(fixture.done, 1);
    set_stream(&fixture, 2, 16);
    fixture.last_is_empty = true;
    expect_answer(&fixture, "GET /stream HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "",
                  "10\r\nbbbbbbbbbbbbbbbb\r\n0\r\n\r\n");
    set_stream(&fixture, 1, 0);
    expect_answer(&fixture, "GET /stream HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "",
                  "0\r\n\r\n");
    assert_int_equal(fixture.done, 1);
    tear_down(&fixture);
}

static void test_a_stream_to_http_1_0_and_to_head(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    set_stream(&fixture, 3, 2);
    client_connect(&client, &fixture);
    client_send_text(&client, "GET /stream HTTP/1.0\r\n\r\n");
    const char *answer = client_answer(&client);
    assert_string_equal(body_of(answer), "bbccdd");
    assert_false(has(answer, "Transfer-Encoding"));
    assert_false(has(answer, "Content-Length"));
    assert_int_equal(fixture.done, 1);
    client_close(&client);
    set_stream(&fixture, 3, 2);
    expect_answer(&fixture, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n",
                  "\r\nTransfer-Encoding: chunked\r\n", "");
    assert_int_equal(fixture.asked, 0);
    assert_int_equal(fixture.done, 1);
    tear_down(&fixture);
}

static void test_a_stream_that_fails_has_no_end(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    set_stream(&fixture, 3, 2);
    fixture.fail_at = 2;
    client_connect(&client, &fixture);
    client_send_text(&client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    client_wait_closed(&client);
    assert_true(bytebuf_append(&client.in, "", 1));
    assert_string_equal(body_of((const char *)bytebuf_data(&client.in)), "2\r\nbb\r\n");
    assert_int_equal(fixture.asked, 2);
    assert_int_equal(fixture.done, 1);
    client_close(&client);
    tear_down(&fixture);
}

/* 64 MiB that never stand in memory at once: pieces are made as fast as they are taken. */
static void test_a_long_stream_to_a_slow_reader(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    const unsigned pieces = 512;
    const size_t size = (size_t)128 * 1024;
    set_up(&fixture);
    set_stream(&fixture, pieces, size);
    client_connect(&client, &fixture);
    client.pause_ms = 1;
    client_send_text(&client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    size_t taken = 0;
    while (!client.closed) {
        run_loop_ms(fixture.loop, 2);
        size_t sent_at_most = taken + bytebuf_len(&client.in) + (size_t)1024 * 1024;
        assert_true((size_t)fixture.asked * size <= sent_at_most + 4 * size);
        taken += bytebuf_len(&client.in);
        bytebuf_clear(&client.in);
    }
    assert_true(taken > pieces * size);
    assert_false(client.reset);
    assert_int_equal(fixture.done, 1);
    client_close(&client);
    tear_down(&fixture);
}

static void test_a_stream_whose_reader_goes(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    set_stream(&fixture, 1000, (size_t)64 * 1024);
    client_connect(&client, &fixture);
    client.pause_ms = 100000;
    client_send_text(&client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    while (fixture.asked == 0) {
        run_loop_ms(fixture.loop, 1);
    }
    assert_int_equal(fixture.done, 0);
    client_close(&client);
    while (fixture.done == 0) {
        run_loop_ms(fixture.loop, 1);
    }
    assert_true(fixture.asked < 1000);
    set_stream(&fixture, 1000, (size_t)64 * 1024);
    client_connect(&client, &fixture);
    client.pause_ms = 100000;
    client_send_text(&client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    while (fixture.asked == 0) {
        run_loop_ms(fixture.loop, 1);
    }
    http_server_free(fixture.server);
    fixture.server = NULL;
    assert_int_equal(fixture.done, 1);
    client_close(&client);
    tear_down(&fixture);
}

static void test_a_stream_whose_reader_stalls_is_closed(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up_with(&fixture, &(struct http_server_options){.stall_ms = 20});
    set_stream(&fixture, 1000, (size_t)64 * 1024);
    client_connect(&client, &fixture);
    client.pause_ms = 100000;
    client_send_text(&client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    while (fixture.done == 0) {
        run_loop_ms(fixture.loop, 1);
    }
    assert_true(fixture.asked < 1000);
    client_close(&client);
    tear_down(&fixture);
}

static void test_a_reader_that_takes_nothing_is_closed(void **state)
{
    (void)state;
    enum { BIG = 8 * 1024 * 1024 };
    static const struct http_server_options options[] = {
        {.stall_ms = 100},                    /* takes nothing */
        {.stall_ms = 60000, .answer_ms = 100} /* takes a little now and then */
    };
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        struct client client;
        set_up_with(&fixture, &options[i]);
        char *data = calloc(1, BIG);
        assert_non_null(data);
        assert_true(bytebuf_append(&fixture.big, data, BIG));
        free(data);
        client_connect(&client, &fixture);
        client.pause_ms = i == 0 ? 300 : 20;
        client_send_text(&client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        uint64_t start = clock_mono_ms();
        client_wait_closed(&client);
        assert_true(clock_mono_ms() - start >= 99);
        assert_true(bytebuf_len(&client.in) < BIG);
        client_close(&client);
        tear_down(&fixture);
    }
}

/* The whole refused body is on its way already; the answer must not be lost to a reset. */
static void test_a_refusal_reaches_one_who_is_still_sending(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    char *data = calloc(1, 200 * 1024);
    assert_non_null(data);
    for (unsigned i = 0; i < 20; i++) {
        struct client client;
        client_connect(&client, &fixture);
        client_send_text(&client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999\r\n\r\n");
        for (unsigned j = 0; j < 20; j++) {
            (void)send(client.fd, data, (size_t)10 * 1024, MSG_NOSIGNAL);
            run_loop_ms(fixture.loop, 0);
        }
        assert_return_code(shutdown(client.fd, SHUT_WR), errno);
        assert_true(has(client_answer(&client), "HTTP/1.1 413 "));
        assert_true(has((const char *)bytebuf_data(&client.in), "larger than 1 MiB"));
        client_close(&client);
    }
    free(data);
    tear_down(&fixture);
}

static void test_more_clients_than_places_wait(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client held[2];
    struct client waiting;
    set_up_with(&fixture, &(struct http_server_options){.connections = 2});
    for (size_t i = 0; i < 2; i++) {
        client_connect(&held[i], &fixture);
    }
    run_loop_ms(fixture.loop, 5);
    client_connect(&waiting, &fixture);
    client_send_text(&waiting, "GET / HTTP/1.1\r\n" HOST "\r\n");
    run_loop_ms(fixture.loop, 30);
    assert_int_equal(fixture.calls, 0);
    assert_false(waiting.closed);
    client_close(&held[0]);
    assert_string_equal(body_of(client_answer(&waiting)), "hello");
    client_close(&waiting);
    client_close(&held[1]);
    tear_down(&fixture);
}

/* Where anybody may connect, those who only stay must not keep the others out. */
static void test_the_oldest_gives_way_where_it_shall(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, &(struct http_server_options){.connections = 2,
                                                        .full = HTTP_FULL_OLDEST_GOES,
                                                        .request_ms = 60000});
    struct client silent;
    struct client kept;
    struct client good;
    client_connect(&silent, &fixture);
    client_connect(&kept, &fixture);
    client_send_text(&kept, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    run_loop(fixture.loop);
    assert_non_null(fixture.kept);
    assert_false(silent.closed);
    client_connect(&good, &fixture);
    client_send_text(&good, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(body_of(client_answer(&good)), "hello");
    client_wait_closed(&silent);
    assert_int_equal(bytebuf_len(&silent.in), 0);
    assert_false(kept.closed);
    /* The next oldest waits for its answer: whoever makes that hears that it is not wanted. */
    struct client others[2];
    for (size_t i = 0; i < 2; i++) {
        client_connect(&others[i], &fixture);
        client_send_text(&others[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        assert_string_equal(body_of(client_answer(&others[i])), "hello");
    }
    client_wait_closed(&kept);
    assert_int_equal(fixture.gone, 1);
    for (size_t i = 0; i < 2; i++) {
        client_close(&others[i]);
    }
    client_close(&good);
    client_close(&kept);
    client_close(&silent);
    tear_down(&fixture);
}

static void test_freeing_with_clients_in_every_state(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client clients[4];
    set_up(&fixture);
    char *data = calloc(1, 4 * 1024 * 1024);
    assert_non_null(data);
    assert_true(bytebuf_append(&fixture.big, data, (size_t)4 * 1024 * 1024));
    free(data);
    static const char *const requests[] = {"", "GET / HT", "GET /later HTTP/1.1\r\n" HOST "\r\n",
                                           "GET /big HTTP/1.1\r\n" HOST "\r\n"};
    for (size_t i = 0; i < 4; i++) {
        client_connect(&clients[i], &fixture);
        assert_int_equal(io_watch_set(clients[i].watch, 0), 0);
        client_send_text(&clients[i], requests[i]);
    }
    while (fixture.calls < 2) {
        run_loop_ms(fixture.loop, 5);
    }
    http_server_free(fixture.server);
    fixture.server = NULL;
    assert_int_equal(fixture.gone, 1);
    for (size_t i = 0; i < 4; i++) {
        client_close(&clients[i]);
    }
    http_server_free(NULL);
    tear_down(&fixture);
}

static void test_the_handler_may_free_the_server(void **state)
{
    (void)state;
    struct fixture fixture;
    struct client client;
    set_up(&fixture);
    fixture.free_in_handler = true;
    client_connect(&client, &fixture);
    client_send_text(&client, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_wait_closed(&client);
    assert_int_equal(bytebuf_len(&client.in), 0);
    client_close(&client);
    tear_down(&fixture);
}

static unsigned count_open_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    assert_return_code(closedir(dir), errno);
    return count;
}

static void test_a_thousand_requests_leave_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    unsigned files = count_open_files();
    for (unsigned i = 0; i < 1000; i++) {
        expect_answer(&fixture, "GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "",
                      "hello");
    }
    run_loop_ms(fixture.loop, 5); /* the last one's end is seen by the server */
    assert_int_equal(count_open_files(), files);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_refusals_never_reach_the_handler),
        cmocka_unit_test(test_headers_that_are_too_large),
        cmocka_unit_test(test_one_byte_at_a_time),
        cmocka_unit_test(test_a_body_of_full_size),
        cmocka_unit_test(test_a_second_request_is_not_read),
        cmocka_unit_test(test_a_slow_request_is_ended),
        cmocka_unit_test(test_a_client_that_goes_before_its_request_is_whole),
        cmocka_unit_test(test_a_client_that_goes_before_the_answer),
        cmocka_unit_test(test_a_big_answer_to_a_slow_reader),
        cmocka_unit_test(test_a_stream_is_chunked),
        cmocka_unit_test(test_a_stream_to_http_1_0_and_to_head),
        cmocka_unit_test(test_a_stream_that_fails_has_no_end),
        cmocka_unit_test(test_a_long_stream_to_a_slow_reader),
        cmocka_unit_test(test_a_stream_whose_reader_goes),
        cmocka_unit_test(test_a_stream_whose_reader_stalls_is_closed),
        cmocka_unit_test(test_a_reader_that_takes_nothing_is_closed),
        cmocka_unit_test(test_a_refusal_reaches_one_who_is_still_sending),
        cmocka_unit_test(test_more_clients_than_places_wait),
        cmocka_unit_test(test_the_oldest_gives_way_where_it_shall),
        cmocka_unit_test(test_freeing_with_clients_in_every_state),
        cmocka_unit_test(test_the_handler_may_free_the_server),
        cmocka_unit_test(test_a_thousand_requests_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
