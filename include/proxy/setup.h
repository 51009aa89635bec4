/*
 * setup: what one configuration file makes of the data path: the decoded configuration, the
 * compiled policy, and each listener with its addresses and TLS settings. Everything but
 * credentials, so that a rotation of those keeps it.
 *
 * Immutable and counted atomically; built and freed on control, read by all workers.
 *
 * A listener is known by its name. It has a slot, a small number that it keeps from one setup to
 * the next, so that workers and counters may hold an array by it. A slot is given to another name
 * only when neither the former nor the new setup uses it: by then the sessions of its last
 * listener are gone, because a setup follows its predecessor only when every worker has let go of
 * the one before.
 */
#ifndef BULKHEAD_PROXY_SETUP_H
#define BULKHEAD_PROXY_SETUP_H

#include "base/netaddr.h"
#include "base/strview.h"
#include "config/config.h"
#include "net/socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct policy;
struct setup;
struct tls_context;
struct tls_session_store;

/* Slots are below this: two setups in a row with not one name in common have room. */
enum { SETUP_SLOTS = 2 * CONFIG_MAX_LISTENERS };

/* A listener of the configuration with what was made of it. */
struct setup_listener {
    const struct setup *setup;
    const struct config_listener *config;
    size_t slot;
    size_t index; /* in config->listeners: what the policy knows it by */
    struct netaddr accept;
    struct netaddr forward;     /* len 0: a name, to be resolved at each dial */
    struct tls_context *server; /* NULL when accept is plaintext */
    struct tls_context *client; /* NULL when forward is plaintext */
    const char *sni;            /* towards an mtls forward; NULL: none */
    struct socket_options downstream_options;
    struct socket_options upstream_options;
};

struct setup {
    struct config *config;
    struct policy *policy;
    struct setup_listener *listeners;    /* config->listener_count of them, in the same order */
    uint16_t index_by_slot[SETUP_SLOTS]; /* 1 + index in listeners; 0: the slot is free */
    _Atomic unsigned references;
};

/* What setups are built with. */
struct setup_parts {
    const struct crypto *crypto;
    struct tls_session_store *sessions; /* NULL: no session is resumed */
};

/*
 * Takes config and policy over. former (NULL at the start) gives its slots and, where nothing of
 * them has changed, its TLS settings. NULL with diags when a TLS context or an address can't be
 * made; config and policy are freed then too.
 */
struct setup *setup_build(struct config *config, struct policy *policy, const struct setup *former,
                          const struct setup_parts *parts, struct diag_list *diags);
struct setup *setup_ref(struct setup *setup);
void setup_unref(struct setup *setup); /* NULL is fine */
/* The listener in that slot, or NULL. */
const struct setup_listener *setup_find_slot(const struct setup *setup, size_t slot);
/* The listener of that name, or NULL. */
const struct setup_listener *setup_find_name(const struct setup *setup, const char *name);
/* May sessions of one go on under the other? The kind and the target of `forward` are the same. */
bool setup_same_path(const struct setup_listener *a, const struct setup_listener *b);
/* trust.<domain>.crl_expired is `cut`. */
bool setup_crl_expiry_cuts(const struct setup *setup, struct strview trust_domain);

#endif
