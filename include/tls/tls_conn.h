/*
 * tls_conn: a conn with mutual TLS. See net/conn.h; this adds the handshake.
 *
 * libssl reads and writes memory only (a BIO over buffers of the thread): one read() feeds as many
 * records as it brought, all records made in one go leave in one send(), and nothing stays with an
 * idle connection. After the handshake the facts are copied into struct peer_info once; nobody
 * touches the SSL object afterwards.
 *
 * The gate: on_handshake(REASON_NONE) is called only when the peer showed a certificate, proved
 * its key, its chain was admitted (peer_chain) under the credentials that are in force in this
 * thread, peer_check agreed, and the time is within the chain's validity and our own SVID's. There
 * is no other way to a conn that reads or writes application data: conn_read and conn_write before
 * it are a bug. Application bytes that arrive with the last handshake message stay with the conn
 * until read.
 *
 * A TLS 1.3 conn renews its key for writing before AES-GCM's limit (RFC 8446 5.5), by itself. TLS
 * 1.2 has no way to: one conn that carries more than 360 GiB one way belongs on TLS 1.3.
 *
 * Signing is done here and at once, so a handshake waits for nothing but the peer's bytes; the
 * caller's deadline is the only thing that ends one whose peer falls silent.
 */
#ifndef BULKHEAD_TLS_TLS_CONN_H
#define BULKHEAD_TLS_TLS_CONN_H

#include "base/errbuf.h"
#include "base/reason.h"
#include "net/conn.h"
#include "spiffe/x509_svid.h"
#include "tls/tls_context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct credentials;
struct crypto;
struct peer_chain;
struct spiffe_id;

/* What TLS needs once per thread: scratch buffers, the memory of peer chains, the credentials in
   force. Belongs to its worker. */
struct tls_thread;
enum { TLS_READ_MAX = 64 * 1024, TLS_HANDSHAKE_READ_MAX = 16 * 1024 };
/* NULL: out of memory. *lingering counts the conns in tls_conn_refuse, each of which still holds
   its descriptor; threads may share it, and it must outlive them. */
struct tls_thread *tls_thread_new(const struct crypto *crypto, size_t max_peer_chains,
                                  _Atomic uint64_t *lingering);
void tls_thread_free(struct tls_thread *thread);
/* Takes a reference; drops that of the former. Every handshake from here on uses these. */
void tls_thread_set_credentials(struct tls_thread *thread, struct credentials *credentials);
/* Of the credentials in force, 0 when there are none. Within on_handshake: those that admitted the
   peer. */
uint64_t tls_thread_generation(const struct tls_thread *thread);
/* Lets go of remembered chains that no session holds and that rest on former credentials, some in
   each call: *left is SIZE_MAX before the first, and 0 when it is done. */
void tls_thread_forget_stale(struct tls_thread *thread, size_t *left);
/* Does the chain that a live session rests on still hold under those credentials? See
   peer_chain_recheck. */
enum reason tls_thread_recheck(struct tls_thread *thread, const struct credentials *credentials,
                               struct peer_chain *chain, struct svid_failure *failure)
    __attribute__((warn_unused_result));

/* Facts of a finished handshake. Texts are constants, or "" when not known; alpn lives as long as
   the conn. */
struct peer_info {
    struct peer_chain *chain; /* counted with the conn */
    const char *version;      /* "TLSv1.3" */
    const char *cipher;       /* "TLS_AES_128_GCM_SHA256" */
    const char *group;        /* "X25519MLKEM768", "X25519", "P-256", "P-384", "P-521" */
    const char *alpn;         /* "" when none was selected */
    bool resumed;             /* the peer proved the secret of a session, not its key again */
};

/* What a failed handshake learned. Valid during on_handshake only. */
struct tls_failure {
    enum reason reason;
    struct svid_failure svid; /* its reason is REASON_NONE when no certificate was judged */
    const char *alert;        /* the alert we got, or NULL */
    char detail[160];         /* libssl's error in words, or "" */
    char sni[256];            /* the server name the client asked for, raw; "" when none */
    bool got_bytes;           /* whether the peer sent anything at all */
};

/*
 * Authorisation from outside, inside the handshake, after the chain was admitted: REASON_NONE lets
 * it go on. For outbound, so that a wrong server never gets our certificate: asked when the peer's
 * certificate was judged, and again when ours is about to be sent, because what is in force may
 * have changed in between. The callee may keep a reference of chain. detail (384 bytes) is for the
 * log.
 */
typedef enum reason peer_check_fn(void *arg, struct peer_chain *chain, char *detail,
                                  size_t detail_size);

struct tls_conn_callbacks {
    /* Once, from the loop, never from inside tls_conn_accept or tls_conn_connect. failure is NULL
       on success. On failure the alert has been sent or queued; the callee ends the conn with
       tls_conn_refuse. On success reading is off (conn_want_read) until the callee wants it. */
    void (*on_handshake)(void *arg, const struct tls_failure *failure);
    peer_check_fn *peer_check; /* NULL: none */
    /* A server's, once: a whole ClientHello has come. From inside libssl: the callee may not touch
       the conn. NULL: not asked. */
    void (*on_hello)(void *arg);
};

/* Both take fd; NULL when memory is out: fd stays the caller's. callbacks must outlive the conn.
   conn_set_handler belongs to the callee from on_handshake on, not before. */
struct conn *tls_conn_accept(struct tls_thread *thread, struct loop *loop,
                             struct tls_context *context, int fd, bool is_unix,
                             const struct tls_conn_callbacks *callbacks, void *arg);
/* sni: a DNS name or NULL. alpn: the one protocol to offer (a bridge: what downstream selected), or
   NULL for the context's list; "" offers none. The server must select an offered one. */
struct conn *tls_conn_connect(struct tls_thread *thread, struct loop *loop,
                              struct tls_context *context, int fd, bool is_unix, const char *sni,
                              const char *alpn, const struct tls_conn_callbacks *callbacks,
                              void *arg);
/* NULL before the handshake has succeeded. */
const struct peer_info *tls_conn_peer(const struct conn *conn);
/* The server name that the client asked for in this handshake, as it came: any bytes but NUL, 255
   at most; "" when it asked for none, or we are the client. It decides nothing. As long as the
   conn. */
const char *tls_conn_server_name(const struct conn *conn);
/* The cipher suite by OpenSSL's name, which others use too ("ECDHE-ECDSA-AES128-GCM-SHA256"); TLS
   1.3's have one name only. */
const char *tls_conn_cipher_name(const struct conn *conn);
/* After CONN_END_ALERT: "bad_certificate", …; "" when none has come. */
const char *tls_conn_alert_name(const struct conn *conn);
/*
 * Ends a conn whose handshake failed: sends the alert, shuts down for writing, and reads and
 * throws away at most 64 KiB for at most 1 s, so that the alert is not destroyed by a reset; then
 * closes. All of TLS is freed at once, what waits is a descriptor and at most the alert's bytes.
 * The caller gives up the conn: no callback comes any more. Until then it counts as lingering.
 * Not from within peer_check.
 */
void tls_conn_refuse(struct conn *conn);

#endif
