/* door_judge: which sockets are doors, and when others share the loopback. */
#include "control/door_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PORT = 8080, APP = 1000, OTHER = 2000, SOCKETS_MAX = 4 };

struct place {
    const char *ip; /* NULL: no more */
    uint16_t port;
    uid_t uid;
};

static const struct {
    enum door_family family;
    struct place places[SOCKETS_MAX];
    const char *doors; /* for each place */
} cases[] = {
    /* the application on the loopback alone */
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}}, "-"},
    {DOOR_IPV6, {{"::1", PORT, APP}}, "-"},
    {DOOR_IPV4, {{"::ffff:127.0.0.1", PORT, APP}}, "-"},
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}, {"::1", PORT, APP}, {"127.1.2.3", PORT, APP}}, "---"},
    /* everywhere */
    {DOOR_IPV4, {{"0.0.0.0", PORT, APP}}, "x"},
    {DOOR_IPV4, {{"::", PORT, APP}}, "x"}, /* IPv4 too, unless IPV6_V6ONLY, which can't be seen */
    {DOOR_IPV6, {{"::", PORT, APP}}, "x"},
    {DOOR_IPV6, {{"0.0.0.0", PORT, APP}}, "-"}, /* it does not serve [::1] */
    {DOOR_IPV4, {{"::ffff:0.0.0.0", PORT, APP}}, "x"},
    {DOOR_IPV6, {{"::ffff:0.0.0.0", PORT, APP}}, "-"},
    {DOOR_ANY, {{"0.0.0.0", PORT, APP}, {"::", PORT, APP}}, "xx"},
    /* on the loopback and elsewhere */
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}, {"0.0.0.0", PORT, APP}}, "-x"},
    {DOOR_IPV4, {{"10.0.0.1", PORT, APP}, {"127.0.0.1", PORT, APP}}, "x-"},
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}, {"2001:db8::1", PORT, APP}, {"::", PORT, APP}}, "-xx"},
    /* another port */
    {DOOR_IPV4, {{"0.0.0.0", PORT + 1, APP}, {"127.0.0.1", PORT, APP}}, "--"},
    {DOOR_IPV4, {{"0.0.0.0", PORT, APP}, {"127.0.0.1", PORT + 1, APP}}, "x-"},
    /* somebody else's */
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}, {"10.0.0.1", PORT, OTHER}}, "--"},
    {DOOR_IPV4, {{"127.0.0.1", PORT, APP}, {"0.0.0.0", PORT, OTHER}}, "--"},
    {DOOR_IPV4,
     {{"127.0.0.1", PORT, OTHER}, {"127.0.0.1", PORT, APP}, {"0.0.0.0", PORT, APP}},
     "--x"},
    /* nothing on the loopback: what is at one address alone does not serve it */
    {DOOR_IPV4, {{"10.0.0.1", PORT, APP}}, "-"},
    {DOOR_IPV4, {{"10.0.0.1", PORT, APP}, {"0.0.0.0", PORT, OTHER}}, "-x"},
    {DOOR_IPV6, {{"2001:db8::1", PORT, APP}}, "-"},
};

static void test_door_judge_doors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct door_target target = {.port = PORT, .family = cases[i].family};
        struct tcp_listening sockets[SOCKETS_MAX];
        size_t count = 0;
        for (; count < SOCKETS_MAX && cases[i].places[count].ip != NULL; count++) {
            const struct place *place = &cases[i].places[count];
            assert_true(netaddr_from_ip(&sockets[count].address, place->ip, place->port));
            sockets[count].uid = place->uid;
        }
        assert_int_equal(strlen(cases[i].doors), count);
        for (size_t k = 0; k < count; k++) {
            bool open = door_is_open(&target, sockets, count, k);
            if (open != (cases[i].doors[k] == 'x')) {
                fail_msg("case %zu: %s is%s a door", i, cases[i].places[k].ip, open ? "" : " not");
            }
        }
    }
}

static void test_door_judge_users(void **state)
{
    (void)state;
    struct door_users users = {.own = 500};
    door_users_add(&users, 0);
    door_users_add(&users, 500);
    assert_int_equal(users.count, 0);
    assert_false(door_users_share(&users));
    for (int i = 0; i < 10; i++) {
        door_users_add(&users, APP);
    }
    assert_int_equal(users.count, 1); /* the application */
    assert_false(door_users_share(&users));
    door_users_add(&users, OTHER);
    assert_true(door_users_share(&users));
    for (uid_t uid = 1; uid < 100; uid++) {
        door_users_add(&users, uid);
    }
    assert_int_equal(users.count, DOOR_USERS_MAX);
    assert_int_equal(users.uids[0], APP);
    assert_int_equal(users.uids[1], OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_door_judge_doors),
        cmocka_unit_test(test_door_judge_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
