/* proxy_header: every byte of it, by the specification, and what is refused instead of cut. */
#include "net/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { HEAD = 16, TLV_HEAD = 3 };

static uint8_t out[PROXY_HEADER_MAX + 64];

static struct netaddr ip(const char *text, uint16_t port)
{
    struct netaddr addr;
    assert_true(netaddr_from_ip(&addr, text, port));
    return addr;
}

static struct strview view(const char *text)
{
    return strview_from(text);
}

static void assert_bytes(const uint8_t *got, const char *hex)
{
    for (size_t i = 0; hex[2 * i] != '\0'; i++) {
        char text[3];
        (void)snprintf(text, sizeof(text), "%02x", got[i]);
        if (strncmp(text, hex + 2 * i, 2) != 0) {
            fail_msg("byte %zu is %s, not %.2s", i, text, hex + 2 * i);
        }
    }
}

/* Everything is told, and every byte stands where the specification has it. */
static void test_proxy_header_whole(void **state)
{
    (void)state;
    const struct proxy_header header = {
        .source = ip("192.0.2.1", 0x1234),
        .destination = ip("198.51.100.2", 8443),
        .alpn = view("h2"),
        .authority = view("a.b"),
        .unique_id = view("u-7"),
        .tls = {.flags = PROXY_HEADER_CLIENT_SSL | PROXY_HEADER_CLIENT_CERT_CONN |
                         PROXY_HEADER_CLIENT_CERT_SESS,
                .verified = true,
                .version = view("TLSv1.3"),
                .cipher = view("C"),
                .group = view("x"),
                .signature_algorithm = view("S"),
                .key_algorithm = view("K"),
                .common_name = view("web"),
                .certificate = {"\x30\x00", 2}},
        .spiffe_id = view("spiffe://a/b"),
        .rule = view("r"),
    };
    size_t len = proxy_header_write(&header, out, sizeof(out));
    static const char *const hex = "0d0a0d0a000d0a515549540a" /* signature */
                                   "2111"                     /* version 2, PROXY; TCP over IPv4 */
                                   "005d"                     /* 93 bytes more */
                                   "c0000201c6336402"
                                   "123420fb"
                                   "0100026832"
                                   "020003612e62"
                                   "050003752d37"
                                   "20002a"               /* TLS, 42 bytes */
                                   "0700000000"           /* flags, verify */
                                   "210007544c5376312e33" /* TLSv1.3 */
                                   "220003776562"
                                   "23000143"
                                   "24000153"
                                   "2500014b"
                                   "26000178"
                                   "2800023000"
                                   "e0000c7370696666653a2f2f612f62"
                                   "e1000172";
    assert_int_equal(len, strlen(hex) / 2);
    assert_int_equal(len, HEAD + 93);
    assert_bytes(out, hex);
}

static void test_proxy_header_leaves_out_what_is_not_known(void **state)
{
    (void)state;
    const struct proxy_header header = {.source = ip("192.0.2.1", 1),
                                        .destination = ip("192.0.2.2", 2),
                                        .spiffe_id = view("spiffe://a/b")};
    size_t len = proxy_header_write(&header, out, sizeof(out));
    assert_int_equal(len, HEAD + 12 + TLV_HEAD + strlen("spiffe://a/b"));
    assert_int_equal(out[HEAD + 12], PROXY_HEADER_SPIFFE_ID);
    const struct proxy_header nothing = {0};
    assert_int_equal(proxy_header_write(&nothing, out, sizeof(out)), HEAD);
    assert_bytes(out + 12, "21000000");
}

/* A resumed session has no certificate on this connection; one that is not verified says so. */
static void test_proxy_header_tells_tls_honestly(void **state)
{
    (void)state;
    struct proxy_header header = {
        .tls = {.flags = PROXY_HEADER_CLIENT_SSL | PROXY_HEADER_CLIENT_CERT_SESS,
                .verified = true}};
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD + TLV_HEAD + 5);
    assert_bytes(out + HEAD, "2000050500000000");
    header.tls.flags = PROXY_HEADER_CLIENT_SSL;
    header.tls.verified = false;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD + TLV_HEAD + 5);
    assert_bytes(out + HEAD, "2000050100000001");
    /* without TLS nothing is told of it, whatever else was filled in */
    header.tls.flags = 0;
    header.tls.common_name = view("x");
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD);
}

static void test_proxy_header_families(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *destination;
        uint8_t family;
        const char *addresses;
    } cases[] = {
        {"127.0.0.1", "127.0.0.2", 0x11, "7f0000017f00000200010002"},
        {"::1", "2001:db8::2", 0x21,
         "0000000000000000000000000000000120010db800000000000000000000000200010002"},
        /* a socket of [::] that takes IPv4 as well */
        {"::ffff:192.0.2.1", "::ffff:192.0.2.9", 0x11, "c0000201c000020900010002"},
        {"::ffff:192.0.2.1", "192.0.2.9", 0x11, "c0000201c000020900010002"},
        {"192.0.2.1", "2001:db8::2", 0x00, ""},
        {"::ffff:192.0.2.1", "2001:db8::2", 0x00, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct proxy_header header = {.source = ip(cases[i].source, 1),
                                            .destination = ip(cases[i].destination, 2)};
        size_t len = proxy_header_write(&header, out, sizeof(out));
        assert_int_equal(len, HEAD + strlen(cases[i].addresses) / 2);
        assert_int_equal(out[13], cases[i].family);
        assert_int_equal(out[14] << 8 | out[15], len - HEAD);
        assert_bytes(out + HEAD, cases[i].addresses);
    }
}

static void test_proxy_header_addresses_that_are_cut_are_not_told(void **state)
{
    (void)state;
    struct proxy_header header = {.source = ip("192.0.2.1", 1), .destination = ip("192.0.2.2", 2)};
    header.source.len = 4;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD);
    assert_int_equal(out[13], 0);
    header.source = ip("::1", 1);
    header.source.len = sizeof(struct sockaddr_in);
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD);
    header.source = (struct netaddr){0};
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD);
}

static void test_proxy_header_unix(void **state)
{
    (void)state;
    struct proxy_header header = {.rule = view("r")};
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    netaddr_from_sockaddr(&header.source, (const struct sockaddr *)&unnamed, sizeof(sa_family_t));
    assert_true(netaddr_from_path(&header.destination, "/run/in.sock"));
    size_t len = proxy_header_write(&header, out, sizeof(out));
    assert_int_equal(len, HEAD + 216 + TLV_HEAD + 1);
    assert_int_equal(out[13], 0x31);
    uint8_t zeros[108] = {0};
    assert_memory_equal(out + HEAD, zeros, sizeof(zeros));
    assert_string_equal((const char *)out + HEAD + 108, "/run/in.sock");
    assert_memory_equal(out + HEAD + 108 + 12, zeros, 108 - 12);
    assert_int_equal(out[HEAD + 216], PROXY_HEADER_RULE);
    /* one side of another family: neither is told */
    header.source = ip("127.0.0.1", 1);
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD + TLV_HEAD + 1);
    assert_int_equal(out[13], 0);
}

/* A peer may bind its end to a path that fills the whole of sun_path. */
static void test_proxy_header_unix_path_without_an_end(void **state)
{
    (void)state;
    struct proxy_header header = {0};
    memset(&header.source.u.un, 'p', sizeof(header.source.u.un));
    header.source.u.un.sun_family = AF_UNIX;
    header.source.len = sizeof(struct sockaddr_un) + 1;
    assert_true(netaddr_from_path(&header.destination, "/d"));
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD + 216);
    for (size_t i = 0; i < 108; i++) {
        assert_int_equal(out[HEAD + i], 'p');
    }
    assert_string_equal((const char *)out + HEAD + 108, "/d");
}

/* The longest that the 16 bits of its length can say, and one byte more. */
static void test_proxy_header_is_never_cut(void **state)
{
    (void)state;
    static char large[PROXY_HEADER_MAX];
    memset(large, 'x', sizeof(large));
    struct proxy_header header = {.rule = {large, 65535 - TLV_HEAD}};
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), PROXY_HEADER_MAX);
    assert_bytes(out + 14, "ffff");
    header.rule.len++;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), 0);
    /* two that fit alone and not together */
    header.rule.len = 40000;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), HEAD + TLV_HEAD + 40000);
    header.spiffe_id = header.rule;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), 0);
    /* nested: the certificate and what stands around it */
    const struct proxy_header nested = {.tls = {.flags = PROXY_HEADER_CLIENT_SSL,
                                                .certificate = {large, 65535 - 2 * TLV_HEAD - 5}}};
    assert_int_equal(proxy_header_write(&nested, out, sizeof(out)), PROXY_HEADER_MAX);
    struct proxy_header more = nested;
    more.tls.certificate.len++;
    assert_int_equal(proxy_header_write(&more, out, sizeof(out)), 0);
    more.tls.certificate.len = sizeof(large);
    assert_int_equal(proxy_header_write(&more, out, sizeof(out)), 0);
}

static void test_proxy_header_needs_its_room(void **state)
{
    (void)state;
    const struct proxy_header header = {.source = ip("192.0.2.1", 1),
                                        .destination = ip("192.0.2.2", 2),
                                        .tls = {.flags = PROXY_HEADER_CLIENT_SSL},
                                        .rule = view("r")};
    size_t len = proxy_header_write(&header, out, sizeof(out));
    assert_int_equal(len, HEAD + 12 + TLV_HEAD + 5 + TLV_HEAD + 1);
    for (size_t size = 0; size < len; size++) {
        memset(out, 0xaa, sizeof(out));
        assert_int_equal(proxy_header_write(&header, out, size), 0);
        assert_int_equal(out[size], 0xaa);
    }
    assert_int_equal(proxy_header_write(&header, out, len), len);
}

/* 2.2.5: "up to 128 bytes". */
static void test_proxy_header_unique_id_has_a_bound(void **state)
{
    (void)state;
    char id[PROXY_HEADER_UNIQUE_ID_MAX + 1];
    memset(id, 'i', sizeof(id));
    struct proxy_header header = {.unique_id = {id, PROXY_HEADER_UNIQUE_ID_MAX}};
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)),
                     HEAD + TLV_HEAD + PROXY_HEADER_UNIQUE_ID_MAX);
    header.unique_id.len++;
    assert_int_equal(proxy_header_write(&header, out, sizeof(out)), 0);
}

/* A value is bytes: what looks like a TLV, or like a signature, or holds NUL, stays inside. */
static void test_proxy_header_values_are_opaque(void **state)
{
    (void)state;
    static const char odd[] = "\x00\xe0\x00\x01x\r\n\r\n\x00\r\nQUIT\n";
    const struct proxy_header header = {.authority = {odd, sizeof(odd)}, .rule = view("r")};
    size_t len = proxy_header_write(&header, out, sizeof(out));
    assert_int_equal(len, HEAD + TLV_HEAD + sizeof(odd) + TLV_HEAD + 1);
    assert_memory_equal(out + HEAD + TLV_HEAD, odd, sizeof(odd));
    assert_bytes(out + HEAD + TLV_HEAD + sizeof(odd), "e1000172");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy_header_whole),
        cmocka_unit_test(test_proxy_header_leaves_out_what_is_not_known),
        cmocka_unit_test(test_proxy_header_tells_tls_honestly),
        cmocka_unit_test(test_proxy_header_families),
        cmocka_unit_test(test_proxy_header_addresses_that_are_cut_are_not_told),
        cmocka_unit_test(test_proxy_header_unix),
        cmocka_unit_test(test_proxy_header_unix_path_without_an_end),
        cmocka_unit_test(test_proxy_header_is_never_cut),
        cmocka_unit_test(test_proxy_header_needs_its_room),
        cmocka_unit_test(test_proxy_header_unique_id_has_a_bound),
        cmocka_unit_test(test_proxy_header_values_are_opaque),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
