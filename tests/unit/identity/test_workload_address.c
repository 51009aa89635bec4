/* workload_address: SPIFFE Workload Endpoint 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "identity/workload_address.h"

static void test_takes_what_the_standard_has(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"},
        {"unix:///a", "unix:/a"},
        {"tcp://127.0.0.1:8081", "127.0.0.1:8081"},
        {"tcp://[::1]:1", "[::1]:1"},
        {"tcp://10.1.2.3:65535", "10.1.2.3:65535"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct netaddr address;
        const char *why = NULL;
        char text[NETADDR_TEXT_SIZE];
        assert_true(workload_address_parse(rows[i][0], &address, &why));
        assert_string_equal(netaddr_format(&address, text), rows[i][1]);
    }
}

static void test_refuses_all_else(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "/run/agent.sock",
        "unix:/run/agent.sock",
        "unix://run/agent.sock",
        "unix://",
        "unix://host/path",
        "unix:///run/agent.sock?x=1",
        "unix:///run/agent.sock#f",
        "unix:///run/agent%20.sock",
        "UNIX:///run/agent.sock",
        " unix:///run/agent.sock",
        "unix-abstract:name",
        "unix:///"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:08",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:4294967297",
        "tcp://127.0.0.1:80/",
        "tcp://127.0.0.1:80?q",
        "tcp://user@127.0.0.1:80",
        "tcp://localhost:80",
        "tcp://127.1:80",
        "tcp://::1:80",
        "tcp://[::1:80",
        "tcp://[127.0.0.1]:80",
        "tcp://[]:80",
        "http://127.0.0.1:80",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct netaddr address;
        const char *why = NULL;
        if (workload_address_parse(rows[i], &address, &why)) {
            fail_msg("not refused: %s", rows[i]);
        }
        assert_true(why != NULL && strlen(why) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_what_the_standard_has),
        cmocka_unit_test(test_refuses_all_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
