/*
 * peer_chain: a verified peer chain, interned: sessions of one peer share it, and the table of
 * them is the memory of verifications (the signature checks of a chain run once, not at each
 * handshake; the proof of possession always runs, in TLS).
 *
 * One table per worker, one thread. Keyed by SHA-256 over the chain as sent, the role and the
 * trust domain. An entry admits only while its anchor is in the bundle in force, the CRLs in force
 * say nothing against its path, and the time is within the path's and the CRLs' validity; it is
 * bound to the bundle and CRLs that it was last held against, and looks again when they are
 * replaced. Positive results only; bounded: the least recently used entry without a
 * session goes first, and when all have sessions new chains are verified and not remembered.
 */
#ifndef BULKHEAD_SPIFFE_PEER_CHAIN_H
#define BULKHEAD_SPIFFE_PEER_CHAIN_H

#include "spiffe/svid_verify.h"

struct peer_chain;
struct peer_chain_table;

struct peer_chain_table *peer_chain_table_new(const struct crypto *crypto, size_t max_entries);
/* Every session must have given its chain back. */
void peer_chain_table_free(struct peer_chain_table *table);

/*
 * After a swap: forgets the entries without a session that hold CRLs which are no longer in force,
 * so that a large set which was replaced does not stay in memory for their sake. Looks at
 * PEER_CHAIN_FORGET_MOST of them in one call, so that a full table holds nobody up: *left is
 * SIZE_MAX before the first, and 0 when all have been looked at.
 */
enum { PEER_CHAIN_FORGET_MOST = 256 };
void peer_chain_table_forget_stale(struct peer_chain_table *table,
                                   const struct credentials *credentials, size_t *left);

/*
 * The chain's entry with a reference for the caller (peer_chain_unref), from memory or by
 * svid_verify. NULL with *failure filled, out of memory included. peer is leaf + untrusted as
 * libssl parsed them.
 */
struct peer_chain *peer_chain_admit(struct peer_chain_table *table,
                                    const struct credentials *credentials, struct x509_st *leaf,
                                    struct stack_st_X509 *untrusted, enum svid_role role,
                                    int64_t now_s, struct svid_failure *failure)
    __attribute__((warn_unused_result));
struct peer_chain *peer_chain_ref(struct peer_chain *chain);
void peer_chain_unref(struct peer_chain *chain); /* NULL is fine */
/*
 * One copy of the certificates for all live sessions of a chain, some 5 KiB each: those in `sent`,
 * which is what peer_chain_admit was given with the leaf first, give way to the chain's, which are
 * the same to the byte. The first session's become the chain's; one without sessions has none.
 */
void peer_chain_share(struct peer_chain *chain, struct stack_st_X509 *sent);
const struct spiffe_id *peer_chain_id(const struct peer_chain *chain);
/*
 * Does a live session's chain hold under these credentials? REASON_NONE when it does, and from then
 * on it rests on them; else *failure is filled and the chain stays as it was. In the table or not,
 * whoever else holds it: sessions of one chain share one judgement, for better or worse.
 *
 * Trust and revocation are judged, not time: a chain past its notAfter, or CRLs past their
 * nextUpdate, end nothing here. The reason tells what was lost:
 *     SVID_UNKNOWN_TRUST_DOMAIN                 the trust domain's bundle was withdrawn
 *     SVID_REVOKED                              a certificate of the path was revoked
 *     SVID_CRL_MISSING, SVID_CRL_BAD_SIGNATURE  a CRL that is demanded is not there, or unusable
 *     OUT_OF_MEMORY                             nothing could be judged
 *     any other (SVID_UNTRUSTED as a rule)      the anchor is gone and no other vouches for it
 * Afterwards peer_chain_not_after and peer_chain_anchor may have other values, and views of
 * peer_chain_link are void.
 */
enum reason peer_chain_recheck(struct peer_chain_table *table,
                               const struct credentials *credentials, struct peer_chain *chain,
                               int64_t now_s, struct svid_failure *failure)
    __attribute__((warn_unused_result));
int64_t peer_chain_not_after(const struct peer_chain *chain);
const uint8_t *peer_chain_anchor(const struct peer_chain *chain); /* SHA-256, 32 bytes */
/* SHA-256 of the leaf's DER. */
const uint8_t *peer_chain_leaf_sha256(const struct peer_chain *chain);
/* A certificate of the path, from the leaf (0) to the one that the anchor issued. Views into the
   chain, until the next recheck of it. */
struct peer_chain_link {
    struct strview der;    /* the certificate */
    struct strview issuer; /* its issuer's Name, DER */
    struct strview serial; /* the octets of its serial number */
};
/* False when the path has no such certificate. */
bool peer_chain_link(const struct peer_chain *chain, size_t index, struct peer_chain_link *link);
/* For tests and counters. */
uint64_t peer_chain_table_hits(const struct peer_chain_table *table);
uint64_t peer_chain_table_misses(const struct peer_chain_table *table);
size_t peer_chain_table_count(const struct peer_chain_table *table);

#endif
