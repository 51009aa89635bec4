/* sockets: what stays open from one setup to the next, and what a look leaves as it was. */
#include "unit/tls/tls_test.h"

#include <sys/stat.h>

#include "config/config.h"
#include "control/sockets.h"
#include "net/listener.h"
#include "policy/policy.h"
#include "proxy/setup.h"

struct fixture {
    struct crypto *crypto;
    struct socket_table *table;
    char dir[32];
    char path[64];
};

static struct setup *build(struct fixture *f, const char *listeners)
{
    char text[2048];
    int len = snprintf(text, sizeof(text),
                       "version: 1\n"
                       "identity: {files: {certificate: /none, private_key: /none}}\n"
                       "trust: {" DOMAIN ": {bundle: /none}}\n"
                       "listeners:\n%s",
                       listeners);
    assert_true(len > 0 && (size_t)len < sizeof(text));
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("test", text, (size_t)len, NULL, &diags);
    assert_non_null(config);
    struct policy *policy = policy_load(config, &diags);
    const struct setup_parts parts = {.crypto = f->crypto};
    struct setup *setup = setup_build(config, policy, NULL, &parts, &diags);
    assert_non_null(setup);
    diag_list_fini(&diags);
    return setup;
}

static int fixture_new(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    struct errbuf err;
    f->crypto = test_crypto_new(&err);
    assert_non_null(f->crypto);
    f->table = socket_table_new(2, NULL);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/in.sock", f->dir);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    socket_table_free(f->table);
    struct stat info;
    assert_int_equal(lstat(f->path, &info), -1); /* no path stays behind */
    assert_return_code(rmdir(f->dir), errno);
    crypto_free(f->crypto);
    mem_free(f);
    return 0;
}

#define ON(name, address) \
    "  - {name: " name ", accept: 'mtls://" address "', forward: 'tcp://127.0.0.1:9'}\n"

static struct listen_sockets **open_all(struct fixture *f, const struct setup *setup)
{
    struct errbuf err;
    struct listen_sockets **sockets = socket_table_open(f->table, setup, &err);
    if (sockets == NULL) {
        fail_msg("%s", err.text);
    }
    return sockets;
}

static bool answers(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int result = connect(fd, (struct sockaddr *)(void *)&addr, sizeof(addr));
    (void)close(fd);
    return result == 0;
}

static void test_sockets_stay_with_their_address(void **state)
{
    struct fixture *f = *state;
    struct setup *one = build(f, ON("a", "127.0.0.1:0") ON("b", "127.0.0.1:0"));
    struct listen_sockets **first = open_all(f, one);
    assert_ptr_not_equal(first[0], first[1]);                /* port 0 is another one for each */
    assert_int_equal(socket_table_descriptors(f->table), 4); /* two addresses, two workers */
    socket_table_settle(f->table, one);
    uint16_t port_a = netaddr_port(listen_sockets_address(first[0]));
    uint16_t port_b = netaddr_port(listen_sockets_address(first[1]));
    struct setup *two = build(f, ON("c", "127.0.0.1:0") ON("b", "127.0.0.1:0"));
    struct listen_sockets **second = open_all(f, two);
    assert_ptr_equal(second[1], first[1]);
    assert_ptr_equal(socket_table_find(f->table, two, 1), first[1]);
    assert_true(answers(port_a)); /* until the new setup is in force */
    assert_int_equal(socket_table_descriptors(f->table), 6);
    socket_table_settle(f->table, two);
    assert_int_equal(socket_table_descriptors(f->table), 4);
    assert_false(answers(port_a));
    assert_true(answers(port_b));
    mem_free(first);
    mem_free(second);
    setup_unref(one);
    setup_unref(two);
}

/* By address, whatever the listener is called: two that swap theirs open nothing. */
static void test_sockets_swap(void **state)
{
    struct fixture *f = *state;
    struct setup *probe = build(f, ON("a", "127.0.0.1:0") ON("b", "127.0.0.1:0"));
    struct listen_sockets **probed = open_all(f, probe);
    uint16_t ports[2] = {netaddr_port(listen_sockets_address(probed[0])),
                         netaddr_port(listen_sockets_address(probed[1]))};
    socket_table_abandon(f->table);
    assert_false(answers(ports[0]));
    mem_free(probed);
    setup_unref(probe);
    char text[512];
#define TWO                                                                        \
    "  - {name: a, accept: 'mtls://127.0.0.1:%u', forward: 'tcp://127.0.0.1:9'}\n" \
    "  - {name: b, accept: 'mtls://127.0.0.1:%u', forward: 'tcp://127.0.0.1:9'}\n"
    (void)snprintf(text, sizeof(text), TWO, ports[0], ports[1]);
    struct setup *one = build(f, text);
    struct listen_sockets **first = open_all(f, one);
    socket_table_settle(f->table, one);
    (void)snprintf(text, sizeof(text), TWO, ports[1], ports[0]);
    struct setup *two = build(f, text);
    struct listen_sockets **second = open_all(f, two);
    assert_ptr_equal(first[0], second[1]);
    assert_ptr_equal(first[1], second[0]);
    mem_free(first);
    mem_free(second);
    setup_unref(one);
    setup_unref(two);
}

static void test_sockets_that_can_t_all_be_opened(void **state)
{
    struct fixture *f = *state;
    struct netaddr taken;
    int fd = listen_on("127.0.0.1", 8, &taken);
    char text[512];
    struct errbuf err;
    struct setup *one = build(f, ON("a", "127.0.0.1:0"));
    struct listen_sockets **first = open_all(f, one);
    socket_table_settle(f->table, one);
    (void)snprintf(text, sizeof(text),
                   ON("a", "127.0.0.1:0") ON(
                       "new", "127.0.0.1:0") "  - {name: taken, accept: "
                                             "'mtls://127.0.0.1:%u', forward: 'tcp://[::1]:9'}\n",
                   netaddr_port(&taken));
    struct setup *two = build(f, text);
    assert_null(socket_table_open(f->table, two, &err));
    assert_non_null(strstr(err.text, "taken"));
    assert_null(socket_table_find(f->table, two, 1)); /* nothing new stays open */
    assert_ptr_equal(socket_table_find(f->table, two, 0), first[0]);
    (void)close(fd);
    mem_free(first);
    setup_unref(one);
    setup_unref(two);
}

static mode_t mode_of(const struct fixture *f)
{
    struct stat info;
    assert_return_code(stat(f->path, &info), errno);
    return info.st_mode & 0777;
}

static struct setup *on_path(struct fixture *f, const char *more)
{
    char text[512];
    (void)snprintf(text, sizeof(text),
                   "  - {name: a, accept: 'mtls+unix://%s', forward: 'tcp://127.0.0.1:9'%s}\n",
                   f->path, more);
    return build(f, text);
}

static void test_sockets_a_look_leaves_modes_alone(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct setup *one = on_path(f, "");
    mem_free(open_all(f, one));
    socket_table_settle(f->table, one);
    assert_int_equal(mode_of(f), 0600);
    struct setup *two = on_path(f, ", socket: {mode: '0666'}");
    mem_free(open_all(f, two));
    assert_int_equal(mode_of(f), 0600);
    socket_table_abandon(f->table);
    assert_int_equal(mode_of(f), 0600);
    mem_free(open_all(f, two));
    assert_int_equal(socket_table_apply_options(f->table, two, &err), 0);
    assert_int_equal(mode_of(f), 0666);
    struct setup *three = on_path(f, ", socket: {owner: there-is-no-such-user}");
    assert_null(socket_table_open(f->table, three, &err)); /* said by the look already */
    assert_non_null(strstr(err.text, "there-is-no-such-user"));
    assert_int_equal(socket_table_apply_options(f->table, three, &err), -1);
    assert_int_equal(mode_of(f), 0666);
    setup_unref(one);
    setup_unref(two);
    setup_unref(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sockets_stay_with_their_address, fixture_new,
                                        fixture_free),
        cmocka_unit_test_setup_teardown(test_sockets_swap, fixture_new, fixture_free),
        cmocka_unit_test_setup_teardown(test_sockets_that_can_t_all_be_opened, fixture_new,
                                        fixture_free),
        cmocka_unit_test_setup_teardown(test_sockets_a_look_leaves_modes_alone, fixture_new,
                                        fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
