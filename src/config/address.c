/*
 * A scheme by table, then either HOST:PORT or an absolute path. Nothing is normalised: what looks
 * like an address but isn't one exactly is refused, because "127.1" or "0x7f000001" would mean
 * different things to different resolvers.
 */
#include "config/address.h"

#include <string.h>

#include "base/memory.h"
#include "config/scalar.h"

enum { MAX_DNS_NAME = 253, MAX_DNS_LABEL = 63, MAX_ACTIVATION_NAME = 255 };
#define ACTIVATION_PREFIX "systemd:"

static const struct {
    const char *prefix;
    enum config_scheme scheme;
} schemes[] = {
    {"tcp://", CONFIG_SCHEME_TCP},
    {"mtls://", CONFIG_SCHEME_MTLS},
    {"unix://", CONFIG_SCHEME_UNIX},
    {"mtls+unix://", CONFIG_SCHEME_MTLS_UNIX},
};

static const struct {
    const char *prefix;
    const char *hint;
} reserved[] = {
    {"tls://", "bulkhead asks for a certificate of both sides: write \"mtls://\""},
    {"transparent://", "write the address to listen on or connect to"},
    {"socks5://", "write the address to listen on or connect to"},
};

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum config_scheme find_scheme(const char *text, const char **rest, struct errbuf *err)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (has_prefix(text, schemes[i].prefix)) {
            *rest = text + strlen(schemes[i].prefix);
            return schemes[i].scheme;
        }
    }
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (has_prefix(text, reserved[i].prefix)) {
            errbuf_set(err, "\"%s\" is reserved and not served; %s", reserved[i].prefix,
                       reserved[i].hint);
            return CONFIG_SCHEME_NONE;
        }
    }
    errbuf_set(err, "must start with tcp://, mtls://, unix:// or mtls+unix://");
    return CONFIG_SCHEME_NONE;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static bool check_label(const char *label, size_t len, const char **why)
{
    if (len == 0) {
        *why = "must not have two dots in a row, or one at an end";
        return false;
    }
    if (len > MAX_DNS_LABEL) {
        *why = "must have at most 63 characters between two dots";
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_name_char(label[i])) {
            *why = "must be a DNS name: letters, digits, \"-\", \"_\" and \".\" only";
            return false;
        }
    }
    if (label[0] == '-' || label[len - 1] == '-') {
        *why = "must not have \"-\" beside a dot or at an end";
        return false;
    }
    return true;
}

/* RFC 3696 2: no top-level domain is all digits. What is a number in any notation would be an IPv4
   address for some resolvers and a name for others. */
static bool is_number(const char *label)
{
    if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X')) {
        return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
    }
    return label[strspn(label, "0123456789")] == '\0';
}

/* RFC 1035 2.3.4: labels of 63, names of 255 octets on the wire, which are 253 characters as text.
   It also fits a server name of TLS, which libssl takes up to 255 bytes. */
bool address_check_dns_name(const char *name, const char **why)
{
    if (strlen(name) > MAX_DNS_NAME) {
        *why = "must be at most 253 characters long";
        return false;
    }
    const char *label = name;
    for (;;) {
        size_t len = strcspn(label, ".");
        if (!check_label(label, len, why)) {
            return false;
        }
        if (label[len] == '\0') {
            break;
        }
        label += len + 1;
    }
    if (is_number(label)) {
        *why = "must be a DNS name, which never ends in a number";
        return false;
    }
    return true;
}

static bool check_accept_host(const char *host, struct errbuf *err)
{
    if (strcmp(host, "*") == 0) {
        errbuf_set(err, "write 0.0.0.0 or [::] to accept on all addresses");
    } else if (strcmp(host, "localhost") == 0) {
        errbuf_set(err, "\"localhost\" is a name; write 127.0.0.1 or [::1]");
    } else {
        errbuf_set(err, "\"%s\" is no IP address; `accept` takes one, or 0.0.0.0 or [::] for all",
                   host);
    }
    return false;
}

static bool check_host(const char *host, bool bracketed, enum address_role role, bool *is_ip,
                       struct errbuf *err)
{
    struct netaddr addr;
    *is_ip = netaddr_from_ip(&addr, host, 0);
    if (bracketed) {
        if (!*is_ip || addr.u.sa.sa_family != AF_INET6) {
            errbuf_set(err, "\"[%s]\" is no IPv6 address", host);
            return false;
        }
        return true;
    }
    if (*is_ip) {
        return true;
    }
    if (host[0] == '\0') {
        errbuf_set(err, role == ADDRESS_ACCEPT
                            ? "the host is missing; write 0.0.0.0 or [::] for all addresses"
                            : "the host is missing");
        return false;
    }
    if (role == ADDRESS_ACCEPT) {
        return check_accept_host(host, err);
    }
    const char *why = NULL;
    if (!address_check_dns_name(host, &why)) {
        errbuf_set(err, "host \"%s\" %s", host, why);
        return false;
    }
    return true;
}

/* 0.0.0.0 and :: are places to listen on; connecting there reaches the machine itself by a quirk
   of the kernel, past every check of loopback. */
static bool check_destination(const char *host, struct errbuf *err)
{
    struct netaddr addr;
    if (!netaddr_from_ip(&addr, host, 0)) {
        return true;
    }
    bool any = netaddr_is_any(&addr);
    if (any) {
        errbuf_set(err, "\"%s\" is no address to connect to; write 127.0.0.1 or [::1]", host);
    }
    return !any;
}

static bool parse_port(const char *text, enum address_role role, uint16_t *port, struct errbuf *err)
{
    uint64_t value = 0;
    const char *why = NULL;
    uint64_t lowest = role == ADDRESS_ACCEPT ? 0 : 1;
    if (!scalar_parse_count(text, &value, &why) || value < lowest || value > UINT16_MAX) {
        errbuf_set(err, "port \"%s\" must be a decimal number from %u to 65535", text,
                   (unsigned)lowest);
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

/* Splits "HOST:PORT" or "[HOST]:PORT"; *port_text points into rest. */
static char *split_host(const char *rest, const char **port_text, bool *bracketed,
                        struct errbuf *err)
{
    *bracketed = rest[0] == '[';
    const char *start = *bracketed ? rest + 1 : rest;
    size_t len = strcspn(start, *bracketed ? "]" : ":");
    const char *after = start + len;
    if (*bracketed) {
        if (*after != ']') {
            errbuf_set(err, "\"]\" is missing after the IPv6 address");
            return NULL;
        }
        after++;
    }
    if (*after != ':') {
        errbuf_set(err, "a port is missing: HOST:PORT");
        return NULL;
    }
    *port_text = after + 1;
    if (!*bracketed && strchr(*port_text, ':') != NULL) {
        errbuf_set(err, "write an IPv6 address in brackets: [::1]:8443");
        return NULL;
    }
    return mem_strndup(start, len);
}

static bool parse_host_port(const char *rest, enum address_role role, struct config_address *out,
                            struct errbuf *err)
{
    const char *port_text = NULL;
    bool bracketed = false;
    char *host = split_host(rest, &port_text, &bracketed, err);
    if (host == NULL) {
        return false;
    }
    bool is_ip = false;
    uint16_t port = 0;
    if (!check_host(host, bracketed, role, &is_ip, err) ||
        (role == ADDRESS_FORWARD && !check_destination(host, err)) ||
        !parse_port(port_text, role, &port, err)) {
        mem_free(host);
        return false;
    }
    out->host = host;
    out->host_is_ip = is_ip;
    out->port = port;
    return true;
}

static bool parse_path(const char *rest, struct config_address *out, struct errbuf *err)
{
    struct netaddr addr;
    if (rest[0] != '/') {
        errbuf_set(err, "the path of a Unix socket must be absolute: unix:///run/app.sock");
        return false;
    }
    if (rest[strlen(rest) - 1] == '/') {
        errbuf_set(err, "the path of a Unix socket must name a file, not a directory");
        return false;
    }
    if (!netaddr_from_path(&addr, rest)) {
        errbuf_set(err, "the path of a Unix socket is at most 107 bytes long");
        return false;
    }
    out->path = mem_strdup(rest);
    return true;
}

/* What systemd.socket(5) lets FileDescriptorName= be, without what needs quotes anywhere. */
static bool parse_activation(const char *name, struct config_address *out, struct errbuf *err)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if (!is_name_char(name[i]) && name[i] != '.' && name[i] != '@') {
            len = 0;
        }
    }
    if (len == 0 || len > MAX_ACTIVATION_NAME) {
        errbuf_set(err, "the name of a socket that systemd passes is 1 to 255 letters, digits, "
                        "\".\", \"_\", \"-\" and \"@\"");
        return false;
    }
    out->activation = mem_strdup(name);
    return true;
}

bool address_parse(const char *text, enum address_role role, struct config_address *out,
                   struct errbuf *err)
{
    const char *rest = NULL;
    enum config_scheme scheme = find_scheme(text, &rest, err);
    if (scheme == CONFIG_SCHEME_NONE) {
        return false;
    }
    bool good = false;
    if (role == ADDRESS_ACCEPT && has_prefix(rest, ACTIVATION_PREFIX)) {
        good = parse_activation(rest + strlen(ACTIVATION_PREFIX), out, err);
    } else {
        good = config_scheme_is_unix(scheme) ? parse_path(rest, out, err)
                                             : parse_host_port(rest, role, out, err);
    }
    if (good) {
        out->scheme = scheme;
    }
    return good;
}

void address_release(struct config_address *address)
{
    mem_free(address->host);
    mem_free(address->path);
    mem_free(address->activation);
    address->host = NULL;
    address->path = NULL;
    address->activation = NULL;
    address->scheme = CONFIG_SCHEME_NONE;
}

bool address_to_netaddr(const struct config_address *address, struct netaddr *out)
{
    if (address->path != NULL) {
        return netaddr_from_path(out, address->path);
    }
    return address->host_is_ip && netaddr_from_ip(out, address->host, address->port);
}
