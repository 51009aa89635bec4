/* http_guard: what a browser could be made to send does not pass; what ctl and curl send does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/http_guard.h"

struct row {
    const char *host; /* NULL: an HTTP/1.0 request without one */
    const char *headers;
    bool passes;
};

static struct http_request request;

static bool passes(const char *method, const struct row *row)
{
    char head[1024];
    const char *why = NULL;
    int len =
        snprintf(head, sizeof(head), "%s / HTTP/1.%d\r\n%s%s%s%s\r\n", method, row->host != NULL,
                 row->host != NULL ? "Host: " : "", row->host != NULL ? row->host : "",
                 row->host != NULL ? "\r\n" : "", row->headers);
    assert_true(len > 0 && (size_t)len < sizeof(head));
    if (http_request_parse(head, (size_t)len, &request, &why) != 0) {
        fail_msg("%s: %s", head, why);
    }
    return http_guard_refuses(&request) == NULL;
}

#define OURS HTTP_GUARD_HEADER ": " HTTP_GUARD_VALUE "\r\n"

static void test_guard_looks_at_the_host(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"127.0.0.1", "", true},
        {"127.0.0.1:9901", "", true},
        {"127.255.0.7:1", "", true},
        {"[::1]", "", true},
        {"[::1]:9901", "", true},
        {"[0:0:0:0:0:0:0:1]:9901", "", true},
        {"localhost", "", true},
        {"LocalHost:65535", "", true},
        {NULL, "", false},
        {"", "", false},
        {"evil.example:9901", "", false},
        {"localhost.evil.example:9901", "", false},
        {"evil.localhost:9901", "", false},
        {"localhost.:9901", "", false},
        {"127.0.0.1.evil.example", "", false},
        {"127.0.0.1.", "", false},
        {"127.1", "", false},
        {"0177.0.0.1", "", false},
        {"2130706433", "", false},
        {"0.0.0.0:9901", "", false},
        {"10.0.0.1:9901", "", false},
        {"::1", "", false},
        {"[::1", "", false},
        {"[::1]x", "", false},
        {"[::1]:", "", false},
        {"[127.0.0.1]:9901", "", false},
        {"[localhost]:9901", "", false},
        {"[::]:9901", "", false},
        {"[fe80::1]:9901", "", false},
        {"127.0.0.1:", "", false},
        {"127.0.0.1:123456", "", false},
        {"127.0.0.1:99x", "", false},
        {"127.0.0.1:9901:9901", "", false},
        {"%6c%6f%63%61%6c%68%6f%73%74", "", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (passes("GET", &rows[i]) != rows[i].passes) {
            fail_msg("Host: %s", rows[i].host == NULL ? "(none)" : rows[i].host);
        }
    }
}

static void test_guard_refuses_pages(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"127.0.0.1:1", "Sec-Fetch-Site: none\r\n", true},
        {"127.0.0.1:1", "Sec-Fetch-Site: same-origin\r\n", true},
        {"127.0.0.1:1", "Referer: http://evil.example/\r\n", true},
        {"127.0.0.1:1", "Sec-Fetch-Site: cross-site\r\n", false},
        {"127.0.0.1:1", "Sec-Fetch-Site: same-site\r\n", false},
        {"127.0.0.1:1", "sec-fetch-site: CROSS-SITE\r\n", false},
        {"127.0.0.1:1", "Sec-Fetch-Site: \r\n", false},
        {"127.0.0.1:1", "Sec-Fetch-Site: none, cross-site\r\n", false},
        {"127.0.0.1:1", "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", false},
        {"127.0.0.1:1", "Origin: http://evil.example\r\n", false},
        {"127.0.0.1:1", "Origin: null\r\n", false},
        {"127.0.0.1:1", "Origin: http://127.0.0.1:1\r\n", false},
        {"127.0.0.1:1", "origin: \r\n", false},
        {"127.0.0.1:1", "A: b\r\nORIGIN: x\r\n", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct row post = rows[i];
        char headers[512];
        (void)snprintf(headers, sizeof(headers), "%s%s", rows[i].headers, OURS);
        post.headers = headers;
        if (passes("GET", &rows[i]) != rows[i].passes ||
            passes("HEAD", &rows[i]) != rows[i].passes || passes("POST", &post) != rows[i].passes) {
            fail_msg("%s", rows[i].headers);
        }
    }
}

static void test_guard_wants_a_header_with_a_post(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"localhost", OURS, true},
        {"localhost", "bulkhead-admin: 1\r\n", true},
        {"localhost", "", false},
        {"localhost", HTTP_GUARD_HEADER ": 0\r\n", false},
        {"localhost", HTTP_GUARD_HEADER ": \r\n", false},
        {"localhost", HTTP_GUARD_HEADER ": 11\r\n", false},
        {"localhost", "Content-Type: application/json\r\n", false},
        {"localhost", "X-Bulkhead-Admin: 1\r\n", false},
        {"evil.example", OURS, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (passes("POST", &rows[i]) != rows[i].passes) {
            fail_msg("%s", rows[i].headers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_looks_at_the_host),
        cmocka_unit_test(test_guard_refuses_pages),
        cmocka_unit_test(test_guard_wants_a_header_with_a_post),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
