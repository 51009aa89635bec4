/*
 * First each listener and rule by itself, then names and addresses that must differ, then who is
 * named by whom. An item that could not be decoded is left out of what needs it.
 */
#include "config/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/netaddr.h"
#include "config/address.h"
#include "validate_private.h"

enum { MAX_ALPN_LEN = 255 };

bool validate_is_present(struct config_pos pos)
{
    return pos.line != 0;
}

bool validate_is_empty(const struct config_strings *strings)
{
    return validate_is_present(strings->pos) && strings->count == 0 && !strings->broken;
}

/* --- one listener ------------------------------------------------------------------------- */

bool validate_has_addresses(const struct config_listener *listener)
{
    return listener->accept.scheme != CONFIG_SCHEME_NONE &&
           listener->forward.scheme != CONFIG_SCHEME_NONE;
}

static bool accepts_mtls(const struct config_listener *listener)
{
    return config_scheme_is_mtls(listener->accept.scheme);
}

static bool forwards_mtls(const struct config_listener *listener)
{
    return config_scheme_is_mtls(listener->forward.scheme);
}

static void check_pair(struct checker *c, const struct config_listener *listener, size_t i)
{
    if (validate_has_addresses(listener) && !accepts_mtls(listener) && !forwards_mtls(listener)) {
        diag_error(c->diags, listener->forward.text.pos,
                   "listeners[%zu].forward: from plaintext to plaintext there is nothing to "
                   "enforce; make one of the two sides mtls",
                   i);
    }
}

static void check_expect(struct checker *c, const struct config_listener *listener, size_t i)
{
    const struct config_strings *expect = &listener->expect;
    if (listener->forward.scheme == CONFIG_SCHEME_NONE) {
        return;
    }
    if (!forwards_mtls(listener)) {
        if (validate_is_present(expect->pos)) {
            diag_error(c->diags, expect->pos,
                       "listeners[%zu].expect: names a server's identity, but `forward` is not "
                       "mtls; callers are named in `rules`",
                       i);
        }
        return;
    }
    if (!validate_is_present(expect->pos)) {
        diag_error(c->diags, listener->forward.text.pos,
                   "listeners[%zu]: `expect` is missing: which SPIFFE ID must the server have?", i);
    } else if (validate_is_empty(expect)) {
        diag_error(c->diags, expect->pos, "listeners[%zu].expect: must name at least one SPIFFE ID",
                   i);
    }
}

static void check_alpn_required(struct checker *c, const struct config_listener *listener, size_t i)
{
    struct config_pos pos = listener->alpn_required_pos;
    if (!listener->alpn_required) {
        return;
    }
    if (!validate_is_present(listener->alpn.pos) || validate_is_empty(&listener->alpn)) {
        diag_error(c->diags, pos,
                   "listeners[%zu].alpn_required: needs `alpn`, the protocols to choose from", i);
    }
    if (listener->accept.scheme != CONFIG_SCHEME_NONE && !accepts_mtls(listener)) {
        diag_error(c->diags, pos,
                   "listeners[%zu].alpn_required: is about callers, and `accept` is not mtls; the "
                   "server must always choose the protocol in `alpn`",
                   i);
    }
}

static void check_alpn(struct checker *c, const struct config_listener *listener, size_t i)
{
    for (size_t k = 0; k < listener->alpn.count; k++) {
        const struct config_string *item = &listener->alpn.items[k];
        /* RFC 7301 3.1: "opaque ProtocolName<1..2^8-1>". */
        if (strlen(item->text) > MAX_ALPN_LEN) {
            diag_error(c->diags, item->pos,
                       "listeners[%zu].alpn[%zu]: a protocol name is 1 to 255 bytes long", i, k);
        }
    }
    if (listener->accept.scheme != CONFIG_SCHEME_NONE && !accepts_mtls(listener) &&
        listener->alpn.count > 1) {
        diag_error(c->diags, listener->alpn.pos,
                   "listeners[%zu].alpn: must have one entry, because the plaintext caller can't "
                   "be told which one the server chose",
                   i);
    }
}

static void check_sni(struct checker *c, const struct config_listener *listener, size_t i)
{
    if (validate_is_present(listener->sni.pos) && listener->forward.scheme != CONFIG_SCHEME_NONE &&
        !forwards_mtls(listener)) {
        diag_error(c->diags, listener->sni.pos,
                   "listeners[%zu].sni: needs an mtls `forward`; plaintext has no server name", i);
    }
}

static void check_socket(struct checker *c, const struct config_listener *listener, size_t i)
{
    if (validate_is_present(listener->socket.pos) &&
        listener->accept.scheme != CONFIG_SCHEME_NONE &&
        !config_scheme_is_unix(listener->accept.scheme)) {
        diag_error(c->diags, listener->socket.pos,
                   "listeners[%zu].socket: needs a Unix socket in `accept`", i);
    } else if (validate_is_present(listener->socket.pos) && listener->accept.activation != NULL) {
        diag_error(
            c->diags, listener->socket.pos,
            "listeners[%zu].socket: the socket is systemd's: its .socket unit has SocketMode=, "
            "SocketUser= and SocketGroup=",
            i);
    }
}

static void check_plaintext(struct checker *c, const struct config_listener *listener,
                            const struct config_address *address, const char *key, size_t i)
{
    struct netaddr addr;
    /* A host name is looked at when it is dialled: only then is it known where it leads. */
    if (address->scheme != CONFIG_SCHEME_TCP || listener->unsafe_plaintext ||
        !address_to_netaddr(address, &addr) || netaddr_is_loopback(&addr)) {
        return;
    }
    diag_error(c->diags, address->text.pos,
               "listeners[%zu].%s: \"%s\" is plaintext off the loopback; use 127.0.0.1, [::1] or a "
               "Unix socket, or allow it with unsafe_plaintext: true",
               i, key, address->text.text);
}

static void check_expiry(struct checker *c, const struct config_listener *listener, size_t i)
{
    if (validate_is_present(listener->close_on_expiry_pos) && !listener->close_on_expiry &&
        listener->max_age_ms == 0) {
        diag_error(c->diags, listener->close_on_expiry_pos,
                   "listeners[%zu].close_on_expiry: `false` needs `max_age`, so that every session "
                   "ends some day",
                   i);
    }
}

/* What audit softens is a decision by rules, and plaintext has no caller to decide about. */
static void check_enforcement(struct checker *c, const struct config_listener *listener, size_t i)
{
    if (validate_is_present(listener->enforcement_pos) &&
        listener->accept.scheme != CONFIG_SCHEME_NONE && !accepts_mtls(listener)) {
        diag_error(c->diags, listener->enforcement_pos,
                   "listeners[%zu].enforcement: nothing to soften: `accept` is plaintext, so no "
                   "rule decides here, and a server outside `expect` is always refused; take the "
                   "key out",
                   i);
    }
}

/* A header is a statement about a caller who was verified. */
static void check_proxy_protocol(struct checker *c, const struct config_listener *listener,
                                 size_t i)
{
    bool wanted = listener->proxy_protocol != CONFIG_PROXY_PROTOCOL_NONE;
    if (wanted && listener->accept.scheme != CONFIG_SCHEME_NONE && !accepts_mtls(listener)) {
        diag_error(
            c->diags, listener->proxy_protocol_pos,
            "listeners[%zu].proxy_protocol: there is no verified caller to tell of: `accept` "
            "is plaintext; take the key out, or set it where the server's own bulkhead "
            "terminates",
            i);
    }
    if (!wanted && listener->proxy_protocol_certificate) {
        diag_error(c->diags, listener->proxy_protocol_certificate_pos,
                   "listeners[%zu].proxy_protocol_certificate: needs `proxy_protocol: v2`, the "
                   "header that it would be in",
                   i);
    }
}

static void check_listener(struct checker *c, size_t i)
{
    const struct config_listener *listener = &c->config->listeners[i];
    if (listener->name.text != NULL && strcmp(listener->name.text, "all") == 0) {
        diag_error(c->diags, listener->name.pos,
                   "listeners[%zu].name: \"all\" is reserved: in `to` it means every listener", i);
    }
    check_pair(c, listener, i);
    check_expect(c, listener, i);
    check_alpn(c, listener, i);
    check_alpn_required(c, listener, i);
    check_sni(c, listener, i);
    check_socket(c, listener, i);
    check_expiry(c, listener, i);
    check_enforcement(c, listener, i);
    check_proxy_protocol(c, listener, i);
    check_plaintext(c, listener, &listener->accept, "accept", i);
    check_plaintext(c, listener, &listener->forward, "forward", i);
}

/* --- trust domains ------------------------------------------------------------------------- */

static void check_crl_key(struct checker *c, const struct config_trust *trust,
                          struct config_pos pos, const char *key)
{
    bool has_files = config_has_identity_files(c->config);
    if (validate_is_present(pos) && !validate_is_present(trust->crl.pos) && has_files) {
        diag_error(c->diags, pos, "trust.%s.%s: needs `crl`, the file of the lists",
                   trust->domain.text, key);
    }
}

static void check_trust(struct checker *c, const struct config_trust *trust)
{
    check_crl_key(c, trust, trust->crl_check_pos, "crl_check");
    check_crl_key(c, trust, trust->crl_expired_pos, "crl_expired");
}

/* --- what must be unique ------------------------------------------------------------------- */

static int compare_entries(const void *left, const void *right)
{
    const struct validate_entry *a = left;
    const struct validate_entry *b = right;
    int order = strcmp(a->text, b->text);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

/* Sorted, so that a file of very many rules costs no square of them. */
void validate_unique(struct checker *c, struct validate_entry *entries, size_t count,
                     const char *list, const char *key, const char *what)
{
    if (count < 2) {
        return;
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    const struct validate_entry *first = &entries[0];
    for (size_t i = 1; i < count; i++) {
        const struct validate_entry *entry = &entries[i];
        if (strcmp(first->text, entry->text) != 0) {
            first = entry;
        } else if (first->pos.file == entry->pos.file) {
            diag_error(c->diags, entry->pos, "%s[%zu].%s: %s \"%s\" stands on line %u already",
                       list, entry->index, key, what, entry->text, first->pos.line);
        } else {
            diag_error(c->diags, entry->pos, "%s[%zu].%s: %s \"%s\" stands in %s:%u already", list,
                       entry->index, key, what, entry->text, c->diags->files[first->pos.file],
                       first->pos.line);
        }
    }
}

static void check_listener_names(struct checker *c)
{
    const struct config *config = c->config;
    struct validate_entry *entries = mem_alloc_array(config->listener_count + 1, sizeof *entries);
    size_t count = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_string *name = &config->listeners[i].name;
        if (name->text != NULL) {
            entries[count++] = (struct validate_entry){name->text, name->pos, i, i};
        }
    }
    validate_unique(c, entries, count, "listeners", "name", "the name");
    mem_free(entries);
}

/* With SO_REUSEPORT the kernel would share one address out among listeners of different rules. */
static void check_accept_addresses(struct checker *c)
{
    const struct config *config = c->config;
    struct validate_entry *entries = mem_alloc_array(config->listener_count + 1, sizeof *entries);
    char(*texts)[NETADDR_TEXT_SIZE] = mem_alloc_array(config->listener_count + 1, sizeof *texts);
    size_t count = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_address *accept = &config->listeners[i].accept;
        struct netaddr addr;
        if (accept->activation != NULL) {
            /* No address looks like a name. */
            entries[count++] = (struct validate_entry){accept->activation, accept->text.pos, i, i};
            continue;
        }
        if (accept->scheme == CONFIG_SCHEME_NONE || !address_to_netaddr(accept, &addr)) {
            continue;
        }
        if (accept->path == NULL && accept->port == 0) {
            continue;
        }
        const char *text = netaddr_is_unix(&addr) ? accept->path : netaddr_format(&addr, texts[i]);
        entries[count++] = (struct validate_entry){text, accept->text.pos, i, i};
    }
    validate_unique(c, entries, count, "listeners", "accept", "the address");
    mem_free(texts);
    mem_free(entries);
}

void validate_config(const struct config *config, uint32_t file, struct diag_list *diags)
{
    struct checker c = {.config = config, .file = file, .diags = diags};
    for (size_t i = 0; i < config->listener_count; i++) {
        check_listener(&c, i);
    }
    for (size_t i = 0; i < config->trust_count; i++) {
        check_trust(&c, &config->trust[i]);
    }
    validate_identity(&c);
    check_listener_names(&c);
    check_accept_addresses(&c);
    validate_probes(&c);
    struct validate_targets targets;
    validate_targets_init(&targets, config);
    validate_rules(&c, &targets);
    validate_groups(&c);
    validate_tests(&c, &targets);
    validate_targets_fini(&targets);
}
