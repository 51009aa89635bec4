/*
 * Who asks for probes has no SVID and sends no secret: the listener is plaintext, and what can be
 * reached there is for everybody's eyes.
 */
#include "validate_private.h"

#include <string.h>

#include "base/netaddr.h"
#include "config/address.h"

static bool same_place(const struct config_address *a, const struct config_address *b)
{
    struct netaddr one;
    struct netaddr other;
    bool any_port = a->path == NULL && a->port == 0;
    return !any_port && address_to_netaddr(a, &one) && address_to_netaddr(b, &other) &&
           one.len == other.len && memcmp(&one.u, &other.u, one.len) == 0;
}

/* The kernel would say so too, but not where. */
static void check_place(struct checker *c)
{
    const struct config_address *listen = &c->config->probes.listen;
    for (size_t i = 0; i < c->config->listener_count; i++) {
        if (same_place(listen, &c->config->listeners[i].accept)) {
            diag_error(c->diags, listen->text.pos,
                       "probes.listen: listeners[%zu].accept is the same address; probes need one "
                       "of their own",
                       i);
        }
    }
    if (same_place(listen, &c->config->admin.listen)) {
        diag_error(c->diags, listen->text.pos,
                   "probes.listen: admin.listen is the same address; probes need one of their own");
    }
}

void validate_probes(struct checker *c)
{
    const struct config_address *listen = &c->config->probes.listen;
    if (listen->scheme == CONFIG_SCHEME_NONE) {
        return;
    }
    if (config_scheme_is_mtls(listen->scheme)) {
        diag_error(c->diags, listen->text.pos,
                   "probes.listen: \"%s\": probes are plaintext: write tcp://HOST:PORT or "
                   "unix:///PATH",
                   listen->text.text);
        return;
    }
    check_place(c);
}
