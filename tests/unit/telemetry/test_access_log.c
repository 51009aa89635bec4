/* access_log: one line of JSON per record, whatever peers send. */
#include "telemetry/access_log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct strview view(const char *text)
{
    return strview_from(text);
}

static struct access_record full_record(void)
{
    return (struct access_record){
        .wall_ms = 1795429230123,
        .event = "close",
        .session = 17,
        .listener = "orders",
        .kind = "bridge",
        .downstream_id = view("spiffe://a.example/web"),
        .own_id = view("spiffe://a.example/proxy"),
        .upstream_id = view("spiffe://b.example/db"),
        .claimed_id = view("spiffe://c.example/x"),
        .subject = view("CN=x"),
        .serial = view("0a1b"),
        .sni = view("db.internal"),
        .downstream = "10.0.0.1:5000",
        .upstream = "10.0.0.2:5432",
        .upstream_local = "10.0.0.3:6000",
        .unique_id = "0a-17",
        .repeats = 9,
        .decision = "allow",
        .rule = "web-to-db",
        .reason = REASON_IDLE_TIMEOUT,
        .detail = "nothing for 60 s",
        .has_bytes = true,
        .bytes_up = 1,
        .bytes_down = 2,
        .duration_ms = 3,
        .downstream_tls = {"TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "h2", false},
        .upstream_tls = {.version = "TLSv1.2"},
    };
}

static json_t *parse_line(const char *line, size_t len)
{
    assert_in_range(len, 3, ACCESS_LINE_SIZE - 1);
    assert_int_equal(strlen(line), len);
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
    json_error_t error;
    json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        fail_msg("%s: %s", error.text, line);
    }
    return root;
}

static void test_access_log_has_all_fields_in_order(void **state)
{
    (void)state;
    struct access_record record = full_record();
    char line[ACCESS_LINE_SIZE];
    size_t len = access_log_format(&record, line);
    json_decref(parse_line(line, len));
    assert_string_equal(
        line,
        "{\"time\":\"2026-11-23T10:20:30.123Z\",\"event\":\"close\",\"session\":17,"
        "\"listener\":\"orders\",\"kind\":\"bridge\",\"decision\":\"allow\",\"rule\":\"web-to-db\","
        "\"reason\":\"idle_timeout\",\"why\":\"no byte in either direction for timeouts.idle\","
        "\"detail\":\"nothing for 60 s\",\"downstream_id\":\"spiffe://a.example/web\","
        "\"own_id\":\"spiffe://a.example/proxy\",\"upstream_id\":\"spiffe://b.example/db\","
        "\"claimed_id\":\"spiffe://c.example/x\",\"subject\":\"CN=x\",\"serial\":\"0a1b\","
        "\"sni\":\"db.internal\",\"downstream\":\"10.0.0.1:5000\",\"upstream\":\"10.0.0.2:5432\","
        "\"upstream_local\":\"10.0.0.3:6000\",\"unique_id\":\"0a-17\","
        "\"bytes_up\":1,\"bytes_down\":2,\"repeats\":9,\"duration_ms\":3,"
        "\"tls\":{\"version\":\"TLSv1.3\",\"cipher\":\"TLS_AES_128_GCM_SHA256\","
        "\"group\":\"X25519\",\"alpn\":\"h2\"},\"upstream_tls\":{\"version\":\"TLSv1.2\"}}\n");
}

static void test_access_log_leaves_out_what_is_not_known(void **state)
{
    (void)state;
    struct access_record record = {
        .event = "close", .reason = REASON_CLOSED, .rule = "", .bytes_up = 5};
    char line[ACCESS_LINE_SIZE];
    (void)access_log_format(&record, line);
    assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"close\","
                              "\"session\":0,\"reason\":\"closed\",\"duration_ms\":0}\n");
    record = (struct access_record){.event = "close"};
    (void)access_log_format(&record, line);
    assert_null(strstr(line, "reason"));
}

static void test_access_log_peer_text_forges_no_line(void **state)
{
    (void)state;
    struct access_record record = full_record();
    static const char evil[] = "x\"}\n{\"event\":\"close\",\"decision\":\"allow\"}\x1b[2J\0y";
    record.sni = (struct strview){.ptr = evil, .len = sizeof(evil) - 1};
    record.claimed_id = record.sni;
    record.subject = record.sni;
    record.detail = evil;
    char line[ACCESS_LINE_SIZE];
    json_t *root = parse_line(line, access_log_format(&record, line));
    const json_t *sni = json_object_get(root, "sni");
    assert_int_equal(json_string_length(sni), sizeof(evil) - 1);
    assert_memory_equal(json_string_value(sni), evil, sizeof(evil) - 1);
    assert_null(json_object_get(root, "truncated"));
    json_decref(root);
}

static void test_access_log_caps_what_peers_send(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 'a', sizeof(text));
    struct access_record record = full_record();
    record.sni = (struct strview){.ptr = text, .len = sizeof(text)};
    char line[ACCESS_LINE_SIZE];
    json_t *root = parse_line(line, access_log_format(&record, line));
    assert_int_equal(json_string_length(json_object_get(root, "sni")), 255);
    assert_true(json_is_true(json_object_get(root, "truncated")));
    json_decref(root);
    /* The cut does not go through a character: 254 bytes, then one of three. */
    memcpy(text + 254, "\xE2\x82\xAC", 3);
    root = parse_line(line, access_log_format(&record, line));
    assert_int_equal(json_string_length(json_object_get(root, "sni")), 254);
    json_decref(root);
    /* A text of nothing but continuations is cut all the same. */
    memset(text, '\x80', sizeof(text));
    root = parse_line(line, access_log_format(&record, line));
    assert_int_equal(json_string_length(json_object_get(root, "sni")), 3 * 255);
    json_decref(root);
}

static void test_access_log_long_peer_texts_give_way(void **state)
{
    (void)state;
    static char ids[3][2048];
    static char garbage[2048];
    memset(ids, 'i', sizeof(ids));
    memset(garbage, 1, sizeof(garbage));
    struct access_record record = full_record();
    record.downstream_id = (struct strview){.ptr = ids[0], .len = sizeof(ids[0])};
    record.own_id = (struct strview){.ptr = ids[1], .len = sizeof(ids[1])};
    record.upstream_id = (struct strview){.ptr = ids[2], .len = sizeof(ids[2])};
    record.claimed_id = (struct strview){.ptr = garbage, .len = sizeof(garbage)};
    char line[ACCESS_LINE_SIZE];
    json_t *root = parse_line(line, access_log_format(&record, line));
    assert_int_equal(json_string_length(json_object_get(root, "upstream_id")), 2048);
    assert_string_equal(json_string_value(json_object_get(root, "rule")), "web-to-db");
    assert_null(json_object_get(root, "claimed_id"));
    assert_null(json_object_get(root, "sni"));
    assert_null(json_object_get(root, "detail"));
    assert_true(json_is_true(json_object_get(root, "truncated")));
    json_decref(root);
}

static void test_access_log_always_has_the_least(void **state)
{
    (void)state;
    static char longest[20000];
    memset(longest, 2, sizeof(longest) - 1);
    struct access_record record = {.wall_ms = INT64_MAX,
                                   .event = longest,
                                   .session = INT64_MAX,
                                   .listener = longest,
                                   .kind = longest,
                                   .downstream_id = view(longest),
                                   .own_id = view(longest),
                                   .upstream_id = view(longest),
                                   .claimed_id = view(longest),
                                   .subject = view(longest),
                                   .serial = view(longest),
                                   .sni = view(longest),
                                   .downstream = longest,
                                   .upstream = longest,
                                   .upstream_local = longest,
                                   .decision = longest,
                                   .rule = longest,
                                   .reason = REASON_SVID_KEY_USAGE_NO_DIGITAL_SIGNATURE,
                                   .detail = longest,
                                   .has_bytes = true,
                                   .bytes_up = INT64_MAX,
                                   .bytes_down = INT64_MAX,
                                   .duration_ms = INT64_MAX,
                                   .downstream_tls = {longest, longest, longest, longest, false},
                                   .upstream_tls = {longest, longest, longest, longest, false}};
    char line[ACCESS_LINE_SIZE];
    json_t *root = parse_line(line, access_log_format(&record, line));
    assert_string_equal(json_string_value(json_object_get(root, "reason")),
                        "svid_key_usage_no_digital_signature");
    assert_non_null(json_object_get(root, "bytes_up"));
    assert_true(json_is_true(json_object_get(root, "truncated")));
    json_decref(root);
}

static void test_access_log_every_reason_reads_well(void **state)
{
    (void)state;
    for (int i = REASON_CLOSED; i < REASON_COUNT; i++) {
        struct access_record record = {.event = "deny", .reason = (enum reason)i};
        char line[ACCESS_LINE_SIZE];
        json_t *root = parse_line(line, access_log_format(&record, line));
        assert_string_equal(json_string_value(json_object_get(root, "reason")),
                            reason_label((enum reason)i));
        const json_t *why = json_object_get(root, "why");
        assert_int_equal(why != NULL, i != REASON_CLOSED);
        json_decref(root);
    }
}

static struct strview random_view(uint32_t *seed, const char *bytes, size_t size)
{
    *seed = *seed * 1664525U + 1013904223U;
    size_t at = (*seed >> 8) % size;
    *seed = *seed * 1664525U + 1013904223U;
    size_t len = (*seed >> 8) % (size - at);
    return (struct strview){.ptr = bytes + at, .len = (*seed & 64) != 0 ? len : len % 64};
}

static void test_access_log_random_bytes_always_parse(void **state)
{
    (void)state;
    static char bytes[6000];
    uint32_t seed = 5;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525U + 1013904223U;
        bytes[i] = (char)(seed >> 16);
    }
    for (size_t round = 0; round < 1000; round++) {
        struct access_record record = full_record();
        record.claimed_id = random_view(&seed, bytes, sizeof(bytes));
        record.subject = random_view(&seed, bytes, sizeof(bytes));
        record.serial = random_view(&seed, bytes, sizeof(bytes));
        record.sni = random_view(&seed, bytes, sizeof(bytes));
        char line[ACCESS_LINE_SIZE];
        json_decref(parse_line(line, access_log_format(&record, line)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access_log_has_all_fields_in_order),
        cmocka_unit_test(test_access_log_leaves_out_what_is_not_known),
        cmocka_unit_test(test_access_log_peer_text_forges_no_line),
        cmocka_unit_test(test_access_log_caps_what_peers_send),
        cmocka_unit_test(test_access_log_long_peer_texts_give_way),
        cmocka_unit_test(test_access_log_always_has_the_least),
        cmocka_unit_test(test_access_log_every_reason_reads_well),
        cmocka_unit_test(test_access_log_random_bytes_always_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
