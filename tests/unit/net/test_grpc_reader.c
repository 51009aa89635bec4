/* grpc_reader: messages out of pieces, and gRPC's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/grpc_reader.h"

static void test_puts_messages_together_from_any_pieces(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0,
                                    0, 0, 0, 0, 0, 0,   1,   'd', 0, 0};
    for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
        struct grpc_reader reader;
        grpc_reader_init(&reader, 3);
        char seen[32] = "";
        for (size_t at = 0; at < sizeof(bytes);) {
            size_t len = sizeof(bytes) - at < piece ? sizeof(bytes) - at : piece;
            size_t used = 0;
            enum grpc_read read = grpc_reader_take(&reader, bytes + at, len, &used);
            assert_true(used > 0 && used <= len);
            at += used;
            if (read == GRPC_READ_MESSAGE) {
                assert_false(grpc_reader_is_inside(&reader));
                strncat(seen, (const char *)reader.message, reader.len);
                strcat(seen, ";");
                grpc_reader_next(&reader);
            } else {
                assert_int_equal(read, GRPC_READ_MORE);
                assert_true(grpc_reader_is_inside(&reader));
            }
        }
        assert_string_equal(seen, "abc;;d;");
        grpc_reader_fini(&reader);
        grpc_reader_fini(&reader);
    }
}

static enum grpc_read read_prefix(const uint8_t prefix[GRPC_PREFIX_SIZE], size_t max)
{
    struct grpc_reader reader;
    size_t used = 0;
    grpc_reader_init(&reader, max);
    enum grpc_read read = grpc_reader_take(&reader, prefix, GRPC_PREFIX_SIZE, &used);
    assert_int_equal(used, GRPC_PREFIX_SIZE);
    grpc_reader_fini(&reader);
    return read;
}

static void test_refuses_what_is_compressed_or_too_large(void **state)
{
    (void)state;
    static const struct {
        uint8_t prefix[GRPC_PREFIX_SIZE];
        size_t max;
        enum grpc_read read;
    } rows[] = {
        {{0, 0, 0, 1, 0}, 256, GRPC_READ_MORE},
        {{0, 0, 0, 1, 1}, 256, GRPC_READ_TOO_LARGE},
        {{0, 0, 0x40, 0, 0}, 4 * 1024 * 1024, GRPC_READ_MORE},
        {{0, 0, 0x40, 0, 1}, 4 * 1024 * 1024, GRPC_READ_TOO_LARGE},
        {{0, 0xff, 0xff, 0xff, 0xff}, 4 * 1024 * 1024, GRPC_READ_TOO_LARGE},
        {{1, 0, 0, 0, 1}, 256, GRPC_READ_COMPRESSED},
        {{1, 0, 0, 0, 0}, 256, GRPC_READ_COMPRESSED},
        {{2, 0, 0, 0, 1}, 256, GRPC_READ_COMPRESSED},
        {{0xff, 0xff, 0xff, 0xff, 0xff}, 256, GRPC_READ_COMPRESSED},
        {{0, 0, 0, 0, 0}, 0, GRPC_READ_MESSAGE},
        {{0, 0, 0, 0, 1}, 0, GRPC_READ_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(read_prefix(rows[i].prefix, rows[i].max), rows[i].read);
    }
}

static void test_reads_a_status(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_parse(strview_from("0")), GRPC_OK);
    assert_int_equal(grpc_status_parse(strview_from("7")), GRPC_PERMISSION_DENIED);
    assert_int_equal(grpc_status_parse(strview_from("16")), GRPC_UNAUTHENTICATED);
    static const char *const wrong[] = {"", "17", "99", "-1", "7 ", " 7", "007", "a", "1x", "100"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(grpc_status_parse(strview_from(wrong[i])), GRPC_UNKNOWN);
    }
    for (int status = 0; status < GRPC_STATUSES; status++) {
        assert_non_null(grpc_status_name((enum grpc_status)status));
    }
    assert_string_equal(grpc_status_name(GRPC_PERMISSION_DENIED), "PermissionDenied");
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(200), GRPC_UNKNOWN);
}

static void test_decodes_a_message(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *decoded;
    } rows[] = {
        {"", ""},
        {"no identity issued", "no identity issued"},
        {"a%20b%0Ac%0a", "a b\nc\n"},
        {"%C3%A9", "\xc3\xa9"},
        {"100%", "100%"},
        {"%2", "%2"},
        {"%2x", "%2x"},
        {"%%32%35", "%25"},
        {"%zz%41", "%zzA"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = grpc_message_decode(strview_from(rows[i].text), out, sizeof(out));
        assert_true(strview_equal_text((struct strview){out, len}, rows[i].decoded));
    }
    assert_int_equal(grpc_message_decode(strview_from("%00x"), out, sizeof(out)), 2);
    assert_int_equal(out[0], '\0');
    assert_int_equal(grpc_message_decode(strview_from("abcdef"), out, 3), 3);
    assert_memory_equal(out, "abc", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_puts_messages_together_from_any_pieces),
        cmocka_unit_test(test_refuses_what_is_compressed_or_too_large),
        cmocka_unit_test(test_reads_a_status),
        cmocka_unit_test(test_decodes_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
