/*
 * quarantine: who is refused now and cut now, as caller and as server, above every rule: SPIFFE
 * IDs, patterns, and single leaf certificates by the SHA-256 of their DER.
 *
 * A source of its own (control/sources): a snapshot holds it beside the setup, so that nothing
 * that is wrong with rules can hold it back. Immutable after quarantine_build and counted
 * atomically: any thread.
 */
#ifndef BULKHEAD_POLICY_QUARANTINE_H
#define BULKHEAD_POLICY_QUARANTINE_H

#include "base/strview.h"
#include "policy/id_pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quarantine;

enum { QUARANTINE_SHA256_SIZE = 32 };
#define QUARANTINE_SHA256_PREFIX "sha256:"

/* What one entry says. */
struct quarantine_item {
    bool is_certificate;
    uint8_t sha256[QUARANTINE_SHA256_SIZE]; /* of a certificate */
    struct id_pattern pattern;              /* else; a view into the text */
};
/* "spiffe://…", a pattern, or "sha256:" and 64 hexadecimal digits (either case, colons between
   pairs allowed, as openssl prints them). -1 and a sentence of what would be right in *why. */
int quarantine_item_parse(struct strview text, struct quarantine_item *item, const char **why)
    __attribute__((warn_unused_result));

/*
 * Of entries that quarantine_item_parse takes (others are skipped: whoever reads them has told);
 * the texts are copied, one that stands twice counts once. Never fails: what does not fit into the
 * matcher is compared one by one, because a quarantine always takes effect. The result has one
 * reference.
 */
struct quarantine *quarantine_build(const char *const *entries, size_t count);
struct quarantine *quarantine_ref(struct quarantine *quarantine);
void quarantine_unref(struct quarantine *quarantine); /* NULL is fine */
size_t quarantine_count(const struct quarantine *quarantine);
/* In the order of their text; i < quarantine_count. */
const char *quarantine_entry(const struct quarantine *quarantine, size_t i);
/* Do they hold the same entries? */
bool quarantine_same(const struct quarantine *a, const struct quarantine *b);
/* The entry that holds the peer, or NULL. leaf_sha256 may be NULL (a question about an ID alone);
   quarantine NULL holds nobody. The cost does not grow with the number of entries. */
const char *quarantine_find(const struct quarantine *quarantine, const struct spiffe_id *id,
                            const uint8_t *leaf_sha256);

#endif
