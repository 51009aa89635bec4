/* http_client: what is an answer and what is not, and requests to a real server. */
#include "unit/net/net_test.h"

#include <pthread.h>

#include "base/bytebuf.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/listener.h"

static enum http_reply_state parse(const char *text, enum http_method method,
                                   enum http_connection connection, struct http_reply *out,
                                   struct errbuf *err)
{
    /* Exactly as many bytes as there are, for the sanitizer. */
    size_t len = strlen(text);
    static char *data;
    free(data);
    data = malloc(len > 0 ? len : 1);
    assert_non_null(data);
    memcpy(data, text, len);
    return http_reply_parse(data, len, method, connection, out, err);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_whole_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_connection connection;
        int status;
        const char *type;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
         HTTP_CONNECTION_OPEN, 200, "application/json", "{}"},
        {"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n{}more", HTTP_CONNECTION_OPEN, 200, "", "{}"},
        {"HTTP/1.0 404 Not Found\r\n\r\nnone", HTTP_CONNECTION_CLOSED, 404, "", "none"},
        {"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n", HTTP_CONNECTION_OPEN, 204, "", ""},
        {"HTTP/1.1 599 \r\n\r\n", HTTP_CONNECTION_CLOSED, 599, "", ""},
        {CHUNKED "0\r\n\r\n", HTTP_CONNECTION_OPEN, 200, "", "0\r\n\r\n"},
        {CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\nmore", HTTP_CONNECTION_OPEN, 200, "",
         "3\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_reply reply;
        struct errbuf err = {""};
        assert_int_equal(parse(rows[i].text, HTTP_METHOD_GET, rows[i].connection, &reply, &err),
                         HTTP_REPLY_WHOLE);
        assert_int_equal(reply.status, rows[i].status);
        assert_true(strview_equal_text(reply.content_type, rows[i].type));
        assert_true(strview_equal_text(reply.body, rows[i].body));
    }
    struct http_reply reply;
    struct errbuf err;
    assert_int_equal(parse("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HTTP_METHOD_HEAD,
                           HTTP_CONNECTION_OPEN, &reply, &err),
                     HTTP_REPLY_WHOLE);
    assert_int_equal(reply.body.len, 0);
}

static void test_unfinished_answers(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "HTT",
                                       "HTTP/1.1 200 OK\r\n",
                                       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                                       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
                                       CHUNKED,
                                       CHUNKED "1",
                                       CHUNKED "1\r",
                                       CHUNKED "1\r\n",
                                       CHUNKED "1\r\na",
                                       CHUNKED "1\r\na\r",
                                       CHUNKED "1\r\na\r\n",
                                       CHUNKED "1\r\na\r\n0\r\n",
                                       CHUNKED "1\r\na\r\n0\r\n\r"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_reply reply;
        struct errbuf err = {""};
        assert_int_equal(parse(rows[i], HTTP_METHOD_GET, HTTP_CONNECTION_OPEN, &reply, &err),
                         HTTP_REPLY_MORE);
        assert_int_equal(parse(rows[i], HTTP_METHOD_GET, HTTP_CONNECTION_CLOSED, &reply, &err),
                         HTTP_REPLY_BAD);
        assert_non_null(strstr(err.text, "cut short"));
    }
    struct http_reply reply;
    struct errbuf err;
    assert_int_equal(
        parse("HTTP/1.1 200 OK\r\n\r\nhalf", HTTP_METHOD_GET, HTTP_CONNECTION_OPEN, &reply, &err),
        HTTP_REPLY_MORE);
}

static void test_what_is_no_answer(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0"
        "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        CHUNKED "\r\n",
        CHUNKED "x\r\n",
        CHUNKED "-1\r\n",
        CHUNKED " 1\r\n",
        CHUNKED "1;name=value\r\n",
        CHUNKED "1\n",
        CHUNKED "1\r\r",
        CHUNKED "1\r\nab",
        CHUNKED "1\r\na\rx",
        CHUNKED "1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
        CHUNKED "4000001\r\n",
        CHUNKED "000000001\r\n",
        CHUNKED "ffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (enum http_connection c = HTTP_CONNECTION_OPEN; c <= HTTP_CONNECTION_CLOSED; c++) {
            struct http_reply reply;
            struct errbuf err = {""};
            if (parse(rows[i], HTTP_METHOD_GET, c, &reply, &err) != HTTP_REPLY_BAD) {
                fail_msg("\"%s\" was taken", rows[i]);
            }
            assert_non_null(strstr(err.text, "not understood"));
        }
    }
    char *text = malloc(HTTP_REPLY_HEAD_MAX + 2);
    assert_non_null(text);
    memset(text, 'a', HTTP_REPLY_HEAD_MAX + 1);
    text[HTTP_REPLY_HEAD_MAX + 1] = '\0';
    struct http_reply reply;
    struct errbuf err;
    assert_int_equal(parse(text, HTTP_METHOD_GET, HTTP_CONNECTION_OPEN, &reply, &err),
                     HTTP_REPLY_BAD);
    free(text);
}

static void test_escaping(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(http_escape("a-Z_9.~", out), "a-Z_9.~");
    assert_string_equal(http_escape("spiffe://a/b c", out), "spiffe%3A%2F%2Fa%2Fb%20c");
    assert_string_equal(http_escape("\xc3\xa4&=?#%+", out), "%C3%A4%26%3D%3F%23%25%2B");
    assert_string_equal(http_escape("", out), "");
}

/* ---- Against a server: it runs here, the client in a thread of its own ---- */

struct run {
    struct loop *loop;
    struct listen_sockets *sockets;
    struct http_server *server;
    char path[128];
    struct http_client_request request;
    struct http_reply reply;
    char *memory;
    struct errbuf err;
    int result;
    int done[2];
    unsigned pieces; /* that /stream still sends */
};

static enum http_piece on_next_piece(void *arg, struct bytebuf *out)
{
    struct run *run = arg;
    char block[1000];
    memset(block, 'a' + (int)(run->pieces % 26), sizeof(block));
    for (unsigned i = 0; i < 40; i++) {
        assert_true(bytebuf_append(out, block, sizeof(block)));
    }
    return --run->pieces == 0 ? HTTP_PIECE_LAST : HTTP_PIECE_MORE;
}

static void on_stream_done(void *arg)
{
    (void)arg;
}

static void on_gone(void *arg)
{
    (void)arg;
}

static void on_call(void *arg, struct http_call *call)
{
    const struct http_request *request = http_call_request(call);
    if (strview_equal_text(request->path, "/silent")) {
        http_call_on_gone(call, on_gone, arg);
        return;
    }
    if (strview_equal_text(request->path, "/stream")) {
        const struct http_stream stream = {
            .next = on_next_piece, .done = on_stream_done, .arg = arg};
        http_call_answer(call, &(struct http_answer){.status = 200, .stream = &stream});
        return;
    }
    struct bytebuf body = {0};
    if (strview_equal_text(request->path, "/big")) {
        char block[1024];
        memset(block, 'b', sizeof(block));
        for (unsigned i = 0; i < 5 * 1024; i++) {
            assert_true(bytebuf_append(&body, block, sizeof(block)));
        }
    } else {
        struct strview sent = http_call_body(call);
        assert_true(bytebuf_append(&body, "got ", 4));
        assert_true(bytebuf_append(&body, sent.ptr, sent.len));
    }
    http_call_answer(call, &(struct http_answer){.status = 200, .body = &body});
}

static void *run_client(void *arg)
{
    struct run *run = arg;
    run->result = http_client_send(&run->request, &run->reply, &run->memory, &run->err);
    assert_int_equal(write(run->done[1], "", 1), 1);
    return NULL;
}

static void on_client_done(void *arg, unsigned events)
{
    struct run *run = arg;
    (void)events;
    loop_stop(run->loop);
}

static void start(struct run *run)
{
    struct netaddr addr;
    struct errbuf err;
    const struct listen_options options = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
    *run = (struct run){.loop = new_loop()};
    (void)snprintf(run->path, sizeof(run->path), "/tmp/bulkhead-client-%d.sock", (int)getpid());
    assert_true(netaddr_from_path(&addr, run->path));
    run->sockets = listen_sockets_open(&addr, 1, &options, &err);
    assert_non_null(run->sockets);
    run->server =
        http_server_new(run->loop, listen_sockets_fd(run->sockets, 0), NULL, on_call, run, &err);
    assert_non_null(run->server);
    assert_return_code(pipe(run->done), errno);
    run->request = (struct http_client_request){
        .socket_path = run->path, .method = HTTP_METHOD_GET, .target = "/", .timeout_ms = 10000};
}

static void send_one(struct run *run)
{
    pthread_t thread;
    char byte;
    struct io_watch *watch = io_watch_new(run->loop, run->done[0], on_client_done, run);
    assert_int_equal(io_watch_set(watch, IO_READ), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_client, run), 0);
    run_loop(run->loop);
    io_watch_free(watch);
    assert_int_equal(read(run->done[0], &byte, 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void end(struct run *run)
{
    http_server_free(run->server);
    listen_sockets_close(run->sockets);
    loop_free(run->loop);
    assert_return_code(close(run->done[0]), errno);
    assert_return_code(close(run->done[1]), errno);
}

static void test_requests_to_a_server(void **state)
{
    (void)state;
    struct run run;
    start(&run);
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.status, 200);
    assert_true(strview_equal_text(run.reply.content_type, "application/json"));
    assert_true(strview_equal_text(run.reply.body, "got "));
    mem_free(run.memory);

    run.request.method = HTTP_METHOD_POST;
    run.request.content_type = "application/yaml";
    run.request.body = "version: 1\n";
    run.request.body_len = strlen(run.request.body);
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_true(strview_equal_text(run.reply.body, "got version: 1\n"));
    mem_free(run.memory);

    /* Refused while it is still sent: the answer counts, not the broken pipe. */
    size_t large = (size_t)HTTP_BODY_MAX + 1;
    char *body = calloc(1, large);
    assert_non_null(body);
    run.request.body = body;
    run.request.body_len = large;
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.status, 413);
    mem_free(run.memory);
    free(body);

    run.request = (struct http_client_request){
        .socket_path = run.path, .method = HTTP_METHOD_GET, .target = "/big", .timeout_ms = 10000};
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.body.len, 5 * 1024 * 1024);
    mem_free(run.memory);
    run.request.method = HTTP_METHOD_HEAD;
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.body.len, 0);
    mem_free(run.memory);

    run.request = (struct http_client_request){.socket_path = run.path,
                                               .method = HTTP_METHOD_GET,
                                               .target = "/stream",
                                               .timeout_ms = 10000};
    run.pieces = 100;
    send_one(&run);
    assert_int_equal(run.result, 0);
    assert_false(run.reply.is_chunked);
    assert_int_equal(run.reply.body.len, 100 * 40000);
    for (size_t i = 0; i < run.reply.body.len; i++) {
        if (run.reply.body.ptr[i] != 'a' + (int)((100 - i / 40000) % 26)) {
            fail_msg("byte %zu", i);
        }
    }
    mem_free(run.memory);
    end(&run);
}

/* The same over TCP: a server of both families, one that is not there, one that says nothing. */
static void test_requests_over_tcp(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        struct run run;
        struct netaddr addr;
        struct errbuf err;
        char name[NETADDR_TEXT_SIZE];
        start(&run);
        http_server_free(run.server);
        listen_sockets_close(run.sockets);
        assert_true(netaddr_from_ip(&addr, hosts[i], 0));
        run.sockets = listen_sockets_open(&addr, 1, NULL, &err);
        assert_non_null(run.sockets);
        addr = *listen_sockets_address(run.sockets);
        run.server =
            http_server_new(run.loop, listen_sockets_fd(run.sockets, 0), NULL, on_call, &run, &err);
        run.request.socket_path = NULL;
        run.request.address = &addr;
        send_one(&run);
        assert_int_equal(run.result, 0);
        assert_int_equal(run.reply.status, 200);
        mem_free(run.memory);
        http_server_free(run.server);
        run.server = NULL;
        run.request.timeout_ms = 100;
        send_one(&run); /* the kernel connects, and nobody accepts */
        assert_int_equal(run.result, -1);
        assert_non_null(strstr(run.err.text, "did not answer in 100 ms"));
        listen_sockets_close(run.sockets);
        run.sockets = NULL;
        send_one(&run);
        assert_int_equal(run.result, -1);
        assert_non_null(strstr(run.err.text, netaddr_format(&addr, name)));
        assert_non_null(strstr(run.err.text, "refused"));
        end(&run);
    }
}

static void test_a_server_that_does_not_answer(void **state)
{
    (void)state;
    struct run run;
    start(&run);
    run.request.target = "/silent";
    run.request.timeout_ms = 100;
    uint64_t begin = clock_mono_ms();
    send_one(&run);
    assert_int_equal(run.result, -1);
    assert_null(run.memory);
    assert_non_null(strstr(run.err.text, "did not answer in 100 ms"));
    assert_true(clock_mono_ms() - begin >= 99);
    end(&run);
}

static void refuse_path(const char *path, const char *part)
{
    struct http_reply reply;
    struct errbuf err = {""};
    char *memory = NULL;
    const struct http_client_request request = {
        .socket_path = path, .method = HTTP_METHOD_GET, .target = "/", .timeout_ms = 200};
    assert_int_equal(http_client_send(&request, &reply, &memory, &err), -1);
    assert_null(memory);
    if (strstr(err.text, part) == NULL) {
        fail_msg("%s: \"%s\"", path, err.text);
    }
}

static void test_no_server(void **state)
{
    (void)state;
    char path[64];
    char long_path[200];
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    refuse_path("", "empty or too long");
    refuse_path(long_path, "empty or too long");
    refuse_path("/nowhere/at/all.sock", "No such file");
    refuse_path("/dev/null", "refused");
    /* One with a full queue that nobody empties. */
    (void)snprintf(path, sizeof(path), "/tmp/bulkhead-full-%d.sock", (int)getpid());
    struct netaddr addr;
    assert_true(netaddr_from_path(&addr, path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, &addr.u.sa, addr.len), errno);
    assert_return_code(listen(fd, 0), errno);
    assert_return_code(connect(filler, &addr.u.sa, addr.len), errno);
    refuse_path(path, "cannot connect to");
    assert_return_code(close(filler), errno);
    assert_return_code(close(fd), errno);
    refuse_path(path, "refused"); /* a stale socket */
    assert_return_code(unlink(path), errno);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test(test_unfinished_answers),
        cmocka_unit_test(test_what_is_no_answer),
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_requests_to_a_server),
        cmocka_unit_test(test_requests_over_tcp),
        cmocka_unit_test(test_a_server_that_does_not_answer),
        cmocka_unit_test(test_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
