/*
 * A cursor that remembers whether something did not fit; lengths are filled in behind what they
 * count.
 */
#include "net/proxy_header.h"

#include <string.h>

enum {
    VERSION_AND_PROXY = 0x21, /* version 2, command PROXY */
    FAMILY_UNSPEC = 0x00,
    FAMILY_TCP4 = 0x11,
    FAMILY_TCP6 = 0x21,
    FAMILY_UNIX = 0x31, /* stream */
    UNIX_PATH_SIZE = 108,
    LENGTH_MAX = 65535
};

struct cursor {
    uint8_t *out;
    size_t size;
    size_t used;
    bool failed;
};

static void put(struct cursor *cursor, const void *data, size_t len)
{
    if (cursor->failed || len > cursor->size - cursor->used) {
        cursor->failed = true;
        return;
    }
    if (len > 0) {
        memcpy(cursor->out + cursor->used, data, len);
    }
    cursor->used += len;
}

static void put_byte(struct cursor *cursor, uint8_t byte)
{
    put(cursor, &byte, 1);
}

/* Leaves room for a length; fill_length says what stands behind it. */
static size_t put_length(struct cursor *cursor)
{
    static const uint8_t none[2] = {0, 0};
    put(cursor, none, sizeof(none));
    return cursor->used;
}

static void fill_length(struct cursor *cursor, size_t from)
{
    if (cursor->failed || cursor->used - from > LENGTH_MAX) {
        cursor->failed = true;
        return;
    }
    size_t len = cursor->used - from;
    cursor->out[from - 2] = (uint8_t)(len >> 8);
    cursor->out[from - 1] = (uint8_t)len;
}

static void put_tlv(struct cursor *cursor, enum proxy_header_type type, struct strview value)
{
    if (value.len == 0) {
        return;
    }
    put_byte(cursor, (uint8_t)type);
    size_t from = put_length(cursor);
    put(cursor, value.ptr, value.len);
    fill_length(cursor, from);
}

/* One end of an IP connection, IPv4 as IPv4 however the socket has it. */
struct ip_end {
    bool is_v4;
    uint8_t address[16];
    uint8_t port[2];
};

/* False: it is none. */
static bool read_ip(const struct netaddr *addr, struct ip_end *end)
{
    *end = (struct ip_end){0};
    if (addr->len >= sizeof(addr->u.in) && addr->u.sa.sa_family == AF_INET) {
        end->is_v4 = true;
        memcpy(end->address, &addr->u.in.sin_addr, 4);
        memcpy(end->port, &addr->u.in.sin_port, sizeof(end->port));
        return true;
    }
    if (addr->len < sizeof(addr->u.in6) || addr->u.sa.sa_family != AF_INET6) {
        return false;
    }
    const uint8_t *bytes = addr->u.in6.sin6_addr.s6_addr;
    end->is_v4 = IN6_IS_ADDR_V4MAPPED(&addr->u.in6.sin6_addr);
    memcpy(end->address, end->is_v4 ? bytes + 12 : bytes, end->is_v4 ? 4 : 16);
    memcpy(end->port, &addr->u.in6.sin6_port, sizeof(end->port));
    return true;
}

/* unix(7): the kernel's length of a path that fills sun_path is one more than the struct has. */
static void put_path(struct cursor *cursor, const struct netaddr *addr)
{
    uint8_t path[UNIX_PATH_SIZE] = {0};
    size_t header = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > header ? addr->len - header : 0;
    memcpy(path, addr->u.un.sun_path, len < sizeof(path) ? len : sizeof(path));
    put(cursor, path, sizeof(path));
}

static uint8_t family_of(const struct proxy_header *header, struct ip_end *source,
                         struct ip_end *destination)
{
    bool ip = read_ip(&header->source, source) && read_ip(&header->destination, destination);
    if (ip && source->is_v4 == destination->is_v4) {
        return source->is_v4 ? FAMILY_TCP4 : FAMILY_TCP6;
    }
    bool local = netaddr_is_unix(&header->source) && netaddr_is_unix(&header->destination);
    return local ? FAMILY_UNIX : FAMILY_UNSPEC;
}

static void put_head(struct cursor *cursor, uint8_t family)
{
    static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                          0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
    put(cursor, signature, sizeof(signature));
    put_byte(cursor, VERSION_AND_PROXY);
    put_byte(cursor, family);
}

static void put_addresses(struct cursor *cursor, const struct proxy_header *header, uint8_t family,
                          const struct ip_end *source, const struct ip_end *destination)
{
    if (family == FAMILY_UNIX) {
        put_path(cursor, &header->source);
        put_path(cursor, &header->destination);
    } else if (family != FAMILY_UNSPEC) {
        size_t len = family == FAMILY_TCP4 ? 4 : 16;
        put(cursor, source->address, len);
        put(cursor, destination->address, len);
        put(cursor, source->port, sizeof(source->port));
        put(cursor, destination->port, sizeof(destination->port));
    }
}

static void put_tls(struct cursor *cursor, const struct proxy_header *header)
{
    if (header->tls.flags == 0) {
        return;
    }
    put_byte(cursor, PROXY_HEADER_SSL);
    size_t from = put_length(cursor);
    put_byte(cursor, header->tls.flags);
    /* 2.2.6: "zero if the client presented a certificate and it was successfully verified, and
       non-zero otherwise". */
    const uint8_t verify[4] = {0, 0, 0, header->tls.verified ? 0 : 1};
    put(cursor, verify, sizeof(verify));
    put_tlv(cursor, PROXY_HEADER_SSL_VERSION, header->tls.version);
    put_tlv(cursor, PROXY_HEADER_SSL_CN, header->tls.common_name);
    put_tlv(cursor, PROXY_HEADER_SSL_CIPHER, header->tls.cipher);
    put_tlv(cursor, PROXY_HEADER_SSL_SIG_ALG, header->tls.signature_algorithm);
    put_tlv(cursor, PROXY_HEADER_SSL_KEY_ALG, header->tls.key_algorithm);
    put_tlv(cursor, PROXY_HEADER_SSL_GROUP, header->tls.group);
    put_tlv(cursor, PROXY_HEADER_SSL_CLIENT_CERT, header->tls.certificate);
    fill_length(cursor, from);
}

size_t proxy_header_write(const struct proxy_header *header, uint8_t *out, size_t size)
{
    struct cursor cursor = {.out = out, .size = size};
    struct ip_end source;
    struct ip_end destination;
    uint8_t family = family_of(header, &source, &destination);
    if (header->unique_id.len > PROXY_HEADER_UNIQUE_ID_MAX) {
        return 0;
    }
    put_head(&cursor, family);
    size_t from = put_length(&cursor);
    put_addresses(&cursor, header, family, &source, &destination);
    put_tlv(&cursor, PROXY_HEADER_ALPN, header->alpn);
    put_tlv(&cursor, PROXY_HEADER_AUTHORITY, header->authority);
    put_tlv(&cursor, PROXY_HEADER_UNIQUE_ID, header->unique_id);
    put_tls(&cursor, header);
    put_tlv(&cursor, PROXY_HEADER_SPIFFE_ID, header->spiffe_id);
    put_tlv(&cursor, PROXY_HEADER_RULE, header->rule);
    fill_length(&cursor, from);
    return cursor.failed ? 0 : cursor.used;
}
