/* http_request: what is taken, and the many things that are not (request smuggling above all). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/http_request.h"

/* As a server does it, a byte at a time, with nothing to be read beyond what has come. */
static int parse_text(const char *text, size_t len, struct http_request *out, const char **why)
{
    size_t scanned = 0;
    for (size_t have = 1; have <= len; have++) {
        char *head = malloc(have);
        assert_non_null(head);
        memcpy(head, text, have);
        enum http_head found = http_head_scan(head, have, &scanned);
        free(head);
        if (found == HTTP_HEAD_BAD) {
            int status = http_request_parse(text, len, out, why);
            assert_int_equal(status, 400);
            return status;
        }
        if (found == HTTP_HEAD_WHOLE) {
            assert_int_equal(scanned, have);
            return http_request_parse(text, have, out, why);
        }
    }
    *why = "unfinished";
    return -1;
}

static struct http_request request;

static void accept_text(const char *text)
{
    const char *why = NULL;
    int status = parse_text(text, strlen(text), &request, &why);
    if (status != 0) {
        fail_msg("\"%s\": %d %s", text, status, why);
    }
    assert_null(why);
}

static void refuse_bytes(const char *text, size_t len, int expected)
{
    const char *why = NULL;
    int status = parse_text(text, len, &request, &why);
    if (status != expected) {
        fail_msg("\"%s\": %d (%s) instead of %d", text, status, why != NULL ? why : "-", expected);
    }
    assert_non_null(why);
}

static void refuse_text(const char *text, int expected)
{
    refuse_bytes(text, strlen(text), expected);
}

static void expect_view(struct strview view, const char *text)
{
    if (!strview_equal_text(view, text)) {
        fail_msg("\"%.*s\" instead of \"%s\"", (int)view.len, view.ptr, text);
    }
}

#define HOST "Host: x\r\n"

static void test_a_plain_request(void **state)
{
    (void)state;
    accept_text("GET /v1/sessions HTTP/1.1\r\nHost: localhost:80\r\naccept:*/*\r\nEmpty:\r\n"
                "Padded: \t a b \t\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_GET);
    assert_false(request.is_http_1_0);
    expect_view(request.path, "/v1/sessions");
    expect_view(request.host, "localhost:80");
    assert_int_equal(request.header_count, 4);
    assert_int_equal(request.body_len, 0);
    expect_view(http_request_header(&request, "ACCEPT")->value, "*/*");
    expect_view(http_request_header(&request, "empty")->value, "");
    expect_view(http_request_header(&request, "padded")->value, "a b");
    assert_null(http_request_header(&request, "accep"));
    assert_null(http_request_header(&request, "accept2"));
}

static void test_methods_versions_and_bodies(void **state)
{
    (void)state;
    accept_text("HEAD / HTTP/1.0\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_HEAD);
    assert_true(request.is_http_1_0);
    expect_view(request.path, "/");
    expect_view(request.host, "");
    accept_text("POST /reload HTTP/1.1\r\n" HOST "content-LENGTH: 1048576\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_POST);
    assert_int_equal(request.body_len, HTTP_BODY_MAX);
    accept_text("POST / HTTP/1.1\r\n" HOST "\r\n"); /* RFC 9112 6.3: no length is no body */
    assert_int_equal(request.body_len, 0);
    accept_text("POST / HTTP/1.1\r\n" HOST "Content-Length: 0007\r\n\r\n");
    assert_int_equal(request.body_len, 7);
    accept_text("GET / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    accept_text("GET / HTTP/1.1\r\nHost:\r\n\r\n");
    accept_text("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n");
    accept_text("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_int_equal(request.body_len, 1);
}

static void test_paths_and_parameters_are_decoded_once(void **state)
{
    (void)state;
    accept_text("GET /a%20b/%2Bc/~d;e/...?id=spiffe%3a%2F%2fx/y&flag&empty=&plus=a+b&q=%2541?/"
                " HTTP/1.1\r\n" HOST "\r\n");
    expect_view(request.path, "/a b/+c/~d;e/...");
    assert_int_equal(request.parameter_count, 5);
    expect_view(*http_request_parameter(&request, "id"), "spiffe://x/y");
    expect_view(*http_request_parameter(&request, "flag"), "");
    expect_view(*http_request_parameter(&request, "empty"), "");
    expect_view(*http_request_parameter(&request, "plus"), "a+b");
    expect_view(*http_request_parameter(&request, "q"), "%41?/");
    assert_null(http_request_parameter(&request, "none"));
    accept_text("GET /?a=1=2&%62=%c3%a4 HTTP/1.1\r\n" HOST "\r\n");
    expect_view(*http_request_parameter(&request, "a"), "1=2");
    expect_view(*http_request_parameter(&request, "b"), "\xc3\xa4");
    accept_text("GET /dir/? HTTP/1.1\r\n" HOST "\r\n");
    expect_view(request.path, "/dir/");
    assert_int_equal(request.parameter_count, 0);
}

static void test_targets_that_are_refused(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "*",        "http://x/", "https://x/", "x:80",    "sessions",  "?a=1",     "",
        "/..",      "/../x",     "/a/../b",    "/.",      "/a/./b",    "/%2e%2e/", "/%2E",
        "/a/%2e.",  "//",        "//x",        "/a//b",   "/%",        "/%4",      "/%g1",
        "/%1g",     "/%%",       "/a%2fb",     "/a%2Fb",  "/%00",      "/%0a",     "/%0D",
        "/%7f",     "/%1f",      "/a#b",       "/a\\b",   "/a\"b",     "/<a>",     "/a|b",
        "/a^b",     "/a`b",      "/{a}",       "/[a]",    "/\xc3\xa4", "/a\tb",    "/\x7f",
        "/?=1",     "/?a=1&a=2", "/?a&%61",    "/?&",     "/?a&",      "/?&a",     "/?a&&b",
        "/?a=%",    "/?a=%00",   "/?a=%0a",    "/?a=b#c", "/?%=1",     "/?a=\"",   "/?a={}",
        "/?\xff=1", "/a\x01",    "/?a=\x0b",   "/%u0041", "/a%2",      "/?%2",     "/?a=%2",
    };
    char text[256];
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        (void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        refuse_text(text, 400);
    }
}

static void test_request_lines_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int status;
    } rows[] = {
        {"", 400},
        {" ", 400},
        {"GET", 400},
        {"GET /", 400},
        {"GET  / HTTP/1.1", 400},
        {"GET /  HTTP/1.1", 400},
        {"GET / HTTP/1.1 ", 400},
        {" GET / HTTP/1.1", 400},
        {"GET\t/\tHTTP/1.1", 400},
        {"GET / x HTTP/1.1", 400},
        {"GET / http/1.1", 400},
        {"GET / HTTP/1", 400},
        {"GET / HTTP/1.", 400},
        {"GET / HTTP/11", 400},
        {"GET / HTTP/1.10", 400},
        {"GET / HTTP/1,1", 400},
        {"GET / HTTPS/1.1", 400},
        {"GET / HTTP/a.b", 400},
        {"G(T / HTTP/1.1", 400},
        {"G\x80T / HTTP/1.1", 400},
        {"GET / HTTP/1.2", 505},
        {"GET / HTTP/2.0", 505},
        {"GET / HTTP/0.9", 505},
        {"PRI * HTTP/2.0", 505},
        {"get / HTTP/1.1", 405},
        {"PUT / HTTP/1.1", 405},
        {"DELETE / HTTP/1.1", 405},
        {"OPTIONS / HTTP/1.1", 405},
        {"TRACE / HTTP/1.1", 405},
        {"PATCH / HTTP/1.1", 405},
        {"GETT / HTTP/1.1", 405},
        {"CONNECT /x HTTP/1.1", 405},
        {"OPTIONS * HTTP/1.1", 400},
        {"CONNECT x:443 HTTP/1.1", 400},
    };
    char text[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s\r\n" HOST "\r\n", rows[i].line);
        refuse_text(text, rows[i].status);
    }
}

/* Each of these two servers in a row may read differently. */
static void test_smuggling(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {HOST "Content-Length: 5\r\nContent-Length: 5\r\n", 400},
        {HOST "Content-Length: 5\r\nContent-Length: 6\r\n", 400},
        {HOST "Content-Length: 5\r\nX: y\r\ncontent-length: 0\r\n", 400},
        {HOST "Content-Length: 5, 5\r\n", 400},
        {HOST "Content-Length: 5,6\r\n", 400},
        {HOST "Content-Length: +5\r\n", 400},
        {HOST "Content-Length: -5\r\n", 400},
        {HOST "Content-Length: 0x5\r\n", 400},
        {HOST "Content-Length: 5 5\r\n", 400},
        {HOST "Content-Length: 5.0\r\n", 400},
        {HOST "Content-Length: \r\n", 400},
        {HOST "Content-Length: 5;\r\n", 400},
        {HOST "Content-Length: \"5\"\r\n", 400},
        {HOST "Content-Length: 1048577\r\n", 413},
        {HOST "Content-Length: 18446744073709551616\r\n", 413},
        {HOST "Content-Length: 184467440737095516160000000005\r\n", 413},
        {HOST "Content-Length: 18446744073709551616x\r\n", 400},
        {HOST "Transfer-Encoding: chunked\r\n", 501},
        {HOST "transfer-encoding: identity\r\n", 501},
        {HOST "Transfer-Encoding: xchunked\r\n", 501},
        {HOST "Transfer-Encoding:\r\n", 501},
        {HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400},
        {HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400},
        {HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400},
        {HOST "Content-Length : 5\r\n", 400},
        {HOST "Content-Length\t: 5\r\n", 400},
        {HOST "Transfer-Encoding : chunked\r\n", 400},
        {HOST " Content-Length: 5\r\n", 400},
        {HOST "X: a\r\n b\r\n", 400},
        {HOST "X: a\r\n\tb: c\r\n", 400},
        {" " HOST, 400},
        {HOST "X\r\n", 400},
        {HOST ": x\r\n", 400},
        {HOST "X Y: z\r\n", 400},
        {HOST "X(): z\r\n", 400},
        {HOST "X\x80: z\r\n", 400},
        {HOST "X: a\x01\r\n", 400},
        {HOST "X: a\x7f\r\n", 400},
        {HOST "X: a\x0b\r\n", 400},
        {HOST "X: a\rb\r\n", 400},
        {HOST "X: a\nb: c\r\n", 400},
        {HOST "X: a\n", 400},
        {HOST "X: a\r\r\n", 400},
        {HOST "\rX: a\r\n", 400},
        {"", 400},
        {"X: y\r\n", 400},
        {HOST HOST, 400},
        {HOST "host: y\r\n", 400},
        {"Host : x\r\n", 400},
        {"Host: a b\r\n", 400},
        {"Host: a/b\r\n", 400},
        {"Host: a@b\r\n", 400},
        {"Host: \xc3\xa4\r\n", 400},
        {HOST "Expect: 100-continue\r\nContent-Length: 5\r\n", 417},
        {HOST "Expect: something\r\n", 417},
        {HOST "Expect: a\r\nExpect: b\r\n", 400},
    };
    char text[512];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(text, sizeof(text), "POST / HTTP/1.1\r\n%s\r\n", rows[i].headers);
        refuse_text(text, rows[i].status);
    }
    refuse_text("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refuse_text("GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", 400);
    refuse_text("HEAD / HTTP/1.1\r\n" HOST "Content-Length: 99999999\r\n\r\n", 400);
    refuse_text("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    refuse_text("\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400); /* legal to skip; nobody needs it */
    refuse_text("\nGET / HTTP/1.1\r\n" HOST "\r\n", 400);
    refuse_text("GET / HTTP/1.1\n" HOST "\n", 400);
}

static void test_nul_bytes(void **state)
{
    (void)state;
    static const char rows[][64] = {
        "GET /\0 HTTP/1.1\r\n" HOST "\r\n",    "GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\0: x\r\n\r\n", "GE\0T / HTTP/1.1\r\n" HOST "\r\n",
        "\0GET / HTTP/1.1\r\n" HOST "\r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        refuse_bytes(rows[i], sizeof(rows[i]), 400);
    }
}

static void test_limits(void **state)
{
    (void)state;
    char text[HTTP_HEAD_MAX + 200];
    size_t len = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST);
    for (unsigned i = 1; i < HTTP_HEADERS_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "X%u: y\r\n", i);
    }
    (void)snprintf(text + len, sizeof(text) - len, "\r\n");
    accept_text(text);
    assert_int_equal(request.header_count, HTTP_HEADERS_MAX);
    (void)snprintf(text + len, sizeof(text) - len, "X: y\r\n\r\n");
    refuse_text(text, 431);

    for (size_t over = 0; over < 2; over++) {
        len = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "X: ");
        memset(text + len, 'a', HTTP_HEAD_MAX + over - 4 - len);
        memcpy(text + HTTP_HEAD_MAX + over - 4, "\r\n\r\n", 5);
        if (over == 0) {
            accept_text(text);
        } else {
            refuse_text(text, 431);
        }
    }

    len = (size_t)snprintf(text, sizeof(text), "GET /?p0");
    for (unsigned i = 1; i < HTTP_PARAMETERS_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "&p%u", i);
    }
    (void)snprintf(text + len, sizeof(text) - len, " HTTP/1.1\r\n" HOST "\r\n");
    accept_text(text);
    assert_int_equal(request.parameter_count, HTTP_PARAMETERS_MAX);
    (void)snprintf(text + len, sizeof(text) - len, "&x HTTP/1.1\r\n" HOST "\r\n");
    refuse_text(text, 400);
}

static void test_unfinished_heads(void **state)
{
    (void)state;
    static const char *const rows[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r",
                                       "GET / HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r", "G"};
    const char *why;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(parse_text(rows[i], strlen(rows[i]), &request, &why), -1);
        /* And should somebody parse it all the same: */
        assert_int_equal(http_request_parse(rows[i], strlen(rows[i]), &request, &why), 400);
    }
    assert_int_equal(http_request_parse(NULL, 0, &request, &why), 400);
    static const char more[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET";
    size_t scanned = 0;
    assert_int_equal(http_head_scan(more, sizeof(more) - 1, &scanned), HTTP_HEAD_WHOLE);
    assert_int_equal(scanned, sizeof(more) - 4);
    assert_int_equal(http_request_parse(more, sizeof(more) - 1, &request, &why), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_request),
        cmocka_unit_test(test_methods_versions_and_bodies),
        cmocka_unit_test(test_paths_and_parameters_are_decoded_once),
        cmocka_unit_test(test_targets_that_are_refused),
        cmocka_unit_test(test_request_lines_that_are_refused),
        cmocka_unit_test(test_smuggling),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unfinished_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
