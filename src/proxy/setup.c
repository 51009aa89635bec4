/*
 * Making listeners out of their configuration. TLS contexts hold settings only, so that a listener
 * whose settings did not change keeps the context of the former setup, and a rotation of
 * credentials needs no setup at all.
 */
#include "proxy/setup.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytebuf.h"
#include "base/memory.h"
#include "policy/policy.h"
#include "tls/tls_context.h"

static void setup_free(struct setup *setup)
{
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        tls_context_unref(setup->listeners[i].server);
        tls_context_unref(setup->listeners[i].client);
    }
    mem_free(setup->listeners);
    policy_free(setup->policy);
    config_free(setup->config);
    mem_free(setup);
}

struct setup *setup_ref(struct setup *setup)
{
    atomic_fetch_add_explicit(&setup->references, 1, memory_order_relaxed);
    return setup;
}

void setup_unref(struct setup *setup)
{
    if (setup == NULL) {
        return;
    }
    if (atomic_fetch_sub_explicit(&setup->references, 1, memory_order_acq_rel) == 1) {
        setup_free(setup);
    }
}

const struct setup_listener *setup_find_slot(const struct setup *setup, size_t slot)
{
    ASSERT(slot < SETUP_SLOTS);
    size_t index = setup->index_by_slot[slot];
    return index == 0 ? NULL : &setup->listeners[index - 1];
}

const struct setup_listener *setup_find_name(const struct setup *setup, const char *name)
{
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        if (strcmp(setup->config->listeners[i].name.text, name) == 0) {
            return &setup->listeners[i];
        }
    }
    return NULL;
}

bool setup_same_path(const struct setup_listener *a, const struct setup_listener *b)
{
    return a->config->kind == b->config->kind &&
           a->config->forward.scheme == b->config->forward.scheme &&
           strcmp(a->config->forward.text.text, b->config->forward.text.text) == 0;
}

bool setup_crl_expiry_cuts(const struct setup *setup, struct strview trust_domain)
{
    for (size_t i = 0; i < setup->config->trust_count; i++) {
        const struct config_trust *trust = &setup->config->trust[i];
        if (strview_equal(strview_from(trust->domain.text), trust_domain)) {
            return trust->crl_expired == CONFIG_CRL_EXPIRED_CUT;
        }
    }
    return false;
}

/* False for a host name, which is resolved at each dial. */
static bool fixed_address(const struct config_address *address, struct netaddr *out)
{
    if (config_scheme_is_unix(address->scheme)) {
        return netaddr_from_path(out, address->path);
    }
    return netaddr_from_ip(out, address->host, address->port);
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

static bool append_line(struct bytebuf *out, const char *text)
{
    return bytebuf_append(out, "\n", 1) && bytebuf_append(out, text, strlen(text));
}

/*
 * What a TLS session is bound to, besides the credentials: on the listener's side its name, on the
 * upstream's side also whom it leads to and whom it expects there.
 */
static char *session_scope(const struct config_listener *config, bool server)
{
    struct bytebuf scope = {0};
    bool whole = bytebuf_append(&scope, config->name.text, strlen(config->name.text));
    if (!server) {
        const char *sni = choose_sni(config);
        whole = whole && append_line(&scope, config->forward.text.text) &&
                append_line(&scope, sni == NULL ? "" : sni);
        for (size_t i = 0; i < config->expect.count; i++) {
            whole = whole && append_line(&scope, config->expect.items[i].text);
        }
    }
    char *text = mem_strndup((const char *)bytebuf_data(&scope), bytebuf_len(&scope));
    ASSERT(whole); /* like mem_alloc: memory is out while the configuration is loaded */
    bytebuf_clear(&scope);
    return text;
}

static struct tls_context *make_context(const struct config_listener *config, bool server,
                                        const struct setup_parts *parts, struct diag_list *diags)
{
    const char **alpn = mem_alloc_array(config->alpn.count + 1, sizeof(*alpn));
    for (size_t i = 0; i < config->alpn.count; i++) {
        alpn[i] = config->alpn.items[i].text;
    }
    /* A bridge offers upstream what its downstream selected: no list of its own there. */
    char *scope = session_scope(config, server);
    bool own_list = server || config->kind == CONFIG_KIND_ORIGINATE;
    struct tls_settings settings = {
        .server = server,
        .alpn = alpn,
        .alpn_count = own_list ? config->alpn.count : 0,
        .alpn_required = server && config->alpn_required,
        .name = scope,
        .sessions = config->resumption == CONFIG_RESUMPTION_MEMORY ? parts->sessions : NULL,
    };
    struct errbuf err;
    struct tls_context *context = tls_context_new(parts->crypto, &settings, &err);
    if (context == NULL) {
        diag_error(diags, config->pos, "listener \"%s\": %s", config->name.text, err.text);
    }
    mem_free(scope);
    mem_free(alpn);
    return context;
}

/* Do the two listeners need the same TLS settings? */
static bool same_tls(const struct config_listener *a, const struct config_listener *b)
{
    if (a->kind != b->kind || a->alpn_required != b->alpn_required ||
        a->alpn.count != b->alpn.count || a->resumption != b->resumption) {
        return false;
    }
    for (int server = 0; server <= 1; server++) {
        char *one = session_scope(a, server != 0);
        char *other = session_scope(b, server != 0);
        bool same = strcmp(one, other) == 0;
        mem_free(one);
        mem_free(other);
        if (!same) {
            return false;
        }
    }
    for (size_t i = 0; i < a->alpn.count; i++) {
        if (strcmp(a->alpn.items[i].text, b->alpn.items[i].text) != 0) {
            return false;
        }
    }
    return true;
}

static struct tls_context *keep_context(struct tls_context *context)
{
    return context == NULL ? NULL : tls_context_ref(context);
}

static void make_tls(struct setup_listener *listener, const struct setup_listener *former,
                     const struct setup_parts *parts, struct diag_list *diags)
{
    const struct config_listener *own = listener->config;
    if (config_scheme_is_mtls(own->forward.scheme)) {
        listener->sni = choose_sni(own);
    }
    if (former != NULL && same_tls(own, former->config)) {
        listener->server = keep_context(former->server);
        listener->client = keep_context(former->client);
        return;
    }
    if (config_scheme_is_mtls(own->accept.scheme)) {
        listener->server = make_context(own, true, parts, diags);
    }
    if (config_scheme_is_mtls(own->forward.scheme)) {
        listener->client = make_context(own, false, parts, diags);
    }
}

static void set_addresses(struct setup_listener *listener, struct diag_list *diags)
{
    const struct config_listener *own = listener->config;
    if (own->accept.activation != NULL) {
        /* The family alone: where it is bound shows when it is taken. */
        listener->accept.len = sizeof(listener->accept.u.sa.sa_family);
        listener->accept.u.sa.sa_family =
            config_scheme_is_unix(own->accept.scheme) ? AF_UNIX : AF_INET;
    } else if (!fixed_address(&own->accept, &listener->accept)) {
        diag_error(diags, own->accept.text.pos, "\"%s\": no address to listen on, or too long",
                   own->accept.text.text);
    }
    if (!fixed_address(&own->forward, &listener->forward) &&
        (own->forward.host_is_ip || config_scheme_is_unix(own->forward.scheme))) {
        diag_error(diags, own->forward.text.pos, "\"%s\": no address to dial, or too long",
                   own->forward.text.text);
    }
}

static void set_socket_options(struct setup_listener *listener, struct diag_list *diags)
{
    const struct config_string *congestion = &listener->config->tcp_congestion;
    listener->downstream_options = (struct socket_options){
        .keepalive_ms = listener->setup->config->keepalive.time_ms,
        .tcp_congestion = congestion->text,
    };
    listener->upstream_options = listener->downstream_options;
    if (congestion->text != NULL && !socket_congestion_usable(congestion->text)) {
        diag_warning(diags, congestion->pos,
                     "\"%s\": this kernel does not let us set it; the system's default is used "
                     "(see /proc/sys/net/ipv4/tcp_allowed_congestion_control)",
                     congestion->text);
    }
}

/* The first slot from `from` on that neither setup uses. */
static size_t free_slot(const struct setup *setup, const struct setup *former, size_t from)
{
    size_t slot = from;
    while (setup->index_by_slot[slot] != 0 ||
           (former != NULL && former->index_by_slot[slot] != 0)) {
        slot++;
        ASSERT(slot < SETUP_SLOTS);
    }
    return slot;
}

/* A name that was there keeps its slot; the others get what neither setup uses. */
static void assign_slots(struct setup *setup, const struct setup *former)
{
    size_t next = 0;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        struct setup_listener *listener = &setup->listeners[i];
        const struct setup_listener *same =
            former == NULL ? NULL : setup_find_name(former, listener->config->name.text);
        listener->slot = same != NULL ? same->slot : free_slot(setup, former, next);
        next = same != NULL ? next : listener->slot + 1;
        setup->index_by_slot[listener->slot] = (uint16_t)(i + 1);
    }
}

struct setup *setup_build(struct config *config, struct policy *policy, const struct setup *former,
                          const struct setup_parts *parts, struct diag_list *diags)
{
    ASSERT(config->listener_count <= CONFIG_MAX_LISTENERS);
    size_t errors_before = diags->error_count;
    struct setup *setup = mem_alloc(sizeof(*setup));
    atomic_init(&setup->references, 1);
    setup->config = config;
    setup->policy = policy;
    setup->listeners = mem_alloc_array(config->listener_count, sizeof(*setup->listeners));
    for (size_t i = 0; i < config->listener_count; i++) {
        struct setup_listener *listener = &setup->listeners[i];
        listener->setup = setup;
        listener->index = i;
        listener->config = &config->listeners[i];
        set_addresses(listener, diags);
        set_socket_options(listener, diags);
        make_tls(listener,
                 former == NULL ? NULL : setup_find_name(former, listener->config->name.text),
                 parts, diags);
    }
    assign_slots(setup, former);
    if (diags->error_count != errors_before) {
        setup_free(setup);
        return NULL;
    }
    return setup;
}
