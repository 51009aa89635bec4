/*
 * Making a snapshot from its parts. The TLS contexts hold settings only, so a rotation of
 * credentials needs no new ones.
 */
#include "proxy/snapshot.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "policy/policy.h"
#include "tls/tls_context.h"

static void listener_fini(struct snapshot_listener *listener)
{
    tls_context_unref(listener->server);
    tls_context_unref(listener->client);
}

static void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->config->listener_count; i++) {
        listener_fini(&snapshot->listeners[i]);
    }
    mem_free(snapshot->listeners);
    credentials_unref(snapshot->credentials);
    policy_free(snapshot->policy);
    config_free(snapshot->config);
    mem_free(snapshot);
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    if (atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) == 1) {
        snapshot_free(snapshot);
    }
}

/* False for a host name, which is resolved at each dial. */
static bool fixed_address(const struct config_address *address, struct netaddr *out)
{
    if (config_scheme_is_unix(address->scheme)) {
        return netaddr_from_path(out, address->path);
    }
    return netaddr_from_ip(out, address->host, address->port);
}

static struct tls_context *make_context(const struct config_listener *config, bool server,
                                        const struct crypto *crypto, struct diag_list *diags)
{
    const char **alpn = mem_alloc_array(config->alpn.count + 1, sizeof(*alpn));
    for (size_t i = 0; i < config->alpn.count; i++) {
        alpn[i] = config->alpn.items[i].text;
    }
    /* A bridge offers upstream what its downstream selected: no list of its own there. */
    bool own_list = server || config->kind == CONFIG_KIND_ORIGINATE;
    struct tls_settings settings = {
        .server = server,
        .alpn = alpn,
        .alpn_count = own_list ? config->alpn.count : 0,
        .alpn_required = server && config->alpn_required,
        .name = config->name.text,
    };
    struct errbuf err;
    struct tls_context *context = tls_context_new(crypto, &settings, &err);
    if (context == NULL) {
        diag_error(diags, config->pos, "listener \"%s\": %s", config->name.text, err.text);
    }
    mem_free(alpn);
    return context;
}

/* SNI is the host of `forward`; an address literal or a path sends none unless `sni` says so. */
static const char *choose_sni(const struct config_listener *config)
{
    if (config->sni.text != NULL) {
        return config->sni.text;
    }
    if (config_scheme_is_unix(config->forward.scheme) || config->forward.host_is_ip) {
        return NULL;
    }
    return config->forward.host;
}

static void listener_build(struct snapshot_listener *listener, const struct config *config,
                           const struct config_listener *own, const struct crypto *crypto,
                           struct diag_list *diags)
{
    listener->config = own;
    listener->downstream_options = (struct socket_options){
        .keepalive_ms = config->keepalive.time_ms,
        .tcp_congestion = own->tcp_congestion.text,
    };
    listener->upstream_options = listener->downstream_options;
    if (own->tcp_congestion.text != NULL && !socket_congestion_usable(own->tcp_congestion.text)) {
        diag_warning(diags, own->tcp_congestion.pos,
                     "\"%s\": this kernel does not let us set it; the system's default is used "
                     "(see /proc/sys/net/ipv4/tcp_allowed_congestion_control)",
                     own->tcp_congestion.text);
    }
    if (!fixed_address(&own->accept, &listener->accept)) {
        diag_error(diags, own->accept.text.pos, "\"%s\": no address to listen on, or too long",
                   own->accept.text.text);
    }
    if (!fixed_address(&own->forward, &listener->forward) &&
        (own->forward.host_is_ip || config_scheme_is_unix(own->forward.scheme))) {
        diag_error(diags, own->forward.text.pos, "\"%s\": no address to dial, or too long",
                   own->forward.text.text);
    }
    if (config_scheme_is_mtls(own->accept.scheme)) {
        listener->server = make_context(own, true, crypto, diags);
    }
    if (config_scheme_is_mtls(own->forward.scheme)) {
        listener->client = make_context(own, false, crypto, diags);
        listener->sni = choose_sni(own);
    }
}

struct snapshot *snapshot_build(struct config *config, struct policy *policy,
                                struct credentials *credentials, const struct crypto *crypto,
                                uint64_t generation, struct diag_list *diags)
{
    ASSERT(config->valid);
    size_t errors_before = diags->error_count;
    struct snapshot *snapshot = mem_alloc(sizeof(*snapshot));
    atomic_init(&snapshot->references, 1);
    snapshot->generation = generation;
    snapshot->config = config;
    snapshot->policy = policy;
    snapshot->credentials = credentials_ref(credentials);
    snapshot->listeners = mem_alloc_array(config->listener_count, sizeof(*snapshot->listeners));
    for (size_t i = 0; i < config->listener_count; i++) {
        listener_build(&snapshot->listeners[i], config, &config->listeners[i], crypto, diags);
    }
    if (diags->error_count != errors_before) {
        snapshot_free(snapshot);
        return NULL;
    }
    return snapshot;
}
