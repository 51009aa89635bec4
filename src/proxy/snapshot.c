#include "proxy/snapshot.h"

#include <stdatomic.h>

#include "base/memory.h"

struct snapshot *snapshot_new(struct setup *setup, struct credentials *credentials,
                              struct quarantine *quarantine, uint64_t generation)
{
    struct snapshot *snapshot = mem_alloc(sizeof(*snapshot));
    atomic_init(&snapshot->references, 1);
    snapshot->generation = generation;
    snapshot->setup = setup_ref(setup);
    snapshot->credentials = credentials_ref(credentials);
    snapshot->quarantine = quarantine_ref(quarantine);
    return snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot == NULL ||
        atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    credentials_unref(snapshot->credentials);
    quarantine_unref(snapshot->quarantine);
    setup_unref(snapshot->setup);
    mem_free(snapshot);
}
