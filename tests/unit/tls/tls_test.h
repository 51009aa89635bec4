/*
 * tls_test: what the tests of tls/ share: certificates made on the spot, one of our conns with
 * everything it told, and a peer made by hand with libssl over memory, so that a test can hold
 * back, cut up or replace what it sends.
 */
#ifndef BULKHEAD_TESTS_UNIT_TLS_TLS_TEST_H
#define BULKHEAD_TESTS_UNIT_TLS_TLS_TEST_H

#include "unit/net/net_test.h"
#include "unit/spiffe/credentials_of.h"

#include "../../../src/tls/tls_groups.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/bytebuf.h"
#include "base/memory.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto.h"
#include "spiffe/peer_chain.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"
#include "tls/tls_conn.h"
#include "tls/tls_context.h"
#include "unit/spiffe/test_provider.h"

#define DOMAIN  "prod.example"
#define OURS_ID "spiffe://prod.example/ours"
#define PEER_ID "spiffe://prod.example/peer"

enum { HOUR = 3600, NO_ALERT = -1 };

/* ---- certificates ---- */

struct identity {
    X509 *cert;
    EVP_PKEY *key;
};

static inline void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline void set_subject(X509 *cert, const char *name)
{
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
}

/* issuer NULL: self-signed. Valid from `from` to `until` seconds from now. Takes the key over. */
static inline struct identity make_identity_of(EVP_PKEY *key, const struct identity *issuer,
                                               const char *id, bool ca, long from, long until)
{
    static long serial = 1;
    struct identity made = {.cert = X509_new(), .key = key};
    assert_non_null(made.cert);
    assert_non_null(made.key);
    X509 *signing = issuer != NULL ? issuer->cert : made.cert;
    assert_int_equal(X509_set_version(made.cert, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made.cert), ++serial), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made.cert), from));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made.cert), until));
    set_subject(made.cert, id);
    assert_int_equal(X509_set_issuer_name(made.cert, X509_get_subject_name(signing)), 1);
    assert_int_equal(X509_set_pubkey(made.cert, made.key), 1);
    add_extension(made.cert, signing, NID_basic_constraints,
                  ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(made.cert, signing, NID_key_usage,
                  ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
    add_extension(made.cert, signing, NID_subject_key_identifier, "hash");
    if (issuer != NULL) {
        add_extension(made.cert, signing, NID_authority_key_identifier, "keyid:always");
    }
    if (!ca) {
        add_extension(made.cert, signing, NID_ext_key_usage, "serverAuth,clientAuth");
    }
    char san[512];
    (void)snprintf(san, sizeof(san), "URI:%s", id);
    add_extension(made.cert, signing, NID_subject_alt_name, san);
    assert_true(X509_sign(made.cert, issuer != NULL ? issuer->key : made.key, EVP_sha256()) > 0);
    return made;
}

static inline struct identity make_identity(const struct identity *issuer, const char *id, bool ca,
                                            long from, long until)
{
    return make_identity_of(EVP_EC_gen("P-256"), issuer, id, ca, from, until);
}

static inline void free_identity(struct identity *identity)
{
    X509_free(identity->cert);
    EVP_PKEY_free(identity->key);
    *identity = (struct identity){0};
}

static inline size_t bio_text(BIO *bio, const char **text)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    assert_true(len > 0);
    *text = data;
    return (size_t)len;
}

static inline struct x509_svid *make_svid(const struct crypto *crypto,
                                          const struct identity *identity)
{
    BIO *chain = BIO_new(BIO_s_mem());
    BIO *key = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(chain, identity->cert), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key, identity->key, NULL, NULL, 0, NULL, NULL), 1);
    const char *chain_text;
    const char *key_text;
    size_t chain_len = bio_text(chain, &chain_text);
    size_t key_len = bio_text(key, &key_text);
    struct errbuf err = {{0}};
    struct x509_svid *svid =
        x509_svid_from_pem(crypto, chain_text, chain_len, key_text, key_len, &err);
    if (svid == NULL) {
        fail_msg("%s", err.text);
    }
    BIO_free(chain);
    BIO_free(key);
    return svid;
}

/* One bundle, for DOMAIN, of that one anchor. own may be NULL. */
static inline struct credentials *make_credentials(const struct crypto *crypto,
                                                   const struct identity *own,
                                                   const struct identity *anchor,
                                                   uint64_t generation)
{
    BIO *pem = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(pem, anchor->cert), 1);
    const char *text;
    size_t len = bio_text(pem, &text);
    struct errbuf err = {{0}};
    struct trust_bundle *bundle = trust_bundle_from_pem(crypto, DOMAIN, text, len, &err);
    if (bundle == NULL) {
        fail_msg("%s", err.text);
    }
    BIO_free(pem);
    struct x509_svid *svid = own != NULL ? make_svid(crypto, own) : NULL;
    struct credentials *credentials = credentials_of(svid, &bundle, 1, generation, &err);
    if (credentials == NULL) {
        fail_msg("%s", err.text);
    }
    x509_svid_unref(svid);
    trust_bundle_unref(bundle);
    return credentials;
}

/* ---- the world of one test ---- */

struct world {
    struct crypto *crypto;
    struct loop *loop;
    struct tls_thread *thread;
    _Atomic uint64_t lingering;
    struct tls_context *server;
    struct tls_context *client;
    struct identity anchor;
    struct identity ours;
    struct identity peer;
};

static inline struct tls_context *make_context(const struct world *world,
                                               const struct tls_settings *settings)
{
    struct errbuf err = {{0}};
    struct tls_context *context = tls_context_new(world->crypto, settings, &err);
    if (context == NULL) {
        fail_msg("%s", err.text);
    }
    return context;
}

static inline void use_credentials(struct world *world, const struct identity *own,
                                   const struct identity *anchor, uint64_t generation)
{
    struct credentials *credentials = make_credentials(world->crypto, own, anchor, generation);
    tls_thread_set_credentials(world->thread, credentials);
    credentials_unref(credentials);
}

static inline int setup_world(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    struct errbuf err;
    world->crypto = test_crypto_new(&err);
    assert_non_null(world->crypto);
    world->loop = new_loop();
    world->thread = tls_thread_new(world->crypto, 64, &world->lingering);
    assert_non_null(world->thread);
    const struct tls_settings server = {.server = true, .name = "orders"};
    const struct tls_settings client = {.server = false, .name = "to-orders"};
    world->server = make_context(world, &server);
    world->client = make_context(world, &client);
    world->anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    world->ours = make_identity(&world->anchor, OURS_ID, false, -HOUR, HOUR);
    world->peer = make_identity(&world->anchor, PEER_ID, false, -HOUR, HOUR);
    use_credentials(world, &world->ours, &world->anchor, 1);
    *state = world;
    return 0;
}

static inline int teardown_world(void **state)
{
    struct world *world = *state;
    tls_context_unref(world->server);
    tls_context_unref(world->client);
    tls_thread_free(world->thread);
    loop_free(world->loop);
    crypto_free(world->crypto);
    free_identity(&world->anchor);
    free_identity(&world->ours);
    free_identity(&world->peer);
    mem_free(world);
    return 0;
}

/* ---- one of our conns ---- */

struct ours {
    struct conn *conn;
    bool called; /* on_handshake */
    bool inside; /* tls_conn_accept or tls_conn_connect is on the stack */
    bool keep;   /* don't refuse a failed one: the test does */
    bool open;
    struct tls_failure failure;
    size_t read_max;
    bool paused; /* don't read yet */
    struct bytebuf received;
    enum conn_end end;
    bool write_failed;
    enum reason check; /* peer_check's answer */
    bool checked;
    char checked_id[256];
};

static inline void ours_on_readable(void *arg)
{
    struct ours *ours = arg;
    struct conn_input input;
    conn_read(ours->conn, ours->read_max, &input);
    assert_true(bytebuf_append(&ours->received, input.data, input.len));
    ours->end = input.end;
    if (input.end != CONN_END_NONE) {
        conn_stop_reading(ours->conn);
    }
}

static inline void ours_on_drained(void *arg)
{
    (void)arg;
}

static inline void ours_on_write_failed(void *arg, enum conn_end end)
{
    struct ours *ours = arg;
    (void)end;
    ours->write_failed = true;
}

static inline void ours_resume(struct ours *ours)
{
    ours->paused = false;
    assert_int_equal(conn_want_read(ours->conn, true), 0);
}

static inline void ours_on_handshake(void *arg, const struct tls_failure *failure)
{
    static const struct conn_handler handler = {ours_on_readable, ours_on_drained,
                                                ours_on_write_failed};
    struct ours *ours = arg;
    assert_false(ours->inside);
    assert_false(ours->called);
    ours->called = true;
    if (failure != NULL) {
        assert_int_not_equal(failure->reason, REASON_NONE);
        assert_null(tls_conn_peer(ours->conn));
        ours->failure = *failure;
        if (!ours->keep) {
            tls_conn_refuse(ours->conn);
            ours->conn = NULL;
        }
        return;
    }
    ours->open = true;
    assert_non_null(tls_conn_peer(ours->conn));
    conn_set_handler(ours->conn, &handler, ours);
    if (!ours->paused) {
        ours_resume(ours);
    }
}

static inline enum reason ours_check(void *arg, struct peer_chain *chain, char *detail, size_t size)
{
    struct ours *ours = arg;
    const struct spiffe_id *id = peer_chain_id(chain);
    ours->checked = true;
    (void)snprintf(ours->checked_id, sizeof(ours->checked_id), "%.*s", (int)id->text.len,
                   id->text.ptr);
    if (ours->check != REASON_NONE) {
        (void)snprintf(detail, size, "said the check");
    }
    return ours->check;
}

static const struct tls_conn_callbacks ours_callbacks = {.on_handshake = ours_on_handshake,
                                                         .peer_check = ours_check};

static inline void ours_accept(struct world *world, struct ours *ours, struct tls_context *context,
                               int fd)
{
    ours->read_max = ours->read_max != 0 ? ours->read_max : (size_t)TLS_READ_MAX;
    ours->inside = true;
    ours->conn =
        tls_conn_accept(world->thread, world->loop, context, fd, true, &ours_callbacks, ours);
    ours->inside = false;
    assert_non_null(ours->conn);
    assert_null(tls_conn_peer(ours->conn));
}

static inline void ours_connect(struct world *world, struct ours *ours, struct tls_context *context,
                                int fd, const char *sni, const char *alpn)
{
    ours->read_max = ours->read_max != 0 ? ours->read_max : (size_t)TLS_READ_MAX;
    ours->inside = true;
    ours->conn = tls_conn_connect(world->thread, world->loop, context, fd, true, sni, alpn,
                                  &ours_callbacks, ours);
    ours->inside = false;
    assert_non_null(ours->conn);
}

static inline void ours_fini(struct ours *ours)
{
    conn_close(ours->conn);
    ours->conn = NULL;
    bytebuf_clear(&ours->received);
}

/* What we and a peer with libssl's own list of groups agree on. */
static inline const char *best_group(int version)
{
    return version == TLS1_3_VERSION && tls_groups_post_quantum() ? "X25519MLKEM768" : "X25519";
}

/* ---- a peer by hand ---- */

struct peer_options {
    bool server;
    int version;                    /* 0: any */
    const struct identity *show;    /* NULL: no certificate */
    const struct identity *also[8]; /* sent behind it */
    const char *alpn;               /* client offers, server selects; NULL: none */
    const char *sni;
    const char *ciphers; /* TLS 1.2 */
    const char *suites;  /* TLS 1.3 */
    const char *groups;
    SSL_SESSION *session;
    bool hold; /* send nothing until peer_flush */
    bool fragment_hello;
    bool renegotiates;
};

struct peer {
    struct world *world;
    struct peer_options options;
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    struct io_watch *watch;
    bool done;
    bool failed;
    bool eof;
    bool clean;   /* close_notify came */
    bool stalled; /* does not read its socket */
    bool sent_hello;
    int alert;   /* received, fatal */
    int warning; /* the last one */
    bool saw_certificate;
    X509 *seen; /* the certificate of the other side */
    struct bytebuf received;
    struct bytebuf unsent;
};

static inline void peer_on_info(const SSL *ssl, int where, int value)
{
    struct peer *peer = SSL_get_app_data(ssl);
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) {
        *((value >> 8) == SSL3_AL_FATAL ? &peer->alert : &peer->warning) = value & 0xff;
    }
}

static inline int peer_on_verify(X509_STORE_CTX *store, void *arg)
{
    struct peer *peer = arg;
    peer->saw_certificate = true;
    X509_free(peer->seen);
    peer->seen = X509_STORE_CTX_get0_cert(store);
    (void)X509_up_ref(peer->seen);
    return 1;
}

static inline int peer_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                               const unsigned char *list, unsigned list_len, void *arg)
{
    const struct peer *peer = arg;
    (void)ssl;
    (void)list;
    (void)list_len;
    *out = (const unsigned char *)peer->options.alpn;
    *out_len = (unsigned char)strlen(peer->options.alpn);
    return SSL_TLSEXT_ERR_OK;
}

/* Every handshake byte of the first flight in a record of its own. */
static inline void peer_fragment(struct peer *peer, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t record = (size_t)data[at + 3] << 8 | data[at + 4];
        for (size_t i = 0; i < record; i++) {
            const uint8_t small[] = {data[at], data[at + 1], data[at + 2], 0, 1, data[at + 5 + i]};
            assert_true(bytebuf_append(&peer->unsent, small, sizeof(small)));
        }
        at += 5 + record;
    }
}

static inline void peer_send(struct peer *peer)
{
    while (bytebuf_len(&peer->unsent) > 0) {
        ssize_t sent = send(peer->fd, bytebuf_data(&peer->unsent), bytebuf_len(&peer->unsent),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0) {
            return;
        }
        bytebuf_consume(&peer->unsent, (size_t)sent);
    }
}

/* What libssl made goes out. */
static inline void peer_flush(struct peer *peer)
{
    char *data = NULL;
    BIO *out = SSL_get_wbio(peer->ssl);
    long len = BIO_get_mem_data(out, &data);
    if (len > 0) {
        if (peer->options.fragment_hello && !peer->sent_hello) {
            peer_fragment(peer, (const uint8_t *)data, (size_t)len);
        } else {
            assert_true(bytebuf_append(&peer->unsent, data, (size_t)len));
        }
        peer->sent_hello = true;
        (void)BIO_reset(out);
    }
    peer_send(peer);
}

static inline void peer_receive(struct peer *peer)
{
    uint8_t data[16384];
    ssize_t got;
    while ((got = recv(peer->fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
        assert_int_equal(BIO_write(SSL_get_rbio(peer->ssl), data, (int)got), got);
    }
    if (got == 0 || errno != EAGAIN) {
        peer->eof = true;
        assert_int_equal(io_watch_set(peer->watch, 0), 0);
    }
}

static inline void peer_step(struct peer *peer)
{
    ERR_clear_error();
    if (!peer->done && !peer->failed) {
        int result = SSL_do_handshake(peer->ssl);
        peer->done = result == 1;
        peer->failed = result != 1 && SSL_get_error(peer->ssl, result) != SSL_ERROR_WANT_READ;
    }
    uint8_t data[16384];
    size_t n = 0;
    while (peer->done && !peer->failed && !peer->clean) {
        int result = SSL_read_ex(peer->ssl, data, sizeof(data), &n);
        if (result == 1) {
            assert_true(bytebuf_append(&peer->received, data, n));
            continue;
        }
        int error = SSL_get_error(peer->ssl, result);
        peer->clean = error == SSL_ERROR_ZERO_RETURN;
        peer->failed = !peer->clean && error != SSL_ERROR_WANT_READ;
        break;
    }
    if (!peer->options.hold) {
        peer_flush(peer);
    }
}

static inline void peer_on_io(void *arg, unsigned events)
{
    struct peer *peer = arg;
    if (events == IO_READ && !peer->stalled) {
        peer_receive(peer);
        peer_step(peer);
    }
}

static inline void peer_settings(struct peer *peer)
{
    const struct peer_options *options = &peer->options;
    SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(peer->ctx, peer_on_verify, peer);
    SSL_CTX_set_info_callback(peer->ctx, peer_on_info);
    if (options->version != 0) {
        assert_int_equal(SSL_CTX_set_min_proto_version(peer->ctx, options->version), 1);
        assert_int_equal(SSL_CTX_set_max_proto_version(peer->ctx, options->version), 1);
    }
    if (options->version != 0 && options->version < TLS1_2_VERSION) {
        SSL_CTX_set_security_level(peer->ctx, 0);
    }
    if (options->ciphers != NULL) {
        assert_int_equal(SSL_CTX_set_cipher_list(peer->ctx, options->ciphers), 1);
    }
    if (options->suites != NULL) {
        assert_int_equal(SSL_CTX_set_ciphersuites(peer->ctx, options->suites), 1);
    }
    if (options->groups != NULL) {
        char groups[64];
        (void)snprintf(groups, sizeof(groups), "%s", options->groups);
        assert_int_equal(SSL_CTX_set1_groups_list(peer->ctx, groups), 1);
    }
    if (options->renegotiates) {
        (void)SSL_CTX_set_options(peer->ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    }
    if (options->show != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(peer->ctx, options->show->cert), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(peer->ctx, options->show->key), 1);
    }
    for (size_t i = 0; i < 8 && options->also[i] != NULL; i++) {
        assert_int_equal(SSL_CTX_add1_chain_cert(peer->ctx, options->also[i]->cert), 1);
    }
    if (options->server && options->alpn != NULL) {
        SSL_CTX_set_alpn_select_cb(peer->ctx, peer_on_alpn, peer);
    }
}

static inline void peer_hello(struct peer *peer)
{
    const struct peer_options *options = &peer->options;
    if (options->server) {
        SSL_set_accept_state(peer->ssl);
        return;
    }
    SSL_set_connect_state(peer->ssl);
    if (options->alpn != NULL) {
        unsigned char list[256];
        size_t len = strlen(options->alpn);
        list[0] = (unsigned char)len;
        memcpy(list + 1, options->alpn, len);
        assert_int_equal(SSL_set_alpn_protos(peer->ssl, list, (unsigned)len + 1), 0);
    }
    if (options->sni != NULL) {
        char name[256];
        (void)snprintf(name, sizeof(name), "%s", options->sni);
        assert_int_equal(SSL_set_tlsext_host_name(peer->ssl, name), 1);
    }
    if (options->session != NULL) {
        assert_int_equal(SSL_set_session(peer->ssl, options->session), 1);
    }
}

/* As peer_init, but nothing is sent yet. */
static inline void peer_prepare(struct world *world, struct peer *peer,
                                const struct peer_options *options, int fd)
{
    *peer = (struct peer){
        .world = world, .options = *options, .fd = fd, .alert = NO_ALERT, .warning = NO_ALERT};
    peer->ctx = SSL_CTX_new(TLS_method());
    assert_non_null(peer->ctx);
    peer_settings(peer);
    peer->ssl = SSL_new(peer->ctx);
    assert_non_null(peer->ssl);
    SSL_set_app_data(peer->ssl, peer);
    SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    peer_hello(peer);
    peer->watch = io_watch_new(world->loop, fd, peer_on_io, peer);
    assert_non_null(peer->watch);
    assert_int_equal(io_watch_set(peer->watch, IO_READ), 0);
}

static inline void peer_init(struct world *world, struct peer *peer,
                             const struct peer_options *options, int fd)
{
    peer_prepare(world, peer, options, fd);
    peer_step(peer);
}

static inline void peer_write(struct peer *peer, const void *data, size_t len)
{
    size_t written = 0;
    ERR_clear_error();
    assert_int_equal(SSL_write_ex(peer->ssl, data, len, &written), 1);
    assert_int_equal(written, len);
    if (!peer->options.hold) {
        peer_flush(peer);
    }
}

static inline void peer_fini(struct peer *peer)
{
    io_watch_free(peer->watch);
    SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN); /* else libssl spoils its session */
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->ctx);
    X509_free(peer->seen);
    bytebuf_clear(&peer->received);
    bytebuf_clear(&peer->unsent);
    if (peer->fd >= 0) {
        (void)close(peer->fd);
    }
}

/* ---- running ---- */

struct wait {
    struct loop *loop;
    struct timer *timer;
    bool (*done)(void *arg);
    void *arg;
};

static inline void wait_on_tick(void *arg)
{
    struct wait *wait = arg;
    if (wait->done(wait->arg)) {
        loop_stop(wait->loop);
    } else {
        timer_set(wait->timer, 1);
    }
}

/* Runs the loop until done(arg); what never happens is a failure (run_loop's guard). */
static inline void run_until(struct world *world, bool (*done)(void *arg), void *arg)
{
    struct wait wait = {.loop = world->loop, .done = done, .arg = arg};
    wait.timer = timer_new(world->loop, wait_on_tick, &wait);
    assert_non_null(wait.timer);
    timer_set(wait.timer, 0);
    run_loop(world->loop);
    timer_free(wait.timer);
}

static inline bool ours_was_called(void *arg)
{
    const struct ours *ours = arg;
    return ours->called;
}

static inline bool ours_has_ended(void *arg)
{
    const struct ours *ours = arg;
    return ours->end != CONN_END_NONE;
}

static inline bool peer_is_done(void *arg)
{
    const struct peer *peer = arg;
    return peer->done || peer->failed;
}

static inline bool peer_has_ended(void *arg)
{
    const struct peer *peer = arg;
    return peer->eof || peer->clean || peer->failed;
}

/* One of ours against one by hand, as far as both handshakes go. */
struct duel {
    struct ours ours;
    struct peer peer;
};

static inline bool duel_is_over(void *arg)
{
    struct duel *duel = arg;
    return duel->ours.called && peer_is_done(&duel->peer);
}

/* context decides our role. */
static inline void duel_run(struct world *world, struct duel *duel, struct tls_context *context,
                            const struct peer_options *options)
{
    int fds[2];
    unix_pair(fds);
    if (options->server) {
        ours_connect(world, &duel->ours, context, fds[0], NULL, NULL);
    } else {
        ours_accept(world, &duel->ours, context, fds[0]);
    }
    peer_init(world, &duel->peer, options, fds[1]);
    run_until(world, duel_is_over, duel);
}

static inline void duel_fini(struct duel *duel)
{
    ours_fini(&duel->ours);
    peer_fini(&duel->peer);
}

#endif
