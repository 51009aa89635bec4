/*
 * tls_session_store_private: what goes in and out of the store, for src/tls/ only.
 */
#ifndef BULKHEAD_TLS_SESSION_STORE_PRIVATE_H
#define BULKHEAD_TLS_SESSION_STORE_PRIVATE_H

#include "base/strview.h"
#include "tls/tls_session_store.h"

#include <openssl/ssl.h>

#include <stdint.h>

enum { TLS_SESSION_KEY_SIZE = 32 };

/* Roles share nothing: what a server we dialled knows must never open our own door. */
enum tls_session_role { TLS_SESSION_SERVER = 0, TLS_SESSION_CLIENT };

struct tls_session_facts {
    enum tls_session_role role;
    uint8_t key[TLS_SESSION_KEY_SIZE]; /* server: the session's ID. client: of the upstream */
    struct strview peer;               /* its SPIFFE ID */
    uint64_t generation;               /* of the credentials */
    int64_t from_s;                    /* the full handshake, wall clock */
    int64_t until_s;
};

int64_t tls_session_store_max_age_s(const struct tls_session_store *store);
/* Takes the caller's reference, also when nothing is stored. The session is read by other
   threads from here on: nobody may write to it but libssl, whose last word is that it ends. */
void tls_session_store_put(struct tls_session_store *store, const struct tls_session_facts *facts,
                           SSL_SESSION *session);
/* A reference to the session as it is stored (to be copied, not used), or NULL. */
SSL_SESSION *tls_session_store_find(struct tls_session_store *store, enum tls_session_role role,
                                    const uint8_t key[TLS_SESSION_KEY_SIZE], int64_t now_s);
/* The newest session of that key, which leaves the store: the caller's alone. Or NULL. */
SSL_SESSION *tls_session_store_take(struct tls_session_store *store, enum tls_session_role role,
                                    const uint8_t key[TLS_SESSION_KEY_SIZE], int64_t now_s);
/* Drops the session of that key with the same session ID as this one. */
void tls_session_store_drop(struct tls_session_store *store, enum tls_session_role role,
                            const uint8_t key[TLS_SESSION_KEY_SIZE], const SSL_SESSION *session);

#endif
