/* netaddr: what is an IP literal, what is the loopback, how an address reads. */
#include "base/netaddr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_netaddr_ip_literals(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1:8443", true},
        {"127.255.1.2", "127.255.1.2:8443", true},
        {"128.0.0.1", "128.0.0.1:8443", false},
        {"126.255.255.255", "126.255.255.255:8443", false},
        {"0.0.0.0", "0.0.0.0:8443", false},
        {"::1", "[::1]:8443", true},
        {"::", "[::]:8443", false},
        {"::2", "[::2]:8443", false},
        {"0:0:0:0:0:0:0:1", "[::1]:8443", true},
        {"::ffff:127.0.0.1", "[::ffff:127.0.0.1]:8443", true},
        {"::ffff:127.9.9.9", "[::ffff:127.9.9.9]:8443", true},
        {"::ffff:10.0.0.1", "[::ffff:10.0.0.1]:8443", false},
        {"::127.0.0.1", "[::127.0.0.1]:8443", false}, /* compatible, not mapped */
        {"2001:DB8::1", "[2001:db8::1]:8443", false},
        {"fe80::1%lo", "[fe80::1%lo]:8443", false},
        {"fe80::1%1", "[fe80::1%lo]:8443", false},
        {"fe80::1%999999", "[fe80::1%999999]:8443", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct netaddr addr;
        assert_true(netaddr_from_ip(&addr, cases[i].ip, 8443));
        char text[NETADDR_TEXT_SIZE];
        assert_string_equal(netaddr_format(&addr, text), cases[i].text);
        assert_int_equal(netaddr_is_loopback(&addr), cases[i].loopback);
        assert_int_equal(netaddr_port(&addr), 8443);
        assert_false(netaddr_is_unix(&addr));
        netaddr_set_port(&addr, 65535);
        assert_int_equal(netaddr_port(&addr), 65535);
    }
}

static void test_netaddr_refuses_what_is_no_ip_literal(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "localhost",
        "127.1",
        "127.0.0.1.",
        "0x7f000001",
        "2130706433",
        "127.0.0.256",
        "127.0.0.01x",
        " 127.0.0.1",
        "127.0.0.1 ",
        "127.0.0.1%lo",
        "[::1]",
        "::1%",
        "::1%no-such-interface",
        "::1%1x",
        "::1%0",
        "::1%99999999999",
        "1::2::3",
        ":::",
        "fe80:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct netaddr addr;
        assert_false(netaddr_from_ip(&addr, cases[i], 1));
        assert_int_equal(addr.len, 0);
    }
}

static void test_netaddr_any(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        bool any;
    } cases[] = {
        {"0.0.0.0", true},          {"::", true},
        {"::ffff:0.0.0.0", true},   {"0.0.0.1", false},
        {"127.0.0.1", false},       {"::1", false},
        {"::fffe:0:0", false},      {"::ffff:0.0.0.1", false},
        {"1::ffff:0.0.0.0", false},
    };
    struct netaddr addr;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(netaddr_from_ip(&addr, cases[i].ip, 8443));
        assert_int_equal(netaddr_is_any(&addr), cases[i].any);
    }
    assert_true(netaddr_from_path(&addr, "/run/app.sock"));
    assert_false(netaddr_is_any(&addr));
    assert_false(netaddr_is_any(&(struct netaddr){0}));
}

static void test_netaddr_unix_paths(void **state)
{
    (void)state;
    struct netaddr addr;
    char text[NETADDR_TEXT_SIZE];
    assert_true(netaddr_from_path(&addr, "/run/app.sock"));
    assert_string_equal(netaddr_format(&addr, text), "unix:/run/app.sock");
    assert_true(netaddr_is_unix(&addr));
    assert_true(netaddr_is_loopback(&addr));
    assert_int_equal(netaddr_port(&addr), 0);
    netaddr_set_port(&addr, 80);
    assert_string_equal(netaddr_format(&addr, text), "unix:/run/app.sock");

    char longest[sizeof(addr.u.un.sun_path) + 1];
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_false(netaddr_from_path(&addr, longest));
    assert_int_equal(addr.len, 0);
    longest[sizeof(longest) - 2] = '\0';
    assert_true(netaddr_from_path(&addr, longest));
    assert_string_equal(netaddr_format(&addr, text) + 5, longest);
    assert_false(netaddr_from_path(&addr, ""));
}

static struct netaddr unix_of(const char *bytes, size_t len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, bytes, len);
    struct netaddr addr;
    netaddr_from_sockaddr(&addr, (const struct sockaddr *)&un,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    return addr;
}

static void test_netaddr_unix_from_the_kernel(void **state)
{
    (void)state;
    char text[NETADDR_TEXT_SIZE];
    struct netaddr addr = unix_of("", 0);
    assert_string_equal(netaddr_format(&addr, text), "unix:");
    addr = unix_of("\0name", 5);
    assert_string_equal(netaddr_format(&addr, text), "unix:@name");
    addr = unix_of("\0a\0b", 4);
    assert_string_equal(netaddr_format(&addr, text), "unix:@a@b");
    addr = unix_of("/a\0rest", 7);
    assert_string_equal(netaddr_format(&addr, text), "unix:/a");
    char full[sizeof(addr.u.un.sun_path)];
    memset(full, 'p', sizeof(full));
    addr = unix_of(full, sizeof(full)); /* without a NUL: unix(7) allows it */
    assert_int_equal(strlen(netaddr_format(&addr, text)), 5 + sizeof(full));
}

static void test_netaddr_unset_and_unknown(void **state)
{
    (void)state;
    char text[NETADDR_TEXT_SIZE];
    struct netaddr addr = {0};
    assert_string_equal(netaddr_format(&addr, text), "-");
    assert_false(netaddr_is_loopback(&addr));
    assert_false(netaddr_is_unix(&addr));
    assert_int_equal(netaddr_port(&addr), 0);

    netaddr_from_sockaddr(&addr, NULL, 16);
    assert_int_equal(addr.len, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    netaddr_from_sockaddr(&addr, (const struct sockaddr *)&in, 1);
    assert_int_equal(addr.len, 0);
    netaddr_from_sockaddr(&addr, (const struct sockaddr *)&in, 4); /* cut: no address in it */
    assert_false(netaddr_is_loopback(&addr));
    assert_string_equal(netaddr_format(&addr, text), "-");
    struct sockaddr other = {.sa_family = AF_NETLINK};
    netaddr_from_sockaddr(&addr, &other, sizeof(other));
    assert_false(netaddr_is_loopback(&addr));
    assert_string_equal(netaddr_format(&addr, text), "-");
}

static void test_netaddr_is_kept_as_it_was(void **state)
{
    (void)state;
    struct netaddr_kept kept = {0};
    struct netaddr addr;
    char before[NETADDR_TEXT_SIZE];
    char after[NETADDR_TEXT_SIZE];
    static const char *const literals[] = {"127.0.0.1", "::1", "fe80::1%lo"};
    for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++) {
        assert_true(netaddr_from_ip(&addr, literals[i], 443));
        assert_true(netaddr_keep(&kept, &addr));
        struct netaddr again = netaddr_of(&kept);
        assert_int_equal(again.len, addr.len);
        assert_memory_equal(&again.u, &addr.u, sizeof(addr.u));
    }
    /* A path, one of the kernel's own, one without a name: each in place of the one before. */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_true(netaddr_from_path(&addr, "/run/bulkhead/orders.sock"));
    assert_true(netaddr_keep(&kept, &addr));
    struct netaddr path = netaddr_of(&kept);
    assert_true(netaddr_is_unix(&path));
    assert_string_equal(netaddr_format(&path, after), netaddr_format(&addr, before));
    memset(un.sun_path, 'p', sizeof(un.sun_path));
    un.sun_path[0] = '\0';
    netaddr_from_sockaddr(&addr, (const struct sockaddr *)&un, sizeof(un));
    assert_true(netaddr_keep(&kept, &addr));
    struct netaddr abstract = netaddr_of(&kept);
    assert_string_equal(netaddr_format(&abstract, after), netaddr_format(&addr, before));
    netaddr_from_sockaddr(&addr, (const struct sockaddr *)&un, sizeof(un.sun_family));
    assert_true(netaddr_keep(&kept, &addr));
    struct netaddr unnamed = netaddr_of(&kept);
    assert_string_equal(netaddr_format(&unnamed, after), "unix:");
    /* What is no address at all stays unset. */
    addr = (struct netaddr){0};
    assert_true(netaddr_keep(&kept, &addr));
    struct netaddr unset = netaddr_of(&kept);
    assert_int_equal(unset.len, 0);
    assert_string_equal(netaddr_format(&unset, after), "-");
    netaddr_kept_clear(&kept);
    netaddr_kept_clear(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_netaddr_ip_literals),
        cmocka_unit_test(test_netaddr_refuses_what_is_no_ip_literal),
        cmocka_unit_test(test_netaddr_any),
        cmocka_unit_test(test_netaddr_unix_paths),
        cmocka_unit_test(test_netaddr_unix_from_the_kernel),
        cmocka_unit_test(test_netaddr_unset_and_unknown),
        cmocka_unit_test(test_netaddr_is_kept_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
