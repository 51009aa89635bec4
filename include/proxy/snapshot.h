/*
 * snapshot: everything that decides about sessions: the setup (configuration, policy, listeners
 * with their TLS settings), the credentials and the quarantine, under one generation number. Never
 * changed.
 *
 * Composed on control out of the last good of each source; counted atomically. Workers read it;
 * they give it back by mailbox, so that the last reference is dropped on control.
 */
#ifndef BULKHEAD_PROXY_SNAPSHOT_H
#define BULKHEAD_PROXY_SNAPSHOT_H

#include "policy/quarantine.h"
#include "proxy/setup.h"
#include "spiffe/credentials.h"

#include <stdint.h>

struct snapshot {
    uint64_t generation;
    struct setup *setup;
    struct credentials *credentials;
    struct quarantine *quarantine;
    _Atomic unsigned references;
};

/* Takes a reference of each. */
struct snapshot *snapshot_new(struct setup *setup, struct credentials *credentials,
                              struct quarantine *quarantine, uint64_t generation);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot); /* NULL is fine */

#endif
