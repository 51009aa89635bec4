/*
 * netaddr: conversions between text and struct sockaddr; no names are resolved here.
 */
#include "base/netaddr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const size_t path_offset = offsetof(struct sockaddr_un, sun_path);

static bool is_family(const struct netaddr *addr, int family)
{
    return addr->len >= sizeof(addr->u.sa.sa_family) && addr->u.sa.sa_family == family;
}

static bool is_ipv4(const struct netaddr *addr)
{
    return is_family(addr, AF_INET) && addr->len >= sizeof(addr->u.in);
}

static bool is_ipv6(const struct netaddr *addr)
{
    return is_family(addr, AF_INET6) && addr->len >= sizeof(addr->u.in6);
}

bool netaddr_is_unix(const struct netaddr *addr)
{
    return is_family(addr, AF_UNIX);
}

/* A zone is an interface's name or its number (RFC 4007 11). 0 when it is neither. */
static uint32_t zone_index(const char *zone)
{
    unsigned index = if_nametoindex(zone);
    if (index != 0 || zone[strspn(zone, "0123456789")] != '\0' || strlen(zone) > 9) {
        return index;
    }
    return (uint32_t)strtoul(zone, NULL, 10);
}

static bool parse_ipv6(const char *ip, struct sockaddr_in6 *out)
{
    char literal[INET6_ADDRSTRLEN];
    size_t len = strcspn(ip, "%");
    if (len >= sizeof(literal)) {
        return false;
    }
    memcpy(literal, ip, len);
    literal[len] = '\0';
    if (inet_pton(AF_INET6, literal, &out->sin6_addr) != 1) {
        return false;
    }
    if (ip[len] == '%') {
        out->sin6_scope_id = zone_index(ip + len + 1);
        return out->sin6_scope_id != 0;
    }
    return true;
}

bool netaddr_from_ip(struct netaddr *addr, const char *ip, uint16_t port)
{
    *addr = (struct netaddr){0};
    /* inet_pton takes the four-part decimal form only: "127.1" and "0x7f000001" are refused. */
    if (inet_pton(AF_INET, ip, &addr->u.in.sin_addr) == 1) {
        addr->u.in.sin_family = AF_INET;
        addr->u.in.sin_port = htons(port);
        addr->len = sizeof(addr->u.in);
        return true;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (!parse_ipv6(ip, &in6)) {
        return false;
    }
    addr->u.in6 = in6;
    addr->len = sizeof(in6);
    return true;
}

bool netaddr_from_path(struct netaddr *addr, const char *path)
{
    *addr = (struct netaddr){0};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(addr->u.un.sun_path)) {
        return false;
    }
    addr->u.un.sun_family = AF_UNIX;
    memcpy(addr->u.un.sun_path, path, len + 1);
    addr->len = (socklen_t)(path_offset + len + 1);
    return true;
}

void netaddr_from_sockaddr(struct netaddr *addr, const struct sockaddr *sa, socklen_t len)
{
    *addr = (struct netaddr){0};
    if (sa == NULL || len < sizeof(sa->sa_family)) {
        return;
    }
    addr->len = len < sizeof(addr->u) ? len : (socklen_t)sizeof(addr->u);
    memcpy(&addr->u, sa, addr->len);
}

bool netaddr_keep(struct netaddr_kept *kept, const struct netaddr *addr)
{
    netaddr_kept_clear(kept);
    if (is_ipv4(addr)) {
        kept->u.in = addr->u.in;
        kept->len = sizeof(kept->u.in);
    } else if (is_ipv6(addr)) {
        kept->u.in6 = addr->u.in6;
        kept->len = sizeof(kept->u.in6);
    } else if (addr->len > 0) {
        kept->local = mem_try_alloc(addr->len);
        if (kept->local == NULL) {
            return false;
        }
        memcpy(kept->local, &addr->u, addr->len);
        kept->len = addr->len;
    }
    return true;
}

struct netaddr netaddr_of(const struct netaddr_kept *kept)
{
    struct netaddr addr = {.len = kept->len};
    memcpy(&addr.u, kept->local != NULL ? (const void *)kept->local : (const void *)&kept->u,
           kept->len);
    return addr;
}

void netaddr_kept_clear(struct netaddr_kept *kept)
{
    mem_free(kept->local);
    *kept = (struct netaddr_kept){0};
}

bool netaddr_is_loopback(const struct netaddr *addr)
{
    if (is_ipv4(addr)) {
        return ntohl(addr->u.in.sin_addr.s_addr) >> 24 == 127;
    }
    if (is_ipv6(addr)) {
        const struct in6_addr *ip = &addr->u.in6.sin6_addr;
        /* RFC 4291 2.5.5.2: the last four bytes of a mapped address are the IPv4 address. */
        return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
    }
    return netaddr_is_unix(addr);
}

bool netaddr_is_any(const struct netaddr *addr)
{
    static const struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (is_ipv4(addr)) {
        return addr->u.in.sin_addr.s_addr == htonl(INADDR_ANY);
    }
    const struct in6_addr *ip = &addr->u.in6.sin6_addr;
    return is_ipv6(addr) &&
           (IN6_IS_ADDR_UNSPECIFIED(ip) || memcmp(ip, &mapped, sizeof(mapped)) == 0);
}

uint16_t netaddr_port(const struct netaddr *addr)
{
    if (is_ipv4(addr)) {
        return ntohs(addr->u.in.sin_port);
    }
    return is_ipv6(addr) ? ntohs(addr->u.in6.sin6_port) : 0;
}

void netaddr_set_port(struct netaddr *addr, uint16_t port)
{
    if (is_ipv4(addr)) {
        addr->u.in.sin_port = htons(port);
    } else if (is_ipv6(addr)) {
        addr->u.in6.sin6_port = htons(port);
    }
}

static void format_ipv6(const struct sockaddr_in6 *in6, char out[NETADDR_TEXT_SIZE])
{
    char ip[INET6_ADDRSTRLEN] = "";
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
    unsigned port = ntohs(in6->sin6_port);
    char zone[IF_NAMESIZE] = "";
    if (in6->sin6_scope_id == 0) {
        (void)snprintf(out, NETADDR_TEXT_SIZE, "[%s]:%u", ip, port);
    } else if (if_indextoname(in6->sin6_scope_id, zone) != NULL) {
        (void)snprintf(out, NETADDR_TEXT_SIZE, "[%s%%%s]:%u", ip, zone, port);
    } else {
        (void)snprintf(out, NETADDR_TEXT_SIZE, "[%s%%%u]:%u", ip, in6->sin6_scope_id, port);
    }
}

/* unix(7): a pathname ends at its NUL, an abstract name begins with one and has its length from
   the address; each NUL of an abstract name shows as @. */
static void format_unix(const struct netaddr *addr, char out[NETADDR_TEXT_SIZE])
{
    const char *path = addr->u.un.sun_path;
    size_t len = addr->len > path_offset ? addr->len - path_offset : 0;
    if (len > sizeof(addr->u.un.sun_path)) {
        len = sizeof(addr->u.un.sun_path);
    }
    if (len > 0 && path[0] != '\0') {
        len = strnlen(path, len);
    }
    static const char scheme[] = "unix:";
    size_t used = sizeof(scheme) - 1;
    memcpy(out, scheme, used);
    for (size_t i = 0; i < len; i++) {
        out[used++] = path[i] != '\0' ? path[i] : '@';
    }
    out[used] = '\0';
}

const char *netaddr_format(const struct netaddr *addr, char out[NETADDR_TEXT_SIZE])
{
    if (is_ipv4(addr)) {
        char ip[INET_ADDRSTRLEN] = "";
        (void)inet_ntop(AF_INET, &addr->u.in.sin_addr, ip, sizeof(ip));
        (void)snprintf(out, NETADDR_TEXT_SIZE, "%s:%u", ip, netaddr_port(addr));
    } else if (is_ipv6(addr)) {
        format_ipv6(&addr->u.in6, out);
    } else if (netaddr_is_unix(addr)) {
        format_unix(addr, out);
    } else {
        memcpy(out, "-", 2);
    }
    return out;
}
