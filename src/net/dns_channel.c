/*
 * dns_channel: c-ares on our loop: a watch for each of its sockets, and one timer for when it wants
 * to be called without readiness.
 */
#include "dns_channel.h"

#include "base/assert.h"
#include "base/memory.h"

enum {
    CHANNEL_MAGIC = 0x646e7363,
    TRY_MS = 1000, /* c-ares doubles it each time round */
    TRIES = 3
};

/* A socket of c-ares. */
struct dns_socket {
    struct dns_socket *next;
    struct dns_channel *channel;
    int fd;
    struct io_watch *watch;
};

struct dns_channel {
    unsigned magic;
    struct loop *loop;
    ares_channel ares;
    struct timer *timer; /* when c-ares wants to be called without readiness */
    struct dns_socket *sockets;
};

static void update_timer(struct dns_channel *channel)
{
    struct timeval space;
    const struct timeval *left = ares_timeout(channel->ares, NULL, &space);
    if (left == NULL) {
        timer_cancel(channel->timer);
        return;
    }
    uint64_t ms = (uint64_t)left->tv_sec * 1000 + ((uint64_t)left->tv_usec + 999) / 1000;
    timer_set(channel->timer, ms);
}

static void on_timer(void *arg)
{
    struct dns_channel *channel = arg;
    CHECK_MAGIC(channel, CHANNEL_MAGIC);
    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_timer(channel);
}

static void on_dns_socket(void *arg, unsigned events)
{
    /* ares_process_fd may close the socket, and on_socket_state then frees this struct. */
    const struct dns_socket *dns = arg;
    struct dns_channel *channel = dns->channel;
    int fd = dns->fd;
    ASSERT(channel->magic == CHANNEL_MAGIC);
    ares_process_fd(channel->ares, (events & IO_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & IO_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    update_timer(channel);
}

static struct dns_socket *new_dns_socket(struct dns_channel *channel, int fd)
{
    struct dns_socket *dns = mem_try_alloc(sizeof(*dns));
    if (dns == NULL) {
        return NULL;
    }
    dns->channel = channel;
    dns->fd = fd;
    dns->watch = io_watch_new(channel->loop, fd, on_dns_socket, dns);
    if (dns->watch == NULL) {
        mem_free(dns);
        return NULL;
    }
    dns->next = channel->sockets;
    channel->sockets = dns;
    return dns;
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *channel = data;
    struct dns_socket **hook = &channel->sockets;
    while (*hook != NULL && (*hook)->fd != fd) {
        hook = &(*hook)->next;
    }
    struct dns_socket *dns = *hook;
    if (!readable && !writable) {
        if (dns != NULL) {
            *hook = dns->next;
            io_watch_free(dns->watch);
            mem_free(dns);
        }
        return;
    }
    if (dns == NULL) {
        dns = new_dns_socket(channel, fd);
    }
    unsigned events = (readable ? IO_READ : 0U) | (writable ? IO_WRITE : 0U);
    if (dns != NULL && io_watch_set(dns->watch, events) != 0) {
        /* Out of memory, here or above: the answer is not seen, and the question runs into its
           timeout, which fails it. */
        return;
    }
}

static int start_ares(struct dns_channel *channel, const char *servers)
{
    static char lookups[] = "fb"; /* the hosts file, then DNS */
    struct ares_options options = {.timeout = TRY_MS,
                                   .tries = TRIES,
                                   .lookups = lookups,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = channel};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
    if (servers != NULL) {
        mask |= ARES_OPT_DOMAINS; /* an empty list */
    }
#ifdef ARES_OPT_QUERY_CACHE
    /* Newer ones keep answers for an hour, failures too: behind the resolver's own cache, which
       holds them as long as they are good, and forgets them when it is told to. */
    options.qcache_max_ttl = 0;
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    /* ares_library_init does nothing but on Windows and Android, and is not safe to call from
       several threads. */
    return ares_init_options(&channel->ares, &options, mask);
}

void dns_channel_close(struct dns_channel *channel)
{
    ares_destroy(channel->ares);
    timer_free(channel->timer);
    channel->magic = 0;
    mem_free(channel);
}

struct dns_channel *dns_channel_open(struct loop *loop, const char *servers, struct errbuf *err)
{
    struct dns_channel *channel = mem_try_alloc(sizeof(*channel));
    struct timer *timer = timer_new(loop, on_timer, channel);
    int status = ARES_ENOMEM;
    if (channel != NULL && timer != NULL) {
        *channel = (struct dns_channel){.magic = CHANNEL_MAGIC, .loop = loop, .timer = timer};
        status = start_ares(channel, servers);
    }
    if (status != ARES_SUCCESS) {
        errbuf_set(err, "cannot start the name resolver: %s", ares_strerror(status));
        timer_free(timer);
        mem_free(channel);
        return NULL;
    }
    status = servers != NULL ? ares_set_servers_ports_csv(channel->ares, servers) : ARES_SUCCESS;
    if (status != ARES_SUCCESS) {
        errbuf_set(err, "name servers \"%s\": %s", servers, ares_strerror(status));
        dns_channel_close(channel);
        return NULL;
    }
    return channel;
}

void dns_channel_ask(struct dns_channel *channel, const char *name, ares_addrinfo_callback done,
                     void *arg)
{
    CHECK_MAGIC(channel, CHANNEL_MAGIC);
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(channel->ares, name, NULL, &hints, done, arg);
    update_timer(channel);
}
