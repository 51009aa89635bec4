/*
 * Certificates that libssl itself can't parse, so that nothing of ours ever judges them: over TLS
 * 1.2 and 1.3, from a client and from a server, as the leaf and behind it.
 */
#include "damaged.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void refuses(struct world *world, bool we_serve, int version, const struct identity *show,
                    const struct identity *also)
{
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = version, .show = show, .also = {also}};
    duel_run(world, &duel, we_serve ? world->server : world->client, &options);
    assert_false(duel.ours.open);
    assert_string_equal(reason_label(duel.ours.failure.reason), "svid_malformed");
    /* It never came to a judgement, and nobody was asked about an identity. */
    assert_int_equal(duel.ours.failure.svid.reason, REASON_NONE);
    assert_string_equal(duel.ours.failure.svid.claimed, "");
    assert_false(duel.ours.checked);
    assert_true(duel.ours.failure.detail[0] != '\0');
    run_until(world, peer_has_ended, &duel.peer);
    assert_true(duel.peer.alert == SSL_AD_BAD_CERTIFICATE ||
                duel.peer.alert == SSL_AD_DECODE_ERROR);
    if (!we_serve) {
        assert_false(duel.peer.saw_certificate);
    }
    duel_fini(&duel);
}

static void test_refuses_a_leaf_that_cannot_be_parsed(void **state)
{
    struct world *world = *state;
    for (int damage = 0; damage < DAMAGE_COUNT; damage++) {
        struct identity damaged = make_damaged(world, (enum damage)damage);
        for (size_t v = 0; v < 2; v++) {
            refuses(world, true, versions[v], &damaged, NULL);
            refuses(world, false, versions[v], &damaged, NULL);
        }
        free_identity(&damaged);
    }
}

static void test_refuses_a_chain_that_cannot_be_parsed(void **state)
{
    struct world *world = *state;
    struct identity damaged = make_damaged(world, DAMAGE_OID_PADDED);
    for (size_t v = 0; v < 2; v++) {
        refuses(world, true, versions[v], &world->peer, &damaged);
        refuses(world, false, versions[v], &world->peer, &damaged);
    }
    free_identity(&damaged);
}

/* ---- bytes changed on the way: TLS 1.2 sends Certificate in clear ---- */

enum { RECORD_HEADER = 5, TYPE_HANDSHAKE = 22, MESSAGE_CERTIFICATE = 11 };

/* Where the first certificate's DER begins in unencrypted records, its length in *len; SIZE_MAX:
   it is not there. RFC 5246 7.4.2: type, length (3), length of all (3), length of one (3), DER. */
static size_t find_certificate(const uint8_t *data, size_t size, size_t *len)
{
    for (size_t at = 0; at + RECORD_HEADER < size;) {
        size_t end = at + RECORD_HEADER + ((size_t)data[at + 3] << 8 | data[at + 4]);
        size_t message = at + RECORD_HEADER;
        while (data[at] == TYPE_HANDSHAKE && message + 10 < end) {
            if (data[message] == MESSAGE_CERTIFICATE) {
                *len = (size_t)data[message + 7] << 16 | (size_t)data[message + 8] << 8 |
                       data[message + 9];
                return message + 10;
            }
            message += 4 + ((size_t)data[message + 1] << 16 | (size_t)data[message + 2] << 8 |
                            data[message + 3]);
        }
        at = end;
    }
    return SIZE_MAX;
}

struct change {
    const char *name;
    size_t at; /* into the DER */
    uint8_t flip;
};

/* The outer frame of a certificate: SEQUENCE, length in two bytes, SEQUENCE (tbs), length. */
static const struct change changes[] = {
    {"the outer tag", 0, 0x01},
    {"no SEQUENCE but a SET", 0, 0x0f},
    {"a length of lengths", 1, 0x01},
    {"the outer length", 2, 0x7f},
    {"one byte more than is there", 3, 0x01},
    {"the inner tag", 4, 0x10},
    {"the inner length", 6, 0x7f},
    {"the version's tag", 8, 0x40},
    {"the version's inner tag", 10, 0x04},
};

static bool has_certificate(void *arg)
{
    struct duel *duel = arg;
    char *data = NULL;
    size_t len = 0;
    long size = BIO_get_mem_data(SSL_get_wbio(duel->peer.ssl), &data);
    return duel->ours.called ||
           (size > 0 && find_certificate((uint8_t *)data, (size_t)size, &len) != SIZE_MAX);
}

static enum reason reason_of_changed(struct world *world, bool we_serve,
                                     const struct change *change)
{
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = TLS1_2_VERSION, .show = &world->peer, .hold = !we_serve};
    if (we_serve) {
        ours_accept(world, &duel.ours, world->server, fds[0]);
    } else {
        ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
    }
    peer_init(world, &duel.peer, &options, fds[1]);
    duel.peer.options.hold = true; /* the client's hello has left */
    run_until(world, has_certificate, &duel);
    assert_false(duel.ours.called);

    char *data = NULL;
    size_t len = 0;
    long size = BIO_get_mem_data(SSL_get_wbio(duel.peer.ssl), &data);
    size_t at = find_certificate((uint8_t *)data, (size_t)size, &len);
    assert_true(change->at < len);
    data[at + change->at] = (char)(data[at + change->at] ^ change->flip);
    duel.peer.options.hold = false;
    peer_flush(&duel.peer);
    run_until(world, ours_was_called, &duel.ours);
    assert_false(duel.ours.open);
    enum reason reason = duel.ours.failure.reason;
    assert_false(duel.ours.checked);
    run_until(world, peer_has_ended, &duel.peer);
    assert_false(!we_serve && duel.peer.saw_certificate);
    duel_fini(&duel);
    return reason;
}

static const char *role_of(bool we_serve)
{
    return we_serve ? "client" : "server";
}

static void test_refuses_der_changed_on_the_way(void **state)
{
    for (size_t i = 0; i < 2 * sizeof(changes) / sizeof(changes[0]); i++) {
        bool we_serve = i % 2 == 0;
        enum reason reason = reason_of_changed(*state, we_serve, &changes[i / 2]);
        if (reason != REASON_SVID_MALFORMED) {
            fail_msg("%s of a %s: got %s", changes[i / 2].name, role_of(we_serve),
                     reason_label(reason));
        }
    }
}

/* Wherever a bit is wrong, it is the certificate's fault, and neither TLS's nor ours. */
static void test_any_byte_changed_on_the_way_is_the_certificates_fault(void **state)
{
    struct world *world = *state;
    int len = i2d_X509(world->peer.cert, NULL);
    assert_true(len > 0);
    for (size_t at = 0; at < (size_t)len; at += 3) {
        bool we_serve = at % 2 == 0;
        const struct change change = {.at = at, .flip = 0x80};
        enum reason reason = reason_of_changed(world, we_serve, &change);
        if (strncmp(reason_label(reason), "svid_", 5) != 0) {
            fail_msg("byte %zu of a %s's: got %s", at, role_of(we_serve), reason_label(reason));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
        T(test_refuses_a_leaf_that_cannot_be_parsed),
        T(test_refuses_a_chain_that_cannot_be_parsed),
        T(test_refuses_der_changed_on_the_way),
        T(test_any_byte_changed_on_the_way_is_the_certificates_fault),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
