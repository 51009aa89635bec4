/*
 * netaddr: a socket address: IPv4, IPv6 or a Unix path. A plain value, copied freely.
 */
#ifndef BULKHEAD_BASE_NETADDR_H
#define BULKHEAD_BASE_NETADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct netaddr {
    socklen_t len; /* 0: unset */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    } u;
};

/*
 * The same in 40 bytes instead of 136, for what is kept for each connection. {0}: unset. A Unix
 * address is a copy on the heap; it ends with netaddr_kept_clear.
 */
struct netaddr_kept {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u;
    uint32_t len;   /* 0: unset */
    uint8_t *local; /* an address that is neither IPv4 nor IPv6, len bytes; NULL: it is in u */
};

/* In place of what was kept before. False when memory is out: nothing is kept then. */
bool netaddr_keep(struct netaddr_kept *kept, const struct netaddr *addr)
    __attribute__((warn_unused_result));
struct netaddr netaddr_of(const struct netaddr_kept *kept);
void netaddr_kept_clear(struct netaddr_kept *kept);

/* ip without brackets: "127.0.0.1", "::1", also "fe80::1%eth0". False when it is no IP literal. */
bool netaddr_from_ip(struct netaddr *addr, const char *ip, uint16_t port);
/* False when the path is empty or too long for a sockaddr_un. */
bool netaddr_from_path(struct netaddr *addr, const char *path);
void netaddr_from_sockaddr(struct netaddr *addr, const struct sockaddr *sa, socklen_t len);
bool netaddr_is_unix(const struct netaddr *addr);
/* 127.0.0.0/8, ::1, and 127.0.0.0/8 mapped into IPv6. Unix sockets count as loopback. */
bool netaddr_is_loopback(const struct netaddr *addr);
/* 0.0.0.0, ::, and 0.0.0.0 mapped into IPv6. */
bool netaddr_is_any(const struct netaddr *addr);
uint16_t netaddr_port(const struct netaddr *addr); /* 0 for Unix */
void netaddr_set_port(struct netaddr *addr, uint16_t port);

enum { NETADDR_TEXT_SIZE = 128 };
/* "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:" for an unnamed peer, "-" when unset. Returns
 * out. */
const char *netaddr_format(const struct netaddr *addr, char out[NETADDR_TEXT_SIZE]);

#endif
