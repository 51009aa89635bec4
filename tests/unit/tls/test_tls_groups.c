/*
 * Key exchange: what our ClientHello offers, byte by byte, and which group a session gets in both
 * roles: with X25519MLKEM768 where the libssl that runs us has it (3.5), and without where not.
 */
#include "tls_test.h"

enum { MLKEM = 0x11ec, X25519 = 0x1d, P256 = 0x17, P384 = 0x18, P521 = 0x19, MAX_GROUPS = 16 };

/* What supported_groups and key_share (RFC 8446 4.2.7, 4.2.8) say. */
struct offer {
    size_t record; /* bytes of the ClientHello's record */
    unsigned groups[MAX_GROUPS];
    size_t group_count;
    unsigned shares[MAX_GROUPS];
    size_t share_bytes[MAX_GROUPS];
    size_t share_count;
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t get(struct cursor *cursor, size_t bytes)
{
    size_t value = 0;
    assert_true((size_t)(cursor->end - cursor->at) >= bytes);
    while (bytes-- > 0) {
        value = value << 8 | *cursor->at++;
    }
    return value;
}

/* What stands behind its length of so many bytes. */
static struct cursor get_block(struct cursor *cursor, size_t length_bytes)
{
    size_t len = get(cursor, length_bytes);
    assert_true((size_t)(cursor->end - cursor->at) >= len);
    struct cursor block = {cursor->at, cursor->at + len};
    cursor->at += len;
    return block;
}

static void parse_groups(struct offer *offer, struct cursor extension)
{
    struct cursor list = get_block(&extension, 2);
    while (list.at < list.end) {
        assert_true(offer->group_count < MAX_GROUPS);
        offer->groups[offer->group_count++] = (unsigned)get(&list, 2);
    }
}

static void parse_shares(struct offer *offer, struct cursor extension)
{
    struct cursor list = get_block(&extension, 2);
    while (list.at < list.end) {
        assert_true(offer->share_count < MAX_GROUPS);
        offer->shares[offer->share_count] = (unsigned)get(&list, 2);
        struct cursor share = get_block(&list, 2);
        offer->share_bytes[offer->share_count++] = (size_t)(share.end - share.at);
    }
}

static void parse_hello(struct offer *offer, const uint8_t *data, size_t len)
{
    enum { HANDSHAKE = 22, CLIENT_HELLO = 1, SUPPORTED_GROUPS = 10, KEY_SHARE = 51 };
    *offer = (struct offer){.record = len};
    struct cursor cursor = {data, data + len};
    assert_int_equal(get(&cursor, 1), HANDSHAKE);
    (void)get(&cursor, 2);
    struct cursor record = get_block(&cursor, 2);
    assert_ptr_equal(cursor.at, cursor.end); /* one record */
    assert_int_equal(get(&record, 1), CLIENT_HELLO);
    struct cursor hello = get_block(&record, 3);
    assert_ptr_equal(record.at, record.end);
    (void)get(&hello, 2);
    hello.at += 32; /* random */
    (void)get_block(&hello, 1);
    (void)get_block(&hello, 2);
    (void)get_block(&hello, 1);
    struct cursor extensions = get_block(&hello, 2);
    while (extensions.at < extensions.end) {
        size_t type = get(&extensions, 2);
        struct cursor extension = get_block(&extensions, 2);
        if (type == SUPPORTED_GROUPS) {
            parse_groups(offer, extension);
        } else if (type == KEY_SHARE) {
            parse_shares(offer, extension);
        }
    }
}

struct hello_wait {
    int fd;
    uint8_t data[4096];
    ssize_t len;
};

/* A client sends its hello in one piece, and then waits for us. */
static bool hello_has_come(void *arg)
{
    struct hello_wait *wait = arg;
    wait->len = recv(wait->fd, wait->data, sizeof(wait->data), MSG_DONTWAIT);
    return wait->len > 0;
}

static void test_what_we_offer(void **state)
{
    struct world *world = *state;
    static const unsigned groups[] = {MLKEM, X25519, P256, P384, P521};
    int fds[2];
    unix_pair(fds);
    struct ours ours = {0};
    struct hello_wait wait = {.fd = fds[1]};
    ours_connect(world, &ours, world->client, fds[0], NULL, NULL);
    run_until(world, hello_has_come, &wait);
    struct offer offer;
    parse_hello(&offer, wait.data, (size_t)wait.len);

    size_t first = tls_groups_post_quantum() ? 0 : 1;
    assert_int_equal(offer.group_count, 5 - first);
    for (size_t i = 0; i < offer.group_count; i++) {
        assert_int_equal(offer.groups[i], groups[i + first]);
    }
    assert_int_equal(offer.share_count, 2 - first);
    for (size_t i = 0; i < offer.share_count; i++) {
        assert_int_equal(offer.shares[i], groups[i + first]);
        /* draft-ietf-tls-ecdhe-mlkem 4.1: ML-KEM-768's 1184 bytes and X25519's 32. */
        assert_int_equal(offer.share_bytes[i], groups[i + first] == MLKEM ? 1184 + 32 : 32);
    }
    assert_true(offer.record < (first == 0 ? 1600 : 400));
    ours_fini(&ours);
    assert_return_code(close(fds[1]), errno);
}

/* How many hellos the peer had to send, or got: two when a share was asked for. */
static void count_hellos(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
                         void *arg)
{
    enum { CLIENT_HELLO = 1 };
    (void)sent;
    (void)version;
    (void)ssl;
    if (type == SSL3_RT_HANDSHAKE && len > 0 && *(const uint8_t *)data == CLIENT_HELLO) {
        ++*(unsigned *)arg;
    }
}

struct row {
    const char *peer; /* its list of groups, in libssl's words */
    int version;
    const char *group; /* what the session gets; NULL: there is none in common */
    unsigned hellos;
};

static void meets(struct world *world, bool we_serve, const struct row *row, bool fragmented)
{
    struct duel duel = {0};
    const struct peer_options options = {.server = !we_serve,
                                         .version = row->version,
                                         .show = &world->peer,
                                         .groups = row->peer,
                                         .fragment_hello = fragmented};
    unsigned hellos = 0;
    int fds[2];
    unix_pair(fds);
    peer_prepare(world, &duel.peer, &options, fds[1]);
    SSL_set_msg_callback(duel.peer.ssl, count_hellos);
    SSL_set_msg_callback_arg(duel.peer.ssl, &hellos);
    if (we_serve) {
        ours_accept(world, &duel.ours, world->server, fds[0]);
    } else {
        ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
    }
    peer_step(&duel.peer);
    run_until(world, duel_is_over, &duel);
    if (row->group == NULL) {
        assert_false(duel.ours.open);
        assert_int_equal(duel.ours.failure.reason,
                         we_serve ? REASON_TLS_NO_COMMON : REASON_UPSTREAM_REFUSED_US);
    } else {
        if (!duel.ours.open) {
            fail_msg("%s: %s", row->peer, reason_label(duel.ours.failure.reason));
        }
        assert_string_equal(tls_conn_peer(duel.ours.conn)->group, row->group);
        assert_string_equal(tls_groups_name(duel.peer.ssl), row->group);
        if (hellos != row->hellos) {
            fail_msg("%s: %u hellos instead of %u", row->peer, hellos, row->hellos);
        }
    }
    duel_fini(&duel);
}

static void all_meet(struct world *world, bool we_serve, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        meets(world, we_serve, &rows[i], false);
        if (we_serve && rows[i].hellos == 1) {
            meets(world, we_serve, &rows[i], true); /* each byte of it in a record of its own */
        }
    }
}

#define ALL_MEET(world, we_serve, rows) \
    all_meet(world, we_serve, rows, sizeof(rows) / sizeof((rows)[0]))

/* With any libssl. In TLS 1.2 the groups are for certificates too (RFC 8422 5.1): P-256. */
static void test_which_group_a_client_gets(void **state)
{
    static const struct row rows[] = {
        {"X25519", TLS1_3_VERSION, "X25519", 1},
        {"X25519:P-256", TLS1_2_VERSION, "X25519", 1},
        {"P-256:X25519", TLS1_3_VERSION, "P-256", 1}, /* it has a share: no round for a taste */
        {"P-521:P-384:X25519", TLS1_3_VERSION, "P-521", 1},
        {"P-384:X25519:P-256", TLS1_2_VERSION, "X25519", 1}, /* no shares: our order */
        {"X448:P-384", TLS1_3_VERSION, "P-384", 2},
        {"X448", TLS1_3_VERSION, NULL, 0},
        {"ffdhe2048", TLS1_3_VERSION, NULL, 0},
    };
    ALL_MEET(*state, true, rows);
}

static void test_which_group_a_server_gets(void **state)
{
    static const struct row rows[] = {
        {"X25519", TLS1_3_VERSION, "X25519", 1}, {"X25519:P-256", TLS1_2_VERSION, "X25519", 1},
        {"P-256", TLS1_3_VERSION, "P-256", 2},   {"P-521", TLS1_3_VERSION, "P-521", 2},
        {"P-256", TLS1_2_VERSION, "P-256", 1},   {"X448", TLS1_3_VERSION, NULL, 0},
    };
    ALL_MEET(*state, false, rows);
}

static void test_which_post_quantum_group_a_client_gets(void **state)
{
    if (!tls_groups_post_quantum()) {
        skip();
    }
    static const struct row rows[] = {
        {"X25519MLKEM768", TLS1_3_VERSION, "X25519MLKEM768", 1},
        {"*X25519MLKEM768:*X25519", TLS1_3_VERSION, "X25519MLKEM768", 1},
        {"*X25519:*X25519MLKEM768", TLS1_3_VERSION, "X25519MLKEM768", 1},
        /* Named, and its share is missing: another round is worth it. */
        {"*X25519:X25519MLKEM768", TLS1_3_VERSION, "X25519MLKEM768", 2},
        {"*P-256:X25519:X25519MLKEM768", TLS1_3_VERSION, "X25519MLKEM768", 2},
        {"X25519MLKEM768:X25519:P-256", TLS1_2_VERSION, "X25519", 1},
        {"SecP256r1MLKEM768:P-256", TLS1_3_VERSION, "P-256", 2}, /* we have no such one */
        {"MLKEM768", TLS1_3_VERSION, NULL, 0}, /* nor one that rests on ML-KEM alone */
    };
    ALL_MEET(*state, true, rows);
}

static void test_which_post_quantum_group_a_server_gets(void **state)
{
    if (!tls_groups_post_quantum()) {
        skip();
    }
    static const struct row rows[] = {
        {"X25519MLKEM768", TLS1_3_VERSION, "X25519MLKEM768", 1},
        {"X25519MLKEM768:X25519", TLS1_3_VERSION, "X25519MLKEM768", 1},
        {"X25519/X25519MLKEM768", TLS1_3_VERSION, "X25519", 1}, /* its choice, and no round */
        {"P-384/X25519MLKEM768", TLS1_3_VERSION, "P-384", 2},
        {"MLKEM768", TLS1_3_VERSION, NULL, 0},
    };
    ALL_MEET(*state, false, rows);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_world, teardown_world)
    const struct CMUnitTest tests[] = {
        TEST(test_what_we_offer),
        TEST(test_which_group_a_client_gets),
        TEST(test_which_group_a_server_gets),
        TEST(test_which_post_quantum_group_a_client_gets),
        TEST(test_which_post_quantum_group_a_server_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
