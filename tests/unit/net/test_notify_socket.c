/* notify_socket: what goes out, and places that are none. */
#include "unit/net/net_test.h"

#include <stddef.h>
#include <sys/un.h>

#include "net/notify_socket.h"

/* A manager's socket at a path, or in the abstract ("@…"). */
static int listen_at(const char *place)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(place);
    memcpy(addr.sun_path, place, len);
    if (place[0] == '@') {
        addr.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_return_code(fd, errno);
    assert_return_code(bind(fd, (const struct sockaddr *)&addr,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                       errno);
    return fd;
}

static void expect_message(int fd, const char *wanted)
{
    char text[256] = "";
    ssize_t got = recv(fd, text, sizeof(text) - 1, 0);
    assert_int_equal(got, strlen(wanted));
    assert_string_equal(text, wanted);
}

static void test_a_path_and_an_abstract_name(void **state)
{
    (void)state;
    static const char *const heads[] = {"/tmp/", "@"};
    for (size_t i = 0; i < 2; i++) {
        char place[64];
        struct errbuf err = {""};
        (void)snprintf(place, sizeof(place), "%sbulkhead-notify-%d", heads[i], (int)getpid());
        int fd = listen_at(place);
        struct notify_socket *notify = notify_socket_open(place, &err);
        assert_non_null(notify);
        assert_int_equal(notify_socket_send(notify, "READY=1\nSTATUS=x", &err), 0);
        assert_int_equal(notify_socket_send(notify, "STOPPING=1", &err), 0);
        expect_message(fd, "READY=1\nSTATUS=x");
        expect_message(fd, "STOPPING=1");
        /* A manager that reads nothing holds nobody up for ever. */
        int result = 0;
        for (unsigned n = 0; n < 100000 && result == 0; n++) {
            result = notify_socket_send(notify, "WATCHDOG=1", &err);
        }
        assert_int_equal(result, -1);
        assert_non_null(strstr(err.text, "cannot send to NOTIFY_SOCKET"));
        assert_return_code(close(fd), errno);
        assert_int_equal(notify_socket_send(notify, "READY=1", &err), -1);
        notify_socket_close(notify);
        if (place[0] == '/') {
            assert_return_code(unlink(place), errno);
        }
    }
}

static void test_places_that_are_none(void **state)
{
    (void)state;
    char long_path[200];
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    const char *const places[] = {"", "/", "@", "relative", "./x", "vsock:2:1234", long_path};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct errbuf err = {""};
        assert_null(notify_socket_open(places[i], &err));
        assert_non_null(strstr(err.text, "NOTIFY_SOCKET="));
    }
    notify_socket_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_and_an_abstract_name),
        cmocka_unit_test(test_places_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
