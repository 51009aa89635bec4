/*
 * Who asks for probes has no SVID and sends no secret: the listener is plaintext, and what can be
 * reached there is for everybody's eyes.
 */
#include "validate_private.h"

#include <string.h>

#include "base/memory.h"
#include "base/netaddr.h"
#include "config/address.h"
#include "config/http_url.h"

static bool same_addr(const struct netaddr *a, const struct netaddr *b)
{
    return a->len == b->len && memcmp(&a->u, &b->u, a->len) == 0;
}

static bool same_place(const struct config_address *a, const struct config_address *b)
{
    struct netaddr one;
    struct netaddr other;
    bool any_port = a->path == NULL && a->port == 0;
    return !any_port && address_to_netaddr(a, &one) && address_to_netaddr(b, &other) &&
           same_addr(&one, &other);
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

static void check_listen(struct checker *c)
{
    const struct config_address *listen = &c->config->probes.listen;
    if (config_scheme_is_mtls(listen->scheme)) {
        diag_error(c->diags, listen->text.pos,
                   "probes.listen: \"%s\": probes are plaintext: write tcp://HOST:PORT or "
                   "unix:///PATH",
                   listen->text.text);
    } else if (listen->scheme != CONFIG_SCHEME_NONE) {
        check_place(c);
    }
}

/* --- the application's ----------------------------------------------------------------------- */

static bool is_path_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c) != NULL);
}

/* One spelling, which the request's parser leaves as it is: "/app/" and segments of plain letters,
   none of them empty, "." or "..". */
static bool is_app_path(const char *path)
{
    static const char prefix[] = "/app";
    if (strncmp(path, prefix, strlen(prefix)) != 0) {
        return false;
    }
    const char *at = path + strlen(prefix);
    if (*at != '/') {
        return false;
    }
    while (*at == '/') {
        const char *segment = ++at;
        while (*at != '\0' && is_path_char(*at)) {
            at++;
        }
        size_t len = (size_t)(at - segment);
        if (len == 0 || (len <= 2 && strncmp(segment, "..", len) == 0)) {
            return false;
        }
    }
    return *at == '\0';
}

/* A question to ourselves would wait for itself. */
static bool is_ours(const struct netaddr *addr, const struct config_address *listen)
{
    struct netaddr ours;
    if (!address_to_netaddr(listen, &ours) || addr->u.sa.sa_family != ours.u.sa.sa_family) {
        return false;
    }
    if (netaddr_is_any(&ours)) {
        return netaddr_port(addr) == netaddr_port(&ours);
    }
    return same_addr(addr, &ours);
}

static void check_target(struct checker *c, const struct netaddr *addr,
                         const struct config_string *text, const char *key, size_t i)
{
    if (!netaddr_is_loopback(addr)) {
        diag_error(c->diags, text->pos,
                   "probes.app[%zu].%s: \"%s\" is off the loopback: whoever may ask us must not "
                   "have us ask others; use 127.0.0.1, [::1] or a Unix socket",
                   i, key, text->text);
    } else if (is_ours(addr, &c->config->probes.listen) ||
               is_ours(addr, &c->config->admin.listen)) {
        diag_error(c->diags, text->pos,
                   "probes.app[%zu].%s: \"%s\" is bulkhead itself; name the application", i, key,
                   text->text);
    }
}

static void check_get(struct checker *c, const struct config_app_probe *probe, size_t i)
{
    struct http_url url;
    struct errbuf err;
    if (!http_url_parse(probe->get.text, &url, &err)) {
        diag_error(c->diags, probe->get.pos, "probes.app[%zu].get: \"%s\": %s", i, probe->get.text,
                   err.text);
        return;
    }
    check_target(c, &url.addr, &probe->get, "get", i);
}

/* Of `connect` and `grpc`. */
static void check_address(struct checker *c, const struct config_address *address, const char *key,
                          size_t i)
{
    struct netaddr addr;
    if (address->scheme == CONFIG_SCHEME_NONE) {
        return; /* reported */
    }
    if (config_scheme_is_mtls(address->scheme)) {
        diag_error(c->diags, address->text.pos,
                   "probes.app[%zu].%s: \"%s\": only tcp:// and unix:// can be asked", i, key,
                   address->text.text);
    } else if (!address_to_netaddr(address, &addr)) {
        diag_error(c->diags, address->text.pos,
                   "probes.app[%zu].%s: \"%s\": a name may lead anywhere; write 127.0.0.1 or "
                   "[::1]",
                   i, key, address->text.text);
    } else {
        check_target(c, &addr, &address->text, key, i);
    }
}

/* Any text would do for protobuf. Names of services in use have these signs and no others. */
static bool is_service(const char *name)
{
    size_t len = 0;
    while ((is_path_char(name[len]) && name[len] != '~') || name[len] == '/') {
        len++;
    }
    return name[len] == '\0' && len > 0 && len <= CONFIG_HEALTH_SERVICE_MAX;
}

static void check_service(struct checker *c, const struct config_app_probe *probe, size_t i)
{
    const struct config_string *service = &probe->service;
    if (!validate_is_present(service->pos)) {
        return;
    }
    if (!validate_is_present(probe->grpc.text.pos)) {
        diag_error(c->diags, service->pos, "probes.app[%zu].service: only with `grpc`", i);
    } else if (service->text != NULL && !is_service(service->text)) {
        diag_error(c->diags, service->pos,
                   "probes.app[%zu].service: \"%s\" must be 1 to %d letters, digits, \".\", "
                   "\"_\", \"-\" and \"/\"",
                   i, service->text, CONFIG_HEALTH_SERVICE_MAX);
    }
}

static void check_app(struct checker *c, const struct config_app_probe *probe, size_t i)
{
    if (probe->path.text != NULL && !is_app_path(probe->path.text)) {
        diag_error(c->diags, probe->path.pos,
                   "probes.app[%zu].path: \"%s\" must begin with /app/ and have no empty part, no "
                   "\".\" and \"..\", and no other signs than letters, digits, \"-\", \".\", "
                   "\"_\" and \"~\"",
                   i, probe->path.text);
    }
    check_service(c, probe, i);
    int questions = validate_is_present(probe->get.pos) +
                    validate_is_present(probe->connect.text.pos) +
                    validate_is_present(probe->grpc.text.pos);
    if (questions != 1) {
        diag_error(c->diags, probe->pos, "probes.app[%zu]: needs %s `get`, `connect` and `grpc`", i,
                   questions > 1 ? "one alone of" : "one of");
        return;
    }
    if (probe->get.text != NULL) {
        check_get(c, probe, i);
    }
    check_address(c, &probe->connect, "connect", i);
    check_address(c, &probe->grpc, "grpc", i);
}

static void check_app_paths(struct checker *c)
{
    size_t count = c->config->probes.app_count;
    struct validate_entry *entries = mem_alloc_array(count + 1, sizeof *entries);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct config_string *path = &c->config->probes.app[i].path;
        if (path->text != NULL) {
            entries[used++] = (struct validate_entry){path->text, path->pos, i, i};
        }
    }
    validate_unique(c, entries, used, "probes.app", "path", "the path");
    mem_free(entries);
}

/* They must be there whatever the service manager does. */
static void check_not_passed(struct checker *c, const struct config_address *listen,
                             const char *key)
{
    if (listen->activation != NULL) {
        diag_error(c->diags, listen->text.pos,
                   "%s: \"%s\": only `accept` of a listener takes a socket that systemd passes",
                   key, listen->text.text);
    }
}

void validate_probes(struct checker *c)
{
    check_not_passed(c, &c->config->probes.listen, "probes.listen");
    check_not_passed(c, &c->config->admin.listen, "admin.listen");
    check_listen(c);
    for (size_t i = 0; i < c->config->probes.app_count; i++) {
        check_app(c, &c->config->probes.app[i], i);
    }
    check_app_paths(c);
}
