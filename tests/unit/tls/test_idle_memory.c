/*
 * An open connection over which nothing flows keeps none of libssl's buffers, whatever it did
 * last: its handshake, the ticket, a new key, a byte either way. Each buffer is a record's size;
 * nothing else that libssl or libcrypto allocate here is as large. And none of the keys of its key
 * exchange.
 */
#include "resume_test.h"

#include "spiffe/crypto_memory.h"

enum { BUFFER_MIN = 16 * 1024, HEAD = 16 };

static size_t buffers;
static size_t buffers_before; /* those that are not a connection's: libcrypto 3.5 has some */

static void *counted_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    char *memory = malloc(size + HEAD);
    if (memory == NULL) {
        return NULL;
    }
    memcpy(memory, &size, sizeof(size));
    buffers += size >= BUFFER_MIN;
    return memory + HEAD;
}

static void counted_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    if (memory != NULL) {
        size_t size;
        char *head = (char *)memory - HEAD;
        memcpy(&size, head, sizeof(size));
        buffers -= size >= BUFFER_MIN;
        free(head);
    }
}

static void *counted_realloc(void *memory, size_t size, const char *file, int line)
{
    if (memory == NULL) {
        return counted_alloc(size, file, line);
    }
    size_t old;
    memcpy(&old, (char *)memory - HEAD, sizeof(old));
    char *moved = realloc((char *)memory - HEAD, size + HEAD);
    if (moved == NULL) {
        return NULL;
    }
    memcpy(moved, &size, sizeof(size));
    buffers += size >= BUFFER_MIN;
    buffers -= old >= BUFFER_MIN;
    return moved + HEAD;
}

/* In place of the module of that name: the same functions for all, set before the first use. */
bool crypto_memory_install(void)
{
    static bool installed;
    installed =
        installed || CRYPTO_set_mem_functions(counted_alloc, counted_realloc, counted_free) == 1;
    return installed;
}

void crypto_memory_wipe_begin(void)
{
}

void crypto_memory_wipe_end(void)
{
}

struct both {
    struct ours server;
    struct ours client;
};

static void open_both(struct resume *resume, struct both *both)
{
    int fds[2];
    tcp_pair(fds);
    memset(both, 0, sizeof(*both));
    buffers_before = buffers;
    both->server.paused = true;
    both->client.paused = true;
    ours_accept(resume->world, &both->server, resume->server, fds[0]);
    ours_connect(resume->world, &both->client, resume->client, fds[1], NULL, NULL);
    run_until(resume->world, ours_was_called, &both->server);
    run_until(resume->world, ours_was_called, &both->client);
    assert_true(both->server.open && both->client.open);
}

static void fini_both(struct both *both)
{
    ours_fini(&both->server);
    ours_fini(&both->client);
}

static bool has_a_byte(void *arg)
{
    const struct ours *ours = arg;
    return bytebuf_len(&ours->received) > 0;
}

static void test_after_the_handshake(void **state)
{
    struct resume *resume = *state;
    struct both both;
    open_both(resume, &both);
    assert_int_equal(buffers, buffers_before);
    fini_both(&both);
}

static void test_after_the_ticket(void **state)
{
    struct resume *resume = *state;
    struct both both;
    open_both(resume, &both);
    ours_resume(&both.server);
    assert_int_equal(conn_write(both.client.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    run_until(resume->world, has_a_byte, &both.server);
    assert_int_equal(buffers, buffers_before);
    assert_int_equal(conn_write(both.server.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    assert_int_equal(buffers, buffers_before);
    ours_resume(&both.client);
    run_until(resume->world, has_a_byte, &both.client);
    assert_int_equal(buffers, buffers_before);
    fini_both(&both);
}

static void test_after_a_new_key(void **state)
{
    struct resume *resume = *state;
    resume->world->thread->rekey_records = 1;
    struct both both;
    open_both(resume, &both);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(conn_write(both.client.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
        assert_int_equal(buffers, buffers_before);
    }
    ours_resume(&both.server);
    run_until(resume->world, has_a_byte, &both.server);
    assert_int_equal(buffers, buffers_before);
    fini_both(&both);
}

static bool has_key(EVP_PKEY *key)
{
    uint8_t bytes[4096]; /* an ML-KEM key has 2,400 and more */
    size_t len = sizeof(bytes);
    bool has = EVP_PKEY_get_raw_private_key(key, bytes, &len) == 1;
    len = sizeof(bytes);
    has = has || EVP_PKEY_get_raw_public_key(key, bytes, &len) == 1;
    EVP_PKEY_free(key);
    return has;
}

static void assert_no_ephemeral_keys(const struct ours *ours)
{
    SSL *ssl = tls_conn_from(ours->conn)->ssl;
    EVP_PKEY *key = NULL;
    if (SSL_get_tmp_key(ssl, &key) == 1) {
        assert_false(has_key(key));
    }
    if (SSL_get_peer_tmp_key(ssl, &key) == 1) {
        assert_false(has_key(key));
    }
}

/* They could decrypt what was recorded of the connection (RFC 8446 E.1); and it goes on without. */
static void test_the_keys_of_the_key_exchange_are_gone(void **state)
{
    struct resume *resume = *state;
    struct both both;
    open_both(resume, &both);
    assert_no_ephemeral_keys(&both.server);
    assert_no_ephemeral_keys(&both.client);
    resume->world->thread->rekey_records = 1;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(conn_write(both.client.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    }
    ours_resume(&both.server);
    run_until(resume->world, has_a_byte, &both.server);
    assert_int_equal(conn_write(both.server.conn, (const uint8_t *)"y", 1), CONN_END_NONE);
    ours_resume(&both.client);
    run_until(resume->world, has_a_byte, &both.client);
    fini_both(&both);
}

/* Parsed, they are a quarter of what an idle connection costs. */
static void test_connections_of_one_peer_share_its_certificates(void **state)
{
    struct resume *resume = *state;
    struct both first;
    struct both second;
    open_both(resume, &first);
    open_both(resume, &second);
    const struct ours *const pairs[][2] = {{&first.server, &second.server},
                                           {&first.client, &second.client}};
    for (size_t i = 0; i < 2; i++) {
        SSL *one = tls_conn_from(pairs[i][0]->conn)->ssl;
        SSL *two = tls_conn_from(pairs[i][1]->conn)->ssl;
        assert_false(SSL_session_reused(two));
        assert_non_null(SSL_get0_peer_certificate(one));
        assert_ptr_equal(SSL_get0_peer_certificate(one), SSL_get0_peer_certificate(two));
        STACK_OF(X509) *sent = SSL_get_peer_cert_chain(one);
        STACK_OF(X509) *again = SSL_get_peer_cert_chain(two);
        assert_int_equal(sk_X509_num(sent), sk_X509_num(again));
        for (int k = 0; k < sk_X509_num(sent); k++) {
            assert_ptr_equal(sk_X509_value(sent, k), sk_X509_value(again, k));
        }
    }
    fini_both(&first);
    /* The other goes on with what is now its alone. */
    assert_int_equal(conn_write(second.client.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    ours_resume(&second.server);
    run_until(resume->world, has_a_byte, &second.server);
    fini_both(&second);
}

/* What came with the end of the handshake, or in between, is not lost to the look for nothing. */
static void test_bytes_that_came_early_are_read(void **state)
{
    struct resume *resume = *state;
    struct both both;
    open_both(resume, &both);
    assert_int_equal(conn_write(both.client.conn, (const uint8_t *)"abc", 3), CONN_END_NONE);
    run_loop_ms(resume->world->loop, 1);
    assert_int_equal(conn_write(both.server.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    ours_resume(&both.server);
    run_until(resume->world, has_a_byte, &both.server);
    assert_int_equal(bytebuf_len(&both.server.received), 3);
    assert_memory_equal(bytebuf_data(&both.server.received), "abc", 3);
    fini_both(&both);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_resume, teardown_resume)
    const struct CMUnitTest tests[] = {
        TEST(test_after_the_handshake),
        TEST(test_after_the_ticket),
        TEST(test_after_a_new_key),
        TEST(test_the_keys_of_the_key_exchange_are_gone),
        TEST(test_connections_of_one_peer_share_its_certificates),
        TEST(test_bytes_that_came_early_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
