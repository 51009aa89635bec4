/* http_url: what is one and where it leads, and what is none. */
#include "config/http_url.h"

#include "unit/config/config_test.h"

static void test_http_url_takes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *addr;
        const char *target;
    } rows[] = {
        {"http://127.0.0.1:8080/healthz", "127.0.0.1:8080", "/healthz"},
        {"http://127.0.0.1:8080", "127.0.0.1:8080", ""},
        {"http://127.0.0.1/", "127.0.0.1:80", "/"},
        {"http://127.0.0.1", "127.0.0.1:80", ""},
        {"http://[::1]:65535/a%20b/?x=1&y=/?", "[::1]:65535", "/a%20b/?x=1&y=/?"},
        {"http://[::1]/", "[::1]:80", "/"},
        {"http://[::ffff:10.0.0.1]:1/", "[::ffff:10.0.0.1]:1", "/"},
        {"http://10.1.2.3:1/:@", "10.1.2.3:1", "/:@"},
        {"http://unix:/run/app.sock:/healthz", "unix:/run/app.sock", "/healthz"},
        {"http://unix:/run/app.sock:/a:b", "unix:/run/app.sock", "/a:b"},
        {"http://unix:/run/app.sock", "unix:/run/app.sock", ""},
        {"http://unix:/run/app.sock:", "unix:/run/app.sock", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_url url;
        struct errbuf err = {""};
        char addr[NETADDR_TEXT_SIZE];
        print_message("%s\n", rows[i].text);
        assert_true(http_url_parse(rows[i].text, &url, &err));
        assert_string_equal(netaddr_format(&url.addr, addr), rows[i].addr);
        assert_string_equal(url.target, rows[i].target);
    }
}

static void test_http_url_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {
        {"", "http://"},
        {"127.0.0.1:80/", "http://"},
        {"HTTP://127.0.0.1/", "http://"},
        {"https://127.0.0.1/", "http://"},
        {"http://", "IP address"},
        {"http:///x", "IP address"},
        {"http://localhost:80/", "IP address"},
        {"http://app.svc/", "IP address"},
        {"http://127.1/", "IP address"},
        {"http://0x7f000001/", "IP address"},
        {"http://::1/", "port"},
        {"http://[127.0.0.1]/", "IP address"},
        {"http://[::1/", "]"},
        {"http://[::1]x/", "port"},
        {"http://[::1]80/", "port"},
        {"http://user@127.0.0.1/", "IP address"},
        {"http://127.0.0.1@10.0.0.1/", "IP address"},
        {"http://user:pass@127.0.0.1/", "port"},
        {"http://127.0.0.1:/", "port"},
        {"http://127.0.0.1:0/", "port"},
        {"http://127.0.0.1:080/", "port"},
        {"http://127.0.0.1:+80/", "port"},
        {"http://127.0.0.1:65536/", "port"},
        {"http://127.0.0.1:99999999999/", "port"},
        {"http://127.0.0.1:80:80/", "port"},
        {"http://127.0.0.1?x", "begins with"},
        {"http://127.0.0.1/a b", "no path may"},
        {"http://127.0.0.1/a#b", "no path may"},
        {"http://127.0.0.1#b", "begins with"},
        {"http://127.0.0.1/\r\nX: y", "no path may"},
        {"http://127.0.0.1/\x7f", "no path may"},
        {"http://127.0.0.1/\xc3\xa4", "no path may"},
        {"http://127.0.0.1/%", "no path may"},
        {"http://127.0.0.1/%2", "no path may"},
        {"http://127.0.0.1/%2g", "no path may"},
        {"http://127.0.0.1/<>", "no path may"},
        {"http://unix:", "Unix socket"},
        {"http://unix:run/app.sock:/", "Unix socket"},
        {"http://unix://run/:/x", "Unix socket"},
        {"http://unix:/run/app.sock:healthz", "begins with"},
        {"http://unix:/run/app.sock:/a b", "no path may"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_url url;
        struct errbuf err = {""};
        print_message("%s\n", rows[i].text);
        assert_false(http_url_parse(rows[i].text, &url, &err));
        assert_non_null(strstr(err.text, rows[i].why));
    }
}

static void test_http_url_is_bounded(void **state)
{
    (void)state;
    char text[HTTP_URL_TARGET_SIZE + 64];
    struct http_url url;
    struct errbuf err = {""};
    int head = snprintf(text, sizeof text, "http://127.0.0.1/");
    memset(text + head, 'a', HTTP_URL_TARGET_SIZE - 2);
    text[head + HTTP_URL_TARGET_SIZE - 2] = '\0';
    assert_true(http_url_parse(text, &url, &err));
    text[head + HTTP_URL_TARGET_SIZE - 2] = 'a';
    text[head + HTTP_URL_TARGET_SIZE - 1] = '\0';
    assert_false(http_url_parse(text, &url, &err));
    head = snprintf(text, sizeof text, "http://unix:/");
    memset(text + head, 'a', 106);
    (void)snprintf(text + head + 106, sizeof text - (size_t)head - 106, ":/");
    assert_true(http_url_parse(text, &url, &err));
    memset(text + head, 'a', 107);
    (void)snprintf(text + head + 107, sizeof text - (size_t)head - 107, ":/");
    assert_false(http_url_parse(text, &url, &err));
    head = snprintf(text, sizeof text, "http://[");
    memset(text + head, ':', 200);
    (void)snprintf(text + head + 200, 8, "]/");
    assert_false(http_url_parse(text, &url, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_url_takes),
        cmocka_unit_test(test_http_url_refuses),
        cmocka_unit_test(test_http_url_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
