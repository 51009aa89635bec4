/* How long a ClientHello is announced to be, however it is cut up. */
#include "../../../src/tls/hello_size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { HANDSHAKE = 22, ALERT = 21, CHANGE_CIPHER_SPEC = 20, DATA = 23, ROOM = 64 * 1024 };

/* A stream of records. */
struct wire {
    uint8_t bytes[ROOM];
    size_t len;
};

static void put_record(struct wire *wire, uint8_t type, const uint8_t *data, size_t len)
{
    const uint8_t header[5] = {type, 3, 1, (uint8_t)(len >> 8), (uint8_t)len};
    assert_true(wire->len + sizeof(header) + len <= ROOM);
    memcpy(wire->bytes + wire->len, header, sizeof(header));
    if (len > 0) {
        memcpy(wire->bytes + wire->len + sizeof(header), data, len);
    }
    wire->len += sizeof(header) + len;
}

/* A handshake message in records of at most `piece` bytes; announces `says`, has `len`. */
static void put_message(struct wire *wire, uint8_t type, size_t says, size_t len, size_t piece)
{
    static uint8_t message[ROOM];
    memset(message, HANDSHAKE, sizeof(message));
    message[0] = type;
    message[1] = (uint8_t)(says >> 16);
    message[2] = (uint8_t)(says >> 8);
    message[3] = (uint8_t)says;
    for (size_t at = 0; at < len + 4; at += piece) {
        size_t left = len + 4 - at;
        put_record(wire, HANDSHAKE, message + at, left < piece ? left : piece);
    }
}

/* Fed in steps; the number of bytes after which it was refused, or 0. */
static size_t refused_at(const struct wire *wire, size_t step)
{
    struct hello_size size = {.over = false};
    for (size_t at = 0; at < wire->len; at += step) {
        size_t len = wire->len - at < step ? wire->len - at : step;
        if (!hello_size_feed(&size, wire->bytes + at, len)) {
            return at + len;
        }
    }
    return 0;
}

static void test_the_largest_is_taken_and_one_more_is_not(void **state)
{
    (void)state;
    const size_t pieces[] = {1, 3, 4, 5, 1000, 16384};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        static struct wire good;
        static struct wire bad;
        good.len = 0;
        bad.len = 0;
        put_message(&good, 1, HELLO_SIZE_MAX, pieces[i] < 100 ? 500 : HELLO_SIZE_MAX, pieces[i]);
        put_message(&bad, 1, HELLO_SIZE_MAX + 1, 0, pieces[i]);
        assert_int_equal(refused_at(&good, 1), 0);
        assert_int_equal(refused_at(&good, 7), 0);
        assert_int_equal(refused_at(&good, ROOM), 0);
        /* With its last byte, and no later. */
        assert_int_equal(refused_at(&bad, 1), bad.len);
        assert_int_equal(refused_at(&bad, ROOM), bad.len);
    }
}

static void test_a_second_hello_counts_too(void **state)
{
    (void)state;
    static struct wire wire;
    const uint8_t one = 1;
    wire.len = 0;
    put_message(&wire, 1, 300, 300, 16384);
    put_record(&wire, CHANGE_CIPHER_SPEC, &one, 1);
    assert_int_equal(refused_at(&wire, 11), 0);
    put_message(&wire, 1, 100000, 20, 16384);
    assert_true(refused_at(&wire, 11) != 0);
}

static void test_two_messages_in_a_record(void **state)
{
    (void)state;
    static struct wire wire;
    const uint8_t both[] = {1, 0, 0, 2, 'a', 'b', 1, 2, 0, 0};
    wire.len = 0;
    put_record(&wire, HANDSHAKE, both, sizeof(both));
    assert_int_equal(refused_at(&wire, ROOM), wire.len);
}

/* Other messages have bounds of libssl's; other records are no messages. */
static void test_only_hellos_count(void **state)
{
    (void)state;
    static struct wire wire;
    const uint8_t like_a_hello[] = {1, 255, 255, 255};
    wire.len = 0;
    put_message(&wire, 11, 20000, 20000, 16384);
    put_record(&wire, ALERT, like_a_hello, sizeof(like_a_hello));
    put_record(&wire, HANDSHAKE, NULL, 0);
    put_record(&wire, DATA, like_a_hello, sizeof(like_a_hello));
    put_record(&wire, HANDSHAKE, like_a_hello, sizeof(like_a_hello)); /* encrypted by now */
    assert_int_equal(refused_at(&wire, 1), 0);
    assert_int_equal(refused_at(&wire, ROOM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_largest_is_taken_and_one_more_is_not),
        cmocka_unit_test(test_a_second_hello_counts_too),
        cmocka_unit_test(test_two_messages_in_a_record),
        cmocka_unit_test(test_only_hellos_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
