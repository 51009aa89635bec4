/* tcp_listening: the kernel's lines, and the kernel itself. */
#include "net/tcp_listening.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TAIL " 00000000:00000000 00:00000000 00000000 "

/* As a machine of little-endian words has it; the tests' own architecture may be another. */
static bool is_little_endian(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 1;
}

static void test_tcp_listening_reads_the_kernels_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum tcp_line wanted;
        const char *address;
        uid_t uid;
    } cases[] = {
        {"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  "
         "timeout"
         " inode",
         TCP_LINE_OTHER, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A" TAIL " 1000        0 12345 1 0000 100 0 0 10 0",
         TCP_LINE_LISTENING, "127.0.0.1:8080", 1000},
        {"4095: 00000000:0050 00000000:0000 0A" TAIL "    0        0 1 1 0000", TCP_LINE_LISTENING,
         "0.0.0.0:80", 0},
        {"   1: 00000000000000000000000000000000:20FB 00000000000000000000000000000000:0000 0A" TAIL
         "4294967295        0 7 1",
         TCP_LINE_LISTENING, "[::]:8443", UINT32_MAX},
        {"   2: 00000000000000000000000001000000:0001 00000000000000000000000000000000:0000 0A" TAIL
         "   65534        0 7 1",
         TCP_LINE_LISTENING, "[::1]:1", 65534},
        {"   3: B80D0120000000000000000002000000:FFFF 00000000000000000000000000000000:0000 0A" TAIL
         "   1        0 7 1",
         TCP_LINE_LISTENING, "[2001:db8::2]:65535", 1},
        {"   4: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A" TAIL
         "   1        0 7 1",
         TCP_LINE_LISTENING, "[::ffff:127.0.0.1]:8080", 1},
        /* established, time-wait, syn-received */
        {"   5: 0100007F:1F90 0100007F:D431 01" TAIL " 1000        0 12345 1", TCP_LINE_OTHER, NULL,
         0},
        {"   6: 0100007F:1F90 0100007F:D431 06" TAIL "    0        0 0 3", TCP_LINE_OTHER, NULL, 0},
        {"   7: 0100007F:1F90 0100007F:D431 03" TAIL "    0        0 0 3", TCP_LINE_OTHER, NULL, 0},
        {"", TCP_LINE_BROKEN, NULL, 0},
        {"   0:", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F9", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007:1F90 00000000:0000 0A" TAIL "1 0 1", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007g:1F90 00000000:0000 0A" TAIL "1 0 1", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F0100007F:1F90 00000000:0000 0A" TAIL "1 0 1", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0000000000000000000000000100007F00000000:1F90 00000000:0000 0A" TAIL "1 0 1",
         TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A" TAIL, TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A" TAIL "-1 0 1", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A" TAIL "4294967296 0 1", TCP_LINE_BROKEN, NULL, 0},
        {"   0: 0100007F:1F90 00000000:0000 0A" TAIL "root 0 1", TCP_LINE_BROKEN, NULL, 0},
    };
    if (!is_little_endian()) {
        skip();
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tcp_listening socket;
        char text[NETADDR_TEXT_SIZE];
        print_message("%s\n", cases[i].line);
        assert_int_equal(tcp_listening_parse(cases[i].line, &socket), cases[i].wanted);
        if (cases[i].wanted == TCP_LINE_LISTENING) {
            assert_string_equal(netaddr_format(&socket.address, text), cases[i].address);
            assert_int_equal(socket.uid, cases[i].uid);
        }
    }
}

struct search {
    struct netaddr wanted;
    size_t found;
};

static void on_socket(void *arg, const struct tcp_listening *socket)
{
    struct search *search = arg;
    char one[NETADDR_TEXT_SIZE];
    char other[NETADDR_TEXT_SIZE];
    if (strcmp(netaddr_format(&socket->address, one), netaddr_format(&search->wanted, other)) ==
        0) {
        assert_int_equal(socket->uid, geteuid());
        search->found++;
    }
}

static size_t find(const struct netaddr *wanted)
{
    struct search search = {.wanted = *wanted};
    struct errbuf err;
    if (tcp_listening_each(on_socket, &search, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return search.found;
}

static void test_tcp_listening_sees_what_is_opened(void **state)
{
    (void)state;
    static const char *const ips[] = {"127.0.0.1", "0.0.0.0", "::1", "::"};
    for (size_t i = 0; i < sizeof(ips) / sizeof(ips[0]); i++) {
        struct netaddr addr;
        assert_true(netaddr_from_ip(&addr, ips[i], 0));
        int fd = socket(addr.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, &addr.u.sa, addr.len) != 0) {
            (void)close(fd);
            continue; /* no IPv6 here */
        }
        socklen_t len = sizeof(addr.u);
        assert_int_equal(getsockname(fd, &addr.u.sa, &len), 0);
        assert_int_equal(find(&addr), 0); /* bound only */
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(find(&addr), 1);
        (void)close(fd);
        assert_int_equal(find(&addr), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_listening_reads_the_kernels_lines),
        cmocka_unit_test(test_tcp_listening_sees_what_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
