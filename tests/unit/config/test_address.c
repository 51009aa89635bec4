/* Addresses of listeners and servers: every scheme, and what only looks like an address. */
#include "config/address.h"

#include "unit/config/config_test.h"

#define LABEL_60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LABEL_63 LABEL_60 "aaa"
#define NAME_243 LABEL_60 "." LABEL_60 "." LABEL_60 "." LABEL_60
#define NAME_253 NAME_243 ".aaaaaaaaa"
#define PATH_100                                                                                   \
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaa"

enum { BOTH = -1 };

struct good {
    int role; /* enum address_role, or BOTH */
    const char *text;
    enum config_scheme scheme;
    const char *host; /* or the path */
    bool is_ip;
    uint16_t port;
};

static const struct good good[] = {
    {BOTH, "tcp://127.0.0.1:8080", CONFIG_SCHEME_TCP, "127.0.0.1", true, 8080},
    {BOTH, "mtls://10.1.2.3:1", CONFIG_SCHEME_MTLS, "10.1.2.3", true, 1},
    {BOTH, "mtls://[::1]:8443", CONFIG_SCHEME_MTLS, "::1", true, 8443},
    {BOTH, "tcp://[2001:db8::1]:65535", CONFIG_SCHEME_TCP, "2001:db8::1", true, 65535},
    {BOTH, "tcp://[fe80::1%lo]:80", CONFIG_SCHEME_TCP, "fe80::1%lo", true, 80},
    {ADDRESS_ACCEPT, "mtls://0.0.0.0:8443", CONFIG_SCHEME_MTLS, "0.0.0.0", true, 8443},
    {ADDRESS_ACCEPT, "mtls://[::]:8443", CONFIG_SCHEME_MTLS, "::", true, 8443},
    {ADDRESS_ACCEPT, "tcp://127.0.0.1:0", CONFIG_SCHEME_TCP, "127.0.0.1", true, 0},
    {ADDRESS_FORWARD, "mtls://payments.shop.svc:8443", CONFIG_SCHEME_MTLS, "payments.shop.svc",
     false, 8443},
    {ADDRESS_FORWARD, "tcp://localhost:80", CONFIG_SCHEME_TCP, "localhost", false, 80},
    {ADDRESS_FORWARD, "tcp://a_b.c-d.1e:80", CONFIG_SCHEME_TCP, "a_b.c-d.1e", false, 80},
    {ADDRESS_FORWARD, "tcp://Upper.Example:80", CONFIG_SCHEME_TCP, "Upper.Example", false, 80},
    {ADDRESS_FORWARD, "tcp://" LABEL_63 ":80", CONFIG_SCHEME_TCP, LABEL_63, false, 80},
    {ADDRESS_FORWARD, "mtls://" NAME_253 ":80", CONFIG_SCHEME_MTLS, NAME_253, false, 80},
    {BOTH, "unix:///run/app.sock", CONFIG_SCHEME_UNIX, "/run/app.sock", false, 0},
    {BOTH, "mtls+unix:///run/a:b.sock", CONFIG_SCHEME_MTLS_UNIX, "/run/a:b.sock", false, 0},
    {BOTH, "unix://" PATH_100 "1234567", CONFIG_SCHEME_UNIX, PATH_100 "1234567", false, 0},
};

struct bad {
    int role;
    const char *text;
    const char *why;
};

static const struct bad bad[] = {
    {BOTH, "", "must start with tcp://, mtls://, unix:// or mtls+unix://"},
    {BOTH, "127.0.0.1:80", "must start with tcp://"},
    {BOTH, "http://127.0.0.1:80", "must start with tcp://"},
    {BOTH, "TCP://127.0.0.1:80", "must start with tcp://"},
    {BOTH, "tcp:127.0.0.1:80", "must start with tcp://"},
    {BOTH, "tcp:/127.0.0.1:80", "must start with tcp://"},
    {BOTH, " tcp://127.0.0.1:80", "must start with tcp://"},
    {BOTH, "mtls+tcp://127.0.0.1:80", "must start with tcp://"},
    {BOTH, "tls://127.0.0.1:80", "write \"mtls://\""},
    {BOTH, "transparent://", "is reserved and not served"},
    {BOTH, "socks5://127.0.0.1:1080", "is reserved and not served"},
    {BOTH, "tcp://", "a port is missing"},
    {BOTH, "tcp://127.0.0.1", "a port is missing"},
    {BOTH, "tcp://[::1]", "a port is missing"},
    {BOTH, "tcp://[::1]x:80", "a port is missing"},
    {BOTH, "tcp://[::1:80", "\"]\" is missing"},
    {BOTH, "tcp://::1:80", "in brackets"},
    {BOTH, "tcp://[127.0.0.1]:80", "is no IPv6 address"},
    {BOTH, "tcp://[localhost]:80", "is no IPv6 address"},
    {BOTH, "tcp://[]:80", "is no IPv6 address"},
    {BOTH, "tcp://[::1%]:80", "is no IPv6 address"},
    {BOTH, "tcp://[::1%nosuchinterface0]:80", "is no IPv6 address"},
    {BOTH, "tcp://:80", "the host is missing"},
    {BOTH, "tcp://127.0.0.1:", "port \"\" must be"},
    {BOTH, "tcp://127.0.0.1:http", "port \"http\" must be a decimal number"},
    {BOTH, "tcp://127.0.0.1:65536", "to 65535"},
    {BOTH, "tcp://127.0.0.1:-1", "to 65535"},
    {BOTH, "tcp://127.0.0.1:080", "port \"080\""},
    {BOTH, "tcp://127.0.0.1:0x50", "port \"0x50\""},
    {BOTH, "tcp://127.0.0.1:80/", "port \"80/\""},
    {BOTH, "tcp://127.0.0.1:80 ", "port \"80 \""},
    {BOTH, "tcp://127.0.0.1:18446744073709551696", "to 65535"},
    {ADDRESS_FORWARD, "tcp://127.0.0.1:0", "from 1 to 65535"},
    {ADDRESS_ACCEPT, "tcp://*:80", "0.0.0.0 or [::]"},
    {ADDRESS_ACCEPT, "tcp://localhost:80", "write 127.0.0.1 or [::1]"},
    {ADDRESS_ACCEPT, "mtls://orders.shop:80", "is no IP address"},
    {ADDRESS_ACCEPT, "mtls://127.1:80", "is no IP address"},
    {ADDRESS_FORWARD, "tcp://0.0.0.0:80", "no address to connect to"},
    {ADDRESS_FORWARD, "tcp://[::]:80", "no address to connect to"},
    {ADDRESS_FORWARD, "tcp://[0:0::0]:80", "no address to connect to"},
    {ADDRESS_FORWARD, "tcp://[::ffff:0.0.0.0]:80", "no address to connect to"},
    {ADDRESS_FORWARD, "tcp://127.1:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://2130706433:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://0x7f000001:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://127.0.0.0x1:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://010.0.0.1:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://127.0.0.256:80", "never ends in a number"},
    {ADDRESS_FORWARD, "tcp://127.0.0.1.:80", "two dots in a row, or one at an end"},
    {ADDRESS_FORWARD, "tcp://a..b:80", "two dots in a row"},
    {ADDRESS_FORWARD, "tcp://.a:80", "one at an end"},
    {ADDRESS_FORWARD, "tcp://-a.b:80", "must not have \"-\" beside a dot"},
    {ADDRESS_FORWARD, "tcp://a-.b:80", "must not have \"-\" beside a dot"},
    {ADDRESS_FORWARD, "tcp://user@a:80", "must be a DNS name"},
    {ADDRESS_FORWARD, "tcp://a/b:80", "must be a DNS name"},
    {ADDRESS_FORWARD, "tcp://\xc3\xa4.b:80", "must be a DNS name"},
    {ADDRESS_FORWARD, "tcp://a%2eb:80", "must be a DNS name"},
    {ADDRESS_FORWARD, "tcp://a" LABEL_63 ":80", "at most 63 characters"},
    {ADDRESS_FORWARD, "mtls://" NAME_253 "a:80", "at most 253 characters"},
    {BOTH, "unix://", "must be absolute"},
    {BOTH, "unix://run/app.sock", "must be absolute"},
    {BOTH, "unix://./app.sock", "must be absolute"},
    {BOTH, "unix://@app", "must be absolute"},
    {BOTH, "unix:///", "must name a file"},
    {BOTH, "mtls+unix:///run/", "must name a file"},
    {BOTH, "unix://" PATH_100 "12345678", "at most 107 bytes"},
    {ADDRESS_ACCEPT, "mtls://systemd:", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "mtls://systemd:a b", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "mtls://systemd:a:b", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "tcp://systemd:a/b", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "unix://systemd:\xc3\xa4", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "mtls://systemd:" NAME_253 "abc", "1 to 255 letters"},
    {ADDRESS_ACCEPT, "mtls://Systemd:a", "is no IP address"},
    {ADDRESS_ACCEPT, "tls://systemd:a", "is reserved"},
    {ADDRESS_FORWARD, "tcp://systemd:orders", "port"},
    {ADDRESS_FORWARD, "unix://systemd:orders", "must be absolute"},
};

static bool has_role(int row, enum address_role role)
{
    return row == BOTH || row == (int)role;
}

static void assert_parses(const struct good *row, enum address_role role)
{
    struct errbuf err;
    struct config_address address = {0};
    print_message("%s\n", row->text);
    assert_true(address_parse(row->text, role, &address, &err));
    assert_int_equal(address.scheme, row->scheme);
    assert_int_equal(address.port, row->port);
    assert_int_equal(address.host_is_ip, row->is_ip);
    bool is_unix = config_scheme_is_unix(row->scheme);
    assert_string_equal(is_unix ? address.path : address.host, row->host);
    assert_null(is_unix ? address.host : address.path);
    struct netaddr addr;
    assert_int_equal(address_to_netaddr(&address, &addr), is_unix || row->is_ip);
    address_release(&address);
    assert_null(address.host);
    assert_null(address.path);
    assert_int_equal(address.scheme, CONFIG_SCHEME_NONE);
}

static void test_address_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        for (int role = ADDRESS_ACCEPT; role <= ADDRESS_FORWARD; role++) {
            if (has_role(good[i].role, (enum address_role)role)) {
                assert_parses(&good[i], (enum address_role)role);
            }
        }
    }
}

static void test_address_of_a_socket_that_is_passed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum config_scheme scheme;
        const char *name;
    } rows[] = {
        {"mtls://systemd:orders", CONFIG_SCHEME_MTLS, "orders"},
        {"tcp://systemd:bulkhead.socket", CONFIG_SCHEME_TCP, "bulkhead.socket"},
        {"unix://systemd:a@b-c_D.9", CONFIG_SCHEME_UNIX, "a@b-c_D.9"},
        {"mtls+unix://systemd:443", CONFIG_SCHEME_MTLS_UNIX, "443"},
        {"mtls://systemd:" NAME_253 "ab", CONFIG_SCHEME_MTLS, NAME_253 "ab"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct errbuf err;
        struct netaddr addr;
        struct config_address address = {0};
        assert_true(address_parse(rows[i].text, ADDRESS_ACCEPT, &address, &err));
        assert_int_equal(address.scheme, rows[i].scheme);
        assert_string_equal(address.activation, rows[i].name);
        assert_null(address.host);
        assert_null(address.path);
        assert_false(address_to_netaddr(&address, &addr));
        address_release(&address);
        assert_null(address.activation);
    }
    /* A host of that name, where one can be. */
    struct errbuf err;
    struct config_address address = {0};
    assert_true(address_parse("tcp://systemd:80", ADDRESS_FORWARD, &address, &err));
    assert_string_equal(address.host, "systemd");
    address_release(&address);
}

static void assert_refused(const struct bad *row, enum address_role role)
{
    struct errbuf err;
    struct config_address address = {0};
    print_message("%s\n", row->text);
    assert_false(address_parse(row->text, role, &address, &err));
    if (strstr(err.text, row->why) == NULL) {
        fail_msg("%s", err.text);
    }
    static const struct config_address untouched = {0};
    assert_memory_equal(&address, &untouched, sizeof address);
}

static void test_address_refuses_with_what_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        for (int role = ADDRESS_ACCEPT; role <= ADDRESS_FORWARD; role++) {
            if (has_role(bad[i].role, (enum address_role)role)) {
                assert_refused(&bad[i], (enum address_role)role);
            }
        }
    }
}

static void test_address_not_parsed_has_no_netaddr(void **state)
{
    (void)state;
    struct config_address address = {0};
    struct netaddr addr;
    assert_false(address_to_netaddr(&address, &addr));
}

static void test_address_checks_dns_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a", "a.b", "1.a", "_x._tcp.a", "xn--4ca.example", "0xg", NAME_253, LABEL_63 "." LABEL_63};
    static const char *const no_names[] = {
        "",   ".",      "a.",    "*.a", "a b",  "[::1]", "::1",        "1",
        "0x", "a.0xFF", "a.012", "a\n", "a:80", "a/b",   NAME_253 "a", LABEL_63 "b"};
    const char *why = NULL;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        print_message("%s\n", names[i]);
        assert_true(address_check_dns_name(names[i], &why));
    }
    for (size_t i = 0; i < COUNT_OF(no_names); i++) {
        why = NULL;
        print_message("\"%s\"\n", no_names[i]);
        assert_false(address_check_dns_name(no_names[i], &why));
        assert_int_equal(strncmp(why, "must ", 5), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_accepts),
        cmocka_unit_test(test_address_of_a_socket_that_is_passed),
        cmocka_unit_test(test_address_refuses_with_what_is_right),
        cmocka_unit_test(test_address_not_parsed_has_no_netaddr),
        cmocka_unit_test(test_address_checks_dns_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
