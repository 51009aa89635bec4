/* peer_chain_private: the entry, for peer_chain.c (the table) and peer_chain_standing.c (what an
   entry rests on, and whether it still does). */
#ifndef BULKHEAD_SPIFFE_PEER_CHAIN_PRIVATE_H
#define BULKHEAD_SPIFFE_PEER_CHAIN_PRIVATE_H

#include "kept_path.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"

#include <sys/queue.h>

enum { PEER_CHAIN_KEY_SIZE = 32 };

/* What a verdict came from. References of its own; by address: the same objects, the same verdict.
 */
struct standing {
    struct trust_bundle *bundle; /* NULL: the trust domain has none */
    struct crl_set *crls;
    enum crl_check crl_check;
};

/* The last verdict against the chain, so that a thousand sessions of it cost one. */
struct refusal {
    struct standing standing;
    struct svid_failure failure;
};

struct peer_chain {
    uint32_t magic;
    uint32_t refs;                  /* sessions' */
    struct peer_chain_table *table; /* NULL: not in it (any more) */
    struct peer_chain *next;        /* in its bucket */
    TAILQ_ENTRY(peer_chain) idle;
    struct standing standing;
    struct refusal *refusal; /* NULL: none, or memory was out */
    struct crl_window crl_window;
    int64_t not_before;
    int64_t not_after;
    enum svid_role role;
    bool borrowed; /* an intermediate of the path was not sent: the bundle had it */
    struct spiffe_id id;
    struct kept_path *path;
    STACK_OF(X509) * certificates; /* as sent, the sessions' common copy; NULL: none */
    uint8_t key[PEER_CHAIN_KEY_SIZE];
    uint8_t anchor_sha256[PEER_CHAIN_KEY_SIZE];
    uint8_t leaf_sha256[PEER_CHAIN_KEY_SIZE];
    char id_text[];
};

const struct crypto *peer_chain_table_crypto(const struct peer_chain_table *table);
/* Out of the table; freed now when no session holds it, else with the last reference. */
void peer_chain_detach(struct peer_chain *chain);

/*
 * Takes a verification over: path, anchor, times, and what it rests on. sent are the certificates
 * that came from the peer. On failure nothing has changed.
 */
enum reason peer_chain_adopt(struct peer_chain *chain, const struct credentials_domain *domain,
                             const struct svid_verified *verified, const STACK_OF(X509) * sent)
    __attribute__((warn_unused_result));
/* May a new handshake use the entry now, without another verification? */
bool peer_chain_admits(struct peer_chain_table *table, const struct credentials *credentials,
                       struct peer_chain *chain, int64_t now_s);
/* Gives back what the entry rests on. */
void peer_chain_release(struct peer_chain *chain);

#endif
