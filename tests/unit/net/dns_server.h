/*
 * dns_server: a name server for tests, on the test's own loop, UDP and TCP on one free port of
 * 127.0.0.1. It answers every name alike, by the fields that the test sets.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_DNS_SERVER_H
#define BULKHEAD_TESTS_UNIT_NET_DNS_SERVER_H

#include "unit/net/net_test.h"

#include <netinet/in.h>

/* RFC 1035 4.1.1: RCODE; the rest is how else an answer can be wrong. */
enum dns_mode {
    DNS_ANSWER = 0,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_REFUSED = 5,
    DNS_SILENT = 100,
    DNS_CUT_SHORT,       /* the records end in the middle */
    DNS_POINTER_LOOP,    /* a compressed name that points at itself */
    DNS_BAD_LENGTH,      /* an A record of three bytes */
    DNS_WRONG_ID,        /* somebody else's answer */
    DNS_TRUNCATED_BY_UDP /* TC: ask again by TCP */
};

struct dns_server {
    int udp;
    int tcp;
    int tcp_conn; /* one at a time */
    struct io_watch *udp_watch;
    struct io_watch *tcp_watch;
    struct io_watch *conn_watch;
    struct loop *loop;
    char address[NETADDR_TEXT_SIZE]; /* "127.0.0.1:PORT" */
    enum dns_mode mode;
    uint8_t network;     /* the first byte of IPv4 addresses: 10 */
    unsigned a_count;    /* addresses <network>.0.<version>.<1…> */
    unsigned aaaa_count; /* addresses fd00::<1…> */
    unsigned version;
    uint32_t ttl;
    uint32_t cname_ttl; /* > 0: the name is an alias */
    unsigned a_queries;
    unsigned aaaa_queries;
    unsigned tcp_queries;
};

struct dns_writer {
    uint8_t *at;
    uint8_t *end;
};

static inline void dns_put(struct dns_writer *writer, const void *data, size_t len)
{
    assert_true((size_t)(writer->end - writer->at) >= len);
    memcpy(writer->at, data, len);
    writer->at += len;
}

static inline void dns_put16(struct dns_writer *writer, unsigned value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};
    dns_put(writer, bytes, sizeof(bytes));
}

enum { DNS_A = 1, DNS_CNAME = 5, DNS_AAAA = 28, DNS_HEADER = 12, DNS_NAME_POINTER = 0xc00c };

static inline void dns_put_record(struct dns_writer *writer, unsigned name, unsigned type,
                                  uint32_t ttl, const void *data, unsigned len)
{
    dns_put16(writer, name);
    dns_put16(writer, type);
    dns_put16(writer, 1); /* IN */
    dns_put16(writer, ttl >> 16);
    dns_put16(writer, ttl & 0xffff);
    dns_put16(writer, len);
    dns_put(writer, data, len);
}

static inline void dns_put_answers(const struct dns_server *server, struct dns_writer *writer,
                                   unsigned type, size_t question_end)
{
    unsigned owner = DNS_NAME_POINTER;
    if (server->cname_ttl > 0) {
        static const uint8_t alias[] = {5, 'a', 'l', 'i', 'a', 's', 0};
        dns_put_record(writer, owner, DNS_CNAME, server->cname_ttl, alias, sizeof(alias));
        owner = 0xc000U | (unsigned)(question_end + DNS_HEADER); /* the record's data */
    }
    if (server->mode == DNS_POINTER_LOOP) {
        owner = 0xc000U | (unsigned)question_end;
    }
    for (unsigned i = 1; type == DNS_A && i <= server->a_count; i++) {
        const uint8_t ip[] = {server->network, 0, (uint8_t)server->version, (uint8_t)i};
        dns_put_record(writer, owner, DNS_A, server->ttl, ip,
                       server->mode == DNS_BAD_LENGTH ? 3 : 4);
    }
    for (unsigned i = 1; type == DNS_AAAA && i <= server->aaaa_count; i++) {
        const uint8_t ip[16] = {[0] = 0xfd, [15] = (uint8_t)i};
        dns_put_record(writer, owner, DNS_AAAA, server->ttl, ip, sizeof(ip));
    }
}

enum dns_transport { DNS_OVER_UDP, DNS_OVER_TCP };

/* The length of the answer; 0: none. */
static inline size_t dns_answer(struct dns_server *server, const uint8_t *query, size_t len,
                                uint8_t *out, size_t size, enum dns_transport transport)
{
    size_t end = DNS_HEADER;
    while (end < len && query[end] != 0) {
        end += query[end] + 1U;
    }
    end += 5; /* the root label, type, class */
    assert_true(end <= len);
    unsigned type = (unsigned)query[end - 4] << 8 | query[end - 3];
    server->a_queries += type == DNS_A;
    server->aaaa_queries += type == DNS_AAAA;
    if (server->mode == DNS_SILENT) {
        return 0;
    }
    bool truncated = server->mode == DNS_TRUNCATED_BY_UDP && transport == DNS_OVER_UDP;
    bool answers = (server->mode == DNS_ANSWER || server->mode > DNS_SILENT) && !truncated;
    unsigned count = type == DNS_A ? server->a_count : server->aaaa_count;
    struct dns_writer writer = {.at = out, .end = out + size};
    dns_put(&writer, query, 2);
    out[0] = (uint8_t)(server->mode == DNS_WRONG_ID ? ~out[0] : out[0]);
    unsigned rcode = server->mode < DNS_SILENT ? (unsigned)server->mode : 0;
    dns_put16(&writer, 0x8180U | (truncated ? 0x0200U : 0) | rcode);
    dns_put16(&writer, 1);
    dns_put16(&writer, answers ? count + (server->cname_ttl > 0) : 0);
    dns_put16(&writer, 0);
    dns_put16(&writer, 0);
    dns_put(&writer, query + DNS_HEADER, end - DNS_HEADER);
    if (answers) {
        dns_put_answers(server, &writer, type, end);
    }
    size_t made = (size_t)(writer.at - out);
    return server->mode == DNS_CUT_SHORT && count > 0 ? made - 7 : made;
}

static inline void dns_on_udp(void *arg, unsigned events)
{
    struct dns_server *server = arg;
    (void)events;
    uint8_t query[512];
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    ssize_t got = recvfrom(server->udp, query, sizeof(query), MSG_DONTWAIT,
                           (struct sockaddr *)&peer, &peer_len);
    if (got <= DNS_HEADER) {
        return;
    }
    uint8_t answer[4096];
    size_t len = dns_answer(server, query, (size_t)got, answer, sizeof(answer), DNS_OVER_UDP);
    if (len > 0) {
        (void)sendto(server->udp, answer, len, 0, (struct sockaddr *)&peer, peer_len);
    }
}

static inline void dns_close_conn(struct dns_server *server)
{
    io_watch_free(server->conn_watch);
    server->conn_watch = NULL;
    if (server->tcp_conn >= 0) {
        (void)close(server->tcp_conn);
    }
    server->tcp_conn = -1;
}

/* RFC 1035 4.2.2: two bytes of length before each message. Queries are small: one read has all. */
static inline void dns_on_tcp_query(void *arg, unsigned events)
{
    struct dns_server *server = arg;
    (void)events;
    uint8_t query[2048];
    ssize_t got = read(server->tcp_conn, query, sizeof(query));
    if (got <= 2) {
        dns_close_conn(server);
        return;
    }
    size_t at = 0;
    while (at + 2 < (size_t)got) {
        size_t len = (size_t)query[at] << 8 | query[at + 1];
        uint8_t answer[4096];
        size_t made =
            dns_answer(server, query + at + 2, len, answer + 2, sizeof(answer) - 2, DNS_OVER_TCP);
        server->tcp_queries++;
        answer[0] = (uint8_t)(made >> 8);
        answer[1] = (uint8_t)made;
        assert_int_equal(write(server->tcp_conn, answer, made + 2), made + 2);
        at += len + 2;
    }
}

static inline void dns_on_tcp(void *arg, unsigned events)
{
    struct dns_server *server = arg;
    (void)events;
    dns_close_conn(server);
    server->tcp_conn = accept(server->tcp, NULL, NULL);
    assert_return_code(server->tcp_conn, errno);
    server->conn_watch = io_watch_new(server->loop, server->tcp_conn, dns_on_tcp_query, server);
    assert_int_equal(io_watch_set(server->conn_watch, IO_READ), 0);
}

static inline void dns_server_start(struct dns_server *server, struct loop *loop)
{
    *server =
        (struct dns_server){.loop = loop, .tcp_conn = -1, .network = 10, .a_count = 1, .ttl = 60};
    /* A port that is free for TCP is as a rule free for UDP too; otherwise take another. */
    for (int tries = 0;; tries++) {
        struct netaddr addr;
        server->tcp = listen_on("127.0.0.1", 5, &addr);
        server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_return_code(server->udp, errno);
        (void)netaddr_format(&addr, server->address);
        if (bind(server->udp, &addr.u.sa, addr.len) == 0) {
            break;
        }
        assert_true(tries < 100);
        (void)close(server->tcp);
        (void)close(server->udp);
    }
    server->udp_watch = io_watch_new(loop, server->udp, dns_on_udp, server);
    server->tcp_watch = io_watch_new(loop, server->tcp, dns_on_tcp, server);
    assert_int_equal(io_watch_set(server->udp_watch, IO_READ), 0);
    assert_int_equal(io_watch_set(server->tcp_watch, IO_READ), 0);
}

static inline void dns_server_stop(struct dns_server *server)
{
    dns_close_conn(server);
    io_watch_free(server->udp_watch);
    io_watch_free(server->tcp_watch);
    (void)close(server->udp);
    (void)close(server->tcp);
}

#endif
