/*
 * snapshot: everything that decides about sessions, built whole on control and never changed:
 * configuration, policy, credentials, the TLS settings of each listener, and a generation number.
 *
 * Counted atomically. Workers read it; the last reference is dropped on control.
 */
#ifndef BULKHEAD_PROXY_SNAPSHOT_H
#define BULKHEAD_PROXY_SNAPSHOT_H

#include "base/netaddr.h"
#include "config/config.h"
#include "net/socket.h"
#include "spiffe/credentials.h"

#include <stddef.h>
#include <stdint.h>

struct crypto;
struct policy;
struct tls_context;

/* A listener of the configuration with what was made of it. */
struct snapshot_listener {
    const struct config_listener *config;
    struct netaddr accept;
    struct netaddr forward;     /* len 0: a name, to be resolved at each dial */
    struct tls_context *server; /* NULL when accept is plaintext */
    struct tls_context *client; /* NULL when forward is plaintext */
    const char *sni;            /* towards an mtls forward; NULL: none */
    struct socket_options downstream_options;
    struct socket_options upstream_options;
};

struct snapshot {
    uint64_t generation;
    struct config *config;
    struct policy *policy;
    struct credentials *credentials;
    struct snapshot_listener *listeners; /* config->listener_count of them, in the same order */
    _Atomic unsigned references;
};

/*
 * Takes config (which must be valid) and policy over, takes a reference of credentials. NULL with
 * diags when a TLS context or an address can't be made; config and policy are freed then too.
 */
struct snapshot *snapshot_build(struct config *config, struct policy *policy,
                                struct credentials *credentials, const struct crypto *crypto,
                                uint64_t generation, struct diag_list *diags);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot); /* NULL is fine */

#endif
